"""What classifiers share that learn sums over rows."""

from abc import abstractmethod
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array
from sklearn.utils import gen_batches
from sklearn.utils.validation import _check_sample_weight

from embedkit.errors import InputError
from embedkit.heads.growing import GrowingClassifier
from embedkit.heads.scoring import Rows
from embedkit.heads.validation import all_or_nothing

_ROWS = 16384


class AdditiveClassifier(GrowingClassifier):
    """A classifier that may see its rows in any number of parts, in any order, and new classes with them.

    What it learns from parts is, but for rounding, what it learns from all rows at once.
    """

    @all_or_nothing
    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Learn from these rows alone; what was learnt before is forgotten.

        Args:
            X: (n, width).
            y: The class of each, (n,).
            sample_weight: What each counts, 0 or more, (n,); None for 1.

        Returns:
            Itself.

        Raises:
            InputError: An argument of the head is wrong.
            ValueError: scikit-learn's, where X and y are no finite numbers and classes of equal length.
        """
        self._forget()
        return self.partial_fit(X, y, sample_weight=sample_weight)

    def partial_fit(
        self, X: ArrayLike, y: ArrayLike, classes: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Learn from these rows too; classes that were not seen before are welcome at any time.

        Args:
            X: (n, width).
            y: The class of each, (n,).
            classes: Classes to come, for those who know them; they cannot win before a row of theirs was seen.
            sample_weight: What each row counts, 0 or more, (n,); None for 1.

        Returns:
            Itself.

        Raises:
            InputError: An argument of the head is wrong, or labels were numbers before and are texts now.
            ValueError: scikit-learn's, where X and y are no finite numbers and classes of equal length, or X has
                another width than before.
        """
        rows, labels = self._validated(X, y)
        weights = _check_sample_weight(sample_weight, rows, dtype=np.float64, ensure_non_negative=True)
        if not weights.any():
            raise InputError("sample_weight must be above 0 for some row; received zeros alone: leave such rows out")
        self._add(rows, self._placed(rows, labels, classes), weights)
        return self

    @abstractmethod
    def _add(self, rows: Rows, codes: NDArray[np.int64], weights: NDArray[np.float64]) -> None:
        """Learn from rows whose classes stand at `codes` in `classes_`, `counts_` included."""


def add_sums(
    sums: NDArray[np.float64], rows: Rows, codes: NDArray[np.int64], weights: NDArray[np.float64] | None = None
) -> None:
    """Add each row to that of its class, in double precision and little memory.

    Args:
        sums: Of each class, (classes, width); changed in place.
        rows: (n, width).
        codes: The class of each, 0 … classes − 1, (n,).
        weights: What each counts, (n,); None for 1.
    """
    counted = np.ones(len(codes)) if weights is None else weights
    for part in gen_batches(len(codes), _ROWS):
        seen, inverse = np.unique(codes[part], return_inverse=True)
        members = csr_array((counted[part], (inverse, np.arange(len(inverse)))))
        sums[seen] += members @ np.asarray(rows[part], dtype=np.float64)


class ClassMeans(NamedTuple):
    """Means of the classes that rows are of, k of all.

    Attributes:
        places: Which these are, sorted, (k,).
        inverse: Of each row, which of the k its class is, (n,).
        counts: What the rows of each weigh, (k,).
        means: (k, width); zeros where they weigh nothing.
    """

    places: NDArray[np.int64]
    inverse: NDArray[np.int64]
    counts: NDArray[np.float64]
    means: NDArray[np.float64]

    def merge(self, counts: NDArray[np.float64], means: NDArray[Any]) -> None:
        """Bring them into the counts and means of all classes, (classes,) and (classes, width), in place."""
        total = counts[self.places] + self.counts
        share = self.counts / np.where(total, total, 1)
        means[self.places] += share[:, None] * (self.means - means[self.places])
        counts[self.places] = total


def class_means(rows: Rows, codes: NDArray[np.int64], weights: NDArray[np.float64] | None = None) -> ClassMeans:
    """The mean of the rows of each class that has some.

    Args:
        rows: (n, width).
        codes: The class of each, (n,).
        weights: What each counts, (n,); None for 1.
    """
    places, inverse = np.unique(codes, return_inverse=True)
    counts = np.bincount(inverse, weights, len(places)).astype(np.float64)
    means = np.zeros((len(places), rows.shape[1]))
    add_sums(means, rows, inverse, weights)
    means /= np.where(counts, counts, 1)[:, None]
    return ClassMeans(places, inverse, counts, means)
