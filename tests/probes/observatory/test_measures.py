"""Cosine and dispersion of vectors."""

import math

import numpy as np
import pytest

from embedkit.probes.observatory.measures import cosine, dispersion


@pytest.fixture
def vectors():
    return np.random.default_rng(3).normal(1, 1, (7, 5))


def test_cosine_is_row_by_row():
    assert cosine([[3, 4], [1, 0], [1, 1]], [[6, 8], [0, 2], [-1, -1]]) == pytest.approx([1, 0, -1])


def test_cosine_of_equal_rows_is_exactly_one(vectors):
    single = vectors.astype(np.float32)
    assert (cosine(single, single) == 1).all()


def test_cosine_of_a_zero_vector_is_undefined_without_a_warning(recwarn):
    assert np.isnan(cosine([[0.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 0.0]])).all()
    assert not recwarn


def test_cosine_computes_in_float64():
    tiny = np.full((1, 4), 1e-30, dtype=np.float32)
    assert cosine(tiny, tiny).tolist() == [1.0]
    assert cosine(tiny, tiny).dtype == np.float64


def test_cosine_of_no_rows():
    assert cosine(np.empty((0, 3)), np.empty((0, 3))).shape == (0,)


@pytest.mark.parametrize("dim", [1, 2, 8])
def test_dispersion_of_the_worked_example(dim):
    assert dispersion(np.outer([1, 2, 6], np.ones(dim))) == pytest.approx(math.sqrt(7) / 3)


def test_dispersion_is_that_of_its_definition(vectors):
    mean, covariance = vectors.mean(axis=0), np.cov(vectors.T)
    assert dispersion(vectors) == pytest.approx(math.sqrt(mean @ covariance @ mean / (mean @ mean) ** 2))


def test_dispersion_is_invariant_to_scaling_and_rotation_not_to_translation(vectors):
    rotation, _ = np.linalg.qr(np.random.default_rng(4).normal(size=(5, 5)))
    assert dispersion(3.5 * vectors) == pytest.approx(dispersion(vectors))
    assert dispersion(vectors @ rotation) == pytest.approx(dispersion(vectors))
    assert dispersion(vectors + 1) != pytest.approx(dispersion(vectors), rel=0.1)


def test_dispersion_of_equal_vectors_is_exactly_zero(vectors):
    assert dispersion(np.repeat(vectors[:1].astype(np.float32), 7, axis=0)) == 0


@pytest.mark.parametrize("few", [np.empty((0, 2)), np.ones((1, 2)), np.zeros((3, 2)), np.array([[1.0, 2], [-1, -2]])])
def test_dispersion_is_undefined_of_fewer_than_two_and_of_mean_zero(few, recwarn):
    assert math.isnan(dispersion(few))
    assert not recwarn
