"""CACR: far positives pull harder, near negatives push harder."""

from jaxtyping import Float, Shaped
from torch import Tensor, nn

from embedkit.losses.arguments import check_labels, check_rows, not_negative
from embedkit.ops.labels import masked_softmax, mean_where, same_class
from embedkit.ops.similarity import cosine_similarity


class CACRLoss(nn.Module):
    """Cost of an anchor's positives less that of its negatives, each weighted by how wrong it is (CACR).

        cost_ij = ‖z_i − z_j‖²,  z = embeddings / ‖embeddings‖
        loss = mean_i  Σ_{p ∈ P_i} π⁺_ip cost_ip  −  Σ_{n ∈ N_i} π⁻_in cost_in
        π⁺_i = softmax over P_i of positive_sharpness · cost_i
        π⁻_i = softmax over N_i of −negative_sharpness · cost_i

    with P_i the others that have the label of i, and N_i those of other labels. For views of unlabelled inputs the
    label is the number of the input. Where P_i or N_i is empty that half is 0.

    Args:
        positive_sharpness: 0 weighs all positives alike; higher looks at the farthest.
        negative_sharpness: 0 weighs all negatives alike; higher looks at the nearest.

    Raises:
        InputError: A sharpness is below 0.

    Example:
        >>> import torch
        >>> embeddings = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
        >>> CACRLoss()(embeddings, torch.tensor([0, 0, 1, 1])).item()  # positives at 0, negatives at 2
        -2.0

    Reference:
        H. Zheng et al., "Contrastive Attraction and Contrastive Repulsion for Representation Learning", TMLR 2023.

    Deviations:
        Rows of the anchor's class are never its negatives, as the supervised form has it; the paper's form for views
        leaves out only the anchor itself. Gradients flow through the weights.
    """

    def __init__(self, *, positive_sharpness: float = 1.0, negative_sharpness: float = 2.0) -> None:
        super().__init__()
        self.positive_sharpness = not_negative("positive_sharpness", positive_sharpness)
        self.negative_sharpness = not_negative("negative_sharpness", negative_sharpness)

    def forward(self, embeddings: Float[Tensor, "n dim"], labels: Shaped[Tensor, "n"]) -> Float[Tensor, ""]:
        """The loss of one batch. Takes n² numbers of memory.

        Args:
            embeddings: (n, dim).
            labels: (n,) integers.

        Returns:
            0-d, −4 … 4; 0 where no row has a positive or a negative.

        Raises:
            InputError: The embeddings are none, or the labels are not one integer for each.
        """
        check_rows(embeddings=embeddings)
        check_labels(labels, len(embeddings))
        positives, negatives = same_class(labels)
        costs = 2 - 2 * cosine_similarity(embeddings, embeddings)
        attraction = (masked_softmax(self.positive_sharpness * costs, positives) * costs).sum(dim=1)
        repulsion = (masked_softmax(-self.negative_sharpness * costs, negatives) * costs).sum(dim=1)
        return mean_where(attraction - repulsion, (positives | negatives).any(dim=1))

    def extra_repr(self) -> str:
        """The settings, which tell one training run from another."""
        return f"positive_sharpness={self.positive_sharpness}, negative_sharpness={self.negative_sharpness}"
