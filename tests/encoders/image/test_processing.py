import sys

import numpy as np
import pytest
import torch
from transformers import CLIPImageProcessor, EfficientNetImageProcessor, SiglipImageProcessor, ViTImageProcessor

from embedkit.encoders.image import ImageProcessing
from embedkit.errors import InputError

pytest.importorskip("PIL.Image", reason="the extra image is not installed")

SIZES = [(100, 100), (50, 80), (300, 40), (224, 224), (1, 1), (7, 500)]
PROCESSORS = {
    "clip": CLIPImageProcessor,
    "siglip": SiglipImageProcessor,
    "vit": ViTImageProcessor,
    "align": lambda: EfficientNetImageProcessor(include_top=False, do_center_crop=True),
    "cut wider than it is": lambda: CLIPImageProcessor(size={"height": 40, "width": 71}, crop_size=64),
    "cut of odd sides": lambda: CLIPImageProcessor(size={"shortest_edge": 31}, crop_size={"height": 48, "width": 21}),
    "plain": lambda: CLIPImageProcessor(do_normalize=False, do_center_crop=False, size={"height": 9, "width": 5}),
}


def pixels(height, width, seed=0):
    """Smooth and rough parts, in three channels that differ."""
    draw = np.random.default_rng(seed)
    ramp = np.linspace(0, 255, height * width * 3).reshape(height, width, 3)
    return np.where(draw.random((height, width, 1)) < 0.5, ramp, draw.integers(0, 256, (height, width, 3))).astype("u1")


@pytest.mark.parametrize("name", PROCESSORS)
def test_pixels_are_those_of_transformers_processor(name):
    theirs = PROCESSORS[name]()
    ours = ImageProcessing.of(theirs.to_dict())
    for height, width in SIZES:
        image = pixels(height, width)
        wanted = theirs(image, return_tensors="np", input_data_format="channels_last")["pixel_values"][0]
        found = ours(image)
        assert found.shape == wanted.shape
        assert found.dtype == np.float32
        scale = np.array(ours.std)[:, None, None]
        assert np.abs((found - wanted) * scale).max() <= 1 / 255


def test_scaled_by_hand():
    processing = ImageProcessing(size=(1, 2), mean=(0.5, 0.0, 1.0), std=(0.5, 1.0, 2.0))
    image = np.array([[[0, 0, 0], [255, 255, 255]]], dtype=np.uint8)
    np.testing.assert_allclose(processing(image), [[[-1, 1]], [[0, 1]], [[-0.5, 0]]], atol=1e-6)


def test_the_middle_is_cut_out_and_black_comes_round_what_is_small():
    image = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3)
    cut = ImageProcessing(size=(5, 4), crop=(3, 2))(image)
    np.testing.assert_allclose(cut * 255, image[1:4, 1:3].transpose(2, 0, 1), atol=1e-4)
    wide = ImageProcessing(size=(5, 4), crop=(3, 6))(image)
    assert wide.shape == (3, 3, 6)
    assert (wide[:, :, [0, 5]] == 0).all()


def test_what_has_its_size_needs_no_pillow(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    assert ImageProcessing(size=(3, 3))(np.zeros((3, 3, 3), dtype=np.uint8)).shape == (3, 3, 3)


def test_shape_is_known_where_it_does_not_depend_on_the_picture():
    assert ImageProcessing(size=8).shape is None
    assert ImageProcessing(size=8, crop=(8, 8)).shape == (8, 8)
    assert ImageProcessing(size=(4, 8)).shape == (4, 8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "whole numbers from 1"),
        ({"size": (4, 2.5)}, "whole numbers from 1"),
        ({"size": 4, "crop": (0, 4)}, "whole numbers from 1"),
        ({"size": 4, "resampling": "best"}, "resampling must be one of nearest"),
        ({"size": 4, "std": (1.0, 0.0, 1.0)}, "std above 0"),
        ({"size": 4, "mean": (1.0,)}, "three numbers"),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        ImageProcessing(**options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"include_top": True}, "include_top=False"),
        ({"rescale_offset": True}, "rescale_offset=False"),
        ({"do_resize": False}, "do_resize=True"),
        ({"rescale_factor": 1.0}, "must scale pixels to 0 … 1"),
        ({"do_rescale": False}, "must scale pixels to 0 … 1"),
        ({"size": {"max_height": 3, "max_width": 4}}, "must have a size by height and width"),
    ],
)
def test_processors_that_do_more_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        ImageProcessing.of(CLIPImageProcessor().to_dict() | change)


@pytest.mark.parametrize("threads", [1, 3])
def test_a_batch_is_its_pictures_one_by_one(threads):
    processing = ImageProcessing(size=12, crop=(9, 11), mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    pictures = [
        np.random.default_rng(seed).integers(0, 256, size=(20 + seed, 15, 3), dtype=np.uint8) for seed in range(30)
    ]
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        found = processing.batch(pictures)
        with pytest.raises(InputError, match=r"none\.png"):
            processing.batch([*pictures, "none.png"])
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(found, [processing(picture) for picture in pictures])
    assert processing.batch([]).shape == (0, 3, 9, 11)


def test_a_batch_has_one_shape():
    with pytest.raises(InputError, match="one shape"):
        ImageProcessing(size=12).batch([])
