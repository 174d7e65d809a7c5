"""Do clusters of vectors agree with classes?"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_mutual_info_score, normalized_mutual_info_score

from embedkit.errors import InputError
from embedkit.ops.vectors import as_embeddings, as_labels, normalize


@dataclass(frozen=True)
class ClassClusters:
    """How far clusters and classes tell the same.

    Attributes:
        ami: Adjusted mutual information: 1 where they are the same, 0 on average where they have nothing in common.
        nmi: Normalised mutual information, 0 … 1, which grows with the number of clusters whatever they are.
    """

    ami: float
    nmi: float


def class_clusters(embeddings: Any, labels: ArrayLike, *, seed: int = 0) -> ClassClusters:
    """Cut vectors of length 1 into as many clusters as there are classes, by k-means, and compare the two.

    Args:
        embeddings: (n, dim).
        labels: (n,), integers.
        seed: Of the first centres, of which ten draws are tried.

    Returns:
        Both scores; read the adjusted one.

    Raises:
        InputError: A vector is not finite, labels are missing, or there are fewer than two classes.

    Example:
        >>> class_clusters([[1, 0], [0.9, 0.1], [0, 1], [0.1, 0.9]], [0, 0, 1, 1])
        ClassClusters(ami=1.0, nmi=1.0)

    Reference:
        N. X. Vinh, J. Epps, J. Bailey, "Information Theoretic Measures for Clusterings Comparison: Variants,
        Properties, Normalization and Correction for Chance", JMLR 2010.

    Deviations:
        None; k-means and scores are scikit-learn's.
    """
    vectors = normalize(as_embeddings(embeddings))
    classes = as_labels(labels, len(vectors))
    count = len(np.unique(classes))
    if count < 2:
        raise InputError(f"there must be two classes; received {len(vectors)} vectors of {count}")
    found = KMeans(count, n_init=10, random_state=seed).fit_predict(vectors)
    ami = float(adjusted_mutual_info_score(classes, found))
    return ClassClusters(ami, float(normalized_mutual_info_score(classes, found)))
