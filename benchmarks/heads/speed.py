"""Heads: are they as fast as scikit-learn's nearest equivalents, and how much memory do a million vectors take?

15,000 vectors of 384 numbers in 150 classes, `fit` and `predict`, turn by turn in one process: prototypes beside
`NearestCentroid` on rows of length 1, the Gaussian head beside `LinearDiscriminantAnalysis(solver="lsqr")` at the same
shrinkage, random features beside `RidgeClassifier` on the same number of them, subspaces beside `TruncatedSVD` of each
class, and prototypes beside `LogisticRegression`, which people reach for first. Fitting ends when one row is predicted.

Then a million vectors (100,000 for random features) of 10,000 classes come by `partial_fit`, 10,000 at a time, some of
2,000 classes, for subspaces all of 100; the last part is asked. Told are the seconds of `partial_fit` and the most
memory that was held beside one part, by Python's own account of allocations, in which numpy takes part; baseline: all
the vectors in one matrix. All of it runs on one core: threads that wait for each other on a busy machine measure that.
"""

import tracemalloc
from collections.abc import Iterator
from functools import partial
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.decomposition import TruncatedSVD
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, Normalizer
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types

from benchmarks.peer import ratio_row, seconds, speed_ratios
from benchmarks.results import Row
from embedkit.heads import GaussianClassifier, PrototypeClassifier, RandomFeatureClassifier, SubspaceClassifier

ROWS, DIM, CLASSES, TURNS = 15_000, 384, 150, 7
FEATURES, COMPONENTS, SHRINKAGE = 2000, 8, 0.1
MANY, FEWER, MANY_CLASSES, CHUNK = 1_000_000, 100_000, 10_000, 10_000


class TruncatedSVDs(BaseEstimator):  # type: ignore[misc]  # sklearn is untyped
    """A subspace of each class as scikit-learn's parts make it."""

    def fit(self, rows: NDArray[Any], labels: NDArray[Any]) -> Self:
        """One decomposition a class."""
        self.classes_ = np.unique(labels)
        self.parts_ = [TruncatedSVD(COMPONENTS, algorithm="arpack").fit(rows[labels == each]) for each in self.classes_]
        return self

    def predict(self, rows: NDArray[Any]) -> NDArray[Any]:
        """The class that keeps most of each row's length."""
        lengths = [np.linalg.norm(part.transform(rows), axis=1) for part in self.parts_]
        return np.asarray(self.classes_[np.argmax(lengths, axis=0)])


def _ridge(features: int) -> Any:
    weights = np.random.default_rng(0).normal(size=(DIM, features)).astype(np.float32)
    return make_pipeline(FunctionTransformer(lambda rows: np.maximum(rows @ weights, 0)), RidgeClassifier(alpha=100.0))


def pairs(features: int) -> dict[tuple[str, str], tuple[Any, Any]]:
    """Ours and theirs, by our name and what theirs is."""
    return {
        ("PrototypeClassifier", "NearestCentroid"): (
            PrototypeClassifier(),
            make_pipeline(Normalizer(), NearestCentroid()),
        ),
        ("GaussianClassifier", "LinearDiscriminantAnalysis"): (
            GaussianClassifier(shrinkage=SHRINKAGE),
            LinearDiscriminantAnalysis(solver="lsqr", shrinkage=SHRINKAGE),
        ),
        ("RandomFeatureClassifier", "RidgeClassifier on random features"): (
            RandomFeatureClassifier(num_features=features, alpha=0.1),
            _ridge(features),
        ),
        ("SubspaceClassifier", "TruncatedSVD of each class"): (SubspaceClassifier(), TruncatedSVDs()),
        ("PrototypeClassifier", "LogisticRegression"): (PrototypeClassifier(), LogisticRegression()),
    }


def run(smoke: bool) -> Iterator[Row]:
    """Ratios of times, above 1 ours is faster; then seconds and megabytes of a long stream; all on one core."""
    with threadpool_limits(1):
        yield from ratios(smoke)
        yield from streams(smoke)


def ratios(smoke: bool) -> Iterator[Row]:
    """Each head beside its equivalent, turn by turn."""
    vectors, labels = _drawn(*((300, 15) if smoke else (ROWS, CLASSES)), seed=0)
    for (method, peer), heads in pairs(50 if smoke else FEATURES).items():
        turns = 2 if smoke else 3 if peer == "LogisticRegression" else TURNS
        for name, call in {"fit": _fit, "predict": _predict}.items():
            ours, theirs = (partial(call, head, vectors, labels) for head in heads)
            yield ratio_row(
                speed_ratios(ours, theirs, turns),
                turns,
                method=method,
                variant=f"baseline: {peer}",
                dataset=f"{len(vectors)} x {DIM}, {len(np.unique(labels))} classes",
                metric=f"times faster, {name}",
            )


def streams(smoke: bool) -> Iterator[Row]:
    """A long stream for each head."""
    heads = {
        PrototypeClassifier(): MANY,
        GaussianClassifier(): MANY,
        SubspaceClassifier(): MANY,
        RandomFeatureClassifier(num_features=50 if smoke else FEATURES): FEWER,
    }
    for head, rows in heads.items():
        yield from streamed(head, rows // 1000 if smoke else rows, MANY_CLASSES // 1000 if smoke else MANY_CLASSES)


def _fit(head: Any, vectors: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
    """Until it can predict: some heads solve for their weights when they are first asked."""
    head.fit(vectors, labels).predict(vectors[:1])


def _predict(head: Any, vectors: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
    del labels
    head.predict(vectors)


def streamed(head: Any, rows: int, classes: int) -> Iterator[Row]:
    """Seconds of `partial_fit` on one chunk after the other, and the most memory, that of `predict` included."""
    count = min(CHUNK, rows // 10)
    # Subspaces want all rows of a class at once; to the others classes come again.
    at_once = classes * count // rows if isinstance(head, SubspaceClassifier) else classes // 5
    spent = most = 0.0
    tracemalloc.start()
    for number in range(rows // count):
        vectors, labels = _drawn(count, at_once, seed=number)
        labels = (labels + number * at_once) % classes
        tracemalloc.reset_peak()
        spent += seconds(partial(head.partial_fit, vectors, labels))
        if number == rows // count - 1:
            head.predict(vectors)
        most = max(most, (tracemalloc.get_traced_memory()[1] - vectors.nbytes - labels.nbytes) / 1e6)
    tracemalloc.stop()
    said: dict[str, Any] = {"method": type(head).__name__, "dataset": f"{rows} x {DIM}, {classes} classes in parts"}
    yield Row(metric="seconds of partial_fit", value=round(spent, 1), **said)
    yield Row(metric="most MB", value=round(most, 1), baseline=rows * DIM * 4 / 1e6, **said)


def _drawn(rows: int, classes: int, *, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Vectors around means, of length 1; each class comes as often as any."""
    draw = np.random.default_rng(seed)
    labels = draw.permutation(np.arange(rows) % classes)
    vectors = draw.standard_normal((rows, DIM), dtype=np.float32)
    vectors += draw.standard_normal((classes, DIM), dtype=np.float32)[labels]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors, labels
