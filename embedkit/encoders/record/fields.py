"""What a record is made of: fields, and the vocabulary that turns their values into ids."""

import math
import operator
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from embedkit.encoders.inputs import described
from embedkit.encoders.record.records import Records
from embedkit.errors import CorruptFileError, InputError
from embedkit.io import read_json, write_json

Kind: TypeAlias = Literal["categorical", "numeric", "multi"]
Columns: TypeAlias = Mapping[str, Any]
"""Name of a field → its values, one a record: a list, an array, or a column of a frame."""

_LIST = "\x1f"  # begins the key of a list of values, and parts them

MISSING, UNSEEN, FIRST_KNOWN = 0, 1, 2
"""Ids that every field has: for no value, for one that the vocabulary does not know, and where known values begin."""


@dataclass(frozen=True)
class Field:
    """One named field of a record.

    Attributes:
        name: Its name.
        kind: "categorical" has one value of many; "numeric" a number, standardised by the mean and the standard
            deviation of the data a vocabulary is built from; "multi" several values, whose vectors are averaged.
        max_values: Most values of a "multi" field that are read; the first ones are.
        separator: What parts the values of a "multi" field that is written as text.
    """

    name: str
    kind: Kind = "categorical"
    max_values: int = 8
    separator: str = "|"

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            message = f"kind of field {self.name!r} must be one of {', '.join(get_args(Kind))}; received {self.kind!r}"
            raise InputError(message)
        if not isinstance(self.max_values, int) or self.max_values < 1:
            message = f"max_values of field {self.name!r} must be at least 1; received {self.max_values!r}"
            raise InputError(message)
        if not isinstance(self.name, str):
            message = f"name of a field must be text; received {self.name!r}: columns are found by their names as text"
            raise InputError(message)
        if not isinstance(self.separator, str) or not self.separator:
            message = f"separator of field {self.name!r} must be text, not empty; received {self.separator!r}"
            raise InputError(message)

    @property
    def num_columns(self) -> int:
        """Columns of ids that the field takes."""
        return self.max_values if self.kind == "multi" else 1


