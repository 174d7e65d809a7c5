import csv
import random
import time
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedkit.encoders.table import (
    FunctionalDependency,
    Table,
    functional_dependencies,
    non_dependencies,
    read_tables,
)
from embedkit.errors import InputError

PEOPLE = Table(
    "people",
    ("name", "city", "country", "planet"),
    [
        ("Ann", "Bonn", "DE", "Earth"),
        ("Bob", "Paris", "FR", "Earth"),
        ("Cy", "Bonn", "DE", "Earth"),
        ("Dee", "Metz", "FR", "Earth"),
        ("Eve", "", "FR", "Earth"),
        ("Flo", "Paris", "", "Earth"),
    ],
)


def in_loops(table, min_rows, min_repeated):
    """Both lists from their definitions."""
    holding, failing = [], []
    for x, y in permutations(range(len(table.columns)), 2):
        beside, count = {}, {}
        for row in table.rows:
            if row[x] and row[y]:
                beside.setdefault(row[x], set()).add(row[y])
                count[row[x]] = count.get(row[x], 0) + 1
        groups = sum(number > 1 for number in count.values())
        if sum(count.values()) < min_rows or groups < min_repeated:
            continue
        if any(len(values) > 1 for values in beside.values()):
            failing.append((x, y))
        elif len(set().union(*beside.values())) > 1:
            holding.append(FunctionalDependency(x, y, groups))
    return holding, failing


def both(table, **options):
    return functional_dependencies(table, **options), non_dependencies(table, **options)


TABLES = st.integers(1, 4).flatmap(
    lambda width: st.lists(st.tuples(*[st.sampled_from(["", "a", "b", "c"])] * width), max_size=12).map(
        lambda rows: Table("", tuple(f"c{i}" for i in range(width)), rows)
    )
)


@given(TABLES, st.integers(1, 4), st.integers(1, 2))
def test_loops_find_the_same(table, min_rows, min_repeated):
    options = {"min_rows": min_rows, "min_repeated": min_repeated}
    assert both(table, **options) == in_loops(table, **options)


@given(TABLES, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(table, rng):
    rows = rng.sample(table.rows, len(table.rows))
    assert both(Table("", table.columns, rows), min_rows=1) == both(table, min_rows=1)


def test_pandas_finds_the_same():
    pd = pytest.importorskip("pandas")
    rng = random.Random(0)
    letters = "abcdefgh"
    rows = [(first := rng.choice(letters), letters.index(first) // 3, rng.choice(letters)) for _ in range(200)]
    table = Table("", ("x", "y", "z"), [tuple(map(str, row)) for row in rows])
    frame = pd.DataFrame(rows, columns=["x", "y", "z"])
    distinct = [
        (x, y, frame.groupby(frame.columns[x])[frame.columns[y]].nunique().max()) for x, y in permutations(range(3), 2)
    ]
    assert functional_dependencies(table) == [FunctionalDependency(0, 1, 8)]
    assert non_dependencies(table) == [(x, y) for x, y, most in distinct if most > 1]


def test_worked_by_hand():
    # Of the four rows with city and country, Bonn fills two; of the five with a city, Bonn and Paris fill two each.
    assert functional_dependencies(PEOPLE, min_rows=4) == [FunctionalDependency(1, 2, 1)]
    assert non_dependencies(PEOPLE, min_rows=4) == [(1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2)]
    assert functional_dependencies(PEOPLE, min_rows=5) == []
    assert functional_dependencies(PEOPLE, min_rows=4, min_repeated=2) == []
    assert (1, 0) in non_dependencies(PEOPLE, min_rows=4, min_repeated=2)


def test_a_key_determines_everything_and_is_in_neither_list():
    found, others = both(PEOPLE, min_rows=1)
    assert all(pair.determinant != 0 for pair in found)
    assert all(x != 0 for x, _ in others)


def test_a_value_that_repeats_only_beside_missing_cells_is_none():
    table = Table("", ("x", "y"), [("a", "1"), ("a", ""), ("b", "2"), ("b", "")])
    assert both(table, min_rows=1) == ([], [])


def test_equal_columns_determine_each_other_also_under_one_name():
    table = Table("", ("x", "x"), [("a", "a"), ("a", "a"), ("b", "b")])
    assert functional_dependencies(table, min_rows=3) == [FunctionalDependency(0, 1, 1), FunctionalDependency(1, 0, 1)]


@pytest.mark.parametrize(
    "table",
    [
        Table("", ("x", "y"), ()),
        Table("", ("x", "y"), [("a", "b")]),
        Table("", ("x",), [("a",), ("a",)]),
        Table("", ("x", "y"), [("", "")] * 20),
        Table("", ("x", "y"), [("a", "")] * 20),
        Table("", ("x", "y"), [("a", "b")] * 20),
    ],
)
def test_nothing_to_find(table):
    assert both(table, min_rows=1) == ([], [])


@pytest.mark.parametrize("option", ["min_rows", "min_repeated"])
@pytest.mark.parametrize("find", [functional_dependencies, non_dependencies])
def test_least_numbers_below_one_are_refused(find, option):
    with pytest.raises(InputError, match=f"{option} must be at least 1; received 0"):
        find(PEOPLE, **{option: 0})


@pytest.mark.slow
def test_forty_columns_of_100_000_rows_take_seconds():
    rng = random.Random(0)
    rows = [tuple(str(rng.randrange(3 + 40 * i * i)) for i in range(40)) for _ in range(100_000)]
    start = time.process_time()
    functional_dependencies(Table("", tuple(map(str, range(40))), rows))
    assert time.process_time() - start < 30


@pytest.mark.data
def test_spider_agrees_with_its_profile(data_folder):
    spider = data_folder / "tables" / "spider"
    if not spider.is_dir():
        pytest.skip(f"no Spider tables at {spider}")
    with (spider / "profile_fds.csv").open(encoding="utf-8", newline="") as file:
        profile = {
            (row["db"], row["table"].lower(), row["lhs"], row["rhs"]): int(row["groups_ge2"])
            for row in csv.DictReader(file)
        }
    found, compared = {}, set()
    for path in sorted(spider.glob("databases/*/data/*.csv")):
        [read] = read_tables(path)
        # The profile looked at 200 rows of a table, and took the text NULL for missing.
        if len(read.table.rows) <= 200 and not any(cell in {"", "NULL"} for row in read.table.rows for cell in row):
            place = (path.parts[-3], path.stem.lower())
            compared.add(place)
            for pair in functional_dependencies(read.table):
                names = (read.table.columns[pair.determinant], read.table.columns[pair.dependent])
                found[(*place, *names)] = pair.groups
    assert found == {key: groups for key, groups in profile.items() if key[:2] in compared}
    assert len(found) > 50
