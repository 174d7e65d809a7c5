"""Matryoshka: one loss at several widths of the same embeddings."""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from embedkit.errors import InputError
from embedkit.losses.arguments import Loss, callable_loss, not_negative, widths
from embedkit.losses.cells import check_widths, cut, narrowest


class MatryoshkaLoss(nn.Module):
    """A loss summed over prefixes of the embeddings, so that each prefix serves by itself (MRL, Eq. 1).

        total = Σ_k weights_k · loss(embeddings[:, :dims_k], …)

    Every floating tensor of two or more axes is cut on its last axis; all else (labels, scores) is handed on as
    it came. One width, the full one, is the wrapped loss itself.

    Args:
        loss: What is minimised at each width. It must take embeddings of any width.
        dims: Widths, in any order, each once and none wider than the embeddings.
        weights: One number, 0 or more, for each of `dims`; None is 1 for all.

    Raises:
        InputError: `loss` is no instance, `dims` are not widths, or `weights` do not match them.

    Example:
        >>> import torch
        >>> from embedkit.losses import InfoNCELoss
        >>> anchors, positives = torch.eye(4), torch.eye(4)
        >>> loss = MatryoshkaLoss(InfoNCELoss(), [2, 4])
        >>> loss(anchors, positives).shape
        torch.Size([])

    Reference:
        Aditya Kusupati et al.: Matryoshka Representation Learning. NeurIPS 2022, Eq. 1.

    Deviations:
        The paper sums over n rows and over linear classifiers; here the wrapped loss says what is averaged.
        Prefixes are not scaled to length 1: a loss on cosines does not notice, one on inner products does.
    """

    def __init__(self, loss: Loss, dims: Sequence[int], *, weights: Sequence[float] | None = None) -> None:
        super().__init__()
        self.loss = callable_loss(loss)
        self.by_layer = bool(getattr(loss, "by_layer", False))
        self.dims = widths(dims)
        given = [1.0] * len(self.dims) if weights is None else weights
        self.weights = tuple(not_negative("each of weights", weight) for weight in given)
        if len(self.weights) != len(self.dims):
            message = f"weights must be one for each of the {len(self.dims)} dims; received {len(self.weights)}"
            raise InputError(message)

    def forward(self, *tensors: Any) -> Float[Tensor, ""]:
        """The loss of one batch.

        Args:
            tensors: What the wrapped loss takes: embeddings (n, dim), and labels or scores (n,).

        Returns:
            0-d.

        Raises:
            InputError: No argument is embeddings, or one is narrower than the widest of `dims`.
        """
        check_widths(self.dims, narrowest(tensors))
        terms = [weight * self.loss(*cut(tensors, dim)) for dim, weight in zip(self.dims, self.weights, strict=True)]
        total: Tensor = sum(terms[1:], start=terms[0])
        return total