class Vocabulary:
    """Fields, the values each knows, and how often they were seen: what turns records into ids and back.

    Id 0 of each field stands for a missing value and 1 for one that is not known, so that both have vectors of their
    own; known values follow, the most frequent first. A numeric field has the ids 0 (missing) and 1.

    Args:
        fields: The fields in order.
        values: Known values of each field in the order of their ids, as text; empty for a numeric one.
        counts: How often each id was seen, one array a field, (size,).
        scales: Mean and standard deviation of each numeric field.
        min_count: How often a value had to be seen to be known.

    Example:
        >>> columns = {"user": ["ann", "bob", "ann"], "price": [1.0, 3.0, None]}
        >>> vocabulary = Vocabulary.fit(columns, [Field("user"), Field("price", "numeric")])
        >>> vocabulary.sizes, vocabulary.records({"user": ["ann", "eve"], "price": [3.0, 2.0]}).ids.tolist()
        ((4, 2), [[2, 1], [1, 1]])
    """

    def __init__(
        self,
        fields: Sequence[Field],
        values: Sequence[Sequence[str]],
        counts: Sequence[NDArray[np.int64]],
        scales: Mapping[str, tuple[float, float]],
        *,
        min_count: int = 1,
    ) -> None:
        self.fields = tuple(fields)
        self.values = tuple(tuple(each) for each in values)
        self.counts = tuple(counts)
        self.scales = dict(scales)
        self.min_count = min_count
        self._ids = [{value: row for row, value in enumerate(each, FIRST_KNOWN)} for each in self.values]

    @classmethod
    def fit(cls, data: Any, fields: Sequence[Field | str] | None = None, *, min_count: int = 1) -> Self:
        """Learn the values of each field from data.

        Args:
            data: A frame, a mapping of columns, or records (mappings of one value a field).
            fields: Which fields, and of what kind; a name alone is a categorical field. None takes all, numeric where
                the column holds numbers, floating point ones among them.
            min_count: Values seen less often are not known.

        Raises:
            InputError: There is no record or no field, a field is missing or named twice, a numeric field holds
                something else, or a categorical one several values.
        """
        columns = as_columns(data)
        chosen = [Field(name, _kind_of(column)) for name, column in columns.items()] if fields is None else fields
        read = [field if isinstance(field, Field) else Field(field) for field in chosen]
        _check_fields(read, columns)
        if operator.index(min_count) < 1:
            message = f"min_count must be at least 1; received {min_count}"
            raise InputError(message)
        values: list[list[str]] = []
        counts: list[NDArray[np.int64]] = []
        scales: dict[str, tuple[float, float]] = {}
        for field in read:
            if field.kind == "numeric":
                numbers = _numbers(field.name, columns[field.name])
                known = numbers[~np.isnan(numbers)]
                # Of equal numbers it need not be 0 but what rounding left, which would stretch others beyond measure.
                spread = float(known.std()) if len(known) and known.min() < known.max() else 0.0
                scales[field.name] = (float(known.mean()) if len(known) else 0.0, spread or 1.0)
                values.append([])
                counts.append(np.array([len(numbers) - len(known), len(known)]))
                continue
            seen, rare, missing = _seen(field, columns[field.name], min_count)
            values.append(list(seen))
            counts.append(np.array([missing, rare, *seen.values()], dtype=np.int64))
        return cls(read, values, counts, scales, min_count=min_count)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the fields."""
        return tuple(field.name for field in self.fields)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of ids of each field: what a lookup is made of."""
        return tuple(len(values) + FIRST_KNOWN for values in self.values)

    @property
    def columns(self) -> tuple[int, ...]:
        """Field of each column of ids: what a `FieldEmbedding` is made of."""
        return tuple(place for place, field in enumerate(self.fields) for _ in range(field.num_columns))

    def records(self, data: Any) -> Records:
        """Ids and weights of records.

        Args:
            data: As in `fit`; further fields are not looked at.

        Returns:
            Ids, weights (None where all are 1), and how many values of each field were not known.

        Raises:
            InputError: A field is missing, a numeric field holds something else, or a categorical one several values.
        """
        columns = as_columns(data)
        _check_fields(self.fields, columns)
        parts = [self._part(place, columns[field.name]) for place, field in enumerate(self.fields)]
        ids = np.concatenate([ids for ids, _ in parts], axis=1)
        needs_weights = any(field.kind != "categorical" for field in self.fields)
        weights = np.concatenate([weights for _, weights in parts], axis=1) if needs_weights else None
        unseen = {
            field.name: int(((part == UNSEEN) & (weight != 0)).sum())
            for field, (part, weight) in zip(self.fields, parts, strict=True)
            if field.kind != "numeric"
        }
        return Records(ids, weights, unseen)

    def id_of(self, field: str, value: Any) -> int:
        """Id of one value of a field that is not numeric; 0 for none and 1 for one that is not known.

        Raises:
            InputError: There is no such field, or it is numeric.
        """
        place = self.place_of(field)
        key = key_of(value)
        return MISSING if key is None else self._ids[place].get(key, UNSEEN)

    def place_of(self, field: str) -> int:
        """Place of a field that is not numeric.

        Raises:
            InputError: There is no such field, or it is numeric.
        """
        known = [each.name for each in self.fields if each.kind != "numeric"]
        if field not in known:
            message = f"field must be one of {', '.join(known)}; received {field!r}"
            raise InputError(message)
        return self.names.index(field)

    # -- storage -------------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Write a JSON file, whole or not at all.

        Raises:
            StorageError: The disk refused.
        """
        write_json(
            Path(path),
            {
                "fields": [asdict(field) for field in self.fields],
                "values": self.values,
                "counts": [each.tolist() for each in self.counts],
                "scales": self.scales,
                "min_count": self.min_count,
            },
        )

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote.

        Raises:
            CorruptFileError: The file is missing or damaged.
        """
        read = read_json(Path(path))
        try:
            fields = [Field(**field) for field in read["fields"]]
            counts = [np.array(each, dtype=np.int64) for each in read["counts"]]
            scales = {name: (float(mean), float(spread)) for name, (mean, spread) in read["scales"].items()}
            return cls(fields, read["values"], counts, scales, min_count=read["min_count"])
        except (KeyError, TypeError, ValueError) as error:
            message = f"{path} is no vocabulary: {error}"
            raise CorruptFileError(message) from error

    def _part(self, place: int, column: Any) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        field = self.fields[place]
        if field.kind == "numeric":
            mean, spread = self.scales[field.name]
            numbers = (_numbers(field.name, column) - mean) / spread
            known = ~np.isnan(numbers)
            return known.astype(np.int32)[:, None], np.where(known, numbers, 1).astype(np.float32)[:, None]
        ids_of = self._ids[place]
        codes, distinct = _factorized(field, column)
        if field.kind == "categorical":
            ids = np.array([MISSING if key is None else ids_of.get(key, UNSEEN) for key in distinct], dtype=np.int32)
            return ids[codes][:, None], np.ones((len(codes), 1), dtype=np.float32)
        bags = np.zeros((len(distinct), field.max_values), dtype=np.int32)
        weights = np.zeros((len(distinct), field.max_values), dtype=np.float32)
        for row, key in enumerate(distinct):
            kept = _parted(field, key)[: field.max_values]
            bags[row, : len(kept)] = [ids_of.get(value, UNSEEN) for value in kept]
            weights[row, : max(len(kept), 1)] = 1 / max(len(kept), 1)  # none: the vector of a missing value
        return bags[codes], weights[codes]


