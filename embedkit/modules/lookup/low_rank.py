"""Low rank: narrow rows and one decoder, from the weights or from what comes out of them (AFM)."""

from collections.abc import Sequence
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from embedkit.errors import InputError
from embedkit.modules.lookup.lookup import Lookup
from embedkit.modules.lookup.packing import check_budget, checked_counts, checked_weight

Method = Literal["svd", "afm"]


class LowRankLookup(Lookup):
    """Rows of `rank` numbers, widened by one decoder: vector = row · decoder + bias of the field.

    `from_weight` finds them for a known table, in one of two ways:

        svd   the table is U S Vᵀ; rows = U_r S_r, decoder = V_rᵀ, bias = 0: nearest to the weights
        afm   mean_f = E[vector of field f], C = E[(vector - mean)(vector - mean)ᵀ] = V Λ Vᵀ, both over the data;
              rows = (table - mean) V_r, decoder = V_rᵀ, bias = mean: nearest to what comes out. The mean square error
              of a vector, over the data, is Σ_{j > rank} λ_j, which no other rows, decoder and biases go below.

    Bytes: 4 · (num_rows · rank + rank · dim + fields · dim).

    Args:
        sizes: As in `Lookup`.
        dim: As in `Lookup`.
        names: As in `Lookup`.
        rank: Width of the rows, 1 … dim.
        std: Standard deviation of the normal distribution that rows begin with; the decoder begins orthonormal.

    Raises:
        InputError: As in `Lookup`, or `rank` is out of range.

    Example:
        >>> weight = torch.tensor([[1.0, 1.0], [3.0, 3.0], [5.0, 5.0]])
        >>> lookup = LowRankLookup.from_weight(weight, [3], rank=1, counts=[2, 1, 1])
        >>> torch.allclose(lookup.materialize(), weight, atol=1e-5), lookup.nbytes
        (True, 28)

    Reference:
        Hao Yu, Minghao Fu, Jiandong Ding, Yusheng Zhou, Jianxin Wu: Unified Low-rank Compression Framework for
        Click-through Rate Prediction. KDD 2024, section 3 (atomic feature mimicking). First in Hao Yu, Jianxin Wu:
        Compressing Transformers: Features Are Low-Rank, but Weights Are Not! AAAI 2023.

    Deviations:
        All fields share one decoder, where theirs is one a table: small fields would spend more on it than on their
        rows. Each field has a bias of its own, which keeps the identity of the error.
    """

    options = ("rank", "std")

    def __init__(
        self,
        sizes: Sequence[int],
        dim: int,
        *,
        names: Sequence[str] | None = None,
        rank: int = 4,
        std: float = 0.01,
    ) -> None:
        super().__init__(sizes, dim, names=names)
        _check_rank(rank, self.dim)
        self.rank, self.std = rank, std
        self.rows = nn.Parameter(torch.empty(self.num_rows, rank).normal_(std=std))
        self.decoder = nn.Parameter(nn.init.orthogonal_(torch.empty(rank, dim)))
        self.bias = nn.Parameter(torch.zeros(len(self.sizes), dim))

    @classmethod
    def from_weight(
        cls,
        weight: Tensor,
        sizes: Sequence[int],
        rank: int,
        *,
        counts: Tensor | Sequence[float] | None = None,
        method: Method = "afm",
        names: Sequence[str] | None = None,
    ) -> Self:
        """The nearest of this rank to known vectors.

        Args:
            weight: (num_rows, dim), the fields below each other.
            sizes: Vocabulary size of each field.
            rank: Width of the rows.
            counts: How often each value occurs in the data, (num_rows,); None for equally often. "svd" ignores it.
            method: "afm" or "svd".
            names: As in the class.

        Raises:
            InputError: `weight`, `counts`, `rank` or `method` is none that is described here.
        """
        weight = checked_weight(weight, sizes)
        lookup = cls(sizes, weight.shape[1], names=names, rank=rank)
        shares = torch.ones(len(weight)) if counts is None else checked_counts(counts, len(weight))
        _check_method(method)
        wide = weight.double()
        bias = wide.new_zeros(len(lookup.sizes), lookup.dim)
        fields = torch.repeat_interleave(torch.arange(len(lookup.sizes)), lookup.bounds).to(weight.device)
        shares = shares.to(wide)
        if method == "afm":
            bias = _means(wide, fields, shares, len(lookup.sizes))
            wide = wide - bias[fields]
            basis = _axes(wide, shares if shares.any() else torch.ones_like(shares), rank)
        else:
            basis = _axes(wide, torch.ones_like(shares), rank)
        lookup.rows.data, lookup.decoder.data = (wide @ basis).float(), basis.T.contiguous().float()
        lookup.bias.data = bias.float()
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
        **options: Any,
    ) -> Self:
        """The highest rank that takes at most `nbytes`.

        Args:
            sizes: As in the class.
            dim: As in the class.
            nbytes: Bytes that may be stored.
            names: As in the class.
            counts: Not used: all values are treated alike.
            seed: Not used: nothing is drawn but weights.
            **options: Further arguments of the class.

        Raises:
            InputError: `nbytes` is below the bytes of rank 1; the message names them.
        """
        del counts, seed
        rank = rank_within(sizes, dim, nbytes)
        return cls(sizes, dim, names=names, rank=rank, **options)

    def vectors(self, rows: Tensor, fields: Tensor) -> Tensor:
        """Rows, widened."""
        return nn.functional.embedding(rows, self.rows) @ self.decoder + self.bias[fields]


