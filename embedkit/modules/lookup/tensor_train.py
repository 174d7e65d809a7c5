"""Tables as products of three small cores (tensor trains, TT-Rec)."""

from collections.abc import Sequence
from math import ceil, isqrt, prod
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from embedkit.modules.lookup.budget import even_levels
from embedkit.modules.lookup.checks import one_a_field
from embedkit.modules.lookup.columns import in_groups
from embedkit.modules.lookup.lookup import Lookup, whole_numbers
from embedkit.modules.lookup.packing import checked_weight


class TensorTrainLookup(Lookup):
    """The table of a field is the product of three cores, one for each digit of the value.

        vector[j] = G1[i₁, j₁, :] · G2[i₂, :, j₂, :] · G3[i₃, :, j₃]
        i = (i₁ · n₂ + i₂) · n₃ + i₃,   j = (j₁ · d₂ + j₂) · d₃ + j₃

    for dimension j of value i of a field, with G1: (n₁, d₁, r₁), G2: (n₂, r₁, d₂, r₂), G3: (n₃, r₂, d₃), where
    n₁ n₂ n₃ ≥ size, each near its cube root, and d₁ d₂ d₃ = dim. r₁ and r₂ are the field's rank, or what suffices for
    any table where that is less. A field of rank 0 has one row a value instead: that is for fields where cores would be
    no smaller.

    4 · Σ (n₁ d₁ r₁ + n₂ r₁ d₂ r₂ + n₃ r₂ d₃) bytes, and 4 · size · dim for fields of rank 0.

    Args:
        sizes: As in `Lookup`.
        dim: As in `Lookup`.
        names: As in `Lookup`.
        ranks: Rank of each field, (fields,), at least 0.
        std: Standard deviation that vectors begin with.

    Raises:
        InputError: As `Lookup`; `ranks` are not one a field, or one is negative.

    Example:
        >>> import torch
        >>> lookup = TensorTrainLookup([1000, 5], dim=4, ranks=[2, 0])
        >>> lookup(torch.tensor([[999, 0], [0, 4]])).shape, lookup.nbytes
        (torch.Size([2, 2, 4]), 640)

    Reference:
        Chunxing Yin, Bilge Acun, Xing Liu, Carole-Jean Wu: TT-Rec: Tensor Train Compression for Deep Learning
        Recommendation Models. MLSys 2021. `from_weight`: Ivan Oseledets: Tensor-Train Decomposition. SIAM Journal on
        Scientific Computing 33, 2011, Alg. 1 (TT-SVD).

    Deviations:
        Cores begin normal with variance (std² / (r₁ r₂))^⅓, which gives vectors the variance std². The authors sample
        so that the product is closer to normal, too. No cache of frequent rows, which stores a part of the table.
    """

    options = ("ranks", "std")

    def __init__(
        self,
        sizes: Sequence[int],
        dim: int,
        *,
        names: Sequence[str] | None = None,
        ranks: Sequence[int],
        std: float = 0.01,
    ) -> None:
        super().__init__(sizes, dim, names=names)
        self.ranks, self.std = one_a_field(ranks, self.sizes, name="ranks", least=0), std
        self.cores = nn.ModuleList(
            nn.ParameterList(_drawn_cores(_shape(size, dim), rank, std) if rank else [_normal(size, dim, std=std)])
            for size, rank in zip(self.sizes, self.ranks, strict=True)
        )

    @classmethod
    def from_weight(
        cls, weight: Tensor, sizes: Sequence[int], *, names: Sequence[str] | None = None, ranks: Sequence[int]
    ) -> Self:
        """The nearest cores to known vectors, one singular value decomposition after the other.

        Exact where a field's rank suffices for any table.

        Args:
            weight: (num_rows, dim), the fields below each other.
            sizes: As in the constructor.
            names: As in the constructor.
            ranks: As in the constructor.

        Raises:
            InputError: `weight` is not (sum of sizes, dim) or not finite, or as the constructor raises.
        """
        weight = checked_weight(weight, sizes)
        lookup = cls(sizes, weight.shape[1], names=names, ranks=ranks)
        for table, rank, cores in zip(torch.split(weight, list(lookup.sizes)), lookup.ranks, lookup.cores, strict=True):
            found = _decomposed(table, _shape(*table.shape), rank) if rank else [table]
            for core, values in zip(cores.parameters(), found, strict=True):
                core.data.copy_(values)
        return lookup.to(weight.device)

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
    ) -> Self:
        """The largest within a budget of bytes: the highest rank that all fields can have, then higher ones.

        Args:
            sizes: As in the constructor.
            dim: As in the constructor.
            nbytes: Most bytes that may be stored.
            names: As in the constructor.
            counts: Not used: all values are treated alike.
            seed: Not used: nothing is drawn but cores.

        Raises:
            InputError: The budget is below cores of rank 1, or as the constructor raises.
        """
        del counts, seed
        sizes, (dim,) = whole_numbers(sizes), whole_numbers([dim], name="dim")
        shapes = [_shape(size, dim) for size in sizes]
        full = torch.tensor([4 * size * dim for size in sizes])[:, None]
        limit = max(shape.rows[2] * shape.widths[2] for shape in shapes)  # of r₂, and so of what a rank can change
        train = torch.tensor([[4 * _entries(shape, rank) for rank in range(1, limit + 1)] for shape in shapes])
        costs = torch.cat([torch.minimum(train, full), full], dim=1)
        levels = even_levels(cls, costs, nbytes)
        pays = costs < full
        ranks = [level + 1 if pays[field, level] else 0 for field, level in enumerate(levels)]
        return cls(sizes, dim, names=names, ranks=ranks)

    def vectors(self, rows: Tensor, fields: Tensor) -> Tensor:
        """Products of the digits' slices."""
        values = rows - self.offsets[fields]

        def of_field(field: int, columns: Tensor) -> Tensor:
            cores = list(self.cores[field].parameters())
            if not self.ranks[field]:
                return nn.functional.embedding(values[:, columns], cores[0])
            shape = _shape(self.sizes[field], self.dim)
            return _product(values[:, columns], shape, _ranks(shape, self.ranks[field]), cores)

        return in_groups(fields, of_field)


