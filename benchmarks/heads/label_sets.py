"""Whole sets of labels: do they miss the right one as often as asked for, and how many are left?

NLU++ banking: what people say, with all that they mean by it, of 48 intents, as vectors of all-MiniLM-L6-v2. In each of
ten draws logistic regressions learn from 1,000 texts (their C is chosen on a fifth of these), 600 others calibrate, the
rest is asked. Error is the share whose right set is left out. `paper` shows what this library's first study of the
method found in five draws; the publication has no results on this data.

Beside it stand two ways that bound each label on its own, so that all combinations of what is left are in the region:
one bound for each label at eps / 48 (Bonferroni), and one for the worst label of a row. Both are calibrated on the same
rows, and keep to eps too: what they lack is small regions. The baseline is the smaller of the two, of errors that of
Bonferroni; the floor is all sets. Time is that of `predict_sets`, logistic regressions included.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, ShuffleSplit
from sklearn.multiclass import OneVsRestClassifier
from sklearn.preprocessing import MultiLabelBinarizer

from benchmarks.data import nlupp_banking
from benchmarks.results import Row
from embedkit.evaluation.statistics import over_seeds
from embedkit.heads import ConformalLabelSets

SEEDS, LEARNT, CALIBRATING = 10, 1000, 600
SMOKE_LEARNT, SMOKE_CALIBRATING = 120, 60
RATES = (0.1, 0.05, 0.2, 0.3)
TIMED, TOLD = 0.1, 0.2
LOG_LOSS, NORM, BONFERRONI, WORST = "log-loss", "norm", "Bonferroni", "worst label"
STUDIED = {
    **{f"error, eps {rate}": error for rate, error in zip(RATES, (0.098, 0.052, 0.206, 0.309), strict=True)},
    **{f"median sets, eps {rate}": sets for rate, sets in zip(RATES, (14, 43, 5, 2), strict=True)},
    "ms a query, eps 0.1": 0.3,
    "subset accuracy": 0.462,
}


@dataclass(frozen=True)
class Part:
    """Vectors with their labels, 0 or 1, and what the estimator makes of them."""

    vectors: NDArray[np.float32]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64]

    def costs(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """What each label costs if absent and if present."""
        cut = np.clip(self.probabilities, 1e-7, 1 - 1e-7)
        return -np.log1p(-cut), -np.log(cut)


def run(smoke: bool) -> Iterator[Row]:
    """Errors, sizes, and time by way and rate."""
    vectors, labels = _drawn() if smoke else _banking()
    seeds = range(2 if smoke else SEEDS)
    sizes = (SMOKE_LEARNT, SMOKE_CALIBRATING) if smoke else (LEARNT, CALIBRATING)
    each = [measure(vectors, labels, seed, *sizes) for seed in seeds]
    for way, metric in each[0]:
        interval = over_seeds([one[way, metric] for one in each])
        mean = partial(_mean, each, metric)
        baseline, floor = None, None
        if "error" in metric and way in (LOG_LOSS, NORM):
            baseline = mean(BONFERRONI)
        if "sets, " in metric and "labels" not in metric and way in (LOG_LOSS, NORM):
            baseline, floor = min(mean(BONFERRONI), mean(WORST)), 2.0 ** labels.shape[1]
        if metric == "subset accuracy":
            floor = float(np.unique(labels, axis=0, return_counts=True)[1].max() / len(labels))
        yield Row(
            method="label sets",
            variant=way,
            dataset="NLU++ banking",
            metric=metric,
            value=interval.value,
            low=interval.low,
            high=interval.high,
            seeds=len(each),
            baseline=baseline,
            floor=floor,
            paper=STUDIED.get(metric) if way == LOG_LOSS else None,
        )


def measure(
    vectors: NDArray[np.float32], labels: NDArray[np.int64], seed: int, learnt: int, calibrating: int
) -> dict[tuple[str, str], float]:
    """All that one draw of the rows gives, by way and metric."""
    order = np.random.default_rng(seed).permutation(len(vectors))
    first, second, rest = np.split(order, [learnt, learnt + calibrating])
    estimator = _fitted(vectors[first], labels[first], seed)
    known, asked = (
        Part(vectors[rows], labels[rows], estimator.predict_proba(vectors[rows])) for rows in (second, rest)
    )
    found: dict[tuple[str, str], float] = {}
    scores: dict[str, Literal["logloss", "norm"]] = {LOG_LOSS: "logloss", NORM: "norm"}
    for way, score in scores.items():
        head = ConformalLabelSets(estimator=FrozenEstimator(estimator), nonconformity=score, max_sets=10_000)
        head.fit(known.vectors, known.labels)
        right = head.p_value(asked.vectors, asked.labels)
        for rate in RATES:
            started = time.perf_counter()
            sizes = [len(sets) for sets in head.predict_sets(asked.vectors, alpha=rate).sets]
            seconds = time.perf_counter() - started
            found[way, f"error, eps {rate}"] = float(np.mean(right <= rate))
            found[way, f"median sets, eps {rate}"] = float(np.median(sizes))
            if rate == TIMED:
                found[way, f"mean sets, eps {rate}"] = float(np.mean(sizes))
                found[way, f"ms a query, eps {rate}"] = 1000 * seconds / len(rest)
        bounds = head.label_bounds(asked.vectors, alpha=TOLD)
        found[way, f"labels in all sets, eps {TOLD}"] = float(bounds.in_all.sum(axis=1).mean())
        found[way, f"labels in any set, eps {TOLD}"] = float(bounds.in_any.sum(axis=1).mean())
    found[LOG_LOSS, "subset accuracy"] = float(head.score(asked.vectors, asked.labels))
    for way, bound in {BONFERRONI: _each_label, WORST: _worst_label}.items():
        for rate in RATES:
            held, numbers = _combinations(known, asked, bound, rate)
            found[way, f"error, eps {rate}"] = float(1 - held.mean())
            found[way, f"median sets, eps {rate}"] = float(np.median(numbers))
            if rate == TIMED:
                found[way, f"mean sets, eps {rate}"] = float(np.mean(numbers))
    return found


def _fitted(vectors: NDArray[np.float32], labels: NDArray[np.int64], seed: int) -> Any:
    """A logistic regression for each label, its C chosen on a fifth of the rows."""

    def likelihood(estimator: Any, rows: NDArray[np.float32], y: NDArray[np.int64]) -> float:
        absent, present = Part(rows, y, estimator.predict_proba(rows)).costs()
        return -float(np.where(y == 1, present, absent).sum(axis=1).mean())

    search = GridSearchCV(
        OneVsRestClassifier(LogisticRegression(max_iter=1000)),
        {"estimator__C": [1, 10, 30, 100]},
        scoring=likelihood,
        cv=ShuffleSplit(1, test_size=0.2, random_state=seed),
    )
    return search.fit(vectors, labels).best_estimator_


def _combinations(
    known: Part, asked: Part, bound: Callable[[NDArray[np.float64], float], Any], rate: float
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Whether each right set is among the combinations of what each label may be, and how many these are."""
    absent, present = known.costs()
    most = bound(np.where(known.labels == 1, present, absent), rate)
    may = np.stack([costs <= most for costs in asked.costs()])
    right = np.where(asked.labels == 1, may[1], may[0]).all(axis=1)
    return right, np.prod(may.sum(axis=0, dtype=np.float64), axis=1)


