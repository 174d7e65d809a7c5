"""Text as the world sends it: each is encoded, or refused by an error that says where and what."""

import subprocess
import sys
import unicodedata

import numpy as np
import pandas as pd
import pytest
import torch
from sentence_transformers.base.modules import Router, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling, StaticEmbedding
from transformers import AutoModel, PreTrainedTokenizerFast

from embedkit import Encoder
from embedkit.encoders.inputs import PreprocessReader, StaticReader, TextReader, TokenizedInputs, reader_for, tokenize
from embedkit.errors import InputError

OLD = "a cat sat"


@pytest.fixture(params=["transformer", "static", "router"], scope="module")
def encoder(request, checkpoint, tokenizer):
    """Encoders of text that are read in each of the ways there are; no test changes them."""
    if request.param == "static":
        torch.manual_seed(0)
        return Encoder([StaticEmbedding(tokenizer.backend_tokenizer, embedding_dim=32)], device="cpu")
    bert, distilbert = (
        [Transformer(str(checkpoint(kind)), max_seq_length=64), Pooling(32, "mean")] for kind in ("bert", "distilbert")
    )
    return Encoder(
        bert if request.param == "transformer" else [Router.for_query_document(bert, distilbert)], device="cpu"
    )


# -- refused -------------------------------------------------------------------------------------------

NO_TEXT = {
    "None": (None, "NoneType"),
    "NaN": (float("nan"), "float"),
    "int": (5, "int"),
    "bytes": (b"a cat", "bytes"),
    "dict": ({"text": "a cat"}, "dict"),
    "nested list": (["a cat"], "list"),
    "tuple": (("a cat", "a dog"), "tuple"),
    "array": (np.ones(3), "ndarray"),
    "bool": (True, "bool"),
    "missing": (pd.NA, "NAType"),
}


@pytest.mark.parametrize("name", NO_TEXT)
def test_a_batch_with_something_else_names_its_place_and_type(encoder, name):
    value, kind = NO_TEXT[name]
    with pytest.raises(InputError, match=rf"inputs\[1\] must be text.*; received {kind}"):
        encoder.encode([OLD, value, OLD])


@pytest.mark.parametrize("value", [None, float("nan"), 5, b"a cat", {"text": "a cat"}, pd.NA, True, object()])
def test_something_else_alone_names_its_type(encoder, value):
    with pytest.raises(InputError, match=rf"text.*received {type(value).__name__}"):
        encoder.encode(value)


GAPS = {
    "object array": (np.array([OLD, None], dtype=object), "NoneType"),
    "series": (pd.Series([OLD, np.nan], dtype=object), "float"),
    "string series": (pd.Series([OLD, pd.NA], dtype="string"), "NAType"),
    "generator": ((value for value in (OLD, None)), "NoneType"),
}


@pytest.mark.parametrize("name", GAPS)
def test_a_gap_in_a_column_names_its_place(encoder, name):
    values, kind = GAPS[name]
    values = (value for value in (OLD, None)) if name == "generator" else values
    with pytest.raises(InputError, match=rf"inputs\[1\].*received {kind}"):
        encoder.encode(values)


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame({"text": [OLD, "a dog"]}),
        np.array(OLD),
        np.array([[OLD], ["a dog"]]),
        np.array([1.5, 2.5]),
        torch.ones(3),
        range(3),
    ],
    ids=["frame", "0-d array", "2-d array", "float array", "tensor", "range"],
)
def test_what_is_no_list_of_texts_is_refused(encoder, frame):
    with pytest.raises(InputError, match="text"):
        encoder.encode(frame)


@pytest.mark.parametrize("text", ["\ud800", "a cat \udfff sat", "\udc80" * 3])
def test_a_lone_surrogate_names_its_place(encoder, text):
    with pytest.raises(InputError, match=r"inputs\[1\].*surrogate"):
        encoder.encode([OLD, text])


def test_a_lone_surrogate_is_placed_by_its_position_among_duplicates(make_encoder):
    with pytest.raises(InputError, match=r"inputs\[3\].*surrogate"):
        make_encoder().encode([OLD, OLD, OLD, "\ud800"])


