"""Values of a field that share rows by hashing (the hashing trick)."""

from collections.abc import Sequence
from math import isqrt, sqrt
from typing import Self

import torch
from torch import Tensor, nn

from embedkit.modules.lookup.budget import largest_size
from embedkit.modules.lookup.checks import check_divides, one_a_field
from embedkit.modules.lookup.lookup import Lookup, whole_numbers
from embedkit.modules.lookup.universal_hash import hash_coefficients, universal_hash


class HashLookup(Lookup):
    """Each field has rows of its own, fewer than values, and hashes its values onto them.

        vector = [weight[start_f + h_f,1(i)], …, weight[start_f + h_f,probes(i)]]
        h_f,j(i) = ((a_f,j · i + b_f,j) mod 2³¹-1) mod buckets_f

    for value i of field f: the `probes` rows are dim / probes wide and stand side by side. Two values that share one
    row seldom share all. A field with at least size × probes buckets gives each probe of each value a row of its own.

    4 · Σ buckets · dim / probes + 8 · fields · probes bytes.

    Args:
        sizes: As in `Lookup`.
        dim: As in `Lookup`.
        names: As in `Lookup`.
        buckets: Rows of each field, (fields,).
        probes: Rows of a value; divides `dim`.
        seed: What hashes are drawn from.
        std: Standard deviation of the normal distribution that rows begin with.

    Raises:
        InputError: As `Lookup`; `buckets` are not one a field, or `probes` does not divide `dim`.

    Example:
        >>> import torch
        >>> lookup = HashLookup([1000, 5], dim=4, buckets=[50, 5])
        >>> lookup(torch.tensor([[999, 0], [0, 4]])).shape, lookup.nbytes
        (torch.Size([2, 2, 4]), 896)

    Reference:
        Kilian Weinberger, Anirban Dasgupta, John Langford, Alex Smola, Josh Attenberg: Feature Hashing for Large Scale
        Multitask Learning. ICML 2009. Several probes: Dan Tito Svenstrup, Jonas Meinertz Hansen, Ole Winther: Hash
        Embeddings for Efficient Word Representations. NeurIPS 2017.

    Deviations:
        No signs: Weinberger's make an inner product of hashed vectors unbiased, and rows that are trained need none.
        Probes stand side by side, as in Unified Embedding; Svenstrup et al. sum them with trained weights of each
        value, which is a table of all values again.
    """

    options = ("buckets", "probes", "seed", "std")
    coefficients: Tensor
    moduli: Tensor
    starts: Tensor

    def __init__(
        self,
        sizes: Sequence[int],
        dim: int,
        *,
        names: Sequence[str] | None = None,
        buckets: Sequence[int],
        probes: int = 1,
        seed: int = 0,
        std: float = 0.01,
    ) -> None:
        super().__init__(sizes, dim, names=names)
        check_divides(probes, dim, name="probes")
        self.buckets, self.probes, self.seed, self.std = one_a_field(buckets, sizes, name="buckets"), probes, seed, std
        coefficients = hash_coefficients(seed, self.sizes, probes)
        for field, size in enumerate(self.sizes):
            if self.buckets[field] >= size * probes:
                coefficients[field] = torch.tensor([[1, probe * size] for probe in range(probes)])
        moduli = torch.tensor(self.buckets)[:, None]
        self.register_buffer("coefficients", coefficients)
        self.register_buffer("moduli", moduli, persistent=False)
        self.register_buffer("starts", moduli.cumsum(0) - moduli, persistent=False)
        self.weight = nn.Parameter(torch.empty(sum(self.buckets), dim // probes).normal_(std=std))

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
        probes: int = 1,
    ) -> Self:
        """The largest within a budget of bytes.

        Buckets grow with the square root of a field's size until each value has its own. A record has one value in
        each field and size / buckets others share a row of it: their sum over fields is least at this division.

        Args:
            sizes: As in the constructor.
            dim: As in the constructor.
            nbytes: Most bytes that may be stored.
            names: As in the constructor.
            counts: Not used: all values are hashed alike.
            seed: As in the constructor.
            probes: As in the constructor.

        Raises:
            InputError: The budget is below one row a field, or as the constructor raises.
        """
        del counts
        sizes = whole_numbers(sizes)
        check_divides(probes, dim, name="probes")

        def buckets(scale: int) -> list[int]:
            return [min(size * probes, max(1, int(scale * sqrt(size) / _STEPS))) for size in sizes]

        def cost(scale: int) -> int:
            return 4 * sum(buckets(scale)) * (dim // probes) + 8 * len(sizes) * probes

        most = _STEPS * probes * (1 + isqrt(max(sizes)))
        scale = largest_size(cls, cost, nbytes, least=0, most=most)
        return cls(sizes, dim, names=names, buckets=buckets(scale), probes=probes, seed=seed)

    def vectors(self, rows: Tensor, fields: Tensor) -> Tensor:
        """The probes' rows, side by side."""
        values = (rows - self.offsets[fields])[..., None]
        index = universal_hash(values, self.coefficients[fields], self.moduli[fields]).add_(self.starts[fields])
        return nn.functional.embedding(index, self.weight).flatten(-2)


_STEPS = 1 << 20  # of the scale in which budgets are solved
