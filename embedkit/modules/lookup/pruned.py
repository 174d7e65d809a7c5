"""Tables with most weights gone: the stored form, and two ways to train towards it (DeepLight, PEP)."""

import operator
from collections.abc import Sequence
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from embedkit.errors import InputError
from embedkit.modules.lookup.lookup import Lookup
from embedkit.modules.lookup.packing import (
    check_budget,
    check_share,
    checked_weight,
    pack,
    packed_width,
    unpack,
)

_LAST = 1e-3


class PrunedLookup(Lookup):
    """The weights of a table that are not zero: their values, row after row, and which columns they stand in.

    The columns of a row are a bit each, and a row's values begin where those of the rows before end. A bit a weight is
    less than an index of 8 bits a kept weight as soon as an eighth is kept. Values may be trained on; columns stay.

    Bytes: 4 · nonzeros + num_rows · (4 + ⌈dim / 8⌉).

    Args:
        sizes: As in `Lookup`.
        dim: As in `Lookup`.
        names: As in `Lookup`.
        nonzeros: Weights that are kept, 0 … num_rows · dim. Until they are loaded none stands in any row: `from_weight`
            makes a lookup from a table.

    Raises:
        InputError: As in `Lookup`, or `nonzeros` is out of range.

    Example:
        >>> lookup = PrunedLookup.from_weight(torch.tensor([[3.0, 0.5], [-2.0, 1.0]]), [2], keep=0.5)
        >>> lookup(torch.tensor([[0], [1]])).tolist(), lookup.nbytes
        ([[[3.0, 0.0]], [[-2.0, 0.0]]], 18)

    Reference:
        The stored form of the pruning methods in Hailin Zhang, Penghao Zhao, Xupeng Miao, Yingxia Shao, Zirui Liu, Tong
        Yang, Bin Cui: Experimental Analysis of Large-scale Learnable Vector Storage Compression. PVLDB 17(4), 2023.

    Deviations:
        They count column indices of 32 bits (CSR, or COO for few weights); here a bit a weight.
    """

    options = ("nonzeros",)
    columns: Tensor
    begins: Tensor

    def __init__(
        self, sizes: Sequence[int], dim: int, *, names: Sequence[str] | None = None, nonzeros: int = 0
    ) -> None:
        super().__init__(sizes, dim, names=names)
        if not 0 <= operator.index(nonzeros) <= self.num_rows * self.dim:
            message = f"nonzeros must be between 0 and {self.num_rows * self.dim}; received {nonzeros}"
            raise InputError(message)
        self.nonzeros = nonzeros
        self.values = nn.Parameter(torch.zeros(nonzeros))
        self.register_buffer("columns", torch.zeros(self.num_rows, packed_width(self.dim, 1), dtype=torch.uint8))
        self.register_buffer("begins", torch.zeros(self.num_rows, dtype=_index_type(nonzeros)))

    @classmethod
    def from_weight(
        cls, weight: Tensor, sizes: Sequence[int], keep: float = 1.0, *, names: Sequence[str] | None = None
    ) -> Self:
        """The greatest weights of a known table, by magnitude over all of it.

        Args:
            weight: (num_rows, dim), the fields below each other.
            sizes: Vocabulary size of each field.
            keep: Share of the weights to keep, 0 … 1, rounded to whole weights; zeros are never stored.
            names: As in the class.

        Raises:
            InputError: `weight` is of another shape or not finite, or `keep` is out of range.
        """
        weight = checked_weight(weight, sizes)
        check_share("keep", keep)
        return cls._of(weight, largest(weight.abs(), round(keep * weight.numel())) & (weight != 0), sizes, names)

    @classmethod
    def _of(cls, weight: Tensor, kept: Tensor, sizes: Sequence[int], names: Sequence[str] | None) -> Self:
        each = kept.sum(1)
        lookup = cls(sizes, weight.shape[1], names=names, nonzeros=int(each.sum()))
        lookup.values.data = weight[kept]
        lookup.columns = pack(kept.long(), bits=1)
        lookup.begins = (each.cumsum(0) - each).to(lookup.begins.dtype)
        return lookup.to(weight.device)

    def vectors(self, rows: Tensor, fields: Tensor) -> Tensor:
        """The kept weights of each row in their columns, zeros elsewhere."""
        kept = unpack(self.columns[rows], 1, self.dim)
        if not self.nonzeros:
            return torch.zeros_like(kept, dtype=self.values.dtype)
        positions = self.begins[rows].long()[..., None] + kept.cumsum(-1) - 1
        values = self.values[positions.clamp(0, self.nonzeros - 1)]
        return torch.where(kept.bool(), values, 0)


