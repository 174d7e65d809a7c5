"""Symmetric matrices in half the memory.

LAPACK's rectangular full packed form holds the upper triangle alone, width · (width + 1) / 2 numbers, in an order in
which sums, factors and solutions are as fast as of the whole matrix. In double precision it is as small as the whole
matrix in single precision, in which sums over many small parts would drift.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dpftrf, dpftri, dpftrs, dsfrk, dtfttr, dtrttf

from embedkit.errors import InputError

Packed = NDArray[np.float64]


def packed_identity(width: int) -> Packed:
    """The identity; its scalar product with a packed matrix is the trace of that."""
    packed: Packed = dtrttf(np.eye(width))[0]
    return packed


def add_gram(packed: Packed, rows: NDArray[np.float64]) -> Packed:
    """The matrix plus rowsᵀ rows, where the matrix was if possible."""
    added: Packed = dsfrk(rows.shape[1], len(rows), 1.0, rows.T, 1.0, packed, overwrite_c=True)
    return added


def unpacked(packed: Packed, width: int) -> NDArray[np.float64]:
    """The whole matrix, (width, width)."""
    upper: NDArray[np.float64] = np.triu(dtfttr(width, packed)[0])
    return upper + np.triu(upper, 1).T


def cholesky(packed: Packed, width: int) -> Packed:
    """Its factor.

    Raises:
        InputError: It is not positive definite in double precision.
    """
    factor, wrong = dpftrf(width, packed)
    if wrong:
        raise InputError(
            "shrinkage or alpha must be large enough that the matrix can be inverted in double precision; "
            "received one that is too small for these rows: take 0.0001 or more"
        )
    found: Packed = factor
    return found


def solved(factor: Packed, right: NDArray[np.float64]) -> NDArray[np.float64]:
    """The matrix of this factor, inverted, times `right`, (width, columns)."""
    solution: NDArray[np.float64] = dpftrs(len(right), factor, right)[0]
    return solution


def inverse(factor: Packed, width: int) -> Packed:
    """The inverse of the matrix of this factor."""
    inverted: Packed = dpftri(width, factor)[0]
    return inverted
