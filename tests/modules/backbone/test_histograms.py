import math

import numpy as np
import pytest
import torch

from embedkit.errors import InputError
from embedkit.modules.backbone import Histograms

SIZES = {"cells": 2, "angles": 5, "parts": 3, "levels": 3}


def histograms(pixels, **sizes):
    return Histograms(**sizes)({"pixel_values": torch.as_tensor(pixels)})["sentence_embedding"].numpy()


def by_loops(picture, *, cells, angles, parts, levels):
    """Of one picture (3, height, width), pixel by pixel."""
    _, height, width = picture.shape
    grey = picture.mean(axis=0)
    strengths, pixels = np.zeros((cells, cells, angles)), np.ones((cells, cells)) * 1e-9
    colours, places = np.zeros((parts, parts, levels, levels, levels)), np.ones((parts, parts)) * 1e-9
    for row in range(height):
        for column in range(width):
            across = (grey[row, min(column + 1, width - 1)] - grey[row, max(column - 1, 0)]) / 2
            down = (grey[min(row + 1, height - 1), column] - grey[max(row - 1, 0), column]) / 2
            share = math.atan2(down, across) % math.pi / math.pi
            cell = row * cells // height, column * cells // width
            strengths[(*cell, min(int(share * angles), angles - 1))] += math.hypot(across, down)
            pixels[cell] += 1
            part = row * parts // height, column * parts // width
            colours[(*part, *(min(int(value * levels), levels - 1) for value in picture[:, row, column]))] += 1
            places[part] += 1
    strengths /= pixels[..., None]
    directions = np.sqrt(strengths / (strengths.sum(axis=2, keepdims=True) + 0.006))
    shares = colours.reshape(parts, parts, -1) / places[..., None]
    return np.concatenate([directions.ravel(), 2 * np.sqrt(shares).ravel()])


@pytest.mark.parametrize("shape", [(9, 7), (6, 6), (2, 5), (1, 1)])
def test_against_loops(shape):
    pictures = np.random.default_rng(0).uniform(size=(3, 3, *shape))
    expected = [by_loops(picture, **SIZES) for picture in pictures]
    np.testing.assert_allclose(histograms(pictures, **SIZES), expected, atol=1e-6)


def test_a_turned_picture_has_the_same_strengths_in_other_bins():
    picture = np.zeros((1, 3, 8, 8), dtype=np.float32)
    picture[..., 4:] = 0.8
    upright, lying = (histograms(each, cells=1, angles=4) for each in (picture, picture.transpose(0, 1, 3, 2)))
    assert upright[0, :4].argmax() == 0  # light grows to the right
    assert lying[0, :4].argmax() == 2  # and downwards
    np.testing.assert_allclose(upright[0, 0], lying[0, 2])
    np.testing.assert_allclose(upright[0, 4:].sum(), lying[0, 4:].sum())


def test_what_is_lighter_on_the_other_side_looks_the_same():
    picture = np.random.default_rng(1).uniform(size=(2, 3, 8, 8))
    directions = Histograms(levels=1, parts=1)
    one, two = (
        directions({"pixel_values": torch.as_tensor(each)})["sentence_embedding"] for each in (picture, 1 - picture)
    )
    np.testing.assert_allclose(one, two, atol=1e-6)


def test_an_even_picture_has_no_edges_and_one_colour():
    vector = histograms(np.full((1, 3, 8, 8), 0.3), cells=2, angles=3, parts=1, levels=2)[0]
    assert (vector[:12] == 0).all()
    assert vector[12:].tolist() == [2, 0, 0, 0, 0, 0, 0, 0]


def test_a_faint_edge_counts_less_than_a_clear_one():
    faint, clear = (histograms(np.tile([0.5, 0.5 + step], (1, 3, 2, 1)), cells=1) for step in (0.002, 0.4))
    assert faint[0, 0] < 0.4
    assert clear[0, 0] > 0.98


def test_every_part_has_length_two_and_every_cell_at_most_one():
    vectors = histograms(np.random.default_rng(2).uniform(size=(4, 3, 32, 32)))
    assert vectors.shape == (4, 832)
    np.testing.assert_allclose(np.square(vectors[:, 576:].reshape(4, 4, 64)).sum(axis=2), 4, rtol=1e-5)
    assert (np.square(vectors[:, :576].reshape(4, 64, 9)).sum(axis=2) < 1).all()


def test_values_out_of_range_count_as_the_ends():
    picture = np.random.default_rng(3).uniform(-1, 2, size=(1, 3, 8, 8))
    np.testing.assert_array_equal(histograms(picture), histograms(picture.clip(0, 1)))


def test_no_pictures():
    assert histograms(np.zeros((0, 3, 8, 8), dtype=np.float32)).shape == (0, 832)


@pytest.mark.parametrize("name", list(SIZES))
@pytest.mark.parametrize("value", [0, 1.5, True])
def test_sizes_are_whole_numbers_from_one(name, value):
    with pytest.raises(InputError, match=name):
        Histograms(**{name: value})


def test_kept(tmp_path):
    Histograms(**SIZES).save(str(tmp_path))
    again = Histograms.load(str(tmp_path))
    assert {name: getattr(again, name) for name in SIZES} == SIZES
