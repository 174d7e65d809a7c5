"""Tables from files: CSV, TSV, Parquet and SQLite."""

import codecs
import csv
import re
import sqlite3
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TextIO

from embedkit.encoders.table.table import Table, arrow_values, counted, name_columns, rows_of, some
from embedkit.errors import InputError
from embedkit.optional import require

__all__ = ["SUFFIXES", "ReadTable", "read_tables"]

DATABASES = frozenset({".sqlite", ".sqlite3", ".db"})
SUFFIXES: frozenset[str] = DATABASES | {".csv", ".tsv", ".parquet"}
"""Suffixes, in lower case, of the files that `read_tables` reads."""

_DELIMITERS = ",;\t|"
_NO_DELIMITER = "\x1f"
_SAMPLE = 65_536  # characters from which the delimiter is told
_LONGEST_LINE = 1 << 26
_MOST_COLUMNS = 100_000
_MOST_MENDS = 20  # each may read one record again, so a bound keeps reading linear
_END = "\0"  # never in a file that is read

_QUOTED = re.compile(r'(?<![^,;\t|\r\n])"(?:[^"]|"")*+"')
_NEWLINE = re.compile(r"\r\n?|\n")
_NUMBER = re.compile(r"[+-]?(?:\d+(?:[.,]\d+)*|\.\d+)(?:[eE][+-]?\d+)?\s?%?")
_DATE = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?)?")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")

_SQLITE = b"SQLite format 3\0"
_SHADOWS = ("content", "segdir", "segments", "stat", "docsize", "data", "idx", "config", "node", "parent", "rowid")


@dataclass(frozen=True, slots=True)
class ReadTable:
    """A table from a file.

    Attributes:
        table: The table; its name is that of the file without suffix, or the name in the database.
        notes: What was mended or left out, in plain sentences.
        first_line: Line of the header, counted from 1; one less than the line of the first row where there is no
            header, so 0 for Parquet, SQLite and a CSV file that begins with its data.
    """

    table: Table
    notes: tuple[str, ...]
    first_line: int


