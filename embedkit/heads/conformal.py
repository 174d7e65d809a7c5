"""Sets of classes that hold the right one as often as asked for, around any classifier."""

from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from embedkit.errors import InputError
from embedkit.heads.split_conformal import FLOATS, SplitConformal, check_enough, checked_alpha, p_values
from embedkit.heads.validation import all_or_nothing, validated


class ConformalClassifier(SplitConformal):
    """Split conformal prediction: instead of one class, all that cannot be ruled out.

        p(c | x) = (#{i : s(x_i, y_i) ≥ s(x, c)} + 1) / (n + 1),   over the n calibration rows
        set(x) = {c : p(c | x) > alpha}

    with the score s(x, c), which is large where c does not fit x,

        lac:  1 − q(c | x)
        aps:  Σ q(k | x) over the classes k with q(k | x) > q(c | x)

    where q are the estimator's probabilities. Of new rows drawn as the calibration rows were, the set leaves out the
    right class at most with probability alpha, however wrong q is: a better estimator has smaller sets. Those of "lac"
    may be empty, where no class fits. Those of "aps" are not, and favour easy rows over hard ones less; where the
    estimator's first class alone is right more often than 1 − alpha, they hold no other.

    Args:
        estimator: A classifier with `predict_proba`, of which a clone is fitted; None for logistic regression. One
            that is fitted already is given as `sklearn.frozen.FrozenEstimator(estimator)`: then all rows calibrate.
        alpha: How often a set may leave out the right class, above 0 and below 1.
        nonconformity: The score s, "lac" or "aps".
        mondrian: Whether calibration is by class, so that alpha holds for each class and not only on average. Each
            class needs calibration rows of its own.
        calibration_size: Share (float) or count (int) of the rows that calibrate; ignored where the estimator is
            frozen. Each class has its share among them, but one row or more is left for the estimator.
        random_state: Draws the rows that calibrate.

    Attributes:
        classes_: Those of the estimator, (classes,).
        estimator_: The fitted estimator.
        scores_: Calibration scores, ascending (by class, if mondrian), (n,).
        counts_: How many of them each class has, (classes,), if mondrian; else n, (1,).

    Example:
        >>> from sklearn.datasets import load_iris
        >>> X, y = load_iris(return_X_y=True)
        >>> head = ConformalClassifier(alpha=0.02, random_state=0).fit(X, np.array(["a", "b", "c"])[y])
        >>> head.predict(X[[0, 70]]).tolist(), head.predict_set(X[[0, 70]]).tolist()
        (['a', 'c'], [[True, False, False], [False, True, True]])

    Reference:
        V. Vovk, A. Gammerman, G. Shafer, "Algorithmic Learning in a Random World", Springer 2005, sections 4.1 and
        4.5 (split and Mondrian); M. Sadinle, J. Lei, L. Wasserman, "Least Ambiguous Set-Valued Classifiers with
        Bounded Error Levels", JASA 2019 (lac); Y. Romano, M. Sesia, E. Candès, "Classification with Valid and
        Adaptive Coverage", NeurIPS 2020 (aps).

    Deviations:
        Nothing is drawn at random, so that the same row has the same set in every call: p-values count ties in full,
        and "aps" leaves out the random part of q(c | x) that the paper adds. What is left is the least total at which
        the classes on top hold c; as calibration rows are scored alike, coverage holds. To add all of q(c | x), as is
        often done, is as valid, but made sets nine times as large on Banking77, and a random part two and a half
        times. The parts are stratified, which the theory does not ask for; a class of one row calibrates nothing.
    """

    def __init__(
        self,
        *,
        estimator: Any = None,
        alpha: float = 0.1,
        nonconformity: Literal["lac", "aps"] = "lac",
        mondrian: bool = False,
        calibration_size: float | int = 0.5,
        random_state: Any = None,
    ) -> None:
        self.estimator = estimator
        self.alpha = alpha
        self.nonconformity = nonconformity
        self.mondrian = mondrian
        self.calibration_size = calibration_size
        self.random_state = random_state

    @all_or_nothing
    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Fit the estimator on one part of the rows and calibrate on the other.

        Args:
            X: (n, width).
            y: The class of each row, (n,).

        Returns:
            Itself.

        Raises:
            InputError: An argument is out of range, there is one class only, the frozen estimator does not know a
                class, or fewer than ceil(1 / alpha) − 1 rows calibrate (of a class, if mondrian).
            ValueError: scikit-learn's, where X and y are no finite numbers and classes of equal length.

        Warns:
            UserWarning: Rows that calibrate are also learnt from.
        """
        alpha = checked_alpha(self.alpha)
        if self.nonconformity not in ("lac", "aps"):
            raise InputError(f'nonconformity must be "lac" or "aps"; received {self.nonconformity!r:.100}')
        rows, labels = validated(self, X, y, dtype=FLOATS, ensure_min_samples=2)
        check_classification_targets(labels)
        names, codes = np.unique(labels, return_inverse=True)
        if len(names) < 2:
            raise InputError(f"y must have two classes or more; received one class, {names.tolist()[0]!r}")
        left, found = self._fit_estimator(X, rows, labels, LogisticRegression(max_iter=1000), codes)
        self.classes_ = np.asarray(self.estimator_.classes_)
        if unknown := np.setdiff1d(names, self.classes_).tolist():
            raise InputError(f"y must hold classes that the estimator knows; received others: {unknown!r:.100}")
        order = np.argsort(self.classes_)
        right = order[np.searchsorted(self.classes_, labels[left], sorter=order)]
        scores = _scores(found, self.nonconformity)[np.arange(len(left)), right]
        groups = right if self.mondrian else np.zeros_like(right)
        self.scores_ = scores[np.lexsort((scores, groups))]
        self.counts_ = np.bincount(groups, minlength=len(self.classes_) if self.mondrian else 1)
        self._check_enough(alpha)
        return self

    def p_values(self, X: ArrayLike) -> NDArray[np.float64]:
        """How many calibration rows fit their classes as badly as each row fits each class, (n, classes).

        Args:
            X: (n, width).

        Raises:
            NotFittedError: `fit` was not called.
        """
        scores = _scores(self.predict_proba(X), self.nonconformity)
        groups = np.split(self.scores_, np.cumsum(self.counts_)[:-1])
        if not self.mondrian:
            return p_values(scores, *groups)
        return np.stack([p_values(*each) for each in zip(scores.T, groups, strict=True)], axis=1)

    def predict_set(self, X: ArrayLike, alpha: float | None = None) -> NDArray[np.bool_]:
        """Which classes cannot be ruled out, (n, classes).

        Args:
            X: (n, width).
            alpha: How often the right class may be left out; None for that of the head. Sets of a larger one lie
                within those of a smaller one.

        Raises:
            InputError: `alpha` is out of range, or too few rows calibrated for it.
            NotFittedError: `fit` was not called.
        """
        check_is_fitted(self)
        alpha = checked_alpha(self.alpha if alpha is None else alpha)
        self._check_enough(alpha)
        inside: NDArray[np.bool_] = self.p_values(X) > alpha
        return inside

    def _check_enough(self, alpha: float) -> None:
        fewest = int(self.counts_.argmin())
        of = f" of each class, such as {self.classes_.tolist()[fewest]!r}" if self.mondrian else ""
        check_enough(int(self.counts_[fewest]), alpha, of=of)


def _scores(probabilities: NDArray[Any], nonconformity: str) -> NDArray[np.float64]:
    """How badly each class fits each row, (n, classes)."""
    found = np.asarray(probabilities, dtype=np.float64)
    if nonconformity == "lac":
        return 1 - found
    order = np.argsort(-found, axis=1)
    falling = np.take_along_axis(found, order, axis=1)
    before = np.zeros_like(falling)
    np.cumsum(falling[:, :-1], axis=1, out=before[:, 1:])
    # Of classes with equal probability each has the sum before the first of them.
    first = np.diff(falling, axis=1, prepend=np.inf) < 0
    scores = np.empty_like(found)
    np.put_along_axis(scores, order, np.maximum.accumulate(np.where(first, before, 0.0), axis=1), axis=1)
    return scores
