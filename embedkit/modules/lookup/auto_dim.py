"""AutoDim: the width of each field, chosen by weights that are trained on validation data."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from embedkit.errors import InputError
from embedkit.modules.arguments import check_sizes
from embedkit.modules.lookup.lookup import Lookup
from embedkit.modules.lookup.mixed_dim import MixedDimLookup

_COLDEST = 0.01


class AutoDimLookup(Lookup):
    """A table of each candidate width, mixed by how much each field wants it (AutoDim).

        share_f = softmax((logits_f + noise_f) / temperature)
        vector  = Σ_c share_f[c] · row_c · projection_f,c

    with row_c the row of the table of width candidates[c], a projection of it to `dim` for each field, and
    Gumbel noise, -log(-log(u)) with u uniform in 0 … 1, drawn anew for each field and batch in training. The
    temperature falls from 1 to 0.01 while training goes on. In evaluation a field has the candidate of its greatest
    logit, without noise: what `serving` gives, as a `MixedDimLookup`. The paper then trains one anew,
    `MixedDimLookup(sizes, dim, dims=lookup.chosen_dims())`.

    Bytes in training: 4 · Σ_c [(num_rows + fields · dim) · candidates[c] + fields] + 4, about twice the table for
    powers of two.

    Args:
        sizes: As in `Lookup`.
        dim: As in `Lookup`.
        names: As in `Lookup`.
        candidates: Widths to choose from, ascending, 1 … dim; None for the powers of two below `dim`, and `dim`.
        logits_lr: Learning rate of the logits, for Adam on validation data.
        std: Standard deviation that vectors of each candidate begin with.

    Raises:
        InputError: As in `Lookup`, or `candidates` are not ascending widths in range.

    Example:
        >>> lookup = AutoDimLookup([3, 5], dim=8).eval()
        >>> _ = lookup.logits.data.copy_(torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]))
        >>> lookup.candidates, lookup.chosen_dims(), lookup.serving().nbytes
        ([2, 4, 8], [8, 2], 200)

    Reference:
        Xiangyu Zhao, Haochen Liu, Hui Liu, Jiliang Tang, Weiwei Guo, Jun Shi, Sida Wang, Huiji Gao, Bo Long: AutoDim:
        Field-aware Embedding Dimension Search in Recommender Systems. WWW 2021, section 3, Eq. 1–10.

    Deviations:
        No batch normalisation of the projected rows, so that a vector depends on its id alone; projections begin such
        that all candidates have the same spread. The temperature is 1 - progress, at least 0.01, where theirs falls by
        5e-5 a batch. No noise in evaluation, where their code keeps it. First-order gradients of the logits.
    """

    options = ("candidates", "logits_lr", "std")
    temperature: Tensor

    def __init__(
        self,
        sizes: Sequence[int],
        dim: int,
        *,
        names: Sequence[str] | None = None,
        candidates: Sequence[int] | None = None,
        logits_lr: float = 0.001,
        std: float = 0.01,
    ) -> None:
        super().__init__(sizes, dim, names=names)
        self.candidates = _powers_of_two(self.dim) if candidates is None else list(candidates)
        for width in self.candidates:
            check_sizes(**{"each of candidates": width})
        if not self.candidates or sorted(set(self.candidates)) != self.candidates or self.candidates[-1] > dim:
            message = f"candidates must be ascending widths, 1 … {dim}; received {self.candidates}"
            raise InputError(message)
        self.logits_lr, self.std = logits_lr, std
        fields = len(self.sizes)
        self.weights = nn.ParameterList(torch.empty(self.num_rows, width).normal_(std=std) for width in self.candidates)
        self.projections = nn.ParameterList(
            torch.empty(fields, width, dim).normal_(std=width**-0.5) for width in self.candidates
        )
        self.logits = nn.Parameter(torch.zeros(fields, len(self.candidates)))
        self.register_buffer("temperature", torch.ones(()))

    def chosen_dims(self) -> list[int]:
        """The candidate that each field wants most, (fields,); of equal ones the narrowest."""
        return [self.candidates[index] for index in self.logits.argmax(1).tolist()]

    def shares(self) -> Tensor:
        """How the candidates are mixed for each field, (fields, candidates); drawn anew at each call in training."""
        if not self.training:
            return nn.functional.one_hot(self.logits.argmax(1), len(self.candidates)).to(self.logits.dtype)
        # From 1e-6 on, where both logarithms are finite in float32.
        uniform = torch.rand(self.logits.shape, device=self.logits.device).clamp(1e-6, 1 - 1e-6)
        mixed = torch.softmax((self.logits.float() - (-uniform.log()).log()) / self.temperature.float(), dim=1)
        return mixed.to(self.logits.dtype)

    def vectors(self, rows: Tensor, fields: Tensor) -> Tensor:
        """Rows of all candidates, projected and mixed."""
        shares = self.shares()[fields]
        found = torch.zeros(*rows.shape, self.dim, dtype=shares.dtype, device=rows.device)
        for index, (weight, projection) in enumerate(zip(self.weights, self.projections, strict=True)):
            wide = torch.einsum("bfw,fwd->bfd", nn.functional.embedding(rows, weight), projection[fields])
            found = found + shares[:, index, None] * wide
        return found

    def search_optimizer(self) -> torch.optim.Optimizer:
        """Adam on the logits."""
        return torch.optim.Adam([self.logits], lr=self.logits_lr)

    def after_step(self, progress: float) -> None:
        """Cools."""
        self.temperature.fill_(max(_COLDEST, 1 - progress))

    def serving(self) -> MixedDimLookup:
        """The table and the projection of the chosen candidate of each field; as wide as `dim`, their product."""
        served = MixedDimLookup(self.sizes, self.dim, dims=self.chosen_dims(), names=self.names, std=self.std)
        for field, width in enumerate(served.dims):
            index, begin = self.candidates.index(width), int(self.offsets[field])
            rows = self.weights[index].detach()[begin : begin + self.sizes[field]]
            projection = self.projections[index].detach()[field]
            if width < self.dim:
                served.projections[str(field)].data = projection.clone()
            served.weights[field].data = rows.clone() if width < self.dim else rows @ projection
        return served


def _powers_of_two(dim: int) -> list[int]:
    return [2**power for power in range(1, dim.bit_length()) if 2**power < dim] + [dim]