def test_an_unknown_prompt_name_is_refused(encoder):
    with pytest.raises(ValueError, match="'nope' not found"):
        encoder.encode(OLD, prompt_name="nope")


def test_a_prompt_that_is_no_text_is_refused(encoder):
    with pytest.raises(InputError, match="prompt"):
        encoder.encode(OLD, prompt=5)


# -- accepted ------------------------------------------------------------------------------------------

STRANGE = {
    "empty": "",
    "blank": " \t\n ",
    "special tokens": "[SEP][CLS]",
    "padding tokens": "[PAD][PAD]",
    "NUL": "a\0cat",
    "right to left": "\u202eשלם",
    "joined emoji": "👩‍👩‍👧 cat 👍🏽",
    "combining": "e\u0301" * 50,
    "control": "\x01\x02\x7f",
    "byte order mark": "\ufeffa cat",
    "line separators": "a\u2028cat\u2029sat",
    "private use": "\ue000\U0010ffff",
    "one word": "catdog" * 1000,
}


@pytest.mark.parametrize("name", STRANGE)
def test_strange_text_gives_a_finite_vector_wherever_it_stands(encoder, name):
    alone = encoder.encode(STRANGE[name])
    assert alone.shape == (encoder.get_embedding_dimension(),)
    assert np.isfinite(alone).all()
    among_others = encoder.encode([OLD, STRANGE[name], "the dog barks"])
    np.testing.assert_allclose(among_others[1], alone, rtol=0, atol=2e-6)
    np.testing.assert_allclose(among_others[0], encoder.encode(OLD), rtol=0, atol=2e-6)


def test_composed_and_decomposed_letters_are_read_alike(make_encoder):
    text = "naïve café"
    decomposed = unicodedata.normalize("NFD", text)
    assert decomposed != text
    encoder = make_encoder()  # its tokenizer strips accents, as BERT's does
    np.testing.assert_array_equal(encoder.encode(decomposed), encoder.encode(text))


def test_a_megabyte_of_text_is_its_first_window(make_encoder):
    encoder = make_encoder()
    long = "a cat sat on the mat " * 50_000
    np.testing.assert_allclose(encoder.encode(long), encoder.encode(long[:2000]), rtol=0, atol=2e-6)


def test_ten_thousand_duplicates_are_one(encoder):
    vectors = encoder.encode([OLD] * 10_000)
    assert vectors.shape == (10_000, 32)
    assert (vectors == vectors[0]).all()


def test_a_single_text_is_not_a_list_of_letters(encoder):
    assert encoder.encode("abc").shape == (32,)
    assert encoder.encode(np.str_("abc")).shape == (32,)


@pytest.mark.parametrize(
    "container",
    [
        tuple,
        iter,
        np.array,
        pd.Series,
        lambda texts: np.array(texts, dtype=object),
        lambda texts: pd.Series(texts).array,
    ],
    ids=["tuple", "generator", "array", "series", "object array", "extension array"],
)
def test_every_way_of_reading_takes_every_container(encoder, container):
    texts = [OLD, "the dog barks"]
    np.testing.assert_array_equal(encoder.encode(container(texts)), encoder.encode(texts))


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_a_text_of_no_tokens_is_encoded(make_encoder, checkpoint, tokenizer, tmp_path, kind, side):
    bare = type(tokenizer.backend_tokenizer).from_str(tokenizer.backend_tokenizer.to_str())
    bare.post_processor = None  # no [CLS], no [SEP], as with GPT-2 and Qwen
    PreTrainedTokenizerFast(
        tokenizer_object=bare, pad_token="[PAD]", unk_token="[UNK]", model_max_length=64, padding_side=side
    ).save_pretrained(tmp_path)
    AutoModel.from_pretrained(checkpoint(kind)).save_pretrained(tmp_path)
    encoder = Encoder([type(make_encoder(kind)[0])(str(tmp_path)), Pooling(32, "mean")], device="cpu")
    alone = encoder.encode("")
    assert np.isfinite(alone).all()
    np.testing.assert_allclose(encoder.encode(["", OLD])[0], alone, rtol=0, atol=2e-6)


