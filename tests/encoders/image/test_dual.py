import os
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Normalize, Router

import embedkit as ek
from embedkit.encoders.image import conv_encoder, dual_encoder
from embedkit.encoders.text import tfidf_lsa
from embedkit.errors import InputError
from embedkit.losses import PairContrastiveLoss
from embedkit.training.fit import fit

Image = pytest.importorskip("PIL.Image", reason="the extra image is not installed")

BLACK, WHITE = np.zeros((9, 7, 3), dtype=np.uint8), np.full((9, 7, 3), 255, dtype=np.uint8)


@pytest.fixture
def encoder(make_encoder):
    return dual_encoder(conv_encoder(widths=(4, 8), dim=6, device="cpu"), make_encoder("bert"), dim=10, device="cpu")


@pytest.fixture
def files(tmp_path):
    Image.fromarray(BLACK).save(tmp_path / "black.png")
    Image.fromarray(WHITE).save(tmp_path / "white.png")
    return [tmp_path / "black.png", tmp_path / "white.png"]


def test_each_input_goes_to_its_tower(encoder, files):
    mixed = encoder.encode([BLACK, "a cat", files[1], "the dog barks", Image.fromarray(WHITE)])
    apart = {"image": encoder.encode([BLACK, WHITE]), "text": encoder.encode(["a cat", "the dog barks"])}
    np.testing.assert_allclose(mixed[[0, 2]], apart["image"], atol=1e-6)
    np.testing.assert_allclose(mixed[[1, 3]], apart["text"], atol=1e-6)
    np.testing.assert_allclose(mixed[4], mixed[2], atol=1e-6)


def test_a_tower_is_the_encoder_it_was_made_of_and_a_linear_map(make_encoder):
    image, text = conv_encoder(widths=(4, 8), dim=6, device="cpu"), make_encoder("bert")
    encoder = dual_encoder(image, text, dim=10, device="cpu")
    assert isinstance(encoder[0], Router)
    assert isinstance(encoder[1], Normalize)
    for alone, name, value in ((image, "image", WHITE), (text, "text", "a cat")):
        weight = encoder[0].sub_modules[name][-1].linear.weight.detach().numpy()
        with torch.no_grad():
            unscaled = ek.Encoder([*alone][:-1], device="cpu").encode([value])
        expected = unscaled @ weight.T
        np.testing.assert_allclose(encoder.encode([value]), expected / np.linalg.norm(expected), atol=1e-5)


def test_encoders_it_was_made_of_stay_as_they_are(make_encoder):
    image, text = conv_encoder(widths=(4, 8), dim=6, device="cpu"), make_encoder("bert")
    before = image.fingerprint, text.fingerprint
    encoder = dual_encoder(image, text, dim=10, device="cpu")
    fit(encoder, {"image": [BLACK, WHITE], "text": ["a cat", "a dog"]}, PairContrastiveLoss(), batch_size=2)
    assert (image.fingerprint, text.fingerprint) == before


def test_it_is_the_same_after_it_was_kept(encoder, tmp_path):
    encoder.save_pretrained(str(tmp_path / "model"))
    again = ek.load(tmp_path / "model", device="cpu")
    np.testing.assert_array_equal(again.encode([BLACK, "a cat"]), encoder.encode([BLACK, "a cat"]))
    assert again.fingerprint == encoder.fingerprint
    theirs = SentenceTransformer(str(tmp_path / "model"), device="cpu", trust_remote_code=True)
    np.testing.assert_allclose(theirs.encode([Image.fromarray(WHITE)]), encoder.encode([WHITE]), atol=1e-6)
    np.testing.assert_allclose(theirs.encode(["a cat"]), encoder.encode(["a cat"]), atol=1e-6)


