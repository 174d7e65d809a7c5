"""How many rows lie in the cluster of their class, when clusters have no names."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment
from sklearn.metrics.cluster import contingency_matrix

from embedkit.errors import InputError


def cluster_hits(labels: ArrayLike, clusters: ArrayLike) -> NDArray[np.bool_]:
    """Whether each row lies in the cluster that stands for its class, (n,); their mean is `cluster_accuracy`.

    Args:
        labels: The class of each row, (n,), integers or texts.
        clusters: The cluster of each row, (n,), integers or texts.

    Raises:
        InputError: There is not one of each for each row, or there is no row.

    Example:
        >>> cluster_hits(["a", "a", "b", "b"], [7, 7, 7, 3]).tolist()
        [True, True, False, True]
    """
    given, found = _column(labels), _column(clusters)
    if not len(given) or len(given) != len(found):
        raise InputError(f"labels and clusters must be one each for a row; received {len(given)} and {len(found)}")
    classes, codes = np.unique(given, return_inverse=True)
    groups, places = np.unique(found, return_inverse=True)
    rows, columns = linear_sum_assignment(contingency_matrix(codes, places), maximize=True)
    group_of = np.full(len(classes), len(groups))  # where there are fewer clusters some classes have none
    group_of[rows] = columns
    hits: NDArray[np.bool_] = group_of[codes] == places
    return hits


def cluster_accuracy(labels: ArrayLike, clusters: ArrayLike) -> float:
    """Share of the rows that lie in the cluster of their class, under the best one-to-one match of the two.

        accuracy = max over matches m of mean_i [ m(clusters_i) = labels_i ]

    The match is the one that gives most hits (the Hungarian method); where there are more clusters than classes, or
    fewer, those without a partner are wrong.

    Args:
        labels: The class of each row, (n,), integers or texts.
        clusters: The cluster of each row, (n,), integers or texts.

    Returns:
        Above 0, 1 where they are the same but for names. What random clusters reach depends on their number and sizes.

    Raises:
        InputError: There is not one of each for each row, or there is no row.

    Example:
        >>> cluster_accuracy(["a", "a", "b", "b"], [7, 7, 7, 3])
        0.75

    Reference:
        H. W. Kuhn, "The Hungarian Method for the Assignment Problem", Naval Research Logistics Quarterly 2, 1955.

    Deviations:
        None.
    """
    return float(cluster_hits(labels, clusters).mean())


def _column(values: Any) -> NDArray[Any]:
    column = np.asarray(values)
    if column.ndim != 1:
        raise InputError(f"labels and clusters must be of shape (n,); received {column.shape}")
    return column
