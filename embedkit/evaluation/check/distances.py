"""Lengths of vectors, and how far they are apart."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedkit.errors import ModelError

FLOAT32_ROUNDING = 1e-5


def largest_difference(found: NDArray[Any], expected: NDArray[Any]) -> float:
    """Largest length of a row's difference, relative to the length of the expected row; NaN where either holds NaN."""
    if found.shape != expected.shape:
        message = f"vectors of shape {found.shape} came where {expected.shape} was to be expected"
        raise ModelError(message)
    with np.errstate(invalid="ignore", over="ignore"):
        distances = np.linalg.norm(found.astype(np.float64) - expected, axis=-1)
    return float(np.max(distances / np.maximum(row_lengths(expected), np.finfo(np.float64).tiny)))


def row_lengths(vectors: NDArray[Any]) -> NDArray[np.float64]:
    """Length of each row, in double precision."""
    lengths: NDArray[np.float64] = np.linalg.norm(vectors.astype(np.float64), axis=-1)
    return lengths


def unit_rows(vectors: NDArray[Any]) -> NDArray[Any]:
    """The rows, scaled to length 1; zero stays zero."""
    return np.asarray(vectors / np.maximum(row_lengths(vectors), np.finfo(np.float64).tiny)[:, None])
