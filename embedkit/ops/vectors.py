"""Plain array operations that every shelf shares: checking, truncating, normalising."""

from typing import Any

import numpy as np
from jaxtyping import Float32, Int64
from numpy.typing import ArrayLike

from embedkit.errors import InputError
from embedkit.types import Embeddings, Mask

_REAL = "fiu"
_SAFE_NORMS = (1e-12, 1e15)


def as_embeddings(value: Any, *, dim: int | None = None, what: str = "embeddings") -> Embeddings:
    """Check vectors that come from outside and return them as float32 (n, dim), C-contiguous.

    Args:
        value: Array-like of real numbers, shape (n, dim).
        dim: The width they must have; None accepts any positive width.
        what: The argument's name, for the messages.

    Returns:
        The same numbers as float32; the input itself when nothing has to change.

    Raises:
        InputError: Not 2-D, wrong width, not real numbers, or not finite as float32.

    Example:
        >>> as_embeddings([[1, 2]]).dtype
        dtype('float32')
    """
    array = as_real(value, what)
    if array.ndim != 2:
        message = f"{what} must have shape (n, dim); received shape {array.shape}"
        raise InputError(message)
    if array.shape[1] != (dim or array.shape[1]) or array.shape[1] == 0:
        expected = f"{dim} dimensions" if dim else "at least one dimension"
        message = f"{what} must have {expected}; received {array.shape[1]}"
        raise InputError(message)
    with np.errstate(over="ignore"):
        floats: Embeddings = np.ascontiguousarray(array, dtype=np.float32)
    _check_finite(floats, what)
    return floats


def as_labels(value: ArrayLike, count: int) -> Int64[np.ndarray, "n"]:
    """Check classes that come from outside and return them as int64 (n,).

    Args:
        value: Array-like of integers, shape (n,).
        count: How many there must be.

    Raises:
        InputError: They are not one integer each.

    Example:
        >>> as_labels([3, 1], 2).tolist()
        [3, 1]
    """
    labels = np.asarray(value)
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        message = f"labels must be one integer for each of {count} vectors; received {labels.dtype} {labels.shape}"
        raise InputError(message)
    return labels.astype(np.int64)


def as_real(value: Any, what: str) -> np.ndarray[Any, np.dtype[Any]]:
    """An array of real numbers, whatever its shape and type.

    Raises:
        InputError: Not an array, or of something else than real numbers.
    """
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        message = f"{what} must be an array of numbers; received {type(value).__name__} ({reason})"
        raise InputError(message) from None
    if array.dtype.kind not in _REAL:
        message = f"{what} must be real numbers; received dtype {array.dtype}"
        raise InputError(message)
    return array


def _check_finite(array: Embeddings, what: str) -> None:
    # A sum is finite only if no entry is NaN or infinite: one pass, no mask, exact rows only on failure.
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(array.sum(dtype=np.float64)):
            return
    bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
    message = f"{what} must be finite; row {bad[0]} holds NaN or infinity ({len(bad)} such rows)"
    raise InputError(message)


def normalize(embeddings: Embeddings) -> Embeddings:
    """Scale each row to length 1; a zero row stays zero.

    Args:
        embeddings: Shape (n, dim).

    Returns:
        New array of the same shape.

    Example:
        >>> normalize(np.array([[3.0, 4.0], [0.0, 0.0]], dtype=np.float32)).tolist()
        [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    with np.errstate(over="ignore", under="ignore"):
        norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
    # Squares of very small and very large numbers leave float32: such rows are measured again in float64.
    odd = ~((norms[:, 0] > _SAFE_NORMS[0]) & (norms[:, 0] < _SAFE_NORMS[1]))
    if odd.any():
        return _normalize_wide(embeddings, odd)
    scaled: Embeddings = embeddings / norms
    return scaled


def _normalize_wide(embeddings: Embeddings, odd: Mask) -> Embeddings:
    scaled = embeddings.copy()
    scaled[~odd] = normalize(embeddings[~odd])
    wide = embeddings[odd].astype(np.float64)
    scaled[odd] = wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    return scaled


def truncate(embeddings: Float32[np.ndarray, "n full"], dim: int) -> Float32[np.ndarray, "n dim"]:
    """Keep the first `dim` dimensions (a Matryoshka prefix); lengths are not restored.

    Args:
        embeddings: Shape (n, full).
        dim: 1 ≤ dim ≤ full.

    Returns:
        Shape (n, dim), C-contiguous.

    Raises:
        InputError: `dim` is out of range.

    Example:
        >>> truncate(np.ones((2, 4), dtype=np.float32), 3).shape
        (2, 3)
    """
    full = embeddings.shape[1]
    if not 1 <= dim <= full:
        message = f"truncate_dim must be between 1 and {full}; received {dim}"
        raise InputError(message)
    return np.ascontiguousarray(embeddings[:, :dim])
