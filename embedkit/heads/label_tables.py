"""Labels that a row may have several of, in the forms that scikit-learn knows."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import issparse
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from embedkit.errors import InputError


@dataclass(frozen=True)
class Labels:
    """Which row has which label.

    Attributes:
        targets: What an estimator learns: 0 and 1, (n, labels), or one label as it came, (n,).
        table: Whether each row has each label, (n, labels).
        classes: 0 … labels − 1; of one label its two classes.
    """

    targets: NDArray[Any]
    table: NDArray[np.bool_]
    classes: NDArray[Any]


def read_labels(y: Any) -> Labels:
    """Read what `fit` was given: a table of 0 and 1, (n, labels), dense or sparse, or one label of two classes, (n,).

    Raises:
        InputError: It is neither.
        ValueError: scikit-learn's, where it is no classes at all.
    """
    check_classification_targets(y)
    labels = y.toarray() if issparse(y) else np.asarray(y)
    if labels.ndim == 2 and labels.shape[1] > 1:
        table = indicator("y", labels, labels.shape)
        return Labels(table.astype(np.int64), table, np.arange(table.shape[1]))
    labels = column_or_1d(labels)
    classes, codes = np.unique(labels, return_inverse=True)
    if len(classes) != 2:
        raise InputError(
            "y must be a table of 0 and 1, (n, labels), or one label of two classes, (n,); received "
            f"{len(classes)} class(es). Only binary classification is supported. Of one class among several take "
            "ConformalClassifier"
        )
    return Labels(labels, (codes == 1)[:, None], classes)


def indicator(name: str, sets: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """A table of 0 and 1 as one of truth values.

    Raises:
        InputError: It has another shape or other values.
    """
    table = np.asarray(sets)
    if table.shape != shape or not np.isin(table, (0, 1)).all():
        raise InputError(
            f"{name} must hold 0 and 1 only, in {shape[0]} rows of {shape[1]} labels; received the shape {table.shape} "
            f"and the values {np.unique(table)[:5].tolist()!r:.100}"
        )
    inside: NDArray[np.bool_] = table == 1
    return inside


def label_probabilities(estimator: Any, found: Any, labels: int) -> NDArray[np.float64]:
    """Probability of each label, (n, labels).

    Args:
        estimator: What `predict_proba` was asked of.
        found: What it gave: a table with a column a label, a table with two columns of one label, or, as forests and
            nearest neighbours do, a table of classes for each label, which has one column where it never varied.
        labels: How many there are.

    Raises:
        InputError: It gave those of another number of labels.
    """
    if isinstance(found, list):
        columns = [
            table[:, list(classes).index(1)] if 1 in classes else np.zeros(len(table))
            for table, classes in zip(found, estimator.classes_, strict=True)
        ]
        found = np.stack(columns, axis=1)
    probabilities: NDArray[np.float64] = np.asarray(found, dtype=np.float64)[:, 1 if labels == 1 else 0 :]
    if probabilities.shape[1] != labels:
        raise InputError(
            f"estimator must give a probability for each of {labels} labels; it gave those of "
            f"{probabilities.shape[1]}: it was fitted on other labels"
        )
    return probabilities
