"""Hashing of ids that is the same in every process: random linear maps modulo a prime."""

from collections.abc import Sequence
from hashlib import blake2b

import torch
from torch import Tensor

from embedkit.errors import InputError

PRIME = 2**31 - 1
"""Keys and coefficients lie below it, so that their product and sum fit in 64 bits."""


def hash_coefficients(seed: int, keys: Sequence[int], count: int) -> Tensor:
    """Coefficients of `count` hashes a field, drawn from (seed, field, number of the hash) alone.

    So a further field, or a further hash, moves nothing that is there.

    Args:
        seed: Any integer.
        keys: Number of keys of each field, (fields,).
        count: Hashes a field.

    Returns:
        (fields, count, 2), int32: a in 1 … PRIME - 1, b in 0 … PRIME - 1.

    Raises:
        InputError: A field has more keys than the hash can tell apart.
    """
    if max(keys) >= PRIME:
        message = f"a field must have fewer than {PRIME} keys to hash; received {max(keys)}"
        raise InputError(message)
    pairs = [[_pair(f"{seed} {field} {number}") for number in range(count)] for field in range(len(keys))]
    return torch.tensor(pairs, dtype=torch.int32).reshape(len(keys), count, 2)


def _pair(name: str) -> tuple[int, int]:
    digest = blake2b(name.encode(), digest_size=16).digest()
    first, second = (int.from_bytes(half, "little") for half in (digest[:8], digest[8:]))
    return 1 + first % (PRIME - 1), second % PRIME


def universal_hash(keys: Tensor, coefficients: Tensor, buckets: int | Tensor) -> Tensor:
    """((a · key + b) mod PRIME) mod buckets, in 64-bit arithmetic.

    Two keys of one field share a bucket with probability at most 1 / buckets over the choice of (a, b).

    Args:
        keys: 0 … PRIME - 1, broadcast against the coefficients.
        coefficients: (..., 2), a and b.
        buckets: Number of buckets, broadcast likewise.

    Returns:
        0 … buckets - 1, int64.

    Reference:
        J. Lawrence Carter, Mark Wegman: Universal Classes of Hash Functions. Journal of Computer and System Sciences
        18, 1979, Prop. 7 (class H1).
    """
    a, b = coefficients.long().unbind(-1)
    # Nothing is negative, so that fmod is the remainder; it is the faster one.
    return (keys * a).add_(b).fmod_(PRIME).fmod_(buckets)
