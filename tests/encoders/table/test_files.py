import csv
import random
import sqlite3
import time
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedkit.encoders.table import SUFFIXES, Table, read_tables
from embedkit.errors import InputError


@pytest.fixture
def read(tmp_path):
    def reading(content, name="people.csv", **options):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        [found] = read_tables(path, **options)
        return found

    return reading


@pytest.fixture
def database(tmp_path):
    def made(*statements, name="shop.sqlite"):
        path = tmp_path / name
        with closing(sqlite3.connect(path)) as connection, connection:
            for statement in statements:
                connection.execute(*statement if isinstance(statement, tuple) else (statement,))
        return path

    return made


# CSV


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_delimiters_and_line_ends(read, delimiter, newline):
    lines = [["name", "note"], ["Ann", '"a, b; c| d\te"'], ["Bob", ""]]
    found = read(newline.join(delimiter.join(line) for line in lines))
    assert found.table == Table("people", ("name", "note"), [("Ann", "a, b; c| d\te"), ("Bob", "")])
    assert found.notes == ()
    assert found.first_line == 1


def test_decimal_commas_are_no_delimiter(read):
    assert read("a;b;c\n1,5;2,5;3,5\n").table.rows == (("1,5", "2,5", "3,5"),)


def test_prose_in_a_single_column_stays_whole(read):
    found = read("text\nI came, I saw\nno comma\n")
    assert found.table == Table("people", ("text",), [("I came, I saw",), ("no comma",)])
    assert found.notes == ()


def test_tsv_is_always_tabs(read):
    assert read("a,b\tc\n1,2\t3\n", "x.TSV").table == Table("x", ("a,b", "c"), [("1,2", "3")])


def test_quoted_cells_keep_newlines_and_doubled_quotes(read):
    assert read('a,b\n"x\ny","say ""hi"""\n').table.rows == (("x\ny", 'say "hi"'),)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_unicode(read, encoding):
    found = read("名前,città\nÅsa,Zürich\n".encode(encoding), "é名.csv")
    assert found.table == Table("é名", ("名前", "città"), [("Åsa", "Zürich")])
    assert found.notes == ()


def test_what_is_not_utf8_is_latin1_with_a_note(read):
    found = read("name\nZoë\n".encode("latin-1"))
    assert found.table.rows == (("Zoë",),)
    assert found.notes == ("file is not UTF-8, read as latin-1",)


def test_a_late_byte_that_is_not_utf8_counts(read):
    found = read(b"name\n" + b"Ann\n" * 100_000 + b"Zo\xeb\n")
    assert found.table.rows[-1] == ("Zoë",)
    assert len(found.table.rows) == 100_001


def test_utf16_that_is_cut_off(read):
    with pytest.raises(InputError, match=r"people\.csv must be UTF-16"):
        read("name,age\n".encode("utf-16")[:-1])


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", b"\n\n", b"\r\n"])
def test_an_empty_file_yields_nothing(tmp_path, content):
    path = tmp_path / "x.csv"
    path.write_bytes(content)
    assert list(read_tables(path)) == []


def test_a_header_alone_is_a_table_without_rows(read):
    assert read("name,age\n").table == Table("people", ("name", "age"), ())


def test_ragged_rows_are_mended_and_named(read):
    found = read("a,b,c\n1,2,3\n1\n1,2,3,4,5\n1,2\n1,2,3,,\n")
    assert found.table.rows == (
        ("1", "2", "3"),
        ("1", "", ""),
        ("1", "2", "3,4,5"),
        ("1", "2", ""),
        ("1", "2", "3"),
    )
    assert found.notes == (
        "2 rows had too few cells and were padded: lines 3, 5",
        "1 row had too many cells and was joined at the end: line 4",
    )


def test_many_ragged_rows_make_a_short_note(read):
    assert read("a,b\n" + "1\n" * 40).notes == (
        "40 rows had too few cells and were padded: lines 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 30 more",
    )


def test_duplicate_and_empty_headers(read):
    found = read("id,id, ,name\n1,2,3,4\n")
    assert found.table.columns == ("id", "id (2)", "column 3", "name")
    assert found.notes == ("duplicate header 'id' renamed 'id (2)'", "1 empty header renamed 'column 3'")


def test_blank_lines_are_left_out_and_line_numbers_stay_true(read):
    found = read("\n\na,b\n\n1,2\n3\n\n\n")
    assert found.first_line == 3
    assert found.table.rows == (("1", "2"), ("3", ""))
    assert found.notes == (
        "3 blank lines were left out",
        "1 row had too few cells and was padded: line 6",
    )