def as_columns(data: Any) -> dict[str, Any]:
    """Data by column.

    Args:
        data: A frame (pandas or polars), a mapping of columns, or a list of records.

    Returns:
        Name, as text, → column.

    Raises:
        InputError: It is none of these, has no record, or its columns differ in length or share a name.
    """
    if isinstance(data, Mapping):
        named = [(str(name), column) for name, column in data.items()]
    elif hasattr(data, "columns") and hasattr(data, "__getitem__"):
        named = [(str(name), data[name]) for name in data.columns]
    elif isinstance(data, Sequence) and data and all(isinstance(record, Mapping) for record in data):
        named = list(_from_records(data))
    else:
        message = f"records must be a frame, a mapping of columns or a list of mappings; received {described(data)}"
        raise InputError(message)
    columns = dict(named)
    if len(columns) < len(named):
        message = f"columns must have different names; received {', '.join(name for name, _ in named)}: rename some"
        raise InputError(message)
    lengths = {name: len(column) if _is_column(column) else -1 for name, column in columns.items()}
    if len(set(lengths.values())) != 1 or min(lengths.values()) < 1:
        message = f"columns must be lists of one length, at least 1; received lengths {lengths}"
        raise InputError(message)
    return columns


def _is_column(column: Any) -> bool:
    unordered = isinstance(column, str | bytes | Mapping | set | frozenset)
    return hasattr(column, "__len__") and getattr(column, "ndim", 1) > 0 and not unordered


def _from_records(records: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, list[Any]]]:
    names = list(records[0])
    for row, record in enumerate(records):
        if lacking := [name for name in names if name not in record]:
            message = f"each record must have the fields of the first; record {row} lacks {', '.join(lacking)}"
            raise InputError(message)
    for name in names:
        yield str(name), [record[name] for record in records]


def _check_fields(fields: Sequence[Field], columns: Columns) -> None:
    names = [field.name for field in fields]
    if not names or len(set(names)) < len(names):
        message = f"fields must be at least one, each once; received {names}"
        raise InputError(message)
    if lacking := [name for name in names if name not in columns]:
        message = f"records must have the field {lacking[0]!r}; they have {', '.join(map(str, columns))}"
        raise InputError(message)


def _kind_of(column: Any) -> Kind:
    kind = str(getattr(column, "dtype", "")).lower()
    if kind.startswith(("float", "double")):
        return "numeric"
    if kind not in {"", "object"}:
        return "categorical"
    floats = False
    for value in column:
        if key_of(value) is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
            return "categorical"
        floats = floats or isinstance(value, float | np.floating)
    return "numeric" if floats else "categorical"


def key_of(value: Any) -> str | None:
    """How a value is known: as text, whole numbers alike whatever their type; None for a missing one."""
    if value is None:
        return None
    if isinstance(value, float | np.floating):
        if math.isnan(value):
            return None
        return str(int(value)) if float(value).is_integer() else str(float(value))
    if isinstance(value, bytes):
        value = value.decode(errors="backslashreplace")
    elif isinstance(value, np.datetime64):  # as pandas writes times
        value = value.astype("datetime64[us]").item()
    elif isinstance(value, np.generic | str | Mapping):
        pass
    elif getattr(value, "ndim", None) == 0:  # an array of one number
        return key_of(value.item())
    elif isinstance(value, Collection):
        keys = [key_of(each) or "" for each in value]
        return _LIST + _LIST.join(sorted(keys) if isinstance(value, set | frozenset) else keys)
    text = "" if value is None else str(value)
    return None if text in {"", "<NA>", "NaT"} else text


