"""Result folders: mteb's own files, read without mteb, with the items behind each score beside them.

A folder of results is `results/<model>/<revision>/<Task>.json`, or, for a model run with other options than its
own, `results/<model>/<revision>/experiments/<options>/<Task>.json`; `model_meta.json` beside them says what the
model is and `items/<Task>.json` holds what each score is made of.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from embedkit.errors import CorruptFileError, InputError
from embedkit.evaluation.items import Items, TaskItems, read_items

ITEMS = "items"
EXPERIMENTS = "experiments"
FLOOR_PREFIX = "floor/"
"""Names of the models that know nothing begin so: "floor/random", "floor/tfidf", "floor/untrained"."""

_NOT_TASKS = ("model_meta.json",)


@dataclass(frozen=True, eq=False)
class TaskScore:
    """One model on one task.

    Attributes:
        task: Name of the task.
        score: The main score, 0 … 1 where the metric is: the mean over its splits and subsets.
        parts: (split, subset) → every number mteb reported for it.
        dataset_revision: Which version of the data.
        seconds: How long the evaluation took.
        path: Where the result is stored.
    """

    task: str
    score: float
    parts: Mapping[tuple[str, str], Mapping[str, Any]]
    dataset_revision: str
    seconds: float
    path: Path

    @cached_property
    def kept(self) -> TaskItems | None:
        """Metric, kind of task, source of the data and items; None where other tools wrote the result."""
        path = self.path.parent / ITEMS / self.path.name
        return read_items(path) if path.is_file() else None

    @property
    def items(self) -> tuple[Items, ...]:
        """What the score is made of; empty where it was not kept."""
        return self.kept.parts if self.kept else ()


@dataclass(frozen=True, eq=False)
class ModelScores:
    """One model, at one revision and with one set of encode options, on every task it was run on.

    Attributes:
        name: The model's name.
        revision: Content hash of its weights and settings.
        options: Encode options that differ from the model's own, such as `truncate_dim`.
        meta: The rest of `model_meta.json`.
        tasks: Task name → score.
    """

    name: str
    revision: str
    options: Mapping[str, Any]
    meta: Mapping[str, Any]
    tasks: Mapping[str, TaskScore]

    @property
    def is_floor(self) -> bool:
        """Whether this is a model that knows nothing, to measure the others against."""
        return self.name.startswith(FLOOR_PREFIX)

    @property
    def label(self) -> str:
        """Name and options, as tables show them."""
        options = ", ".join(f"{name}={value}" for name, value in sorted(self.options.items()))
        return f"{self.name} ({options})" if options else self.name


def read_results(folder: Path) -> list[ModelScores]:
    """Every model in a folder of results, floors last, each group by label.

    Args:
        folder: The folder given to `evaluate`, or its `results`.

    Raises:
        InputError: There are no results in the folder.
        CorruptFileError: A file is not a result; it is named.
    """
    root = folder / "results" if (folder / "results").is_dir() else folder
    places = sorted(
        {path.parent for pattern in ("*/*", f"*/*/{EXPERIMENTS}/*") for path in root.glob(f"{pattern}/*.json")}
    )
    models = [model for place in places if (model := read_model(place)).tasks]
    if not models:
        message = f"{folder} holds no results; 'embedkit evaluate' writes them there with --results"
        raise InputError(message)
    return sorted(models, key=lambda model: (model.is_floor, model.label, model.revision))


def tasks_of(models: Sequence[ModelScores]) -> list[str]:
    """Names of all tasks that any of the models was run on, sorted."""
    return sorted({task for model in models for task in model.tasks})


def read_model(place: Path) -> ModelScores:
    """One model: the folder of its revision, or of one of its experiments.

    Raises:
        CorruptFileError: A file is not a result; it is named.
    """
    meta = _read_json(place / "model_meta.json") if (place / "model_meta.json").is_file() else {}
    name, revision = place.parent.name.replace("__", "/"), place.name
    if place.parent.name == EXPERIMENTS:
        name, revision = place.parents[2].name.replace("__", "/"), place.parents[1].name
    tasks = [read_task(path) for path in sorted(place.glob("*.json")) if path.name not in _NOT_TASKS]
    return ModelScores(
        name=meta.get("name") or name,
        revision=meta.get("revision") or revision,
        options=meta.get("experiment_kwargs") or {},
        meta=meta,
        tasks={task.task: task for task in tasks},
    )


def read_task(path: Path) -> TaskScore:
    """One model on one task.

    Raises:
        CorruptFileError: The file is not a result.
    """
    stored = _read_json(path)
    try:
        parts = {(split, entry["hf_subset"]): entry for split, entries in stored["scores"].items() for entry in entries}
        score = sum(float(entry["main_score"]) for entry in parts.values()) / len(parts)
        return TaskScore(
            stored["task_name"], score, parts, stored["dataset_revision"], stored.get("evaluation_time") or 0.0, path
        )
    except (AttributeError, KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise _not_a_result(path, error) from None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        stored = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise _not_a_result(path, error) from None
    if not isinstance(stored, dict):
        raise _not_a_result(path, "not an object")
    return stored


def _not_a_result(path: Path, reason: object) -> CorruptFileError:
    return CorruptFileError(f"{path} is not a stored result ({reason}); remove it and evaluate the task again")
