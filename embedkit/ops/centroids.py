"""Means of vectors that belong together."""

from typing import Any

import numpy as np
from sklearn.utils import gen_batches

from embedkit.errors import InputError
from embedkit.ops.vectors import as_embeddings, normalize
from embedkit.types import Embeddings

_ROWS = 16384


def nearest_centroids(
    prototypes: Any, embeddings: Any, *, max_num_docs: int | None = 20, min_similarity: float = -1.0
) -> Embeddings:
    """Move each prototype to the mean of the vectors nearest to it (the label vectors of Lbl2TransformerVec).

        nearest_j = the max_num_docs vectors with the largest cos(embedding, prototype_j) > min_similarity
        centroid_j = mean of nearest_j, or the one most similar vector where none is above

    Args:
        prototypes: Where each label starts, such as the mean vector of its keywords, (labels, dim).
        embeddings: Vectors of unlabelled documents, (n, dim), at least one.
        max_num_docs: The most vectors of a mean; None takes all above the threshold.
        min_similarity: Cosine that a vector must exceed.

    Returns:
        (labels, dim).

    Raises:
        InputError: No vectors, another width, or max_num_docs below 1.

    Example:
        >>> nearest_centroids([[1, 0]], [[2, 0], [0, 4], [2, 2]], max_num_docs=2).tolist()
        [[2.0, 1.0]]

    Reference:
        T. Schopf, D. Braun, F. Matthes, "Evaluating Unsupervised Text Classification: Zero-shot and Similarity-based
        Approaches", NLPIR 2022, Section 3.1; and its code, Lbl2TransformerVec.

    Deviations:
        The authors' code looks only at the first max_num_docs documents of the collection; here these are the nearest.
        No outliers are removed, and documents are not split into chunks.
    """
    starts = as_embeddings(prototypes, what="prototypes")
    vectors = as_embeddings(embeddings, dim=starts.shape[1])
    if not len(vectors) or (max_num_docs is not None and (isinstance(max_num_docs, bool) or max_num_docs < 1)):
        message = f"it takes at least one vector and max_num_docs >= 1; received {len(vectors)} and {max_num_docs!r}"
        raise InputError(message)
    similarities = normalize(starts) @ normalize(vectors).T
    nearest = np.argsort(-similarities, axis=1, kind="stable")[:, :max_num_docs]
    centroids = np.empty_like(starts)
    for label, rows in enumerate(nearest):
        above = rows[similarities[label, rows] > min_similarity]
        centroids[label] = vectors[above if len(above) else rows[:1]].mean(axis=0)
    return centroids


def spherical_centroids(prototypes: Any, embeddings: Any, *, max_rounds: int = 100) -> Embeddings:
    """Move each prototype to where the vectors nearest to it point, until they stay: k-means by cosine, from there.

        members_j = the vectors whose largest cosine is that with centroid_j
        centroid_j ← norm( mean of norm(v) over v in members_j ), or as it is where there are none

    Args:
        prototypes: Where each cluster starts, (clusters, dim).
        embeddings: (n, dim), at least one.
        max_rounds: When to stop at the latest, at least 1.

    Returns:
        (clusters, dim), each of length 1.

    Raises:
        InputError: No vectors, another width, or max_rounds below 1.

    Example:
        >>> spherical_centroids([[2, 1], [0, 1]], [[3, 0], [1, 0], [0, 2]]).tolist()
        [[1.0, 0.0], [0.0, 1.0]]

    Reference:
        I. S. Dhillon, D. S. Modha, "Concept Decompositions for Large Sparse Text Data Using Clustering",
        Machine Learning 42, 2001.

    Deviations:
        Stops when no vector changes its cluster.
    """
    starts = as_embeddings(prototypes, what="prototypes")
    vectors = normalize(as_embeddings(embeddings, dim=starts.shape[1]))
    if not len(vectors) or isinstance(max_rounds, bool) or max_rounds < 1:
        raise InputError(
            f"it takes at least one vector and max_rounds >= 1; received {len(vectors)} and {max_rounds!r}"
        )
    centroids, members = normalize(starts), np.full(len(vectors), -1)
    for _ in range(max_rounds):
        parts = [(vectors[part] @ centroids.T).argmax(axis=1) for part in gen_batches(len(vectors), _ROWS)]
        if np.array_equal(moved := np.concatenate(parts), members):
            break
        members = moved
        for cluster in np.unique(members):
            total = vectors[members == cluster].sum(axis=0, dtype=np.float64)
            if total.any():
                centroids[cluster] = total / np.linalg.norm(total)
    return centroids
