"""Good encoders pass every check that applies to them."""

import pytest
import torch
from sentence_transformers.sentence_transformer.modules import StaticEmbedding

from embedkit import Encoder
from embedkit.encoders.table.encoder import table_encoder
from embedkit.evaluation.check import check
from tests.evaluation.check.encoders import NAMES, TEXTS, Wrapper, masking, statuses

TABLES = [{"a": ["one", "two"], "b": ["red", "green"]}, {"a": ["one"], "b": ["red"]}, {"cat": ["sat on the mat"]}]
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
