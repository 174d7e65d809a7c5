"""Which leading tokens are the prompt's, and that a pooling leaves out exactly those."""

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Pooling

from embedkit import Encoder
from embedkit.encoders.inputs import TextReader, reader_for
from embedkit.encoders.prompts import prompt_lengths
from embedkit.errors import InputError
from embedkit.modules.pooling import LatentAttentionPooling

PROMPT = "find: "
TEXTS = ["the cat", "a dog", "", " twice blank", "ЖЖ", "the the the the"]
# The tokens: letters one by one, and "Ġt", a blank with the t behind it. Without the blank that belongs to "the" the
# prompt has five tokens; before other letters the blank is a sixth.
LENGTHS = {"the cat": 5, "a dog": 6, "": 6, " twice blank": 6, "ЖЖ": 6, "the the the the": 5}


@pytest.fixture(scope="session")
def byte_level(checkpoint, tmp_path_factory):
    """A function giving a transformer with byte-level BPE, which joins blanks to what follows them."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import AutoModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("byte level")
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate(["<pad>", *letters, "Ġt"])}
    rust = Tokenizer(models.BPE(vocab=vocabulary, merges=[("Ġ", "t")]))
    rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False)
    backbone = AutoModel.from_pretrained(checkpoint("llama"))
    backbone.resize_token_embeddings(len(vocabulary))
    backbone.save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=rust, pad_token="<pad>", model_max_length=64).save_pretrained(folder)

    def make(side="right"):
        transformer = Transformer(str(folder))
        transformer.tokenizer.padding_side = side
        return transformer

    return make


def latent():
    torch.manual_seed(0)
    sizes = {"num_latents": 4, "num_heads": 2, "head_dim": 8}
    return LatentAttentionPooling(32, **sizes, init="random", include_prompt=False)


POOLINGS = {"sentence-transformers'": lambda: Pooling(32, "mean", include_prompt=False), "ours": latent}


@pytest.fixture(params=POOLINGS)
def pooling(request):
    return POOLINGS[request.param]()


def by_hand(encoder, prompt, text, length):
    """One text alone, with a number of leading tokens left out of the pooling."""
    encoded = encoder.tokenizer(prompt + text, return_tensors="pt", truncation=True)
    features = {name: encoded[name] for name in ("input_ids", "attention_mask")}
    with torch.inference_mode():
        return encoder.eval()({**features, "prompt_length": length})["sentence_embedding"][0].numpy()


@pytest.mark.parametrize("side", ["right", "left"])
def test_each_text_keeps_all_its_tokens_and_none_of_the_prompt(byte_level, pooling, side):
    encoder = Encoder([byte_level(side), pooling], device="cpu")
    found = encoder.encode(TEXTS, prompt=PROMPT)
    for text, vector in zip(TEXTS, found, strict=True):
        np.testing.assert_allclose(vector, by_hand(encoder, PROMPT, text, LENGTHS[text]), rtol=0, atol=2e-6)
        np.testing.assert_allclose(vector, encoder.encode(text, prompt=PROMPT), rtol=0, atol=2e-6)


def test_counting_the_prompt_alone_would_lose_tokens_of_the_text(byte_level):
    pooling = POOLINGS["sentence-transformers'"]()
    encoder = Encoder([byte_level(), pooling], device="cpu")
    theirs = SentenceTransformer(modules=list(encoder), device="cpu")
    assert np.abs(encoder.encode("the cat", prompt=PROMPT) - theirs.encode("the cat", prompt=PROMPT)).max() > 1e-3
    np.testing.assert_allclose(
        encoder.encode("a dog", prompt=PROMPT), theirs.encode("a dog", prompt=PROMPT), rtol=0, atol=2e-6
    )


def test_the_grid_leaves_out_the_same(byte_level, pooling):
    encoder = Encoder([byte_level(), pooling], device="cpu")
    grid = encoder.encode_grid(TEXTS, layers=[1, 4], dims=[32], prompt=PROMPT)
    np.testing.assert_array_equal(grid[4, 32], encoder.encode(TEXTS, prompt=PROMPT))
    np.testing.assert_array_equal(grid[1, 32], encoder.encode(TEXTS, prompt=PROMPT, num_layers=1))


# -- in training ---------------------------------------------------------------------------------------


def test_rows_that_agree_get_one_number(byte_level, pooling):
    encoder = Encoder([byte_level(), pooling], device="cpu")
    assert encoder.preprocess(["the cat", "the the the the"], prompt=PROMPT)["prompt_length"] == 5
    assert encoder.preprocess(["a dog"], prompt=PROMPT)["prompt_length"] == 6
    assert "prompt_length" not in encoder.preprocess(["a dog"])


def test_rows_that_differ_get_a_number_each_where_the_pooling_takes_them(byte_level):
    encoder = Encoder([byte_level(), latent()], device="cpu")
    features = encoder.preprocess(TEXTS, prompt=PROMPT)
    assert features["prompt_length"].tolist() == [LENGTHS[text] for text in TEXTS]
    with torch.inference_mode():
        vectors = encoder.eval()(features)["sentence_embedding"].numpy()
    np.testing.assert_allclose(vectors, encoder.encode(TEXTS, prompt=PROMPT), rtol=0, atol=2e-6)


def test_rows_that_differ_get_the_smallest_where_it_takes_one(byte_level):
    encoder = Encoder([byte_level(), POOLINGS["sentence-transformers'"]()], device="cpu")
    assert encoder.preprocess(TEXTS, prompt=PROMPT)["prompt_length"] == 5


def test_columns_merged_into_one_batch_keep_their_lengths():
    pooling, states = latent(), torch.randn(4, 5, 32)
    mask = torch.ones(4, 5, dtype=torch.long)
    lengths = torch.tensor([1, 2])
    merged = pooling({"token_embeddings": states, "attention_mask": mask, "prompt_length": lengths})
    each = pooling({"token_embeddings": states, "attention_mask": mask, "prompt_length": lengths.repeat(2)})
    assert torch.equal(merged["sentence_embedding"], each["sentence_embedding"])


# -- where it ends ---------------------------------------------------------------------------------------


def encoded(*tokens):
    """One text of tokens, each (start, end) or None for a special one."""
    return {
        "offset_mapping": [[token or (0, 0) for token in tokens]],
        "special_tokens_mask": [[int(token is None) for token in tokens]],
    }


class Window:
    model_max_length = 6


@pytest.mark.parametrize(
    ("tokens", "length"),
    [
        ([None, (0, 2), (2, 4), (4, 6), None], 3),
        ([None, (0, 2), (2, 5), None], 2),  # straddles
        ([None, (0, 6), None], 1),  # one token for all
        ([(0, 4), (4, 6)], 1),  # no special tokens
        ([None, (0, 2), (2, 4), None], 3),  # no text: the special token behind it stays
        ([(0, 2), (2, 4)], 2),  # no text at all: nothing stays
        ([None, None], 0),  # neither prompt nor text
        ([None, (5, 6), None], 1),  # the prompt was cut off on the left
        ([None, (0, 2), (4, 4), (4, 5)], 3),  # a token of no character before the text
        ([], 0),
    ],
)
def test_a_prompt_of_four_characters_ends_here(tokens, length):
    assert prompt_lengths(Window, "abcd", encoded(*tokens)).tolist() == [length]


@pytest.mark.parametrize("blank", ["", " "])
def test_a_text_without_tokens_behind_a_prompt_is_finite(byte_level, pooling, blank):
    for encoder in (
        Encoder([byte_level(), pooling], device="cpu"),
        Encoder([byte_level("left"), pooling], device="cpu"),
    ):
        assert np.isfinite(encoder.encode([blank, "a cat"], prompt="find:")).all()


@pytest.mark.parametrize("length", [64, 65, 500])
def test_a_prompt_that_fills_the_window_is_refused(byte_level, pooling, length):
    encoder = Encoder([byte_level(), pooling], device="cpu")
    with pytest.raises(InputError, match=rf"window of 64 tokens; received one of {length} characters"):
        encoder.encode(["a cat", ""], prompt="a" * length)
    with pytest.raises(InputError, match="shorten the prompt"):
        encoder.preprocess(["a cat"], prompt="a" * length)


def test_a_prompt_may_fill_the_window_but_for_one_token(byte_level, pooling):
    encoder = Encoder([byte_level(), pooling], device="cpu")
    found = encoder.encode("cat", prompt="a" * 63)
    np.testing.assert_allclose(found, by_hand(encoder, "a" * 63, "cat", 63), rtol=0, atol=2e-6)


def test_a_prompt_that_is_pooled_may_fill_the_window(byte_level):
    encoder = Encoder([byte_level(), Pooling(32, "mean")], device="cpu")
    assert np.isfinite(encoder.encode("a cat", prompt="a" * 100)).all()


def test_a_slow_tokenizer_is_read_by_sentence_transformers(byte_level, monkeypatch):
    encoder = Encoder([byte_level(), latent()], device="cpu")
    assert type(reader_for(encoder, PROMPT)) is TextReader
    monkeypatch.setattr(type(encoder[0].tokenizer), "is_fast", False)
    assert type(reader_for(encoder, PROMPT)) is not TextReader
    assert type(reader_for(encoder, None)) is TextReader
    assert encoder.preprocess(["a cat"], prompt=PROMPT)["prompt_length"] == 6
