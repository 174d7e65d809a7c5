"""Do clusters and neighbourhoods of vectors agree with classes?"""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_mutual_info_score, normalized_mutual_info_score

from embedkit.errors import InputError
from embedkit.losses.arguments import whole
from embedkit.ops.neighborhoods import Neighborhoods, icnn, neighborhoods
from embedkit.ops.similarity import euclidean_distance
from embedkit.ops.vectors import as_embeddings, as_labels, normalize

_ROWS = 512


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


def icnn_score(embeddings: Any, labels: ArrayLike, *, k: int = 5) -> float:
    """How well the k nearest others of each vector tell the classes apart (ICNN): half purity, half distances.

        score = ((tight + apart) / 2 + pure) / 2

    with `pure` the share of neighbours that are of the vector's class; `tight` 1 less their mean distance, as a share
    of the distance to the nearest vector of another class or, if that is more, to the farthest of the k; and `apart`
    the mean distance of the neighbours that are of other classes, as a share of the largest. Distances are Euclidean,
    of vectors as they are; scale and place do not matter.

    Args:
        embeddings: (n, dim).
        labels: (n,), integers.
        k: Neighbours that are looked at, fewer than vectors.

    Returns:
        0 … 1.

    Raises:
        InputError: A vector is not finite, labels are missing, or there are not more vectors than k.

    Example:
        >>> round(icnn_score([[0], [1], [4], [5]], [0, 0, 1, 1], k=1), 4)  # pure 1, tight 1 - (1/4 + 1/3) / 2, apart 1
        0.9271

    Reference:
        M. Méndez-Ruiz et al., "SuSana Distancia is all you need: Enforcing class separability in metric learning via
        two novel distance-based loss functions for few-shot image classification", arXiv 2305.09062, 2023.

    Deviations:
        Those of `ICNNLoss`, of which this is the score.
    """
    vectors = torch.from_numpy(as_embeddings(embeddings))
    classes = torch.from_numpy(as_labels(labels, len(vectors)))
    if whole("k", k) >= len(vectors):
        raise InputError(f"k must be below the number of vectors; received {k} and {len(vectors)}")
    parts: list[Neighborhoods] = []
    for start in range(0, len(vectors), _ROWS):
        rows = torch.arange(start, min(start + _ROWS, len(vectors)))
        same = classes[rows][:, None] == classes[None, :]
        others = ~same
        same[torch.arange(len(rows)), rows] = False
        parts.append(neighborhoods(euclidean_distance(vectors[rows], vectors), same, others, k))
    joined = (torch.cat([getattr(part, field.name) for part in parts]) for field in fields(Neighborhoods))
    return float(icnn(Neighborhoods(*joined)))
