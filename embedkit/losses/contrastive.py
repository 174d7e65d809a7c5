"""Contrastive: positives as near as can be, negatives no nearer than a margin."""

from jaxtyping import Float, Shaped
from torch import Tensor, nn

from embedkit.errors import InputError
from embedkit.losses.arguments import check_labels, check_rows, not_negative
from embedkit.ops.labels import mean_where, same_class
from embedkit.ops.similarity import cosine_similarity


class ContrastiveLoss(nn.Module):
    """Sum over an anchor's positives of what they lack, and over its negatives of what they have too much.

        loss = mean_i [ Σ_{p ∈ P_i} (1 − s_ip)  +  Σ_{n ∈ N_i} max(0, s_in − margin) ]

    with s_ij the cosine of embeddings i and j, P_i the others that have the label of i, and N_i those of other labels.

    Args:
        margin: Cosine up to which a negative costs nothing, 0 … 1.

    Raises:
        InputError: The margin is out of range.

    Example:
        >>> import torch
        >>> embeddings = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
        >>> ContrastiveLoss()(embeddings, torch.tensor([0, 0, 1])).item()  # (1 + 0.5, 1 and 0.5) / 3
        1.0

    Reference:
        R. Hadsell, S. Chopra, Y. LeCun, "Dimensionality Reduction by Learning an Invariant Mapping", CVPR 2006; on
        cosines as in S. Venkataramanan et al., "It Takes Two to Tango: Mixup for Deep Metric Learning", ICLR 2022.

    Deviations:
        1 is added for each positive, so that the loss is never below 0.
    """

    def __init__(self, *, margin: float = 0.5) -> None:
        super().__init__()
        self.margin = not_negative("margin", margin)
        if self.margin > 1:
            raise InputError(f"margin must be a cosine, 0 … 1; received {margin}")

    def forward(self, embeddings: Float[Tensor, "n dim"], labels: Shaped[Tensor, "n"]) -> Float[Tensor, ""]:
        """The loss of one batch. Takes n² numbers of memory.

        Args:
            embeddings: (n, dim).
            labels: (n,) integers.

        Returns:
            0-d; 0 where no row has a positive or a negative.

        Raises:
            InputError: The embeddings are none, or the labels are not one integer for each.
        """
        check_rows(embeddings=embeddings)
        check_labels(labels, len(embeddings))
        return self.of_pairs(cosine_similarity(embeddings, embeddings), *same_class(labels))

    def of_pairs(
        self, similarities: Float[Tensor, "n m"], positives: Shaped[Tensor, "n m"], negatives: Shaped[Tensor, "n m"]
    ) -> Float[Tensor, ""]:
        """The loss of anchors and what they are compared with, each partly positive, partly negative.

        Args:
            similarities: (n, m).
            positives: How far each is a positive: a mask, or 0 … 1.
            negatives: How far each is a negative.

        Returns:
            0-d.
        """
        attraction = positives * (1 - similarities)
        repulsion = negatives * (similarities - self.margin).relu()
        return mean_where((attraction + repulsion).sum(dim=1), ((positives + negatives) > 0).any(dim=1))

    def extra_repr(self) -> str:
        """The setting, which tells one training run from another."""
        return f"margin={self.margin}"