@pytest.mark.parametrize("kind", ["arrays", "paths", "names of files", "pictures"])
def test_it_learns_from_pictures_of_every_kind(encoder, files, kind):
    pictures = {
        "arrays": [BLACK, WHITE],
        "paths": files,
        "names of files": [str(path) for path in files],
        "pictures": [Image.fromarray(BLACK), Image.fromarray(WHITE)],
    }[kind]
    columns = {"image": pictures * 8, "text": ["a cat", "the dog barks"] * 8}
    done = fit(encoder, columns, PairContrastiveLoss(temperature=1.0), batch_size=2, epochs=4, learning_rate=1e-2)
    assert done.losses[-1][1] < done.losses[0][1]
    scores = encoder.encode([BLACK, WHITE]) @ encoder.encode(["a cat", "the dog barks"]).T
    assert scores.argmax(axis=1).tolist() == [0, 1]


def test_columns_of_other_names_go_by_what_is_in_them(encoder):
    rows = [(BLACK, "a cat"), (WHITE, "the dog barks")]
    assert fit(encoder, rows, PairContrastiveLoss(), batch_size=2, max_steps=2).steps == 2


def test_a_column_for_both_towers_is_refused(encoder):
    with pytest.raises(InputError, match="must be for one tower; received a batch for image and text"):
        encoder.preprocess([BLACK, "a cat"])


def test_a_prompt_stands_before_texts_alone(encoder):
    prompted = encoder.encode([BLACK, "cat"], prompt="a ")
    np.testing.assert_allclose(prompted, encoder.encode([BLACK, "a cat"]), atol=1e-6)


def test_queries_and_documents_are_pictures_or_texts(encoder):
    np.testing.assert_array_equal(encoder.encode_query([BLACK]), encoder.encode([BLACK]))
    np.testing.assert_array_equal(encoder.encode_document("a cat"), encoder.encode("a cat"))


def test_the_cache_tells_towers_apart(encoder, tmp_path):
    expected = encoder.encode([BLACK, "a cat"])
    encoder.cache = ek.VectorCache(tmp_path / "cache")
    encoder.encode(["a cat", BLACK])
    np.testing.assert_array_equal(encoder.encode([BLACK, "a cat"]), expected)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (3, r"must be text \(str\) or an image .*; received int 3"),
        ([BLACK, None], r"inputs\[1\] must be text .* or an image"),
        (["a cat", 2.5], r"inputs\[1\]"),
        (np.zeros((2, 2, 7, 3, 3)), "inputs"),
    ],
)
def test_what_no_tower_reads_is_refused(encoder, value, message):
    with pytest.raises(InputError, match=message):
        encoder.encode(value)


def test_the_name_of_a_file_is_not_taken_for_text(encoder, files):
    with pytest.raises(InputError, match=r"received the name of a file, .*black.png'?: pass pathlib.Path"):
        encoder.encode(["a cat", str(files[0])])
    assert encoder.encode([str(files[0])], task="image").shape == (1, 10)
    assert encoder.encode(["no such.png", "x" * 5000 + ".png", "a\0.png"]).shape == (3, 10)


def test_a_missing_file_is_told(encoder):
    with pytest.raises(InputError, match=r"missing\.png"):
        encoder.encode([Path("missing.png")])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image": "text"}, "image must be an Encoder that reads images"),
        ({"text": "image"}, "text must be an Encoder that reads texts"),
        ({"image": "CLIP"}, "image must be an Encoder"),
        ({"dim": 0}, "dim"),
        ({"seed": -1}, "seed"),
    ],
)
def test_arguments_out_of_range_are_refused(make_encoder, arguments, message):
    known = {"image": conv_encoder(widths=(4,), dim=6, device="cpu"), "text": make_encoder("bert")}
    given = {name: known.get(value, value) for name, value in arguments.items()}
    with pytest.raises(InputError, match=message):
        dual_encoder(**{**known, **given})


def test_a_tower_of_texts_that_reads_in_its_own_way_is_refused():
    with pytest.raises(InputError, match="text must be an Encoder that reads texts"):
        dual_encoder(conv_encoder(widths=(4,), dim=6, device="cpu"), tfidf_lsa(["a cat", "a dog", "a mat"], dim=2))


def test_paths_of_any_kind_are_pictures(encoder, files):
    class Somewhere(os.PathLike):
        def __fspath__(self):
            return str(files[0])

    np.testing.assert_allclose(encoder.encode([Somewhere()]), encoder.encode([BLACK]), atol=1e-6)
