"""AFM errs by exactly the eigenvalues it leaves out, and by no more than the nearest weights do."""

import copy

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA, TruncatedSVD
from torch import nn

from embedkit.errors import InputError
from embedkit.modules.lookup import LowRankLookup, low_rank_linear

SIZES, DIM = (7, 1, 30), 6


def table(seed=0):
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(DIM, DIM, generator=generator) * torch.tensor([3, 2, 1, 0.5, 0.2, 0.1])[:, None]
    return torch.randn(sum(SIZES), DIM, generator=generator) @ mixing + torch.randn(DIM, generator=generator)


def counts(seed=0):
    return torch.distributions.Geometric(0.02).sample((sum(SIZES),)) + 1


def error(lookup, weight, how_often):
    shares = how_often / how_often.sum()
    return float(((lookup.materialize() - weight).double().square().sum(1) * shares).sum())


def tail(weight, how_often, rank):
    """Eigenvalues that a rank leaves out, by loops over values."""
    shares = (how_often / how_often.sum()).tolist()
    covariance = np.zeros((DIM, DIM))
    start = 0
    for size in SIZES:
        rows = range(start, start + size)
        total = sum(shares[i] for i in rows)
        mean = sum(shares[i] * weight[i].double().numpy() for i in rows) / total
        for i in rows:
            off = weight[i].double().numpy() - mean
            covariance += shares[i] * np.outer(off, off)
        start += size
    return np.sort(np.linalg.eigvalsh(covariance))[::-1][rank:].sum()


@pytest.mark.parametrize("rank", [1, 3, 5])
def test_the_error_is_what_the_eigenvalues_left_out_hold(rank):
    torch.manual_seed(0)
    weight, how_often = table(), counts()
    lookup = LowRankLookup.from_weight(weight, SIZES, rank, counts=how_often)
    assert error(lookup, weight, how_often) == pytest.approx(tail(weight, how_often, rank), rel=1e-5)


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_oracles_for_one_field(rank):
    weight = table()
    afm = LowRankLookup.from_weight(weight, [38], rank).materialize()
    pca = PCA(rank, svd_solver="full").fit(weight.numpy())
    np.testing.assert_allclose(afm, pca.inverse_transform(pca.transform(weight.numpy())), atol=1e-4)
    svd = LowRankLookup.from_weight(weight, [38], rank, method="svd").materialize()
    truncated = TruncatedSVD(rank, algorithm="arpack").fit(weight.numpy())
    np.testing.assert_allclose(svd, truncated.inverse_transform(truncated.transform(weight.numpy())), atol=1e-4)


def test_counts_are_repeated_rows():
    torch.manual_seed(0)
    weight, how_often = table()[:7], torch.tensor([5, 1, 3, 0, 2, 1, 8])
    seen = torch.repeat_interleave(weight, how_often, dim=0)
    weighted = LowRankLookup.from_weight(weight, [7], 2, counts=how_often)
    repeated = LowRankLookup.from_weight(seen, [20], 2)
    torch.testing.assert_close(
        torch.repeat_interleave(weighted.materialize(), how_often, dim=0), repeated.materialize(), atol=1e-5, rtol=1e-5
    )


def test_a_number_by_hand():
    # On the line through (0, 2) and (2, 2), the mean of counts 3 : 1 lies at (0.5, 2); the weights lie on no line
    # through the origin, so that rank 1 of the weights errs.
    weight = torch.tensor([[0.0, 2.0], [2.0, 2.0]])
    lookup = LowRankLookup.from_weight(weight, [2], 1, counts=[3, 1])
    assert lookup.bias.tolist() == [[0.5, 2.0]]
    torch.testing.assert_close(lookup.decoder.detach().abs(), torch.tensor([[1.0, 0.0]]), atol=1e-6, rtol=0)
    torch.testing.assert_close(lookup.rows.detach().abs(), torch.tensor([[0.5], [1.5]]))
    torch.testing.assert_close(lookup.materialize(), weight)
    # WᵀW = [[4, 4], [4, 8]] has the eigenvalues 6 ± √20: the lesser is what rank 1 leaves out.
    svd = LowRankLookup.from_weight(weight, [2], 1, method="svd")
    assert float((svd.materialize() - weight).square().sum()) == pytest.approx(6 - 20**0.5, rel=1e-5)


