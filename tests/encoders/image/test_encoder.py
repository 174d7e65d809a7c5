import numpy as np
import pytest
import torch

import embedkit as ek
from embedkit.encoders.image import ImageInput, ImageProcessing, conv_encoder, histogram_encoder, vit_encoder
from embedkit.encoders.image import processing as module
from embedkit.errors import InputError
from embedkit.losses import PairContrastiveLoss
from embedkit.modules.augmentation import RandomViews
from embedkit.ops.targets import cosine_weights

Image = pytest.importorskip("PIL.Image", reason="the extra image is not installed")


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, size=shape, dtype=np.uint8)


@pytest.fixture
def encoder():
    return conv_encoder(widths=(4, 8), dim=6, device="cpu")


def test_a_path_a_picture_and_an_array_get_one_vector(encoder, tmp_path):
    array = noise(20, 30, 3)
    Image.fromarray(array).save(tmp_path / "a.png")
    vectors = encoder.encode([array, Image.fromarray(array), str(tmp_path / "a.png"), tmp_path / "a.png"])
    np.testing.assert_allclose(vectors, np.tile(vectors[0], (4, 1)), atol=1e-6)
    np.testing.assert_allclose(encoder.encode(tmp_path / "a.png"), vectors[0], atol=1e-6)


def test_an_array_of_pictures_is_a_batch(encoder):
    array = noise(5, 8, 8, 3)
    np.testing.assert_allclose(encoder.encode(array), encoder.encode(list(array)), atol=1e-6)
    assert encoder.encode(noise(5, 8, 9)).shape == (5, 6)  # grey ones


def test_files_are_opened_batch_by_batch(encoder, tmp_path, monkeypatch):
    paths = []
    for number in range(9):
        Image.fromarray(noise(4, 4, 3, seed=number)).save(path := tmp_path / f"{number}.png")
        paths.append(path)
    open_at_once, sizes = [], []
    real = module.to_rgb

    def counted(image):
        open_at_once.append(image)
        return real(image)

    monkeypatch.setattr(module, "to_rgb", counted)
    forward = encoder[1].forward
    monkeypatch.setattr(encoder[1], "forward", lambda *a, **k: sizes.append(len(open_at_once)) or forward(*a, **k))
    encoder.encode(paths, batch_size=2)
    assert sizes == [2, 4, 6, 8, 9]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([None], "received NoneType"),
        (["a.png", 3], "received int"),
        ([np.zeros((3, 4, 5))], "put the channels last"),
        (["no such file.png"], "must be a file; there is none"),
    ],
)
def test_what_is_no_picture_is_refused(encoder, value, message):
    with pytest.raises(InputError, match=message):
        encoder.encode(value)


def test_pictures_have_no_prompt(encoder):
    with pytest.raises(InputError, match="pictures have no prompt"):
        encoder.encode([noise(4, 4, 3)], prompt="a picture of")


def test_a_shape_that_depends_on_the_picture_is_refused():
    with pytest.raises(InputError, match=r"one shape.*add a crop"):
        ImageInput(ImageProcessing(size=32))


def test_processing_is_kept(tmp_path):
    processing = ImageProcessing(size=9, crop=(8, 7), resampling="box", mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 3.0))
    encoder = conv_encoder(processing, widths=(4,), dim=4, device="cpu")
    encoder.save(str(tmp_path / "model"))
    again = ek.load(tmp_path / "model", device="cpu")
    assert again[0].processing == processing
    np.testing.assert_array_equal(again.encode(noise(9, 30, 3)), encoder.encode(noise(9, 30, 3)))


@pytest.mark.parametrize("given", ["pictures", "paths", "arrays"])
def test_two_views_of_a_picture_are_brought_together(encoder, tmp_path, given):
    firsts = [noise(16, 16, 3, seed=number) for number in range(8)]
    seconds = [np.ascontiguousarray(array[:, ::-1]) for array in firsts]
    if given != "arrays":
        firsts, seconds = ([Image.fromarray(array) for array in arrays] for arrays in (firsts, seconds))
    if given == "paths":
        for name, pictures in (("first", firsts), ("second", seconds)):
            for number, picture in enumerate(pictures):
                picture.save(tmp_path / f"{name} {number}.png")
        firsts, seconds = ([str(tmp_path / f"{name} {n}.png") for n in range(8)] for name in ("first", "second"))

    def gap():
        similarities = encoder.encode(firsts) @ encoder.encode(seconds).T
        return np.diag(similarities).mean() - similarities.mean()

    before = gap()
    ek.fit(
        encoder,
        {"first": firsts, "second": seconds},
        PairContrastiveLoss(),
        epochs=20,
        batch_size=8,
        learning_rate=1e-2,
        show_progress_bar=False,
    )
    assert gap() > before + 0.1


