"""The one form in which tables are handled here: named columns and rows of strings."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

from embedkit.errors import InputError

_EXPECTS = (
    "a table must be a Table, a pandas or polars DataFrame, a pyarrow Table, a DuckDB relation, a dict of columns or a"
    " list of dicts"
)
_EXACT = 2**53  # beyond this a float no longer tells neighbouring integers apart


@dataclass(frozen=True, slots=True)
class Table:
    """A relation: named columns, and rows of strings in which "" is a missing cell.

    Args:
        name: What the table is called, or "".
        columns: Names of the columns, at least one.
        rows: One string for each column in every row; kept as a tuple.

    Raises:
        InputError: There is no column, a row does not hold one string for each column, or UTF-8 cannot write one.

    Example:
        >>> Table("people", ("name", "age"), [("Ann", "31"), ("Bob", "")]).rows[1]
        ('Bob', '')
    """

    name: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", tuple(self.columns))
        object.__setattr__(self, "rows", tuple(map(tuple, self.rows)))
        if not self.columns:
            raise InputError(f"a table must have at least one column; table {self.name!r} has none")
        _check_strings(self.columns, "columns")
        width = len(self.columns)
        for position, row in enumerate(self.rows):
            if len(row) != width:
                raise InputError(f"every row must have {width} cells; rows[{position}] has {len(row)}")
            _check_strings(row, f"rows[{position}]")


def _check_strings(values: tuple[str, ...], place: str) -> None:
    try:
        joined = "".join(values)
        if not joined.isascii():
            joined.encode()
    except TypeError:
        wrong = next(value for value in values if not isinstance(value, str))
        message = f"{place} must hold strings only; it holds {wrong!r} of type {type(wrong).__name__}: use as_table"
        raise InputError(message) from None
    except UnicodeEncodeError as error:
        message = (
            f"{place} must be text that UTF-8 can write; it holds the lone surrogate {joined[error.start]!a}: decode "
            "the bytes with errors='replace'"
        )
        raise InputError(message) from None


def as_table(value: Any, *, name: str = "", max_rows: int | None = None) -> Table:
    """Turn what users hold into a `Table`.

    Integers are written without ".0", also where a column of integers became floats because some are missing;
    other floats in their shortest form. None, NaN, NaT and NA are missing. Booleans are "true" and "false", dates
    and times ISO 8601 (a column whose times are all midnight is written as dates), bytes "<12 bytes>"; any other
    object is written by `str`. An index is not read. Columns without a name become "column 3", counted from 1;
    repeated names get " (2)", " (3)" and so on.

    Args:
        value: A `Table`, a pandas or polars DataFrame, a pyarrow Table, a DuckDB relation, a dict of equally long
            columns, or a list of dicts, whose columns stand in the order in which they first occur.
        name: Name of the table; "" keeps the name of a `Table`.
        max_rows: Of n > max_rows rows those at floor(i n / max_rows) are read, i = 0 … max_rows - 1; what lies between
            is never turned into text. None reads all.

    Returns:
        The table.

    Raises:
        InputError: `value` is something else, has no column, or its columns differ in length.

    Example:
        >>> as_table({"name": ["Ann", "Bob"], "age": [31, None]}, name="people").rows
        (('Ann', '31'), ('Bob', ''))
    """
    if max_rows is not None:
        value = _evenly(value, max_rows)
    if isinstance(value, Table):
        return replace(value, name=name) if name else value
    names, columns = _columns_of(value)
    if max_rows is not None:
        columns = [_taken(column, max_rows) for column in columns]
    _check_lengths(names, columns)
    named, _ = name_columns(names)
    return Table(name, named, rows_of(columns))


def _evenly(value: Any, most: int) -> Any:
    """As many rows as wanted, evenly spaced; `value` itself where it has no more, or is no table."""
    if isinstance(value, Mapping):
        if all(hasattr(column, "__len__") for column in value.values()):
            _check_lengths(list(value), list(value.values()))  # before the lengths are made equal
        return {name: _taken(column, most) for name, column in value.items()}
    if isinstance(value, Table):
        rows = _taken(value.rows, most)
        return value if rows is value.rows else replace(value, rows=rows)
    if _is_frame(value, "pandas"):
        return value if len(value) <= most else value.iloc[_places(len(value), most)]
    if _is_frame(value, "polars"):
        return value if len(value) <= most else value[_places(len(value), most)]
    return _taken(value, most) if isinstance(value, list | tuple) else value


def _taken(values: Any, most: int) -> Any:
    if isinstance(values, str | bytes | Mapping) or not (hasattr(values, "__len__") and hasattr(values, "__iter__")):
        return values  # no column, which is said later
    if len(values) <= most:
        return values
    at = values.iloc if type(values).__module__.startswith("pandas") else values
    return [at[place] for place in _places(len(values), most)]


def _places(total: int, most: int) -> list[int]:
    return [place * total // most for place in range(most)]


def _columns_of(value: Any) -> tuple[list[Any], list[Sequence[Any]]]:
    if _is_frame(value, "pandas"):
        return list(value.columns), [_pandas_values(value.iloc[:, at]) for at in range(value.shape[1])]
    if _is_frame(value, "polars"):
        return list(value.columns), [_polars_values(series) for series in value.get_columns()]
    if _is_frame(value, "pyarrow", "Table"):
        return list(value.column_names), [arrow_values(column) for column in value.columns]
    if _is_frame(value, "duckdb", "DuckDBPyRelation"):
        return list(value.columns), _duckdb_columns(value)
    if isinstance(value, Mapping):
        return list(value), [_listed(column, name) for name, column in value.items()]
    if isinstance(value, list | tuple) and all(isinstance(row, Mapping) for row in value):
        names = list(dict.fromkeys(key for row in value for key in row))
        return names, [[row.get(key) for row in value] for key in names]
    raise InputError(f"{_EXPECTS}; received {_described(value)}")


def _is_frame(value: Any, package: str, name: str = "DataFrame") -> bool:
    """Whether `value` is a DataFrame, or what is named, of a package that need not be installed, or of a subclass."""
    return any(
        kind.__name__ == name and kind.__module__.partition(".")[0].lstrip("_") == package
        for kind in type(value).__mro__
    )


def _pandas_values(series: Any) -> list[Any]:
    # Series.__iter__ widens short floats, which then print digits that were never there.
    return list(series.to_numpy() if str(series.dtype) in {"float16", "float32"} else series)


def _polars_values(series: Any) -> list[Any]:
    return list(series.to_numpy()) if str(series.dtype) in {"Float16", "Float32"} else list(series.to_list())


def arrow_values(column: Any) -> list[Any]:
    """Values of an Arrow array."""
    if str(column.type) in {"float", "halffloat"}:  # as Python floats they would print digits that were never there
        return list(column.to_numpy(zero_copy_only=False))
    return list(column.to_pylist())


def _duckdb_columns(relation: Any) -> list[Sequence[Any]]:
    import numpy as np

    columns = list(zip(*relation.fetchall(), strict=True)) or [()] * len(relation.columns)
    return [
        list(np.array(values, dtype=np.float32)) if str(kind) == "FLOAT" else values  # as for Arrow
        for values, kind in zip(columns, relation.types, strict=True)
    ]


def _listed(column: Any, name: Any) -> list[Any]:
    if isinstance(column, str | bytes | Mapping) or not (hasattr(column, "__iter__") and hasattr(column, "__len__")):
        raise InputError(f"each column must be a list or an array; column {name!r} is {_described(column)}")
    return list(column)


def _described(value: Any) -> str:
    kind = type(value)
    described = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    if isinstance(value, list | tuple) and value:
        odd = next((item for item in value if not isinstance(item, Mapping)), value[0])
        return f"a {described} of {type(odd).__name__}"
    return described


def _check_lengths(names: Sequence[Any], columns: Sequence[Sequence[Any]]) -> None:
    for name, column in zip(names, columns, strict=True):
        if len(column) != len(columns[0]):
            lengths = f"{names[0]!r} has {len(columns[0])} cells, {name!r} has {len(column)}"
            raise InputError(f"all columns must be equally long; {lengths}")


def rows_of(columns: Iterable[Sequence[Any]]) -> list[tuple[str, ...]]:
    """Rows of strings from columns of any values."""
    return list(zip(*map(column_texts, columns), strict=True))


def name_columns(names: Iterable[Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names that are unique strings and never blank, and notes on what was changed.

    A name that is mended never takes one that another column has by itself.
    """
    given = ["" if _plain(name) is None else str(name) for name in names]
    taken, used, tries = set(given), dict[str, None](), Counter[str]()  # a dict keeps the order
    blank: list[str] = []
    twice: list[str] = []
    for position, name in enumerate(given, 1):
        is_blank = not name.strip()
        fresh = f"column {position}" if is_blank else name
        if fresh in (taken if is_blank else used):
            fresh = _numbered(fresh, taken, tries)
        taken.add(fresh)
        used[fresh] = None
        if is_blank:
            blank.append(repr(fresh))
        elif fresh != name:
            twice.append(f"{name!r} renamed {fresh!r}")
    notes = [f"duplicate header {some(twice)}"] if twice else []
    if blank:
        notes.append(f"{counted(len(blank), 'empty header')} renamed {some(blank)}")
    return tuple(used), tuple(notes)


