"""Good encoders pass every check, and every check sees the bug that was planted for it."""

import itertools
import re
import threading
import time
from dataclasses import FrozenInstanceError
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Module, Normalize, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling, StaticEmbedding

from embedkit import Encoder
from embedkit.encoders.cache import VectorCache
from embedkit.encoders.table.encoder import table_encoder
from embedkit.errors import InputError
from embedkit.evaluation import check as module
from embedkit.evaluation.check import CHECKS, check

NAMES = [one.name for one in CHECKS]
TABLES = [{"a": ["one", "two"], "b": ["red", "green"]}, {"a": ["one"], "b": ["red"]}, {"cat": ["sat on the mat"]}]


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Models this small spend their time waiting for a second thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def run(monkeypatch):
    """A function running one check alone."""

    def run(name, encoder, **options):
        monkeypatch.setattr(module, "CHECKS", tuple(one for one in CHECKS if one.name == name))
        (finding,) = check(encoder, **options)
        assert finding.name == name
        return finding

    return run


def statuses(findings):
    return {finding.name: finding.status for finding in findings}


# -- good encoders -------------------------------------------------------------------------------------

TEXTS = ["a cat", "the dog barks", "one two three four", "def return if not true", "the bird sings on the mat " * 4]
GOOD = {
    "bert": (lambda make: make("bert"), {}),
    "modernbert": (lambda make: make("modernbert"), {"inputs": TEXTS}),
    "llama": (lambda make: make("llama", unit=False), {"inputs": TEXTS}),
    "distilbert": (lambda make: make("distilbert", unit=False), {"inputs": TEXTS}),
    "half precision": (lambda make: make("bert").to(torch.float16), {"inputs": TEXTS}),
    "narrower by default": (lambda make: make("bert", truncate_dim=8), {"inputs": TEXTS}),
    "a default prompt": (lambda make: make("bert", prompts={"q": "the "}, default_prompt_name="q"), {"inputs": TEXTS}),
    "prompts not pooled": (lambda make: masking(make, "query: "), {"inputs": TEXTS}),
    "table": (lambda make: table_encoder(make("bert")), {"inputs": TABLES}),
}
SKIPPED = {"prompts not pooled": set(), "table": {"prompt mask", "window", "odd inputs"}}


@pytest.mark.parametrize("kind", GOOD)
def test_a_good_encoder_passes_all_that_applies(make_encoder, kind):
    make, options = GOOD[kind]
    skipped = SKIPPED.get(kind, {"prompt mask"})
    found = statuses(check(make(make_encoder), **options))
    assert found == {name: "skip" if name in skipped else "pass" for name in NAMES}


def test_static_embeddings_pass_all_but_what_needs_layers(tokenizer):
    found = statuses(check(Encoder([StaticEmbedding(tokenizer, embedding_dim=16)], device="cpu")))
    assert found == {name: "skip" if name in ("prompt mask", "depth") else "pass" for name in NAMES}


def test_an_encoder_without_modules_passes_all_that_applies(hashing_encoder):
    skipped = {"prompt mask", "width", "depth", "save and load"}
    found = statuses(check(hashing_encoder))
    assert found == {name: "skip" if name in skipped else "pass" for name in NAMES}


@pytest.mark.slow
def test_the_default_model_passes(default_encoder):
    assert statuses(check(default_encoder)) == {name: "skip" if name == "prompt mask" else "pass" for name in NAMES}


def test_the_wrapper_that_carries_the_bugs_below_has_none(make_encoder):
    skipped = {"prompt mask", "save and load"}
    found = statuses(check(Wrapper(make_encoder()), inputs=TEXTS))
    assert found == {name: "skip" if name in skipped else "pass" for name in NAMES}


# -- planted bugs --------------------------------------------------------------------------------------