def _factorized(field: Field, column: Any) -> tuple[NDArray[np.int64], list[str | None]]:
    """Place of each value among the distinct ones, and these.

    Raises:
        InputError: A categorical field has several values in a record.
    """
    codes, distinct = _places(column)
    several = next((key for key in distinct if key is not None and key.startswith(_LIST)), None)
    if field.kind == "categorical" and several is not None:
        message = (
            f"field {field.name!r} must have one value a record; received {several.split(_LIST)[1:]}: pass a list of "
            f"records, or Field({field.name!r}, 'multi') for a field of several values"
        )
        raise InputError(message)
    return codes, distinct


def _places(column: Any) -> tuple[NDArray[np.int64], list[str | None]]:
    if hasattr(column, "factorize"):  # a column of a pandas frame
        with suppress(TypeError):  # lists cannot be
            codes, distinct = column.factorize(use_na_sentinel=False)
            keys = [key_of(value) for value in distinct]
            # Values of many types are told apart below: to pandas 1 and True are one value.
            if column.dtype != object or all(isinstance(value, str) or key_of(value) is None for value in distinct):
                return np.asarray(codes, dtype=np.int64), keys
    if isinstance(column, np.ndarray) and column.ndim == 1 and column.dtype.kind in "iuU":
        distinct, codes = np.unique(column, return_inverse=True)
        return codes, [key_of(value) for value in distinct.tolist()]
    keys = [key_of(value) for value in column]
    places = {key: place for place, key in enumerate(dict.fromkeys(keys))}
    return np.fromiter((places[key] for key in keys), dtype=np.int64, count=len(keys)), list(places)


def _parted(field: Field, key: str | None) -> list[str]:
    """Values of a "multi" field, each once: of a list, or of text with separators."""
    if key is None:
        return []
    values = key[1:].split(_LIST) if key.startswith(_LIST) else key.split(field.separator)
    return [value for value in dict.fromkeys(map(str.strip, values)) if value]


def _seen(field: Field, column: Any, min_count: int) -> tuple[dict[str, int], int, int]:
    """Values that were seen often enough, most frequent first; how often the others were; how often there was none."""
    codes, distinct = _factorized(field, column)
    times = np.bincount(codes, minlength=len(distinct)).tolist()
    seen: dict[str, int] = {}
    missing = 0
    for key, count in zip(distinct, times, strict=True):
        values = _parted(field, key) if field.kind == "multi" else [] if key is None else [key]
        missing += 0 if values else count
        for value in values:
            seen[value] = seen.get(value, 0) + count
    known = {value: count for value, count in seen.items() if count >= min_count}
    ordered = dict(sorted(known.items(), key=lambda item: (-item[1], item[0])))
    return ordered, sum(seen.values()) - sum(known.values()), missing


def _numbers(name: str, column: Any) -> NDArray[np.float64]:
    """A numeric column; NaN where there is no value."""
    numbers: NDArray[np.float64] | None = None
    with suppress(TypeError, ValueError):
        read = np.asarray(column)
        if read.ndim == 1 and read.dtype.kind not in "cmM":  # times would become numbers
            numbers = read.astype(np.float64)
    if numbers is None:
        numbers = np.fromiter((_number(name, row, value) for row, value in enumerate(column)), dtype=np.float64)
    if np.isinf(numbers).any():
        row = int(np.flatnonzero(np.isinf(numbers))[0])
        message = f"numeric field {name!r} must be finite; received {numbers[row]} in record {row}"
        raise InputError(message)
    return numbers


def _number(name: str, row: int, value: Any) -> float:
    if key_of(value) is None:
        return math.nan
    with suppress(TypeError, ValueError):
        if not isinstance(value, np.datetime64 | np.timedelta64):  # which float takes for numbers
            return float(value)
    message = f"numeric field {name!r} must hold numbers; received {value!r} in record {row}"
    raise InputError(message)
