"""Whole numbers of few bits, packed into bytes row by row, and the arguments that are checked before packing."""

from collections.abc import Sequence

import torch
from torch import Tensor

from embedkit.errors import InputError

MOST_BITS = 16

_CODES_AT_A_TIME = 1 << 22


def packed_width(count: int, bits: int) -> int:
    """Bytes of a row of `count` codes."""
    return -(-count * bits // 8)


def pack(codes: Tensor, bits: int) -> Tensor:
    """Codes of `bits` bits each, the lowest bit first; each row begins at a byte.

    Args:
        codes: (n, count), whole numbers, 0 … 2^bits - 1.
        bits: 1 … 16.

    Returns:
        uint8 (n, packed_width(count, bits)).

    Example:
        >>> pack(torch.tensor([[1, 2, 3]]), bits=4).tolist()
        [[33, 3]]
    """
    rows = max(1, _CODES_AT_A_TIME // max(1, codes.shape[1]))
    return torch.cat([_pack(part, bits) for part in torch.split(codes, rows)])


def _pack(codes: Tensor, bits: int) -> Tensor:
    count, width = codes.shape[1], packed_width(codes.shape[1], bits)
    single = ((codes[..., None].int() >> torch.arange(bits, device=codes.device)) & 1).flatten(1)
    single = torch.nn.functional.pad(single, (0, 8 * width - count * bits)).reshape(len(codes), width, 8)
    return (single << torch.arange(8, device=codes.device)).sum(-1).to(torch.uint8)


def unpack(packed: Tensor, bits: int, count: int) -> Tensor:
    """What `pack` was given.

    Args:
        packed: uint8 (..., packed_width(count, bits)).
        bits: 1 … 16.
        count: Codes of a row.

    Returns:
        int64 (..., count).

    Example:
        >>> unpack(torch.tensor([[33, 3]], dtype=torch.uint8), bits=4, count=3).tolist()
        [[1, 2, 3]]
    """
    if bits == 8:
        return packed.long()
    begins = torch.arange(count, device=packed.device) * bits
    # A code of 16 bits that begins within a byte ends in the second byte after it.
    bytes_of = torch.nn.functional.pad(packed, (0, 2)).long()
    first, shift = begins // 8, begins % 8
    joined = bytes_of[..., first] | bytes_of[..., first + 1] << 8 | bytes_of[..., first + 2] << 16
    return (joined >> shift) & ((1 << bits) - 1)


def checked_weight(weight: Tensor, sizes: Sequence[int]) -> Tensor:
    """A table to be compressed, (sum of sizes, dim), without gradient, in float32.

    Raises:
        InputError: `weight` is of another shape or not finite.
    """
    if weight.ndim != 2 or len(weight) != sum(sizes) or weight.shape[1] < 1:
        message = f"weight must be ({sum(sizes)}, dim), a row a value; received shape {tuple(weight.shape)}"
        raise InputError(message)
    weight = weight.detach().float()
    if not weight.isfinite().all():
        row = int((~weight.isfinite().all(1)).nonzero()[0])
        message = f"weight must be finite; row {row} holds NaN or infinity"
        raise InputError(message)
    return weight


def checked_counts(counts: Tensor | Sequence[float], num_rows: int) -> Tensor:
    """How often each value occurs, float64 (num_rows,).

    Raises:
        InputError: `counts` is of another shape, negative or not finite.
    """
    counts = torch.as_tensor(counts).detach().double()
    if counts.shape != (num_rows,):
        message = f"counts must be one a value, ({num_rows},); received shape {tuple(counts.shape)}"
        raise InputError(message)
    if not counts.isfinite().all() or (counts < 0).any():
        message = f"counts must be finite and at least 0; received {counts.min():g} … {counts.max():g}"
        raise InputError(message)
    return counts


def check_share(name: str, value: float, *, zero: bool = True) -> None:
    """Refuse a share that is none.

    Raises:
        InputError: `value` is not within 0 … 1, or is 0 where `zero` is not allowed.
    """
    if not 0 <= value <= 1 or (value == 0 and not zero):
        message = f"{name} must be {'at least' if zero else 'above'} 0 and at most 1; received {value}"
        raise InputError(message)


def most_bits(rows: int, dim: int, nbytes: int, *, least: int, beside: int, means: str) -> int:
    """The most bits a value, from `least`, with which packed rows and `beside` bytes for each fit into `nbytes`.

    Raises:
        InputError: The least bits do not fit; the message says that these are `means`.
    """

    def served(bits: int) -> int:
        return rows * (packed_width(dim, bits) + beside)

    check_budget(nbytes, served(least), means)
    return max(bits for bits in range(least, MOST_BITS + 1) if served(bits) <= nbytes)


def check_budget(nbytes: int, least: int, means: str) -> None:
    """Refuse a budget that the smallest form exceeds.

    Raises:
        InputError: `nbytes` is below `least`; the message says which form that is.
    """
    if nbytes < least:
        message = f"nbytes must be at least {least}, {means}; received {nbytes}: raise it or choose another method"
        raise InputError(message)