class DeepLightLookup(Lookup):
    """A table whose smallest weights are removed step by step in training (DeepLight).

        sparsity_now = sparsity · (1 - 0.001^p) / (1 - 0.001),   p = (progress - warm_up) / (1 - warm_up), at least 0

    Every `every` steps, and at the end of training, the weights of least magnitude are set to zero until that share of
    the table is gone. What is gone stays gone. `serving` gives a `PrunedLookup`.

    Args:
        sizes: As in `Lookup`.
        dim: As in `Lookup`.
        names: As in `Lookup`.
        sparsity: Share of the weights that is gone in the end, 0 … 1.
        warm_up: Share of training before anything is removed, 0 … 1.
        every: Steps between removals.
        std: Standard deviation of the normal distribution that rows begin with.

    Raises:
        InputError: As in `Lookup`, or an argument is out of range.

    Example:
        >>> lookup = DeepLightLookup([3, 5], dim=4, sparsity=0.75)
        >>> lookup.after_step(1.0)
        >>> lookup.serving().nonzeros
        8

    Reference:
        Wei Deng, Junwei Pan, Tian Zhou, Deguang Kong, Aaron Flores, Guang Lin: DeepLight: Deep Lightweight Feature
        Interactions for Accelerating CTR Predictions in Ad Serving. WSDM 2021, Algorithm 1.

    Deviations:
        Their share after t steps is S (1 - 0.99^(t/100)), which needs t ≈ 68,700 to come within 0.001 of S; here that
        curve is stretched over the run, whatever its length, and ends at S. They keep no mask, so that what was removed
        grows back between removals; here it does not.
    """

    options = ("sparsity", "warm_up", "every", "std")
    mask: Tensor
    steps: Tensor

    def __init__(
        self,
        sizes: Sequence[int],
        dim: int,
        *,
        names: Sequence[str] | None = None,
        sparsity: float = 0.8,
        warm_up: float = 0.1,
        every: int = 10,
        std: float = 0.01,
    ) -> None:
        super().__init__(sizes, dim, names=names)
        check_share("sparsity", sparsity)
        check_share("warm_up", warm_up)
        if operator.index(every) < 1:
            message = f"every must be at least 1; received {every}"
            raise InputError(message)
        self.sparsity, self.warm_up, self.every, self.std = sparsity, warm_up, every, std
        self.weight = nn.Parameter(torch.empty(self.num_rows, dim).normal_(std=std))
        self.register_buffer("mask", torch.ones(self.num_rows, dim, dtype=torch.bool))
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

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
        **options: Any,
    ) -> Self:
        """The least sparsity whose `serving` form takes at most `nbytes` once training is over.

        Args:
            sizes: As in the class.
            dim: As in the class.
            nbytes: Bytes that may be served.
            names: As in the class.
            counts: Not used: all values are treated alike.
            seed: Not used: nothing is drawn but weights.
            **options: Further arguments of the class.

        Raises:
            InputError: `nbytes` is below the bytes of the index alone; the message names them.
        """
        del counts, seed
        keep = nonzeros_within(sizes, dim, nbytes) / (sum(sizes) * dim)
        return cls(sizes, dim, names=names, sparsity=1 - keep, **options)

    def sparsity_at(self, progress: float) -> float:
        """Share of the weights that is gone at a point of training."""
        if self.warm_up < 1:
            progress = max(0.0, (progress - self.warm_up) / (1 - self.warm_up))
        elif progress < 1:
            progress = 0.0
        return float(self.sparsity * (1 - _LAST**progress) / (1 - _LAST))

    def vectors(self, rows: Tensor, fields: Tensor) -> Tensor:
        """Rows without what was removed."""
        return nn.functional.embedding(rows, self.weight) * self.mask[rows]

    def after_step(self, progress: float) -> None:
        """Removes what the schedule says."""
        self.steps += 1
        if progress < 1 and int(self.steps) % self.every:
            return
        with torch.no_grad():
            keep = self._kept_at(progress)
            # What is gone counts as less than any weight, zero included: else it could be chosen to stay.
            self.mask &= largest(self.weight.abs().masked_fill(~self.mask, -1), keep)
            self.weight.mul_(self.mask)

    def is_final(self) -> bool:
        """Whether all is gone that shall be."""
        return int(self.mask.sum()) <= self._kept_at(1.0)

    def _kept_at(self, progress: float) -> int:
        return self.weight.numel() - round(self.sparsity_at(progress) * self.weight.numel())

    def serving(self) -> PrunedLookup:
        """What is left."""
        return PrunedLookup.from_weight(self.weight * self.mask, self.sizes, names=self.names)


