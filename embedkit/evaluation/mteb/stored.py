"""Where a run keeps its results: nothing half-written in the final place, nothing run twice."""

import hashlib
import json
import math
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from mteb.abstasks import AbsTask
from mteb.cache import ResultCache
from mteb.models.model_meta import ModelMeta

from embedkit.errors import CorruptFileError, LockedIndexError, ModelError
from embedkit.evaluation.items import TaskItems, write_items
from embedkit.evaluation.mteb.kept import items_of
from embedkit.evaluation.results import ITEMS, read_task
from embedkit.io import raise_storage_error, write_atomic, write_json

_UNFINISHED = ".unfinished"


def place_of(folder: Path, task: str, meta: ModelMeta) -> Path:
    """Where the result of a model on a task belongs.

    Raises:
        StorageError: The folder cannot be made.
    """
    try:
        return ResultCache(folder).get_task_result_path(task, meta)
    except OSError as error:  # mteb makes the folder
        raise_storage_error(error, f"results cannot be kept in the folder {folder}")


def is_done(place: Path, task: AbsTask) -> bool:
    """Whether a whole result of the same data is there; one that is damaged, or whose items are, is set aside."""
    if not place.is_file():
        return False
    try:
        stored = read_task(place)
        _ = stored.kept  # the items are read to see that they can be
    except CorruptFileError:
        place.replace(place.with_suffix(".damaged"))
        return False
    wanted = {(split, subset) for split in task.eval_splits for subset in task.hf_subsets}
    return stored.dataset_revision == task.metadata.revision and wanted <= stored.parts.keys()


def has_items(place: Path) -> bool:
    """Whether a result that can be read has the items behind its scores."""
    kept = read_task(place).kept
    return kept is not None and bool(kept.parts)


@contextmanager
def staging(folder: Path, task: AbsTask, meta: ModelMeta) -> Iterator[Path]:
    """A folder in which mteb writes while it runs, kept when the run is cut short and gone once it is done.

    mteb writes in place, so a kill can leave half a file: an earlier run's folder that does not read is dropped.

    Raises:
        LockedIndexError: Another process is running this model on this task.
        StorageError: The folder cannot be made or written.
    """
    identity = json.dumps([meta.name, meta.revision, meta.experiment_name, task.metadata.name, task.metadata.revision])
    root = folder / _UNFINISHED / hashlib.sha256(identity.encode()).hexdigest()[:16]
    lock = FileLock(root.with_suffix(".lock"), timeout=0)
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        message = f"another process is running {meta.name} on {task.metadata.name} into {folder}; wait for it"
        raise LockedIndexError(message) from None
    except OSError as error:
        raise_storage_error(error, f"results cannot be kept in the folder {folder}")
    try:
        if not all(_is_json(path) for path in root.rglob("*.json")):
            shutil.rmtree(root)
            root.mkdir()
        yield root
        shutil.rmtree(root)
    finally:
        lock.release()
    root.with_suffix(".lock").unlink(missing_ok=True)
    if not any(root.parent.iterdir()):
        root.parent.rmdir()


def keep(root: Path, task: AbsTask, meta: ModelMeta, place: Path) -> None:
    """Move what a run made in `root` to its place, with the items behind it.

    Raises:
        ModelError: A main score is not a number.
    """
    made = place_of(root, task.metadata.name, meta)
    written = predictions_folder(root) / task.prediction_file_name
    predictions = _read(written) if written.is_file() else {}
    result = _read(made)
    place.parent.mkdir(parents=True, exist_ok=True)
    _merge_lines(made.with_name("run_settings.jsonl"), place.with_name("run_settings.jsonl"), task.metadata.name)
    store(result, items_of(task, predictions, result["scores"]), task, meta, place)


def store(result: Mapping[str, Any], items: TaskItems, task: AbsTask, meta: ModelMeta, place: Path) -> None:
    """Write a result and its items; the result itself last, since its presence means done.

    Raises:
        ModelError: A main score is not a number.
    """
    for split, entries in result["scores"].items():
        for entry in entries:
            if entry["main_score"] is None or not math.isfinite(entry["main_score"]):
                where = f"{split}, {entry['hf_subset']}"
                message = f"{task.metadata.main_score} is not a number on {where}: all scores are equal"
                raise ModelError(message)
    (place.parent / ITEMS).mkdir(parents=True, exist_ok=True)
    write_items(place.parent / ITEMS / place.name, items)
    about = place.with_name("model_meta.json")
    if not about.is_file():
        write_json(about, json.loads(json.dumps(meta.to_dict(), default=str)))
    write_json(place, _without_nan(result))


def predictions_folder(root: Path) -> Path:
    """Where mteb puts the predictions of a run."""
    return root / "predictions"


def _merge_lines(source: Path, target: Path, task: str) -> None:
    """Mteb's record of the settings each task ran with, one JSON object a line."""
    kept = target.read_text("utf-8").splitlines() if target.is_file() else []
    kept = [line for line in kept if _task_of(line) not in {task, None}]
    lines = [*kept, *source.read_text("utf-8").splitlines()]
    write_atomic(target, lambda path: _write(path, lines))


def _task_of(line: str) -> str | None:
    """The task a line of settings is about; None where a kill left half of one."""
    try:
        return str(json.loads(line)["task"])
    except (ValueError, KeyError, TypeError):
        return None


def _without_nan(value: Any) -> Any:
    """What JSON can hold: mteb leaves numbers undefined where, say, a query has no relevant document."""
    if isinstance(value, dict):
        return {name: _without_nan(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _write(path: Path, lines: list[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")


def _read(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


def _is_json(path: Path) -> bool:
    try:
        _read(path)
    except ValueError:
        return False
    return True
