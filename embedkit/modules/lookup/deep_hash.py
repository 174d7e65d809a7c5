"""Vectors computed from hashes of the value, without a table (DHE, deep hash embedding)."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Self

import torch
from torch import Tensor, nn

from embedkit.modules.arguments import check_sizes
from embedkit.modules.lookup.budget import largest_size
from embedkit.modules.lookup.lookup import Lookup
from embedkit.modules.lookup.universal_hash import hash_coefficients, universal_hash


class DeepHashLookup(Lookup):
    """Many hashes of a value are its code, and a network turns codes into vectors.

        vector = network(code),   code_j = 2 · h_f,j(i) / (10⁶ - 1) - 1,   j = 1 … num_hashes
        h_f,j(i) = ((a_f,j · i + b_f,j) mod 2³¹-1) mod 10⁶

    for value i of field f; network = num_layers × [linear to `width`, layer norm, Mish], then linear to `dim`. All
    fields share it; what is stored does not grow with the number of values. Each value of a batch is computed once,
    however often it occurs there.

    4 · [(num_hashes + 3) · width + (num_layers - 1) · (width + 3) · width + (width + 1) · dim] bytes for the network
    and 8 · fields · num_hashes for the hashes.

    Args:
        sizes: As in `Lookup`.
        dim: As in `Lookup`.
        names: As in `Lookup`.
        width: Of the hidden layers.
        num_hashes: Length of a code.
        num_layers: Hidden layers.
        seed: What hashes are drawn from.

    Raises:
        InputError: As `Lookup`; a number is below 1.

    Example:
        >>> import torch
        >>> lookup = DeepHashLookup([1000, 5], dim=4, width=8, num_hashes=16, num_layers=1)
        >>> lookup(torch.tensor([[999, 0], [0, 4]])).shape, lookup.nbytes
        (torch.Size([2, 2, 4]), 1008)

    Reference:
        Wang-Cheng Kang, Derek Zhiyuan Cheng, Tiansheng Yao, Xinyang Yi, Ting Chen, Lichan Hong, Ed H. Chi: Learning to
        Embed Categorical Features without Embedding Tables for Recommendation. KDD 2021.

    Deviations:
        Layer norm instead of batch norm: a vector depends on its value alone, in training as well, and not on what else
        is in the batch. One network for all fields, whose hashes differ. Uniform codes only; the paper also has
        normal ones. Its 1024 hashes and five hidden layers are for tables of millions of rows: here they are arguments,
        with defaults that a CPU can train.
    """

    options = ("width", "num_hashes", "num_layers", "seed")
    coefficients: Tensor

    def __init__(
        self,
        sizes: Sequence[int],
        dim: int,
        *,
        names: Sequence[str] | None = None,
        width: int,
        num_hashes: int = 64,
        num_layers: int = 2,
        seed: int = 0,
    ) -> None:
        super().__init__(sizes, dim, names=names)
        check_sizes(width=width, num_hashes=num_hashes, num_layers=num_layers)
        self.width, self.num_hashes, self.num_layers, self.seed = width, num_hashes, num_layers, seed
        self.register_buffer("coefficients", hash_coefficients(seed, self.sizes, num_hashes))
        hidden = [
            layer
            for narrow, wide in pairwise([num_hashes] + [width] * num_layers)
            for layer in (nn.Linear(narrow, wide), nn.LayerNorm(wide), nn.Mish())
        ]
        self.network = nn.Sequential(*hidden, nn.Linear(width, dim))

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
        num_hashes: int = 64,
        num_layers: int = 2,
    ) -> Self:
        """The widest network within a budget of bytes.

        Args:
            sizes: As in the constructor.
            dim: As in the constructor.
            nbytes: Most bytes that may be stored.
            names: As in the constructor.
            counts: Not used: all values are hashed alike.
            seed: As in the constructor.
            num_hashes: As in the constructor.
            num_layers: As in the constructor.

        Raises:
            InputError: The budget is below a width of 1, or as the constructor raises.
        """
        del counts
        check_sizes(num_hashes=num_hashes, num_layers=num_layers)

        def cost(width: int) -> int:
            hidden = (num_hashes + 3) * width + (num_layers - 1) * (width + 3) * width
            return 4 * (hidden + (width + 1) * dim) + 8 * len(sizes) * num_hashes

        width = largest_size(cls, cost, nbytes, least=1, most=max(1, nbytes))
        return cls(sizes, dim, names=names, width=width, num_hashes=num_hashes, num_layers=num_layers, seed=seed)

    def vectors(self, rows: Tensor, fields: Tensor) -> Tensor:
        """What the network makes of each different value, put where the value stands."""
        distinct, place = torch.unique(rows, return_inverse=True)
        return nn.functional.embedding(place, self.network(self._codes(distinct)))

    def _codes(self, rows: Tensor) -> Tensor:
        """Codes of ascending rows, (rows, num_hashes), in [-1, 1]."""
        ends = torch.searchsorted(rows, self.offsets + self.bounds).tolist()
        hashes = [
            universal_hash((rows[start:end] - self.offsets[field])[:, None], self.coefficients[field], _BUCKETS)
            for field, (start, end) in enumerate(pairwise([0, *ends]))
        ]
        codes = torch.cat(hashes).float() * (2 / (_BUCKETS - 1)) - 1
        return codes.to(next(self.network.parameters()).dtype)


_BUCKETS = 10**6  # the paper's m: so many that codes are as good as continuous
