"""Products of three cores: the formula, exact when ranks suffice, and the wanted spread at the beginning."""

import pytest
import torch

from embedkit.errors import InputError
from embedkit.modules.lookup import PlainLookup, TensorTrainLookup
from embedkit.modules.lookup.tensor_train import _entries, _ranks, _shape

SIZES = [50, 3, 400]


def naive(cores, shape, ranks, value):
    """The formula with loops, for one value."""
    (n1, n2, n3), (d1, d2, d3) = shape
    first, second, third = (core.detach().double() for core in cores)
    first = first.reshape(n1, d1, ranks[0])
    second = second.reshape(n2, ranks[0], d2, ranks[1])
    third = third.reshape(n3, ranks[1], d3)
    digits = (value // (n2 * n3), value // n3 % n2, value % n3)
    return [
        sum(
            first[digits[0], j1, a] * second[digits[1], a, j2, b] * third[digits[2], b, j3]
            for a in range(ranks[0])
            for b in range(ranks[1])
        )
        for j1 in range(d1)
        for j2 in range(d2)
        for j3 in range(d3)
    ]


@pytest.mark.parametrize("rank", [1, 2, 5])
@pytest.mark.parametrize("batch", [2, 400])  # fewer and more values than pairs of digits
def test_it_is_the_formula(rank, batch):
    lookup = TensorTrainLookup([400], 8, ranks=[rank], std=1.0)
    shape = _shape(400, 8)
    ids = torch.randint(400, (batch, 1), generator=torch.Generator().manual_seed(0))
    expected = torch.stack(
        [torch.stack(naive(lookup.cores[0], shape, _ranks(shape, rank), value)) for value in ids[:4, 0].tolist()]
    )
    torch.testing.assert_close(lookup(ids)[:4, 0].double(), expected, rtol=0, atol=1e-5)


def test_a_number_by_hand():
    lookup = TensorTrainLookup([8], 4, ranks=[1])  # 2 · 2 · 2 rows, 1 · 2 · 2 dimensions
    for core, values in zip(lookup.cores[0], ([[2.0], [3]], [[1, 10], [5, 7]], [[1, 4], [6, 8]]), strict=True):
        core.data = torch.tensor(values, dtype=torch.float)
    # value 5 = 101: 3 · [1, 10] ⊗ [6, 8]
    assert lookup(torch.tensor([[5]])).flatten().tolist() == [18, 24, 180, 240]


def test_with_rank_1_vectors_are_kronecker_products():
    table = TensorTrainLookup([64], 64, ranks=[1], std=1.0).table(0).reshape(64, 4, 16)
    assert all(torch.linalg.matrix_rank(row.double(), rtol=1e-5) == 1 for row in table)


@pytest.mark.parametrize(("size", "dim"), [(1, 1), (1, 7), (2, 16), (7, 12), (64, 16), (4082, 16), (10**6 + 3, 64)])
def test_digits_number_all_values_and_dimensions(size, dim):
    (n1, n2, n3), (d1, d2, d3) = _shape(size, dim)
    assert d1 * d2 * d3 == dim
    assert size <= n1 * n2 * n3
    assert n1 * n2 * n3 <= 1.5 * size + 8
    assert max(n1, n2, n3) <= 2 + size ** (1 / 3)


def test_dimensions_are_cut_evenly():
    assert [_shape(5, dim).widths for dim in (16, 8, 12, 10, 7, 64)] == [
        (2, 2, 4),
        (2, 2, 2),
        (2, 2, 3),
        (1, 2, 5),
        (1, 1, 7),
        (4, 4, 4),
    ]


@pytest.mark.parametrize("dim", [8, 7])
def test_at_full_rank_any_table_is_exact(dim):
    weight = torch.randn(453, dim)
    lookup = TensorTrainLookup.from_weight(weight, SIZES, ranks=[10_000] * 3)
    torch.testing.assert_close(lookup.materialize(), weight, rtol=0, atol=1e-5)
    assert torch.equal(TensorTrainLookup.from_weight(weight, SIZES, ranks=[0] * 3).materialize(), weight)


def test_a_table_of_low_rank_is_found_again():
    weight = TensorTrainLookup([512], 8, ranks=[3], std=1.0).table(0)
    near, exact = (TensorTrainLookup.from_weight(weight, [512], ranks=[rank]).table(0) for rank in (2, 3))
    torch.testing.assert_close(exact, weight, rtol=0, atol=1e-5)
    assert 0.01 < (near - weight).norm() / weight.norm() < 0.9


def test_ranks_stop_at_what_suffices():
    shape = _shape(64, 8)  # 4 · 4 · 4 rows, 2 · 2 · 2 dimensions
    assert _ranks(shape, 5) == (5, 5)
    assert _ranks(shape, 100) == (8, 8)
    assert _entries(shape, 100) == 64 + 512 + 64


@pytest.mark.parametrize("rank", [2, 8, 30])
def test_vectors_begin_with_the_wanted_spread(rank):
    torch.manual_seed(0)
    variances = [TensorTrainLookup([30**3], 64, ranks=[rank], std=0.1).table(0).square().mean() for _ in range(20)]
    assert abs(torch.stack(variances).mean().item() / 0.01 - 1) < 0.05


def test_ranks_of_0_are_a_plain_table():
    lookup = TensorTrainLookup(SIZES, 8, ranks=[0, 0, 0])
    plain = PlainLookup.from_weight(torch.cat([cores[0] for cores in lookup.cores]), SIZES)
    assert torch.equal(lookup.materialize(), plain.materialize())
    assert lookup.nbytes == plain.nbytes


@pytest.mark.parametrize("share", [0.02, 0.05, 0.2, 0.5, 0.9, 1.0])
def test_a_budget_is_kept_and_small_fields_stay_whole(share):
    sizes = [5000, 3000, 20, 2]
    full = 4 * 16 * sum(sizes)
    lookup = TensorTrainLookup.for_budget(sizes, 16, int(share * full))
    assert 0.85 * share * full < lookup.nbytes <= share * full
    assert lookup.ranks[2:] == [0, 0]
    assert (lookup.ranks == [0] * 4) == (share == 1)


def test_a_budget_below_rank_1_is_refused():
    least = TensorTrainLookup(SIZES, 8, ranks=[1, 1, 1]).nbytes
    with pytest.raises(InputError, match=rf"nbytes must be at least {least}, the smallest Ten.*received {least - 1}"):
        TensorTrainLookup.for_budget(SIZES, 8, least - 1)
    assert TensorTrainLookup.for_budget(SIZES, 8, least).nbytes == least


@pytest.mark.parametrize(("ranks", "says"), [([2], "ranks must be one a field, 3"), ([2, -1, 2], r"ranks\[1\]")])
def test_ranks_out_of_range_are_refused(ranks, says):
    with pytest.raises(InputError, match=says):
        TensorTrainLookup(SIZES, 8, ranks=ranks)


def test_a_weight_of_other_rows_is_refused():
    with pytest.raises(InputError, match="weight must be finite; row 0"):
        TensorTrainLookup.from_weight(torch.full((453, 8), float("nan")), SIZES, ranks=[2] * 3)
    with pytest.raises(InputError, match=r"weight must be \(453, dim\).*received shape \(452, 8\)"):
        TensorTrainLookup.from_weight(torch.zeros(452, 8), SIZES, ranks=[1, 1, 1])
