"""Means of vectors that belong together."""

from typing import Any

import numpy as np

from embedkit.errors import InputError
from embedkit.ops.vectors import as_embeddings, normalize
from embedkit.types import Embeddings


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
