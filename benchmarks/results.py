"""What a benchmark reports, how it is stored, and the table the README shows of it."""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from embedkit.io import write_json

TABLE_WIDTH = 120
TABLE_BEGIN = "<!-- method-table:begin -->"
TABLE_END = "<!-- method-table:end -->"

_HEADER = (
    "| Shelf | Method | Dataset | Metric | embedkit | Baseline | Floor | Paper |",
    "|:--|:--|:--|:--|--:|--:|--:|--:|",
)


class ResultError(ValueError):
    """A row, a stored file or a README is not what this module documents."""


class DataMissing(FileNotFoundError):  # noqa: N818 - it ends a benchmark quietly and is no failure
    """A benchmark needs data that this machine does not have; it is skipped, not failed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(f"{path} is not there; EMBEDKIT_DATA names the folder that holds the data sets")


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One measured number beside what it has to beat.

    A benchmark fills all but `shelf`, `seconds`, `commit` and `machine`, which the harness knows. It lists
    the variant that stands for the method first: that one goes into the README's table.

    Attributes:
        shelf: Where the method lives; the folder of the benchmark.
        method: What was measured, as the README shall call it.
        variant: The setting it was measured in; may be empty.
        dataset: What it was measured on.
        metric: Name and, where there is one, unit of `value`.
        value: The measured number, a mean where there are several seeds.
        low: Lower end of its interval; None together with `high` where nothing varies.
        high: Upper end of its interval.
        seeds: Number of independent runs behind the number.
        baseline: The obvious alternative on the same data; None where there is none.
        floor: What knowing nothing reaches, such as chance.
        paper: What the publication reports, if the two can be compared.
        seconds: How long the whole benchmark ran.
        commit: The commit it ran on, marked when the tree differed.
        machine: Cores, processor, accelerator if there is one, Python and torch.
    """

    shelf: str = ""
    method: str
    variant: str = ""
    dataset: str
    metric: str
    value: float
    low: float | None = None
    high: float | None = None
    seeds: int = 1
    baseline: float | None = None
    floor: float | None = None
    paper: float | None = None
    seconds: float = 0.0
    commit: str = ""
    machine: str = ""


_KEYS = tuple(field.name for field in fields(Row))
_TEXTS = ("shelf", "method", "variant", "dataset", "metric", "commit", "machine")
_NUMBERS = ("value", "low", "high", "baseline", "floor", "paper", "seconds")


def validate(rows: Sequence[Row]) -> None:
    """Check the complete rows of one benchmark.

    Raises:
        ResultError: There is no row, two rows measure the same, or a field is not what `Row` documents.
    """
    if not rows:
        message = "a benchmark must report at least one row; it reported none"
        raise ResultError(message)
    measured = [(row.method, row.variant, row.dataset, row.metric) for row in rows]
    for row, key in zip(rows, measured, strict=True):
        if problem := next(_problems(row), "it appears twice" if measured.count(key) > 1 else ""):
            message = f"row {key}: {problem}"
            raise ResultError(message)


def _problems(row: Row) -> Iterator[str]:
    """What is wrong with a row; later checks rely on the earlier ones."""
    for name in _TEXTS:
        if not _is_text(text := getattr(row, name), may_be_empty=name == "variant"):
            yield f"{name} must be text on one line without |; it is {text!r}"
    for name in _NUMBERS:
        if not _is_number(number := getattr(row, name), may_be_none=name not in {"value", "seconds"}):
            yield f"{name} must be a finite number; it is {number!r}"
    if type(row.seeds) is not int or row.seeds < 1:
        yield f"seeds must be a count from 1; it is {row.seeds!r}"
    if not _is_interval(row.low, row.value, row.high):
        yield f"low <= value <= high must hold, or low and high be None; they are {row.low}, {row.value}, {row.high}"
    if (width := len(_table_line(row))) > TABLE_WIDTH:
        yield f"it makes a table line of {width} columns, and {TABLE_WIDTH} fit"


def _is_text(value: object, *, may_be_empty: bool) -> bool:
    return isinstance(value, str) and (bool(value.strip()) or may_be_empty) and not set(value) & set("|\r\n")


def _is_number(value: object, *, may_be_none: bool) -> bool:
    if value is None:
        return may_be_none
    return isinstance(value, float | int) and not isinstance(value, bool) and math.isfinite(value)


def _is_interval(low: float | None, value: float, high: float | None) -> bool:
    if low is None or high is None:
        return low is high
    return low <= value <= high


def store(path: Path, rows: Sequence[Row]) -> None:
    """Replace the stored results of one benchmark, atomically.

    Raises:
        ResultError: A row is not what `Row` documents.
    """
    validate(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, [asdict(row) for row in rows])


def stored(folder: Path) -> list[Row]:
    """All stored rows below `folder`, by shelf and benchmark, as each benchmark listed them.

    Raises:
        ResultError: A file does not hold rows.
    """
    return [row for path in sorted(folder.glob("*/*.json")) for row in _read(path)]


def _read(path: Path) -> list[Row]:
    try:
        rows = [_row(entry) for entry in json.loads(path.read_text(encoding="utf-8"))]
        validate(rows)
    except (TypeError, ValueError) as error:
        message = f"{path}: {error}"
        raise ResultError(message) from None
    return rows


def _row(entry: dict[str, Any]) -> Row:
    if set(entry) != set(_KEYS):
        message = f"a row must have exactly the keys {', '.join(_KEYS)}; it has {', '.join(entry)}"
        raise ResultError(message)
    return Row(**entry)


def method_table(rows: Iterable[Row]) -> str:
    """The Markdown table of the README: the first variant of every method, dataset and metric."""
    first: dict[tuple[str, ...], Row] = {}
    for row in rows:
        first.setdefault((row.shelf, row.method, row.dataset, row.metric), row)
    return "\n".join((*_HEADER, *map(_table_line, first.values())))


def _table_line(row: Row) -> str:
    numbers = map(_number, (row.baseline, row.floor, row.paper))
    return f"| {' | '.join((row.shelf, row.method, row.dataset, row.metric, _measured(row), *numbers))} |"


def _measured(row: Row) -> str:
    """The value and the larger half of its interval."""
    if row.low is None or row.high is None:
        return _number(row.value)
    return f"{_number(row.value)} ± {_number(max(row.value - row.low, row.high - row.value), digits=2)}"


def _number(value: float | None, digits: int = 4) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 999.5 else f"{value:#.{digits}g}"


def insert_table(text: str, table: str) -> str:
    """`text` with `table` in place of what stands between the two marks.

    Raises:
        ResultError: The marks are not there, once each and in order.
    """
    before, begin, rest = text.partition(TABLE_BEGIN)
    old, end, after = rest.partition(TABLE_END)
    if not begin or not end or any(mark in part for part in (old, after) for mark in (TABLE_BEGIN, TABLE_END)):
        message = f"the lines {TABLE_BEGIN} and {TABLE_END} must stand in the file once, in this order"
        raise ResultError(message)
    return f"{before}{begin}\n{table}\n{end}{after}"
