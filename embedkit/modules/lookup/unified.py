"""One table for all fields (Unified Embedding, feature multiplexing)."""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from embedkit.modules.arguments import check_sizes
from embedkit.modules.lookup.budget import largest_size
from embedkit.modules.lookup.checks import check_divides
from embedkit.modules.lookup.lookup import Lookup
from embedkit.modules.lookup.universal_hash import hash_coefficients, universal_hash


class UnifiedLookup(Lookup):
    """All fields hash their values onto the rows of one table.

        vector = [weight[h_f,1(i)], …, weight[h_f,probes(i)]]
        h_f,j(i) = ((a_f,j · i + b_f,j) mod 2³¹-1) mod buckets

    for value i of field f: the `probes` rows are dim / probes wide and stand side by side. A row is a mixture of values
    of several fields, which the model tells apart by reading fields in directions of their own: it is only values of
    one field in one row that cannot be parted again.

    4 · buckets · dim / probes + 8 · fields · probes bytes.

    Args:
        sizes: As in `Lookup`.
        dim: As in `Lookup`.
        names: As in `Lookup`.
        buckets: Rows of the table.
        probes: Rows of a value; divides `dim`.
        seed: What hashes are drawn from.
        std: Standard deviation of the normal distribution that rows begin with.

    Raises:
        InputError: As `Lookup`; `buckets` is below 1, or `probes` does not divide `dim`.

    Example:
        >>> import torch
        >>> lookup = UnifiedLookup([1000, 5], dim=4, buckets=50, probes=2)
        >>> lookup(torch.tensor([[999, 0], [0, 4]])).shape, lookup.nbytes
        (torch.Size([2, 2, 4]), 432)

    Reference:
        Benjamin Coleman, Wang-Cheng Kang, Matthew Fahrbach, Ruoxi Wang, Lichan Hong, Ed Chi, Derek Zhiyuan Cheng:
        Unified Embedding: Battle-Tested Feature Representations for Web-Scale ML Systems. NeurIPS 2023.

    Deviations:
        All fields have the same number of probes, because all lookups give vectors of one width; the paper tunes it by
        field. Whole numbers are hashed by a random linear map modulo a prime.
    """

    options = ("buckets", "probes", "seed", "std")
    coefficients: Tensor

    def __init__(
        self,
        sizes: Sequence[int],
        dim: int,
        *,
        names: Sequence[str] | None = None,
        buckets: int,
        probes: int = 4,
        seed: int = 0,
        std: float = 0.01,
    ) -> None:
        super().__init__(sizes, dim, names=names)
        check_sizes(buckets=buckets)
        check_divides(probes, dim, name="probes")
        self.buckets, self.probes, self.seed, self.std = buckets, probes, seed, std
        self.register_buffer("coefficients", hash_coefficients(seed, self.sizes, probes))
        self.weight = nn.Parameter(torch.empty(buckets, dim // probes).normal_(std=std))

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
        probes: int = 4,
    ) -> Self:
        """The largest within a budget of bytes.

        Args:
            sizes: As in the constructor.
            dim: As in the constructor.
            nbytes: Most bytes that may be stored.
            names: As in the constructor.
            counts: Not used: all values are hashed alike.
            seed: As in the constructor.
            probes: As in the constructor.

        Raises:
            InputError: The budget is below one row, or as the constructor raises.
        """
        del counts
        check_divides(probes, dim, name="probes")

        def cost(buckets: int) -> int:
            return 4 * buckets * (dim // probes) + 8 * len(sizes) * probes

        buckets = largest_size(cls, cost, nbytes, least=1, most=max(1, nbytes))
        return cls(sizes, dim, names=names, buckets=buckets, probes=probes, seed=seed)

    def vectors(self, rows: Tensor, fields: Tensor) -> Tensor:
        """The probes' rows, side by side."""
        values = (rows - self.offsets[fields])[..., None]
        index = universal_hash(values, self.coefficients[fields], self.buckets)
        return nn.functional.embedding(index, self.weight).flatten(-2)
