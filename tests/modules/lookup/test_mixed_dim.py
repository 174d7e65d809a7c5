"""Widths by a power law of sizes, and a projection where rows are narrower."""

import pytest
import torch

from embedkit.errors import InputError
from embedkit.modules.lookup import MixedDimLookup, PlainLookup, power_law_dims

SIZES = [50, 3, 400]


def test_it_is_the_formula():
    lookup = MixedDimLookup(SIZES, 8, dims=[4, 8, 1])
    ids = torch.stack([torch.randint(size, (40,)) for size in SIZES], dim=1)
    for record, found in zip(ids.tolist(), lookup(ids), strict=True):
        for field in (0, 2):
            row = lookup.weights[field][record[field]].tolist()
            projection = lookup.projections[str(field)].tolist()
            expected = [sum(row[k] * projection[k][j] for k in range(len(row))) for j in range(8)]
            torch.testing.assert_close(found[field], torch.tensor(expected), rtol=0, atol=1e-7)
        assert torch.equal(found[1], lookup.weights[1][record[1]])


def test_a_number_by_hand():
    lookup = MixedDimLookup([2], 3, dims=[2])
    lookup.weights[0].data = torch.tensor([[1.0, 2], [3, 4]])
    lookup.projections["0"].data = torch.tensor([[1.0, 0, 10], [0, 1, 100]])
    assert lookup.table(0).tolist() == [[1, 2, 210], [3, 4, 430]]
    assert lookup.nbytes == 4 * (2 * 2 + 2 * 3)


def test_widths_by_hand():
    assert power_law_dims([4, 64, 1024], 16, 0.5) == [16, 4, 1]
    assert power_law_dims([4, 64, 10**9], 16, 0.5) == [16, 4, 1]
    assert power_law_dims([7, 7], 16, 3.0) == [16, 16]


def test_widths_fall_with_sizes():
    sizes = sorted(int(size) for size in torch.randint(1, 10**6, (40,)))
    for alpha in (0.05, 0.3, 1.0):
        dims = power_law_dims(sizes, 32, alpha)
        assert dims == sorted(dims, reverse=True)
        assert dims[0] == 32


def test_with_alpha_0_it_is_a_plain_table():
    lookup = MixedDimLookup(SIZES, 8, dims=power_law_dims(SIZES, 8, 0))
    plain = PlainLookup.from_weight(torch.cat(list(lookup.weights)), SIZES)
    assert torch.equal(lookup.materialize(), plain.materialize())
    assert lookup.nbytes == plain.nbytes


@pytest.mark.parametrize("width", [1, 3, 8])
def test_a_fields_vectors_have_its_dimension(width):
    assert torch.linalg.matrix_rank(MixedDimLookup([100], 8, dims=[width], std=1.0).table(0)) == width


def test_what_is_stored_is_rows_and_projections():
    dims = power_law_dims(SIZES, 8, 0.3)
    numbers = sum(size * width + width * 8 * (width < 8) for size, width in zip(SIZES, dims, strict=True))
    assert MixedDimLookup(SIZES, 8, dims=dims).nbytes == 4 * numbers


@pytest.mark.parametrize("width", [2, 16, 64])
def test_vectors_begin_with_the_wanted_spread(width):
    torch.manual_seed(0)
    variances = [MixedDimLookup([2000], 64, dims=[width], std=0.1).table(0).var().item() for _ in range(20)]
    assert abs(sum(variances) / 20 / 0.01 - 1) < 0.05


@pytest.mark.parametrize("alpha", [0.0, 0.3, 2.0])
@pytest.mark.parametrize("share", [0.1, 0.2, 0.5, 0.8, 1.0])
def test_a_budget_is_kept_and_narrows_large_fields_most(share, alpha):
    sizes = [2, 30, 500, 500, 4000]
    full = 4 * 16 * sum(sizes)
    lookup = MixedDimLookup.for_budget(sizes, 16, int(share * full), alpha=alpha)
    assert lookup.nbytes <= share * full
    assert lookup.dims == sorted(lookup.dims, reverse=True)
    assert lookup.dims[0] == 16  # two values take less than a projection
    assert share * full - lookup.nbytes < 4 * (4000 + 16)


def test_a_budget_below_widths_of_1_is_refused():
    least = 4 * (50 + 8 + 3 + 8 + 400 + 8)
    with pytest.raises(InputError, match=rf"nbytes must be at least {least}, the smallest Mixed.*received {least - 1}"):
        MixedDimLookup.for_budget(SIZES, 8, least - 1)
    assert MixedDimLookup.for_budget(SIZES, 8, least).nbytes == least


@pytest.mark.parametrize(
    ("dims", "says"),
    [([4, 4], "dims must be one a field, 3"), ([4, 0, 4], r"dims\[1\]"), ([4, 9, 4], "at most dim, which is 8")],
)
def test_widths_out_of_range_are_refused(dims, says):
    with pytest.raises(InputError, match=says):
        MixedDimLookup(SIZES, 8, dims=dims)


@pytest.mark.parametrize("alpha", [-0.1, float("nan")])
def test_a_negative_alpha_is_refused(alpha):
    with pytest.raises(InputError, match="alpha must be at least 0"):
        power_law_dims(SIZES, 8, alpha)
    with pytest.raises(InputError, match="alpha must be at least 0"):
        MixedDimLookup.for_budget(SIZES, 8, 10_000, alpha=alpha)