def read_tables(path: Path, *, max_rows: int | None = None) -> Iterator[ReadTable]:
    r"""Read every table of a file.

    CSV is UTF-8, UTF-16 with a byte order mark, or else Latin-1. Its delimiter is the one of comma, semicolon, tab
    and bar that occurs outside quotes in the first line and as often in the largest share of the following ones; on a
    tie the one that occurs most, then in this order. TSV is always separated by tabs. The first row is the header,
    unless all its cells that are not empty are numbers or ISO dates. Blank lines are left out; short rows are padded;
    what is too much in a row is joined to its last cell. A quote that is never closed is an ordinary character. Every
    table and view of a SQLite file is read, in the order of their creation; the file is never written.

    Args:
        path: A file with one of `SUFFIXES`.
        max_rows: Most rows of a table to read; None reads all. What comes after them is not looked at.

    Yields:
        Each table; none for an empty file.

    Raises:
        InputError: The file is not what its suffix says, or `max_rows` is below 1.
        MissingExtraError: Parquet, and pyarrow is not installed.
        OSError: The file cannot be opened.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "people.csv")
        ...     _ = path.write_text("name;age\nAnn;31\nBob")
        ...     [read] = read_tables(path)
        >>> read.table
        Table(name='people', columns=('name', 'age'), rows=(('Ann', '31'), ('Bob', '')))
        >>> read.notes
        ('1 row had too few cells and was padded: line 3',)
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"a table file must end in one of {' '.join(sorted(SUFFIXES))}; received {path}")
    if path.is_dir():
        raise InputError(f"a table must be a file; {path} is a folder")
    if max_rows is not None and max_rows < 1:
        raise InputError(f"max_rows must be None or at least 1; received {max_rows}")
    readers = {".csv": _read_delimited, ".tsv": _read_delimited, ".parquet": _read_parquet}
    return readers.get(path.suffix.lower(), _read_sqlite)(path, max_rows)


def _cut_note(max_rows: int | None) -> str:
    return f"only the first {counted(max_rows or 0, 'row')} were read"


# CSV and TSV


def _read_delimited(path: Path, max_rows: int | None) -> Iterator[ReadTable]:
    with path.open("rb") as file:
        is_utf16 = file.read(2) in {codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE}
    try:
        read = _read_text(path, "utf-16" if is_utf16 else "utf-8-sig", max_rows)
    except UnicodeDecodeError as error:
        if is_utf16:
            raise InputError(f"{path} must be UTF-16, as its byte order mark says: {error.reason}") from None
        read = _read_text(path, "latin-1", max_rows)
    if read is not None:
        yield read


def _read_text(path: Path, encoding: str, max_rows: int | None) -> ReadTable | None:
    with path.open(encoding=encoding, newline="") as file:
        sample = file.read(_SAMPLE)
        # Text in Latin-1 has hardly any control characters; a binary file is full of them.
        if encoding == "latin-1" and 100 * len(_CONTROL.findall(sample)) > len(sample):
            raise InputError(f"{path} must be text; it is binary")
        file.seek(0)
        delimiter = "\t" if path.suffix.lower() == ".tsv" else _delimiter(sample)
        lines = _Lines(file, path, delimiter)
        read = _assemble(path.stem, _Records(lines, delimiter), max_rows)
    if read is None or encoding != "latin-1":
        return read
    return replace(read, notes=("file is not UTF-8, read as latin-1", *read.notes))


def _delimiter(sample: str) -> str:
    """The delimiter, by the rule in `read_tables`; one that never occurs when there is a single column."""
    lines = [line for line in _NEWLINE.split(_QUOTED.sub("", sample)) if line]
    if len(sample) == _SAMPLE:
        lines = lines[:-1] or lines
    present = [delimiter for delimiter in _DELIMITERS if lines and delimiter in lines[0]]

    def agreement(delimiter: str) -> tuple[int, int]:
        wanted = lines[0].count(delimiter)
        return sum(line.count(delimiter) == wanted for line in lines), wanted

    return max(present, key=agreement, default=_NO_DELIMITER)


def _assemble(name: str, records: "_Records", max_rows: int | None) -> ReadTable | None:
    first = next(records, None)
    if first is None:
        return None
    line, cells = first
    headless = _is_data(cells)
    names, notes = name_columns([""] * len(cells) if headless else [cell.strip() for cell in cells])
    shape = _Shape(len(cells), records.delimiter)
    rows = [shape.fit(line, cells)] if headless else []
    cut = False
    for number, row in records:
        cut = len(rows) == max_rows
        if cut:
            break
        rows.append(shape.fit(number, row))
    if headless:
        notes = ("the first row holds only numbers or dates and was read as data: columns are numbered",)
    notes += (*records.notes(), *shape.notes(), *([_cut_note(max_rows)] if cut else []))
    return ReadTable(Table(name, names, rows), notes, line - headless)


def _is_data(cells: Sequence[str]) -> bool:
    filled = [cell.strip() for cell in cells if cell.strip()]
    return bool(filled) and all(_NUMBER.fullmatch(cell) or _DATE.fullmatch(cell) for cell in filled)


@dataclass
class _Shape:
    """Gives every row the same number of cells, and remembers which rows it changed."""

    width: int
    delimiter: str
    short: list[int] = field(default_factory=list)
    long: list[int] = field(default_factory=list)

    def fit(self, line: int, cells: list[str]) -> tuple[str, ...]:
        if len(cells) < self.width:
            self.short.append(line)
            return (*cells, *[""] * (self.width - len(cells)))
        while len(cells) > self.width and not cells[-1]:
            cells.pop()
        if len(cells) > self.width:
            self.long.append(line)
            return (*cells[: self.width - 1], self.delimiter.join(cells[self.width - 1 :]))
        return tuple(cells)

    def notes(self) -> Iterator[str]:
        if self.short:
            was = _rows_were(self.short)
            yield f"{was[0]} had too few cells and {was[1]} padded: {_places(self.short)}"
        if self.long:
            was = _rows_were(self.long)
            yield f"{was[0]} had too many cells and {was[1]} joined at the end: {_places(self.long)}"


def _rows_were(lines: Sequence[int]) -> tuple[str, str]:
    return counted(len(lines), "row"), "was" if len(lines) == 1 else "were"


def _places(lines: Sequence[int]) -> str:
    return f"{'line' if len(lines) == 1 else 'lines'} {some(lines)}"


class _Lines:
    """Lines of a text file, checked one by one, which can go back to the start of a record.

    After the last line comes `_END`: a row of its own, unless a quote is still open.
    """

    def __init__(self, file: TextIO, path: Path, delimiter: str) -> None:
        self._file = file
        self._delimiter = delimiter
        self._again: deque[str] = deque()
        self._record: list[str] = []
        self.path = path
        self.number = 0
        self.ended = False

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else self._file.readline(_LONGEST_LINE + 1)
        if not line:
            if self.ended:
                raise StopIteration
            self.ended = True
            return _END
        self.number += 1
        self._check(line)
        self._record.append(line)
        return line

    def start_record(self) -> int:
        """Forget the lines before; returns the number of the next one."""
        self._record.clear()
        return self.number + 1

    def go_back(self) -> None:
        """Return to the first line since `start_record`."""
        self._again.extendleft(reversed(self._record))
        self.number -= len(self._record)
        self.ended = False
        self._record.clear()

    def _check(self, line: str) -> None:
        if "\0" in line:
            raise InputError(f"{self.path} must be text; line {self.number} holds a NUL byte")
        if len(line) > _LONGEST_LINE:
            raise InputError(f"{self.path} must have lines of at most {_LONGEST_LINE:,} characters")
        if line.count(self._delimiter) >= _MOST_COLUMNS:
            raise InputError(f"{self.path} must have at most {_MOST_COLUMNS:,} columns; line {self.number} has more")


class _Records:
    """Rows of a delimited file, each with the number of the line where it begins."""

    def __init__(self, lines: _Lines, delimiter: str) -> None:
        self.delimiter = delimiter
        self._lines = lines
        self._reader = self._new_reader()
        self._open_quotes: list[int] = []
        self._blank = 0

    def __iter__(self) -> "_Records":
        return self

    def __next__(self) -> tuple[int, list[str]]:
        blank = 0
        while True:
            start = self._lines.start_record()
            row = self._row(start)
            if row == [_END]:
                raise StopIteration
            if row:
                self._blank += blank
                return start, row
            blank += 1

    def notes(self) -> Iterator[str]:
        if self._blank:
            yield f"{counted(self._blank, 'blank line')} {'was' if self._blank == 1 else 'were'} left out"
        if self._open_quotes:
            yield f"a quote is never closed and was read as it stands: {_places(self._open_quotes)}"

    def _new_reader(self) -> Iterator[list[str]]:
        return csv.reader(self._lines, delimiter=self.delimiter, skipinitialspace=True)

    def _row(self, start: int) -> list[str]:
        try:
            row = next(self._reader)
        except csv.Error:
            return self._literal(start)
        return self._literal(start) if self._lines.ended and row != [_END] else row

    def _literal(self, start: int) -> list[str]:
        """The first line of a record that does not end, quotes being ordinary characters."""
        if len(self._open_quotes) == _MOST_MENDS:
            raise InputError(f"{self._lines.path} must close its quotes; {_places([*self._open_quotes, start])} do not")
        self._lines.go_back()
        self._reader = self._new_reader()
        line = next(self._lines)
        try:
            row = next(csv.reader([line], delimiter=self.delimiter, quoting=csv.QUOTE_NONE))
        except csv.Error as error:
            raise InputError(f"{self._lines.path} must be readable as CSV; line {start}: {error}") from None
        self._open_quotes.append(start)
        return row


# Parquet


def _read_parquet(path: Path, max_rows: int | None) -> Iterator[ReadTable]:
    parquet = require("pyarrow.parquet", extra="tables")
    with path.open("rb") as file:
        try:
            read = _parquet_table(path.stem, parquet.ParquetFile(file), max_rows)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        except (require("pyarrow", extra="tables").ArrowException, OSError, ValueError) as error:
            reason = str(error).partition("\n")[0]
            raise InputError(f"{path} must be an intact Parquet file: {reason}") from None
    yield read


def _parquet_table(name: str, file: Any, max_rows: int | None) -> ReadTable:
    names, notes = name_columns(file.schema_arrow.names)
    total = file.metadata.num_rows
    wanted = total if max_rows is None else min(total, max_rows)
    columns: list[list[Any]] = [[] for _ in names]
    read = 0
    for batch in file.iter_batches(batch_size=max(1, min(wanted, _SAMPLE))):
        if read >= wanted:
            break
        for values, column in zip(columns, batch.slice(0, wanted - read).columns, strict=True):
            values.extend(arrow_values(column))
        read += batch.num_rows
    cut = (_cut_note(max_rows),) if wanted < total else ()
    return ReadTable(Table(name, names, rows_of(columns)), notes + cut, first_line=0)


# SQLite


def _read_sqlite(path: Path, max_rows: int | None) -> Iterator[ReadTable]:
    with open_database(path) as (database, notes):
        yield from _database_tables(path, database, max_rows, notes)


@contextmanager
def open_database(path: Path) -> Iterator[tuple[sqlite3.Connection, tuple[str, ...]]]:
    """A SQLite file, opened so that it is never written, and notes on what of it is not read.

    Raises:
        InputError: It is no intact database, or another program keeps it locked; also while it is read.
        OSError: The file cannot be opened.
    """
    with path.open("rb") as file:
        head = file.read(20)
    if head and not head.startswith(_SQLITE):
        raise InputError(f"{path} must be a SQLite database; it is not one")
    immutable = _is_immutable(path, head)
    address = f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' if immutable else ''}"
    notes = _unmerged(path) if immutable else ()
    try:
        with closing(sqlite3.connect(address, uri=True, check_same_thread=False)) as database:
            database.execute("PRAGMA trusted_schema = OFF")
            yield database, notes
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
            raise InputError(f"{path} must not be locked; another program is writing it: try again later") from None
        raise InputError(f"{path} must be an intact SQLite database: {error}") from None


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _is_immutable(path: Path, head: bytes) -> bool:
    """Whether SQLite is to be told that nobody writes.

    Otherwise it creates files next to a database in WAL mode even for reading. Where both of these files are there,
    somebody may be writing, and nothing is created.
    """
    return head[18:20] == b"\2\2" and not all(_beside(path, suffix).exists() for suffix in ("-wal", "-shm"))


def _unmerged(path: Path) -> tuple[str, ...]:
    log = _beside(path, "-wal")
    left = log.exists() and log.stat().st_size
    return (f"changes that stand only in {log.name} were not read",) if left else ()


def _database_tables(
    path: Path, database: sqlite3.Connection, max_rows: int | None, notes: tuple[str, ...]
) -> Iterator[ReadTable]:
    decode = _Decoder()
    database.text_factory = decode
    names = _table_names(database)
    broken = {name: reason for name in names if (reason := _unreadable(database, name))}
    if names and len(broken) == len(names):
        raise InputError(f"{path} must have a table that can be read; {'; '.join(broken.values())}")
    notes += tuple(f"{name!r} cannot be read: {reason}" for name, reason in broken.items())
    for name in names:
        if name not in broken:
            decode.failed = False
            read = _database_table(database, name, max_rows)
            mended = ("text that is not UTF-8 holds replacement characters",) if decode.failed else ()
            yield replace(read, notes=notes + read.notes + mended)
            notes = ()


class _Decoder:
    """Text of a database, which SQLite does not promise to be UTF-8."""

    failed = False

    def __call__(self, data: bytes) -> str:
        try:
            return data.decode()
        except UnicodeDecodeError:
            self.failed = True
            return data.decode(errors="replace")


def _table_names(database: sqlite3.Connection) -> list[str]:
    found = database.execute(
        "SELECT name, sql FROM sqlite_master WHERE type IN ('table', 'view')"
        " AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY rowid"
    ).fetchall()
    virtual = [name for name, sql in found if (sql or "").upper().startswith("CREATE VIRTUAL")]
    shadows = {f"{name}_{suffix}" for name in virtual for suffix in _SHADOWS}
    return [name for name, _ in found if name not in shadows]


def _select(name: str) -> str:
    quoted = name.replace('"', '""')
    return f'SELECT * FROM "{quoted}" LIMIT ?'  # noqa: S608 - an identifier cannot be a parameter


def _unreadable(database: sqlite3.Connection, name: str) -> str | None:
    """Why a table cannot be queried at all: a view on what is gone, a virtual table of an unknown module."""
    try:
        database.execute(_select(name), (0,))
    except sqlite3.OperationalError as error:
        return str(error)
    return None


def _database_table(database: sqlite3.Connection, name: str, max_rows: int | None) -> ReadTable:
    cursor = database.execute(_select(name), (-1 if max_rows is None else max_rows + 1,))
    names, notes = name_columns(column[0] for column in cursor.description)
    records = cursor.fetchall()
    if max_rows is not None and len(records) > max_rows:
        records.pop()
        notes += (_cut_note(max_rows),)
    columns = list(zip(*records, strict=True)) or [()] * len(names)
    return ReadTable(Table(name, names, rows_of(columns)), notes, first_line=0)