class Wrapper:
    """A duck-typed encoder around a good one. Each bug overrides a method."""

    def __init__(self, encoder):
        self.encoder = encoder

    def get_embedding_dimension(self):
        return self.encoder.get_embedding_dimension()

    def get_num_layers(self):
        return self.encoder.get_num_layers()

    def encode(self, inputs, *, batch_size=32, truncate_dim=None, num_layers=None):
        vectors = self.batch([inputs] if isinstance(inputs, str) else inputs, batch_size, truncate_dim, num_layers)
        return vectors[0] if isinstance(inputs, str) else vectors

    def batch(self, texts, batch_size, truncate_dim, num_layers):
        options = {"batch_size": batch_size, "truncate_dim": truncate_dim, "num_layers": num_layers}
        return self.changed(self.encoder.encode(texts, **options), texts)

    def changed(self, vectors, texts):
        return vectors


class CentredOverTheBatch(Wrapper):
    def changed(self, vectors, texts):
        return vectors - vectors.mean(axis=0) / 2 if len(texts) else vectors


class QuantisedOverTheBatch(Wrapper):
    def changed(self, vectors, texts):
        scale = np.abs(vectors).max(initial=1e-9) / 127
        return np.round(vectors / scale).astype(np.float32) * np.float32(scale)


class PaddingCounts(Wrapper):
    """Divides by the padded length, as a mean without a mask does."""

    def changed(self, vectors, texts):
        lengths = np.array([len(text) + 1 for text in texts], dtype=np.float32)
        return vectors * (lengths / lengths.max(initial=1))[:, None]


class PaddingGivesNaN(Wrapper):
    """A softmax over a row that is masked as a whole."""

    def changed(self, vectors, texts):
        shorter = [len(text) < max(map(len, texts)) / 2 for text in texts]
        return np.where(np.array(shorter, dtype=bool)[:, None], np.float32(np.nan), vectors)


class SortedByLength(Wrapper):
    def changed(self, vectors, texts):
        return vectors[np.argsort([-len(text) for text in texts], kind="stable")] if len(texts) else vectors


class DropsDuplicates(Wrapper):
    def batch(self, texts, *options):
        return super().batch(list(dict.fromkeys(texts)), *options)


class DropoutOn(Wrapper):
    def batch(self, texts, *options):
        if not texts:
            return super().batch(texts, *options)
        self.encoder.train()
        with torch.no_grad():
            return self.encoder(self.encoder.preprocess(texts))["sentence_embedding"].numpy()


class Noisy(Wrapper):
    """A difference far below what another batch may make."""

    calls = itertools.count()

    def changed(self, vectors, texts):
        return vectors * np.float32(1 + 2e-7 * (next(self.calls) % 2))


class NaNForAnEmptyText(Wrapper):
    def changed(self, vectors, texts):
        return np.where(np.array([not text for text in texts], dtype=bool)[:, None], np.float32(np.nan), vectors)


class RaisesForEmoji(Wrapper):
    def batch(self, texts, *options):
        if any("🙂" in text for text in texts):
            raise KeyError("🙂")
        return super().batch(texts, *options)


class OddTextsSpoilTheirBatch(Wrapper):
    def changed(self, vectors, texts):
        return vectors * np.float32(np.nan) if len(texts) > 1 and "" in texts else vectors


class Float64(Wrapper):
    def changed(self, vectors, texts):
        return vectors.astype(np.float64)


class Fortran(Wrapper):
    def changed(self, vectors, texts):
        return np.asfortranarray(vectors)


class Tensors(Wrapper):
    def changed(self, vectors, texts):
        return torch.from_numpy(vectors)


class WrongWidth(Wrapper):
    def get_embedding_dimension(self):
        return 33


class OneInputIsABatch(Wrapper):
    def encode(self, inputs, **options):
        return self.encoder.encode([inputs] if isinstance(inputs, str) else inputs, **options)


class NoInputIsNothing(Wrapper):
    def encode(self, inputs, **options):
        return super().encode(inputs, **options) if len(inputs) else np.zeros(0, dtype=np.float32)


class SharedState(Wrapper):
    """Steps that meet in an attribute: the last thread's inputs win."""

    def batch(self, texts, *options):
        self.texts = texts
        time.sleep(0.05)
        return super().batch(self.texts, *options)


