"""Foreign keys that a database declares."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from embedkit.encoders.table.files import DATABASES, open_database
from embedkit.errors import InputError

__all__ = ["ForeignKey", "foreign_keys"]

_PIECE = re.compile(
    r"""(?P<space>(?:\s|--[^\n]*|/\*.*?(?:\*/|\Z))+)|'(?:[^']|'')*+'|"(?:[^"]|"")*+"|`(?:[^`]|``)*+`|\[[^]]*\]|[\w$]+|.""",
    re.DOTALL,
)
_DEFINES = re.compile(r"(CREATE( TEMP| TEMPORARY)? TABLE|(ALTER|DROP) TABLE)\b", re.IGNORECASE)
_BEFORE_NAME = {"TABLE", "EXISTS", "REFERENCES"}  # TABLE IF EXISTS, TABLE IF NOT EXISTS
_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL %' ORDER BY rowid"
_COLUMNS = "SELECT name, pk FROM pragma_table_xinfo(?)"
_DECLARED = """
    SELECT "from", "table", "to", seq, count(*) OVER (PARTITION BY id) FROM pragma_foreign_key_list(?)
    ORDER BY id DESC, seq -- the key declared last has id 0
"""
_SHOWN = 80  # characters of a refused statement


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """One column that refers to another; of a key of several columns, one of the pairs.

    Attributes:
        table: Name of the table that refers.
        column: The column in it.
        parent_table: Name of the table referred to.
        parent_column: The column in that one.
        database: Name of the database.
    """

    table: str
    column: str
    parent_table: str
    parent_column: str
    database: str = ""


def foreign_keys(path: Path) -> list[ForeignKey]:
    r"""Read the foreign keys of a SQLite file, or of a schema in SQL.

    Tables and columns are matched without regard to case, as SQLite does, and spelled as where they are defined. A key
    that names no parent column refers to the parent's primary key. Keys are left out that lead to no column: the
    parent table, its column or its primary key is not there.

    Of a schema only the statements that define tables are executed, in an empty database in memory: CREATE TABLE,
    ALTER TABLE and DROP TABLE. INSERT and all else is skipped. Two things that only other databases write are taken
    away first: the name of the database before that of a table, and INDEX among the columns. Quotes inside text must be
    doubled, not escaped with a backslash.

    Args:
        path: A SQLite file (.sqlite, .sqlite3, .db), which is never written, or a schema (.sql) in UTF-8.

    Returns:
        The keys, in the order in which tables and keys are declared. Their database is the name that the schema puts
        before its tables, or else that of the file without suffix.

    Raises:
        InputError: The file ends in something else, is no intact database or is locked, or SQLite refuses a statement
            of the schema.
        OSError: The file cannot be opened.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "shop.sql")
        ...     _ = path.write_text(
        ...         "CREATE TABLE City (Id INT PRIMARY KEY);\n"
        ...         "CREATE TABLE Person (Name TEXT, Home INT REFERENCES city (id));"
        ...     )
        ...     foreign_keys(path)
        [ForeignKey(table='Person', column='Home', parent_table='City', parent_column='Id', database='shop')]
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".sql":
        return _schema_keys(path)
    if suffix not in DATABASES:
        raise InputError(f"foreign keys are read from {' '.join(sorted({*DATABASES, '.sql'}))}; received {path}")
    with open_database(path) as (database, _):
        return _keys(database, path.stem)


def _schema_keys(path: Path) -> list[ForeignKey]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} must be UTF-8: {error.reason} at byte {error.start}") from None
    name = ""
    with closing(sqlite3.connect(":memory:")) as database:
        for line, pieces in _statements(text):
            if not _DEFINES.match("".join(pieces)):
                continue
            statement, qualifier = _as_sqlite_writes(pieces)
            name = name or qualifier
            try:
                database.execute(statement)
            except (sqlite3.Error, sqlite3.Warning, ValueError) as error:
                shown = statement if len(statement) <= _SHOWN else statement[:_SHOWN] + "…"
                raise InputError(f"{path} must hold SQL that SQLite accepts; line {line}, {shown}: {error}") from None
        return _keys(database, name or path.stem)


def _statements(text: str) -> Iterator[tuple[int, list[str]]]:
    """Words and signs of each statement, a comment being a space, and the line where it begins."""
    line, start, pieces = 1, 1, list[str]()
    for match in _PIECE.finditer(text):
        piece = match.group()
        if piece == ";":
            yield start, pieces
            pieces = []
        elif not match["space"]:
            start = start if pieces else line
            pieces.append(piece)
        elif pieces:
            pieces.append(" ")
        line += piece.count("\n")
    yield start, pieces


def _as_sqlite_writes(pieces: list[str]) -> tuple[str, str]:
    """A statement without a database before the names of tables and without INDEX, and that database or ""."""
    words = [position for position, piece in enumerate(pieces) if piece != " "]
    before, qualifier, left_out, depth, in_index = "", "", set[int](), 0, False
    for position, after in zip(words, [*words[1:], words[-1]], strict=True):
        piece, coming = pieces[position], pieces[after]
        depth += (piece == "(") - (piece == ")")
        if coming == "." and before.upper() in _BEFORE_NAME:
            qualifier = _unquoted(piece)
            left_out |= {position, after}
        if depth == 0:
            in_index = False
        elif depth == 1 and piece == ",":
            in_index = coming.upper() == "INDEX"
        if in_index:
            left_out.add(position)
        before = piece
    return "".join(piece for position, piece in enumerate(pieces) if position not in left_out), qualifier


def _unquoted(name: str) -> str:
    close = {'"': '"', "`": "`", "[": "]"}.get(name[0])
    return name[1:-1].replace(2 * close, close) if close else name


def _keys(database: sqlite3.Connection, name: str) -> list[ForeignKey]:
    tables = {_folded(table): table for (table,) in database.execute(_TABLES)}
    columns = {table: database.execute(_COLUMNS, (table,)).fetchall() for table in tables.values()}
    keys = []
    for table in tables.values():
        for column, declared_parent, declared, place, width in database.execute(_DECLARED, (table,)):
            parent = tables.get(_folded(declared_parent), "")
            parent_column = _parent_column(columns.get(parent, []), declared, place, width)
            if parent_column is not None:
                keys.append(ForeignKey(table, column, parent, parent_column, name))
    return keys


def _parent_column(columns: list[tuple[str, int]], declared: str | None, place: int, width: int) -> str | None:
    """The column of the parent to which the one at `place` in a key of `width` columns refers; None if there is none.

    Each column comes with its rank in the primary key, counted from 1; 0 outside it.
    """
    if declared is not None:
        return next((name for name, _ in columns if _folded(name) == _folded(declared)), None)
    primary = {rank: name for name, rank in columns if rank}
    return primary[place + 1] if len(primary) == width else None


def _folded(name: str) -> bytes:
    """What SQLite compares: only the letters of ASCII lose their case."""
    return name.encode().lower()
