import re
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedkit.encoders.table import Table, chunk_table, column_wise, row_wise
from embedkit.errors import InputError

PEOPLE = Table("people", ("name", "age"), [("Ann", "31"), ("Bob", "44"), ("Cy", "27")])


def tokens(text):
    return len(re.findall(r"\w|[^\w\s]", text))


def words(text):
    return len(text.split())


def spelled(written, spans):
    return [written.text[start:end] for start, end in spans]


@pytest.mark.parametrize(
    ("write", "header", "text"),
    [
        (column_wise, True, "people. name: Ann, Bob, Cy. age: 31, 44, 27."),
        (column_wise, False, "people. Ann, Bob, Cy. 31, 44, 27."),
        (row_wise, True, "people. name: Ann, age: 31. name: Bob, age: 44. name: Cy, age: 27."),
        (row_wise, False, "people. Ann, 31. Bob, 44. Cy, 27."),
    ],
)
def test_the_whole_table(write, header, text):
    written = write(PEOPLE, count_tokens=tokens, header=header)
    assert written.text == text
    assert written.kept_rows == (0, 1, 2)
    assert written.dropped_rows == 0
    assert written.dropped_columns == ()
    assert spelled(written, [written.cells[1, 0], written.cells[2, 1]]) == ["Bob", "27"]
    if header:
        assert spelled(written, written.header) == ["name", "age"]
    else:
        assert written.header == (None, None)


def test_spans_column_wise():
    written = column_wise(PEOPLE, count_tokens=tokens)
    assert [spelled(written, spans) for spans in written.columns] == [["name: Ann, Bob, Cy"], ["age: 31, 44, 27"]]
    assert [spelled(written, spans) for spans in written.rows] == [["Ann", "31"], ["Bob", "44"], ["Cy", "27"]]


def test_spans_row_wise():
    written = row_wise(PEOPLE, count_tokens=tokens)
    assert spelled(written, written.columns[1]) == ["age: 31", "age: 44", "age: 27"]
    assert spelled(written, written.rows[1]) == ["name: Bob, age: 44"]


@pytest.mark.parametrize(
    ("table", "by_column", "by_row"),
    [
        (Table("", ("a",), [("1",)]), "a: 1.", "a: 1."),
        (Table("t", ("a", "b"), ()), "t. a. b.", "t. a, b."),
        (Table("t", ("a", "b"), [("", "")]), "t. a. b.", "t. a, b."),
        (Table("t", ("a", "b"), [("", "1"), ("", ""), ("2", "")]), "t. a: 2. b: 1.", "t. b: 1. a: 2."),
        (Table("t\n1", ("a\tb",), [(" x\r\n y ",), (" \t",)]), "t 1. a b: x y.", "t 1. a b: x y."),
        (Table("étude", ("名前",), [("Åsa",)]), "étude. 名前: Åsa.", "étude. 名前: Åsa."),
    ],
)
def test_missing_and_odd_cells(table, by_column, by_row):
    assert column_wise(table, count_tokens=tokens).text == by_column
    assert row_wise(table, count_tokens=tokens).text == by_row


def test_a_row_of_missing_cells_has_no_span():
    table = Table("t", ("a",), [("1",), ("",), ("2",)])
    for write in (column_wise, row_wise):
        written = write(table, count_tokens=tokens)
        assert written.kept_rows == (0, 1, 2)
        assert [len(spans) for spans in written.rows] == [1, 0, 1]
        assert (1, 0) not in written.cells


def test_rows_are_kept_evenly_or_from_the_start():
    table = Table("", ("n",), [(str(row),) for row in range(10)])
    assert column_wise(table, count_tokens=words, max_tokens=5).text == "n: 0, 2, 5, 7."
    assert column_wise(table, count_tokens=words, max_tokens=5).kept_rows == (0, 2, 5, 7)
    written = row_wise(table, count_tokens=words, max_tokens=5)
    assert written.text == "n: 0. n: 1."
    assert written.dropped_rows == 8


def test_without_a_budget_everything_is_kept_and_nothing_counted():
    def never(text):
        raise AssertionError(text)

    table = Table("t", ("n", "m"), [(str(row), "x") for row in range(3000)])
    for write in (column_wise, row_wise):
        assert write(table, count_tokens=never, max_tokens=None).dropped_rows == 0