# -- readers -------------------------------------------------------------------------------------------


def test_plain_text_is_tokenised_here_and_all_else_by_sentence_transformers(make_encoder, tokenizer):
    encoder = make_encoder()
    assert isinstance(reader_for(encoder, None), TextReader)
    assert isinstance(reader_for(encoder, "prompt "), TextReader)
    encoder[1].include_prompt = False
    assert isinstance(reader_for(encoder, "prompt "), TextReader)
    encoder[0].query_length = 16
    assert isinstance(reader_for(encoder, None), PreprocessReader)
    static = Encoder([StaticEmbedding(tokenizer.backend_tokenizer, embedding_dim=8)], device="cpu")
    assert isinstance(reader_for(static, "prompt "), StaticReader)


def test_a_prompt_kept_out_of_the_pooling_is_kept_out(make_encoder):
    from sentence_transformers import SentenceTransformer

    encoder = make_encoder()
    encoder[1].include_prompt = False
    theirs = SentenceTransformer(modules=list(encoder), device="cpu")
    texts = [OLD, "the dog barks and sings", ""]
    found = encoder.encode(texts, prompt="the bird ")
    np.testing.assert_allclose(found, theirs.encode(texts, prompt="the bird "), rtol=0, atol=2e-6)
    encoder[1].include_prompt = True
    assert np.abs(found - encoder.encode(texts, prompt="the bird ")).max() > 1e-3


def test_padding_worked_by_hand():
    columns = {"input_ids": [[2, 7, 3], [2, 3]], "attention_mask": [[1, 1, 1], [1, 1]]}
    padding = {"input_ids": 9, "attention_mask": 0}
    right = TokenizedInputs(columns, padding, left=False).batch([1, 0])
    assert right["input_ids"].tolist() == [[2, 3, 9], [2, 7, 3]]
    assert right["attention_mask"].tolist() == [[1, 1, 0], [1, 1, 1]]
    left = TokenizedInputs(columns, padding, left=True)
    assert left.batch([1, 0])["input_ids"].tolist() == [[9, 2, 3], [2, 7, 3]]
    assert left.batch([1])["input_ids"].tolist() == [[2, 3]]
    assert left.lengths.tolist() == [3, 2]


def test_tokens_are_those_of_the_tokenizer(make_encoder):
    transformer = make_encoder()[0]
    texts = ["a cat sat", "", "the dog " * 100]
    expected = transformer.tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
    found = tokenize(transformer, texts).batch(range(3))
    for name in ("input_ids", "attention_mask"):
        assert torch.equal(found[name], expected[name])
    assert found["input_ids"].shape[1] == 64


def test_tokenising_is_not_disturbed_by_padding_that_others_switched_on(make_encoder):
    encoder = make_encoder()
    expected = encoder.encode([OLD, "a"])
    encoder[0].tokenizer([OLD, "a"], padding="max_length", max_length=12, truncation=True)
    np.testing.assert_array_equal(encoder.encode([OLD, "a"]), expected)


# -- the same without assertions -----------------------------------------------------------------------

WITHOUT_ASSERTIONS = """
import sys
import numpy as np
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer, models
from embedkit import EmbedkitError, Encoder
assert False, "assertions are off"
encoder = Encoder([StaticEmbedding(Tokenizer(models.WordLevel({"a": 0}, "a")), embedding_dim=4)], device="cpu")
calls = [lambda: encoder.encode([None]), lambda: encoder.encode("a", batch_size=0),
         lambda: encoder.encode("a", truncate_dim=0), lambda: encoder.encode("a", num_layers=1)]
for call in calls:
    try:
        call()
    except EmbedkitError as error:
        print(type(error).__name__)
"""


@pytest.mark.slow
def test_errors_are_the_same_without_assertions():
    result = subprocess.run(
        [sys.executable, "-O", "-c", WITHOUT_ASSERTIONS], check=False, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["InputError"] * 4
