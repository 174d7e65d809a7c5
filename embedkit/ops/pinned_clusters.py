"""k-means of which some is known: rows that stay in their cluster, and centres that new ones begin away from."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

_ROUNDS = 300
_ROWS = 16384


@dataclass(frozen=True)
class PinnedClusters:
    """What `pinned_kmeans` found.

    Attributes:
        codes: The cluster of each row, (n,).
        centres: (clusters, dim), in float64.
        inertia: Sum of the squared distances of rows to their centre.
    """

    codes: NDArray[np.int64]
    centres: NDArray[np.float64]
    inertia: float


def pinned_kmeans(
    rows: NDArray[Any],
    count: int,
    draw: np.random.RandomState,
    *,
    pinned: NDArray[np.int64] | None = None,
    away_from: NDArray[Any] | None = None,
    num_init: int = 1,
) -> PinnedClusters:
    """The best of several k-means in which rows whose cluster is known never leave it.

    The centre of a cluster with pinned rows begins at their mean, the others by k-means++: at a row drawn with a
    probability in proportion to its squared distance from the nearest centre there is. Then rows go to the nearest
    centre, pinned ones excepted, and centres to the mean of all their rows, until nothing changes. A cluster that is
    left without a row gets the one farthest from its centre.

    Args:
        rows: (n, dim).
        count: Clusters.
        draw: Where the beginnings are drawn from.
        pinned: The cluster of each row, −1 where it is free, (n,); those that are named are 0 … as many as there are.
            None leaves all free.
        away_from: Centres that are no clusters here, but from which new ones begin away, (m, dim).
        num_init: As many beginnings are tried; that of the least inertia is kept.

    Returns:
        Its clusters.

    Example:
        >>> rows, pinned = np.array([[0.0], [1.0], [9.0], [4.0]]), np.array([0, -1, -1, 0])
        >>> found = pinned_kmeans(rows, 2, np.random.RandomState(0), pinned=pinned)
        >>> found.codes.tolist(), found.centres[1].tolist()
        ([0, 0, 1, 0], [9.0])
    """
    known = np.full(len(rows), -1) if pinned is None else pinned
    place = rows.mean(axis=0, dtype=np.float64)
    centred = (rows - place).astype(rows.dtype, copy=False)  # near 0 squared distances keep their digits
    fixed = class_centres(centred, known, int(known.max(initial=-1)) + 1)
    others = None if away_from is None else away_from - place
    seeded = partial(seeded_centres, centred[known < 0], count - len(fixed), fixed, draw, away_from=others)
    # Where no centre is drawn all beginnings are the same.
    tries = [
        _settled(centred, known, np.vstack([fixed, seeded()])) for _ in range(num_init if count > len(fixed) else 1)
    ]
    best = min(tries, key=lambda found: found.inertia)
    return replace(best, centres=best.centres + place)


def seeded_centres(
    rows: NDArray[Any],
    count: int,
    begun: NDArray[Any],
    draw: np.random.RandomState,
    *,
    away_from: NDArray[Any] | None = None,
) -> NDArray[np.float64]:
    """Rows for clusters to begin at, away from centres there are and from each other (k-means++).

    Each is the best of a few rows, drawn with a probability in proportion to the squared distance from the nearest
    centre so far: the one that leaves the least sum of squared distances from clusters. Centres of no cluster here
    count for the draw alone: a row that is near one has still to be in a cluster.

    Args:
        rows: (n, dim); at least one, unless `count` is 0.
        count: How many.
        begun: Centres of clusters there are, (m, dim); of none the first row is drawn evenly.
        draw: Where they are drawn from.
        away_from: Centres of no cluster here, (k, dim).

    Returns:
        (count, dim).

    Example:
        >>> seeded_centres(np.array([[0.0], [8.0]]), 1, np.array([[0.0]]), np.random.RandomState(0)).tolist()
        [[8.0]]

    Reference:
        D. Arthur, S. Vassilvitskii, "k-means++: The Advantages of Careful Seeding", SODA 2007, with the greedy choice
        that scikit-learn makes.
    """
    if not count:
        return np.empty((0, rows.shape[1]))
    chosen: list[int] = []
    own, other = _least(rows, begun), _least(rows, rows[:0] if away_from is None else away_from)
    for _ in range(count):
        nearest = np.minimum(own, other)
        weights = nearest if np.isfinite(nearest).all() and nearest.any() else np.ones(len(rows))
        some = draw.choice(len(rows), size=2 + int(np.log(count)), p=weights / weights.sum())
        left = np.minimum(_squared(rows[some], rows), own)
        best = int(left.sum(axis=1).argmin())
        chosen.append(int(some[best]))
        own = left[best]
    return rows[chosen].astype(np.float64)


def class_centres(
    rows: NDArray[Any], codes: NDArray[np.int64], count: int, *, empty: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Mean of the rows of each class, (count, dim).

    Args:
        rows: (n, dim).
        codes: The class of each row, −1 where it has none, (n,).
        count: Classes.
        empty: What stands for a class without a row, (count, dim); None for zeros.

    Example:
        >>> class_centres(np.array([[1.0], [3.0], [9.0]]), np.array([0, 0, -1]), 1).tolist()
        [[2.0]]
    """
    order = np.argsort(codes, kind="stable")[np.count_nonzero(codes < 0) :]
    found, starts, sizes = np.unique(codes[order], return_index=True, return_counts=True)
    means = np.zeros((count, rows.shape[1])) if empty is None else empty.copy()
    if len(found):
        means[found] = np.add.reduceat(rows[order], starts, axis=0, dtype=np.float64) / sizes[:, None]
    return means


