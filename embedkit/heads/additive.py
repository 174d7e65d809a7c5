"""What classifiers share that learn sums over rows."""

from abc import abstractmethod
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array
from sklearn.utils import gen_batches
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, validate_data

from embedkit.errors import InputError
from embedkit.heads.scoring import Rows, ScoringClassifier

_ROWS = 16384


class AdditiveClassifier(ScoringClassifier):
    """A classifier that may see its rows in any number of parts, in any order, and new classes with them.

    What it learns from parts is, but for rounding, what it learns from all rows at once.

    Attributes:
        classes_: (classes,), sorted.
        counts_: How many rows of each class were seen, or what they weighed, (classes,).
    """

    _per_class: ClassVar[tuple[str, ...]] = ("counts_",)
    """Fitted arrays of one row a class; those of a class that is new are zeros."""

    counts_: NDArray[np.float64]

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
        for name in [name for name in vars(self) if name.endswith("_") and not name.startswith("_")]:
            delattr(self, name)
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
        self._check_arguments()
        first = not hasattr(self, "classes_")
        rows, labels = validate_data(self, X, y, reset=first, dtype=(np.float64, np.float32))
        check_classification_targets(labels)
        weights = _check_sample_weight(sample_weight, rows, dtype=np.float64, ensure_non_negative=True)
        if not weights.any():
            raise InputError("sample_weight must be above 0 for some row; received zeros alone: leave such rows out")
        known = labels[:0] if first else self.classes_
        named = labels[:0] if classes is None else np.asarray(classes)
        merged = _merged(known, labels, named)
        if first:
            self._start(rows)
            self.counts_ = np.zeros(0)
        places = np.searchsorted(merged, known)
        for name in self._per_class:
            old = getattr(self, name)
            grown = np.zeros((len(merged), *old.shape[1:]), old.dtype)
            grown[places] = old
            setattr(self, name, grown)
        self.classes_ = merged
        self._add(rows, np.searchsorted(merged, labels), weights)
        return self

    def _check_arguments(self) -> None:
        """Refuse wrong arguments of `__init__`."""

    @abstractmethod
    def _start(self, rows: Rows) -> None:
        """Make what is summed, of no class yet."""

    @abstractmethod
    def _add(self, rows: Rows, codes: NDArray[np.int64], weights: NDArray[np.float64]) -> None:
        """Learn from rows whose classes stand at `codes` in `classes_`, `counts_` included."""


def class_sums(
    rows: Rows, codes: NDArray[np.int64], weights: NDArray[np.float64], num_classes: int
) -> NDArray[np.float64]:
    """Weighted sum of the rows of each class, (classes, width), in double precision and little memory.

    Args:
        rows: (n, width).
        codes: The class of each, 0 … num_classes − 1, (n,).
        weights: What each counts, (n,).
        num_classes: How many classes there are.
    """
    sums = np.zeros((num_classes, rows.shape[1]))
    for part in gen_batches(len(rows), _ROWS):
        seen, inverse = np.unique(codes[part], return_inverse=True)
        members = csr_array((weights[part], (inverse, np.arange(len(inverse)))))
        sums[seen] += members @ np.asarray(rows[part], dtype=np.float64)
    return sums


def _merged(*labels: NDArray[Any]) -> NDArray[Any]:
    """All classes, sorted."""
    given = [each for each in labels if len(each)]
    if len({each.dtype.kind in "biuf" for each in given}) > 1:
        raise InputError(
            "labels must be all numbers or all texts; received "
            + " and ".join(f"{each[0]!r}" for each in given)
            + ": give new classes the kind of label that the known ones have"
        )
    return np.unique(np.concatenate(given))
