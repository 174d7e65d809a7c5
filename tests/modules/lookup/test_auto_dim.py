"""Candidates are mixed as their shares say, shares become one, and what is served is what evaluation gives."""

import copy

import numpy as np
import pytest
import torch

from embedkit.errors import InputError
from embedkit.modules.lookup import AutoDimLookup

SIZES, DIM = (7, 1, 30), 8


def lookup(seed=0, **options):
    torch.manual_seed(seed)
    made = AutoDimLookup(SIZES, DIM, std=0.5, **options)
    made.logits.data = torch.randn_like(made.logits)
    return made


def records(count=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randint(size, (count,), generator=generator) for size in SIZES], dim=1)


def test_oracle():
    made = lookup(candidates=[1, 3, 8]).train()
    made.after_step(0.4)
    torch.manual_seed(5)
    shares = made.shares().detach()
    torch.manual_seed(5)
    uniform = torch.rand(3, 3).numpy()
    scores = np.exp((made.logits.detach().numpy() - np.log(-np.log(uniform))) / 0.6)
    np.testing.assert_allclose(shares.numpy(), scores / scores.sum(1, keepdims=True), rtol=1e-4)
    torch.manual_seed(5)
    vectors = made(records())
    for i, record in enumerate(records()):
        for f, value in enumerate(record.tolist()):
            expected = np.zeros(DIM)
            for c in range(3):
                row = made.weights[c][sum(SIZES[:f]) + value].detach().numpy()
                expected += shares[f, c].item() * row @ made.projections[c][f].detach().numpy()
            np.testing.assert_allclose(vectors[i, f].detach().numpy(), expected, atol=1e-5)


def test_a_number_by_hand():
    made = AutoDimLookup([2], 2, candidates=[1, 2]).eval()
    made.weights[0].data, made.weights[1].data = torch.tensor([[1.0], [2.0]]), torch.eye(2)
    made.projections[0].data, made.projections[1].data = (
        torch.tensor([[[3.0, 4.0]]]),
        torch.tensor([[[1.0, 2], [5, 6]]]),
    )
    made.logits.data = torch.tensor([[1.0, 0.0]])
    assert made.materialize().tolist() == [[3, 4], [6, 8]]
    assert made.serving().nbytes == 4 * (2 + 2)
    made.logits.data = torch.tensor([[0.0, 1.0]])
    assert made.materialize().tolist() == [[1, 2], [5, 6]]
    assert made.serving().nbytes == 4 * 4


def test_shares_are_distributed_as_gumbel_max_says():
    made = lookup(candidates=[2, 8]).train()
    made.logits.data = torch.tensor([[0.0, 1.0]] * 3)
    made.after_step(1.0)
    torch.manual_seed(0)
    drawn = torch.stack([made.shares().detach() for _ in range(2000)])
    torch.testing.assert_close(drawn.sum(-1), torch.ones(2000, 3))
    # At the lowest temperature the greater of logit + noise takes all, with probability softmax(logits).
    assert (drawn.max(-1).values > 0.9).double().mean() > 0.98
    assert drawn[..., 1].mean().item() == pytest.approx(1 / (1 + np.exp(-1)), abs=0.02)


def test_the_temperature_falls_to_its_least():
    made = lookup()
    cooled = []
    for progress in (0.25, 0.5, 0.9, 1.0):
        made.after_step(progress)
        cooled.append(made.temperature.item())
    assert cooled == pytest.approx([0.75, 0.5, 0.1, 0.01])


def test_evaluation_has_no_noise_and_is_what_is_served():
    made = lookup().eval()
    assert torch.equal(made(records()), made(records()))
    served = made.serving()
    assert served.dims == made.chosen_dims()
    torch.testing.assert_close(served.materialize(), made.materialize(), atol=1e-6, rtol=1e-5)
    made.train()
    assert not torch.equal(made(records()), made(records()))


def test_one_candidate_is_a_plain_layer():
    made = lookup(candidates=[5]).train()
    expected = torch.einsum("nw,nwd->nd", made.weights[0], made.projections[0][[0] * 7 + [1] + [2] * 30])
    torch.testing.assert_close(made.materialize(), expected.detach(), atol=1e-6, rtol=1e-5)
    made(records()).sum().backward()
    assert made.logits.grad.abs().max() < 1e-6


def test_candidates_begin_with_the_same_spread():
    torch.manual_seed(0)
    made = AutoDimLookup([20_000], 16, std=0.1).eval()
    spreads = []
    for index in range(len(made.candidates)):
        made.logits.data.zero_()[:, index] = 1
        spreads.append(made.materialize().std().item())
    # Of one field there is one projection, which for two of sixteen dimensions varies.
    assert spreads == pytest.approx([0.1] * 4, rel=0.35)


def test_logits_learn_by_their_own_optimiser_which_candidate_helps():
    torch.manual_seed(0)
    made = AutoDimLookup([20], 8, candidates=[1, 8], logits_lr=0.1, std=0.5).train()
    target = made.weights[1].detach() @ made.projections[1][0].detach()  # what the wide candidate gives
    search, weights = made.search_optimizer(), [weight.detach().clone() for weight in made.weights]
    for step in range(60):
        search.zero_grad()
        (made(torch.arange(20)[:, None])[:, 0] - target).square().sum().backward()
        search.step()
        made.after_step((step + 1) / 100)
    assert made.chosen_dims() == [8]
    assert all(map(torch.equal, made.weights, weights))


def test_bytes_in_training():
    lookup = AutoDimLookup([3, 5], dim=8)
    assert lookup.nbytes == 4 * sum((8 + 2 * 8) * width + 2 for width in (2, 4, 8)) + 4


def test_degenerate_tables():
    one = AutoDimLookup([1], 1)
    assert one.candidates == [1]
    assert one(torch.empty(0, 1, dtype=torch.long)).shape == (0, 1, 1)
    assert AutoDimLookup([1], 6).candidates == [2, 4, 6]
    half = copy.deepcopy(lookup()).half().train()
    assert half(records()).dtype == torch.float16


@pytest.mark.parametrize("candidates", [[], [4, 2], [2, 2], [2, 9], [0, 2], [2.0]])
def test_candidates_that_are_none_are_refused(candidates):
    with pytest.raises(InputError, match="candidates must be"):
        AutoDimLookup(SIZES, DIM, candidates=candidates)
