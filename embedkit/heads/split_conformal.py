"""Split conformal prediction: an estimator learns from one part of the rows, the other says how far to trust it."""

import math
import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassifierMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils import _safe_indexing, check_random_state
from sklearn.utils.validation import check_is_fitted

from embedkit.errors import InputError
from embedkit.heads.stored import StoredHead
from embedkit.heads.validation import validated

FLOATS = (np.float64, np.float32)


class SplitConformal(ClassifierMixin, StoredHead):  # type: ignore[misc]  # sklearn is untyped
    """What conformal heads share: the estimator, the rows that calibrate it, and its own answers."""

    estimator: Any
    estimator_: Any
    alpha: float
    calibration_size: float | int
    random_state: Any

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """What the estimator predicts.

        Args:
            X: (n, width).

        Raises:
            NotFittedError: `fit` was not called.
        """
        rows = self._seen(X)
        found: NDArray[Any] = self.estimator_.predict(rows)
        return found

    def predict_proba(self, X: ArrayLike) -> NDArray[Any]:
        """The probabilities that the estimator gives.

        Args:
            X: (n, width).

        Raises:
            NotFittedError: `fit` was not called.
        """
        rows = self._seen(X)
        found: NDArray[Any] = self.estimator_.predict_proba(rows)
        return found

    def _fit_estimator(
        self, X: ArrayLike, rows: NDArray[Any], targets: NDArray[Any], default: Any, codes: NDArray[np.int64] | None
    ) -> tuple[NDArray[np.int64], Any]:
        """Fit the estimator on a part of the rows, or none where it is frozen.

        Returns which rows calibrate, and the probabilities that it gives these.

        Args:
            X: What the user gave, which may know the names of its columns.
            rows: The same as an array.
            targets: What the estimator learns, one a row.
            default: The estimator where none was given.
            codes: The class of each row, by which the parts are alike; None to draw among all rows.
        """
        estimator = default if self.estimator is None else self.estimator
        if not hasattr(estimator, "predict_proba"):
            raise InputError(
                f"estimator must have predict_proba; received {estimator!r:.100}: wrap it in CalibratedClassifierCV"
            )
        table = X if hasattr(self, "feature_names_in_") else rows
        if isinstance(estimator, FrozenEstimator):
            check_is_fitted(estimator)
            self.estimator_ = estimator
            return np.arange(len(rows)), estimator.predict_proba(table)
        count = _count(self.calibration_size, len(rows))
        calibrates = np.zeros(len(rows), dtype=bool)
        calibrates[_drawn(count, len(rows), codes, check_random_state(self.random_state))] = True
        fitted, left = np.flatnonzero(~calibrates), np.flatnonzero(calibrates)
        _warn_of_duplicates(rows[fitted], rows[left])
        self.estimator_ = clone(estimator).fit(_safe_indexing(table, fitted), targets[fitted])
        return left, self.estimator_.predict_proba(_safe_indexing(table, left))

    def _seen(self, X: ArrayLike) -> Any:
        """X as the estimator saw it: with the names of its columns where it had some."""
        check_is_fitted(self)
        rows = validated(self, X, reset=False, dtype=FLOATS)
        return X if hasattr(self, "feature_names_in_") else rows


def checked_alpha(alpha: Any) -> float:
    """An error rate.

    Raises:
        InputError: It is no number between 0 and 1.
    """
    if isinstance(alpha, bool) or not isinstance(alpha, int | float | np.floating) or not 0 < alpha < 1:
        raise InputError(f"alpha must be a number above 0 and below 1; received {alpha!r:.100}")
    return float(alpha)


def check_enough(count: int, alpha: float, *, of: str = "") -> None:
    """Refuse so few rows that nothing could ever be ruled out.

    Raises:
        InputError: There are fewer than ceil(1 / alpha) − 1.
    """
    if count < (needed := math.ceil(1 / alpha) - 1):
        raise InputError(
            f"there must be ceil(1 / alpha) − 1 = {needed} calibration rows or more{of}; received {count} at "
            f"alpha={alpha:g}: give more rows, a larger calibration_size or a larger alpha"
        )


def p_values(scores: NDArray[np.float64], calibration: NDArray[np.float64]) -> NDArray[np.float64]:
    """(#{calibration ≥ score} + 1) / (n + 1) of each score, by calibration scores in ascending order."""
    at_least = len(calibration) - np.searchsorted(calibration, scores, side="left")
    found: NDArray[np.float64] = (at_least + 1) / (len(calibration) + 1)
    return found


def threshold(calibration: NDArray[np.float64], alpha: float) -> float:
    """The largest score with a p-value above alpha, by calibration scores in ascending order.

    It is one of them. The same quotients as those of `p_values` are compared, so that rounding cannot make the two
    disagree.
    """
    possible = np.arange(1, len(calibration) + 2) / (len(calibration) + 1)
    return float(calibration[len(calibration) - np.searchsorted(possible, alpha, side="right")])


def _count(size: Any, rows: int) -> int:
    """How many rows calibrate."""
    count = 0
    if isinstance(size, int | np.integer) and not isinstance(size, bool):
        count = int(size)
    elif isinstance(size, float | np.floating) and 0 < size < 1:
        count = math.ceil(size * rows)
    if not 0 < count < rows:
        raise InputError(
            "calibration_size must be a share above 0 and below 1, or a count, that leaves rows to fit on; "
            f"received {size!r:.100} for {rows} rows"
        )
    return count


def _drawn(count: int, rows: int, codes: NDArray[np.int64] | None, draw: np.random.RandomState) -> NDArray[np.int64]:
    """Rows that calibrate: of each class its share, but never all of it, since no estimator knows what it never saw."""
    order: NDArray[np.int64] = draw.permutation(rows)
    if codes is None:
        return order[:count]
    order = order[np.argsort(codes[order], kind="stable")]
    taken = np.zeros(rows, dtype=bool)
    taken[((np.arange(count) + draw.random_sample()) * rows / count).astype(np.int64)] = True
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    taken[starts[np.logical_and.reduceat(taken, starts)]] = False
    return order[taken]


def _warn_of_duplicates(fitted: NDArray[Any], left: NDArray[Any]) -> None:
    known = set(map(_key, fitted))
    if found := sum(_key(row) in known for row in left):
        warnings.warn(
            f"{found} of {len(left)} calibration rows are also among the rows that the estimator learns from: what it "
            "knows by heart looks better than new rows will, so that more than alpha of these may be missed; drop "
            "duplicates before fit",
            UserWarning,
            stacklevel=5,
        )


def _key(row: NDArray[Any]) -> int:
    return hash((row + 0.0).tobytes())  # adding 0 makes −0 and 0 one
