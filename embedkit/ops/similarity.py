"""How alike vectors are, as torch functions with gradients: what losses compare embeddings with.

They compute in float32 at least, also within autocast: a similarity is divided by a small temperature and
exponentiated, and the three digits of half precision would be lost there.
"""

from contextlib import AbstractContextManager, nullcontext

import torch
from jaxtyping import Float
from torch import Tensor

_SHORTEST = 1e-12


def cosine_similarity(a: Float[Tensor, "n dim"], b: Float[Tensor, "m dim"]) -> Float[Tensor, "n m"]:
    """Cosine of each row of `a` with each row of `b`: ⟨a_i, b_j⟩ / (‖a_i‖ ‖b_j‖).

    A row shorter than 1e-12 has no direction: its cosines are 0, and so is its gradient.

    Args:
        a: Floating, (n, dim).
        b: Floating, (m, dim).

    Returns:
        (n, m), within −1 … 1 up to rounding; float32, or float64 where that came in.

    Example:
        >>> cosine_similarity(torch.tensor([[3.0, 4.0], [0.0, 0.0]]), torch.tensor([[1.0, 0.0]])).tolist()
        [[0.6000000238418579], [0.0]]
    """
    with _full_precision(a):
        a, b = _as_one_type(a, b)
        return _unit(a) @ _unit(b).T


def pairwise_cosine_similarity(a: Float[Tensor, "n dim"], b: Float[Tensor, "n dim"]) -> Float[Tensor, "n"]:
    """Cosine of each row of `a` with the same row of `b`; the diagonal of `cosine_similarity`.

    Args:
        a: Floating, (n, dim).
        b: Floating, (n, dim).

    Returns:
        (n,), as in `cosine_similarity`.

    Example:
        >>> pairwise_cosine_similarity(torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 2.0]])).tolist()
        [0.800000011920929]
    """
    with _full_precision(a):
        a, b = _as_one_type(a, b)
        return (_unit(a) * _unit(b)).sum(dim=1)


def dot_product(a: Float[Tensor, "n dim"], b: Float[Tensor, "m dim"]) -> Float[Tensor, "n m"]:
    """Inner product of each row of `a` with each row of `b`: ⟨a_i, b_j⟩.

    Args:
        a: Floating, (n, dim).
        b: Floating, (m, dim).

    Returns:
        (n, m); float32, or float64 where that came in.

    Example:
        >>> dot_product(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0], [0.0, 1.0]])).tolist()
        [[11.0, 2.0]]
    """
    with _full_precision(a):
        a, b = _as_one_type(a, b)
        return a @ b.T


def pairwise_dot_product(a: Float[Tensor, "n dim"], b: Float[Tensor, "n dim"]) -> Float[Tensor, "n"]:
    """Inner product of each row of `a` with the same row of `b`; the diagonal of `dot_product`.

    Args:
        a: Floating, (n, dim).
        b: Floating, (n, dim).

    Returns:
        (n,), as in `dot_product`.

    Example:
        >>> pairwise_dot_product(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]])).tolist()
        [11.0]
    """
    with _full_precision(a):
        a, b = _as_one_type(a, b)
        return (a * b).sum(dim=1)


def euclidean_distance(a: Float[Tensor, "n dim"], b: Float[Tensor, "m dim"]) -> Float[Tensor, "n m"]:
    """Length of the difference of each row of `a` and each row of `b`: ‖a_i − b_j‖.

    Equal rows have no gradient.

    Args:
        a: Floating, (n, dim).
        b: Floating, (m, dim).

    Returns:
        (n, m); float32, or float64 where that came in.

    Example:
        >>> euclidean_distance(torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 0.0], [3.0, 4.0]])).tolist()
        [[5.0, 0.0]]
    """
    with _full_precision(a):
        a, b = _as_one_type(a, b)
        # By a product of matrices, torch's choice for more rows, near rows lose their distance to rounding.
        return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def unit_distance(a: Float[Tensor, "n dim"], b: Float[Tensor, "m dim"]) -> Float[Tensor, "n m"]:
    """Euclidean distance of rows scaled to length 1: √(2 − 2 cosine), by a product of matrices.

    Faster than `euclidean_distance` and less exact: in float32 distances below 1e-3 are lost to rounding. Equal rows
    have no gradient; a row without direction is √2 from all.

    Args:
        a: Floating, (n, dim).
        b: Floating, (m, dim).

    Returns:
        (n, m), 0 … 2; float32, or float64 where that came in.

    Example:
        >>> unit_distance(torch.tensor([[3.0, 0.0]]), torch.tensor([[1.0, 0.0], [-2.0, 0.0]])).tolist()
        [[0.0, 2.0]]
    """
    squares = 2 - 2 * cosine_similarity(a, b)
    equal = squares < _SHORTEST
    return squares.masked_fill(equal, 1).sqrt().masked_fill(equal, 0)


def _unit(rows: Tensor) -> Tensor:
    # torch's normalize divides short rows by 1e-12, which multiplies their gradient by 1e12; by infinity both are 0.
    lengths = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    unit: Tensor = rows / lengths.masked_fill(lengths < _SHORTEST, torch.inf)
    return unit


def _as_one_type(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    common = torch.promote_types(torch.promote_types(a.dtype, b.dtype), torch.float32)
    return a.to(common), b.to(common)


def _full_precision(tensor: Tensor) -> AbstractContextManager[object]:
    kind = tensor.device.type
    return torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext()
