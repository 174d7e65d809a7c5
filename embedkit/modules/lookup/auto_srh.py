"""AutoSrh: which dimensions values need, found for groups of values that are about equally frequent."""

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from embedkit.errors import InputError
from embedkit.modules.lookup.lookup import Lookup
from embedkit.modules.lookup.packing import check_share, checked_counts
from embedkit.modules.lookup.pruned import PrunedLookup, largest, nonzeros_within

_MOST_GROUPS = 256


class AutoSrhLookup(Lookup):
    """A table whose dimensions are weighted for each group of like frequency, then pruned (AutoSrh).

        vector = alpha[group] ⊙ row,   0 ≤ alpha ≤ 1

    Values are sorted by how often they occur and cut into `groups` of equal size, up to one. `alpha` begins at 1 and is
    trained on validation data. At the end of training all but the share 1 - `sparsity` of the table, the entries of
    greatest |alpha · row|, become zero. `serving` gives a `PrunedLookup`; training on that is the paper's
    retraining, with alpha and what was pruned frozen.

    Args:
        sizes: As in `Lookup`.
        dim: As in `Lookup`.
        counts: How often each value occurs, (num_rows,); of equal ones the first count as more frequent.
        names: As in `Lookup`.
        groups: Groups of values, 1 … 256.
        sparsity: Share of the table that is pruned in the end, 0 … 1.
        alpha_lr: Learning rate of alpha.
        l1: Weight of the L1 norm of alpha.
        std: Standard deviation of the normal distribution that rows begin with.

    Raises:
        InputError: As in `Lookup`, `counts` is not (num_rows,), or a number is out of range.

    Example:
        >>> lookup = AutoSrhLookup([3, 5], dim=4, counts=range(8), sparsity=0.75)
        >>> lookup.after_step(1.0)
        >>> lookup.serving().nonzeros
        8

    Reference:
        Shuming Kong, Weiyu Cheng, Yanyan Shen, Linpeng Huang: AutoSrh: An Embedding Dimensionality Search Framework for
        Tabular Data Prediction. IEEE TKDE 35(7), 2023, section 4.

    Deviations:
        Groups span all fields. The gradient of alpha is divided by the mean of its magnitudes in the group, as in their
        code: alpha moves by about `alpha_lr` a step, however weak the signal.
    """

    options = ("groups", "sparsity", "alpha_lr", "l1", "std")
    group: Tensor
    mask: Tensor

    def __init__(  # noqa: PLR0913 (each is a choice of the method)
        self,
        sizes: Sequence[int],
        dim: int,
        counts: Tensor | Sequence[float],
        *,
        names: Sequence[str] | None = None,
        groups: int = 6,
        sparsity: float = 0.8,
        alpha_lr: float = 0.001,
        l1: float = 1e-5,
        std: float = 0.01,
    ) -> None:
        super().__init__(sizes, dim, names=names)
        if not 1 <= operator.index(groups) <= _MOST_GROUPS:
            message = f"groups must be between 1 and {_MOST_GROUPS}; received {groups}"
            raise InputError(message)
        check_share("sparsity", sparsity)
        self.groups, self.sparsity, self.alpha_lr, self.l1, self.std = groups, sparsity, alpha_lr, l1, std
        self.weight = nn.Parameter(torch.empty(self.num_rows, dim).normal_(std=std))
        self.alpha = nn.Parameter(torch.ones(groups, dim))
        order = checked_counts(counts, self.num_rows).sort(descending=True, stable=True).indices
        group = torch.empty(self.num_rows, dtype=torch.uint8)
        group[order] = (torch.arange(self.num_rows) * groups // self.num_rows).to(torch.uint8)
        self.register_buffer("group", group)
        self.register_buffer("mask", torch.ones(self.num_rows, dim, dtype=torch.bool))

    @classmethod
    def _empty(cls, config: Mapping[str, Any]) -> Self:
        return cls(**config, counts=torch.zeros(sum(config["sizes"])))

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
        **options: Any,
    ) -> Self:
        """The least sparsity whose `serving` form takes at most `nbytes` once training is over.

        Args:
            sizes: As in the class.
            dim: As in the class.
            nbytes: Bytes that may be served.
            names: As in the class.
            counts: As in the class; needed.
            seed: Not used: nothing is drawn but weights.
            **options: Further arguments of the class.

        Raises:
            InputError: `nbytes` is below the bytes of the index alone, which the message names, or there are no counts.
        """
        del seed
        keep = nonzeros_within(sizes, dim, nbytes) / (sum(sizes) * dim)
        if counts is None:
            message = "counts must be given, how often each value occurs; received None"
            raise InputError(message)
        return cls(sizes, dim, counts, names=names, sparsity=1 - keep, **options)

    def vectors(self, rows: Tensor, fields: Tensor) -> Tensor:
        """Rows, each dimension weighted as its group has it, without what was pruned."""
        alpha = nn.functional.embedding(self.group[rows].int(), self.alpha)
        return alpha * nn.functional.embedding(rows, self.weight) * self.mask[rows]

    def search_optimizer(self) -> torch.optim.Optimizer:
        """Steps of alpha, whose size does not depend on that of the gradient; alpha stays within 0 … 1."""
        return _BoundedSteps(self.alpha, self.alpha_lr, self.l1)

    def after_step(self, progress: float) -> None:
        """Prunes, once training is over."""
        if progress >= 1:
            with torch.no_grad():
                size = (self.alpha[self.group.long()] * self.weight).abs().masked_fill(~self.mask, -1)
                self.mask &= largest(size, self._kept)

    @property
    def _kept(self) -> int:
        return self.mask.numel() - round(self.sparsity * self.mask.numel())

    def is_final(self) -> bool:
        """Whether it was pruned."""
        return int(self.mask.sum()) <= self._kept

    def serving(self) -> PrunedLookup:
        """What is left, with alpha multiplied in."""
        weight = self.alpha[self.group.long()] * self.weight * self.mask
        return PrunedLookup.from_weight(weight, self.sizes, names=self.names)


class _BoundedSteps(torch.optim.SGD):
    """SGD of normalised gradients within 0 … 1."""

    def __init__(self, alpha: Tensor, lr: float, l1: float) -> None:
        super().__init__([alpha], lr=lr)
        self.l1 = l1

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        for alpha in self.param_groups[0]["params"]:
            if alpha.grad is not None:
                size = alpha.grad.abs().mean(1, keepdim=True)
                alpha.grad = alpha.grad / size.masked_fill(size == 0, 1) + self.l1 * alpha.sign()
        loss: float | None = super().step(closure)
        for alpha in self.param_groups[0]["params"]:
            alpha.clamp_(0, 1)
        return loss
