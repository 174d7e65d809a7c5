"""All checks together: in order, each with its say, and the encoder left as it was."""

from dataclasses import FrozenInstanceError
from types import SimpleNamespace

import pytest

from embedkit import Encoder
from embedkit.encoders.cache import VectorCache
from embedkit.encoders.table.encoder import table_encoder
from embedkit.errors import InputError
from embedkit.evaluation.check import check
from tests.evaluation.check.encoders import NAMES, bare


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
