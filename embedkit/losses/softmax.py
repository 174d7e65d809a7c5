"""Softmax: a linear classifier on the embeddings."""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn import functional

from embedkit.losses.arguments import check_classes, check_narrower, whole
from embedkit.ops.similarity import dot_product


class SoftmaxLoss(nn.Module):
    """Cross-entropy of a linear classifier on the embeddings, trained with them.

        logits = embeddings · weightsᵀ + bias          loss = mean_i −log softmax(logits_i)[labels_i]

    Narrower embeddings meet the first columns of the weights, so that one classifier serves every prefix under a
    Matryoshka.

    Args:
        dim: Width of the embeddings, at most.
        num_classes: Labels there are: 0 … num_classes − 1.
        seed: Of the first weights, drawn from N(0, 0.02²); the bias starts at 0.

    Raises:
        InputError: An argument is no integer, or out of range.

    Example:
        >>> loss = SoftmaxLoss(4, num_classes=3)
        >>> _ = loss.weights.data.zero_()  # knows nothing: ln 3
        >>> round(loss(torch.eye(4), torch.tensor([0, 1, 2, 0])).item(), 4)
        1.0986

    Reference:
        As fine-tuned by Aditya Kanade, Petros Maniatis, Gogul Balakrishnan, Kensen Shi: Learning and Evaluating
        Contextual Embedding of Source Code. ICML 2020; and by Jacob Devlin, Ming-Wei Chang, Kenton Lee,
        Kristina Toutanova: BERT. NAACL 2019, section 4.1.

    Deviations:
        Both drop out a tenth of the embedding in training; here that is left to the modules that make it.
    """

    def __init__(self, dim: int, num_classes: int, *, seed: int = 0) -> None:
        super().__init__()
        shape = whole("num_classes", num_classes, least=2), whole("dim", dim)
        generator = torch.Generator().manual_seed(whole("seed", seed, least=0))
        self.weights = nn.Parameter(0.02 * torch.randn(shape, generator=generator))
        self.bias = nn.Parameter(torch.zeros(shape[0]))

    def forward(self, embeddings: Float[Tensor, "n dim"], labels: Shaped[Tensor, "n"]) -> Float[Tensor, ""]:
        """The loss of one batch.

        Args:
            embeddings: (n, dim), no wider than the weights.
            labels: (n,) integers, 0 … num_classes − 1.

        Returns:
            0-d; 0 for an empty batch.

        Raises:
            InputError: The embeddings are none or too wide, or the labels are not one class for each.
        """
        logits = self.logits(embeddings)
        count, num_classes = logits.shape
        check_classes(labels, count, num_classes)
        total = functional.cross_entropy(logits, labels.long(), reduction="sum")
        return total / max(count, 1)

    def logits(self, embeddings: Float[Tensor, "n dim"]) -> Float[Tensor, "n classes"]:
        """What the softmax is taken of: the class of the largest is the prediction.

        Args:
            embeddings: (n, dim), no wider than the weights.

        Returns:
            (n, num_classes), in float32 at least.

        Raises:
            InputError: The embeddings are none or too wide.
        """
        check_narrower(embeddings, self.weights.shape[1])
        return dot_product(embeddings, self.weights[:, : embeddings.shape[1]]) + self.bias

    def extra_repr(self) -> str:
        """Sizes, which tell one training run from another."""
        return f"dim={self.weights.shape[1]}, num_classes={self.weights.shape[0]}"
