import inspect
from itertools import pairwise

import numpy as np
import pytest
import torch
from sentence_transformers.sentence_transformer.modules import StaticEmbedding

from embedkit import Encoder
from embedkit.encoders.readout import TokenReadout, read_tokens
from embedkit.errors import InputError

# This suite checks the types of every call of read-outs; users meet the messages of the package itself.
read_unchecked, pool_unchecked = inspect.unwrap(read_tokens), inspect.unwrap(TokenReadout.pool)

TEXTS = [
    "a cat sat on the mat",
    "the dog barks",
    "",
    "  the bird, red & green; sings: naïve café 東京 42!  ",
    "one two three " * 12,
]


def states_by_hand(encoder, text, layer):
    """transformers' own hidden states of one text, without [CLS] and [SEP]."""
    tokens = encoder[0].tokenizer(text, truncation=True, return_tensors="pt")
    tokens.pop("token_type_ids", None)
    with torch.inference_mode():
        return encoder[0].model(**tokens, output_hidden_states=True).hidden_states[layer][0, 1:-1].numpy()


@pytest.mark.parametrize("kind", ["bert", "distilbert"])
@pytest.mark.parametrize("layer", [0, 1, 2, 4])
def test_states_are_those_of_transformers(make_encoder, kind, layer):
    encoder = make_encoder(kind)
    for text, readout in zip(TEXTS, read_tokens(encoder, TEXTS, num_layers=layer), strict=True):
        expected = states_by_hand(encoder, text, layer)
        assert readout.embeddings.shape == expected.shape
        np.testing.assert_allclose(readout.embeddings, expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("kind", ["bert", "modernbert", "llama", "distilbert"])
def test_the_last_layer_is_the_default(make_encoder, kind):
    encoder = make_encoder(kind)
    for last, default in zip(read_tokens(encoder, TEXTS, num_layers=4), read_tokens(encoder, TEXTS), strict=True):
        np.testing.assert_array_equal(last.embeddings, default.embeddings)


@pytest.mark.parametrize("kind", ["modernbert", "llama"])
def test_states_of_pre_norm_backbones_are_normed(make_encoder, kind):
    encoder = make_encoder(kind)
    norm = encoder[0].model.final_norm if kind == "modernbert" else encoder[0].model.norm
    with torch.inference_mode():
        expected = norm(torch.from_numpy(states_by_hand(encoder, TEXTS[0], 2))).numpy()
    (readout,) = read_tokens(encoder, TEXTS[:1], num_layers=2)
    np.testing.assert_allclose(readout.embeddings, expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("side", ["right", "left"])
def test_batching_and_padding_do_not_change_states(make_encoder, side):
    encoder = make_encoder("llama")
    alone = [read_tokens(encoder, [text])[0] for text in TEXTS]
    encoder[0].tokenizer.padding_side = side
    for batch_size in (1, 1000):
        together = read_tokens(encoder, TEXTS, batch_size=batch_size)
        for one, other in zip(alone, together, strict=True):
            np.testing.assert_allclose(one.embeddings, other.embeddings, rtol=0, atol=2e-6)
            np.testing.assert_array_equal(one.offsets, other.offsets)


def test_offsets_point_at_the_characters(make_encoder):
    encoder = make_encoder()
    text = "  the cat, 42 naïve: Dog "
    (readout,) = read_tokens(encoder, [text])
    pieces = [text[start:end].lower() for start, end in readout.offsets]
    assert pieces == ["the", "cat", ",", "42", *"naïve", ":", "dog"]
    assert all(one[1] <= other[0] for one, other in pairwise(readout.offsets.tolist()))
    assert len(readout.embeddings) == len(readout.offsets)
    assert readout.embeddings.dtype == np.float32


def test_special_tokens_that_the_text_itself_holds_are_read(make_encoder):
    (readout,) = read_tokens(make_encoder(), ["[SEP] cat [MASK]"])
    assert readout.offsets.tolist() == [[0, 5], [6, 9], [10, 16]]


def test_a_span_over_the_whole_text_is_the_mean_of_its_tokens(make_encoder):
    for text, readout in zip(TEXTS, read_tokens(make_encoder(), TEXTS), strict=True):
        if text:
            np.testing.assert_allclose(
                readout.pool([(0, len(text))])[0], readout.embeddings.mean(axis=0), rtol=0, atol=2e-6
            )


READOUT = TokenReadout(
    embeddings=np.array([[1, 0], [0, 1], [4, 4]], dtype=np.float32), offsets=np.array([[0, 3], [4, 7], [7, 9]])
)


@pytest.mark.parametrize(
    ("span", "mean"),
    [
        ((0, 3), [1, 0]),
        ((2, 3), [1, 0]),  # one shared character is enough
        ((1, 2), [1, 0]),
        ((0, 7), [0.5, 0.5]),
        ((3, 8), [2, 2.5]),
        ((6, 100), [2, 2.5]),
        ([(0, 1), (8, 9)], [2.5, 2]),  # two parts read as one
        ([(0, 3), (0, 2)], [1, 0]),  # a token counts once
        ([(3, 4), (0, 3)], [1, 0]),  # a blank part adds nothing
    ],
)
def test_pooling_worked_by_hand(span, mean):
    assert READOUT.pool([span]).tolist() == [mean]


def test_spans_are_pooled_in_order():
    assert READOUT.pool([(7, 9), (0, 3), (7, 9)]).tolist() == [[4, 4], [1, 0], [4, 4]]
    assert READOUT.pool([]).shape == (0, 2)


@pytest.mark.parametrize("span", [(3, 4), (9, 20), (50, 60), (0, 0), (1, 1), (2, 1), (5, 2), [], (-5, 0)])
def test_a_span_without_a_token_is_refused(span):
    with pytest.raises(InputError, match="has no token"):
        READOUT.pool([(0, 3), span])


@pytest.mark.parametrize("span", [(0,), "ab", None, (0, 1, 2), {"start": 0}])
def test_what_is_no_span_is_refused(span):
    with pytest.raises(InputError, match="a span must be"):
        pool_unchecked(READOUT, [span])


def test_a_span_behind_the_window_is_refused(make_encoder):
    text = "cat " * 100
    (readout,) = read_tokens(make_encoder(), [text])
    assert len(readout.embeddings) == 62
    assert readout.pool([(61 * 4, 61 * 4 + 3)]).shape == (1, 32)
    with pytest.raises(InputError, match="truncated before it"):
        readout.pool([(62 * 4, 62 * 4 + 3)])


def test_no_text_gives_no_readout(make_encoder):
    assert read_tokens(make_encoder(), []) == []
    assert read_tokens(make_encoder(), ()) == []


@pytest.mark.parametrize("blank", ["", "   ", "\n\t"])
def test_blank_text_has_no_tokens(make_encoder, blank):
    (readout,) = read_tokens(make_encoder(), [blank])
    assert readout.embeddings.shape == (0, 32)
    assert readout.offsets.shape == (0, 2)


def test_texts_may_come_in_any_container(make_encoder):
    encoder = make_encoder()
    expected = read_tokens(encoder, TEXTS)
    for texts in (tuple(TEXTS), iter(TEXTS), np.array(TEXTS)):
        for one, other in zip(read_tokens(encoder, texts), expected, strict=True):
            np.testing.assert_array_equal(one.embeddings, other.embeddings)


@pytest.mark.parametrize("texts", ["a single text", None, 5])
def test_what_is_no_list_of_texts_is_refused(make_encoder, texts):
    with pytest.raises(InputError, match="texts must be a list of str"):
        read_unchecked(make_encoder(), texts)


@pytest.mark.parametrize("value", [None, 5, b"a cat", ["a cat"], float("nan")])
def test_something_else_names_its_place_and_type(make_encoder, value):
    with pytest.raises(InputError, match=rf"texts\[1\] must be str; received {type(value).__name__}"):
        read_unchecked(make_encoder(), ["a cat", value])


def test_numbers_out_of_range_are_refused(make_encoder):
    encoder = make_encoder()
    for options in ({"num_layers": -1}, {"num_layers": 5}, {"batch_size": 0}, {"batch_size": "8"}):
        with pytest.raises(InputError, match=next(iter(options))):
            read_unchecked(encoder, TEXTS, **options)


@pytest.mark.parametrize("texts", [[], ["a cat"]])
def test_an_encoder_without_tokens_is_refused(tokenizer, texts):
    encoder = Encoder([StaticEmbedding(tokenizer.backend_tokenizer, embedding_dim=8)], device="cpu")
    with pytest.raises(InputError, match="begins with a text transformer"):
        read_tokens(encoder, texts)


def test_the_encoder_is_as_it_was(make_encoder):
    encoder = make_encoder()
    vectors, version = encoder.encode(TEXTS), encoder.fingerprint
    read_tokens(encoder, TEXTS, num_layers=1)
    assert encoder.fingerprint == version
    np.testing.assert_array_equal(encoder.encode(TEXTS), vectors)


def test_what_encode_pools_is_what_is_read(make_encoder):
    """The mean over all tokens is the mean over those read and the two special ones."""
    encoder = make_encoder(unit=False)
    encoder[1] = type(encoder[1])(32, "max")
    (readout,) = read_tokens(encoder, ["a cat sat"], num_layers=3)
    assert (encoder.encode("a cat sat", num_layers=3) >= readout.embeddings.max(axis=0) - 2e-6).all()