def _each_label(costs: NDArray[np.float64], rate: float) -> NDArray[np.float64]:
    """A bound for each label, which it exceeds with probability rate / labels; no bound where rows are too few."""
    return _largest_but(costs, rate / costs.shape[1])


def _worst_label(costs: NDArray[np.float64], rate: float) -> NDArray[np.float64]:
    """One bound, which the worst label of a row exceeds with probability rate."""
    return _largest_but(costs.max(axis=1, keepdims=True), rate)


def _largest_but(costs: NDArray[np.float64], rate: float) -> NDArray[np.float64]:
    """Of each column the value that new rows exceed with probability `rate` at most, as in split conformal."""
    left_out = int(np.floor(rate * (len(costs) + 1)))
    if left_out == 0:
        return np.full(costs.shape[1], np.inf)
    found: NDArray[np.float64] = np.sort(costs, axis=0)[-left_out]
    return found


def _banking() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    import embedkit as ek

    texts, meant = nlupp_banking()
    return ek.load(device="cpu").encode(texts), MultiLabelBinarizer().fit_transform(meant)


def _drawn() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    draw = np.random.default_rng(0)
    vectors = draw.normal(size=(240, 12))
    return vectors.astype(np.float32), (vectors[:, :6] + draw.normal(size=(240, 6)) > 0.5).astype(np.int64)


def _mean(each: list[dict[tuple[str, str], float]], metric: str, way: str) -> float:
    return float(np.mean([one[way, metric] for one in each]))
