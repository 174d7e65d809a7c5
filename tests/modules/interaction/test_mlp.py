"""Dropout is exact in what it leaves out and what it scales, and its gradient is that of what it gave."""

import pytest
import torch

from embedkit.modules.interaction.mlp import MLP, ReluDropout, kept_units


@pytest.mark.parametrize("dropout", [0.1, 0.5, 0.9])
def test_as_many_units_are_left_out_as_asked_for(dropout):
    torch.manual_seed(0)
    kept, factor = kept_units(torch.empty(1000, 1000), dropout)
    assert 1 - kept.float().mean().item() == pytest.approx(dropout, abs=0.002)
    assert factor * (65536 - round(dropout * 65536)) == 65536
    assert kept.float().mean().item() * factor == pytest.approx(1, abs=0.02)


def test_units_are_left_out_independently():
    torch.manual_seed(0)
    kept, _ = kept_units(torch.empty(200_000, 8), 0.5)
    correlations = torch.corrcoef(kept.float().T) - torch.eye(8)
    assert correlations.abs().max() < 0.012
    assert kept.float().mean(dim=0).sub(0.5).abs().max() < 0.006


@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (3, 5), (4, 4)])
def test_any_shape_is_covered(shape):
    assert kept_units(torch.empty(shape), 0.5)[0].shape == shape


def test_a_seed_repeats_it():
    masks = []
    for _ in range(2):
        torch.manual_seed(5)
        masks.append(kept_units(torch.empty(7, 9), 0.3)[0])
    assert torch.equal(*masks)


def test_the_gradient_is_that_of_the_units_that_were_kept():
    inputs = torch.randn(50, 40, requires_grad=True)
    outputs = ReluDropout(0.4)(inputs)
    gradient = torch.randn(50, 40)
    outputs.backward(gradient)
    factor = 65536 / (65536 - round(0.4 * 65536))
    torch.testing.assert_close(inputs.grad, torch.where(outputs > 0, gradient * factor, 0.0))
    torch.testing.assert_close(outputs, torch.where(outputs > 0, inputs * factor, 0.0))
    assert 0.25 < (outputs > 0).float().mean() < 0.35


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_trains(dtype):
    inputs = torch.randn(8, 4, dtype=dtype, requires_grad=True)
    MLP(4, [6], out=1, dropout=0.5).to(dtype)(inputs).sum().backward()
    assert inputs.grad.isfinite().all()


def test_evaluation_leaves_nothing_out():
    inputs = torch.randn(5, 4)
    assert torch.equal(ReluDropout(0.9).eval()(inputs), torch.relu(inputs))
