"""The rows of a file and where each stands: CSV, TSV, JSONL, JSON and Parquet."""

import csv
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedkit.errors import InputError

_DELIMITERS = {".csv": ",;\t", ".tsv": "\t,;"}  # where several name as many columns, the first
_SIGNATURES = {
    b"PAR1": "Parquet",
    b"PK\x03\x04": "a zip archive or a spreadsheet",
    b"\x1f\x8b": "compressed with gzip",
    b"SQLite format 3": "a database",
}
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Rows:
    """What a file holds.

    Attributes:
        path: The file.
        names: Its columns.
        values: One mapping a row, column → cell: text where the format knows nothing else, None where there is none.
        places: Where each row stands, such as "line 3", as messages name it.
    """

    path: Path
    names: tuple[str, ...]
    values: Sequence[Mapping[str, Any]]
    places: Sequence[str]


def read_rows(path: Path) -> Rows:
    r"""Read a file by its suffix, one of `SUFFIXES`.

    CSV and TSV are UTF-8, with or without a byte order mark; the first line names the columns, and the delimiter is
    whichever of comma, semicolon and tab splits it most often. Cells with a delimiter, quote or newline inside are in
    double quotes. JSONL is one object a line, JSON a list of objects.

    Args:
        path: The file.

    Raises:
        InputError: The file cannot be read, is empty, is not what its suffix says, is not UTF-8, or rows differ in
            their number of cells; file and line are named.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "pairs.csv"
        >>> _ = file.write_text("a;b\n1;2\n")
        >>> read_rows(file).values
        [{'a': '1', 'b': '2'}]
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror}"
        raise InputError(message) from None
    if not data.strip():
        message = f"{path} must hold rows of data; it is empty"
        raise InputError(message)
    rows = _READERS[path.suffix.lower()](path, data)
    if not rows.values:
        message = f"{path} must hold rows of data; it holds only the names of its columns"
        raise InputError(message)
    return rows


def decoded(path: Path, data: bytes) -> str:
    """The text of a file.

    Raises:
        InputError: It is not UTF-8; the first byte that is not, and its line, are named.
    """
    for signature, what in _SIGNATURES.items():
        if data.startswith(signature):
            message = f"{path} must be text, as its suffix {path.suffix} says; it is {what}"
            raise InputError(message)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        message = (
            f"{path} must be UTF-8; byte 0x{data[error.start]:02x} at offset {error.start} (line {line}) is not: "
            "save the file as UTF-8"
        )
        raise InputError(message) from None
    if "\0" in text:
        message = f"{path} must be text; it holds a NUL at character {text.index(chr(0))}"
        raise InputError(message)
    return text.removeprefix("\ufeff")


def objects_of(path: Path, data: bytes) -> list[tuple[str, dict[str, Any]]]:
    """(place, object) of each line of a JSONL file; empty lines are passed over.

    Raises:
        InputError: A line is not one object; it is named.
    """
    text = decoded(path, data)
    if text.lstrip().startswith("["):
        message = f"{path} must hold one JSON object a line, as its suffix says; it holds a list: name it .json"
        raise InputError(message)
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            found.append((f"line {number}", _object(path, f"line {number}", line)))
    return found


def some(places: Sequence[str]) -> str:
    """The first few of the places, and how many more there are."""
    rest = len(places) - _SHOWN
    return ", ".join(places[:_SHOWN]) + (f" and {rest:,} more" if rest > 0 else "")


def _read_delimited(path: Path, data: bytes) -> Rows:
    text = decoded(path, data)
    if text.lstrip().startswith(("{", "[{")):
        message = f"{path} must be delimited text, as its suffix says; it looks like JSON: name it .json or .jsonl"
        raise InputError(message)
    delimiter = _delimiter(path, text)
    # A document may be longer than the csv module's limit of 131,072 characters, which holds for the whole process.
    csv.field_size_limit(max(csv.field_size_limit(), len(text) + 1))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    names: tuple[str, ...] = ()
    values, places = [], []
    while True:
        place = f"line {reader.line_num + 1}"
        try:
            cells = next(reader, None)
        except csv.Error as error:
            message = (
                f"{path}, {place}: a cell that begins with a quote must end with one, and quotes inside it are "
                f"doubled; {error}"
            )
            raise InputError(message) from None
        if cells is None:
            break
        if not names:
            names = _names(path, cells)
        elif len(cells) not in {0, len(names)}:
            message = (
                f"{path}, {place}: every row must have {len(names)} cells, as the first line has; found {len(cells)} "
                f"(split at {delimiter!r})"
            )
            raise InputError(message)
        elif cells:
            values.append(dict(zip(names, cells, strict=True)))
            places.append(place)
    return Rows(path, names, values, places)


def _read_jsonl(path: Path, data: bytes) -> Rows:
    found = objects_of(path, data)
    return _from_objects(path, [value for _, value in found], [place for place, _ in found])


def _read_json(path: Path, data: bytes) -> Rows:
    try:
        values = json.loads(decoded(path, data))
    except (ValueError, RecursionError) as error:
        message = f"{path} must be a JSON list of objects ({error}); one object a line is .jsonl"
        raise InputError(message) from None
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        message = f"{path} must be a JSON list of objects; it holds something else"
        raise InputError(message)
    return _from_objects(path, values, [f"row {number}" for number in range(1, len(values) + 1)])


def _read_parquet(path: Path, data: bytes) -> Rows:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(io.BytesIO(data))
    except (pa.ArrowException, OSError) as error:
        message = f"{path} must be Parquet, as its suffix says; it cannot be read: {str(error).splitlines()[0]}"
        raise InputError(message) from None
    names = _names(path, table.column_names)
    return Rows(path, names, table.to_pylist(), [f"row {number}" for number in range(1, table.num_rows + 1)])


_READERS: Mapping[str, Callable[[Path, bytes], Rows]] = {
    ".csv": _read_delimited,
    ".tsv": _read_delimited,
    ".jsonl": _read_jsonl,
    ".json": _read_json,
    ".parquet": _read_parquet,
}

SUFFIXES: frozenset[str] = frozenset(_READERS)
"""Suffixes, in lower case, of the files that `read_rows` reads."""


def _delimiter(path: Path, text: str) -> str:
    header = re.split(r"[\r\n]", text.lstrip("\r\n"), maxsplit=1)[0]
    return max(_DELIMITERS[path.suffix.lower()], key=lambda mark: len(next(csv.reader([header], delimiter=mark))))


def _names(path: Path, names: Sequence[str]) -> tuple[str, ...]:
    repeated = sorted({name for name in names if name and names.count(name) > 1})
    if repeated:
        message = f"{path}: columns must have different names; {', '.join(map(repr, repeated))} is there twice"
        raise InputError(message)
    return tuple(names)


def _object(path: Path, place: str, text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        message = f"{path}, {place}: every line must be one whole JSON object; {error}"
        raise InputError(message) from None
    if not isinstance(value, dict):
        message = f"{path}, {place}: every line must be one JSON object; received {type(value).__name__}"
        raise InputError(message)
    return value


def _from_objects(path: Path, values: list[dict[str, Any]], places: list[str]) -> Rows:
    """A key that an object lacks is a cell without a value."""
    names = tuple(dict.fromkeys(name for value in values for name in value))
    return Rows(path, names, [{name: value.get(name) for name in names} for value in values], places)
