"""SigLIP's loss: whether two belong together, asked of each pair of the batch for itself."""

import math

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from embedkit.errors import InputError
from embedkit.losses.arguments import Similarity, callable_similarity, check_labels, check_rows, whole
from embedkit.losses.temperature import LearntTemperature
from embedkit.ops.similarity import cosine_similarity


class SigmoidPairLoss(nn.Module):
    """Logistic loss of every anchor with every positive (SigLIP, Alg. 1).

        loss = (1/n) Σ_i Σ_j softplus( −z_ij · (s(anchors_i, positives_j) / temperature + bias) )

    with s = `similarity`, and z_ij = 1 where i = j or the labels agree, else −1.

    Args:
        temperature: At the beginning, 0.01 or more; the optimiser changes it.
        bias: At the beginning; the optimiser changes it. It should be as low as the odds of a random pair.
        chunk_size: Anchors that are compared at a time, so that memory grows with n · chunk_size rather than n²; each
            chunk is computed a second time for its gradient. None compares all at once. The value is the same.
        similarity: (n, dim), (m, dim) → (n, m), such as the functions of `embedkit.ops.similarity`.

    Raises:
        InputError: An argument is out of range, or `similarity` is no function.

    Example:
        >>> loss = SigmoidPairLoss()
        >>> apart = torch.eye(4)
        >>> round(loss(apart[:2], apart[2:]).item(), 3)  # all similarities 0: softplus(10) + softplus(-10)
        10.0

    Reference:
        X. Zhai, B. Mustafa, A. Kolesnikov, L. Beyer, "Sigmoid Loss for Language Image Pre-Training", ICCV 2023, Alg. 1.

    Deviations:
        Labels, where given, make more than the diagonal right.
    """

    def __init__(
        self,
        *,
        temperature: float = 0.1,
        bias: float = -10.0,
        chunk_size: int | None = None,
        similarity: Similarity = cosine_similarity,
    ) -> None:
        super().__init__()
        if not math.isfinite(bias):
            raise InputError(f"bias must be a finite number; received {bias}")
        self.temperature = LearntTemperature(temperature, learnt=True)
        self.bias = nn.Parameter(torch.tensor(float(bias)))
        self.chunk_size = None if chunk_size is None else whole("chunk_size", chunk_size)
        self.similarity = callable_similarity(similarity)

    def forward(
        self,
        anchors: Float[Tensor, "n dim"],
        positives: Float[Tensor, "n dim"],
        labels: Shaped[Tensor, "n"] | None = None,
    ) -> Float[Tensor, ""]:
        """The loss of one batch.

        Args:
            anchors: (n, dim).
            positives: (n, dim); row i belongs to anchor i.
            labels: One key each, (n,): pairs with equal keys belong together too. None for none.

        Returns:
            0-d; 0 for an empty batch.

        Raises:
            InputError: The tensors differ in shape, or the labels are not one integer each.
        """
        check_rows(anchors=anchors, positives=positives)
        count = len(anchors)
        if labels is not None:
            check_labels(labels, count)
        keys = torch.arange(count, device=anchors.device) if labels is None else labels
        temperature = self.temperature()
        chunk = self.chunk_size or max(count, 1)
        parts = []
        for start in range(0, max(count, 1), chunk):
            given = (anchors[start : start + chunk], positives, keys[start : start + chunk], keys, temperature)
            parts.append(self._part(*given) if chunk >= count else checkpoint(self._part, *given, use_reentrant=False))
        return torch.stack(parts).sum() / max(count, 1)

    def _part(self, anchors: Tensor, positives: Tensor, keys: Tensor, others: Tensor, temperature: Tensor) -> Tensor:
        logits = self.similarity(anchors, positives) / temperature + self.bias
        belongs = keys[:, None] == others[None, :]
        return functional.softplus(torch.where(belongs, -logits, logits)).sum()
