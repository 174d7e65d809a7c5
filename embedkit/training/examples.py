"""Training examples: columns of texts, and a column of labels or scores if the loss takes one."""

import math
import os
from collections.abc import Mapping, Sequence
from functools import partial
from numbers import Real
from typing import Any, TypeAlias

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray

from embedkit.encoders.inputs import text_problem
from embedkit.errors import InputError

Examples: TypeAlias = Dataset | Mapping[str, Sequence[Any]] | Sequence[tuple[Any, ...]]
"""A data set; columns by name; or rows of texts, whose last entry may be a number: the label or score. Columns by name
may also hold what else an encoder takes, such as arrays and paths of pictures, and labels that are vectors of numbers,
such as the features that `cosine_weights` takes."""

LABELS = ("label", "labels", "score", "scores")
"""Names that mark a column as what a loss compares with, as in sentence-transformers."""

_RESERVED = ("return_loss", "dataset_name")


def as_dataset(examples: Examples) -> Dataset:
    """Examples as a data set whose columns are in the order of the loss's arguments.

    Args:
        examples: See `Examples`. Columns are handed to the loss in their order; one named in `LABELS` comes last.

    Raises:
        InputError: There are none, rows differ in length, a label is no finite number, or a text is none.

    Example:
        >>> as_dataset([("a cat", "one cat", 0.9), ("a cat", "tax law", 0.0)]).column_names
        ['text_0', 'text_1', 'score']
    """
    if not isinstance(examples, Dataset):
        columns = examples if isinstance(examples, Mapping) else _columns(examples)
        if alone := [name for name, values in columns.items() if not _is_batch(values)]:
            message = f"each column of examples must be a list; received one value for {', '.join(map(str, alone))}"
            raise InputError(message)
        lists = {name: list(values) for name, values in columns.items()}
        lengths = {name: len(values) for name, values in lists.items()}
        if len(set(lengths.values())) > 1:
            message = f"all columns of examples must have one length; received {lengths}"
            raise InputError(message)
        _check(lists)
        return _held(lists)
    _check({name: examples[name][:] for name in examples.column_names})
    return examples


def _held(columns: Mapping[str, list[Any]]) -> Dataset:
    """As a data set holds it: paths as texts; arrays, such as pictures, as bytes: lists of numbers are slow to read."""
    arrays = [name for name, values in columns.items() if name not in LABELS and _is_array(values[0])]
    held = Dataset.from_dict(
        {name: [_packed(v) if name in arrays else _text_of_path(v) for v in values] for name, values in columns.items()}
    )
    if arrays:
        held.set_transform(partial(_unpacked, names=arrays))
    return held


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "biuf"


def _packed(array: NDArray[Any]) -> dict[str, Any]:
    return {"bytes": array.tobytes(), "dtype": array.dtype.str, "shape": array.shape}


def _unpacked(batch: dict[str, list[Any]], *, names: Sequence[str]) -> dict[str, list[Any]]:
    return {name: [_array(each) for each in values] if name in names else values for name, values in batch.items()}


def _array(packed: dict[str, Any]) -> NDArray[Any]:
    return np.frombuffer(packed["bytes"], packed["dtype"]).reshape(packed["shape"]).copy()


def _text_of_path(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _columns(rows: Any) -> dict[str, list[Any]]:
    rows = [tuple(row) if isinstance(row, tuple | list) else None for row in rows] if _is_batch(rows) else [None]
    widths = {len(row) if row else 0 for row in rows}
    if not rows or len(widths) > 1 or 0 in widths:
        message = (
            "examples must be rows of one length, each a tuple of texts that may end in a number, columns by name, or "
            f"a data set; received {'rows of lengths ' + str(sorted(widths)) if rows else 'none'}"
        )
        raise InputError(message)
    names = [f"text_{position}" for position in range(widths.pop())]
    if _is_number(rows[0][-1]):
        names[-1] = "score"
    return {name: list(values) for name, values in zip(names, zip(*rows, strict=True), strict=True)}


def _is_batch(rows: Any) -> bool:
    return hasattr(rows, "__iter__") and not isinstance(rows, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real)


def _is_finite(label: Any) -> bool:
    if isinstance(label, np.ndarray):
        return label.ndim == 1 and label.dtype.kind in "biuf" and label.size > 0 and bool(np.isfinite(label).all())
    numbers = label if isinstance(label, list | tuple) and len(label) else [label]
    return all(_is_number(each) and math.isfinite(each) for each in numbers)


def _check(columns: Mapping[str, list[Any]]) -> None:
    if not set(columns) - set(LABELS) or not all(columns.values()):
        message = f"examples must have a column of texts and a row; received columns {list(columns) or 'none'}"
        if columns and all(not values for values in columns.values()):
            message += " without rows"
        raise InputError(message)
    for name, values in columns.items():
        if name in _RESERVED:
            message = f"the name {name} is reserved by the trainer; give that column of examples another"
            raise InputError(message)
        _check_column(name, values)


def _check_column(name: str, values: list[Any]) -> None:
    is_label, of_arrays = name in LABELS, _is_array(values[0])
    for row, value in enumerate(values):
        if is_label and not _is_finite(value):
            message = f"examples: {name}[{row}] must be a finite number, or a vector of such; received {value!r:.100}"
            raise InputError(message)
        if not is_label and _is_array(value) != of_arrays:
            message = f"examples: {name} must be all arrays or none; received {type(value).__name__} at {name}[{row}]"
            raise InputError(message)
        if not is_label and isinstance(value, str | None) and (problem := text_problem(value)):
            message = f"examples: {name}[{row}] must be text; {problem}: drop such rows"
            raise InputError(message)
