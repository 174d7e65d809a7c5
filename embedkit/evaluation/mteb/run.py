"""Run a model, and the floors it is measured against, on tasks."""

import logging
import random
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import datasets
import huggingface_hub
import mteb
import numpy as np
from mteb.abstasks import AbsTask
from mteb.results import TaskResult

from embedkit.errors import EmbedkitError, InputError, LockedIndexError, StorageError
from embedkit.evaluation.floors import FLOORS
from embedkit.evaluation.mteb.floor import Floors, Model
from embedkit.evaluation.mteb.model import EncoderModel
from embedkit.evaluation.mteb.stored import is_done, keep, place_of, predictions_folder, staging
from embedkit.evaluation.results import ModelScores, read_model

OnTask: TypeAlias = Callable[[str, str, int, int], None]
"""Called before each task with (model, task, number done, number in all)."""


_LOG = logging.getLogger(__name__)
_PATIENCE = 2  # tasks that wait for a hub which does not answer, each nearly half a minute, before the rest do not


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a run came to.

    Attributes:
        models: The model, then the floors it is measured against, each with the tasks of this run.
        failed: Task → why it could not be run; what could be run is stored all the same.
        floors_failed: Floor → task → why it could not be run beside the model.
        folder: Where the results are.
    """

    models: tuple[ModelScores, ...]
    failed: Mapping[str, str]
    floors_failed: Mapping[str, Mapping[str, str]]
    folder: Path


def run(
    model: Model,
    tasks: Sequence[AbsTask],
    folder: Path,
    *,
    floors: Sequence[str] = FLOORS,
    batch_size: int = 32,
    overwrite: bool = False,
    on_task: OnTask | None = None,
) -> Evaluation:
    """Run a model and the floors on tasks; results are kept in mteb's own format and folders.

    A task that has a result of the same data is not run again. A run that was cut short goes on at the subset where it
    stopped. A result is stored whole or not at all; a damaged one is set aside and made anew. Once the hub has not
    answered for two tasks, the others only get what is on this machine already.

    Args:
        model: What is evaluated.
        tasks: On what.
        folder: Where results are kept.
        floors: Which of `FLOORS` to run beside it; BM25 stands for TF-IDF where the task is a search.
        batch_size: Handed to the encoder.
        overwrite: Run tasks again that have a result.
        on_task: Called before each model on each task.

    Returns:
        The scores of the model and of the floors on these tasks, and what could not be run.

    Raises:
        InputError: There are no tasks, or two of one name.
        LockedIndexError: Another process is running this model on such a task into this folder.
        StorageError: Results cannot be written there.
        EmbedkitError: No task could be run.
    """
    names = [task.metadata.name for task in tasks]
    _check_names(names)
    beside = Floors(model, floors)
    failed: dict[str, str] = {}
    floors_failed: dict[str, dict[str, str]] = {}
    places: dict[Path, None] = {}  # in the order met: the model's own first
    done, total = 0, len(tasks) * (1 + len(beside))
    with quiet(), _hub() as met:
        for task in tasks:
            name, loaded_here = task.metadata.name, not task.data_loaded
            for floor in (None, *beside.names):
                try:
                    runner = model if floor is None else _floor(beside, floor, task)
                    if runner is None:
                        continue
                    if on_task:
                        on_task(str(runner.mteb_model_meta.name), name, done, total)
                    places[_result(runner, task, folder, batch_size, overwrite=overwrite)] = None
                except (LockedIndexError, StorageError):
                    raise
                except Exception as error:  # one task of forty must not cost the other thirty-nine
                    _LOG.debug("%s failed on %s", floor or model.mteb_model_meta.name, name, exc_info=True)
                    met(error)
                    if floor is None:
                        failed[name] = _reason(error)
                        break  # a floor is not worth its time where the model fails
                    floors_failed.setdefault(floor, {})[name] = _reason(error)
                finally:
                    done += 1
            if loaded_here and task.data_loaded:
                task.unload_data()
    if len(failed) == len(tasks):
        raise EmbedkitError(_no_task(failed))
    models = [read_model(place) for place in places]
    kept = [replace(m, tasks={name: s for name, s in m.tasks.items() if name in names}) for m in models]
    return Evaluation(tuple(kept), failed, floors_failed, folder)


def _check_names(names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not names:
        message = f"tasks must be at least one, and no name twice; received {', '.join(twice) or 'none'}"
        raise InputError(message)


def _no_task(failed: Mapping[str, str]) -> str:
    """All that failed, each reason once."""
    tasks: dict[str, list[str]] = {}
    for name, reason in failed.items():
        tasks.setdefault(reason, []).append(name)
    return "no task could be run: " + "; ".join(f"{', '.join(names)}: {reason}" for reason, names in tasks.items())


def _floor(beside: Floors, name: str, task: AbsTask) -> Model | None:
    """A floor, which needs the data to be loaded even where the model's result was there; None: not for this task."""
    if not task.data_loaded:
        task.load_data()
    return beside.on(task, name)


