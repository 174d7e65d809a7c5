import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedkit.encoders.table import containment, jaccard, multiset_jaccard
from embedkit.errors import InputError

MEASURES = [containment, jaccard, multiset_jaccard]
COLUMNS = st.lists(st.sampled_from(["", "a", "b", "c", "d"]), max_size=8)


def in_loops(measure, a, b):
    a, b = [cell for cell in a if cell], [cell for cell in b if cell]
    values = sorted({*a, *b})
    if measure is containment:
        part, whole = sum(v in a and v in b for v in values), sum(v in a for v in values)
    elif measure is jaccard:
        part, whole = sum(v in a and v in b for v in values), len(values)
    else:
        part = sum(min(a.count(v), b.count(v)) for v in values)
        whole = part + sum(max(a.count(v), b.count(v)) for v in values)
    return part / whole if whole else math.nan


@pytest.mark.parametrize("measure", MEASURES)
@given(a=COLUMNS, b=COLUMNS)
def test_loops_find_the_same(measure, a, b):
    assert measure(a, b) == pytest.approx(in_loops(measure, a, b), nan_ok=True)


def test_worked_by_hand():
    a, b = ["x", "x", "y", "z", ""], ["x", "y", "y", "y", "w", "v"]
    assert containment(a, b) == pytest.approx(2 / 3)
    assert containment(b, a) == pytest.approx(2 / 4)
    assert jaccard(a, b) == pytest.approx(2 / 5)
    assert multiset_jaccard(a, b) == pytest.approx((1 + 1) / (4 + 6))


@pytest.mark.parametrize("measure", MEASURES)
@given(a=COLUMNS, b=COLUMNS, rng=st.randoms(use_true_random=False))
def test_order_and_missing_cells_do_not_matter(measure, a, b, rng):
    shuffled = rng.sample([*a, ""], len(a) + 1)
    assert measure(shuffled, iter(b)) == pytest.approx(measure(a, b), nan_ok=True)


@given(a=COLUMNS, b=COLUMNS)
def test_symmetry_repetition_and_bounds(a, b):
    assert jaccard(a, b) == pytest.approx(jaccard(b, a), nan_ok=True)
    assert multiset_jaccard(a, b) == pytest.approx(multiset_jaccard(b, a), nan_ok=True)
    assert multiset_jaccard(a * 3, b * 3) == pytest.approx(multiset_jaccard(a, b), nan_ok=True)
    assert jaccard(a * 3, b) == pytest.approx(jaccard(a, b), nan_ok=True)
    assert not containment(a, b) < jaccard(a, b)
    assert not multiset_jaccard(a, b) > 0.5


@pytest.mark.parametrize(("measure", "most"), [(containment, 1), (jaccard, 1), (multiset_jaccard, 0.5)])
def test_limits(measure, most):
    assert measure(["a", "b", "b"], ["b", "a", "b"]) == most
    assert measure(["a"], ["a"]) == most
    assert measure(["a"], ["b"]) == 0
    assert measure(["a"], []) == 0
    assert math.isnan(measure([], []))
    assert math.isnan(measure(["", ""], [""]))


def test_an_empty_query_has_no_containment():
    assert math.isnan(containment([], ["a"]))
    assert jaccard([], ["a"]) == multiset_jaccard([], ["a"]) == 0


@pytest.mark.parametrize("measure", MEASURES)
def test_what_is_no_column_is_refused(measure):
    with pytest.raises(InputError, match="must hold the cells of a column; received the one string 'abc'"):
        measure(["a"], "abc")
    with pytest.raises(InputError, match=r"must hold strings, as as_table makes them; \w+\[1\] is of type int"):
        measure(["a", 1], ["a"])