class OneAtATime(Wrapper):
    """A tokenizer that is borrowed already."""

    busy = threading.Lock()

    def batch(self, texts, *options):
        if not self.busy.acquire(blocking=False):
            raise RuntimeError("Already borrowed")
        try:
            time.sleep(0.05)
            return super().batch(texts, *options)
        finally:
            self.busy.release()


class TruncatesAfterNormalising(Wrapper):
    def batch(self, texts, batch_size, truncate_dim, num_layers):
        return super().batch(texts, batch_size, None, num_layers)[:, :truncate_dim]


class TruncatesTheWrongEnd(Wrapper):
    def batch(self, texts, batch_size, truncate_dim, num_layers):
        kept = super().batch(texts, batch_size, None, num_layers)[:, -(truncate_dim or 0) :]
        return kept / np.linalg.norm(kept, axis=1, keepdims=True)


class IgnoresTheWidth(Wrapper):
    def batch(self, texts, batch_size, truncate_dim, num_layers):
        return super().batch(texts, batch_size, None, num_layers)


class IgnoresTheDepth(Wrapper):
    def batch(self, texts, batch_size, truncate_dim, num_layers):
        return super().batch(texts, batch_size, truncate_dim, None)


class AllLayersAreOneLess(Wrapper):
    def batch(self, texts, batch_size, truncate_dim, num_layers):
        return super().batch(texts, batch_size, truncate_dim, num_layers and max(1, num_layers - 1))


class ShallowIsNaN(Wrapper):
    def batch(self, texts, batch_size, truncate_dim, num_layers):
        vectors = super().batch(texts, batch_size, truncate_dim, num_layers)
        return vectors * np.float32(np.nan) if num_layers == 1 else vectors


class NaNForALongText(Wrapper):
    def changed(self, vectors, texts):
        return np.where(
            np.array([len(text) > 3000 for text in texts], dtype=bool)[:, None], np.float32(np.nan), vectors
        )


class OneVectorForAll(Wrapper):
    def changed(self, vectors, texts):
        return np.ones_like(vectors)


class FirstLetterOnly(Wrapper):
    def batch(self, texts, *options):
        return super().batch([text[:1] for text in texts], *options)


class ZeroForShortTexts(Wrapper):
    def changed(self, vectors, texts):
        return vectors * np.array([len(text) > 2 for text in texts], dtype=np.float32)[:, None]


class InOneCorner(Wrapper):
    def changed(self, vectors, texts):
        return vectors + np.float32(100)


def bare(encoder):
    return SentenceTransformer(modules=list(encoder), device="cpu")


def with_state_that_is_not_saved(encoder):
    encoder[0].register_forward_hook(lambda part, args, out: {**out, "token_embeddings": out["token_embeddings"] + 0.1})
    return encoder


def with_a_side_that_is_not_saved(encoder):
    encoder.tokenizer.truncation_side = "left"
    return encoder


class Foreign(Module):
    def forward(self, features):
        return features

    def save(self, output_path, *args, **options):
        pass


def with_a_foreign_module(encoder):
    return Encoder([*encoder, Foreign()], device="cpu")


def patched(replace):
    """A bug in the `encode` of embedkit's own encoder, whose class is final."""

    def plant(encoder):
        encode = encoder.encode
        encoder.encode = lambda inputs, prompt=None, **options: replace(encode, inputs, prompt, options)
        return encoder

    return plant


def reads_none(encode, inputs, prompt, options):
    return encode([""] if inputs in (None, [None]) else inputs, **options)


def trips_over_numbers(encode, inputs, prompt, options):
    return encode(inputs, **options) if inputs != [7] else len(inputs[0])


def lets_the_cut_part_count(encode, inputs, prompt, options):
    return encode(inputs, **options) * np.float32(1 + len(inputs[0]) / 1e4)


def with_more_positions_than_there_are(encoder):
    encoder.max_seq_length = 200
    return encoder


