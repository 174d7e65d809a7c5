"""The encoder of Python: what it reads, where its tokens come from, how it is kept."""

import numpy as np
import pytest

import embedkit as ek
from embedkit.encoders.code.encoder import code_encoder
from embedkit.encoders.code.tokenizer import CodeTokenizer
from embedkit.encoders.code.vocabulary import train_code_vocabulary
from embedkit.encoders.readout import read_tokens
from embedkit.errors import InputError

SOURCE = 'def addOne(first_value):\n    text = "naïve 東京"\n\n    return (first_value +\n            1)  # sum\n'


@pytest.fixture(scope="module")
def vocabulary():
    return train_code_vocabulary([SOURCE, "x = [1, 2]"], 340, max_length=96)


@pytest.fixture
def encoder(vocabulary):
    return code_encoder(vocabulary, num_layers=2, dim=32, num_heads=4, device="cpu")


def test_ids_are_those_of_the_pieces(encoder, vocabulary):
    pieces = CodeTokenizer().tokenize(SOURCE)
    expected = vocabulary(pieces, is_split_into_words=True, truncation=True)["input_ids"]
    features = encoder.preprocess([SOURCE])
    assert features["input_ids"].tolist() == [expected]


def test_blanks_and_comments_do_not_change_a_vector(encoder):
    np.testing.assert_array_equal(encoder.encode("x = 1  # one\n"), encoder.encode("x   =  1\n"))
    assert np.abs(encoder.encode("x = 1\n") - encoder.encode("x = 2\n")).max() > 1e-3


def test_comments_are_read_where_they_are_kept(vocabulary):
    encoder = code_encoder(vocabulary, num_layers=1, dim=32, num_heads=4, comments="keep", device="cpu")
    assert np.abs(encoder.encode("x = 1  # one\n") - encoder.encode("x = 1\n")).max() > 1e-3


@pytest.mark.parametrize("comments", ["keep", "drop"])
def test_pieces_stand_where_they_say(comments):
    tokenizer = CodeTokenizer(comments=comments)
    located = tokenizer.locate(SOURCE)
    assert [piece for piece, _, _ in located] == tokenizer.tokenize(SOURCE)
    for piece, start, end in located:
        if not piece.startswith("___"):
            assert SOURCE[start:end] == piece.removesuffix("^")
        else:
            assert not SOURCE[start:end].strip()
    assert [SOURCE[start:end] for _, start, end in located[:4]] == ["def", "add", "One", "("]


def test_hidden_states_are_aligned_with_the_source(encoder):
    (readout,) = read_tokens(encoder, [SOURCE])
    start = SOURCE.index("first_value +")
    own = (readout.offsets[:, 0] >= start) & (readout.offsets[:, 1] <= start + len("first_value"))
    own &= readout.offsets[:, 0] < readout.offsets[:, 1]
    assert own.sum() >= 2
    np.testing.assert_allclose(
        readout.pool([(start, start + len("first_value"))])[0], readout.embeddings[own].mean(axis=0), rtol=1e-5
    )


def test_the_window_is_read_from_the_beginning(encoder):
    long = SOURCE + "x = 1\n" * 100
    assert encoder[0].lengths([SOURCE, long])[0] < 96 < encoder[0].lengths([long])[0]
    assert encoder.preprocess([long])["input_ids"].shape == (1, 96)
    np.testing.assert_array_equal(encoder.encode(long), encoder.encode(long + "y = 2\n"))
    with pytest.raises(InputError, match="truncated before it"):
        read_tokens(encoder, [long])[0].pool([(len(long) - 3, len(long))])


@pytest.mark.parametrize("source", ["print 'two'", "def f(:", "\tif x:\n        y\n\tz", "\0", "x = 1 +"])
def test_what_does_not_parse_is_read_as_an_error(encoder, source):
    np.testing.assert_array_equal(encoder.encode(source), encoder.encode("def broken(:"))


def test_bytes_and_lone_surrogates_are_refused(encoder):
    for value in (b"x = 1", None, "x = '\ud800'"):
        with pytest.raises(InputError, match=r"inputs\[1\] must be Python source"):
            encoder.encode(["x = 1", value])


def test_a_saved_encoder_is_the_same(encoder, tmp_path):
    encoder.save(tmp_path / "model")
    loaded = ek.load(tmp_path / "model", device="cpu")
    assert loaded.fingerprint == encoder.fingerprint
    np.testing.assert_array_equal(loaded.encode([SOURCE, "x"]), encoder.encode([SOURCE, "x"]))


def test_equal_seeds_draw_equal_weights(vocabulary, encoder):
    options = {"num_layers": 2, "dim": 32, "num_heads": 4, "device": "cpu"}
    assert code_encoder(vocabulary, **options).fingerprint == encoder.fingerprint
    assert code_encoder(vocabulary, **options, seed=1).fingerprint != encoder.fingerprint


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_layers": 0}, "num_layers must be a whole number from 1; received 0"),
        ({"dim": 2.5}, "dim must be a whole number from 1; received 2.5"),
        ({"dim": 30, "num_heads": 4}, "dim must be a multiple of num_heads; received 30 and 4"),
        ({"pooling": "sum"}, "pooling must be 'cls', 'mean' or 'max'; received 'sum'"),
        ({"dropout": 1}, "dropout must be a share from 0 to below 1; received 1"),
        ({"comments": "some"}, "comments must be 'keep' or 'drop'"),
    ],
)
def test_arguments_out_of_range(vocabulary, options, words):
    with pytest.raises(InputError, match=words):
        code_encoder(vocabulary, **{"dim": 32, **options})


def test_a_vocabulary_is_asked_for():
    with pytest.raises(InputError, match="train_code_vocabulary; received str"):
        code_encoder("words.txt")
