"""Codes are the nearest, in training as in serving, and gradients are those of the straight-through estimator."""

import copy

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans

from embedkit.errors import InputError
from embedkit.modules.lookup import CodebookLookup, MGQELookup
from embedkit.modules.lookup.codebook import codebook_within, nearest_codes, served_bytes

SIZES, DIM = (7, 1, 150), 6


def table(seed=0):
    return torch.randn(sum(SIZES), DIM, generator=torch.Generator().manual_seed(seed))


def counts(seed=0):
    return torch.randint(1, 100, (sum(SIZES),), generator=torch.Generator().manual_seed(seed))


def naive_codes(weight, codebook, limits):
    codes = np.zeros((len(weight), len(codebook)), dtype=int)
    width = codebook.shape[2]
    for i, row in enumerate(weight):
        for p, centroids in enumerate(codebook):
            piece = row[p * width : (p + 1) * width]
            codes[i, p] = min(range(limits[i]), key=lambda j: float(((piece - centroids[j]) ** 2).sum()))
    return codes


@pytest.mark.parametrize(("parts", "num_codes", "cold_codes"), [(3, 8, None), (2, 9, 3), (6, 16, 4), (1, 300, 20)])
def test_oracle(parts, num_codes, cold_codes):
    torch.manual_seed(0)
    lookup = MGQELookup(
        SIZES, DIM, counts(), parts=parts, num_codes=num_codes, cold_codes=cold_codes, hot_share=0.25
    ).eval()
    hot = np.zeros(158, dtype=bool)
    hot[sorted(range(158), key=lambda i: -int(counts()[i]))[: round(0.25 * 158)]] = True
    limits = np.where(hot | (cold_codes is None), num_codes, cold_codes or 0)
    weight, codebook = lookup.weight.detach().double().numpy(), lookup.codebook.detach().double().numpy()
    codes = naive_codes(weight, codebook, limits)
    expected = np.stack([np.concatenate([codebook[p, code] for p, code in enumerate(row)]) for row in codes])
    np.testing.assert_allclose(lookup.materialize().numpy(), expected, atol=1e-7)
    served = lookup.serving()
    assert torch.equal(served.materialize(), lookup.materialize())
    np.testing.assert_array_equal(served._codes(torch.arange(158)).numpy(), codes)
    assert cold_codes is None or codes[~hot].max() < cold_codes
    hot_rows = int(hot.sum()) if cold_codes else 0
    assert served.nbytes == served_bytes(158, DIM, parts, num_codes, cold_codes, hot_rows)


def test_a_number_by_hand():
    weight = torch.tensor([[0.0, 10.0], [1.0, 10.0], [10.0, 20.0], [11.0, 20.0]])
    lookup = CodebookLookup.from_weight(weight, [4], parts=2, num_codes=2)
    # The first column falls into two pairs, with the means 0.5 and 10.5; the second has two values.
    expected = torch.tensor([[0.5, 10], [0.5, 10], [10.5, 20], [10.5, 20]])
    torch.testing.assert_close(lookup.materialize(), expected)
    assert lookup.nbytes == 4 * 2 * 2 + 4 * 1
    weighted = CodebookLookup.from_weight(weight, [4], parts=2, num_codes=2, counts=[3, 1, 1, 1])
    torch.testing.assert_close(weighted.materialize()[:, 0], torch.tensor([0.25, 0.25, 10.5, 10.5]))


def test_k_means_is_near_the_best_of_another_implementation():
    weight = table()
    lookup = CodebookLookup.from_weight(weight, SIZES, parts=2, num_codes=16)
    error = float((lookup.materialize() - weight).square().sum())
    inertia = sum(KMeans(16, n_init=10, random_state=0).fit(weight[:, p : p + 3]).inertia_ for p in (0, 3))
    assert error < 1.15 * inertia


def test_distinct_pieces_that_fit_are_exact():
    lookup = CodebookLookup.from_weight(table(), SIZES, parts=3, num_codes=158)
    assert torch.equal(lookup.materialize(), table())
    few = table().round()
    assert torch.equal(CodebookLookup.from_weight(few, SIZES, parts=6, num_codes=16).materialize(), few)


def test_again_it_changes_nothing():
    once = CodebookLookup.from_weight(table(), SIZES, parts=3, num_codes=8)
    codes = nearest_codes(once.materialize().double(), once.codebook)
    assert torch.equal(codes, once._codes(torch.arange(158)))
    twice = CodebookLookup.from_weight(once.materialize(), SIZES, parts=3, num_codes=8)
    assert torch.equal(twice.materialize(), once.materialize())


def test_more_codes_and_more_parts_err_less():
    def error(parts, num_codes):
        lookup = CodebookLookup.from_weight(table(), SIZES, parts=parts, num_codes=num_codes)
        return float((lookup.materialize() - table()).square().mean())

    assert error(2, 4) > error(2, 16) > error(2, 64) > error(6, 64)


def test_many_more_codes_than_clusters_leave_none_idle():
    weight = torch.cat([torch.zeros(100, 1), torch.linspace(100, 101, 8)[:, None]])
    lookup = CodebookLookup.from_weight(weight + 1e-3 * torch.arange(108)[:, None], [108], parts=1, num_codes=8)
    assert len(lookup._codes(torch.arange(108)).unique()) == 8


