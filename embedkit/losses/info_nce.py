"""InfoNCE: the positive among the other documents of the batch."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from embedkit.errors import InputError
from embedkit.losses.arguments import Similarity, callable_similarity, check_rows, positive
from embedkit.ops.similarity import cosine_similarity


class InfoNCELoss(nn.Module):
    """Softmax cross-entropy of finding each anchor's positive among the candidates (InfoNCE, Eq. 4).

        loss = mean_i −log( exp(s(anchors_i, positives_i) / temperature) / Σ_c exp(s(anchors_i, c) / temperature) )

    with s = `similarity`. With `in_batch` the candidates c of every row are all positives and all negatives of
    the batch. Without it they are the row's own positive and negatives only, as batches need whose other rows
    may be right answers too (labels of one class, duplicates).

    Args:
        temperature: Divides the similarities; above 0.
        similarity: (n, dim), (m, dim) → (n, m), such as the functions of `embedkit.ops.similarity`.
        in_batch: Whether the other rows' documents are negatives.

    Raises:
        InputError: The temperature is not above 0, or `similarity` is no function.

    Example:
        >>> anchors, positives = torch.eye(2), torch.eye(2)
        >>> round(InfoNCELoss(temperature=1.0)(anchors, positives).item(), 4)  # log(1 + exp(-1))
        0.3133

    Reference:
        Aaron van den Oord, Yazhe Li, Oriol Vinyals: Representation Learning with Contrastive Predictive Coding.
        arXiv 1807.03748, 2018, Eq. 4. Without in-batch negatives: Chankyu Lee et al.: NV-Embed: Improved Techniques
        for Training LLMs as Generalist Embedding Models. ICLR 2025, second stage.

    Deviations:
        The score is a similarity over a temperature; the paper's is exp(zᵀWc), whose W is the encoder's business.
    """

    def __init__(
        self, *, temperature: float = 0.05, similarity: Similarity = cosine_similarity, in_batch: bool = True
    ) -> None:
        super().__init__()
        self.temperature = positive("temperature", temperature)
        self.similarity = callable_similarity(similarity)
        self.in_batch = in_batch

    def forward(
        self, anchors: Float[Tensor, "n dim"], positives: Float[Tensor, "n dim"], *negatives: Float[Tensor, "n dim"]
    ) -> Float[Tensor, ""]:
        """The loss of one batch.

        Args:
            anchors: (n, dim).
            positives: (n, dim); row i belongs to anchor i.
            negatives: Any number of (n, dim); row i is a hard negative of anchor i.

        Returns:
            0-d; 0 for an empty batch, and for a batch of one with nothing but its positive.

        Raises:
            InputError: The tensors differ in shape, or neither the batch nor an argument brings negatives.
        """
        named: dict[str, Any] = {f"negatives[{i}]": each for i, each in enumerate(negatives)}
        check_rows(anchors=anchors, positives=positives, **named)
        documents = (positives, *negatives)
        if self.in_batch:
            logits = self.similarity(anchors, torch.cat(documents))
            right = torch.arange(len(anchors), device=anchors.device)
        elif negatives:
            logits = torch.stack([self.similarity(anchors, each).diagonal() for each in documents], dim=1)
            right = torch.zeros(len(anchors), dtype=torch.long, device=anchors.device)
        else:
            message = "in_batch=False needs negatives; received anchors and positives only; add them, or set in_batch"
            raise InputError(message)
        total = functional.cross_entropy(logits / self.temperature, right, reduction="sum")
        return total / max(len(anchors), 1)
