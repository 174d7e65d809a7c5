"""Sets of labels, of which one is right as often as asked for, around any multi-label classifier."""

import warnings
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.utils.validation import check_is_fitted

from embedkit.errors import InputError
from embedkit.heads.flips import Flips
from embedkit.heads.label_tables import indicator, label_probabilities, read_labels
from embedkit.heads.split_conformal import FLOATS, SplitConformal, check_enough, checked_alpha, p_values, threshold
from embedkit.heads.validation import all_or_nothing, validated

LEAST = float(np.finfo(np.float32).eps)
"""Probabilities are cut to between this and 1 − this before their logarithm is taken."""


class LabelSets(NamedTuple):
    """What `ConformalLabelSets.predict_sets` finds.

    Attributes:
        sets: For each row its sets of labels, best first, (sets, labels) each.
        complete: Whether these are all sets of the row, (n,).
    """

    sets: list[NDArray[np.bool_]]
    complete: NDArray[np.bool_]


class LabelBounds(NamedTuple):
    """What `ConformalLabelSets.label_bounds` finds.

    Attributes:
        in_all: Which labels all sets of a row hold, (n, labels); none where a row has no set.
        in_any: Which labels one or more sets of a row hold, (n, labels).
    """

    in_all: NDArray[np.bool_]
    in_any: NDArray[np.bool_]


