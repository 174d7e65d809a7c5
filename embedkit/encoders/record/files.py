"""Click logs from files: CSV, TSV, Parquet, and the libsvm, libfm and libffm formats."""

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embedkit.errors import InputError
from embedkit.optional import require

_TEXT = {".csv": ",", ".tsv": "\t"}
_SPARSE = (".libsvm", ".libfm", ".libffm", ".svm", ".ffm")


class Clicks(NamedTuple):
    """A click log.

    Attributes:
        columns: Field → its values, one a record.
        labels: 0 or 1, float32 (n,).
    """

    columns: dict[str, Any]
    labels: NDArray[np.float32]


def read_clicks(path: str | Path, *, label: str = "label") -> Clicks:
    """Read a click log.

    CSV and TSV have a header; empty cells are missing values and everything is text, so say which fields are numeric
    when the vocabulary is built. In libsvm and libfm files, whose lines are `label index:value …`, the fields are the
    places in a line, so all lines must have as many; in libffm files, `label field:index:value …`, they have numbers,
    each once a line.
    Values other than 1 are refused there: categories have none.

    Args:
        path: A file that ends in .csv, .tsv, .parquet, .libsvm, .svm, .libfm, .libffm or .ffm.
        label: Name of the column that says whether there was a click.

    Returns:
        Columns and labels; labels of -1 and 1 become 0 and 1.

    Raises:
        InputError: The file is empty or of another kind, the label's column is missing, a label is neither, or a line
            of a sparse file is not as described.
        MissingExtraError: pandas or pyarrow is not installed.
        OSError: The file cannot be opened.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "log.libfm")
        ...     _ = path.write_text("1 7:1 9:1" + chr(10) + "-1 8:1 9:1")
        ...     read_clicks(path)
        Clicks(columns={'field 0': ['7', '8'], 'field 1': ['9', '9']}, labels=array([1., 0.], dtype=float32))
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind in _SPARSE:
        return _sparse(path)
    if kind not in {*_TEXT, ".parquet"}:
        message = f"a click log must end in one of {' '.join([*_TEXT, '.parquet', *_SPARSE])}; received {path}"
        raise InputError(message)
    pandas = require("pandas", extra="tables")
    if kind == ".parquet":
        require("pyarrow", extra="tables")
        frame = pandas.read_parquet(path)
    else:
        if not path.stat().st_size:
            raise _empty(path)
        try:
            frame = pandas.read_csv(path, sep=_TEXT[kind], dtype=str, keep_default_na=False)
        except (ValueError, pandas.errors.ParserError) as error:
            message = f"{path} cannot be read as {kind[1:].upper()}: {error}"
            raise InputError(message) from error
    if label not in frame.columns:
        message = f"{path} must have a column {label!r}; it has {', '.join(map(str, frame.columns))}"
        raise InputError(message)
    if not len(frame):
        raise _empty(path)
    labels = _labels(path, frame.pop(label))
    return Clicks({str(name): frame[name] for name in frame.columns}, labels)


def _sparse(path: Path) -> Clicks:
    labels: list[str] = []
    fields: dict[str, list[str | None]] = {}
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            parts = line.split()
            if not parts:
                continue
            entries = [_entry(path, number, place, part) for place, part in enumerate(parts[1:])]
            found = dict(entries)
            if len(found) < len(entries):
                message = f"{path}: each line must name a field once; line {number} does not: {line.strip()[:60]!r}"
                raise InputError(message)
            if (labels and found.keys() != fields.keys()) or not found:
                message = (
                    f"{path}: each line must name the same fields, {len(fields) or 'at least one'}; "
                    f"line {number} has {len(found)}: {line.strip()[:60]!r}"
                )
                raise InputError(message)
            labels.append(parts[0])
            for name, value in found.items():
                fields.setdefault(name, []).append(value)
    if not labels:
        raise _empty(path)
    return Clicks(fields, _labels(path, labels))


def _entry(path: Path, number: int, place: int, part: str) -> tuple[str, str]:
    """Field and value of `index:value` or `field:index:value`."""
    *field, index, value = part.split(":") if part.count(":") in {1, 2} else ("", "", "")
    if value not in {"1", "1.0"} or not index:
        message = f"{path}: entries must be index:1 or field:index:1; line {number} has {part!r}"
        raise InputError(message)
    return f"field {field[0] if field else place}", index


def _labels(path: Path, column: Any) -> NDArray[np.float32]:
    try:
        labels = np.asarray(column, dtype=np.float32)
    except (TypeError, ValueError):
        labels = np.fromiter((_number(label) for label in column), dtype=np.float32)
    wrong = ~np.isin(labels, (-1, 0, 1))
    if wrong.any() or {-1, 0} <= set(np.unique(labels).tolist()):
        received = f"{list(column)[int(wrong.argmax())]!r}" if wrong.any() else "-1 and 0"
        message = f"{path}: labels must be 0 and 1, or -1 and 1; received {received}"
        raise InputError(message)
    return (labels > 0).astype(np.float32)


def _number(label: Any) -> float:
    try:
        return float(label)
    except (TypeError, ValueError):
        return math.nan


def _empty(path: Path) -> InputError:
    return InputError(f"{path} must hold at least one record; it is empty")