class _Shape(NamedTuple):
    """Digits of a value, n₁ n₂ n₃, and of a dimension, d₁ d₂ d₃."""

    rows: tuple[int, int, int]
    widths: tuple[int, int, int]


def _shape(size: int, dim: int) -> _Shape:
    first = ceil(size ** (1 / 3))
    second = isqrt(ceil(size / first) - 1) + 1
    rows = (first, second, ceil(size / (first * second)))
    divisors = [divisor for divisor in range(1, dim + 1) if dim % divisor == 0]
    pairs = [(a, b) for a in divisors for b in divisors if a <= b and dim % (a * b) == 0 and dim // (a * b) >= b]
    widths = min(((a, b, dim // (a * b)) for a, b in pairs), key=sum)
    return _Shape(rows, widths)


def _ranks(shape: _Shape, rank: int) -> tuple[int, int]:
    """r₁ and r₂: the rank, or that of any matrix of the shape that it stands between."""
    first, second, third = (rows * width for rows, width in zip(*shape, strict=True))
    outer = min(rank, first, second * third)
    return outer, min(rank, outer * second, third)


def _entries(shape: _Shape, rank: int) -> int:
    """Numbers in the three cores."""
    (outer, inner), (first, second, third) = _ranks(shape, rank), map(prod, zip(*shape, strict=True))
    return first * outer + second * outer * inner + third * inner


def _normal(*shape: int, std: float) -> Tensor:
    return torch.empty(shape).normal_(std=std)


def _drawn_cores(shape: _Shape, rank: int, std: float) -> list[Tensor]:
    """Cores as they are stored: a row a digit, so that slices are read as those of a table."""
    (n1, n2, n3), (d1, d2, d3) = shape
    outer, inner = _ranks(shape, rank)
    each = (std**2 / (outer * inner)) ** (1 / 6)
    return [_normal(n, width, std=each) for n, width in [(n1, d1 * outer), (n2, outer * d2 * inner), (n3, inner * d3)]]


def _decomposed(table: Tensor, shape: _Shape, rank: int) -> list[Tensor]:
    """TT-SVD of one table, as cores are stored."""
    (n1, n2, n3), (d1, d2, d3) = shape
    outer, inner = _ranks(shape, rank)
    # Digits of the value that no value has are filled with zeros.
    whole = table.new_zeros(n1 * n2 * n3, d1 * d2 * d3, dtype=torch.float64)
    whole[: len(table)] = table
    whole = whole.reshape(n1, n2, n3, d1, d2, d3).permute(0, 3, 1, 4, 2, 5)
    left, scale, right = torch.linalg.svd(whole.reshape(n1 * d1, -1), full_matrices=False)
    rest = (scale[:outer, None] * right[:outer]).reshape(outer * n2 * d2, n3 * d3)
    middle, scale, right = torch.linalg.svd(rest, full_matrices=False)
    last = (scale[:inner, None] * right[:inner]).reshape(inner, n3, d3)
    return [
        left[:, :outer].reshape(n1, d1 * outer),
        middle[:, :inner].reshape(outer, n2, d2 * inner).transpose(0, 1).reshape(n2, -1),
        last.transpose(0, 1).reshape(n3, -1),
    ]


_PAIRS_A_VALUE = 8


def _product(values: Tensor, shape: _Shape, ranks: tuple[int, int], cores: Sequence[Tensor]) -> Tensor:
    """Vectors of values, (batch, columns, dim)."""
    (n1, n2, n3), (d1, d2, d3), (outer, inner) = *shape, ranks
    flat = values.flatten()
    pairs, third = flat // n3, flat % n3
    if n1 * n2 <= _PAIRS_A_VALUE * len(flat):
        # All pairs in one product of matrices take less time than those of the values in as many small ones.
        right = cores[1].reshape(n2, outer, d2 * inner).transpose(0, 1).reshape(outer, -1)
        table = (cores[0].reshape(n1 * d1, outer) @ right).reshape(n1, d1, n2, d2 * inner).transpose(1, 2)
        product = nn.functional.embedding(pairs, table.reshape(n1 * n2, -1))
    else:
        left = nn.functional.embedding(pairs // n2, cores[0]).reshape(-1, d1, outer)
        product = left @ nn.functional.embedding(pairs % n2, cores[1]).reshape(-1, outer, d2 * inner)
    last = nn.functional.embedding(third, cores[2]).reshape(-1, inner, d3)
    return (product.reshape(-1, d1 * d2, inner) @ last).reshape(*values.shape, d1 * d2 * d3)
