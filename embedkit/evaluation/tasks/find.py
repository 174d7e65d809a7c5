"""Tasks by name: embedkit's own, data sets on this machine, then mteb's registry."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import mteb
from mteb.abstasks import AbsTask

from embedkit.errors import InputError
from embedkit.evaluation.tasks.clicks import click_task
from embedkit.evaluation.tasks.known import KNOWN, known_task, known_tasks, names_in_mteb
from embedkit.evaluation.tasks.metadata import DATA_VARIABLE
from embedkit.evaluation.tasks.metadata import data_folder as find_data_folder
from embedkit.evaluation.tasks.search import code_search_task, join_search_task

OWN: Mapping[str, Callable[[Path | None], AbsTask]] = {
    "PythonCodeSearch": code_search_task,
    "SpiderJoinSearch": join_search_task,
    "MovieLensClicks": click_task,
}
"""Tasks on code, tables and records, which mteb does not have."""

_NEEDS = {"SpiderJoinSearch": "tables/spider", "MovieLensClicks": "ctr/ml100k"}
"""Folder of the data sets that a task reads."""


def find_tasks(names: Sequence[str], data_folder: Path | None = None) -> list[AbsTask]:
    """Tasks by name. A data set on this machine is taken before the hub's copy of it.

    Args:
        names: embedkit's, or mteb's.
        data_folder: Where the known data sets are; None takes EMBEDKIT_DATA.

    Raises:
        InputError: An unknown name; the nearest ones are suggested.
    """
    here = set(known_tasks(data_folder))
    return [_find(name, here, data_folder) for name in names]


def find_benchmark(name: str, data_folder: Path | None = None) -> list[AbsTask]:
    """The tasks of one of mteb's benchmarks; a data set on this machine is taken before the hub's copy of it.

    Raises:
        InputError: An unknown name; the nearest ones are suggested.
    """
    known = sorted(str(benchmark.name) for benchmark in mteb.get_benchmarks())
    try:
        benchmark = mteb.get_benchmark(name)
    except KeyError:
        message = f"benchmark must be one of mteb's; received {name!r}{_suggestions(name, known)}"
        raise InputError(message) from None
    here = set(known_tasks(data_folder))
    return [_local(task, data_folder) if task.metadata.name in here else task for task in benchmark.tasks]


def task_names(data_folder: Path | None = None) -> list[str]:
    """Names of the tasks that run without the hub on this machine, sorted."""
    folder = find_data_folder(data_folder)
    own = {name for name in OWN if name not in _NEEDS or (folder / _NEEDS[name]).is_dir()}
    return sorted({*known_tasks(data_folder), *own})


def _local(task: AbsTask, data_folder: Path | None) -> AbsTask:
    """A benchmark's task on the data that are here, if they have every split and subset it is evaluated on."""
    local = known_task(task.metadata.name, data_folder)
    covered = set(task.hf_subsets) <= set(local.hf_subsets) and set(task.eval_splits) <= set(local.eval_splits)
    if not covered:
        return task
    local.hf_subsets = task.hf_subsets
    return local.filter_eval_splits(task.eval_splits)


def _find(name: str, here: set[str], data_folder: Path | None) -> AbsTask:
    if name in OWN:
        return OWN[name](data_folder)
    if name in here:
        return known_task(name, data_folder)
    try:
        return mteb.get_task(name)
    except KeyError:
        known = sorted({*OWN, *here, *names_in_mteb()})
        message = f"tasks must be names that embedkit or mteb knows; received {name!r}{_suggestions(name, known)}"
        if name in KNOWN:
            place = find_data_folder(data_folder) / "text" / KNOWN[name].folder
            message = (
                f"{name} is not on the hub and needs {place}, which is not whole; {DATA_VARIABLE} names the folder"
            )
        raise InputError(message) from None


def _suggestions(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, 3, 0.5)
    lower = {candidate.lower(): candidate for candidate in known}
    near = near or [lower[match] for match in difflib.get_close_matches(name.lower(), lower, 3, 0.5)]
    return f"; did you mean {' or '.join(near)}?" if near else "; 'embedkit tasks' lists those that run offline"