@pytest.mark.parametrize(
    ("first", "is_data"),
    [
        ("1,2.5", True),
        ("-1e3,.5", True),
        ("2020-01-02,7%", True),
        ("2020-01-02 10:00:00,", True),
        ("country,1990", False),
        ("1a,2", False),
        (",", False),
    ],
)
def test_a_first_row_of_numbers_and_dates_is_data(read, first, is_data):
    found = read(f"{first}\nx,y\n")
    assert len(found.table.rows) == 1 + is_data
    assert found.first_line == 1 - is_data
    if is_data:
        assert found.table.columns == ("column 1", "column 2")
        assert "read as data" in found.notes[0]


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_max_rows_cuts_and_says_so(read, rows):
    found = read("a\nx\ny\nz\n", max_rows=rows)
    assert len(found.table.rows) == rows
    assert (
        found.notes
        == {
            1: ("only the first 1 row were read",),
            2: ("only the first 2 rows were read",),
            3: (),
        }[rows]
    )


def test_max_rows_counts_a_first_row_of_data(read):
    found = read("1\n2\n3\n", max_rows=2)
    assert found.table.rows == (("1",), ("2",))
    assert found.notes[-1] == "only the first 2 rows were read"


def test_what_comes_after_max_rows_is_not_looked_at(read):
    found = read(b"a,b\n" + b"1,2\n" * 50_000 + b"\0\xff", max_rows=10)
    assert len(found.table.rows) == 10
    with pytest.raises(InputError, match="NUL"):
        read(b"a,b\n" + b"1,2\n" * 50_000 + b"\0")


def test_nul_bytes_name_their_line(read):
    with pytest.raises(InputError, match=r"people\.csv must be text; line 3 holds a NUL byte"):
        read("a,b\n1,2\n3,\0\n")


@pytest.mark.parametrize("low", [0, 1])
def test_a_binary_file_is_no_csv(read, low):
    rng = random.Random(0)
    with pytest.raises(InputError, match=r"people\.csv must be text"):
        read(bytes(rng.randrange(low, 256) for _ in range(5000)))


def test_a_quote_that_is_never_closed_costs_one_line(read):
    found = read('name,note\nAnn,"she said\nBob,fine\nCy,"a\nb"\n"Dee","x\nEve,last')
    # The first quote is closed by the one that opens Cy's note; what that leaves open is read as it stands.
    assert found.notes[0] == "a quote is never closed and was read as it stands: line 6"
    assert found.table.rows[-1] == ("Eve", "last")


def test_rows_after_an_open_quote_are_kept(read):
    found = read('name,height\nAnn,"5\nBob,6\nCy,7\n')
    assert found.table.rows == (("Ann", '"5'), ("Bob", "6"), ("Cy", "7"))
    assert found.notes == ("a quote is never closed and was read as it stands: line 2",)


def test_an_open_quote_before_a_long_rest(read):
    found = read('a,b\n1,"x\n' + "2,y\n" * 100_000)
    assert len(found.table.rows) == 100_001
    assert found.table.rows[:2] == (("1", '"x'), ("2", "y"))


def test_quotes_that_are_never_closed_again_and_again_are_refused(read):
    row = '1,"x\n' + "2,y\n" * 40_000  # each runs over csv's own limit
    with pytest.raises(InputError, match="must close its quotes; lines 2, 40003"):
        read("a,b\n" + row * 22)


@pytest.mark.parametrize(
    "content", [b"x" * 20_000_000, b"x," * 10_000_000, b'"' * 20_000_000, b'a,b\n"' + b"x" * 10**7]
)
def test_a_huge_line_is_refused_at_once(read, content):
    limit = csv.field_size_limit()
    start = time.perf_counter()
    with pytest.raises(InputError, match=r"people\.csv must"):
        read(content)
    assert time.perf_counter() - start < 60  # quadratic work would take hours
    assert csv.field_size_limit() == limit


def test_five_thousand_columns(read):
    names = [f"c{column}" for column in range(5000)]
    found = read(",".join(names) + "\n" + ",".join("1" * 5000) + "\n")
    assert found.table.columns == tuple(names)
    assert found.table.rows == (("1",) * 5000,)


CELL = st.text(st.characters(exclude_characters="\0\r\n", exclude_categories=["Cs"]), max_size=6)