@pytest.mark.parametrize("method", ["svd", "afm"])
def test_full_rank_is_exact(method):
    torch.manual_seed(0)
    weight = table()
    lookup = LowRankLookup.from_weight(weight, SIZES, DIM, counts=counts(), method=method)
    torch.testing.assert_close(lookup.materialize(), weight, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_afm_errs_no_more_than_svd_at_every_rank(seed):
    torch.manual_seed(seed)
    weight, how_often = table(seed), counts()
    for rank in range(1, DIM):
        afm, svd = (
            error(LowRankLookup.from_weight(weight, SIZES, rank, counts=how_often, method=method), weight, how_often)
            for method in ("afm", "svd")
        )
        assert afm <= svd * (1 + 1e-6)


def test_reduced_rows_have_a_weighted_mean_of_zero():
    torch.manual_seed(0)
    how_often = counts()
    lookup = LowRankLookup.from_weight(table(), SIZES, 3, counts=how_often)
    start = 0
    for size in SIZES:
        part = slice(start, start + size)
        mean = (lookup.rows[part] * how_often[part, None]).sum(0) / how_often[part].sum()
        torch.testing.assert_close(mean, torch.zeros(3), atol=1e-5, rtol=0)
        start += size


def test_degenerate_tables():
    constant = LowRankLookup.from_weight(torch.full((5, 3), 0.5), [5], 1)
    assert torch.equal(constant.materialize(), torch.full((5, 3), 0.5))
    unseen = LowRankLookup.from_weight(table(), SIZES, 2, counts=torch.zeros(38))
    assert unseen.materialize().isfinite().all()
    one = LowRankLookup.from_weight(torch.tensor([[1.0, 2.0]]), [1], 1, method="svd")
    torch.testing.assert_close(one.materialize(), torch.tensor([[1.0, 2.0]]))
    half = copy.deepcopy(LowRankLookup.from_weight(table(), SIZES, 3)).half()
    assert half(torch.zeros(0, 3, dtype=torch.long)).shape == (0, 3, DIM)


def test_a_budget_buys_rank():
    def of(rank):
        return 4 * (38 * rank + rank * 16 + 3 * 16)

    assert LowRankLookup.for_budget(SIZES, 16, of(5)).rank == 5
    assert LowRankLookup.for_budget(SIZES, 16, of(5)).nbytes == of(5)
    assert LowRankLookup.for_budget(SIZES, 16, of(5) - 1).rank == 4
    assert LowRankLookup.for_budget(SIZES, 16, 10**9).rank == 16
    with pytest.raises(InputError, match=f"at least {of(1)}"):
        LowRankLookup.for_budget(SIZES, 16, of(1) - 1)


def test_what_cannot_be_is_refused():
    with pytest.raises(InputError, match="rank must be a whole number from 1 to 6; received 7"):
        LowRankLookup(SIZES, DIM, rank=7)
    with pytest.raises(InputError, match="method must be 'svd' or 'afm'; received 'pca'"):
        LowRankLookup.from_weight(table(), SIZES, 2, method="pca")
    with pytest.raises(InputError, match=r"inputs must be \(n, 4\) with n at least 1; received shape \(0, 4\)"):
        low_rank_linear(nn.Linear(4, 3), torch.zeros(0, 4), 2)


# -- a linear layer ------------------------------------------------------------------------------------


@pytest.fixture
def layer():
    torch.manual_seed(0)
    inputs = torch.randn(200, 5) @ torch.randn(5, 5) + torch.randn(5)
    return nn.Linear(5, 4), inputs


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_a_layer_errs_by_the_eigenvalues_left_out(layer, rank):
    linear, inputs = layer
    outputs = linear(inputs).detach().double()
    covariance = np.cov(outputs.numpy().T, bias=True)
    left_out = np.sort(np.linalg.eigvalsh(covariance))[::-1][rank:].sum()
    pair, nearest = (low_rank_linear(linear, inputs, rank, method) for method in ("afm", "svd"))
    with torch.no_grad():
        errors = [float((each(inputs) - outputs).square().sum(1).mean()) for each in (pair, nearest)]
    assert errors[0] == pytest.approx(left_out, rel=1e-4)
    assert errors[1] >= left_out * (1 - 1e-5)
    u, s, v = np.linalg.svd(linear.weight.detach().numpy())
    merged = (nearest[1].weight @ nearest[0].weight).detach().numpy()
    np.testing.assert_allclose(merged, (u[:, :rank] * s[:rank]) @ v[:rank], atol=1e-5)
    assert [tuple(layer.weight.shape) for layer in pair] == [(rank, 5), (4, rank)]


@pytest.mark.parametrize("method", ["svd", "afm"])
@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_of_full_rank_is_the_layer(layer, method, bias):
    _, inputs = layer
    linear = nn.Linear(5, 4, bias=bias)
    pair = low_rank_linear(linear, inputs, 4, method)
    other = torch.randn(7, 5)
    torch.testing.assert_close(pair(other), linear(other), atol=1e-5, rtol=1e-5)
    assert low_rank_linear(linear.half(), inputs, 2, method)[0].weight.dtype == torch.float16