def _result(model: Model, task: AbsTask, folder: Path, batch_size: int, *, overwrite: bool) -> Path:
    """Where the model's results are, with that of the task among them."""
    meta = model.mteb_model_meta
    place = place_of(folder, task.metadata.name, meta)
    if not overwrite and is_done(place, task):
        return place.parent
    if not task.data_loaded:
        task.load_data()
    with staging(folder, task, meta) as root:
        score(model, task, batch_size, cache=mteb.ResultCache(root), prediction_folder=predictions_folder(root))
        keep(root, task, meta, place)
    return place.parent


def score(model: Model, task: AbsTask, batch_size: int, **kept: Any) -> TaskResult:
    """One model on one task by mteb's own evaluator.

    Args:
        model: What is evaluated.
        task: On what.
        batch_size: Handed to the encoder.
        **kept: mteb's `cache` and `prediction_folder`: where to write what is found, if anywhere.
    """
    # mteb goes on drawing from where the last model stopped; all models must meet the same samples.
    task.rng_state, task.np_rng = random.Random(task.seed), np.random.default_rng(task.seed)  # noqa: S311
    native = getattr(task, "native", {})
    options: Any = {"batch_size": batch_size, "show_progress_bar": None}
    with quiet(), model.reading(native) if isinstance(model, EncoderModel) else nullcontext():
        found = mteb.evaluate(model, task, encode_kwargs=options, co2_tracker=False, show_progress_bar=False, **kept)
    return found.task_results[0]


def _reason(error: Exception) -> str:
    """One line on why a task could not be run; for a hub that is out of reach, what can."""
    said = " ".join(str(error).split())[:300]
    if isinstance(error, EmbedkitError):
        return said
    if _is_unreached(error):
        return "its data is on the hub, which cannot be reached; 'embedkit tasks' lists what runs offline"
    return f"{type(error).__name__}: {said}"


def _is_unreached(error: Exception) -> bool:
    name = type(error).__name__
    if isinstance(error, EmbedkitError):
        return False
    return isinstance(error, ConnectionError) or "Offline" in name or "Connect" in name or "offline" in str(error)


@contextmanager
def _hub() -> Iterator[Callable[[Exception], None]]:
    """Yields what is told each error; when the hub is lost, only its cache is asked until the end of the run."""
    constants = huggingface_hub.constants
    before = constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    left = _PATIENCE

    def met(error: Exception) -> None:
        nonlocal left
        left -= _is_unreached(error)
        if not left:
            constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True

    try:
        yield met
    finally:
        constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = before


@contextmanager
def quiet() -> Iterator[None]:
    """Mteb, datasets and the hub's client speak for themselves; a run draws its own progress."""
    levels = {logger: logger.level for logger in map(logging.getLogger, ("mteb", "huggingface_hub"))}
    bars = datasets.is_progress_bar_enabled()
    for logger in levels:
        logger.setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)
        if bars:
            datasets.enable_progress_bars()
