"""Clusters of equal size."""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import euclidean_distances

from embedkit.errors import InputError
from embedkit.ops.vectors import as_embeddings

_ROUNDS = 10


def balanced_clusters(embeddings: Any, count: int, *, seed: int = 0) -> NDArray[np.int64]:
    """Cut vectors into clusters whose sizes differ by 1 at most.

    Beginning with k-means, vectors go to the nearest centre that has room, first those to whom it matters most, and
    centres move to the means, until nothing changes or ten times.

    Args:
        embeddings: (n, dim).
        count: Clusters, 1 … n.
        seed: Of k-means.

    Returns:
        The cluster of each vector, 0 … count − 1, (n,).

    Raises:
        InputError: The vectors are not finite, or not as many as clusters.

    Example:
        >>> balanced_clusters([[0.0], [1.0], [2.0], [9.0]], 2).tolist() in ([0, 0, 1, 1], [1, 1, 0, 0])
        True
    """
    vectors = as_embeddings(embeddings)
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= len(vectors):
        raise InputError(f"count must be 1 … {len(vectors)}, the number of vectors; received {count!r}")
    if count == 1:
        return np.zeros(len(vectors), np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different vectors than clusters
        centres = KMeans(count, n_init=1, random_state=seed).fit(vectors).cluster_centers_
    members = _with_room(vectors, centres)
    for _ in range(_ROUNDS):
        centres = np.stack([vectors[members == cluster].mean(axis=0) for cluster in range(count)])
        moved = _with_room(vectors, centres)
        if np.array_equal(moved, members):
            break
        members = moved
    return members


def _with_room(vectors: NDArray[Any], centres: NDArray[Any]) -> NDArray[np.int64]:
    """⌊n / count⌋ for each centre, and one more for as many as are left."""
    room, larger = divmod(len(vectors), len(centres))
    distances = euclidean_distances(vectors, centres, squared=True)
    gains = distances - distances.mean(axis=1, keepdims=True)
    members, sizes = np.full(len(vectors), -1), np.zeros(len(centres), np.int64)
    for pair in np.argsort(gains, axis=None, kind="stable").tolist():
        row, centre = divmod(pair, len(centres))
        if members[row] >= 0 or sizes[centre] > room or (sizes[centre] == room and not larger):
            continue
        larger -= sizes[centre] == room
        members[row] = centre
        sizes[centre] += 1
    return members