@pytest.mark.parametrize("write", [column_wise, row_wise])
def test_long_cells_are_clipped(write):
    table = Table("", ("a",), [("x" * 200,), ("y" * 201,), ("z" + " " * 5000 + "z",), ("w " * 10**6,)])
    written = write(table, count_tokens=words)
    cells = [written.text[slice(*written.cells[row, 0])] for row in range(4)]
    assert cells[0] == "x" * 200
    assert cells[1] == "y" * 199 + "…"
    assert cells[2] == "z…"
    assert len(cells[3]) <= 200
    assert cells[3].endswith("w…")


@pytest.mark.parametrize("write", [column_wise, row_wise])
def test_columns_are_dropped_from_the_right_when_one_row_is_too_wide(write):
    names = tuple(f"c{column}" for column in range(5000))
    table = Table("wide", names, [("1",) * 5000] * 3)
    start = time.perf_counter()
    written = write(table, count_tokens=words, max_tokens=21)
    assert time.perf_counter() - start < 60  # quadratic work would take hours
    assert written.text.startswith("wide. c0: 1")
    assert written.kept_rows == (0,)
    assert written.dropped_columns == names[10:]
    assert written.columns[10:] == ((),) * 4990
    assert words(written.text) == 21


@pytest.mark.parametrize("write", [column_wise, row_wise])
def test_one_long_cell_is_clipped_until_it_fits_and_then_refused(write):
    table = Table("", ("a",), [("x" * 300,)])
    assert tokens(write(table, count_tokens=tokens, max_tokens=100).text) == 53  # "a", ":", 50 characters, "."
    assert write(table, count_tokens=tokens, max_tokens=20).text == "a: " + "x" * 11 + "…."
    assert write(table, count_tokens=tokens, max_tokens=6).text == "a: xx…."
    with pytest.raises(InputError, match="5 is too few"):
        write(table, count_tokens=tokens, max_tokens=5)


@pytest.mark.parametrize("write", [column_wise, row_wise])
def test_bad_arguments(write):
    with pytest.raises(InputError, match="max_tokens"):
        write(PEOPLE, count_tokens=tokens, max_tokens=0)
    with pytest.raises(InputError, match="something to write"):
        write(Table("", ("a",), [("",)]), count_tokens=tokens, header=False)


CELL = st.text(st.sampled_from("ab é名,.:\n\t…"), max_size=8)
WIDE = st.text(st.sampled_from("ab ,"), max_size=300)


@st.composite
def tables(draw):
    width = draw(st.integers(1, 4))
    columns = draw(st.lists(CELL.map(lambda name: name + "c"), min_size=width, max_size=width))
    rows = draw(st.lists(st.tuples(*[CELL | WIDE] * width), max_size=12))
    return Table(draw(CELL), tuple(columns), rows)


@given(table=tables(), budget=st.integers(30, 200), by_row=st.booleans(), header=st.booleans())
def test_invariants(table, budget, by_row, header):
    try:
        written = (row_wise if by_row else column_wise)(table, count_tokens=tokens, max_tokens=budget, header=header)
    except InputError:
        assert not header
        return
    assert tokens(written.text) <= budget
    assert len(written.columns) == len(written.header) == len(table.columns)
    assert len(written.rows) == len(written.kept_rows)
    assert written.dropped_rows + len(written.kept_rows) == len(table.rows)
    assert (0 in written.kept_rows) == bool(table.rows)
    for (row, column), span in written.cells.items():
        expected = " ".join(table.rows[row][column].split())
        shown = written.text[slice(*span)]
        assert shown == expected or (shown.endswith("…") and expected.startswith(shown[:-1]))
        assert any(start <= span[0] and span[1] <= end for start, end in written.columns[column])
        at = written.kept_rows.index(row)
        assert any(start <= span[0] and span[1] <= end for start, end in written.rows[at])
    width = len(table.columns) - len(written.dropped_columns)
    filled = {(row, column) for row in written.kept_rows for column in range(width) if table.rows[row][column].strip()}
    assert set(written.cells) == filled
    for group in (
        [*written.cells.values(), *filter(None, written.header)],
        [span for spans in written.columns for span in spans],
        [span for spans in written.rows for span in spans],
    ):
        assert all(first[1] <= second[0] for first, second in pairwise(sorted(group)))


