"""SupCon: all others of the same class are positives."""

from jaxtyping import Float, Shaped
from torch import Tensor, nn

from embedkit.losses.arguments import Similarity, callable_similarity, check_labels, check_rows, positive
from embedkit.ops.labels import multi_positive_cross_entropy, same_class
from embedkit.ops.similarity import cosine_similarity


class SupConLoss(nn.Module):
    """Softmax cross-entropy of finding all others of an anchor's class in the batch (SupCon, Eq. 2, "out").

        loss = mean_i  −1 / |P_i| · Σ_{p ∈ P_i} log( exp(s_ip / temperature) / Σ_{a ≠ i} exp(s_ia / temperature) )

    with s_ij = `similarity` of embeddings i and j, and P_i the others with the label of i. Rows alone in their class
    are no anchors; they are among the wrong answers of the others.

    Args:
        temperature: Divides the similarities; above 0.
        similarity: (n, dim), (m, dim) → (n, m), such as the functions of `embedkit.ops.similarity`.

    Raises:
        InputError: The temperature is not above 0, or `similarity` is no function.

    Example:
        >>> import torch
        >>> embeddings = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> round(SupConLoss(temperature=1.0)(embeddings, torch.tensor([0, 0, 1])).item(), 4)  # log(1 + exp(-1))
        0.3133

    Reference:
        P. Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020, Eq. 2.

    Deviations:
        The mean over the anchors that have a positive, where the paper sums over all; no second, base temperature.
    """

    def __init__(self, *, temperature: float = 0.1, similarity: Similarity = cosine_similarity) -> None:
        super().__init__()
        self.temperature = positive("temperature", temperature)
        self.similarity = callable_similarity(similarity)

    def forward(self, embeddings: Float[Tensor, "n dim"], labels: Shaped[Tensor, "n"]) -> Float[Tensor, ""]:
        """The loss of one batch. Takes n² numbers of memory.

        Args:
            embeddings: (n, dim).
            labels: (n,) integers.

        Returns:
            0-d; 0 where no class has two rows.

        Raises:
            InputError: The embeddings are none, or the labels are not one integer for each.
        """
        check_rows(embeddings=embeddings)
        check_labels(labels, len(embeddings))
        positives, negatives = same_class(labels)
        logits = self.similarity(embeddings, embeddings) / self.temperature
        return multi_positive_cross_entropy(logits, positives, positives | negatives)

    def extra_repr(self) -> str:
        """The setting, which tells one training run from another."""
        return f"temperature={self.temperature}"
