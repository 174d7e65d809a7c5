"""Multi-similarity: each pair weighs by how wrong it is, by itself and beside the others."""

from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn.functional import softplus

from embedkit.losses.arguments import check_labels, check_rows, not_negative, positive
from embedkit.ops.labels import log_sum_exp, mean_where, same_class
from embedkit.ops.similarity import cosine_similarity


class MultiSimilarityLoss(nn.Module):
    """Soft maximum of an anchor's positives that are too far, and of its negatives that are too near.

        loss = mean_i [ 1/α · log(1 + Σ_{p ∈ P_i} exp(−α (s_ip − base)))
                      + 1/β · log(1 + Σ_{n ∈ N_i} exp(β (s_in − base))) ]

    with s_ij the cosine of embeddings i and j, α `positive_scale` and β `negative_scale`, P_i the others that have the
    label of i, and N_i those of other labels.

    Args:
        positive_scale: Above 0; higher looks at the farthest positive.
        negative_scale: Above 0; higher looks at the nearest negative.
        base: Cosine that tells near from far, 0 or more.

    Raises:
        InputError: A scale is not above 0, or the base is below 0.

    Example:
        >>> import torch
        >>> embeddings = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
        >>> loss = MultiSimilarityLoss(positive_scale=1.0, base=1.0)
        >>> round(loss(embeddings, torch.tensor([0, 0])).item(), 4)  # ln 2
        0.6931

    Reference:
        X. Wang, X. Han, W. Huang, D. Dong, M. R. Scott, "Multi-Similarity Loss with General Pair Weighting for Deep
        Metric Learning", CVPR 2019, Eq. 15.

    Deviations:
        All pairs; the paper leaves out those that a miner finds easy. `base` is 0.5, as in pytorch-metric-learning,
        where the paper has 1.
    """

    def __init__(self, *, positive_scale: float = 2.0, negative_scale: float = 50.0, base: float = 0.5) -> None:
        super().__init__()
        self.positive_scale = positive("positive_scale", positive_scale)
        self.negative_scale = positive("negative_scale", negative_scale)
        self.base = not_negative("base", base)

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
        """As in `ContrastiveLoss`."""
        margins = similarities - self.base
        far = softplus(log_sum_exp(-self.positive_scale * margins, positives)) / self.positive_scale
        near = softplus(log_sum_exp(self.negative_scale * margins, negatives)) / self.negative_scale
        return mean_where(far + near, ((positives + negatives) > 0).any(dim=1))

    def extra_repr(self) -> str:
        """The settings, which tell one training run from another."""
        return f"positive_scale={self.positive_scale}, negative_scale={self.negative_scale}, base={self.base}"
