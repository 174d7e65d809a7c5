"""Vectors cut out of one array at hashed places (ROBE, random offset block embedding)."""

from collections.abc import Sequence
from math import ceil
from typing import Self

import torch
from torch import Tensor, nn

from embedkit.errors import InputError
from embedkit.modules.arguments import check_sizes
from embedkit.modules.lookup.budget import largest_size
from embedkit.modules.lookup.lookup import Lookup
from embedkit.modules.lookup.universal_hash import PRIME, hash_coefficients, universal_hash


class RobeLookup(Lookup):
    """All vectors overlap in one circular array; blocks of `block_size` entries begin at hashed places.

        vector[j] = sign_f(i, j) · weight[(h_f(t // block_size) + t mod block_size) mod entries],   t = i · dim + j
        h_f(block) = ((a_f · block + b_f) mod 2³¹-1) mod entries

    for value i of field f, whose table is read as one long row of blocks. With a block_size below `dim` a vector has
    several blocks, and two values that share entries of one seldom share those of another; above it, values that follow
    each other lie side by side, which memory reads faster. Signs are bits of further hashes of (f, i).

    4 · entries + 8 · fields · (1 + ⌈dim / 24⌉) bytes.

    Args:
        sizes: As in `Lookup`.
        dim: As in `Lookup`.
        names: As in `Lookup`.
        entries: Length of the array, at least min(block_size, dim).
        block_size: Entries that stay together: a divisor or a multiple of `dim`. The paper's Z.
        seed: What hashes are drawn from.
        std: Standard deviation of the normal distribution that entries begin with.

    Raises:
        InputError: As `Lookup`; `block_size` is neither a divisor nor a multiple of `dim`, or `entries` are too few or
            too many.

    Example:
        >>> import torch
        >>> lookup = RobeLookup([1000, 5], dim=4, entries=100, block_size=2)
        >>> lookup(torch.tensor([[999, 0], [0, 4]])).shape, lookup.nbytes
        (torch.Size([2, 2, 4]), 432)

    Reference:
        Aditya Desai, Li Chou, Anshumali Shrivastava: Random Offset Block Embedding (ROBE) for Compressed Embedding
        Tables in Deep Learning Recommendation Systems. MLSys 2022.

    Deviations:
        The hash of a block is linear in its number with coefficients of its field, instead of linear in field and
        number: a further field moves nothing either way. The prime is 2³¹-1. Signs, which the paper leaves a choice,
        are always used.
    """

    options = ("entries", "block_size", "seed", "std")
    coefficients: Tensor
    signs: Tensor

    def __init__(
        self,
        sizes: Sequence[int],
        dim: int,
        *,
        names: Sequence[str] | None = None,
        entries: int,
        block_size: int,
        seed: int = 0,
        std: float = 0.01,
    ) -> None:
        super().__init__(sizes, dim, names=names)
        check_sizes(block_size=block_size)
        if dim % block_size and block_size % dim:
            message = f"block_size must be a divisor or a multiple of dim, which is {dim}; received {block_size}"
            raise InputError(message)
        check_sizes(least=min(block_size, dim), entries=entries)
        if entries > PRIME - dim:
            message = f"entries must be at most {PRIME - dim}, which a hash can reach; received {entries}"
            raise InputError(message)
        self.entries, self.block_size, self.seed, self.std = entries, block_size, seed, std
        blocks = [ceil(size * dim / block_size) for size in self.sizes]
        keys = [max(pair) for pair in zip(self.sizes, blocks, strict=True)]
        self.register_buffer("coefficients", hash_coefficients(seed, keys, 1 + _words(dim)))
        bits = (torch.arange(1 << _BYTE)[:, None] >> torch.arange(_BYTE)) & 1
        self.register_buffer("signs", 1.0 - 2 * bits, persistent=False)
        self.weight = nn.Parameter(torch.empty(entries).normal_(std=std))

    @classmethod
    def for_budget(
        cls,
        sizes: Sequence[int],
        dim: int,
        nbytes: int,
        *,
        names: Sequence[str] | None = None,
        counts: Tensor | None = None,
        seed: int = 0,
        block_size: int | None = None,
    ) -> Self:
        """The largest within a budget of bytes.

        Args:
            sizes: As in the constructor.
            dim: As in the constructor.
            nbytes: Most bytes that may be stored.
            names: As in the constructor.
            counts: Not used: all values are hashed alike.
            seed: As in the constructor.
            block_size: As in the constructor; None for `dim`.

        Raises:
            InputError: The budget is below one block, or as the constructor raises.
        """
        del counts
        block_size = dim if block_size is None else block_size

        def cost(entries: int) -> int:
            return 4 * entries + 8 * len(sizes) * (1 + _words(dim))

        least = min(block_size, dim)
        entries = largest_size(cls, cost, nbytes, least=least, most=max(least, nbytes))
        return cls(sizes, dim, names=names, entries=min(entries, PRIME - dim), block_size=block_size, seed=seed)

    def vectors(self, rows: Tensor, fields: Tensor) -> Tensor:
        """Entries of the array with signs."""
        values = (rows - self.offsets[fields])[..., None]
        coefficients = self.coefficients[fields]
        width = min(self.block_size, self.dim)
        first = values * self.dim + torch.arange(0, self.dim, width, device=rows.device)
        start = universal_hash(first // self.block_size, coefficients[:, :1], self.entries)
        start = start.add_(first % self.block_size).fmod_(self.entries)
        # Half as wide numbers are half as much to write: this and the reading of entries are most of the time.
        index = (start.int()[..., None] + torch.arange(width, dtype=torch.int32, device=rows.device)).flatten(-2)
        index -= (index >= self.entries).int().mul_(self.entries)
        entries = self.weight.index_select(0, index.flatten()).reshape(index.shape)
        return entries * self._signs(values, coefficients[:, 1:])

    def _signs(self, values: Tensor, coefficients: Tensor) -> Tensor:
        """±1 of each dimension, (batch, columns, dim)."""
        words = universal_hash(values, coefficients, 1 << _BITS)
        shifts = torch.arange(0, _BITS, _BYTE, device=values.device)
        patterns = (
            (words[..., None] >> shifts).bitwise_and_((1 << _BYTE) - 1).flatten(-2)[..., : ceil(self.dim / _BYTE)]
        )
        return nn.functional.embedding(patterns, self.signs).flatten(-2)[..., : self.dim]


_BITS = 24  # of a hash that are signs
_BYTE = 8  # of these that are looked up at once


def _words(dim: int) -> int:
    """Hashes that give `dim` signs."""
    return ceil(dim / _BITS)
