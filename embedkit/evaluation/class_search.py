"""Search among labelled vectors: does each find the others of its class?"""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embedkit.errors import InputError
from embedkit.evaluation.items import Items
from embedkit.evaluation.pair_search import ROUNDING
from embedkit.ops.vectors import as_embeddings, as_labels, normalize

METRICS = ("MAP@R", "R-precision", "recall@1", "recall@10")
_METRIC = re.compile(r"MAP@R|R-precision|recall@[1-9]\d*")
_ROWS = 512


@dataclass(frozen=True, eq=False)
class ClassSearch:
    """Where each vector found the others of its class among all others.

    Attributes:
        rows: Which vectors asked: those whose class has another, (queries,).
        ranks: For each, from 1 and rising, the ranks of all others of its class.
        pool: How many others there were.
    """

    rows: NDArray[np.int64]
    ranks: tuple[NDArray[np.int64], ...]
    pool: int

    def values(self, metric: str) -> NDArray[np.float64]:
        """The metric of each query, (queries,); its mean is the score.

        Args:
            metric: With R others of the query's class: "R-precision" is the share of them among the first R;
                "MAP@R" the mean over the first R ranks of the precision there, where the rank is one of the class, and
                0 where it is not; "recall@1" is 1 where the first is of the class; any other depth may stand for 1.

        Raises:
            InputError: There is no such metric.
        """
        if not isinstance(metric, str) or not _METRIC.fullmatch(metric):
            message = f"metric must be such as {', '.join(METRICS)}; received {metric!r}"
            raise InputError(message)
        if metric.startswith("recall@"):
            return np.array([float(ranks[0] <= int(metric.partition("@")[2])) for ranks in self.ranks])
        if metric == "R-precision":
            return np.array([(ranks <= len(ranks)).mean() for ranks in self.ranks])
        return np.array([_average_precision(ranks) for ranks in self.ranks])

    def score(self, metric: str) -> float:
        """Mean of the metric over all queries, 0 … 1.

        Raises:
            InputError: There is no such metric.
        """
        return float(self.values(metric).mean())

    def items(self, metric: str) -> Items:
        """The metric of each query, for the intervals and tests of `embedkit.evaluation.statistics`.

        Raises:
            InputError: There is no such metric.
        """
        ids = tuple(map(str, self.rows))
        return Items("test", "default", "mean", "query", ids, {"score": self.values(metric)})


def class_search(embeddings: Any, labels: ArrayLike) -> ClassSearch:
    """Let each vector look, by cosine, for the others of its class among all other vectors.

    What metric learning is judged by, on classes it learnt from and, apart from them, on classes it did not see. Others
    of another class that score as high, within `ROUNDING`, count as before: vectors that say nothing find nothing.
    Vectors alone in their class are found by nobody and do not ask.

    Args:
        embeddings: (n, dim).
        labels: (n,), integers.

    Returns:
        Ranks of the others of its class for each vector.

    Raises:
        InputError: A vector is not finite, labels are missing, or no class has two vectors.

    Example:
        >>> found = class_search([[1, 0], [0.9, 0.1], [0, 1], [0.8, 0.4]], [0, 0, 1, 1])
        >>> found.score("recall@1"), found.score("MAP@R")
        (0.75, 0.75)

    Reference:
        K. Musgrave, S. Belongie, S.-N. Lim, "A Metric Learning Reality Check", ECCV 2020, Eq. 1 and 2 (MAP@R).

    Deviations:
        None.
    """
    vectors = normalize(as_embeddings(embeddings))
    classes = as_labels(labels, len(vectors))
    _, codes, counts = np.unique(classes, return_inverse=True, return_counts=True)
    rows = np.flatnonzero(counts[codes] > 1)
    if not len(rows):
        raise InputError(f"a class must have two vectors; received {len(vectors)}, each alone in its class")
    ranks: list[NDArray[np.int64]] = []
    for start in range(0, len(rows), _ROWS):
        asking = rows[start : start + _ROWS]
        scores = vectors[asking] @ vectors.T
        right = codes[asking][:, None] == codes[None, :]
        scores[right] -= ROUNDING
        scores[np.arange(len(asking)), asking] = -np.inf
        order = np.argsort(-scores, axis=1, kind="stable")[:, :-1]
        hits = np.take_along_axis(right, order, axis=1)
        ranks += [1 + np.flatnonzero(each) for each in hits]
    return ClassSearch(rows, tuple(ranks), len(vectors) - 1)


def _average_precision(ranks: NDArray[np.int64]) -> float:
    """Over the first R ranks, R being how many there are to find."""
    within = ranks[ranks <= len(ranks)]
    return float((np.arange(1, len(within) + 1) / within).sum() / len(ranks))
