import pytest
import torch

from embedkit.encoders.image import ImageProcessing, conv_encoder
from embedkit.errors import InputError
from embedkit.modules.augmentation import RandomViews

NOTHING = {"degrees": 0, "scale": 0, "shift": 0, "mirror": False, "brightness": 0, "contrast": 0}


def views(pictures, **options):
    torch.manual_seed(0)
    return RandomViews(**{**NOTHING, **options}).train()({"pixel_values": pictures})["pixel_values"]


@pytest.fixture
def pictures():
    torch.manual_seed(1)
    return torch.rand(40, 3, 8, 12)


def test_nothing_is_changed_outside_of_training_or_where_all_is_zero(pictures):
    assert torch.equal(RandomViews().eval()({"pixel_values": pictures})["pixel_values"], pictures)
    torch.testing.assert_close(views(pictures), pictures, atol=1e-5, rtol=0)


def test_half_are_mirrored(pictures):
    found = views(pictures, mirror=True)
    same = torch.isclose(found, pictures, atol=1e-4).flatten(1).all(1)
    mirrored = torch.isclose(found, pictures.flip(3), atol=1e-4).flatten(1).all(1)
    assert (same ^ mirrored).all()
    assert 5 < mirrored.sum() < 35


def test_light_by_hand(pictures):
    """p' = c (p - mean) + mean + b: b is the difference of the means, c the ratio of the spreads."""
    found = views(pictures, brightness=0.3, contrast=0.5)
    added = found.mean((1, 2, 3)) - pictures.mean((1, 2, 3))
    factor = found.std((1, 2, 3)) / pictures.std((1, 2, 3))
    assert 0.2 < added.abs().max() <= 0.3
    assert 1 / 1.5 <= factor.min() < 0.8
    assert 1.2 < factor.max() <= 1.5
    mean = pictures.mean((1, 2, 3), keepdim=True)
    expected = factor.reshape(-1, 1, 1, 1) * (pictures - mean) + mean + added.reshape(-1, 1, 1, 1)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_moves_stay_within_the_share():
    """A white column in the middle of black moves by at most a quarter of 16, and its light stays."""
    pictures = torch.zeros(60, 3, 16, 16)
    pictures[..., 7:9] = 1
    found = views(pictures, shift=0.25)
    torch.testing.assert_close(found.sum((1, 2, 3)), pictures.sum((1, 2, 3)), atol=1e-3, rtol=0)
    place = (found.mean((1, 2)) * torch.arange(16)).sum(1) / found.mean((1, 2)).sum(1)
    assert 3 < (place - 7.5).abs().max() <= 4


@pytest.mark.parametrize("shape", [(16, 16), (8, 16)])
def test_a_turn_keeps_the_form(shape):
    """A disc stays a disc, whatever the sides: what turns is the picture, not the coordinates."""
    rows, columns = torch.meshgrid(torch.arange(shape[0]) + 0.5, torch.arange(shape[1]) + 0.5, indexing="ij")
    disc = (((rows - shape[0] / 2) ** 2 + (columns - shape[1] / 2) ** 2) < 9).float().expand(20, 3, *shape)
    assert (views(disc, degrees=180) - disc).abs().mean() < 0.05


def test_size_grows_and_shrinks():
    pictures = torch.zeros(60, 3, 32, 32)
    pictures[..., 12:20, 12:20] = 1
    area = views(pictures, scale=0.5).mean((1, 2, 3)) / pictures.mean((1, 2, 3))
    assert 1 / 2.4 < area.min() < 0.6
    assert 1.6 < area.max() < 2.4


def test_a_single_pixel_and_no_picture():
    assert views(torch.rand(2, 3, 1, 1), degrees=90, shift=0.5).shape == (2, 3, 1, 1)
    assert views(torch.rand(0, 3, 4, 4)).shape == (0, 3, 4, 4)


@pytest.mark.parametrize("name", ["degrees", "scale", "shift", "brightness", "contrast"])
def test_negative_numbers_are_refused(name):
    with pytest.raises(InputError, match=name):
        RandomViews(**{name: -0.1})


def test_an_encoder_with_views_encodes_as_one_without(tmp_path):
    import embedkit as ek

    plain, shown = (
        conv_encoder(widths=(4,), dim=6, augment=augment, device="cpu") for augment in (None, RandomViews())
    )
    picture = torch.randint(0, 256, (9, 9, 3), dtype=torch.uint8).numpy()
    assert (plain.encode(picture) == shown.encode(picture)).all()
    shown.save_pretrained(str(tmp_path / "model"))
    again = ek.load(tmp_path / "model", device="cpu")
    assert isinstance(again[1], RandomViews)
    assert (again.encode(picture) == shown.encode(picture)).all()


def test_processing_is_kept():
    assert conv_encoder(ImageProcessing(size=(8, 8)), augment=RandomViews(), device="cpu")[0].processing.shape == (8, 8)
