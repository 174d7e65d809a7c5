import sqlite3
from contextlib import closing
from functools import partial

import pytest

from embedkit.encoders.table import ForeignKey, foreign_keys
from embedkit.errors import InputError

SCHOOL = """
    CREATE TABLE Room (Building TEXT, Number INT, PRIMARY KEY (Building, Number));
    CREATE TABLE Teacher (Id INTEGER PRIMARY KEY, Head INT REFERENCES teacher);
    CREATE TABLE Course (
        Title TEXT, Place TEXT, Door INT, Held_By INT REFERENCES TEACHER(ID), Cover INT,
        FOREIGN KEY (DOOR, Place) REFERENCES room (number, BUILDING), FOREIGN KEY (Place, Door) REFERENCES Room,
        FOREIGN KEY (cover) REFERENCES "Teacher" ("Id")
    );
"""
SCHOOL_KEYS = [
    ForeignKey("Teacher", "Head", "Teacher", "Id", "school"),
    ForeignKey("Course", "Held_By", "Teacher", "Id", "school"),
    ForeignKey("Course", "Door", "Room", "Number", "school"),
    ForeignKey("Course", "Place", "Room", "Building", "school"),
    ForeignKey("Course", "Place", "Room", "Building", "school"),
    ForeignKey("Course", "Door", "Room", "Number", "school"),
    ForeignKey("Course", "Cover", "Teacher", "Id", "school"),
]


@pytest.fixture(params=["school.sql", "school.sqlite", "school.DB"])
def keys(request, tmp_path):
    """Foreign keys of SQL, read as a schema or from a database that it makes."""

    def reading(sql):
        path = tmp_path / request.param
        if path.suffix == ".sql":
            path.write_text(sql, encoding="utf-8")
        else:
            with closing(sqlite3.connect(path)) as database:
                database.executescript(sql)
        return foreign_keys(path)

    return reading


@pytest.fixture
def schema(tmp_path):
    def reading(sql):
        path = tmp_path / "shop.sql"
        path.write_bytes(sql if isinstance(sql, bytes) else sql.encode())
        return foreign_keys(path)

    return reading


def test_worked_by_hand(keys):
    assert keys(SCHOOL) == SCHOOL_KEYS


def test_tables_in_another_order_have_the_same_keys(keys):
    statements = [statement for statement in SCHOOL.split(";") if statement.strip()]
    assert set(keys(";".join(reversed(statements)))) == set(SCHOOL_KEYS)


def test_sqlite_enforces_exactly_these_keys(keys):
    """A row that refers to nothing violates a key; one that refers by these columns to a row does not."""
    for key in keys(SCHOOL.replace("FOREIGN KEY (DOOR, Place) REFERENCES room (number, BUILDING), ", "")):
        if key.parent_table == "Room":
            continue
        with closing(sqlite3.connect(":memory:")) as database:
            database.executescript(SCHOOL)
            database.execute(f"INSERT INTO {key.table} ({key.column}) VALUES (7)")
            [violated] = database.execute("PRAGMA foreign_key_check").fetchall()
            assert violated[0] == key.table
            database.execute(f"INSERT INTO {key.parent_table} ({key.parent_column}) VALUES (7)")
            assert database.execute("PRAGMA foreign_key_check").fetchall() == []


def test_keys_that_lead_nowhere_are_left_out(keys):
    sql = """
        CREATE TABLE a (x INT PRIMARY KEY, y INT);
        CREATE TABLE b (p REFERENCES a (z), q REFERENCES gone (x), r REFERENCES gone, s REFERENCES a,
            t, u, FOREIGN KEY (t, u) REFERENCES a);
        CREATE TABLE no_key (x);
        CREATE TABLE c (x REFERENCES no_key)
    """
    assert keys(sql) == [ForeignKey("b", "s", "a", "x", "school")]


def test_names_with_every_character(keys):
    sql = """
        CREATE TABLE "a ""b"" (c); -- '" ([x y] INT PRIMARY KEY, É INT, é INT UNIQUE);
        CREATE TABLE `d``e` ("f, INDEX" REFERENCES "A ""b"" (C); -- '" (é), 'g' REFERENCES [a "b" (c); -- '])
    """
    assert keys(sql) == [
        ForeignKey("d`e", "f, INDEX", 'a "b" (c); -- \'', "é", "school"),
        ForeignKey("d`e", "g", 'a "b" (c); -- \'', "x y", "school"),
    ]


@pytest.mark.parametrize("sql", ["", "CREATE TABLE t (x);", "CREATE TABLE t (x); CREATE VIEW v AS SELECT x FROM t"])
def test_no_keys(keys, sql):
    assert keys(sql) == []


def test_a_schema_that_names_its_database_and_has_indexes(schema):
    found = schema("""
        -- Dialect: mysql; INSERT
        /* CREATE TABLE no (x); */
        CREATE TABLE `shop`.`City` (`Id` INT NOT NULL, `Size` DECIMAL(10, 2) DEFAULT 1.50, PRIMARY KEY (`Id`));
        CREATE TABLE IF NOT EXISTS `shop`.`Person` (
            `Home` INT DEFAULT NULL, `index` INT, note TEXT DEFAULT 'a; b.c, INDEX (d)',
            INDEX idx_Home (`Home`, `index`), INDEX idx_index (`index`),
            FOREIGN KEY (`Home`) REFERENCES `shop`.`City` (`Id`) ON DELETE CASCADE,
            INDEX idx_Home_2 (`Home`)
        );
    """)
    assert found == [ForeignKey("Person", "Home", "City", "Id", "shop")]


