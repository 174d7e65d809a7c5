"""Codes are the nearest of a grid, or on average the value itself, and what is stored is what is counted."""

import copy

import numpy as np
import pytest
import torch

from embedkit.errors import InputError
from embedkit.modules.lookup import QuantizedLookup, QuantizedTrainingLookup

SIZES = (7, 1, 30)


def table(dim=6, scale=1.0, offset=0.0, seed=0):
    return offset + scale * torch.randn(sum(SIZES), dim, generator=torch.Generator().manual_seed(seed))


def naive(weight, bits, symmetric):
    """The formula again, a number at a time."""
    out, scales = np.zeros(weight.shape), np.zeros(len(weight))
    for i, row in enumerate(weight.double().tolist()):
        if symmetric:
            most = 2 ** (bits - 1) - 1
            scale, zero = max(abs(value) for value in row) / most, 0.0
        else:
            scale, zero = (max(row) - min(row)) / (2**bits - 1), min(row)
        for j, value in enumerate(row):
            out[i, j] = zero + scale * round((value - zero) / scale)
        scales[i] = scale
    return out, scales


@pytest.mark.parametrize("bits", [2, 3, 4, 8, 16])
@pytest.mark.parametrize("symmetric", [False, True])
def test_oracle(bits, symmetric):
    weight = table()
    lookup = QuantizedLookup.from_weight(weight, SIZES, bits, symmetric=symmetric)
    expected, scales = naive(weight, bits, symmetric)
    np.testing.assert_allclose(lookup.materialize().numpy(), expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(lookup.scale.numpy(), scales, rtol=1e-6)


def test_a_number_by_hand():
    # From -1 to 2 in two bits: steps of 1. 0.4 is nearest to 0, and 0.6 to 1.
    lookup = QuantizedLookup.from_weight(torch.tensor([[-1.0, 0.4, 0.6, 2.0]]), [1], 2)
    assert lookup.materialize().tolist() == [[-1, 0, 1, 2]]
    assert lookup.codes.tolist() == [[0b11_10_01_00]]
    assert lookup.nbytes == 1 + 8


@pytest.mark.parametrize("scales", ["float32", "float16"])
@pytest.mark.parametrize("bits", [1, 4, 8])
@pytest.mark.parametrize(("scale", "offset"), [(1, 0), (0.01, 0), (0.01, 10), (100, -5)])
def test_the_error_is_at_most_half_a_step(scales, bits, scale, offset):
    weight = table(scale=scale, offset=offset)
    lookup = QuantizedLookup.from_weight(weight, SIZES, bits, scales=scales)
    error = (lookup.materialize() - weight).abs()
    assert (error <= lookup.scale.float()[:, None] / 2 * (1 + 1e-4) + 2e-6 * abs(offset)).all()


def test_stochastic_rounding_is_right_on_average_and_within_a_step():
    torch.manual_seed(0)
    weight = table()
    drawn = torch.stack(
        [QuantizedLookup.from_weight(weight, SIZES, 3, stochastic=True).materialize() for _ in range(400)]
    )
    scale = QuantizedLookup.from_weight(weight, SIZES, 3).scale[:, None]
    assert ((drawn - weight).abs() <= scale * (1 + 1e-5)).all()
    # A value between two steps has a deviation of at most half a step: five standard errors.
    assert ((drawn.mean(0) - weight).abs() <= 5 * 0.5 * scale / 400**0.5).all()
    assert (drawn != drawn[0]).any()


@pytest.mark.parametrize("stochastic", [False, True])
def test_a_row_of_one_value_is_exact(stochastic):
    weight = torch.tensor([[0.1, 0.1], [0, 0], [-3e-30, -3e-30]])
    assert torch.equal(QuantizedLookup.from_weight(weight, [3], 4, stochastic=stochastic).materialize(), weight)


@pytest.mark.parametrize("bits", [1, 4, 8, 16])
@pytest.mark.parametrize("symmetric", [False, True])
def test_again_it_changes_nothing(bits, symmetric):
    bits = max(bits, 2 if symmetric else 1)
    once = QuantizedLookup.from_weight(table(), SIZES, bits, symmetric=symmetric)
    twice = QuantizedLookup.from_weight(once.materialize(), SIZES, bits, symmetric=symmetric)
    assert torch.equal(once.codes, twice.codes)
    torch.testing.assert_close(once.materialize(), twice.materialize(), rtol=1e-6, atol=1e-6)


def test_more_bits_err_less_and_take_the_bytes_that_are_told():
    weight, errors = table(dim=5), []
    for bits in range(1, 17):
        lookup = QuantizedLookup.from_weight(weight, SIZES, bits)
        assert lookup.nbytes == len(weight) * (-(-5 * bits // 8) + 8)
        errors.append((lookup.materialize() - weight).square().mean().item())
    assert errors == sorted(errors, reverse=True)
    assert QuantizedLookup.from_weight(weight, SIZES, 8, symmetric=True, scales="float16").nbytes == 38 * (5 + 2)


def test_half_precision_tells_the_vectors_not_the_scales():
    lookup = QuantizedLookup.from_weight(table(), SIZES, 16)
    half = copy.deepcopy(lookup).half()
    assert half.materialize().dtype == torch.float16
    torch.testing.assert_close(half.materialize().float(), lookup.materialize(), rtol=2e-3, atol=2e-2)
    narrow = QuantizedLookup.from_weight(table(), SIZES, 8, scales="float16")
    assert narrow.materialize().dtype == torch.float32


def test_what_cannot_be_is_refused():
    with pytest.raises(InputError, match="bits must be a whole number from 1 to 16; received 17"):
        QuantizedLookup(SIZES, 4, bits=17)
    with pytest.raises(InputError, match="from 2 to 16; received 1"):
        QuantizedLookup(SIZES, 4, bits=1, symmetric=True)
    with pytest.raises(InputError, match="scales must be one of float32, float16; received 'int8'"):
        QuantizedLookup(SIZES, 4, scales="int8")
    with pytest.raises(InputError, match="up to 65504"):
        QuantizedLookup.from_weight(table(scale=1e6), SIZES, scales="float16")


# -- training ------------------------------------------------------------------------------------------


def test_vectors_are_those_that_will_be_served():
    torch.manual_seed(0)
    lookup = QuantizedTrainingLookup(SIZES, 6, bits=3)
    assert torch.equal(lookup.materialize(), lookup.serving().materialize())
    lookup.after_step(0.5)
    assert torch.equal(lookup.materialize(), lookup.serving().materialize())
    torch.testing.assert_close(lookup.materialize(), lookup.weight.detach(), rtol=0, atol=1e-7)


def test_gradients_pass_through():
    lookup = QuantizedTrainingLookup([3], 4, bits=2)
    upstream = torch.randn(2, 1, 4)
    lookup(torch.tensor([[2], [0]])).backward(upstream)
    assert torch.equal(lookup.weight.grad[[2, 0]], upstream[:, 0])
    assert not lookup.weight.grad[1].any()


def test_steps_below_half_a_step_of_the_grid_are_not_lost():
    torch.manual_seed(0)
    lookup = QuantizedTrainingLookup([400], 3, bits=4)
    with torch.no_grad():
        lookup.weight.copy_(torch.tensor([0.0, 0.5, 1.0]))  # the ends hold the grid, steps of 1/15, in place
        lookup.after_step(0.0)
        start = lookup.weight[:, 1].mean().item()
        for _ in range(20):
            lookup.weight[:, 1] += 0.1 / 15
            lookup.after_step(0.5)
    moved = lookup.weight[:, 1].mean().item() - start
    assert moved == pytest.approx(20 * 0.1 / 15, rel=0.15)


@pytest.mark.parametrize("bits", [4, 8, 16])
@pytest.mark.parametrize("offset", [0.0, 3.0])
def test_rows_that_no_step_changes_do_not_wander(bits, offset):
    torch.manual_seed(0)
    lookup = QuantizedTrainingLookup([2000], 8, bits=bits)
    lookup.weight.data = offset + torch.randn(2000, 8)
    lookup.after_step(0.1)
    before, codes = lookup.weight.detach().clone(), lookup.serving().codes
    for _ in range(40):
        lookup.after_step(0.5)
    assert torch.equal(lookup.serving().codes, codes)
    assert torch.equal(lookup.weight, before)


def test_a_budget_buys_bits():
    rows = sum(SIZES)
    assert QuantizedTrainingLookup.for_budget(SIZES, 16, rows * (16 + 8)).bits == 8
    assert QuantizedTrainingLookup.for_budget(SIZES, 16, rows * (16 + 8) - 1).bits == 7
    assert QuantizedTrainingLookup.for_budget(SIZES, 16, 10**9).bits == 16
    with pytest.raises(InputError, match=f"nbytes must be at least {rows * 10}"):
        QuantizedTrainingLookup.for_budget(SIZES, 16, rows * 10 - 1)
