"""A row of their own for frequent values, shared rows for the others (AdaptEmb)."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from embedkit.errors import InputError
from embedkit.modules.arguments import check_sizes
from embedkit.modules.lookup.lookup import Lookup, whole_numbers
from embedkit.modules.lookup.packing import check_budget, check_share, checked_counts
from embedkit.modules.lookup.universal_hash import hash_coefficients, universal_hash


class AdaptiveLookup(Lookup):
    """The most frequent values of all fields own a row each; the others are hashed onto a few rows.

        vector = weight[remap[row]],   remap[row] = rank of row          if row is among the hot_rows most frequent
                                                    hot_rows + h_f(i)    else

    for value i of field f, which is `row` of the common space of ids. Of equally frequent values the earlier rows are
    hot, so that there are exactly `hot_rows` of them.

    4 · (hot_rows + cold_rows) · dim + 4 · num_rows bytes; the last is the map, as much as num_rows / dim rows.

    Args:
        sizes: As in `Lookup`.
        dim: As in `Lookup`.
        names: As in `Lookup`.
        counts: How often each value occurs in the training data, (num_rows,), fields below each other.
        hot_rows: Values with a row of their own, 0 … num_rows.
        cold_rows: Rows of all others together; 0 only when there are none.
        seed: What hashes are drawn from.
        std: Standard deviation of the normal distribution that rows begin with.

    Raises:
        InputError: As `Lookup`; `counts` are not one a value, or a number of rows is out of range.

    Example:
        >>> import torch
        >>> lookup = AdaptiveLookup([3, 5], dim=4, counts=torch.arange(8), hot_rows=3, cold_rows=2)
        >>> lookup.remap[-3:].tolist(), lookup.nbytes
        ([2, 1, 0], 112)

    Reference:
        Hailin Zhang, Penghao Zhao, Xupeng Miao, Yingxia Shao, Zirui Liu, Tong Yang, Bin Cui: Experimental Analysis of
        Large-scale Learnable Vector Storage Compression. PVLDB 17, 2024; AdaptEmb in its taxonomy.

    Deviations:
        The map is stored and counted, where the authors' code leaves it out of the budget. Cold values of all fields
        share their rows.
    """

    options = ("hot_rows", "cold_rows", "seed", "std")
    remap: Tensor

    def __init__(
        self,
        sizes: Sequence[int],
        dim: int,
        *,
        names: Sequence[str] | None = None,
        counts: Tensor | Sequence[float],
        hot_rows: int,
        cold_rows: int,
        seed: int = 0,
        std: float = 0.01,
    ) -> None:
        super().__init__(sizes, dim, names=names)
        counts = checked_counts(counts, self.num_rows)
        check_sizes(least=0, hot_rows=hot_rows)
        check_sizes(least=0 if hot_rows == self.num_rows else 1, cold_rows=cold_rows)
        if hot_rows > self.num_rows:
            message = f"hot_rows must be at most the number of values, {self.num_rows}; received {hot_rows}"
            raise InputError(message)
        self.hot_rows, self.cold_rows, self.seed, self.std = hot_rows, cold_rows, seed, std
        hot = counts.argsort(descending=True, stable=True)[:hot_rows].cpu()
        coefficients = hash_coefficients(seed, self.sizes, 1)
        remap = torch.cat(
            [
                hot_rows + universal_hash(torch.arange(size), coefficients[field, 0], max(1, cold_rows))
                for field, size in enumerate(self.sizes)
            ]
        )
        remap[hot] = torch.arange(hot_rows)
        self.register_buffer("remap", remap.int())
        self.weight = nn.Parameter(torch.empty(hot_rows + cold_rows, dim).normal_(std=std))

    @classmethod
    def for_budget(
        cls,
        sizes: Sequence[int],
        dim: int,
        nbytes: int,
        *,
        names: Sequence[str] | None = None,
        counts: Tensor | Sequence[float] | None = None,
        seed: int = 0,
        hot_share: float = 0.5,
    ) -> Self:
        """The largest within a budget of bytes.

        Args:
            sizes: As in the constructor.
            dim: As in the constructor.
            nbytes: Most bytes that may be stored.
            names: As in the constructor.
            counts: As in the constructor; it must be given.
            seed: As in the constructor.
            hot_share: Share of the rows that frequent values own, 0 … 1.

        Raises:
            InputError: There are no counts, the budget is below the map and one row, or as the constructor raises.
        """
        if counts is None:
            message = f"counts must be given, how often each value occurs: {cls.__name__} tells values apart by it"
            raise InputError(message)
        check_share("hot_share", hot_share)
        values = sum(whole_numbers(sizes))
        (dim,) = whole_numbers([dim], name="dim")
        check_budget(nbytes, 4 * values + 4 * dim, f"the smallest {cls.__name__} of these fields")
        rows = (nbytes - 4 * values) // (4 * dim)
        hot_rows = values if rows >= values else min(int(rows * hot_share), rows - 1)
        cold_rows = 0 if rows >= values else rows - hot_rows
        return cls(sizes, dim, names=names, counts=counts, hot_rows=hot_rows, cold_rows=cold_rows, seed=seed)

    @classmethod
    def _empty(cls, config: Mapping[str, Any]) -> Self:
        # The counts are not kept: what follows from them is the map, which is about to be read.
        return cls(**config, counts=torch.zeros(sum(config["sizes"])))

    def vectors(self, rows: Tensor, fields: Tensor) -> Tensor:
        """Rows that the map names."""
        return nn.functional.embedding(self.remap[rows], self.weight)