def rank_within(sizes: Sequence[int], dim: int, nbytes: int) -> int:
    """The highest rank whose `LowRankLookup` takes at most `nbytes`.

    Raises:
        InputError: There is none; the message names the bytes of rank 1.
    """
    rank_one = 4 * (sum(sizes) + dim)
    fixed = 4 * len(sizes) * dim
    check_budget(nbytes, fixed + rank_one, "those of rank 1")
    return min(dim, (nbytes - fixed) // rank_one)


def low_rank_linear(linear: nn.Linear, inputs: Tensor, rank: int, method: Method = "afm") -> nn.Sequential:
    """Two linear layers, `rank` wide between them, in place of one.

        afm   first V_rᵀ W, V_rᵀ b; second V_r, (I - V_r V_rᵀ) mean, with mean and V Λ Vᵀ of y = W x + b over `inputs`
        svd   first S_r V_rᵀ; second U_r, b, with W = U S Vᵀ

    `rank` · (d_in + d_out) numbers in place of d_in · d_out. Nothing stands between the two: an activation there would
    add capacity for training on, but until then break what was fitted.

    Args:
        linear: The layer, d_in → d_out, with a bias or without.
        inputs: What it is given on training data, (n, d_in). "svd" ignores it.
        rank: 1 … min(d_in, d_out).
        method: "afm" is nearest, in mean square over `inputs`, to the outputs; "svd" to the weights.

    Returns:
        nn.Sequential of two nn.Linear, of the type and on the device of `linear`.

    Raises:
        InputError: `inputs` is not (n, d_in) with n ≥ 1, or `rank` or `method` is none that is described here.

    Example:
        >>> linear, inputs = nn.Linear(3, 2), torch.randn(10, 3)
        >>> torch.allclose(low_rank_linear(linear, inputs, rank=2)(inputs), linear(inputs), atol=1e-5)
        True

    Reference:
        As `LowRankLookup`, the same section.

    Deviations:
        Their code can put a ReLU between the layers; see above.
    """
    _check_method(method)
    _check_rank(rank, min(linear.in_features, linear.out_features))
    if inputs.ndim != 2 or inputs.shape[1] != linear.in_features or len(inputs) == 0:
        message = f"inputs must be (n, {linear.in_features}) with n at least 1; received shape {tuple(inputs.shape)}"
        raise InputError(message)
    weight = linear.weight.detach().double()
    bias = weight.new_zeros(len(weight)) if linear.bias is None else linear.bias.detach().double()
    if method == "afm":
        outputs = inputs.detach().to(weight) @ weight.T + bias
        mean = outputs.mean(0)
        basis = _axes(outputs - mean, outputs.new_ones(len(outputs)), rank)
        inner, outer = basis.T @ bias, mean - basis @ (basis.T @ mean)
    else:
        # The left singular vectors of W are the axes of its columns.
        basis = _axes(weight.T, weight.new_ones(linear.in_features), rank)
        inner, outer = None, bias
    first = nn.Linear(linear.in_features, rank, bias=inner is not None)
    second = nn.Linear(rank, linear.out_features)
    first.weight.data, second.weight.data, second.bias.data = basis.T @ weight, basis, outer
    if inner is not None:
        first.bias.data = inner
    return nn.Sequential(first, second).to(linear.weight)


def _means(values: Tensor, fields: Tensor, shares: Tensor, count: int) -> Tensor:
    """Weighted mean of the rows of each field, (count, dim); of a field without weight its plain mean."""
    seen = values.new_zeros(count).index_add(0, fields, shares)
    shares = torch.where(seen[fields] > 0, shares, 1)
    totals = values.new_zeros(count).index_add(0, fields, shares)
    sums = values.new_zeros(count, values.shape[1]).index_add(0, fields, values * shares[:, None])
    return sums / totals[:, None]


def _axes(values: Tensor, shares: Tensor, rank: int) -> Tensor:
    """The `rank` orthonormal directions that hold most of Σ_i share_i value_i value_iᵀ, (dim, rank)."""
    second_moment = values.T @ (values * (shares / shares.sum())[:, None])
    axes: Tensor = torch.linalg.eigh(second_moment).eigenvectors.flip(1)
    return axes[:, :rank].contiguous()


def _check_rank(rank: int, most: int) -> None:
    if not (isinstance(rank, int) and 1 <= rank <= most):
        message = f"rank must be a whole number from 1 to {most}; received {rank!r}"
        raise InputError(message)


def _check_method(method: str) -> None:
    if method not in ("svd", "afm"):
        message = f"method must be 'svd' or 'afm'; received {method!r}"
        raise InputError(message)
