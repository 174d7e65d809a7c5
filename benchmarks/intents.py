"""Intents as vectors of all-MiniLM-L6-v2, and draws of a few rows of each class: what heads are compared on."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.data import banking77, clinc150

CLINC, BANKING = "CLINC150, MiniLM", "Banking77, MiniLM"
_SMOKE_CLASSES, _SMOKE_ROWS, _SMOKE_DIM = 12, 12, 16


@dataclass(frozen=True, eq=False)
class Split:
    """Inputs with their classes.

    Attributes:
        texts: The inputs; none where vectors were drawn for a smoke run.
        vectors: (n, dim), of length 1.
        labels: 0 … classes − 1, (n,).
    """

    texts: NDArray[Any]
    vectors: NDArray[np.float32]
    labels: NDArray[np.int64]

    def of(self, classes: Iterable[int]) -> "Split":
        """Those of some classes, in their order here."""
        return self.at(np.flatnonzero(np.isin(self.labels, list(classes))))

    def at(self, rows: NDArray[np.int64]) -> "Split":
        """Those at some rows."""
        return Split(self.texts[rows] if len(self.texts) else self.texts, self.vectors[rows], self.labels[rows])

    def some(self, per_class: int, draw: np.random.Generator) -> "Split":
        """As many of each class, class by class; all of a class that has fewer."""
        orders = [draw.permutation(np.flatnonzero(self.labels == each)) for each in np.unique(self.labels)]
        return self.at(np.concatenate([order[:per_class] for order in orders]))


@dataclass(frozen=True)
class Intents:
    """What is learnt from, and what is asked."""

    train: Split
    test: Split

    @property
    def num_classes(self) -> int:
        """How many there are."""
        return int(self.train.labels.max()) + 1

    def drawn(self, shown: int, asked: int, seed: int) -> "Intents":
        """So many rows of each class that are learnt from, and so many that are asked."""
        draw = np.random.default_rng(seed)
        return Intents(self.train.some(shown, draw), self.test.some(asked, draw))

    def of(self, classes: Iterable[int]) -> "Intents":
        """Those of some classes."""
        kept = list(classes)
        return Intents(self.train.of(kept), self.test.of(kept))

    @property
    def task(self) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
        """As `evaluate_incremental` takes it."""
        return self.train.vectors, self.train.labels, self.test.vectors, self.test.labels


@cache
def intents(name: str, smoke: bool) -> Intents:
    """All of one data set, each text encoded once; for a smoke run random vectors around random means.

    Raises:
        DataMissing: The data set is not there.
    """
    if smoke:
        draw = np.random.default_rng(0)
        means = draw.normal(size=(_SMOKE_CLASSES, _SMOKE_DIM))
        return Intents(_around(means, draw), _around(means, draw))
    import embedkit as ek

    read = {CLINC: clinc150, BANKING: banking77}[name]
    encoder = ek.load(device="cpu")
    splits, codes = [], {label: code for code, label in enumerate(sorted(set(read("train")[1])))}
    for texts, labels in (read("train"), read("test")):
        coded = np.array([codes[label] for label in labels])
        splits.append(Split(np.array(texts, dtype=object), encoder.encode(texts), coded))
    return Intents(*splits)


def _around(means: NDArray[np.float64], draw: np.random.Generator) -> Split:
    labels = np.repeat(np.arange(len(means)), _SMOKE_ROWS)
    vectors = means[labels] + draw.normal(size=(len(labels), means.shape[1]))
    return Split(np.empty(0, object), (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype("f4"), labels)
