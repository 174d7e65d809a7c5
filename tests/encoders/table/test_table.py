import datetime as dt
import subprocess
import sys
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedkit.encoders.table import Table, as_table
from embedkit.encoders.table.table import name_columns
from embedkit.errors import InputError

MIDNIGHT = dt.datetime.fromisoformat("2020-01-02")


def column(values):
    return [row[0] for row in as_table({"x": values}).rows]


def test_rows_become_a_tuple_that_later_changes_do_not_reach():
    rows = [("Ann", "31")]
    table = Table("people", ("name", "age"), rows)
    rows.append(("Bob", "44"))
    assert table.rows == (("Ann", "31"),)
    assert hash(table) == hash(Table("people", ("name", "age"), (("Ann", "31"),)))


@pytest.mark.parametrize(
    ("columns", "rows", "message"),
    [
        ((), (), "at least one column"),
        (("a", "b"), [("1", "2"), ("1",)], r"rows\[1\] has 1"),
        (("a",), [("1", "2")], r"rows\[0\] has 2"),
        (("a",), [("1",), (2,)], r"rows\[1\] must hold strings only; it holds 2 of type int"),
        ((1,), (), "columns must hold strings"),
    ],
)
def test_a_table_that_is_none_is_refused(columns, rows, message):
    with pytest.raises(InputError, match=message):
        Table("t", columns, rows)


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        (["a", ""], ["a", ""]),
        ([1, -2, 10**20], ["1", "-2", "100000000000000000000"]),
        ([1.0, 2.5, 0.1], ["1.0", "2.5", "0.1"]),
        ([1.0, 2.0], ["1.0", "2.0"]),
        ([1.0, None, float("nan"), 3.0], ["1", "", "", "3"]),
        ([1.5, None], ["1.5", ""]),
        ([1e300, None], ["1e+300", ""]),
        ([float("inf"), None], ["inf", ""]),
        ([True, False, None], ["true", "false", ""]),
        ([True, 1, 1.5], ["true", "1", "1.5"]),
        ([dt.date(2020, 1, 2), dt.time(3, 4)], ["2020-01-02", "03:04:00"]),
        ([MIDNIGHT, None], ["2020-01-02", ""]),
        ([MIDNIGHT, MIDNIGHT.replace(hour=3)], ["2020-01-02T00:00:00", "2020-01-02T03:00:00"]),
        ([dt.datetime(2020, 1, 2, tzinfo=dt.UTC)], ["2020-01-02T00:00:00+00:00"]),
        ([Decimal("1.10"), Decimal("NaN"), Decimal("sNaN")], ["1.10", "", ""]),
        ([b"\0" * 12, b"x"], ["<12 bytes>", "<1 byte>"]),
        ([[1, 2], {"a": 1}], ["[1, 2]", "{'a': 1}"]),
        ([None, None], ["", ""]),
        (np.array([0.1, 3], dtype=np.float32), ["0.1", "3.0"]),
        (np.array([1, 2], dtype=np.int8), ["1", "2"]),
        (np.array([True, False]), ["true", "false"]),
        (np.array(["2020-01-02", "NaT"], dtype="datetime64[ns]"), ["2020-01-02", ""]),
        (np.array(["2020-01-02"], dtype="datetime64[D]"), ["2020-01-02"]),
        (np.array(["é"]), ["é"]),
    ],
)
def test_cells_are_written_by_hand_checked_rules(values, texts):
    assert column(values) == texts


def test_dicts_keep_the_order_in_which_columns_first_occur():
    table = as_table([{"b": 1}, {"a": 2, "b": None}], name="t")
    assert table == Table("t", ("b", "a"), (("1", ""), ("", "2")))


def test_a_table_passes_through_and_takes_a_name():
    table = Table("t", ("a",), [("1",)])
    assert as_table(table) is table
    assert as_table(table, name="u") == Table("u", ("a",), [("1",)])


def test_columns_without_rows_are_a_table():
    assert as_table({"a": [], "b": []}) == Table("", ("a", "b"), ())


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("a,b", "received str"),
        (None, "received NoneType"),
        (3, "received int"),
        ([[1, 2]], "received a list of list"),
        ([{"a": 1}, 2], "received a list of int"),
        (np.zeros((2, 2)), r"received numpy\.ndarray"),
        ([], "at least one column"),
        ({}, "at least one column"),
        ({"a": [1], "b": [1, 2]}, "'a' has 1 cells, 'b' has 2"),
        ({"a": "text"}, "column 'a' is str"),
        ({"a": 3}, "column 'a' is int"),
    ],
)
def test_what_is_no_table_is_refused_and_named(value, message):
    with pytest.raises(InputError, match=message):
        as_table(value)


@pytest.mark.parametrize(
    ("names", "unique"),
    [
        (["a", "a", "a"], ("a", "a (2)", "a (3)")),
        (["a", "a", "a (2)"], ("a", "a (3)", "a (2)")),
        (["a", "", " "], ("a", "column 2", "column 3")),
        (["", "column 1"], ("column 1 (2)", "column 1")),
        ([1, None, 2.5, ("x", "y")], ("1", "column 2", "2.5", "('x', 'y')")),
    ],
)
def test_names_are_made_unique(names, unique):
    assert name_columns(names)[0] == unique


@given(st.lists(st.sampled_from(["", "a", "a (2)", "a (3)", "column 1", "column 2", "column 2 (2)", " "]), max_size=12))
def test_names_are_always_unique_and_the_first_of_each_is_kept(names):
    unique, notes = name_columns(names)
    assert len(set(unique)) == len(names)
    for position, name in enumerate(names):
        if name.strip() and name not in names[:position]:
            assert unique[position] == name
    assert bool(notes) == (list(unique) != names)


