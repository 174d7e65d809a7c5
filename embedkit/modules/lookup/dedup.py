"""Blocks of rows that are nearly equal, stored once."""

import operator
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from embedkit.errors import InputError
from embedkit.modules.lookup.lookup import Lookup
from embedkit.modules.lookup.packing import check_budget, check_share, checked_weight

_MOST_ROWS, _FEWEST_BLOCKS = 10_000, 1000


class DedupLookup(Lookup):
    """A table cut into blocks of `block_rows` rows, of which nearly equal ones are stored once.

    Row i is row i mod block_rows of block places[⌊i / block_rows⌋]. Blocks may be trained on, by all that share them.

    Bytes: 4 · kept · block_rows · dim + 4 · ⌈num_rows / block_rows⌉.

    Args:
        sizes: As in `Lookup`.
        dim: As in `Lookup`.
        block_rows: Rows of a block. A block may hold rows of two fields; the last is filled up with zeros.
        kept: Blocks that are stored. Which stands where is loaded: `from_weight` makes a lookup from a table.
        names: As in `Lookup`.

    Raises:
        InputError: As in `Lookup`, or `block_rows` or `kept` is below 1, or `kept` above the blocks that there are.

    Example:
        >>> weight = torch.tensor([[1.0], [2.0], [1.0], [2.0], [5.0], [6.0]])
        >>> lookup = DedupLookup.from_weight(weight, [6], block_rows=2)
        >>> lookup(torch.tensor([[3], [4]])).flatten().tolist(), lookup.kept, lookup.nbytes
        ([2.0, 5.0], 2, 28)

    Reference:
        Lixi Zhou, Jiaqing Chen, Amitabh Das, Hong Min, Lei Yu, Ming Zhao, Jia Zou: Serving Deep Learning Models with
        Deduplication from Relational Databases. PVLDB 15(10), 2022, section 4.

    Deviations:
        A block is compared with every kept one instead of those that locality-sensitive hashing proposes: the time
        grows with the square of the blocks. Their blocks are pages of a database, at most 10,000 rows here; of small
        tables they are shorter, so that there are about 1,000. No validation data decides when to stop merging;
        `nbytes` may.
    """

    options = ("block_rows", "kept")
    places: Tensor

    def __init__(
        self,
        sizes: Sequence[int],
        dim: int,
        *,
        block_rows: int,
        kept: int,
        names: Sequence[str] | None = None,
    ) -> None:
        super().__init__(sizes, dim, names=names)
        if operator.index(block_rows) < 1:
            message = f"block_rows must be at least 1; received {block_rows}"
            raise InputError(message)
        count = -(-self.num_rows // block_rows)
        if not 1 <= operator.index(kept) <= count:
            message = f"kept must be between 1 and the number of blocks, {count}; received {kept}"
            raise InputError(message)
        self.block_rows, self.kept = block_rows, kept
        self.blocks = nn.Parameter(torch.zeros(kept, block_rows, dim))
        self.register_buffer("places", torch.zeros(count, dtype=torch.int32))

    @classmethod
    def from_weight(
        cls,
        weight: Tensor,
        sizes: Sequence[int],
        *,
        block_rows: int | None = None,
        tolerance: float = 0.01,
        similarity: float = 0.7,
        nbytes: int | None = None,
        names: Sequence[str] | None = None,
    ) -> Self:
        """Merge the blocks of a known table.

        Blocks are taken in ascending order of the third quartile of their numbers. One becomes the first kept block of
        which at least the share `similarity` of the numbers differs by at most `tolerance`, or is kept itself.

        Args:
            weight: (num_rows, dim), the fields below each other.
            sizes: Vocabulary size of each field.
            block_rows: Rows of a block; None for a thousandth of the rows, from 1 to 10,000.
            tolerance: Difference of two numbers that count as equal, at least 0.
            similarity: 0 … 1. With `tolerance` 0 and `similarity` 1 nothing is lost.
            nbytes: Bytes at which merging stops; None to merge all that can be.
            names: As in the class.

        Raises:
            InputError: `weight` is of another shape or not finite, an argument is out of range, or merging all that can
                be takes more than `nbytes`; the message names the bytes.
        """
        weight = checked_weight(weight, sizes)
        check_share("similarity", similarity)
        if not tolerance >= 0:
            message = f"tolerance must be at least 0; received {tolerance}"
            raise InputError(message)
        num_rows, dim = weight.shape
        block_rows = default_block_rows(num_rows) if block_rows is None else block_rows
        count = -(-num_rows // max(1, operator.index(block_rows)))
        lookup = cls(sizes, dim, block_rows=block_rows, kept=count, names=names)
        filled = nn.functional.pad(weight, (0, 0, 0, count * block_rows - num_rows))
        blocks = filled.reshape(count, block_rows * dim)
        goal = 1 if nbytes is None else (nbytes - 4 * count) // (4 * block_rows * dim)
        kept, places = _merged(blocks, tolerance, similarity, goal)
        lookup.kept, lookup.places = len(kept), places.to(torch.int32)
        lookup.blocks = nn.Parameter(blocks[kept].reshape(-1, block_rows, dim))
        if nbytes is not None:
            check_budget(nbytes, lookup.nbytes, f"what blocks within {tolerance:g} of each other leave")
        return lookup.to(weight.device)

    def vectors(self, rows: Tensor, fields: Tensor) -> Tensor:
        """Rows of the blocks that stand for theirs."""
        positions = self.places[rows // self.block_rows].long() * self.block_rows + rows % self.block_rows
        return nn.functional.embedding(positions, self.blocks.flatten(0, 1))


def default_block_rows(num_rows: int) -> int:
    """Rows of a block for a table of this size."""
    return max(1, min(_MOST_ROWS, num_rows // _FEWEST_BLOCKS))


def _merged(blocks: Tensor, tolerance: float, similarity: float, goal: int) -> tuple[Tensor, Tensor]:
    """Blocks that are kept, (kept,), and which of them stands for each block, (blocks,).

    Merging stops when no more than `goal` would be left if all further blocks were kept.
    """
    middle = blocks.shape[1] * 3 // 4
    order = blocks.sort(dim=1).values[:, middle].argsort(stable=True).tolist()
    candidates = torch.empty_like(blocks)
    kept: list[int] = []
    places = torch.zeros(len(blocks), dtype=torch.long, device=blocks.device)
    for done, index in enumerate(order):
        candidates[len(kept)] = blocks[index]
        place = len(kept)
        if kept and len(kept) + len(order) - done > goal:
            near = (candidates[:place] - blocks[index]).abs() <= tolerance
            equal = near.sum(1) >= similarity * blocks.shape[1]
            place = int(equal.int().argmax()) if equal.any() else place
        if place == len(kept):
            kept.append(index)
        places[index] = place
    return torch.tensor(kept, device=blocks.device), places
