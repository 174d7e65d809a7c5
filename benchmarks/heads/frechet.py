"""Labels nobody has examples of: does the least expected squared distance (Loki) err less than the most probable class?

STS-B, scores rounded to 0 … 5: logistic regression sees the cosine of all-MiniLM-L6-v2 and the share of words that two
sentences have in common, of training pairs with the bins 0 and 5, with 0, 2 and 5, or with all six; all test pairs are
asked. Five seeds draw the training pairs with replacement. CLINC150: 75 of 150 intents, another half for each of five
seeds, 40 training queries each, on vectors of all-MiniLM-L6-v2; 15 test queries of each of the 150 are asked. Distances
are paths in the tree of ten domains (0, 2 and 4), or between the vectors of the intents' names.

The temperature is the one of six with the least log loss on held-out examples of the classes seen (the development
pairs; 15 more training queries), so no example of another label is needed to choose it. Baseline: the most probable
class. Floor: always the class most often seen. Where names say what labels mean, the nearest name is another way to
reach labels without examples: `ZeroShotClassifier`, on CLINC150. Nothing was tuned.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

import embedkit as ek
from benchmarks.data import clinc150, clinc150_domains, stsb
from benchmarks.results import Row
from embedkit.evaluation.items import Items
from embedkit.evaluation.statistics import bootstrap_interval
from embedkit.heads import FrechetClassifier, ZeroShotClassifier, tree_distances

SEEDS = (0, 1, 2, 3, 4)
TEMPERATURES = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0)
TOO_FLAT = 3.0
BINS = np.arange(6)
SEEN_BINS = ((0, 2, 5), (0, 5), (0, 1, 2, 3, 4, 5))
SEEN_INTENTS, TRAIN, HELD, TEST = 75, 40, 15, 15

ARGMAX, FLOOR = "most probable class", "most frequent class"
Found = dict[str, dict[str, NDArray[np.float64]]]
"""Of each arm: squared distance and accuracy of each example that was asked about, nan for what is not counted."""


@dataclass(frozen=True)
class Task:
    """Vectors and labels of three splits, and how far labels lie from each other.

    Attributes:
        labels: All of them, sorted.
        metrics: By name, `distances` or `label_vectors` of the head; the first is what errors are measured in.
        names: Vectors of what the labels are called, or None.
    """

    dataset: str
    labels: NDArray[Any]
    distances: NDArray[np.float64]
    metrics: dict[str, dict[str, NDArray[Any]]]
    train: tuple[NDArray[Any], NDArray[Any]]
    held: tuple[NDArray[Any], NDArray[Any]]
    test: tuple[NDArray[Any], NDArray[Any]]
    names: NDArray[Any] | None = field(default=None)


def run(smoke: bool) -> Iterator[Row]:
    """Squared distances and accuracies by rule and labels seen."""
    seeds = SEEDS[: 2 if smoke else None]
    bins = _drawn_bins() if smoke else _bins()
    for seen in SEEN_BINS:
        found = []
        for seed in seeds:
            draw = np.random.default_rng(seed)
            rows = np.flatnonzero(np.isin(bins.train[1], seen))
            found.append(measure(bins, np.array(seen), draw.choice(rows, len(rows))))
        yield from _rows(bins, f"seen {' '.join(map(str, seen))}", found)
    intents = _drawn_intents() if smoke else _intents()
    found = []
    for seed in seeds:
        draw = np.random.default_rng(seed)
        some = np.sort(draw.permutation(intents.labels)[: len(intents.labels) // 2])
        found.append(measure(intents, some, np.flatnonzero(np.isin(intents.train[1], some))))
    yield from _rows(intents, "half seen", found)


def measure(task: Task, seen: NDArray[Any], rows: NDArray[np.int64]) -> Found:
    """What each arm makes of the test split, of labels seen and training rows."""
    train, labels = task.train[0][rows], task.train[1][rows]
    logistic = LogisticRegression(C=10, max_iter=300).fit(train, labels)
    held = np.isin(task.held[1], seen)
    temperature = _temperature(logistic.predict_proba(task.held[0][held]), task.held[1][held], logistic.classes_)
    said = {}
    for name, metric in task.metrics.items():
        for arm, flat in ((name, temperature), (f"{name}, temperature {TOO_FLAT:g}", TOO_FLAT)):
            head = FrechetClassifier(
                estimator=FrozenEstimator(logistic), labels=task.labels, temperature=flat, **metric
            )
            said[arm] = head.fit(train, labels).predict(task.test[0])
    said[ARGMAX] = logistic.predict(task.test[0])
    frequent, counts = np.unique(labels, return_counts=True)
    said[FLOOR] = np.repeat(frequent[counts.argmax()], len(task.test[1]))
    if task.names is not None:
        said["nearest name"] = ZeroShotClassifier().fit(task.names, task.labels).predict(task.test[0])
    place, new = np.searchsorted(task.labels, task.test[1]), ~np.isin(task.test[1], seen)
    found = {}
    for arm, each in said.items():
        right = (each == task.test[1]).astype(np.float64)
        found[arm] = {
            "squared distance": task.distances[np.searchsorted(task.labels, each), place] ** 2,
            "accuracy": right,
            "accuracy, unseen": np.where(new, right, np.nan),
        }
    return found


def _temperature(known: NDArray[Any], truth: NDArray[Any], classes: NDArray[Any]) -> float:
    """The one of the least log loss."""

    def loss(temperature: float) -> float:
        powers = known ** (1 / temperature)
        return float(log_loss(truth, powers / powers.sum(axis=1, keepdims=True), labels=classes))

    return min(TEMPERATURES, key=loss)


def _rows(task: Task, seen: str, found: list[Found]) -> Iterator[Row]:
    """Means over the seeds of each example, with an interval over the examples."""

    def means(arm: str, metric: str) -> NDArray[np.float64]:
        several = np.stack([one[arm][metric] for one in found])
        asked = np.isfinite(several)
        counts = asked.sum(axis=0)
        shares: NDArray[np.float64] = np.where(asked, several, 0).sum(axis=0)[counts > 0] / counts[counts > 0]
        return shares

    for metric in found[0][ARGMAX]:
        baseline, floor = (means(arm, metric) for arm in (ARGMAX, FLOOR))
        for arm in found[0]:
            values = means(arm, metric)
            if arm == FLOOR or not len(values):
                continue
            items = Items("test", "default", "mean", "text", tuple(map(str, range(len(values)))), {"score": values})
            interval = bootstrap_interval([items], resamples=2000 if len(values) > 1000 else 200)
            yield Row(
                method="FrechetClassifier",
                variant=arm,
                dataset=f"{task.dataset}, {seen}",
                metric=metric,
                value=interval.value,
                low=interval.low,
                high=interval.high,
                seeds=len(found),
                baseline=None if arm == ARGMAX else float(baseline.mean()),
                floor=float(floor.mean()),
            )


def _bins() -> Task:
    """Pairs of sentences by how alike people found them."""
    encoder, splits = ek.load(device="cpu"), []
    for split in ("train", "dev", "test"):
        first, second, scores = stsb(split)
        cosines = np.einsum("ij,ij->i", *(encoder.encode(part, normalize_embeddings=True) for part in (first, second)))
        words = [[set(text.lower().split()) for text in part] for part in (first, second)]
        shared = [len(one & two) / len(one | two) for one, two in zip(*words, strict=True)]
        splits.append((np.stack([cosines, shared], axis=1), np.rint(scores).astype(np.int64)))
    return _ordered(*splits)


def _ordered(train: Any, held: Any, test: Any) -> Task:
    metric = {"Loki": {"label_vectors": BINS[:, None]}}
    return Task("STS-B bins", BINS, np.abs(np.subtract.outer(BINS, BINS)), metric, train, held, test)


def _intents() -> Task:
    """Queries by what they ask for, in a tree of domains."""
    encoder, domains = ek.load(device="cpu"), clinc150_domains()
    labels = np.unique([intent for intents in domains.values() for intent in intents])
    train, test = clinc150("train"), clinc150("test")
    parts = []
    for split, part in ((train, slice(TRAIN)), (train, slice(-HELD, None)), (test, slice(-TEST, None))):
        texts, intents = (np.array(column) for column in split)
        rows = np.concatenate([np.flatnonzero(intents == each)[part] for each in labels])
        parts.append((encoder.encode(texts[rows].tolist()), intents[rows]))
    names = encoder.encode([label.replace("_", " ") for label in labels], normalize_embeddings=True)
    return _nested(labels, {intent: domain for domain, some in domains.items() for intent in some}, names, parts)


def _nested(labels: NDArray[Any], domain_of: dict[str, str], names: NDArray[Any], parts: list[Any]) -> Task:
    paths = tree_distances({**domain_of, **dict.fromkeys(domain_of.values(), "anything")}, labels.tolist())
    metrics = {"Loki, tree": {"distances": paths}, "Loki, names": {"label_vectors": names}}
    train, held, test = parts
    return Task("CLINC150", labels, paths, metrics, train, held, test, names)


def _drawn_bins() -> Task:
    draw = np.random.default_rng(0)
    truth = [draw.integers(6, size=size) for size in (300, 100, 100)]
    return _ordered(*((each[:, None] + draw.normal(size=(len(each), 2)), each) for each in truth))


def _drawn_intents() -> Task:
    draw = np.random.default_rng(0)
    labels, names = np.array([f"intent{number}" for number in range(8)]), draw.normal(size=(8, 16))
    truth = [np.repeat(np.arange(8), size) for size in (20, 10, 10)]
    parts = [(names[each] + draw.normal(size=(len(each), 16)), labels[each]) for each in truth]
    return _nested(labels, {label: f"domain{number % 2}" for number, label in enumerate(labels.tolist())}, names, parts)
