"""Search among labelled vectors: does each find the others of its class?"""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embedkit.errors import InputError
from embedkit.evaluation.items import Items
from embedkit.evaluation.pair_search import ROUNDING
from embedkit.index.faiss_index import FaissIndex
from embedkit.ops.vectors import as_embeddings, as_labels, normalize

METRICS = ("MAP@R", "R-precision", "recall@1", "recall@10")
_METRIC = re.compile(r"MAP@R|R-precision|recall@[1-9]\d*")
_ROWS, _MORE = 512, 100


@dataclass(frozen=True, eq=False)
class ClassSearch:
    """Where each vector found the others of its class among all others.

    Attributes:
        rows: Which vectors asked: those whose class has another, (queries,).
        ranks: For each, from 1 and rising, the ranks of the others of its class that are among the nearest `depth`.
        counts: For each, how many others of its class there are, (queries,).
        depth: How many of the nearest were looked at; more than the largest class has.
        pool: How many others there were.
    """

    rows: NDArray[np.int64]
    ranks: tuple[NDArray[np.int64], ...]
    counts: NDArray[np.int64]
    depth: int
    pool: int

    def values(self, metric: str) -> NDArray[np.float64]:
        """The metric of each query, (queries,); its mean is the score.

        Args:
            metric: With R others of the query's class: "R-precision" is the share of them among the first R;
                "MAP@R" the mean over the first R ranks of the precision there, where the rank is one of the class, and
                0 where it is not; "recall@1" is 1 where the first is of the class; any other depth may stand for 1.

        Raises:
            InputError: There is no such metric, or it looks deeper than `depth`.
        """
        if not isinstance(metric, str) or not _METRIC.fullmatch(metric):
            message = f"metric must be such as {', '.join(METRICS)}; received {metric!r}"
            raise InputError(message)
        if metric.startswith("recall@"):
            within = int(metric.partition("@")[2])
            if self.depth < min(within, self.pool):
                raise InputError(f"metric must look at the nearest {self.depth} at most; received {metric}")
            return np.array([float(bool((ranks <= within).any())) for ranks in self.ranks])
        score = _r_precision if metric == "R-precision" else _average_precision
        return np.array([score(ranks, count) for ranks, count in zip(self.ranks, self.counts.tolist(), strict=True)])

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
    Vectors alone in their class are found by nobody and do not ask. The search is an exact one of `FaissIndex`, and
    looks at twice as many as the largest class has, and 100.

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
    reach = min(len(vectors), 2 * int(counts.max()) + _MORE)
    index = FaissIndex(metric="inner_product", kind="flat")
    index.add(np.arange(len(vectors)), vectors)
    ranks: list[NDArray[np.int64]] = []
    for start in range(0, len(rows), _ROWS):
        asking = rows[start : start + _ROWS]
        scores, ids = index.search(vectors[asking], reach)
        found = ids.astype(np.int64)
        # What was not looked at may score as high as the last that was.
        last = scores[:, -1:].copy() if reach < len(vectors) else -np.inf
        right = codes[asking][:, None] == codes[found]
        scores[right] -= ROUNDING
        right &= scores > last
        itself = found == asking[:, None]
        right[itself], scores[itself] = False, -np.inf
        order = np.argsort(-scores, axis=1, kind="stable")
        ranks += [1 + np.flatnonzero(each) for each in np.take_along_axis(right, order, axis=1)]
    return ClassSearch(rows, tuple(ranks), counts[codes[rows]] - 1, reach - 1, len(vectors) - 1)


def _r_precision(ranks: NDArray[np.int64], count: int) -> float:
    """Over the first `count` ranks, that being how many there are to find."""
    return float((ranks <= count).sum() / count)


def _average_precision(ranks: NDArray[np.int64], count: int) -> float:
    """Over the first `count` ranks."""
    within = ranks[ranks <= count]
    return float((np.arange(1, len(within) + 1) / within).sum() / count)
