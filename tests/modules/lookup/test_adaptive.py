"""Frequent values own rows, the others share: as many as the quota says, ties included."""

import pytest
import torch

from embedkit.errors import InputError
from embedkit.modules.lookup import AdaptiveLookup, PlainLookup

SIZES = [50, 3, 400]


def zipf(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (1000 / (1 + torch.randperm(count, generator=generator))).long()


def test_it_is_the_formula():
    counts = zipf(453)
    lookup = AdaptiveLookup(SIZES, 8, counts=counts, hot_rows=40, cold_rows=10)
    ranked = sorted(range(453), key=lambda row: (-int(counts[row]), row))[:40]
    remap = lookup.remap.tolist()
    for row in range(453):
        if row in ranked:
            assert remap[row] == ranked.index(row)
        else:
            assert 40 <= remap[row] < 50
    ids = torch.stack([torch.randint(size, (40,)) for size in SIZES], dim=1)
    expected = [
        [lookup.weight[remap[start + value]] for start, value in zip([0, 50, 53], record, strict=True)]
        for record in ids.tolist()
    ]
    assert torch.equal(lookup(ids), torch.stack([torch.stack(record) for record in expected]))


def test_a_number_by_hand():
    lookup = AdaptiveLookup([2, 3], 1, counts=torch.tensor([0, 7, 9, 0, 7]), hot_rows=3, cold_rows=1)
    lookup.weight.data = torch.tensor([[10.0], [20], [30], [40]])
    assert lookup.table(0).flatten().tolist() == [40, 20]
    assert lookup.table(1).flatten().tolist() == [10, 40, 30]
    assert lookup.nbytes == 4 * 4 + 4 * 5


@pytest.mark.parametrize("quota", [0, 1, 10, 452])
def test_the_quota_is_met_on_ties(quota):
    lookup = AdaptiveLookup(SIZES, 2, counts=torch.ones(453), hot_rows=quota, cold_rows=4)
    hot = lookup.remap[lookup.remap < quota]
    assert sorted(hot.tolist()) == list(range(quota))  # each owned by exactly one
    assert torch.equal(lookup.remap[:quota], torch.arange(quota).int())


def test_with_all_values_hot_it_is_a_plain_table():
    lookup = AdaptiveLookup(SIZES, 8, counts=zipf(453), hot_rows=453, cold_rows=0)
    plain = PlainLookup.from_weight(lookup.weight[lookup.remap.long()], SIZES)
    assert torch.equal(lookup.materialize(), plain.materialize())
    assert lookup.nbytes == plain.nbytes + 4 * 453


def test_cold_values_spread_over_their_rows():
    lookup = AdaptiveLookup([5000, 5000], 2, counts=torch.zeros(10_000), hot_rows=0, cold_rows=50)
    counts = lookup.remap.bincount(minlength=50)
    assert counts.min() > 120
    assert counts.max() < 280
    assert (lookup.remap[:5000] == lookup.remap[5000:]).float().mean() < 0.05


def test_a_budget_is_met_to_a_row():
    lookup = AdaptiveLookup.for_budget(SIZES, 16, 10_000, counts=zipf(453))
    assert 0 <= 10_000 - lookup.nbytes < 4 * 16
    assert abs(lookup.hot_rows - lookup.cold_rows) <= 1
    hotter = AdaptiveLookup.for_budget(SIZES, 16, 10_000, counts=zipf(453), hot_share=1.0)
    assert (hotter.nbytes, hotter.cold_rows) == (lookup.nbytes, 1)
    ample = AdaptiveLookup.for_budget(SIZES, 16, 10**6, counts=zipf(453))
    assert (ample.hot_rows, ample.cold_rows) == (453, 0)


def test_a_budget_below_the_map_is_refused():
    least = 4 * 453 + 4 * 16
    with pytest.raises(InputError, match=rf"nbytes must be at least {least}, the smallest Ada.*received {least - 1}"):
        AdaptiveLookup.for_budget(SIZES, 16, least - 1, counts=zipf(453))
    lookup = AdaptiveLookup.for_budget(SIZES, 16, least, counts=zipf(453))
    assert (lookup.hot_rows, lookup.cold_rows) == (0, 1)


def test_a_saved_map_is_read_not_drawn_again(tmp_path):
    lookup = AdaptiveLookup(SIZES, 8, counts=zipf(453), hot_rows=40, cold_rows=10)
    lookup.save(tmp_path / "lookup")
    assert torch.equal(AdaptiveLookup.load(tmp_path / "lookup").remap, lookup.remap)


def test_the_map_is_kept_in_half_precision():
    lookup = AdaptiveLookup(SIZES, 8, counts=zipf(453), hot_rows=400, cold_rows=10)
    expected = lookup.materialize().half()
    assert torch.equal(lookup.half().materialize(), expected)
    assert lookup.remap.dtype == torch.int32


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"counts": torch.ones(4)}, r"counts must be one a value, \(453,\); received shape \(4,\)"),
        ({"counts": torch.full((453,), -1)}, "counts must be finite and at least 0; received -1"),
        ({"counts": [float("nan")] * 453}, "counts must be finite"),
        ({"hot_rows": 454}, "hot_rows must be at most the number of values, 453; received 454"),
        ({"hot_rows": -1}, "hot_rows must be an integer from 0"),
        ({"cold_rows": 0}, "cold_rows must be an integer from 1"),
    ],
)
def test_options_out_of_range_are_refused(options, says):
    with pytest.raises(InputError, match=says):
        AdaptiveLookup(SIZES, 8, **{"counts": zipf(453), "hot_rows": 5, "cold_rows": 5, **options})


def test_a_budget_needs_counts_and_a_share():
    with pytest.raises(InputError, match="counts must be given"):
        AdaptiveLookup.for_budget(SIZES, 16, 10_000)
    with pytest.raises(InputError, match="hot_share must be at least 0 and at most 1; received 2"):
        AdaptiveLookup.for_budget(SIZES, 16, 10_000, counts=zipf(453), hot_share=2)
