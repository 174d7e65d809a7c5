import math
import string

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedkit.errors import InputError
from embedkit.index.filters import compile_where, path_of
from embedkit.index.store import DocumentStore

FIELDS = ["a", "b", "a.b", "a[0]", "$", "é", "🎉", "x y", "'; DROP TABLE documents; --", "%", "?"]
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)
NUMBERS = st.one_of(
    st.integers(-3, 3),
    st.sampled_from([0.0, -0.0, 0.5, 1.0, 2.0, 1e300, 5e-324, 0.1 + 0.2, 2**53, 2**53 + 1, 2.0**53, 2**63 - 1]),
    st.floats(allow_nan=False, allow_infinity=False),
)
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, st.sampled_from(["", "0", "1", "true", "null"]), TEXT)
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=2), st.dictionaries(TEXT, SCALARS, max_size=2))
METADATA = st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=4)
ORDERED = st.one_of(NUMBERS, TEXT)
CONDITIONS = st.one_of(
    SCALARS,
    st.lists(SCALARS, max_size=4),
    st.fixed_dictionaries(
        {},
        optional={
            "eq": SCALARS,
            "ne": SCALARS,
            "in": st.lists(SCALARS, max_size=4),
            "exists": st.booleans(),
            "gt": ORDERED,
            "gte": ORDERED,
            "lt": ORDERED,
            "lte": ORDERED,
        },
    ).filter(bool),
)
WHERE = st.dictionaries(st.sampled_from(FIELDS), CONDITIONS, max_size=3)
ABSENT = object()


def satisfies(metadata, where):
    """What `where` means, in plain Python."""
    return all(holds(metadata.get(field, ABSENT), condition) for field, condition in where.items())


def holds(value, condition):
    if isinstance(condition, list):
        condition = {"in": condition}
    if not isinstance(condition, dict):
        condition = {"eq": condition}
    return all(OPERATORS[operator](value, operand) for operator, operand in condition.items())


def kind(value):
    if isinstance(value, str):
        return "text"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "number"
    return value if isinstance(value, bool | None) else "other"


def same(value, operand):
    return value is not ABSENT and kind(value) == kind(operand) != "other" and value == operand


def ordered(compare):
    return lambda value, operand: kind(value) == kind(operand) in ("text", "number") and compare(value, operand)


OPERATORS = {
    "eq": same,
    "ne": lambda value, operand: not same(value, operand),
    "in": lambda value, operands: any(same(value, operand) for operand in operands),
    "exists": lambda value, wanted: (value is not ABSENT) == wanted,
    "gt": ordered(lambda value, operand: value > operand),
    "gte": ordered(lambda value, operand: value >= operand),
    "lt": ordered(lambda value, operand: value < operand),
    "lte": ordered(lambda value, operand: value <= operand),
}


def stored(rows):
    store = DocumentStore(None, create=True)
    store.add(list(range(len(rows))), [None] * len(rows), rows, np.zeros((len(rows), 1), dtype=np.float32))
    return store


def found(store, where):
    return [row - 1 for row in store.rows(where).tolist()]


@settings(max_examples=300, deadline=None)
@given(st.lists(METADATA, min_size=1, max_size=6), st.lists(WHERE, min_size=1, max_size=4))
def test_sql_finds_what_plain_python_finds(rows, conditions):
    store = stored(rows)
    for where in conditions:
        assert found(store, where) == [i for i, metadata in enumerate(rows) if satisfies(metadata, where)]
    store.close()


@settings(max_examples=200, deadline=None)
@given(st.one_of(NUMBERS, TEXT))
def test_every_stored_value_is_found_by_itself(value):
    store = stored([{"a": value}, {"a": None}, {}])

    assert found(store, {"a": value}) == [0]
    assert found(store, {"a": [value]}) == [0]
    assert found(store, {"a": {"ne": value}}) == [1, 2]
    assert found(store, {"a": {"gte": value, "lte": value}}) == [0]
    store.close()


