"""What classifiers share that give each class a score."""

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import softmax
from sklearn.base import ClassifierMixin
from sklearn.utils import gen_batches
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from embedkit.errors import InputError
from embedkit.heads.stored import StoredHead
from embedkit.heads.validation import validated

Rows = NDArray[np.float32] | NDArray[np.float64]
ROWS = 1024
"""As many rows are scored at a time: 80 MB of scores where there are 10,000 classes."""

_CLASSES = 64


class ScoringClassifier(ClassifierMixin, StoredHead):  # type: ignore[misc]  # sklearn is untyped
    """A classifier whose largest score wins, and whose probabilities are the softmax of its scores."""

    classes_: NDArray[Any]

    @abstractmethod
    def _scores(self, rows: Rows) -> NDArray[np.float64]:
        """Of validated rows (n, width), (n, classes); minus infinity for what cannot win."""

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """The score of each class, (n, classes); of two classes how much higher the second is, (n,).

        Args:
            X: (n, width).

        Raises:
            NotFittedError: It was not fitted.
        """
        scores = np.concatenate(list(self._scored(X)))
        return scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """The class of each row, (n,); of equal scores the first.

        Args:
            X: (n, width).

        Raises:
            NotFittedError: It was not fitted.
        """
        best = np.concatenate([scores.argmax(axis=1) for scores in self._scored(X)])
        found: NDArray[Any] = self.classes_[best]
        return found

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Probability of each class, (n, classes).

        Args:
            X: (n, width).

        Raises:
            NotFittedError: It was not fitted.
        """
        return np.concatenate([softmax(scores, axis=1) for scores in self._scored(X)])

    def _scored(self, X: ArrayLike) -> Iterator[NDArray[np.float64]]:
        check_is_fitted(self)
        rows = validated(self, X, reset=False, dtype=(np.float64, np.float32))
        for part in gen_batches(len(rows), ROWS):
            yield self._scores(rows[part])


def products(rows: Rows, weights: NDArray[Any]) -> NDArray[np.float64]:
    """Rows times the weights of each class, (n, classes): of one class the same bits whatever other classes there are.

    Products of a matrix differ in the last bit with its number of columns, so classes are taken by a fixed number.
    They are as precise as the rows.

    Args:
        rows: (n, width).
        weights: (classes, width).
    """
    found = np.empty((len(rows), len(weights)))
    block = np.zeros((_CLASSES, rows.shape[1]), rows.dtype)
    for part in gen_batches(len(weights), _CLASSES):
        filled = part.stop - part.start
        block[:filled], block[filled:] = weights[part], 0
        found[:, part] = (rows @ block.T)[:, :filled]
    return found


def check_labels(labels: NDArray[Any]) -> None:
    """Refuse labels that are no classes, such as fractions.

    Of whole numbers and texts scikit-learn's own check only warns that one row a class is few; that is no mistake here.

    Raises:
        ValueError: scikit-learn's.
    """
    if labels.dtype.kind not in "biuU":
        check_classification_targets(labels)


def check_positive(name: str, value: Any) -> None:
    """Refuse what is no number above 0.

    Raises:
        InputError: It is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < np.inf:
        raise InputError(f"{name} must be a number above 0; received {value!r:.100}")
