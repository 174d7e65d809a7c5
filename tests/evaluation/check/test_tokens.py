"""What the prompt mask and the window are held against."""

import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Normalize, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling

from embedkit import Encoder
from tests.evaluation.check.encoders import masking, patched


def counting_the_prompt_alone(encoder):
    """The same modules under sentence-transformers, which measures a prompt without the text behind it."""
    return SentenceTransformer(modules=list(encoder), device="cpu", prompts=encoder.prompts)


@pytest.mark.parametrize("prompt", ["query: ", "the cat sat on: ", "a cat\n"])
def test_a_mask_that_ends_with_the_prompt_passes(make_encoder, run, prompt):
    assert run("prompt mask", masking(make_encoder, prompt)).status == "pass"


def test_a_prompt_that_merges_with_the_text_is_seen(make_encoder, run):
    # Alone "do" is [CLS] d ##o, and so it is before "dog"; the tokenizer cannot write "doЖЖ" and makes it one [UNK].
    encoder, inputs = masking(make_encoder, "do"), ["dog", "a cat", "ЖЖ"]
    assert run("prompt mask", encoder, inputs=inputs).status == "pass"
    finding = run("prompt mask", counting_the_prompt_alone(encoder), inputs=inputs)
    assert finding.status == "fail"
    assert "in 1 of 3 prompted texts: 3 tokens are masked of 'doЖЖ', which begins with 1" in finding.measured


def test_a_blank_that_belongs_to_the_next_word_is_seen(make_encoder, run, tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    # Byte-level BPE joins a blank to the word behind it: alone the prompt has a token more than before a text.
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate(["<pad>", *letters, "Ġt"])}
    rust = Tokenizer(models.BPE(vocab=vocabulary, merges=[("Ġ", "t")]))
    rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False)
    backbone = make_encoder("llama")[0].model
    backbone.resize_token_embeddings(len(vocabulary))
    backbone.save_pretrained(tmp_path)
    PreTrainedTokenizerFast(tokenizer_object=rust, pad_token="<pad>", model_max_length=64).save_pretrained(tmp_path)
    modules = [Transformer(str(tmp_path)), Pooling(32, "mean", include_prompt=False), Normalize()]
    encoder, inputs = Encoder(modules, device="cpu", prompts={"q": "find: "}), ["the cat", "a dog"]
    assert run("prompt mask", encoder, inputs=inputs).status == "pass"
    finding = run("prompt mask", counting_the_prompt_alone(encoder), inputs=inputs)
    assert finding.status == "fail"
    assert "in 1 of 2 prompted texts: 6 tokens are masked of 'find: the cat', which begins with 5" in finding.measured


def test_a_prompt_that_is_pooled_all_the_same_is_seen(make_encoder, run):
    def pools_the_prompt(encode, inputs, prompt, options):
        return encode([(prompt or "") + text for text in inputs], **options)

    finding = run("prompt mask", patched(pools_the_prompt)(masking(make_encoder, "query: ")))
    assert finding.status == "fail"
    assert "to pooling without the prompt in 8 texts" in finding.measured


@pytest.mark.parametrize(
    ("prompts", "reason"), [({}, "no prompts"), ({"q": ""}, "no prompts"), ({"q": "the "}, "pooled together")]
)
def test_the_prompt_mask_is_skipped_where_there_is_none(make_encoder, run, prompts, reason):
    finding = run("prompt mask", make_encoder(prompts=prompts))
    assert (finding.status, finding.measured) == ("skip", "")
    assert reason in finding.advice


def test_the_prompt_mask_is_skipped_where_nothing_follows_the_prompt(make_encoder, run):
    finding = run("prompt mask", masking(make_encoder, "the cat sat on the mat " * 20))
    assert (finding.status, finding.advice) == ("skip", "its prompts fill the window")


def test_where_texts_are_cut_is_said(make_encoder, run):
    encoder = make_encoder()
    encoder.max_seq_length = 20
    assert run("window", encoder).measured.startswith("longer texts are cut silently at 20 tokens; largest relative")


def test_a_window_too_long_to_fill_is_skipped(make_encoder, run):
    encoder = make_encoder()
    encoder.max_seq_length = 5000
    assert run("window", encoder).status == "skip"