@settings(deadline=None)
@given(rows=st.lists(st.tuples(CELL, CELL, CELL), max_size=6))
def test_what_csv_writes_is_read_back(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("csv") / "x.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerows([("one", "two", "three"), *rows])
    [found] = read_tables(path)
    assert found.table.rows == tuple(rows)
    assert found.notes == ()


@settings(deadline=None, max_examples=200)
@given(content=st.binary(max_size=60) | st.text(st.sampled_from('ab1,;"\n\r\t |'), max_size=60).map(str.encode))
def test_any_bytes_are_read_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("any") / "x.csv"
    path.write_bytes(content)
    try:
        found = list(read_tables(path))
    except InputError as error:
        assert "x.csv" in str(error)
    else:
        assert len(found) <= 1


# Paths


def test_suffixes_are_lower_case():
    assert {".csv", ".tsv", ".parquet", ".sqlite", ".sqlite3", ".db"} == SUFFIXES


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
def test_a_folder_is_no_table_and_a_missing_file_is_an_os_error(tmp_path, suffix):
    (tmp_path / f"folder{suffix}").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        list(read_tables(tmp_path / f"folder{suffix}"))
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    with pytest.raises(FileNotFoundError, match="gone"):
        list(read_tables(tmp_path / f"gone{suffix}"))


def test_bad_arguments(tmp_path):
    with pytest.raises(InputError, match=r"must end in one of \.csv"):
        read_tables(tmp_path / "x.xlsx")
    with pytest.raises(InputError, match="max_rows"):
        read_tables(tmp_path / "x.csv", max_rows=0)


# SQLite


def test_tables_and_views_in_the_order_of_their_creation(database):
    path = database(
        "CREATE TABLE people (name TEXT, age INTEGER, height REAL, photo BLOB)",
        "INSERT INTO people VALUES ('Ann', 31, 1.75, x'000102030405060708090a0b'), ('Bob', NULL, 2.0, NULL)",
        'CREATE TABLE "a ""b"" c" (x)',
        "CREATE VIEW adults AS SELECT name FROM people WHERE age > 18",
        "CREATE INDEX by_age ON people (age)",
    )
    found = list(read_tables(path))
    assert [read.table for read in found] == [
        Table(
            "people", ("name", "age", "height", "photo"), [("Ann", "31", "1.75", "<12 bytes>"), ("Bob", "", "2.0", "")]
        ),
        Table('a "b" c', ("x",), ()),
        Table("adults", ("name",), [("Ann",)]),
    ]
    assert {read.notes for read in found} == {()}


@pytest.mark.parametrize("name", ["a b.sqlite", "what?.db", "50%41 #1.sqlite3", "é'名\".db"])
def test_paths_are_escaped(database, name):
    path = database("CREATE TABLE t (x)", name=name)
    assert [read.table.name for read in read_tables(path)] == ["t"]
    assert [file.name for file in path.parent.iterdir()] == [name]


def test_max_rows_of_every_table(database):
    path = database(
        "CREATE TABLE t (x)", "INSERT INTO t VALUES (1), (2), (3)", "CREATE VIEW v AS SELECT * FROM t LIMIT 2"
    )
    first, second = read_tables(path, max_rows=2)
    assert first.table.rows == second.table.rows == (("1",), ("2",))
    assert first.notes == ("only the first 2 rows were read",)
    assert second.notes == ()


def test_reading_changes_and_leaves_nothing(database):
    path = database("PRAGMA journal_mode = WAL", "CREATE TABLE t (x)", "INSERT INTO t VALUES (1)")
    before = path.read_bytes()
    assert before[18:20] == b"\2\2"
    assert [read.table.rows for read in read_tables(path)] == [(("1",),)]
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_what_another_connection_has_just_written_is_read(database):
    path = database("PRAGMA journal_mode = WAL", "CREATE TABLE t (x)")
    with closing(sqlite3.connect(path)) as writer:
        writer.execute("INSERT INTO t VALUES (1)")
        writer.commit()
        assert [read.table.rows for read in read_tables(path)] == [(("1",),)]


def test_a_log_left_by_a_crash_is_noted_and_left_alone(database, tmp_path):
    path = database("PRAGMA journal_mode = WAL", "CREATE TABLE t (x)")
    copy = tmp_path / "copy" / "shop.sqlite"
    copy.parent.mkdir()
    with closing(sqlite3.connect(path)) as writer:
        writer.execute("INSERT INTO t VALUES (1)")
        writer.commit()
        for suffix in ("", "-wal"):
            copy.with_name(copy.name + suffix).write_bytes(path.with_name(path.name + suffix).read_bytes())
    [found] = read_tables(copy)
    assert found.table.rows == ()
    assert found.notes == ("changes that stand only in shop.sqlite-wal were not read",)
    assert sorted(file.name for file in copy.parent.iterdir()) == ["shop.sqlite", "shop.sqlite-wal"]


def test_full_text_search_shows_its_table_but_not_its_inside(database):
    try:
        path = database("CREATE VIRTUAL TABLE docs USING fts5 (body)", "INSERT INTO docs VALUES ('hello')")
    except sqlite3.OperationalError:
        pytest.skip("SQLite without fts5")
    assert [read.table for read in read_tables(path)] == [Table("docs", ("body",), [("hello",)])]


def test_a_broken_view_is_noted_and_the_rest_is_read(database):
    path = database(
        "CREATE TABLE gone (x)", "CREATE VIEW v AS SELECT x FROM gone", "CREATE TABLE t (y)", "DROP TABLE gone"
    )
    [found] = read_tables(path)
    assert found.table.name == "t"
    assert "'v' cannot be read: no such table" in found.notes[0]


def test_only_broken_views_are_an_error(database):
    path = database("CREATE TABLE gone (x)", "CREATE VIEW v AS SELECT x FROM gone", "DROP TABLE gone")
    with pytest.raises(InputError, match=r"shop\.sqlite must have a table that can be read; no such table"):
        list(read_tables(path))


def test_text_that_is_not_utf8_is_mended(database):
    path = database("CREATE TABLE t (x)", "INSERT INTO t VALUES (CAST(x'5af6' AS TEXT))")
    [found] = read_tables(path)
    assert found.table.rows == (("Z\ufffd",),)
    assert found.notes == ("text that is not UTF-8 holds replacement characters",)


@pytest.mark.parametrize("suffix", [".db", ".sqlite"])
def test_an_empty_database_yields_nothing_and_another_file_is_refused(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    path.write_bytes(b"")
    assert list(read_tables(path)) == []
    path.write_bytes(b"Berkeley DB or anything else")
    with pytest.raises(InputError, match="must be a SQLite database"):
        list(read_tables(path))


@pytest.mark.parametrize("keep", [16, 50, 100, 3000, 5000])
def test_a_corrupted_database_is_named(database, keep):
    filler = ("INSERT INTO t VALUES (?)", ("x" * 9000,))
    path = database("CREATE TABLE t (x)", *[filler] * 10)
    content = path.read_bytes()
    path.write_bytes(content[:keep] + b"\xff" * (len(content) - keep))
    with pytest.raises(InputError, match=r"shop\.sqlite must be an intact SQLite database"):
        list(read_tables(path))


# Parquet


@pytest.fixture
def parquet(tmp_path):
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")

    def written(columns, **options):
        path = tmp_path / "people.parquet"
        pq.write_table(pa.table(columns), path, **options)
        return path

    return pa, written


def test_parquet(parquet):
    pa, written = parquet
    columns = {
        "name": ["Ann", None],
        "age": [31, None],
        "height": pa.array([1.1, None], pa.float32()),
        "tags": [["a", "b"], None],
        "place": [{"city": "Rome"}, None],
        "born": pa.array([0, None], pa.date32()),
        "photo": [b"123456789012", None],
    }
    [found] = read_tables(written(columns))
    row = ("Ann", "31", "1.1", "['a', 'b']", "{'city': 'Rome'}", "1970-01-01", "<12 bytes>")
    assert found.table == Table("people", tuple(columns), [row, ("",) * 7])
    assert found.notes == ()
    assert found.first_line == 0


@pytest.mark.parametrize(("max_rows", "read"), [(None, 1000), (1, 1), (150, 150), (1000, 1000), (2000, 1000)])
def test_parquet_rows_are_cut_over_row_groups(parquet, max_rows, read):
    _, written = parquet
    [found] = read_tables(written({"x": list(range(1000))}, row_group_size=100), max_rows=max_rows)
    assert found.table.rows == tuple((str(value),) for value in range(read))
    assert len(found.notes) == (read < 1000)


def test_parquet_without_rows_or_columns(parquet):
    pa, written = parquet
    [found] = read_tables(written({"x": pa.array([], pa.int64())}))
    assert found.table == Table("people", ("x",), ())
    with pytest.raises(InputError, match=r"people\.parquet: a table must have at least one column"):
        list(read_tables(written({})))


@pytest.mark.parametrize("keep", [0, 3, 4, 100, 0.5, 0.9])
def test_truncated_parquet_is_named(parquet, keep):
    _, written = parquet
    path = written({"x": [str(value) for value in range(2000)]})
    content = path.read_bytes()
    path.write_bytes(content[: keep if isinstance(keep, int) else int(keep * len(content))])
    with pytest.raises(InputError, match=r"people\.parquet must be an intact Parquet file"):
        list(read_tables(path))


def test_damaged_parquet_pages_are_named(parquet):
    _, written = parquet
    path = written({"x": [str(value) for value in range(2000)]})
    content = bytearray(path.read_bytes())
    content[4:200] = b"\xff" * 196
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"people\.parquet must be an intact Parquet file"):
        list(read_tables(path))