# -- training ------------------------------------------------------------------------------------------


def test_gradients_pass_straight_through():
    torch.manual_seed(0)
    lookup = MGQELookup([3], 4, parts=2, num_codes=4)
    upstream = torch.randn(2, 1, 4)
    lookup(torch.tensor([[2], [0]])).backward(upstream)
    assert torch.equal(lookup.weight.grad[[2, 0]], upstream[:, 0])
    assert lookup.codebook.grad is None


def test_the_penalty_pulls_both_together():
    lookup = MGQELookup([2], 1, parts=1, num_codes=2, commitment=0.5)
    lookup.weight.data = torch.tensor([[1.0], [4.0]])
    lookup.codebook.data = torch.tensor([[[0.0], [5.0]]])
    assert lookup.penalty() is None
    lookup(torch.tensor([[0], [1], [1], [1]]))
    penalty = lookup.penalty()
    # Each of four lies 1 from its piece.
    assert penalty.item() == pytest.approx(1.5)
    penalty.backward()
    assert lookup.codebook.grad.flatten().tolist() == [-2 / 4, 3 * 2 / 4]
    assert lookup.weight.grad.flatten().tolist() == [0.5 * 2 / 4, -0.5 * 3 * 2 / 4]
    assert lookup.penalty() is None


def test_the_state_of_a_batch_is_neither_stored_nor_in_the_way():
    lookup = MGQELookup([3], 4, parts=2, num_codes=4)
    lookup(torch.tensor([[2]])).sum().backward()
    assert set(copy.deepcopy(lookup).state_dict()) == {"weight", "codebook"}


def test_training_brings_codebook_and_rows_together():
    torch.manual_seed(0)
    lookup = MGQELookup([50], 4, parts=2, num_codes=8)
    targets = torch.randn(50, 1, 4)
    optimizer = torch.optim.Adam(lookup.parameters(), lr=0.05)
    errors = []
    for _ in range(150):
        optimizer.zero_grad()
        error = (lookup(torch.arange(50)[:, None]) - targets).square().mean()
        (error + lookup.penalty()).backward()
        optimizer.step()
        errors.append(error.item())
    assert errors[-1] < 0.5 * errors[0]


def test_who_is_hot_survives_saving(tmp_path):
    lookup = MGQELookup(SIZES, DIM, counts(), parts=2, num_codes=16, cold_codes=2).eval()
    lookup.save(tmp_path / "mgqe")
    assert torch.equal(MGQELookup.load(tmp_path / "mgqe").hot, lookup.hot)
    assert int(lookup.hot.sum()) == round(0.1 * 158)


# -- budgets -------------------------------------------------------------------------------------------


def test_a_budget_buys_codes():
    for nbytes in range(served_bytes(1000, 16, 1, 2), 40_000, 1111):
        parts, num_codes, cold_codes = codebook_within(1000, 16, nbytes)
        assert cold_codes is None
        assert served_bytes(1000, 16, parts, num_codes) <= nbytes
    assert codebook_within(1000, 16, 10**9) == (16, 256, None)
    assert codebook_within(1000, 16, 10**9, hot_share=0.1) == (16, 256, 64)
    assert codebook_within(10**6, 16, 4 * 10**6 + 4 * 256 * 16) == (4, 256, None)


def test_shorter_codes_for_cold_values_save_bytes():
    assert served_bytes(10_000, 16, 4, 256, 64, 1000) == 4 * 256 * 16 + 1000 * 4 + 9000 * 3 + 12 * 157


def test_degenerate_tables():
    one = CodebookLookup.from_weight(torch.tensor([[3.0]]), [1], parts=1)
    assert one(torch.tensor([[0]])).item() == 3
    assert one(torch.empty(0, 1, dtype=torch.long)).shape == (0, 1, 1)
    for hot_share in (0, 1):
        kinds = MGQELookup(SIZES, DIM, counts(), parts=2, num_codes=16, cold_codes=2, hot_share=hot_share).eval()
        assert torch.equal(kinds.serving().materialize(), kinds.materialize())
    assert torch.equal(CodebookLookup.from_weight(torch.ones(9, 4), [9]).materialize(), torch.ones(9, 4))
    half = copy.deepcopy(MGQELookup(SIZES, DIM, parts=2)).half()
    assert half(torch.zeros(2, 3, dtype=torch.long)).dtype == torch.float16


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"parts": 4}, "parts must divide dim, 6; received 4"),
        ({"parts": 2, "num_codes": 0}, "num_codes must be between 1 and 65536; received 0"),
        ({"parts": 2, "num_codes": 4, "cold_codes": 5}, "cold_codes must be between 1 and num_codes, 4; received 5"),
        ({"parts": 2, "cold_codes": 5}, "counts must be given where there are cold values"),
    ],
)
def test_what_cannot_be_is_refused(options, says):
    with pytest.raises(InputError, match=says):
        MGQELookup(SIZES, DIM, **options)
    with pytest.raises(InputError, match="num_hot must be between 0 and 158; received 159"):
        CodebookLookup(SIZES, DIM, parts=2, num_hot=159)
