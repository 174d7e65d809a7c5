"""Rows that are narrower where a field has more values (mixed dimensions, MDE)."""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from embedkit.errors import InputError
from embedkit.modules.lookup.budget import largest_size, raised_levels
from embedkit.modules.lookup.checks import one_a_field
from embedkit.modules.lookup.columns import in_groups
from embedkit.modules.lookup.lookup import Lookup, whole_numbers


class MixedDimLookup(Lookup):
    """A row a value, of the width of its field, and a projection of each narrower field to `dim`.

        vector = weights_f[i] · projections_f,   weights_f: (size_f, dims_f),  projections_f: (dims_f, dim)

    for value i of field f. A field as wide as `dim` has no projection. Vectors of a field lie in a space of its own
    dimension: fewer numbers for each of many rare values, none shared.

    4 · Σ (size · dims_f + dims_f · dim [dims_f < dim]) bytes.

    Args:
        sizes: As in `Lookup`.
        dim: As in `Lookup`.
        names: As in `Lookup`.
        dims: Width of each field's rows, (fields,), 1 … dim; `power_law_dims` gives the paper's.
        std: Standard deviation that vectors begin with.

    Raises:
        InputError: As `Lookup`; `dims` are not one a field, or one is out of range.

    Example:
        >>> import torch
        >>> lookup = MixedDimLookup([1000, 5], dim=4, dims=[1, 4])
        >>> lookup(torch.tensor([[999, 0], [0, 4]])).shape, lookup.nbytes
        (torch.Size([2, 2, 4]), 4096)

    Reference:
        Antonio Ginart, Maxim Naumov, Dheevatsa Mudigere, Jiyan Yang, James Zou: Mixed Dimension Embeddings with
        Application to Memory-Efficient Recommendation Systems. ISIT 2021.

    Deviations:
        Blocks are fields; the paper also cuts a field by popularity. A projection begins at N(0, 1 / dims_f), so that
        vectors of all fields begin with the same spread; the authors begin both factors with Xavier's.
    """

    options = ("dims", "std")

    def __init__(
        self,
        sizes: Sequence[int],
        dim: int,
        *,
        names: Sequence[str] | None = None,
        dims: Sequence[int],
        std: float = 0.01,
    ) -> None:
        super().__init__(sizes, dim, names=names)
        self.dims, self.std = one_a_field(dims, self.sizes, name="dims"), std
        if max(self.dims) > dim:
            message = f"dims must be at most dim, which is {dim}; received {max(self.dims)}"
            raise InputError(message)
        pairs = list(zip(self.sizes, self.dims, strict=True))
        self.weights = nn.ParameterList(torch.empty(size, width).normal_(std=std) for size, width in pairs)
        self.projections = nn.ParameterDict(
            {
                str(field): torch.empty(width, dim).normal_(std=width**-0.5)
                for field, width in enumerate(self.dims)
                if width < dim
            }
        )

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
        alpha: float = 0.3,
    ) -> Self:
        """The largest within a budget of bytes.

        Widths are λ · size^-alpha with the largest λ that fits, cut off at `dim`; then fields are widened as far as the
        rest of the budget allows, those of few values first. A field that a projection would not make smaller is kept
        as wide as `dim`.

        Args:
            sizes: As in the constructor.
            dim: As in the constructor.
            nbytes: Most bytes that may be stored.
            names: As in the constructor.
            counts: Not used: the law is one of sizes.
            seed: Not used: nothing is drawn but weights.
            alpha: How much narrower larger fields are, at least 0; the paper's temperature.

        Raises:
            InputError: The budget is below widths of 1, or as the constructor raises.
        """
        del counts, seed
        sizes, (dim,) = whole_numbers(sizes), whole_numbers([dim], name="dim")
        _check_alpha(alpha)
        widths = torch.arange(1, dim + 1)
        plain = 4 * dim * torch.tensor(sizes)[:, None]
        projected = 4 * widths * (torch.tensor(sizes)[:, None] + dim)
        costs = torch.minimum(projected, plain)

        def dims(step: int) -> list[int]:
            return _power_law(sizes, dim, alpha, dim * max(sizes) ** alpha * step / _STEPS)

        def cost(step: int) -> int:
            return int(costs[torch.arange(len(sizes)), torch.tensor(dims(step)) - 1].sum())

        step = largest_size(cls, cost, nbytes, least=0, most=_STEPS)
        levels = raised_levels(costs, [width - 1 for width in dims(step)], nbytes)
        pays = projected < plain
        chosen = [level + 1 if pays[field, level] else dim for field, level in enumerate(levels)]
        return cls(sizes, dim, names=names, dims=chosen)

    def vectors(self, rows: Tensor, fields: Tensor) -> Tensor:
        """Rows of the fields' tables, projected to one width."""
        values = rows - self.offsets[fields]

        def of_field(field: int, columns: Tensor) -> Tensor:
            narrow = nn.functional.embedding(values[:, columns], self.weights[field])
            return narrow @ self.projections[str(field)] if self.dims[field] < self.dim else narrow

        return in_groups(fields, of_field)


_STEPS = 1 << 20  # of λ, in which budgets are solved


def power_law_dims(sizes: Sequence[int], dim: int, alpha: float) -> list[int]:
    """Widths that fall with the size of a field: dim for the smallest, dim · (size / smallest)^-alpha for the others.

    Rounded, and at least 1.

    Args:
        sizes: Vocabulary size of each field, (fields,).
        dim: Width of the smallest field.
        alpha: How much narrower larger fields are; 0 for one width.

    Raises:
        InputError: `alpha` is negative.

    Example:
        >>> power_law_dims([10, 160, 100_000], 16, 0.25)
        [16, 8, 2]

    Reference:
        As `MixedDimLookup`, the power-law scheme with the reciprocal of a field's size as its probability.
    """
    sizes = whole_numbers(sizes)
    _check_alpha(alpha)
    return _power_law(sizes, dim, alpha, dim * min(sizes) ** alpha)


def _power_law(sizes: Sequence[int], dim: int, alpha: float, scale: float) -> list[int]:
    return [min(dim, max(1, round(scale * size**-alpha))) for size in sizes]


def _check_alpha(alpha: float) -> None:
    if not alpha >= 0:
        message = f"alpha must be at least 0; received {alpha}"
        raise InputError(message)
