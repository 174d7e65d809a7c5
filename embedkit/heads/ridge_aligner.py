"""A linear map from one space of vectors into another, in closed form."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import TransformerMixin
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.utils.validation import check_is_fitted

from embedkit.errors import InputError
from embedkit.heads.stored import StoredHead
from embedkit.heads.validation import all_or_nothing, validated


class RidgeAligner(TransformerMixin, StoredHead):  # type: ignore[misc]  # sklearn is untyped
    """Ridge regression from vectors to the vectors they belong to, such as of pictures to those of their captions.

        min over W, b of  Σ_i ‖X_i W + b − y_i‖² + λ ‖W‖²,   λ = alpha · mean_i ‖X_i − mean X‖²

    It needs no gradient and, below some ten thousand pairs, seconds: what a trained encoder of two modalities has to
    beat, and what to take where pairs are few.

    Args:
        alpha: Strength of the penalty, 0 or more, whatever the scale of X. Of several, the one with the least squared
            error on rows that are left out one by one, which has a closed form too; these are above 0.

    Attributes:
        coef_: W, (width of X, width of y).
        intercept_: b, (width of y,).
        alpha_: The strength that was taken.

    Example:
        >>> X = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
        >>> aligner = RidgeAligner(alpha=0.0).fit(X, 2 * X[:, ::-1])
        >>> np.round(aligner.transform([[3.0, 5.0]]), 6).tolist()
        [[10.0, 6.0]]

    Reference:
        A. E. Hoerl, R. W. Kennard, "Ridge Regression: Biased Estimation for Nonorthogonal Problems",
        Technometrics, 1970.

    Deviations:
        The penalty is in units of the spread of X, so that one alpha means the same for features of any size.
    """

    def __init__(self, *, alpha: float | Sequence[float] = (0.001, 0.01, 0.1, 1.0, 10.0)) -> None:
        self.alpha = alpha

    @all_or_nothing
    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Find the map.

        Args:
            X: (n, width).
            y: What each row should become, (n, width of y), or (n,) for one number each.

        Returns:
            Itself.

        Raises:
            InputError: `alpha` is out of range, or several are given for fewer than 3 rows.
            ValueError: scikit-learn's, where X and y are no finite numbers of equal length.
        """
        strengths = _strengths(self.alpha)
        rows, targets = validated(self, X, y, multi_output=True, y_numeric=True, dtype=np.float64)
        if len(strengths) > 1 and len(rows) < 3:
            raise InputError(
                f"choosing among several alpha needs 3 rows; received n_samples={len(rows)}: give one alpha"
            )
        spread = float(np.square(rows - rows.mean(axis=0)).sum(axis=1).mean()) or 1.0
        if len(strengths) > 1:
            found: Any = RidgeCV(alphas=[each * spread for each in strengths]).fit(rows, targets)
            strength = strengths[int(np.argmin([abs(each * spread - found.alpha_) for each in strengths]))]
        else:
            strength = strengths[0]
            found = Ridge(alpha=strength * spread).fit(rows, targets)
        self.alpha_ = strength
        self.coef_ = np.ascontiguousarray(np.atleast_2d(found.coef_).T)
        self.intercept_ = np.atleast_1d(np.asarray(found.intercept_, dtype=np.float64))
        return self

    def transform(self, X: ArrayLike) -> NDArray[np.float64]:
        """Where rows of X lie in the other space, (n, width of y).

        Args:
            X: (n, width).

        Raises:
            NotFittedError: `fit` was not called.
        """
        check_is_fitted(self)
        rows = validated(self, X, reset=False, dtype=np.float64)
        mapped: NDArray[np.float64] = rows @ self.coef_ + self.intercept_
        return mapped

    def __sklearn_tags__(self) -> Any:
        """It needs targets, of one column or several."""
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        return tags


def _strengths(alpha: Any) -> list[float]:
    several = isinstance(alpha, Sequence) and not isinstance(alpha, str)
    numbers = list(alpha) if several else [alpha]
    right = numbers and all(isinstance(each, int | float) and not isinstance(each, bool) for each in numbers)
    if not right or not all(0 <= each < np.inf and (each > 0 or len(numbers) == 1) for each in numbers):
        raise InputError(f"alpha must be a number, 0 or more, or several above 0; received {alpha!r:.100}")
    return [float(each) for each in numbers]