def test_missing_field_satisfies_only_ne_and_not_exists():
    store = stored([{}])

    assert found(store, {"a": {"ne": 1}}) == [0]
    assert found(store, {"a": {"exists": False}}) == [0]
    for where in ({"a": None}, {"a": {"exists": True}}, {"a": {"lt": 5}}, {"a": [None, 0]}, {"a": {"gte": ""}}):
        assert found(store, where) == []


def test_null_is_a_value_and_exists():
    store = stored([{"a": None}])

    assert found(store, {"a": None}) == found(store, {"a": {"exists": True}}) == [0]


def test_types_never_mix():
    store = stored([{"a": value} for value in (1, "1", True, 1.0, [1], {"1": 1})])

    assert found(store, {"a": 1}) == found(store, {"a": 1.0}) == [0, 3]
    assert found(store, {"a": "1"}) == [1]
    assert found(store, {"a": True}) == [2]
    assert found(store, {"a": {"gte": 0}}) == [0, 3]
    assert found(store, {"a": {"gte": ""}}) == [1]


def test_no_condition_matches_all_and_an_empty_list_nothing():
    store = stored([{"a": 1}, {}])

    assert found(store, {}) == [0, 1]
    assert found(store, {"a": []}) == []


def test_a_dot_in_a_field_is_a_dot_and_not_a_path():
    store = stored([{"a.b": 1}, {"a": {"b": 1}}])

    assert found(store, {"a.b": 1}) == [0]


def test_a_list_may_be_long():
    store = stored([{"a": i} for i in range(100)])

    assert found(store, {"a": list(range(50, 50_000))}) == list(range(50, 100))
    assert found(store, {"a": [str(i) for i in range(50_000)]}) == []


def test_sets_and_tuples_are_lists():
    store = stored([{"a": "x"}, {"a": "y"}])

    assert found(store, {"a": {"x"}}) == found(store, {"a": ("x",)}) == found(store, {"a": frozenset("x")}) == [0]


@pytest.mark.parametrize(
    "field",
    ["", 'a"', '") OR 1=1 --', "a\\", "\\", "a\0b", "\n", "\x1f", "\ud800", 5, None, ("a",), b"a"],
)
def test_a_field_that_could_leave_its_quotes_is_refused(field):
    with pytest.raises(InputError, match="fields of where must be"):
        compile_where({field: 1})


@given(st.text(string.printable, max_size=12))
def test_no_field_changes_the_sql(field):
    try:
        sql, values = compile_where({field: {"eq": "x", "exists": True, "gt": 1}})
    except InputError:
        return
    assert (sql, values[1:]) == (compile_where({"a": {"eq": "x", "exists": True, "gt": 1}})[0], values[1:])
    assert values[0] == path_of(field) == f'$."{field}"'


@pytest.mark.parametrize(
    "condition",
    [
        {},
        {"like": "x"},
        {"eq": 1, "$gt": 2},
        {1: 2},
        {"in": "abc"},
        {"in": 5},
        {"in": [[1]]},
        {"exists": 1},
        {"exists": None},
        {"gt": None},
        {"gt": True},
        {"lt": [1]},
        {"gte": math.nan},
        {"eq": math.inf},
        {"eq": {"a": 1}},
        {"ne": [1]},
        math.nan,
        2**63,
        10**400,
        {"eq": 10**10_000},
        "\ud800",
        "a\0b",
        ["\ud800"],
        b"bytes",
        1j,
        np.int64(1),
        object(),
    ],
)
def test_what_cannot_be_compared_is_refused_and_its_field_named(condition):
    with pytest.raises(InputError, match=r"where\['a'\]"):
        compile_where({"a": condition})


@pytest.mark.parametrize(
    "where", [[("a", 1)], "a = 1", 5, {f"f{i}": 1 for i in range(101)}], ids=lambda where: type(where).__name__
)
def test_what_is_no_mapping_of_a_sensible_size_is_refused(where):
    with pytest.raises(InputError, match="where must map"):
        compile_where(where)


def test_as_many_conditions_as_are_allowed_do_run():
    where = {f"f{i}": {"eq": "x", "ne": "y", "in": ["x"], "exists": True, "gte": "x", "lte": "x"} for i in range(100)}
    store = stored([dict.fromkeys(where, "x"), {}])

    assert found(store, where) == [0]