def test_thousands_of_equal_names_take_no_time_and_few_words():
    unique, notes = name_columns(["x"] * 20_000 + [""] * 20_000)
    assert unique[19_999] == "x (20000)"
    assert unique[20_000] == "column 20001"
    assert len(notes) == 2
    assert all(len(note) < 500 for note in notes)


def test_pandas():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(
        {
            "n": [1, None, 3],
            "i": pd.array([1, None, 3], dtype="Int64"),
            "f": np.array([0.1, np.nan, 3], dtype=np.float32),
            "s": ["a", None, "b"],
            "b": pd.array([True, None, False], dtype="boolean"),
            "d": pd.to_datetime(["2020-01-02", None, "2020-01-03"]),
            "t": pd.to_datetime(["2020-01-02 03:04:05", None, "2020-01-03 00:00:00"]),
            "c": pd.Categorical(["x", None, "y"]),
        },
        index=[7, 8, 9],
    )
    table = as_table(frame, name="t")
    assert table.columns == tuple(frame.columns)
    assert table.rows == (
        ("1", "1", "0.1", "a", "true", "2020-01-02", "2020-01-02T03:04:05", "x"),
        ("",) * 8,
        ("3", "3", "3.0", "b", "false", "2020-01-03", "2020-01-03T00:00:00", "y"),
    )


def test_pandas_with_odd_names():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame([[1, 2, 3, 4]], columns=["a", "a", 0, None])
    assert as_table(frame) == Table("", ("a", "a (2)", "0", "column 4"), [("1", "2", "3", "4")])
    with pytest.raises(InputError, match="at least one column"):
        as_table(pd.DataFrame(index=[1, 2]))
    with pytest.raises(InputError, match="Series"):
        as_table(frame["a"].iloc[:, 0])


def test_polars():
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame(
        {
            "i": [1, None],
            "f": pl.Series([0.1, None], dtype=pl.Float32),
            "b": [True, None],
            "d": [dt.date(2020, 1, 2), None],
            "l": [[1, 2], None],
            "x": [b"abc", None],
        }
    )
    assert as_table(frame, name="t") == Table(
        "t", ("i", "f", "b", "d", "l", "x"), [("1", "0.1", "true", "2020-01-02", "[1, 2]", "<3 bytes>"), ("",) * 6]
    )
    with pytest.raises(InputError, match="LazyFrame"):
        as_table(frame.lazy())


def test_pyarrow():
    pa = pytest.importorskip("pyarrow", reason="the extra tables is not installed")
    arrow = pa.table(
        {
            "i": pa.chunked_array([[2**62], [None]]),
            "f": pa.array([0.1, None], pa.float32()),
            "h": pa.array(np.array([0.1, 2], dtype=np.float16)),
            "m": pa.array([Decimal("1.10"), None]),
            "d": pa.array([dt.date(2020, 1, 2), None]),
            "c": pa.array(["x", None]).dictionary_encode(),
            "l": [[1, 2], None],
        }
    )
    assert as_table(arrow, name="t") == Table(
        "t",
        tuple("ifhmdcl"),
        [("4611686018427387904", "0.1", "0.1", "1.10", "2020-01-02", "x", "[1, 2]"), ("", "", "2.0", "", "", "", "")],
    )
    assert as_table(pa.table([[1], [2]], names=["a", "a"])).columns == ("a", "a (2)")
    assert as_table(arrow.slice(0, 0)).rows == ()
    assert column_of(as_table(pa.table({"a": list(range(10))}), max_rows=3)) == ["0", "3", "6"]
    with pytest.raises(InputError, match="at least one column"):
        as_table(pa.table({}))
    with pytest.raises(InputError, match=r"received pyarrow\.lib\.RecordBatch"):
        as_table(arrow.to_batches()[0])


def test_duckdb():
    duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed")
    with duckdb.connect() as connection:
        relation = connection.sql("""
            SELECT 170141183460469231731687303715884105727::HUGEINT AS i, 0.1::FLOAT AS f, 0.1::DOUBLE AS g,
                1.10::DECIMAL(5, 2) AS m, TIMESTAMP '2020-01-02' AS d, TRUE AS b, [1, 2] AS l, 'abc'::BLOB AS x,
                NULL AS n, 'y' AS i
            UNION ALL SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
        """)
        texts = ["170141183460469231731687303715884105727", "0.1", "0.1", "1.10", "2020-01-02", "true"]
        table = Table("t", (*"ifgmdblxn", "i (2)"), [(*texts, "[1, 2]", "<3 bytes>", "", "y"), ("",) * 10])
        assert as_table(relation, name="t") == table
        assert as_table(relation, name="t") == table  # reading does not use a relation up
        assert as_table(connection.sql("SELECT 1 AS a WHERE FALSE")) == Table("", ("a",), ())
        numbers = connection.sql("SELECT range::FLOAT AS a FROM range(10) ORDER BY range")
        assert column_of(as_table(numbers, max_rows=3)) == ["0.0", "3.0", "6.0"]


def column_of(table):
    return [row[0] for row in table.rows]


def test_importing_brings_no_heavy_package():
    code = (
        "import sys, embedkit.encoders.table\n"
        "print(sorted({'torch', 'transformers', 'pandas', 'polars', 'pyarrow', 'duckdb', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("table", [{"a": ["\ud83d"]}, {"\udc00": ["x"]}])
def test_half_a_character_is_an_error_that_says_where(table):
    with pytest.raises(InputError, match="must be text that UTF-8 can write; it holds the lone surrogate"):
        as_table(table)
