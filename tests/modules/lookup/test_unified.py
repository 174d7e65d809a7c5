"""One table for all fields: collisions as theory has them, and rows that stay in the span of the readers."""

import pytest
import torch

from embedkit.errors import InputError
from embedkit.modules.lookup import PlainLookup, UnifiedLookup
from embedkit.modules.lookup.universal_hash import PRIME

SIZES = [50, 3, 400]


def rows_of(sizes, buckets, **options):
    """Row of each value of each field, (num_rows,)."""
    lookup = UnifiedLookup(sizes, 1, buckets=buckets, probes=1, **options)
    lookup.weight.data = torch.arange(float(buckets))[:, None]
    return lookup.materialize().flatten().long()


@pytest.mark.parametrize("probes", [1, 2, 4])
def test_it_is_the_formula(probes):
    lookup = UnifiedLookup(SIZES, 8, buckets=17, probes=probes)
    ids = torch.stack([torch.randint(size, (40,)) for size in SIZES], dim=1)
    expected = []
    for record in ids.tolist():
        for field, value in enumerate(record):
            for a, b in lookup.coefficients[field].tolist():
                expected += lookup.weight[(a * value + b) % PRIME % 17].tolist()
    assert torch.equal(lookup(ids), torch.tensor(expected).reshape(40, 3, 8))


def test_a_number_by_hand():
    lookup = UnifiedLookup([10, 10], 2, buckets=5, probes=2)
    lookup.weight.data = torch.arange(5.0)[:, None]
    lookup.coefficients[:] = torch.tensor([[[1, 0], [2, 1]], [[1, 2], [3, 0]]])
    # field 0, value 4: rows 4 and 9 mod 5 = 4; field 1, value 4: rows 6 mod 5 = 1 and 12 mod 5 = 2
    assert lookup(torch.tensor([[4, 4]])).tolist() == [[[4, 4], [1, 2]]]


def test_with_an_injective_map_it_is_separate_tables():
    lookup = UnifiedLookup(SIZES, 4, buckets=460, probes=1)
    lookup.coefficients[:, 0] = torch.tensor([[1, 0], [1, 50], [1, 53]])
    plain = PlainLookup.from_weight(lookup.weight.detach()[:453], SIZES)
    assert torch.equal(lookup.materialize(), plain.materialize())


def test_pairs_of_values_collide_once_in_as_many_as_there_are_rows():
    sizes, buckets, pairs = [2000] * 50, 101, 100_000
    rows = rows_of(sizes, buckets)
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randint(len(rows), (2, pairs), generator=generator)
    kept = first != second
    distance = (rows[first] - rows[second])[kept] % buckets
    expected = kept.sum().item() / buckets
    counts = distance.bincount(minlength=buckets)
    assert ((counts - expected) ** 2 / expected).sum().item() < 149.4  # chi-square, 100 degrees, p = 0.001
    assert (counts[0].item() - expected) ** 2 / expected < 10.8


def test_as_many_rows_are_used_as_balls_fill_bins():
    rows = rows_of([50] * 200, 5000)
    assert abs(len(rows.unique()) / (5000 * (1 - (1 - 1 / 5000) ** 10_000)) - 1) < 0.02


def test_a_further_field_moves_no_row_and_equal_values_are_hashed_apart():
    few, many = rows_of([1000, 1000], 100), rows_of([1000, 1000, 60], 100)
    assert torch.equal(many[:2000], few)
    assert abs((few[:1000] == few[1000:]).float().mean().item() - 1 / 100) < 0.01
    assert not torch.equal(rows_of([1000, 1000], 100, seed=1), few)


def test_rows_stay_in_the_span_of_what_reads_them():
    torch.manual_seed(0)
    lookup = UnifiedLookup(SIZES, 8, buckets=20, probes=1, std=0.0).double()
    readers = torch.randn(3, 8, dtype=torch.double)  # the weights of a linear model, frozen
    optimizer = torch.optim.SGD(lookup.parameters(), lr=1.0)
    for _ in range(20):
        ids = torch.stack([torch.randint(size, (64,)) for size in SIZES], dim=1)
        logits = (lookup(ids) * readers).sum((1, 2))
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, torch.randint(2, (64,)).double())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert torch.linalg.matrix_rank(lookup.weight.detach(), rtol=1e-9) == 3
    assert torch.linalg.matrix_rank(torch.cat([readers, lookup.weight.detach()]), rtol=1e-9) == 3


def test_a_budget_is_met_to_a_row():
    lookup = UnifiedLookup.for_budget(SIZES, 16, 10_000, probes=4)
    assert 0 <= 10_000 - lookup.nbytes < 16
    assert lookup.weight.shape == ((10_000 - 8 * 3 * 4) // 16, 4)
    with pytest.raises(InputError, match=r"nbytes must be at least 112, the smallest UnifiedLookup.*received 111"):
        UnifiedLookup.for_budget(SIZES, 16, 111)


def test_half_precision_hashes_the_same():
    lookup = UnifiedLookup(SIZES, 8, buckets=5000)
    expected = lookup.materialize().half()
    assert torch.equal(lookup.half().materialize(), expected)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"buckets": 0}, "buckets must be an integer from 1; received 0"),
        ({"buckets": 4.0}, "buckets must be an integer from 1; received 4.0"),
        ({"buckets": 4, "probes": 3}, "probes must divide dim, which is 8; received 3"),
    ],
)
def test_options_out_of_range_are_refused(options, says):
    with pytest.raises(InputError, match=says):
        UnifiedLookup(SIZES, 8, **options)
