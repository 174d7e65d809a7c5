"""Sets of classes: do they miss the right one as often as asked for, in each class too, and how large are they?

Banking77 and CLINC150 as vectors of all-MiniLM-L6-v2. In each of ten draws from all their texts 15 a class are learnt
from by a logistic regression with C = 10, 20 a class calibrate, 30 a class are asked. One in ten right classes may be
missed. "Worst class" is the coverage of the class that is held most rarely over all draws, "hard rows" that of the
third whose most probable class is least probable.

Two more ways to score are the paper's aps, which adds a random part of a class's own probability to that of the classes
before it, and aps as it is often done, which adds all of it; `ConformalClassifier` adds nothing.

The baseline is what one would do without calibration, the most probable classes until their sum is 0.9; where
calibration is by class, that of all classes together. The floor is nine classes of ten, whatever was said.
"""

from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

from benchmarks.intents import BANKING, CLINC, Split, intents
from benchmarks.results import Row
from embedkit.evaluation.statistics import over_seeds
from embedkit.heads import ConformalClassifier

SEEDS, LEARNT, CALIBRATING, ASKED, RATE = 10, 15, 20, 30, 0.1
BY_CLASS, UNCALIBRATED, RANDOM_PART, WHOLE = ", by class", "uncalibrated", "aps + a random part", "aps + all of it"
SCORES: tuple[Literal["lac", "aps"], ...] = ("lac", "aps")
METRICS = ("coverage", "mean set", "hard rows", "worst class")


def run(smoke: bool) -> Iterator[Row]:
    """Coverage and size by score, with calibration of all classes together and of each."""
    for name in (BANKING, CLINC):
        draws = [measure(name, seed, smoke) for seed in range(2 if smoke else SEEDS)]
        for arm in draws[0]:
            by_class = arm.endswith(BY_CLASS)
            beside = arm.removesuffix(BY_CLASS) if by_class else UNCALIBRATED
            for metric in METRICS:
                value, low, high = _over([draw[arm] for draw in draws], metric)
                yield Row(
                    method="sets of classes" + (BY_CLASS if by_class else ""),
                    variant=arm.removesuffix(BY_CLASS),
                    dataset=name,
                    metric=f"{metric}, eps {RATE}",
                    value=value,
                    low=low,
                    high=high,
                    seeds=len(draws),
                    baseline=None if arm == UNCALIBRATED else _over([draw[beside] for draw in draws], metric)[0],
                    floor=(1 - RATE) * (intents(name, smoke).num_classes if metric == "mean set" else 1),
                )


def measure(name: str, seed: int, smoke: bool) -> dict[str, dict[str, NDArray[np.float64]]]:
    """Of each way to make sets: coverage, size, coverage of hard rows, and that of each class."""
    learnt, calibrating, asked = _parts(name, seed, smoke)
    estimator = LogisticRegression(C=10, max_iter=1000).fit(learnt.vectors, learnt.labels)
    probabilities = estimator.predict_proba(asked.vectors)
    sets = {}
    for mondrian in (False, True):
        for score in SCORES:
            head = ConformalClassifier(
                estimator=FrozenEstimator(estimator), alpha=RATE, nonconformity=score, mondrian=mondrian
            ).fit(calibrating.vectors, calibrating.labels)
            sets[score + BY_CLASS * mondrian] = head.predict_set(asked.vectors)
    known, draw = estimator.predict_proba(calibrating.vectors), np.random.default_rng(seed)
    sets[RANDOM_PART] = _other(known, calibrating.labels, probabilities, lambda rows: draw.random((rows, 1)))
    sets[WHOLE] = _other(known, calibrating.labels, probabilities, lambda rows: np.ones((rows, 1)))
    sets[UNCALIBRATED] = _before(probabilities) < 1 - RATE
    surest = probabilities.max(axis=1)
    hard = surest <= np.quantile(surest, 1 / 3)
    found = {}
    for arm, inside in sets.items():
        held = inside[np.arange(len(inside)), asked.labels].astype(np.float64)
        of_class = np.bincount(asked.labels, held) / np.bincount(asked.labels)
        found[arm] = {
            "coverage": held.mean(),
            "mean set": inside.sum(axis=1).mean(),
            "hard rows": held[hard].mean(),
            "worst class": of_class,
        }
    return found


def _over(several: list[dict[str, NDArray[np.float64]]], metric: str) -> tuple[float, float | None, float | None]:
    """Mean and interval over draws; of classes the least mean, which has no interval, as it is chosen."""
    values = [one[metric] for one in several]
    if metric == "worst class":
        return float(np.mean(values, axis=0).min()), None, None
    interval = over_seeds([float(value) for value in values])
    return interval.value, interval.low, interval.high


def _parts(name: str, seed: int, smoke: bool) -> tuple[Split, Split, Split]:
    """Rows of both splits, so that all three parts are drawn alike: so many of each class for each."""
    data, draw = intents(name, smoke), np.random.default_rng(seed)
    counts = [10, 12, 2] if smoke else [LEARNT, CALIBRATING, ASKED]
    vectors, labels = (
        np.concatenate([getattr(part, of) for part in (data.train, data.test)]) for of in ("vectors", "labels")
    )
    both = Split(np.empty(0, object), vectors, labels)
    orders = [draw.permutation(np.flatnonzero(labels == each)) for each in np.unique(labels)]
    cut = [np.split(order[: sum(counts)], np.cumsum(counts)[:-1]) for order in orders]
    learnt, calibrating, asked = (both.at(np.concatenate(rows)) for rows in zip(*cut, strict=True))
    return learnt, calibrating, asked


def _other(
    known: NDArray[np.float64],
    labels: NDArray[np.int64],
    asked: NDArray[np.float64],
    part: Callable[[int], NDArray[np.float64]],
) -> NDArray[np.bool_]:
    """The sets of another aps, which adds some part of a class's own probability."""
    right = np.sort((_before(known) + part(len(known)) * known)[np.arange(len(known)), labels])
    inside: NDArray[np.bool_] = _before(asked) + part(len(asked)) * asked <= right[-int(RATE * (len(right) + 1))]
    return inside


def _before(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """The sum of the probabilities of all classes that are more probable than each."""
    order = np.argsort(-probabilities, axis=1)
    falling = np.take_along_axis(probabilities, order, axis=1)
    before = np.empty_like(probabilities)
    np.put_along_axis(before, order, np.cumsum(falling, axis=1) - falling, axis=1)
    return before
