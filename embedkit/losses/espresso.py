"""Espresso: every layer in every batch, and one prefix that holds the main components."""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from embedkit.losses.arguments import Loss, callable_loss, not_negative, positive, whole
from embedkit.losses.cells import cell, check_widths, divergence, grid_of, rows
from embedkit.ops.similarity import dot_product


class EspressoLoss(nn.Module):
    """A loss on all layers, whose prefix also learns a compressed copy of the whole (ESE).

        total = loss(v_L) + loss(v_L[:dim]) + A(v_L) + 1/(L − 1) · Σ_{n=1}^{L−1} (loss(v_n[:dim]) + A(v_n)) / (1 + ln n)
        A(v) = compress_weight · (MSE(v[:dim], c(v)) + KL(softmax(c(v) / temperature) ‖ softmax(v[:dim] / temperature)))
        c(v) = v · U · diag(S),   U, S the first `dim` left singular vectors and values of softmax(vᵀv / sqrt(D))

    with v_n the embeddings (rows, D) after layer n, of all arguments below each other, and L the full depth. The
    softmaxes are over the rows of the matrix; MSE is the mean over numbers and KL over rows. No gradient flows into c.

    Args:
        loss: What is minimised. It must take embeddings of any width.
        dim: The one width that is trained beside the full one.
        compress_weight: Weight of A, 0 or more.
        temperature: Divides the coordinates within KL; above 0.

    Raises:
        InputError: `loss` is no instance, `dim` is no width, or a setting is out of range.

    Example:
        >>> from embedkit.losses import CoSENTLoss
        >>> first, second = torch.randn(2, 6, 10, 32)  # 6 layers, 10 pairs, 32 dimensions
        >>> loss = EspressoLoss(CoSENTLoss(), 8)
        >>> loss(first, second, torch.rand(10)).shape
        torch.Size([])

    Reference:
        Xianming Li, Zongxi Li, Jing Li, Haoran Xie, Qing Li: ESE: Espresso Sentence Embeddings. ICLR 2025.

    Deviations:
        The authors' code counts layers from the embeddings before the first one: these it trains with the largest
        weight, and layer L − 1 never; here n = 1 … L − 1, as their equation says. A singular vector's sign is
        open, and theirs changes from batch to batch; here c(v) has the sign of each column that is nearer to
        v[:dim]. The decomposition is exact, theirs randomised.
    """

    by_layer = True

    def __init__(self, loss: Loss, dim: int, *, compress_weight: float = 1.0, temperature: float = 1.0) -> None:
        super().__init__()
        self.loss = callable_loss(loss)
        self.dim = whole("dim", dim)
        self.compress_weight = not_negative("compress_weight", compress_weight)
        self.temperature = positive("temperature", temperature)

    def forward(self, *tensors: Any) -> Float[Tensor, ""]:
        """The loss of one batch.

        Args:
            tensors: What the wrapped loss takes, with embeddings by layer, (layers, n, dim); labels and scores (n,).

        Returns:
            0-d.

        Raises:
            InputError: The embeddings are not by layer, or narrower than `dim`.
        """
        depth, width = grid_of(tensors)
        check_widths([self.dim], width)
        total: Tensor = self.loss(*cell(tensors, depth, width)) + self._prefix(tensors, depth, width)
        for layer in range(1, depth):
            share = (depth - 1) * (1 + math.log(layer))
            total = total + self._prefix(tensors, layer, width) / share
        return total

    def _prefix(self, tensors: tuple[Any, ...], layer: int, width: int) -> Tensor:
        task: Tensor = self.loss(*cell(tensors, layer, self.dim))
        if not self.compress_weight:
            return task
        whole_rows = rows(cell(tensors, layer, width))
        prefix, target = whole_rows[:, : self.dim], _compressed(whole_rows, self.dim)
        error = (prefix - target).square().sum() / max(prefix.numel(), 1)
        return task + self.compress_weight * (error + divergence(target, prefix, self.temperature))


@torch.no_grad()
def _compressed(vectors: Tensor, dim: int) -> Tensor:
    """c(v): (rows, D) → (rows, dim)."""
    related = (dot_product(vectors.T, vectors.T) / math.sqrt(vectors.shape[1])).softmax(dim=1)
    if not torch.isfinite(related).all():  # as after an overflow in half precision, which a gradient scaler mends
        return torch.full_like(vectors[:, :dim], torch.nan)
    left, sizes, _ = torch.linalg.svd(related)
    target = dot_product(vectors, (left[:, :dim] * sizes[:dim]).T)
    opposed = (target * vectors[:, :dim]).sum(dim=0) < 0
    return torch.where(opposed, -target, target)
