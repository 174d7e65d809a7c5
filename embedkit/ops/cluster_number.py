"""Into how many clusters rows fall, and how sure that is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import euclidean_distances, silhouette_samples

_ROWS, _DRAWS, _TAILS = 2000, 500, (0.05, 0.95)


@dataclass(frozen=True)
class ClusterNumber:
    """Which of several partitions separates rows best.

    Attributes:
        best: Its number.
        low: The number that 5 % of the draws of clusters stay below.
        high: The number that 5 % of them exceed.
        scores: Mean silhouette by number.
    """

    best: int
    low: int
    high: int
    scores: dict[int, float]


def cluster_number(
    rows: NDArray[Any],
    partitions: Mapping[int, NDArray[np.int64]],
    draw: np.random.RandomState,
    *,
    counted: NDArray[np.bool_] | None = None,
) -> ClusterNumber:
    """The number of the largest mean silhouette, and a range.

        silhouette_i = (b_i − a_i) / max(a_i, b_i)

    with a the mean distance to the other rows of its cluster, and b the least mean distance to those of another one; 0
    in a cluster of one row. The range is that of the numbers that would win had other classes been met: the clusters of
    the best partition are drawn anew, with replacement, and their rows with them. Rows drawn one by one would give a
    range much too narrow, as those of a class go together.

    Args:
        rows: (n, dim); of more than 2,000 so many are drawn, so that distances fit in memory.
        partitions: By number, the cluster of each row, (n,).
        draw: Where rows and clusters are drawn from.
        counted: Which rows a mean is of, (n,); None for all.

    Returns:
        The number, the range, and all scores.

    Example:
        >>> partitions = {2: np.array([0, 0, 1, 1]), 3: np.array([0, 0, 1, 2])}
        >>> found = cluster_number(np.array([[0.0], [1.0], [8.0], [9.0]]), partitions, np.random.RandomState(0))
        >>> found.best, found.low, found.high
        (2, 2, 2)

    Reference:
        P. J. Rousseeuw, "Silhouettes: a graphical aid to the interpretation and validation of cluster analysis",
        Journal of Computational and Applied Mathematics 20, 1987.
    """
    some = np.arange(len(rows)) if len(rows) <= _ROWS else draw.choice(len(rows), _ROWS, replace=False)
    inside = np.ones(len(some), dtype=bool) if counted is None else counted[some]
    distances = euclidean_distances(rows[some])
    np.fill_diagonal(distances, 0)  # rounding leaves a little there
    scores = np.stack([_silhouettes(distances, codes[some])[inside] for codes in partitions.values()])
    numbers = np.array(list(partitions))
    means = scores.mean(axis=1)
    best = int(numbers[means.argmax()])
    clusters, codes, sizes = np.unique(partitions[best][some][inside], return_inverse=True, return_counts=True)
    sums = np.stack([scores[:, codes == cluster].sum(axis=1) for cluster in range(len(clusters))])
    drawn = draw.randint(len(clusters), size=(_DRAWS, len(clusters)))
    winners = numbers[(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1, keepdims=True)).argmax(axis=1)]
    low, high = np.quantile([*winners, best], _TAILS, method="nearest")
    by_number = dict(zip(partitions, means.tolist(), strict=True))
    return ClusterNumber(best, min(int(low), best), max(int(high), best), by_number)


def _silhouettes(distances: NDArray[Any], codes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Of each row; 0 where rows are in one cluster, or each in its own."""
    if not 1 < len(np.unique(codes)) < len(codes):
        return np.zeros(len(codes))
    return np.asarray(silhouette_samples(distances, codes, metric="precomputed"), dtype=np.float64)