@given(st.permutations(range(6)))
def test_permuted_rows_permute_the_cells(order):
    rows = [(f"v{row}", f"w{row}") for row in range(6)]
    plain = column_wise(Table("t", ("a", "b"), rows), count_tokens=tokens)
    mixed = column_wise(Table("t", ("a", "b"), [rows[row] for row in order]), count_tokens=tokens)
    assert sorted(re.findall(r"\w+", plain.text)) == sorted(re.findall(r"\w+", mixed.text))
    for position, row in enumerate(order):
        assert spelled(mixed, mixed.rows[position]) == spelled(plain, plain.rows[row])


@given(table=tables(), budget=st.integers(30, 150))
def test_every_chunk_fits_and_the_rows_are_covered_in_order(table, budget):
    chunks, uncovered = chunk_table(table, count_tokens=tokens, max_tokens=budget, max_chunks=99)
    assert uncovered == 0
    assert all(tokens(chunk.text) <= budget and chunk.text.strip() for chunk in chunks)
    assert (chunks[0].line, chunks[0].end_line) == (1, 1 + len(table.rows))
    lines = [line for chunk in chunks[1:] for line in range(chunk.line, chunk.end_line + 1)]
    assert len(lines) == len(set(lines))
    filled = {position + 2 for position, row in enumerate(table.rows) if any(map(str.strip, row))}
    assert filled <= set(lines)


def test_chunks():
    chunks, uncovered = chunk_table(PEOPLE, count_tokens=words, max_tokens=10, line=5)
    assert [(chunk.name, chunk.line, chunk.end_line, chunk.text) for chunk in chunks] == [
        ("people", 5, 8, "people. name: Ann, Bob, Cy. age: 31, 44, 27."),
        ("people, rows 1-2", 6, 7, "people. name: Ann, age: 31. name: Bob, age: 44."),
        ("people, row 3", 8, 8, "people. name: Cy, age: 27."),
    ]
    assert {chunk.kind for chunk in chunks} == {"table"}
    assert uncovered == 0


def test_chunks_of_a_table_without_header_line():
    chunks, _ = chunk_table(PEOPLE, count_tokens=words, line=0)
    assert [(chunk.line, chunk.end_line) for chunk in chunks] == [(1, 3), (1, 3)]


def test_max_chunks_leaves_rows_uncovered():
    table = Table("", ("n",), [(str(row),) for row in range(100)])
    chunks, uncovered = chunk_table(table, count_tokens=words, max_tokens=20, max_chunks=4)
    assert [chunk.name for chunk in chunks] == ["table", "table, rows 1-10", "table, rows 11-20", "table, rows 21-30"]
    assert uncovered == 70
    assert chunk_table(table, count_tokens=words, max_chunks=1)[1] == 100
    with pytest.raises(InputError, match="max_chunks"):
        chunk_table(table, count_tokens=words, max_chunks=0)


@pytest.mark.parametrize("rows", [(), [("", "")] * 3])
def test_a_table_without_cells_is_one_chunk(rows):
    chunks, uncovered = chunk_table(Table("t", ("a", "b"), rows), count_tokens=words)
    assert [chunk.text for chunk in chunks] == ["t. a. b."]
    assert uncovered == 0


def test_a_long_cell_is_kept_further_in_row_chunks_and_clipped_where_it_must_be():
    table = Table("t", ("review",), [("word " * 150,), ("x" * 5000,)])
    chunks, _ = chunk_table(table, count_tokens=tokens, max_tokens=700)
    assert chunks[1].text.count("word") == 150
    assert chunks[2].text == "t. review: " + "x" * 199 + "…."


@pytest.mark.parametrize("write", [column_wise, row_wise, chunk_table])
def test_a_million_rows_are_quick(write):
    table = Table("big", ("n", "text"), [("1", "some words here")] * 1_000_000)
    start = time.perf_counter()
    write(table, count_tokens=tokens)
    assert time.perf_counter() - start < 60  # quadratic work would take hours
