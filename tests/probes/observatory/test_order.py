"""Row and column order: encoders whose answer is known, and what is compared with what."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest

from embedkit.encoders.table.encoder import table_encoder
from embedkit.encoders.table.parts import part_encoder
from embedkit.encoders.table.vectors import table_vectors
from embedkit.errors import InputError
from embedkit.probes.observatory.column_order import column_order
from embedkit.probes.observatory.row_order import row_order
from embedkit.probes.observatory.variants import permutations

ORDERS = (row_order, column_order)
LEVELS = ("column", "row", "table")
ANIMALS = {
    "cat": ["red", "green", "blue", "one", "two"],
    "dog": ["sat", "sings", "barks", "mat", "on"],
    "bird": ["true", "if", "not", "def", "return"],
}
NUMBERS = {"one": ["two", "three", "cat"], "mat": ["red", "red", "blue"]}
TABLES = [ANIMALS, NUMBERS]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("level", LEVELS)
def test_the_set_encoder_never_moves(order, level, text_encoder):
    finding = order(part_encoder(text_encoder, unit="cells"), TABLES)
    assert finding[f"{level}, cosine"].estimate.value == pytest.approx(1, abs=1e-9)
    assert finding[f"{level}, cosine 5 % quantile"].estimate.value == pytest.approx(1, abs=1e-9)
    assert finding[f"{level}, dispersion"].estimate.value == pytest.approx(0, abs=1e-9)
    assert finding[f"{level}, cosine"].control.value < 1 - 1e-6


def test_columns_read_alone_do_not_feel_the_order_of_columns(text_encoder):
    finding = column_order(part_encoder(text_encoder, unit="columns"), TABLES)
    assert finding["column, cosine"].estimate.value == 1
    assert finding["column, dispersion"].estimate.value == 0


@pytest.mark.parametrize("order", ORDERS)
def test_a_constant_encoder_never_moves_and_its_control_says_why(order, text_encoder):
    encoder = part_encoder(text_encoder)
    text_encoder.encode = lambda texts, **_: np.full((len(texts), 32), 0.3, dtype=np.float32)
    finding = order(encoder, TABLES)
    for level in LEVELS:
        assert finding[f"{level}, cosine"].estimate.value == 1
        assert finding[f"{level}, cosine"].control.value == pytest.approx(1)
        assert finding[f"{level}, dispersion"].estimate.value == 0


def test_a_zero_encoder_is_undefined(text_encoder):
    encoder = part_encoder(text_encoder)
    text_encoder.encode = lambda texts, **_: np.zeros((len(texts), 32), dtype=np.float32)
    finding = row_order(encoder, TABLES)
    assert all(math.isnan(line.estimate.value) for line in finding.lines)
    assert "undefined" in str(finding)


def cos(a, b):
    a, b = a.astype(float), b.astype(float)
    return a @ b / (np.linalg.norm(a) * np.linalg.norm(b))


def spread(vectors):
    points = np.stack(vectors).astype(float)
    mean = points.mean(axis=0)
    return math.sqrt(mean @ np.cov(points.T) @ mean) / (mean @ mean)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("layout", ["columns", "rows"])
def test_each_part_is_compared_with_itself(order, layout, text_encoder, asked):
    """The same figures from loops that match parts by what stands in them, not by their places."""
    encoder = table_encoder(text_encoder, layout=layout)
    finding = order(encoder, TABLES, variants=3)
    cosines, chances, spreads = ({level: [] for level in LEVELS} for _ in range(3))
    everywhere = []
    for tables in asked:
        kept = []
        for table in tables:
            read = table_vectors(encoder, table)
            kept.append(
                {
                    "column": dict(zip(table.columns, read.columns, strict=True)),
                    "row": dict(zip(map(frozenset, table.rows), read.rows, strict=True)),
                    "table": {"": read.table},
                }
            )
        for level in LEVELS:
            original, *others = (each[level] for each in kept)
            moved = [cos(original[part], other[part]) for part in original for other in others]
            everywhere += moved if level == "column" else []
            cosines[level].append(np.mean(moved))
            spreads[level].append(np.mean([spread([each[level][part] for each in kept]) for part in original]))
            pairs = list(itertools.combinations(original.values(), 2))
            chances[level].append(np.mean([cos(*pair) for pair in pairs]) if pairs else math.nan)
    chances["table"] = [cos(*(table_vectors(encoder, table).table for table in TABLES))]
    for level in LEVELS:
        line = finding[f"{level}, cosine"]
        assert line.estimate.value == pytest.approx(np.mean(cosines[level]))
        assert line.estimate.value < 1 - 1e-7
        assert line.estimate.n == 2
        assert line.control.value == pytest.approx(np.mean(chances[level]))
        assert line.ideal == 1
        assert finding[f"{level}, dispersion"].estimate.value == pytest.approx(np.mean(spreads[level]))
        assert finding[f"{level}, dispersion"].ideal == 0
    low = finding["column, cosine 5 % quantile"].estimate
    assert (low.value, low.n) == (pytest.approx(np.quantile(everywhere, 0.05)), len(everywhere))
    assert low.low == low.high == low.value
    assert finding.notes == ()


@pytest.mark.parametrize("order", ORDERS)
def test_a_table_of_more_rows_than_columns_keeps_its_rows(order, text_encoder, asked):
    order(part_encoder(text_encoder), [ANIMALS])
    original, *others = asked[0]
    assert len(others) == (6 if order is row_order else 5)  # three columns have five other orders
    for other in others:
        assert len(other.rows) == 5
        assert sorted(other.columns) == sorted(original.columns)
        assert sorted(map(sorted, other.rows)) == sorted(map(sorted, original.rows))
        assert (other.columns == original.columns) == (order is row_order)


@pytest.mark.parametrize("order", ORDERS)
def test_the_original_comes_first_of_ten_or_more(order, text_encoder, asked):
    table = {f"c{column}": [f"{row} {column}" for row in range(12)] for column in range(12)}
    order(part_encoder(text_encoder), [table], variants=11)
    (tables,) = asked
    assert tables[0].columns == tuple(table)
    assert tables[0].rows == tuple(zip(*table.values(), strict=True))
    assert len({(each.columns, each.rows) for each in tables}) == 12


@pytest.mark.parametrize(("length", "most", "there_are"), [(0, 6, 0), (1, 6, 0), (2, 6, 1), (3, 99, 5), (4, 6, 6)])
def test_orders_are_different_and_never_the_sorted_one(length, most, there_are):
    drawn = permutations(length, most, np.random.default_rng(0))
    assert len(set(drawn)) == len(drawn) == there_are
    assert tuple(range(length)) not in drawn
    assert all(sorted(each) == list(range(length)) for each in drawn)


def test_orders_are_uniform():
    random = np.random.default_rng(0)
    drawn = [permutations(3, 1, random)[0] for _ in range(2000)]
    assert [drawn.count(each) / 2000 for each in sorted(set(drawn))] == pytest.approx([0.2] * 5, abs=0.03)


def test_equal_seeds_give_equal_findings(text_encoder):
    encoder = table_encoder(text_encoder)
    assert row_order(encoder, TABLES, seed=5) == row_order(encoder, TABLES, seed=5)
    assert row_order(encoder, [ANIMALS], seed=5) != row_order(encoder, [ANIMALS], seed=6)


def test_rows_that_do_not_fit_are_compared_where_both_show_them(text_encoder, asked):
    long = {"cat": [f"{row} red" for row in range(60)]}
    finding = row_order(table_encoder(text_encoder), [long])
    assert finding["row, cosine"].estimate.n == 1
    assert 0 < finding["row, cosine 5 % quantile"].estimate.n < 6 * 60
    assert finding.notes[0].startswith("1 of 1 table did not fit the encoder's window")


def test_what_cannot_be_shuffled_is_left_out(text_encoder):
    encoder = part_encoder(text_encoder)
    one_row, one_column, empty = {"cat": ["red"], "dog": ["blue"]}, {"cat": ["red", "blue"]}, {"cat": [], "dog": []}
    finding = row_order(encoder, [one_row, one_column, empty])
    assert finding.notes == ("2 of 3 tables left out: fewer than two rows",)
    assert finding["table, cosine"].estimate.n == 1
    assert finding["table, cosine"].control.n == 0
    finding = column_order(encoder, [one_row, one_column, empty])
    assert finding.notes == ("1 of 3 tables left out: a single column",)
    assert finding["column, cosine"].estimate.n == 2
    assert finding["row, cosine"].estimate.n == 1


def test_nothing_left_to_compare_is_undefined(text_encoder):
    finding = row_order(part_encoder(text_encoder), [{"cat": ["red"]}])
    assert all(line.estimate.n == 0 and math.isnan(line.estimate.value) for line in finding.lines)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("unit", ["columns", "cells", None])
def test_duplicate_headers_and_empty_columns(order, unit, text_encoder):
    frame = pd.DataFrame([["red", "blue", None], ["one", "two", None], ["cat", "", None]], columns=["a", "a", "b"])
    encoder = part_encoder(text_encoder, unit=unit) if unit else table_encoder(text_encoder)
    finding = order(encoder, [frame])
    assert finding["column, cosine"].estimate.n == 1
    assert finding["column, cosine 5 % quantile"].estimate.n == 3 * 5  # three of anything have five other orders
    assert finding.notes == ()


def test_columns_without_anything_to_read_are_not_compared(text_encoder):
    encoder = part_encoder(text_encoder, header=False)
    finding = row_order(encoder, [{"cat": ["red", "blue"], "dog": ["", ""]}])
    assert finding["column, cosine 5 % quantile"].estimate.n == 1
    assert finding["column, cosine"].control.n == 0


def test_a_table_that_cannot_be_read_is_counted(text_encoder):
    finding = row_order(part_encoder(text_encoder, header=False), [NUMBERS, {"cat": ["", ""]}])
    assert finding["table, cosine"].estimate.n == 1
    assert finding.notes[0].startswith("1 of 2 tables left out, not to be read: a table must have a cell")


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (([],), "tables must be a list of at least one table; received none"),
        ((NUMBERS,), "tables must be a list of tables; received dict: put one table into a list"),
        (([NUMBERS, 3],), r"tables\[1\]: a table must be"),
    ],
)
def test_tables_are_checked(order, arguments, problem, text_encoder):
    with pytest.raises(InputError, match=problem):
        order(part_encoder(text_encoder), *arguments)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("variants", [0, -1, 2.0, True, "6"])
def test_variants_are_a_count(order, variants, text_encoder):
    with pytest.raises(InputError, match="variants must be a count from 1"):
        order(part_encoder(text_encoder), TABLES, variants=variants)


@pytest.mark.parametrize("order", ORDERS)
def test_the_encoder_must_read_tables(order, text_encoder):
    with pytest.raises(InputError, match="needs an encoder of tables"):
        order(text_encoder, TABLES)
