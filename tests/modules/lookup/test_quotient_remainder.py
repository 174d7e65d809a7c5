"""Compositions of two rows: a pair of its own for each value, and no table where that pays nothing."""

import pytest
import torch

from embedkit.errors import InputError
from embedkit.modules.lookup import PlainLookup, QuotientRemainderLookup

SIZES = [50, 3, 400]
OPERATIONS = ["multiply", "add", "concat"]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_it_is_the_formula(operation):
    lookup = QuotientRemainderLookup(SIZES, 8, operation=operation, divisors=[7, 1, 20])
    quotients, remainders = lookup.quotients.detach(), lookup.remainders.detach()
    ids = torch.stack([torch.randint(size, (40,)) for size in SIZES], dim=1)
    vectors = lookup(ids)
    for record, found in zip(ids.tolist(), vectors, strict=True):
        for field, quotient_start, remainder_start, divisor in [(0, 0, 0, 7), (2, 8, 7, 20)]:
            quotient = quotients[quotient_start + record[field] // divisor]
            remainder = remainders[remainder_start + record[field] % divisor]
            composed = {"multiply": quotient * remainder, "add": quotient + remainder}
            assert torch.equal(found[field], composed.get(operation, torch.cat([quotient, remainder])))
        assert torch.equal(found[1], lookup.plain[record[1]])


@pytest.mark.parametrize(("operation", "expected"), [("multiply", [21.0, 40.0]), ("add", [10, 14]), ("concat", [3, 7])])
def test_a_number_by_hand(operation, expected):
    width = 1 if operation == "concat" else 2
    lookup = QuotientRemainderLookup([12], 2, operation=operation, divisors=[5])
    lookup.quotients.data = torch.tensor([[1.0, 2], [3, 4], [5, 6]])[:, :width]
    lookup.remainders.data = torch.tensor([[9.0, 9], [8, 8], [7, 10], [6, 6], [5, 5]])[:, :width]
    assert lookup(torch.tensor([[7]])).flatten().tolist() == expected  # 7 = 1 · 5 + 2


@pytest.mark.parametrize("divisor", [1, 2, 7, 16, 63, 64, 400])
def test_no_two_values_share_both_rows(divisor):
    lookup = QuotientRemainderLookup([400], 2, operation="concat", divisors=[divisor])
    if divisor > 1:
        lookup.quotients.data = torch.arange(float(len(lookup.quotients)))[:, None]
        lookup.remainders.data = torch.arange(float(len(lookup.remainders)))[:, None]
        assert len(lookup.quotients) == -(-400 // divisor)
        assert len(lookup.remainders) == divisor
    assert len(lookup.table(0).unique(dim=0)) == 400


def test_with_remainders_of_one_the_product_is_the_quotients_row():
    lookup = QuotientRemainderLookup([100], 4, divisors=[10])
    lookup.remainders.data.fill_(1)
    assert torch.equal(lookup.table(0), lookup.quotients.detach().repeat_interleave(10, dim=0))


def test_sums_form_parallelograms():
    table = QuotientRemainderLookup([100], 4, operation="add", divisors=[10]).table(0).reshape(10, 10, 4)
    torch.testing.assert_close(table[3, 2] - table[7, 2], table[3, 9] - table[7, 9], rtol=0, atol=1e-8)


def test_the_gradient_of_a_quotient_is_scaled_by_its_remainders():
    lookup = QuotientRemainderLookup([6], 1, divisors=[3])
    lookup.remainders.data = torch.tensor([[2.0], [3], [5]])
    lookup(torch.tensor([[0], [2]])).sum().backward()
    assert lookup.quotients.grad.tolist() == [[7], [0]]


def test_divisors_of_one_are_a_plain_table():
    lookup = QuotientRemainderLookup(SIZES, 8, divisors=[1, 1, 1])
    plain = PlainLookup.from_weight(lookup.plain, SIZES)
    assert torch.equal(lookup.materialize(), plain.materialize())
    assert lookup.nbytes == plain.nbytes


@pytest.mark.parametrize("operation", OPERATIONS)
def test_vectors_begin_with_the_wanted_spread(operation):
    lookup = QuotientRemainderLookup([40_000], 64, operation=operation, std=0.1)
    assert abs(lookup.table(0).var().item() / 0.01 - 1) < 0.05


def test_only_fields_where_it_pays_are_composed():
    lookup = QuotientRemainderLookup([4, 5, 6, 1000, 1], 4)
    assert lookup.divisors == [1, 1, 2, 28, 1]  # 6 values: 3 + 2 rows; 1000: 36 + 28, as many as 32 + 32
    assert lookup.nbytes == 4 * 4 * (4 + 5 + 5 + 64 + 1)


def test_a_budget_is_spent_on_small_fields_first():
    sizes, full = [1000, 4000, 10, 2], 4 * 16 * 5012
    budgets = [int(share * full) for share in (0.05, 0.1, 0.3, 0.6, 0.9, 1, 2)]
    lookups = [QuotientRemainderLookup.for_budget(sizes, 16, budget) for budget in budgets]
    assert all(one.nbytes <= budget for one, budget in zip(lookups, budgets, strict=True))
    shares = [round(one.nbytes / full, 2) for one in lookups]
    assert shares == [0.05, 0.1, 0.27, 0.5, 0.6, 1, 1]  # there is nothing between half of a field and all of it
    assert lookups[1].divisors[2:] == [1, 1]
    assert lookups[-1].divisors == [1] * 4


def test_a_budget_below_the_smallest_tables_is_refused():
    least = QuotientRemainderLookup(SIZES, 8).nbytes
    says = rf"nbytes must be at least {least}, the smallest Quot.*received {least - 1}"
    with pytest.raises(InputError, match=says):
        QuotientRemainderLookup.for_budget(SIZES, 8, least - 1)
    assert QuotientRemainderLookup.for_budget(SIZES, 8, least).nbytes == least


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"operation": "mean"}, "operation must be 'multiply', 'add' or 'concat'; received 'mean'"),
        ({"operation": "concat", "dim": 7}, "must divide dim, which is 7"),
        ({"divisors": [4, 4]}, "divisors must be one a field, 3; received 2"),
        ({"divisors": [4, 0, 4]}, r"divisors\[1\] must be an integer from 1; received 0"),
        ({"divisors": [4, 4, 4]}, r"divisors\[1\] must be at most the size of its field, 3; received 4"),
    ],
)
def test_options_out_of_range_are_refused(options, says):
    with pytest.raises(InputError, match=says):
        QuotientRemainderLookup(SIZES, **{"dim": 8, **options})