def _settled(rows: NDArray[Any], known: NDArray[np.int64], centres: NDArray[np.float64]) -> PinnedClusters:
    free = known < 0
    codes, distances = _nearest(rows, known, centres)
    for _ in range(_ROUNDS):
        _fill(codes, np.where(free, distances, 0), len(centres))
        centres = class_centres(rows, codes, len(centres), empty=centres)
        before = codes
        codes, distances = _nearest(rows, known, centres)
        if np.array_equal(codes, before):
            break
    return PinnedClusters(codes, centres, float(distances.sum()))


def _nearest(
    rows: NDArray[Any], known: NDArray[np.int64], centres: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The cluster of each row, and its squared distance from there."""
    codes, distances = known.copy(), np.empty(len(rows))
    for part in _parts(len(rows)):
        squared = _squared(rows[part], centres)
        codes[part] = np.where(known[part] < 0, squared.argmin(axis=1), known[part])
        distances[part] = squared[np.arange(len(squared)), codes[part]]
    return codes, distances


def _fill(codes: NDArray[np.int64], distances: NDArray[np.float64], count: int) -> None:
    """Give each cluster without a row the farthest row of another, which must not be left empty by that."""
    sizes = np.bincount(codes, minlength=count)
    farthest = iter(np.argsort(-distances, kind="stable"))
    for cluster in np.flatnonzero(sizes == 0):
        row = next((row for row in farthest if sizes[codes[row]] > 1 and distances[row] > 0), None)
        if row is None:
            return
        sizes[codes[row]] -= 1
        codes[row] = cluster
        sizes[cluster] = 1


def _least(rows: NDArray[Any], centres: NDArray[Any]) -> NDArray[Any]:
    """Squared distance of each row from the nearest centre; infinite without one."""
    if not len(centres):
        return np.full(len(rows), np.inf)
    return np.concatenate([_squared(rows[part], centres).min(axis=1) for part in _parts(len(rows))])


def _parts(count: int) -> list[slice]:
    """Rows by as many as fit in memory beside each other; scikit-learn's way checks more than this computes."""
    return [slice(start, start + _ROWS) for start in range(0, count, _ROWS)]


def _squared(rows: NDArray[Any], others: NDArray[Any]) -> NDArray[Any]:
    near = others.astype(rows.dtype, copy=False)
    squares = np.einsum("ij,ij->i", rows, rows)[:, None] + np.einsum("ij,ij->i", near, near)
    found: NDArray[Any] = np.maximum(squares - 2 * (rows @ near.T), 0)
    return found
