"""How far vectors moved: what the Observatory's properties are measured in."""

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def cosine(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """Cosine of each row of `a` with the same row of `b`: ⟨a_i, b_i⟩ / sqrt(⟨a_i, a_i⟩ ⟨b_i, b_i⟩), in float64.

    Args:
        a: Real, (n, dim).
        b: Real, (n, dim).

    Returns:
        (n,), within −1 … 1 up to rounding, exactly 1 for equal rows; NaN where one of the two is zero or holds NaN.

    Example:
        >>> cosine([[3.0, 4.0], [0.0, 0.0]], [[0.0, 2.0], [1.0, 0.0]]).tolist()
        [0.8, nan]
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    squares: Any = (first * first).sum(axis=1) * (second * second).sum(axis=1)
    with np.errstate(invalid="ignore"):
        cosines: NDArray[np.float64] = (first * second).sum(axis=1) / np.sqrt(squares)
    return cosines


def dispersion(vectors: ArrayLike) -> float:
    """Albert and Zhang's multivariate coefficient of variation: how far vectors lie apart, relative to their mean.

    sqrt(μᵀ Σ μ / (μᵀ μ)²) with the mean μ and covariance Σ of `vectors`, which is sd(x_i · μ) / ‖μ‖²: no covariance
    matrix is made. Scaling or rotating the vectors changes nothing; moving them does.

    Args:
        vectors: Real, (n, dim).

    Returns:
        0 for equal vectors; NaN for fewer than two, or where their mean is zero.

    Example:
        >>> round(dispersion([[1.0, 1.0], [2.0, 2.0], [6.0, 6.0]]), 6)  # √7 / 3
        0.881917

    Reference:
        A. Albert, L. Zhang, "A Novel Definition of the Multivariate Coefficient of Variation", Biometrical Journal
        52 (5), 2010.

    Deviations:
        The paper leaves the estimator of Σ open; here the n − 1 form.
    """
    points = np.asarray(vectors, dtype=np.float64)
    if len(points) < 2:
        return math.nan
    mean = points.mean(axis=0)
    square = float((mean * mean).sum())
    if square == 0:
        return math.nan
    along = ((points - mean) * mean).sum(axis=1)
    return math.sqrt(float((along * along).sum()) / (len(points) - 1)) / square
