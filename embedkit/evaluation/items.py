"""What one score is made of, item by item, kept so that it can be resampled."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedkit.errors import CorruptFileError
from embedkit.io import write_json

FORMAT = 1


@dataclass(frozen=True, eq=False)
class Items:
    """The items behind the score of one split and subset of a task.

    Attributes:
        split: Which split, such as "test".
        subset: Which subset, such as a language; "default" where there is one.
        statistic: Which function of the columns the score is; a key of `statistics.STATISTICS`.
        unit: What one item is: "pair", "query", "text", "clustering".
        ids: One name an item. Two models are compared item by item where their ids agree.
        columns: Arguments of the statistic, float64, first axis the items. "target" is the truth, which all
            models share; every other column is the model's.
        examples: Items worth looking at, worst first: field → text, such as query, expected, found.
    """

    split: str
    subset: str
    statistic: str
    unit: str
    ids: tuple[str, ...]
    columns: Mapping[str, NDArray[np.float64]]
    examples: tuple[Mapping[str, str], ...] = field(default=())

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, eq=False)
class TaskItems:
    """All that is kept beside the result of one task.

    Attributes:
        metric: Name of the main metric, whose score the items make up.
        task_type: Kind of task in mteb's words, such as "STS" or "Retrieval".
        modality: What the inputs are: "text", "code", "table", "record", "image".
        source: Where the data came from: "hub", or the folder that was read.
        parts: One entry a split and subset; empty where the metric cannot be resampled.
    """

    metric: str
    task_type: str
    modality: str
    source: str
    parts: tuple[Items, ...]


def write_items(path: Path, items: TaskItems) -> None:
    """Store the items of one task, whole or not at all.

    Args:
        path: The file, replaced if it is there.
        items: What to store.

    Raises:
        StorageError: The disk refused.
    """
    write_json(path, {"format": FORMAT, **vars(items), "parts": [_as_dict(part) for part in items.parts]})


def read_items(path: Path) -> TaskItems:
    """The items of one task.

    Raises:
        CorruptFileError: The file is not what `write_items` wrote.
    """
    try:
        stored = json.loads(path.read_text("utf-8"))
        about = {name: str(stored[name]) for name in ("metric", "task_type", "modality", "source")}
        return TaskItems(**about, parts=tuple(_of_dict(part) for part in stored["parts"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = f"{path} does not hold the items of a task ({error}); evaluate the task again to make it anew"
        raise CorruptFileError(message) from None


def _as_dict(items: Items) -> dict[str, Any]:
    columns = {name: np.asarray(values).tolist() for name, values in items.columns.items()}
    return {**vars(items), "ids": list(items.ids), "columns": columns, "examples": [dict(e) for e in items.examples]}


def _of_dict(stored: dict[str, Any]) -> Items:
    columns = {name: np.asarray(values, dtype=np.float64) for name, values in stored["columns"].items()}
    if any(len(values) != len(stored["ids"]) for values in columns.values()):
        message = "columns and ids differ in length"
        raise ValueError(message)
    return Items(
        **{name: stored[name] for name in ("split", "subset", "statistic", "unit")},
        ids=tuple(stored["ids"]),
        columns=columns,
        examples=tuple(stored["examples"]),
    )
