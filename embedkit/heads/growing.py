"""What classifiers share to which classes may be added."""

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embedkit.errors import InputError
from embedkit.heads.scoring import Rows, ScoringClassifier, check_labels
from embedkit.heads.validation import validated


class GrowingClassifier(ScoringClassifier):
    """A classifier that keeps something of each class, and takes new classes at any time.

    Attributes:
        classes_: (classes,), sorted.
        counts_: How many rows of each class were seen, or what they weighed, (classes,).
    """

    _per_class: ClassVar[tuple[str, ...]] = ("counts_",)
    """Fitted arrays of one row a class; those of a class that is new are zeros."""

    counts_: NDArray[np.float64]

    def _forget(self) -> None:
        """Be as if never fitted."""
        for name in [name for name in vars(self) if name.endswith("_") and not name.startswith("_")]:
            delattr(self, name)

    def _validated(self, X: ArrayLike, y: ArrayLike) -> tuple[Rows, NDArray[Any]]:
        """Rows and labels that scikit-learn has nothing against, as wide as those before."""
        self._check_arguments()
        first = not hasattr(self, "classes_")
        rows, labels = validated(self, X, y, reset=first, dtype=(np.float64, np.float32))
        check_labels(labels)
        return rows, labels

    def _placed(self, rows: Rows, labels: NDArray[Any], classes: ArrayLike | None) -> NDArray[np.int64]:
        """Where labels stand in `classes_`, which they, and `classes` to come, have joined."""
        first = not hasattr(self, "classes_")
        known = labels[:0] if first else self.classes_
        merged = _merged(known, labels, labels[:0] if classes is None else np.asarray(classes))
        if first:
            self._start(rows)
            self.counts_ = np.zeros(0)
        if first or len(merged) > len(known):
            places = np.searchsorted(merged, known)
            for name in self._per_class:
                old = getattr(self, name)
                grown = np.zeros((len(merged), *old.shape[1:]), old.dtype)
                grown[places] = old
                setattr(self, name, grown)
            self.classes_ = merged
        codes: NDArray[np.int64] = np.searchsorted(self.classes_, labels)
        return codes

    def _check_arguments(self) -> None:
        """Refuse wrong arguments of `__init__`."""

    @abstractmethod
    def _start(self, rows: Rows) -> None:
        """Make what is kept, of no class yet."""


def _merged(*labels: NDArray[Any]) -> NDArray[Any]:
    """All classes, sorted."""
    given = [each for each in labels if len(each)]
    if len({each.dtype.kind in "biuf" for each in given}) > 1:
        raise InputError(
            "labels must be all numbers or all texts; received "
            + " and ".join(f"{each.tolist()[0]!r}" for each in given)
            + ": give new classes the kind of label that the known ones have"
        )
    return np.unique(np.concatenate(given))
