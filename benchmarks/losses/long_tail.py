"""Classes of very different sizes: does SBCL do more for the rare ones than SupCon?

CLINC150 with 40 texts of the most frequent class down to 2 of the rarest, exponentially; which class is how frequent is
drawn anew for each of five seeds. `fit_projection` trains TF-IDF vectors (1,500 words to 128) and those of
all-MiniLM-L6-v2 (384 to 384) for 240 steps; 15 test texts of each class, all alike often, are given the class whose
mean training vector is nearest. Accuracy of all and of the third of the classes that is most frequent, of the middle,
and of the rarest. Baseline: SupCon. Floor: the vectors as they come. The first clustering comes after two epochs, then
one every second, as there are few; all else is as the loss has it, and nothing was tuned.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from benchmarks.halves import Labelled, texts, vectors_of
from benchmarks.peer import on_cores
from benchmarks.results import Row
from embedkit.evaluation.items import Items
from embedkit.evaluation.statistics import bootstrap_interval, paired_difference
from embedkit.losses import SBCLLoss, SupConLoss
from embedkit.ops.vectors import normalize
from embedkit.training.projection import fit_projection

SEEDS = (0, 1, 2, 3, 4)
MOST, FEWEST, STEPS, WIDEST_WEAK = 40, 2, 240, 128
RAW, SUP_CON, SBCL = "no training", "SupCon", "SBCL"
GROUPS = ("all", "many", "medium", "few")


def run(smoke: bool) -> Iterator[Row]:
    """Accuracy by loss, kind of vectors and how frequent classes are."""
    data = [each for some in texts(smoke) if some.name == "CLINC150" for each in vectors_of(some)]
    work = partial(measure, steps=2 if smoke else STEPS)
    jobs = [
        (each, arm, seed) for each in data for arm in (SBCL, SUP_CON, RAW) for seed in SEEDS[: 1 if smoke else None]
    ]
    found: dict[tuple[str, str], list[dict[str, Items]]] = {}
    for (of, arm, _), one in zip(jobs, [work(job) for job in jobs] if smoke else on_cores(work, jobs), strict=True):
        found.setdefault((of.name, arm), []).append(one)
    for (name, arm), several in found.items():
        for group in GROUPS:
            items = [one[group] for one in several]
            interval = bootstrap_interval(items, resamples=200 if smoke else 2000)
            told = ""
            if arm == SBCL:
                gain = paired_difference(items, [one[group] for one in found[name, SUP_CON]])
                told = f"; gain {gain.low:+.3f} to {gain.high:+.3f}"
            yield Row(
                method="long-tailed classes",
                variant=arm + told,
                dataset=name,
                metric=f"accuracy, {group}",
                value=interval.value,
                low=interval.low,
                high=interval.high,
                seeds=len(several),
                baseline=_mean(found[name, SUP_CON], group) if arm == SBCL else None,
                floor=None if arm == RAW else _mean(found[name, RAW], group),
            )


def _mean(several: list[dict[str, Items]], group: str) -> float:
    return float(np.mean([one[group].columns["score"].mean() for one in several]))


def measure(job: tuple[Labelled, str, int], *, steps: int) -> dict[str, Items]:
    """Whether each test text gets its class, with one loss and draw of the sizes."""
    data, arm, seed = job
    draw = np.random.default_rng(seed)
    classes = draw.permutation(np.unique(data.labels))
    sizes = np.rint(MOST * (FEWEST / MOST) ** np.linspace(0, 1, len(classes))).astype(int)
    rows = np.concatenate(
        [
            draw.permutation(np.flatnonzero(data.labels == each))[:size]
            for each, size in zip(classes, sizes, strict=True)
        ]
    )
    transform = _learn(arm, data.train[rows], data.labels[rows], seed, steps)
    learnt, asked = transform(data.train[rows]), transform(data.test)
    means = normalize(np.stack([learnt[data.labels[rows] == each].mean(axis=0) for each in classes]))
    right = (classes[(asked @ means.T).argmax(axis=1)] == data.test_labels).astype(np.float64)
    thirds = dict(zip(GROUPS[1:], np.array_split(classes, 3), strict=True)) | {"all": classes}
    found = {}
    for group, members in thirds.items():
        some = np.flatnonzero(np.isin(data.test_labels, members))
        found[group] = Items("test", f"draw {seed}", "mean", "query", tuple(map(str, some)), {"score": right[some]})
    return found


def _learn(arm: str, known: NDArray[Any], labels: NDArray[np.int64], seed: int, steps: int) -> Any:
    if arm == RAW:
        return normalize
    loss: nn.Module = SupConLoss() if arm == SUP_CON else SBCLLoss(labels, warmup=2, refresh_every=2)
    dim = known.shape[1] if known.shape[1] == 384 else min(known.shape[1], WIDEST_WEAK)
    return fit_projection(loss, known, labels, dim, steps=steps, seed=seed).transform