PLANTED = [
    (Float64, "form", "float64"),
    (Fortran, "form", "not contiguous"),
    (Tensors, "form", "Tensor"),
    (WrongWidth, "form", r"\(n, 33\) is promised"),
    (OneInputIsABatch, "form", r"one input gave float32 \(1, 32\)"),
    (NoInputIsNothing, "form", r"no input gave float32 \(0,\)"),
    (bare, "form", r"no input gave float\d\d \(0,\)"),
    (CentredOverTheBatch, "batch size", "difference"),
    (QuantisedOverTheBatch, "batch size", "difference"),
    (PaddingCounts, "batch size", "difference"),
    (PaddingCounts, "padding", "difference"),
    (PaddingGivesNaN, "padding", "difference nan"),
    (PaddingGivesNaN, "batch size", "difference nan"),
    (SortedByLength, "order", "difference"),
    (DropsDuplicates, "order", "48 inputs gave vectors of shape .24, 32."),
    (DropoutOn, "determinism", "difference"),
    (Noisy, "determinism", "difference"),
    (SharedState, "threads", "difference"),
    (OneAtATime, "threads", "RuntimeError: Already borrowed"),
    (bare, "width", r"lengths 0\."),
    (TruncatesAfterNormalising, "width", r"lengths 0\."),
    (TruncatesTheWrongEnd, "width", "lengths 1.0000 to 1.0000; largest"),
    (IgnoresTheWidth, "width", "came where"),
    (IgnoresTheDepth, "depth", "num_layers=1 gives the vectors of all layers; num_layers=2"),
    (AllLayersAreOneLess, "depth", "num_layers=4, which is all"),
    (ShallowIsNaN, "depth", "num_layers=1 gives vectors of another shape, NaN or infinity$"),
    (with_state_that_is_not_saved, "depth", "num_layers=1 gives other vectors after saving"),
    (with_state_that_is_not_saved, "save and load", "difference"),
    (with_a_side_that_is_not_saved, "save and load", r"difference 0\.\d+ over 25 inputs"),
    (with_a_foreign_module, "save and load", "ModelError: .*Foreign"),
    (with_more_positions_than_there_are, "window", "Error: "),
    (patched(lets_the_cut_part_count), "window", "cut silently at 64 tokens"),
    (NaNForALongText, "window", "NaN"),
    (NaNForAnEmptyText, "odd inputs", "the empty string gives NaN"),
    (RaisesForEmoji, "odd inputs", "emoji raises KeyError"),
    (OddTextsSpoilTheirBatch, "odd inputs", "to their batch"),
    (bare, "odd inputs", "a lone surrogate raises TypeError"),
    (patched(reads_none), "odd inputs", r"None is read as text; \[None\] is read as text$"),
    (patched(trips_over_numbers), "odd inputs", r"\[7\] raises TypeError"),
    (OneVectorForAll, "distinct vectors", "mean cosine 1.000 between 24 inputs, 276 pairs equal, 0 vectors zero"),
    (FirstLetterOnly, "distinct vectors", "[1-9] pairs equal"),
    (ZeroForShortTexts, "distinct vectors", "1 vectors zero"),
    (InOneCorner, "distinct vectors", "mean cosine 1.000 between 24 inputs, 0 pairs equal"),
]


@pytest.mark.parametrize(("plant", "name", "measured"), PLANTED, ids=lambda value: getattr(value, "__name__", None))
def test_a_planted_bug_is_seen(make_encoder, run, plant, name, measured):
    finding = run(name, plant(make_encoder()))
    assert finding.status == "fail"
    assert re.search(measured, finding.measured)
    assert finding.advice == next(one.advice for one in CHECKS if one.name == name)


def test_every_check_has_a_planted_bug():
    assert {name for _, name, _ in PLANTED} | {"prompt mask"} == set(NAMES)


# -- prompts that are kept out of the pooling ----------------------------------------------------------


def masking(make_encoder, prompt):
    encoder = make_encoder(prompts={"query": prompt, "document": ""})
    encoder.set_pooling_include_prompt(False)
    return encoder