def test_targets_may_be_features_of_a_frozen_encoder(encoder):
    pictures = [noise(16, 16, 3, seed=number) for number in range(8)]
    columns = {"picture": pictures, "other": pictures[::-1], "label": np.eye(8)}
    loss = PairContrastiveLoss(target=cosine_weights, directions="from_positives")
    done = ek.fit(encoder, columns, loss, max_steps=2, batch_size=4, show_progress_bar=False)
    assert done.steps == 2


def test_training_reads_files_of_any_name_and_says_which_is_missing(encoder, tmp_path):
    for number in range(2):
        Image.fromarray(noise(8, 8, 3, seed=number)).save(tmp_path / f"{number}", "png")
    paths = [str(tmp_path / "0"), str(tmp_path / "1")]
    options = {"max_steps": 1, "batch_size": 2, "show_progress_bar": False}
    assert ek.fit(encoder, {"first": paths, "second": paths[::-1]}, PairContrastiveLoss(), **options).steps == 1
    with pytest.raises(InputError, match=r"'gone\.png' must be a file; there is none"):
        ek.fit(encoder, {"first": paths, "second": ["gone.png"] * 2}, PairContrastiveLoss(), **options)


def test_a_vision_transformer_is_transformers_own(tmp_path):
    encoder = vit_encoder(ImageProcessing(size=(8, 12)), num_layers=1, dim=12, augment=RandomViews(), device="cpu")
    picture = noise(8, 12, 3)
    tensor = torch.from_numpy(picture.astype(np.float32).transpose(2, 0, 1)[None] / 255)
    with torch.no_grad():
        state = encoder[2].model(pixel_values=tensor).last_hidden_state[0, 0].numpy()
    np.testing.assert_allclose(encoder.encode(picture), state / np.linalg.norm(state), atol=1e-5)
    encoder.save_pretrained(str(tmp_path / "model"))
    np.testing.assert_array_equal(ek.load(tmp_path / "model", device="cpu").encode(picture), encoder.encode(picture))
    same, other = (vit_encoder(num_layers=1, dim=12, seed=seed, device="cpu").encode(picture) for seed in (0, 1))
    assert not np.allclose(same, other)


@pytest.mark.parametrize(
    "options", [{"num_layers": 0}, {"dim": 10}, {"num_heads": 5}, {"patch_size": 5}, {"patch_size": 2.0}]
)
def test_sizes_that_do_not_go_together_are_refused(options):
    with pytest.raises(InputError, match=next(iter(options))):
        vit_encoder(**options)


def test_histograms_alone_or_with_a_network_behind_them(tmp_path):
    pictures = [noise(20, 30, 3), noise(8, 8, 3, seed=1)]
    plain, one, same, other = (
        histogram_encoder(dim=dim, width=16, seed=seed, device="cpu")
        for dim, seed in ((None, 0), (6, 0), (6, 0), (6, 1))
    )
    assert plain.encode(pictures).shape == (2, 832)
    np.testing.assert_allclose(np.linalg.norm(plain.encode(pictures), axis=1), 1, rtol=1e-6)
    assert one.encode(pictures).shape == (2, 6)
    np.testing.assert_array_equal(one.encode(pictures), same.encode(pictures))  # and nothing is dropped
    assert not np.allclose(one.encode(pictures), other.encode(pictures))
    for name, encoder in (("plain", plain), ("one", one)):
        encoder.save_pretrained(str(tmp_path / name))
        again = ek.load(tmp_path / name, device="cpu")
        np.testing.assert_array_equal(again.encode(pictures), encoder.encode(pictures))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 0}, "dim must be an integer from 1"),
        ({"dim": 4, "width": 2.5}, "width must be an integer from 1"),
        ({"dim": 4, "dropout": 1.0}, "dropout must be a share below 1"),
        ({"dim": 4, "dropout": "half"}, "dropout must be a share below 1"),
        ({"augment": True}, "augment must be a RandomViews"),
        ({"processing": ImageProcessing(size=8, mean=(0.5, 0.5, 0.5))}, "mean 0 and std 1"),
    ],
)
def test_histograms_say_what_they_cannot_be(options, message):
    with pytest.raises(InputError, match=message):
        histogram_encoder(**options, device="cpu")


def test_the_fingerprint_knows_how_pictures_are_read():
    one, same, other = (
        conv_encoder(ImageProcessing(size=(8, 8), resampling=name), widths=(4,), dim=6, device="cpu")
        for name in ("bicubic", "bicubic", "bilinear")
    )
    assert one.fingerprint == same.fingerprint
    assert one.fingerprint != other.fingerprint