def _numbered(name: str, taken: set[str], tries: Counter[str]) -> str:
    tries[name] = max(tries[name], 1) + 1
    while (numbered := f"{name} ({tries[name]})") in taken:
        tries[name] += 1
    return numbered


def some(items: Sequence[Any], limit: int = 10) -> str:
    """The first items, and how many more there are."""
    shown = ", ".join(map(str, items[:limit]))
    return shown if len(items) <= limit else f"{shown} and {len(items) - limit:,} more"


def counted(number: int, noun: str) -> str:
    """A number with its noun: "1 row", "3 rows"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def column_texts(values: Iterable[Any]) -> list[str]:
    """Cells of one column as strings, by the rules of `as_table`."""
    values = list(values)
    kinds = set(map(type, values))
    if kinds == {str}:
        return values
    if kinds == {int}:
        return list(map(str, values))
    plain = [_plain(value) for value in values]
    present = [value for value in plain if value is not None]
    if len(present) < len(plain) and all(isinstance(value, float) and _is_whole(value) for value in present):
        plain = [None if value is None else int(value) for value in plain]
    elif all(isinstance(value, datetime) and _is_midnight(value) for value in present):
        plain = [None if value is None else value.date() for value in plain]
    return [_text(value) for value in plain]


def _is_whole(value: float) -> bool:
    return value.is_integer() and abs(value) <= _EXACT


def _is_midnight(value: datetime) -> bool:
    return value.tzinfo is None and value.time() == time() and not getattr(value, "nanosecond", 0)


def _plain(value: Any) -> Any:
    """A value as Python's own type; None when it is missing."""
    if value is None or type(value).__name__ in {"NAType", "NaTType"}:
        return None
    if type(value).__module__ == "numpy" and getattr(value, "ndim", 1) == 0:
        value = _from_numpy(value)
    if isinstance(value, float) and value != value:  # noqa: PLR0124 - how a NaN is told
        return None
    return None if isinstance(value, Decimal) and value.is_nan() else value


def _from_numpy(value: Any) -> Any:
    if value.dtype.kind == "f":
        return float(str(value))  # shortest form of a short float
    plain = value.item()
    if value.dtype.kind in "mM" and isinstance(plain, int):  # finer than Python's microseconds
        return value.astype(f"{value.dtype.kind}8[us]").item()
    return plain


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{counted(len(value), 'byte')}>"
    return str(value)