@pytest.mark.parametrize("prompt", ["query: ", "the cat sat on: ", "a cat\n"])
def test_a_mask_that_ends_with_the_prompt_passes(make_encoder, run, prompt):
    assert run("prompt mask", masking(make_encoder, prompt)).status == "pass"


def test_a_prompt_that_merges_with_the_text_is_seen(make_encoder, run):
    # Alone "do" is [CLS] d ##o, and so it is before "dog"; the tokenizer cannot write "doЖЖ" and makes it one [UNK].
    finding = run("prompt mask", masking(make_encoder, "do"), inputs=["dog", "a cat", "ЖЖ"])
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
    finding = run("prompt mask", Encoder(modules, device="cpu", prompts={"q": "find: "}), inputs=["the cat", "a dog"])
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


# -- what is measured ----------------------------------------------------------------------------------


class Scripted:
    """Call after call, vectors worked by hand times the next factor."""

    def __init__(self, *factors):
        self.vectors = {"a": (3.0, 4.0), "b": (0.0, 1.0)}
        self.factors = itertools.chain(factors, itertools.repeat(1.0))

    def get_embedding_dimension(self):
        return 2

    def encode(self, inputs):
        return np.array([self.vectors[text] for text in inputs], dtype=np.float32) * np.float32(next(self.factors))


@pytest.mark.parametrize(("factors", "difference"), [((1, 1, 1), "0"), ((1, 1.5, 1), "0.5"), ((2, 2, 3), "0.5")])
def test_a_difference_by_hand(run, factors, difference):
    # |1.5 v − v| / |v| = 0.5 whatever v is.
    finding = run("determinism", Scripted(*factors), inputs=["a", "b"])
    assert (
        finding.measured
        == f"largest relative difference {difference} between 3 calls with the same 2 inputs (allowed: 0)"
    )
    assert finding.status == ("pass" if difference == "0" else "fail")


def test_the_mean_cosine_by_hand(run):
    # (3, 4) / 5 and (0, 1) have the cosine 0.8.
    finding = run("distinct vectors", Scripted(), inputs=["a", "b"])
    assert finding.measured == "mean cosine 0.800 between 2 inputs, 0 pairs equal, 0 vectors zero"


@pytest.mark.parametrize(("factor", "status"), [(1 + 5e-6, "pass"), (1 + 5e-5, "fail")])
def test_rounding_ends_at_a_hundred_thousandth(run, factor, status):
    assert run("order", Scripted(1, factor), inputs=["a", "b"]).status == status


def test_half_precision_may_round_further(make_encoder, run):
    class ScaledByCount(Wrapper):
        def changed(self, vectors, texts):
            return vectors * np.float32(1 + (3e-3 if len(texts) > 1 else 0))

    def planted(encoder):
        wrapper = ScaledByCount(encoder)
        encode, encoder.encode = encoder.encode, lambda inputs, **options: wrapper.changed(encode(inputs), inputs)
        return encoder

    assert run("batch size", planted(make_encoder())).status == "fail"
    assert run("batch size", planted(make_encoder().to(torch.float16))).status == "pass"


def test_where_texts_are_cut_is_said(make_encoder, run):
    encoder = make_encoder()
    encoder.max_seq_length = 20
    assert run("window", encoder).measured.startswith("longer texts are cut silently at 20 tokens; largest relative")


def test_a_window_too_long_to_fill_is_skipped(make_encoder, run):
    encoder = make_encoder()
    encoder.max_seq_length = 5000
    assert run("window", encoder).status == "skip"


# -- the suite -----------------------------------------------------------------------------------------


def test_findings_come_one_by_one_in_order(hashing_encoder):
    seen = []
    found = check(hashing_encoder, on_finding=seen.append)
    assert tuple(seen) == found
    assert [finding.name for finding in found] == NAMES
    assert len(set(NAMES)) == 13
    with pytest.raises(FrozenInstanceError):
        found[0].status = "fail"


