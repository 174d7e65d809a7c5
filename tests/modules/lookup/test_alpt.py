"""Steps get the gradient of LSQ, rows the straight-through one, and only rows of the batch are rounded."""

import copy

import pytest
import torch

from embedkit.errors import InputError
from embedkit.modules.lookup import LearnedStepLookup

SIZES, DIM = (7, 1, 30), 5


def naive(weight, step, most, upstream):
    """Vectors and gradients, a number at a time."""
    vectors, for_weight, for_step = [], [], 0.0
    for value, g in zip(weight, upstream, strict=True):
        x = value / step
        vectors.append(step * max(-most, min(most, round(x))))
        for_weight.append(g if abs(x) <= most else 0.0)
        for_step += g * (round(x) - x if abs(x) <= most else most if x > 0 else -most)
    return vectors, for_weight, for_step


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_oracle(bits):
    torch.manual_seed(0)
    lookup = LearnedStepLookup(SIZES, DIM, bits=bits)
    most = 2 ** (bits - 1) - 1
    lookup.weight.data = torch.randn(38, DIM) * 0.02 * most  # some of it beyond the range
    lookup.step.data = torch.rand(38, 1) * 0.02 + 0.01
    ids, upstream = torch.tensor([[3, 0, 20], [5, 0, 1]]), torch.randn(2, 3, DIM)
    vectors = lookup(ids)
    vectors.backward(upstream)
    rows = ids + lookup.offsets
    for_step, for_weight = torch.zeros(38), torch.zeros(38, DIM)
    for i in range(2):
        for f in range(3):
            row = int(rows[i, f])
            expected, of_weight, of_step = naive(
                lookup.weight[row].tolist(), lookup.step[row].item(), most, upstream[i, f].tolist()
            )
            torch.testing.assert_close(vectors[i, f], torch.tensor(expected), atol=1e-6, rtol=1e-6)
            for_weight[row] += torch.tensor(of_weight)
            for_step[row] += of_step / (2 * DIM * most) ** 0.5
    torch.testing.assert_close(lookup.weight.grad, for_weight, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(lookup.step.grad[:, 0], for_step, atol=1e-5, rtol=1e-4)


def test_a_number_by_hand():
    lookup = LearnedStepLookup([1], 3, bits=3)
    lookup.weight.data, lookup.step.data = torch.tensor([[0.6, -2.75, 9.0]]), torch.tensor([[0.5]])
    vectors = lookup(torch.tensor([[0]]))
    # x = 1.2, -5.5, 18, of which codes up to 3 remain: 1, -3, 3.
    assert vectors.flatten().tolist() == [0.5, -1.5, 1.5]
    vectors.sum().backward()
    assert lookup.weight.grad.tolist() == [[1, 0, 0]]
    torch.testing.assert_close(lookup.step.grad, torch.tensor([[(-0.2 - 3 + 3) / 3]]))


def test_rows_beside_the_batch_are_unchanged():
    torch.manual_seed(0)
    lookup = LearnedStepLookup([40], DIM, bits=4).train()
    before = lookup.weight.detach().clone()
    lookup(torch.tensor([[3], [7], [3]]))
    lookup.after_step(0.5)
    changed = (lookup.weight != before).any(1).nonzero()[:, 0].tolist()
    assert changed == [3, 7]
    codes = lookup.weight[[3, 7]] / lookup.step[[3, 7]]
    torch.testing.assert_close(codes, codes.round(), atol=1e-4, rtol=0)
    after = lookup.weight.detach().clone()
    lookup.eval()(torch.tensor([[5]]))
    lookup.after_step(0.6)
    assert torch.equal(lookup.weight, after)


def test_rounding_is_right_on_average():
    torch.manual_seed(0)
    lookup = LearnedStepLookup([20_000], 1, bits=4).train()
    lookup.weight.data.fill_(0.23)
    lookup.step.data.fill_(0.1)
    lookup(torch.arange(20_000)[:, None])
    lookup.after_step(0.5)
    assert {round(value, 6) for value in lookup.weight.flatten().tolist()} == {0.2, 0.3}
    assert lookup.weight.mean().item() == pytest.approx(0.23, abs=0.002)


def test_rows_on_their_grid_stay():
    torch.manual_seed(0)
    lookup = LearnedStepLookup([2000], 8, bits=16).train()
    ids = torch.arange(2000)[:, None]
    lookup(ids)
    lookup.after_step(0.1)
    before = lookup.weight.detach().clone()
    for _ in range(20):
        lookup(ids)
        lookup.after_step(0.5)
    assert torch.equal(lookup.weight, before)


def test_steps_stay_above_zero_under_their_own_optimiser():
    lookup = LearnedStepLookup(SIZES, DIM, step_lr=1e9)
    own = lookup.own_optimizer()
    lookup(torch.zeros(2, 3, dtype=torch.long)).sum().backward()
    before = lookup.weight.detach().clone()
    own.step()
    assert torch.equal(lookup.weight, before)
    lookup.after_step(0.5)
    assert (lookup.step > 0).all()
    assert lookup.materialize().isfinite().all()


def test_vectors_are_those_that_are_served():
    torch.manual_seed(0)
    lookup = LearnedStepLookup(SIZES, DIM, bits=5)
    assert torch.equal(lookup.serving().materialize(), lookup.materialize())
    assert lookup.serving().nbytes == 38 * (4 + 4)


def test_what_is_served_stays_while_training_goes_on():
    lookup = LearnedStepLookup(SIZES, DIM)
    served = lookup.serving()
    before = served.materialize()
    lookup.step.data.mul_(2)
    assert torch.equal(served.materialize(), before)


def test_both_learn():
    torch.manual_seed(0)
    lookup = LearnedStepLookup([30], DIM, bits=8, step_lr=0.01).train()
    optimizers = [torch.optim.Adam([lookup.weight], lr=0.01), lookup.own_optimizer()]
    target, first = 0.05 * torch.randn(30, 1, DIM), lookup.step.detach().clone()
    errors = []
    for _ in range(80):
        for optimizer in optimizers:
            optimizer.zero_grad()
        error = (lookup(torch.arange(30)[:, None]) - target).square().sum()
        error.backward()
        for optimizer in optimizers:
            optimizer.step()
        lookup.after_step(0.5)
        errors.append(error.item())
    assert errors[-1] < 0.2 * errors[0]
    assert (lookup.step != first).any()


def test_degenerate_tables():
    zero = LearnedStepLookup([1], 1, std=0.0)
    assert zero(torch.tensor([[0]])).item() == 0
    assert zero(torch.empty(0, 1, dtype=torch.long)).shape == (0, 1, 1)
    half = copy.deepcopy(LearnedStepLookup(SIZES, DIM)).half()
    half(torch.zeros(2, 3, dtype=torch.long)).sum().backward()
    assert half.step.grad.isfinite().all()


def test_a_budget_buys_bits():
    assert LearnedStepLookup.for_budget(SIZES, 16, 38 * (8 + 4)).bits == 4
    assert LearnedStepLookup.for_budget(SIZES, 16, 38 * (8 + 4) - 1).bits == 3
    with pytest.raises(InputError, match=f"at least {38 * 8}"):
        LearnedStepLookup.for_budget(SIZES, 16, 38 * 8 - 1)
    with pytest.raises(InputError, match="from 2 to 16; received 1"):
        LearnedStepLookup(SIZES, 16, bits=1)
