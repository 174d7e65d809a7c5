"""Vectors composed of one row for the quotient and one for the remainder of a value (QR, CompoEmb)."""

from collections.abc import Sequence
from math import isqrt
from typing import Literal, Self, get_args

import torch
from torch import Tensor, nn

from embedkit.errors import InputError
from embedkit.modules.lookup.budget import even_levels
from embedkit.modules.lookup.checks import check_divides, one_a_field
from embedkit.modules.lookup.columns import in_groups
from embedkit.modules.lookup.lookup import Lookup, whole_numbers

Operation = Literal["multiply", "add", "concat"]


class QuotientRemainderLookup(Lookup):
    """Two values share the row of their quotient or that of their remainder, never both.

        vector = quotients[q_f + i // m_f] ∘ remainders[r_f + i mod m_f],   ∘ the elementwise ×, + or concatenation

    for value i of field f and its divisor m_f, with q_f and r_f where the field's rows begin. (i // m, i mod m) is
    another pair for each i, so that no two values are forced to be equal. A field with divisor 1 has one row a value
    instead, and nothing is composed: that is for fields where two tables would be no smaller than one.

    4 · Σ (⌈size / m_f⌉ + m_f) · width bytes for composed fields, width being dim / 2 for "concat" and else dim, and
    4 · size · dim for the others.

    Args:
        sizes: As in `Lookup`.
        dim: As in `Lookup`; even for "concat".
        names: As in `Lookup`.
        operation: "multiply", "add" or "concat".
        divisors: m_f of each field, (fields,), 1 … size; None for the fewest bytes.
        std: Standard deviation that vectors begin with.

    Raises:
        InputError: As `Lookup`; `operation` is none of the three, `divisors` are out of range, or `dim` is odd for
            "concat".

    Example:
        >>> import torch
        >>> lookup = QuotientRemainderLookup([1000, 5], dim=4)
        >>> lookup.divisors, lookup.nbytes
        ([28, 1], 1104)
        >>> lookup(torch.tensor([[999, 0], [0, 4]])).shape
        torch.Size([2, 2, 4])

    Reference:
        Hao-Jun Michael Shi, Dheevatsa Mudigere, Maxim Naumov, Jiyan Yang: Compositional Embeddings Using Complementary
        Partitions for Memory-Efficient Recommendation Systems. KDD 2020, Alg. 2.

    Deviations:
        Remainders of the product begin at 1 ± 0.05, so that the product begins as the quotient's row: a product of two
        small numbers of mean zero has next to no gradient on either side. The authors begin both uniformly.
    """

    options = ("operation", "divisors", "std")
    moduli: Tensor
    starts: Tensor

    def __init__(
        self,
        sizes: Sequence[int],
        dim: int,
        *,
        names: Sequence[str] | None = None,
        operation: Operation = "multiply",
        divisors: Sequence[int] | None = None,
        std: float = 0.01,
    ) -> None:
        super().__init__(sizes, dim, names=names)
        width = _width(dim, operation)
        if divisors is None:
            divisors = _ladder(self.sizes, dim, width)[1][:, 0].tolist()
        self.divisors = one_a_field(divisors, self.sizes, name="divisors")
        for field, (divisor, size) in enumerate(zip(self.divisors, self.sizes, strict=True)):
            if divisor > size:
                message = f"divisors[{field}] must be at most the size of its field, {size}; received {divisor}"
                raise InputError(message)
        self.operation, self.std = operation, std
        pairs = list(zip(self.sizes, self.divisors, strict=True))
        counts = torch.tensor([[size, 0, 0] if m == 1 else [0, -(-size // m), m] for size, m in pairs])
        self.register_buffer("moduli", torch.tensor(self.divisors), persistent=False)
        self.register_buffer("starts", counts.cumsum(0) - counts, persistent=False)
        plain, quotients, remainders = counts.sum(0).tolist()
        self.plain = nn.Parameter(torch.empty(plain, dim).normal_(std=std))
        share = std / 2**0.5 if operation == "add" else std
        self.quotients = nn.Parameter(torch.empty(quotients, width).normal_(std=share))
        self.remainders = nn.Parameter(torch.empty(remainders, width).normal_(std=share))
        if operation == "multiply":
            nn.init.uniform_(self.remainders, 0.95, 1.05)

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
        operation: Operation = "multiply",
    ) -> Self:
        """The largest within a budget of bytes: the smallest divisor that all fields can have, then smaller ones.

        Args:
            sizes: As in the constructor.
            dim: As in the constructor.
            nbytes: Most bytes that may be stored.
            names: As in the constructor.
            counts: Not used: all values are treated alike.
            seed: Not used: nothing is drawn but the rows.
            operation: As in the constructor.

        Raises:
            InputError: The budget is below the smallest tables, or as the constructor raises.
        """
        del counts, seed
        sizes = whole_numbers(sizes)
        costs, divisors = _ladder(sizes, dim, _width(dim, operation))
        levels = even_levels(cls, costs, nbytes)
        chosen = divisors[torch.arange(len(levels)), levels].tolist()
        return cls(sizes, dim, names=names, operation=operation, divisors=chosen)

    def vectors(self, rows: Tensor, fields: Tensor) -> Tensor:
        """Rows of one value, or compositions of two."""
        values = rows - self.offsets[fields]

        def of_group(composed: int, columns: Tensor) -> Tensor:
            chosen, starts = values[:, columns], self.starts[fields[columns]]
            if not composed:
                return nn.functional.embedding(chosen + starts[:, 0], self.plain)
            moduli = self.moduli[fields[columns]]
            quotient = nn.functional.embedding(chosen // moduli + starts[:, 1], self.quotients)
            remainder = nn.functional.embedding(chosen % moduli + starts[:, 2], self.remainders)
            return self._compose(quotient, remainder)

        return in_groups((self.moduli[fields] > 1).long(), of_group)

    def _compose(self, quotient: Tensor, remainder: Tensor) -> Tensor:
        if self.operation == "multiply":
            return quotient * remainder
        if self.operation == "add":
            return quotient + remainder
        return torch.cat([quotient, remainder], dim=-1)


def _width(dim: int, operation: str) -> int:
    """Width of the two tables."""
    if operation not in get_args(Operation):
        message = f"operation must be 'multiply', 'add' or 'concat'; received {operation!r}"
        raise InputError(message)
    if operation != "concat":
        return dim
    check_divides(2, dim, name="the number of rows concatenated")
    return dim // 2


def _ladder(sizes: Sequence[int], dim: int, width: int) -> tuple[Tensor, Tensor]:
    """Bytes and divisors of each field, (fields, levels): the fewest bytes first, one row a value last.

    The level that is `limit` - c before the last allows divisors up to c and has the one of fewest bytes.
    """
    limit = isqrt(max(sizes)) + 1
    divisors = torch.arange(1, limit + 1)
    counts = torch.tensor(sizes)[:, None]
    costs = 4 * width * ((counts + divisors - 1) // divisors + divisors)
    costs[:, 0] = 4 * dim * counts[:, 0]
    costs = costs.where(divisors <= counts, costs[:, :1])
    # Of divisors with as many bytes the smallest is taken, which composes least.
    least = (costs * (limit + 1) + divisors).cummin(1).values.flip(1)
    return least // (limit + 1), least % (limit + 1)