def test_advice_and_measure_follow_the_status(make_encoder):
    for finding in check(bare(make_encoder())):
        assert (finding.status == "pass") == (finding.advice == "")
        assert (finding.status == "skip") == (finding.measured == "")


def test_an_exception_fails_its_checks_and_the_others_still_run():
    class Broken:
        def get_embedding_dimension(self):
            return 3

        def encode(self, inputs):
            raise ZeroDivisionError("no tokens")

    found = {finding.name: finding for finding in check(Broken())}
    assert list(found) == NAMES
    assert found["form"].measured == "ZeroDivisionError: no tokens"
    skipped = {name for name in NAMES if found[name].status == "skip"}
    assert skipped == {"prompt mask", "width", "depth", "save and load"}
    assert all(found[name].status == "fail" for name in set(NAMES) - skipped)


def test_what_an_exception_says_becomes_one_short_line(run, hashing_encoder):
    hashing_encoder.encode = lambda inputs: (_ for _ in ()).throw(RuntimeError("first\nsecond \ud800 " + "x" * 10_000))
    measured = run("order", hashing_encoder).measured
    assert measured.startswith("RuntimeError: first second \\ud800 xxx")
    assert len(measured) == 400


def test_an_interruption_is_no_finding(hashing_encoder):
    hashing_encoder.encode = lambda inputs: (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        check(hashing_encoder)


def test_the_same_seed_shuffles_alike(run, hashing_encoder):
    orders, encode = [], hashing_encoder.encode

    def recorded(inputs):
        orders.append(tuple(inputs))
        return encode(inputs)

    hashing_encoder.encode = recorded
    for seed in (0, 0, 1):
        run("order", hashing_encoder, seed=seed)
    shuffled = [order for order in orders if len(order) == 48]
    assert shuffled[0] == shuffled[1] != shuffled[2]


def test_a_cache_answers_no_comparison_and_is_given_back(make_encoder, run, tmp_path):
    cache = VectorCache(tmp_path / "vectors")
    encoder = make_encoder(cache=cache)
    asked = []
    encoder[0].register_forward_hook(lambda *_: asked.append(1))
    run("determinism", encoder)
    once = len(asked)
    run("determinism", encoder)
    assert len(asked) == 2 * once > 0
    assert encoder.cache is cache
    with pytest.raises(ZeroDivisionError):
        run("form", encoder, on_finding=lambda finding: 1 / 0)
    assert encoder.cache is cache


def test_the_encoder_is_left_as_it_was(make_encoder):
    encoder = make_encoder(prompts={"q": "the "})
    before = encoder.fingerprint
    check(encoder)
    assert encoder.fingerprint == before
    assert encoder.max_seq_length == 64


def test_own_inputs_are_what_is_encoded(run, hashing_encoder):
    seen, encode = set(), hashing_encoder.encode
    hashing_encoder.encode = lambda inputs: (
        seen.update([inputs] if isinstance(inputs, str) else inputs),
        encode(inputs),
    )[1]
    run("batch size", hashing_encoder, inputs=("one", "two"))
    assert seen == {"one", "two"}


def test_an_encoder_of_something_else_needs_inputs(make_encoder):
    with pytest.raises(InputError, match="reads no text: give inputs"):
        check(table_encoder(make_encoder()))


@pytest.mark.parametrize("inputs", [[], ["one"], "text"])
def test_too_few_inputs_are_refused(hashing_encoder, inputs):
    with pytest.raises(InputError, match="at least two different inputs"):
        check(hashing_encoder, inputs=inputs)


@pytest.mark.parametrize("thing", [None, "all-MiniLM-L6-v2", Encoder, SimpleNamespace(encode=len)])
def test_what_is_no_encoder_is_refused(thing):
    with pytest.raises(InputError, match="check needs an encoder"):
        check(thing)


@pytest.mark.parametrize("seed", [-1, 1.5, None, True])
def test_a_seed_out_of_range_is_refused(hashing_encoder, seed):
    with pytest.raises(InputError, match="seed"):
        check(hashing_encoder, seed=seed)
