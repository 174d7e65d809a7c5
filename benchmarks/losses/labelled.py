"""What losses with labels do to classes that were learnt from, and to those that were not, on frozen vectors.

Half the classes are learnt from (five draws of the halves; data and vectors as in `benchmarks.halves`), and the vectors
that are asked look for the others of their class, among those of learnt classes and, apart from them, among those of
the rest: MAP@R. `fit_projection` trains a linear map, beginning with the principal directions, for 200 steps with each
loss: as wide as the vectors, but 128 for TF-IDF and histograms. Baseline: the vectors as they come. Floor: random ones.

"Beside": the map's vectors, at twice the weight, joined to those that it began with, each of length 1. That, the steps
and the rate were chosen for SupCon on Banking77 and CLINC150, with three other draws of the halves and other texts,
which are asked nothing here; the other losses take them as they are.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.halves import (
    ARMS,
    BESIDE,
    CHANCE,
    NOTHING,
    SEEDS,
    Found,
    Labelled,
    Learnt,
    beside,
    jobs,
    learnt_half,
    made,
    rows,
    search,
    vectors,
)
from benchmarks.peer import on_cores
from benchmarks.results import Row
from embedkit.ops.vectors import normalize
from embedkit.training.projection import fit_projection

STEPS, WIDEST_WEAK = 200, 128


def run(smoke: bool) -> Iterator[Row]:
    """MAP@R by loss, data and vectors, each beside untrained vectors."""
    arms = ["SupCon", f"SupCon{BESIDE}", f"CACR{BESIDE}", *list(ARMS)[1:], NOTHING, CHANCE]
    if smoke:
        arms = ["SupCon", f"SupCon{BESIDE}", NOTHING, CHANCE]
    all_jobs = jobs(vectors(smoke), arms, SEEDS[:1] if smoke else SEEDS)
    work = partial(measure, steps=2 if smoke else STEPS)
    each = [work(job) for job in all_jobs] if smoke else on_cores(work, all_jobs)
    found: dict[tuple[str, str], list[Found]] = {}
    for (data, arm, _), one in zip(all_jobs, each, strict=True):
        found.setdefault((data.name, arm), []).append(one)
    yield from rows("losses with labels", found, smoke)


def measure(job: tuple[Labelled, str, int], *, steps: int) -> Found:
    """MAP@R of seen and of unseen classes with one loss, kind of vectors and draw of the halves."""
    data, arm, seed = job
    half = learnt_half(data.labels, seed)
    embeddings = _embeddings(data, arm, np.isin(data.labels, half), seed, steps)
    return search(embeddings, data.test_labels, half, seed)


def _embeddings(data: Labelled, arm: str, learnt: NDArray[np.bool_], seed: int, steps: int) -> NDArray[Any]:
    if arm == NOTHING:
        return normalize(data.test)
    if arm == CHANCE:
        return np.random.default_rng(seed).normal(size=data.test.shape)
    strong = data.train.shape[1] == data.teacher.shape[1]
    dim = data.train.shape[1] if strong else min(data.train.shape[1], WIDEST_WEAK)
    labels = np.unique(data.labels[learnt], return_inverse=True)[1]
    loss = made(arm, Learnt(labels, data.teacher[learnt], dim))
    projection = fit_projection(loss, data.train[learnt], labels, dim, steps=steps, seed=seed)
    return beside(arm, data.test, projection.transform(data.test))