def test_the_name_of_the_database_is_unquoted(schema):
    assert schema('CREATE TABLE "a ""b"""."t" (x PRIMARY KEY, y REFERENCES t)')[0].database == 'a "b"'
    assert schema("CREATE TABLE [a b].t (x PRIMARY KEY, y REFERENCES t)")[0].database == "a b"
    assert schema("CREATE TABLE t (x PRIMARY KEY, y REFERENCES t)")[0].database == "shop"


def test_only_what_defines_tables_is_executed(schema, tmp_path):
    other = tmp_path / "other.sqlite"
    found = schema(f"""
        SET NAMES utf8; USE shop; LOCK TABLES t WRITE; PRAGMA foreign_keys = off; BEGIN;
        ATTACH '{other}' AS other;
        DROP TABLE IF EXISTS t;
        CREATE TABLE t (x INT PRIMARY KEY);
        INSERT INTO t VALUES (1), ('it''s; CREATE TABLE t (y)');
        CREATE TRIGGER r AFTER INSERT ON t BEGIN UPDATE t SET x = 2; DELETE FROM t; END;
        ALTER TABLE t ADD COLUMN up INT REFERENCES t (x);
        SELECT * FROM t; COMMIT
    """)
    assert found == [ForeignKey("t", "up", "t", "x", "shop")]
    assert not other.exists()


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("CREATE TABLE t (x);\n\n-- y\nCREATE TABLE u (\n  x INT,,\n);", r"line 4, CREATE TABLE u .*syntax error"),
        ("CREATE TABLE t (x); CREATE TABLE T (x)", "line 1, CREATE TABLE T .*already exists"),
        ("ALTER TABLE t ADD CONSTRAINT c FOREIGN KEY (x) REFERENCES u (y)", "line 1, ALTER TABLE"),
        ("CREATE TABLE t (x TEXT DEFAULT 'a\0')", "line 1, CREATE TABLE"),
        ("CREATE TABLE t (" + "x" * 1000 + ",,)", "line 1, CREATE TABLE t .xxx.*x…: "),
        ("CREATE TABLE t (x TEXT DEFAULT 'never closed)", "line 1"),
    ],
)
def test_a_statement_that_sqlite_refuses_is_named(schema, sql, message):
    with pytest.raises(InputError, match=rf"(?s)shop\.sql must hold SQL that SQLite accepts; {message}"):
        schema(sql)


def test_a_schema_in_another_encoding(schema):
    assert schema(b"\xef\xbb\xbfCREATE TABLE t (x PRIMARY KEY, y REFERENCES t)") != []
    with pytest.raises(InputError, match=r"shop\.sql must be UTF-8"):
        schema("CREATE TABLE é (x)".encode("latin-1"))


def test_another_file_is_refused(tmp_path):
    with pytest.raises(
        InputError, match=r"foreign keys are read from \.db \.sql \.sqlite \.sqlite3; received .*x\.csv"
    ):
        foreign_keys(tmp_path / "x.csv")
    with pytest.raises(FileNotFoundError):
        foreign_keys(tmp_path / "gone.sqlite")
    with pytest.raises(FileNotFoundError):
        foreign_keys(tmp_path / "gone.sql")


def test_a_file_that_is_no_intact_database(tmp_path):
    path = tmp_path / "x.sqlite"
    path.write_bytes(b"")
    assert foreign_keys(path) == []
    path.write_bytes(b"hello")
    with pytest.raises(InputError, match=r"x\.sqlite must be a SQLite database; it is not one"):
        foreign_keys(path)
    path.write_bytes(b"SQLite format 3\0" + b"\1" * 2000)
    with pytest.raises(InputError, match=r"x\.sqlite must be an intact SQLite database"):
        foreign_keys(path)


def test_a_locked_database(tmp_path, monkeypatch):
    path = tmp_path / "x.sqlite"
    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, timeout=0))
    with closing(sqlite3.connect(path)) as writer:
        writer.execute("CREATE TABLE t (x PRIMARY KEY, y REFERENCES t)")
        writer.execute("BEGIN EXCLUSIVE")
        with pytest.raises(InputError, match=r"x\.sqlite must not be locked; another program is writing it"):
            foreign_keys(path)
        writer.rollback()
    assert len(foreign_keys(path)) == 1


@pytest.mark.data
def test_northwind_is_the_same_as_database_and_as_schema(data_folder):
    folder = data_folder / "tables" / "northwind"
    if not folder.is_dir():
        pytest.skip(f"no Northwind at {folder}")
    found, written = foreign_keys(folder / "northwind.sqlite"), foreign_keys(folder / "create.sql")
    assert len(found) == 13
    assert ForeignKey("Employees", "ReportsTo", "Employees", "EmployeeID", "northwind") in found
    assert {repr(key).replace("northwind", "create") for key in found} == set(map(repr, written))


@pytest.mark.data
def test_spider_declares_449_keys_of_466_columns(data_folder):
    spider = data_folder / "tables" / "spider"
    if not spider.is_dir():
        pytest.skip(f"no Spider tables at {spider}")
    paths = sorted(spider.glob("databases/*/schema.sql"))
    found = {path.parent.name: foreign_keys(path) for path in paths}
    assert {key.database for keys in found.values() for key in keys} <= set(found)
    assert sum(path.read_text(encoding="utf-8").count("FOREIGN KEY") for path in paths) == 449
    assert sum(map(len, found.values())) == 466