class SoftThresholdLookup(Lookup):
    """A table whose weights shrink by trained thresholds, to zero below them (PEP).

        vector = sign(weight) · max(|weight| - sigmoid(threshold), 0)

    `serving` gives a `PrunedLookup`. How much is pruned follows from training, not from a budget: stop at the size that
    is wanted.

    Args:
        sizes: As in `Lookup`.
        dim: As in `Lookup`.
        names: As in `Lookup`.
        per: What has a threshold of its own: "all" (one for the table), "dim" (a column), "row", or "weight".
        start: Where thresholds begin; sigmoid(-8) is 0.0003.
        std: Standard deviation of the normal distribution that rows begin with.

    Raises:
        InputError: As in `Lookup`, or `per` is none of these.

    Example:
        >>> lookup = SoftThresholdLookup([2], dim=3, start=0.0)
        >>> _ = lookup.weight.data.copy_(torch.tensor([[0.75, -1.5, 0.25], [0.0, 0.5, -0.5]]))
        >>> lookup(torch.tensor([[0]])).tolist(), lookup.serving().nonzeros
        ([[[0.25, -1.0, 0.0]]], 2)

    Reference:
        Siyi Liu, Chen Gao, Yihong Chen, Depeng Jin, Yong Li: Learnable Embedding Sizes for Recommender Systems. ICLR
        2021, Eq. 4–6.

    Deviations:
        Retraining from the initial weights under the mask that was found is not part of this; training on
        `serving()` keeps that mask and starts from the weights that were found.
    """

    options = ("per", "start", "std")

    def __init__(
        self,
        sizes: Sequence[int],
        dim: int,
        *,
        names: Sequence[str] | None = None,
        per: Literal["all", "dim", "row", "weight"] = "row",
        start: float = -8.0,
        std: float = 0.01,
    ) -> None:
        super().__init__(sizes, dim, names=names)
        shapes = {"all": (1, 1), "dim": (1, dim), "row": (self.num_rows, 1), "weight": (self.num_rows, dim)}
        if per not in shapes:
            message = f"per must be one of {', '.join(shapes)}; received {per!r}"
            raise InputError(message)
        self.per, self.start, self.std = per, start, std
        self.weight = nn.Parameter(torch.empty(self.num_rows, dim).normal_(std=std))
        self.threshold = nn.Parameter(torch.full(shapes[per], float(start)))

    def vectors(self, rows: Tensor, fields: Tensor) -> Tensor:
        """Rows, shrunk."""
        threshold = self.threshold if len(self.threshold) == 1 else nn.functional.embedding(rows, self.threshold)
        return _shrunk(nn.functional.embedding(rows, self.weight), threshold)

    def serving(self) -> PrunedLookup:
        """What is not zero."""
        return PrunedLookup.from_weight(_shrunk(self.weight, self.threshold), self.sizes, names=self.names)


def _shrunk(weight: Tensor, threshold: Tensor) -> Tensor:
    return weight.sign() * (weight.abs() - threshold.sigmoid()).relu()


def largest(scores: Tensor, count: int) -> Tensor:
    """True for exactly the `count` greatest of `scores`, in its shape; of equal ones the first."""
    kept = torch.zeros(scores.numel(), dtype=torch.bool, device=scores.device)
    kept[scores.flatten().sort(descending=True, stable=True).indices[:count]] = True
    return kept.reshape(scores.shape)


def nonzeros_within(sizes: Sequence[int], dim: int, nbytes: int) -> int:
    """The most weights whose `PrunedLookup` takes at most `nbytes`.

    Raises:
        InputError: Its index alone takes more; the message names the bytes.
    """
    index = sum(sizes) * (4 + packed_width(dim, 1))
    check_budget(nbytes, index, "those of the index alone")
    return min(sum(sizes) * dim, (nbytes - index) // 4)


def _index_type(greatest: int) -> torch.dtype:
    return torch.int32 if greatest < 2**31 else torch.int64
