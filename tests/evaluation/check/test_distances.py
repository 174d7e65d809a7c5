"""What is measured, and how far rounding may go."""

import itertools

import numpy as np
import pytest
import torch

from tests.evaluation.check.encoders import Wrapper


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
