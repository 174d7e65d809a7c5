"""Hashing by field: each its own rows, exact where they suffice."""

import pytest
import torch

from embedkit.errors import InputError
from embedkit.modules.lookup import HashLookup, PlainLookup
from embedkit.modules.lookup.universal_hash import PRIME

SIZES = [50, 3, 400]


def naive(lookup, ids):
    """The formula with loops."""
    vectors = []
    for record in ids.tolist():
        for field, value in enumerate(record):
            start = sum(lookup.buckets[:field])
            for a, b in lookup.coefficients[field].tolist():
                vectors += lookup.weight[start + (a * value + b) % PRIME % lookup.buckets[field]].tolist()
    return torch.tensor(vectors).reshape(len(ids), len(lookup.sizes), lookup.dim)


@pytest.mark.parametrize("probes", [1, 2, 4])
def test_it_is_the_formula(probes):
    lookup = HashLookup(SIZES, 8, buckets=[7, 3, 20], probes=probes)
    ids = torch.stack([torch.randint(size, (40,)) for size in SIZES], dim=1)
    assert torch.equal(lookup(ids), naive(lookup, ids))


def test_a_number_by_hand():
    lookup = HashLookup([10, 10], 2, buckets=[3, 4], probes=2)
    lookup.weight.data = torch.arange(7.0)[:, None]
    lookup.coefficients[:] = torch.tensor([[[1, 0], [2, 1]], [[1, 2], [3, 0]]])
    # field 0, value 5: rows 5 mod 3 = 2 and 11 mod 3 = 2; field 1, value 3: rows 3 + 5 mod 4 = 4 and 3 + 9 mod 4 = 4
    # field 0, value 0: rows 0 and 1; field 1, value 9: rows 3 + 11 mod 4 = 6 and 3 + 27 mod 4 = 6
    assert lookup(torch.tensor([[5, 3], [0, 9]])).tolist() == [[[2, 2], [4, 4]], [[0, 1], [6, 6]]]


@pytest.mark.parametrize("probes", [1, 4])
def test_with_a_row_for_each_probe_it_is_a_plain_table(probes):
    lookup = HashLookup(SIZES, 8, buckets=[size * probes for size in SIZES], probes=probes)
    blocks = lookup.weight.detach().split(lookup.buckets)
    tables = [block.unflatten(0, (probes, -1)).transpose(0, 1).flatten(1) for block in blocks]
    plain = PlainLookup.from_weight(torch.cat(tables), SIZES)
    assert torch.equal(lookup.materialize(), plain.materialize())
    assert lookup.nbytes - lookup.coefficients.nbytes == plain.nbytes


def test_fields_share_no_row():
    lookup = HashLookup(SIZES, 4, buckets=[7, 2, 20], probes=2)
    for field, (start, end) in enumerate([(0, 7), (7, 9), (9, 29)]):
        lookup.weight.grad = None
        ids = torch.arange(SIZES[field])[:, None]
        lookup(ids, torch.tensor([field])).sum().backward()
        touched = lookup.weight.grad.any(1).nonzero().flatten()
        assert touched.min() >= start
        assert touched.max() < end


def test_a_further_field_moves_no_row():
    few, many = HashLookup([50, 40], 4, buckets=[5, 9]), HashLookup([50, 40, 60], 4, buckets=[5, 9, 7])
    many.weight.data[:14] = few.weight.data
    assert torch.equal(many.materialize()[:90], few.materialize())


def test_equal_values_of_two_fields_are_hashed_apart():
    lookup = HashLookup([1000, 1000], 1, buckets=[100, 100])
    lookup.weight.data = torch.arange(100.0).repeat(2)[:, None]
    same = (lookup.table(0) == lookup.table(1)).float().mean().item()
    assert abs(same - 1 / 100) < 0.01


def test_more_probes_leave_fewer_values_in_one_place():
    def shared(probes):
        lookup = HashLookup([2000], 8, buckets=[400 * probes], probes=probes, std=1.0)
        return 2000 - len(lookup.table(0).unique(dim=0))

    assert shared(1) > 1500
    assert shared(4) == 0


def test_small_fields_keep_their_rows_in_a_budget():
    lookup = HashLookup.for_budget([2, 10_000, 1_000], 16, 4 * 16 * 2_000)
    assert lookup.buckets[0] == 2
    assert abs(lookup.buckets[1] / lookup.buckets[2] - 10**0.5) < 0.05 or lookup.buckets[2] == 1000
    assert 4 * 16 * 2_000 - lookup.nbytes <= 2 * 4 * 16
    assert HashLookup.for_budget([2, 30], 4, 10**6, probes=2).buckets == [4, 60]


def test_half_precision_hashes_the_same():
    lookup = HashLookup(SIZES, 8, buckets=[7, 3, 20], probes=2)
    expected = lookup.materialize().half()
    assert torch.equal(lookup.half().materialize(), expected)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"buckets": [4]}, "buckets must be one a field, 3; received 1"),
        ({"buckets": [4, 0, 4]}, r"buckets\[1\] must be an integer from 1; received 0"),
        ({"buckets": [4, 4, 4], "probes": 3}, "probes must divide dim, which is 8; received 3"),
        ({"buckets": [4, 4, 4], "probes": 0}, "probes must be an integer from 1"),
    ],
)
def test_options_out_of_range_are_refused(options, says):
    with pytest.raises(InputError, match=says):
        HashLookup(SIZES, 8, **options)


def test_a_budget_below_one_row_a_field_is_refused():
    with pytest.raises(InputError, match=r"nbytes must be at least 120, the smallest HashLookup.*received 119"):
        HashLookup.for_budget(SIZES, 8, 119)
    assert HashLookup.for_budget(SIZES, 8, 120).buckets == [1, 1, 1]