class ConformalLabelSets(SplitConformal):
    """Split conformal prediction of whole sets of labels: all those that cannot be ruled out.

        p(Y | x) = (#{i : A(x_i, Y_i) ≥ A(x, Y)} + 1) / (n + 1),   over the n calibration rows
        region(x) = {Y : p(Y | x) > alpha},   of all 2^labels sets Y

    with a score A(x, Y) = Σ_j c_j(Y_j) that is large where Y does not fit x. With q_j the estimator's probability of
    label j,

        logloss:  c_j(1) = −log q_j,  c_j(0) = −log(1 − q_j)
        norm:     c_j(Y_j) = |Y_j − q_j|^order

    Of new rows drawn as the calibration rows were, the region leaves out the right set at most with probability alpha,
    however wrong q is. The best set takes the cheaper of c_j(0) and c_j(1) for each label; all others follow from it by
    flips of labels, cheapest first, and no set beyond the bound is ever looked at.

    Args:
        estimator: A multi-label classifier with `predict_proba`, of which a clone is fitted; None for a logistic
            regression for each label. One that is fitted already is given as
            `sklearn.frozen.FrozenEstimator(estimator)`: then all rows calibrate.
        alpha: How often a region may leave out the right set, above 0 and below 1.
        nonconformity: The score A, "logloss" or "norm".
        order: The order of the norm, above 0; its power is taken, which ranks alike.
        max_sets: As many sets of a row are listed; a region can have up to 2^labels.
        calibration_size: Share (float) or count (int) of the rows that calibrate; ignored where the estimator is
            frozen.
        random_state: Draws the rows that calibrate.

    Attributes:
        num_labels_: How many labels there are.
        classes_: 0 … labels − 1; where y is one label, its two classes, of which a set holds the second or not.
        estimator_: The fitted estimator.
        scores_: Calibration scores, ascending, (n,).

    Example:
        >>> draw = np.random.default_rng(0)
        >>> X = draw.normal(size=(400, 3))
        >>> head = ConformalLabelSets(random_state=0).fit(X, X + draw.normal(size=(400, 3)) > 0)
        >>> found = head.predict_sets([[5.0, -5.0, 0.1]])
        >>> found.sets[0].astype(int).tolist(), found.complete.tolist()
        ([[1, 0, 1], [1, 0, 0]], [True])
        >>> head.label_bounds([[5.0, -5.0, 0.1]]).in_all.tolist()
        [[True, False, False]]

    Reference:
        L. Maltoudoglou, A. Paisios, L. Lenc, J. Martínek, P. Král, H. Papadopoulos, "Well-calibrated Confidence
        Measures for Multi-label Text Classification with a Large Number of Labels", Pattern Recognition, 2022 (label
        powerset ICP with a norm, and that sets beyond the bound need not be looked at); E. L. Lawler, "A Procedure
        for Computing the K Best Solutions to Discrete Optimization Problems and Its Application to the Shortest Path
        Problem", Management Science, 1972 (one after the other in order of cost).

    Deviations:
        The logarithmic score is added, and is the default. What the paper takes from the structure of labels, such as
        a penalty for sets never seen, is left out, as it is no sum over labels. Probabilities are cut to
        [1.2e-7, 1 − 1.2e-7] before the logarithm, so that a label that was never seen costs much but not everything.
    """

    def __init__(
        self,
        *,
        estimator: Any = None,
        alpha: float = 0.1,
        nonconformity: Literal["logloss", "norm"] = "logloss",
        order: float = 2.0,
        max_sets: int = 1000,
        calibration_size: float | int = 0.5,
        random_state: Any = None,
    ) -> None:
        self.estimator = estimator
        self.alpha = alpha
        self.nonconformity = nonconformity
        self.order = order
        self.max_sets = max_sets
        self.calibration_size = calibration_size
        self.random_state = random_state

    @all_or_nothing
    def fit(self, X: ArrayLike, y: Any) -> Self:
        """Fit the estimator on one part of the rows and calibrate on the other.

        Args:
            X: (n, width).
            y: 1 where a row has a label, else 0, (n, labels), an array or sparse. Or one label, (n,), of two classes.

        Returns:
            Itself.

        Raises:
            InputError: An argument is out of range, y is not what it must be, or fewer than ceil(1 / alpha) − 1 rows
                calibrate.
            ValueError: scikit-learn's, where X and y are no finite numbers and labels of equal length.

        Warns:
            UserWarning: Rows that calibrate are also learnt from.
        """
        alpha = checked_alpha(self.alpha)
        self._check_arguments()
        rows, labels = validated(self, X, y, dtype=FLOATS, multi_output=True, ensure_min_samples=2)
        known = read_labels(labels)
        self.classes_, self.num_labels_ = known.classes, known.table.shape[1]
        default = OneVsRestClassifier(LogisticRegression(max_iter=1000))
        codes = known.table[:, 0].astype(np.int64) if self.num_labels_ == 1 else None
        left, found = self._fit_estimator(X, rows, known.targets, default, codes)
        if self.num_labels_ == 1 and not np.array_equal(self.estimator_.classes_, self.classes_):
            raise InputError(
                f"y must have the classes that the estimator knows, {self.estimator_.classes_!r:.100}; received "
                f"{self.classes_!r:.100}"
            )
        self.scores_ = np.sort(self._flips(found).of(known.table[left]))
        check_enough(len(left), alpha)
        return self

    def predict_sets(self, X: ArrayLike, alpha: float | None = None) -> LabelSets:
        """The sets of labels that cannot be ruled out, best first, and whether they are all.

        Args:
            X: (n, width).
            alpha: How often the right set may be left out; None for that of the head. Sets of a larger one are among
                those of a smaller one.

        Raises:
            InputError: `alpha` is out of range, or too few rows calibrated for it.
            NotFittedError: `fit` was not called.

        Warns:
            UserWarning: A row has more than `max_sets` sets; it has the best of them, and is not `complete`.
        """
        most = self._bound(alpha)
        flips = self._flips(self.predict_proba(X))
        found = [flips.within(most, row, self.max_sets + 1) for row in range(len(flips.best))]
        complete = np.array([len(sets) <= self.max_sets for sets in found])
        if not complete.all():
            warnings.warn(
                f"{np.count_nonzero(~complete)} of {len(complete)} rows have more than max_sets={self.max_sets} sets, "
                "of which only the best are listed: see `complete`; label_bounds knows them all",
                UserWarning,
                stacklevel=2,
            )
        return LabelSets([sets[: self.max_sets] for sets in found], complete)

    def label_bounds(self, X: ArrayLike, alpha: float | None = None) -> LabelBounds:
        """Which labels all sets hold that cannot be ruled out, and which any; exact however many sets there are.

        Args:
            X: (n, width).
            alpha: As in `predict_sets`.

        Raises:
            InputError: `alpha` is out of range, or too few rows calibrated for it.
            NotFittedError: `fit` was not called.
        """
        most = self._bound(alpha)
        return LabelBounds(*self._flips(self.predict_proba(X)).bounds(most))

    def p_value(self, X: ArrayLike, Y: ArrayLike) -> NDArray[np.float64]:
        """How many calibration rows fit their labels as badly as each row fits its set, (n,).

        Args:
            X: (n, width).
            Y: One set of labels a row, of 0 and 1, (n, labels).

        Raises:
            InputError: Y is no such table.
            NotFittedError: `fit` was not called.
        """
        flips = self._flips(self.predict_proba(X))
        return p_values(flips.of(indicator("Y", Y, flips.best.shape)), self.scores_)

    def __sklearn_tags__(self) -> Any:
        """Several labels of a row, each there or not."""
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        tags.classifier_tags.multi_class = False
        tags.target_tags.multi_output = True
        return tags

    def _bound(self, alpha: float | None) -> float:
        check_is_fitted(self)
        alpha = checked_alpha(self.alpha if alpha is None else alpha)
        check_enough(len(self.scores_), alpha)
        return threshold(self.scores_, alpha)

    def _flips(self, probabilities: Any) -> Flips:
        found = label_probabilities(self.estimator_, probabilities, self.num_labels_)
        if self.nonconformity == "norm":
            return Flips(np.abs(found) ** self.order, np.abs(1 - found) ** self.order)
        cut = np.clip(found, LEAST, 1 - LEAST)
        return Flips(-np.log1p(-cut), -np.log(cut))

    def _check_arguments(self) -> None:
        if self.nonconformity not in ("logloss", "norm"):
            raise InputError(f'nonconformity must be "logloss" or "norm"; received {self.nonconformity!r:.100}')
        if isinstance(self.order, bool) or not isinstance(self.order, int | float) or not 0 < self.order < np.inf:
            raise InputError(f"order must be a number above 0; received {self.order!r:.100}")
        if isinstance(self.max_sets, bool) or not isinstance(self.max_sets, int) or self.max_sets < 1:
            raise InputError(f"max_sets must be a count of 1 or more; received {self.max_sets!r:.100}")
