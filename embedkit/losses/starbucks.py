"""Starbucks: fixed pairs of depth and width, each taught by the full model."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from embedkit.errors import InputError
from embedkit.losses.arguments import (
    Loss,
    Similarity,
    callable_loss,
    callable_similarity,
    not_negative,
    one_of,
    positive,
    whole,
)
from embedkit.losses.cells import cell, divergence, grid_of, is_embeddings, rows
from embedkit.ops.similarity import cosine_similarity

_KINDS = ("scores", "coordinates", None)
_TEMPERATURES = {"scores": 0.05, "coordinates": 1.0, None: 1.0}


class StarbucksLoss(nn.Module):
    """A loss summed over fixed cells (depth, width), plus how far each is from the full model (SRL).

        total = Σ_{(n, d) in pairs} loss(v_n[:d], …) + kl_weight · Σ_{(n, d) in pairs} KL(teacher ‖ student)

    where v_n are the embeddings after layer n, L is the full depth and D the full width. What is compared:

        kl="scores":       teacher = softmax(s(v_L) / temperature)      student = softmax(s(v_n[:d]) / temperature)
        kl="coordinates":  teacher = softmax(v_L[:d] / temperature)     student = softmax(v_n[:d] / temperature)

    The rows of s(v) are the similarities of each row of the first argument (anchors) to all rows of the others
    (positives, negatives); of a loss that takes one tensor of embeddings, those of each row to all other rows.
    KL is the mean over rows, and no gradient flows into the teacher. At the full cell (L, D) it is 0, so the one
    pair (L, D) gives `loss` itself.

    Args:
        loss: What is minimised in each cell. It must take embeddings of any width.
        pairs: (num_layers, dim) from small to large: neither number may fall, and no pair comes twice.
        kl: What is distilled, or None for nothing.
        kl_weight: 0 or more.
        temperature: Divides what the softmax takes; above 0. None is 0.05 for scores and 1 for coordinates.
        similarity: s for kl="scores": (n, dim), (m, dim) → (n, m).

    Raises:
        InputError: `loss` is no instance, the pairs are out of order, or a setting is out of range.

    Example:
        >>> from embedkit.losses import CoSENTLoss
        >>> first, second = torch.randn(2, 6, 10, 384)  # 6 layers, 10 pairs, 384 dimensions
        >>> loss = StarbucksLoss(CoSENTLoss(), [(1, 24), (3, 96), (6, 384)])
        >>> loss(first, second, torch.rand(10)).shape
        torch.Size([])

    Reference:
        Shengyao Zhuang et al.: Starbucks: Improved Training for 2D Matryoshka Embeddings. arXiv 2410.13230, 2024,
        Starbucks Representation Learning (SRL).

    Deviations:
        The authors' retrieval code compares softmaxes of inner products at temperature 1; cosines vary too
        little for that, hence 0.05 here (`similarity=dot_product, temperature=1.0` is theirs). Their STS code
        compares coordinates, lets gradients into the teacher, and weighs the sum with 0.3 (`kl_weight=0.3`);
        here the teacher is always detached. They scale the prefixes to length 1 first in the STS code; a loss
        on cosines does not notice.
    """

    by_layer = True

    def __init__(
        self,
        loss: Loss,
        pairs: Sequence[tuple[int, int]],
        *,
        kl: Literal["scores", "coordinates"] | None = "scores",
        kl_weight: float = 1.0,
        temperature: float | None = None,
        similarity: Similarity = cosine_similarity,
    ) -> None:
        super().__init__()
        one_of("kl", kl, _KINDS)
        self.loss = callable_loss(loss)
        self.pairs = _ascending(pairs)
        self.kl = kl
        self.kl_weight = not_negative("kl_weight", kl_weight)
        self.temperature = positive("temperature", _TEMPERATURES[kl] if temperature is None else temperature)
        self.similarity = callable_similarity(similarity)

    def forward(self, *tensors: Any) -> Float[Tensor, ""]:
        """The loss of one batch.

        Args:
            tensors: What the wrapped loss takes, with embeddings by layer, (layers, n, dim); labels and scores (n,).

        Returns:
            0-d.

        Raises:
            InputError: The embeddings are not by layer, or have fewer layers or dimensions than the largest pair.
        """
        full = grid_of(tensors)
        layers, width = self.pairs[-1]
        if layers > full[0] or width > full[1]:
            message = f"pairs must lie within the embeddings' {full[0]} layers and {full[1]} dimensions; received "
            raise InputError(message + f"{self.pairs[-1]}")
        terms = [self.loss(*cell(tensors, *pair)) for pair in self.pairs]
        if self.kl is not None and self.kl_weight:
            terms += [self.kl_weight * self._divergence(tensors, pair, full) for pair in self.pairs if pair != full]
        total: Tensor = sum(terms[1:], start=terms[0])
        return total

    def _divergence(self, tensors: tuple[Any, ...], pair: tuple[int, int], full: tuple[int, int]) -> Tensor:
        student = cell(tensors, *pair)
        if self.kl == "coordinates":
            return divergence(rows(cell(tensors, full[0], pair[1])), rows(student), self.temperature)
        return divergence(self._scores(cell(tensors, *full)), self._scores(student), self.temperature)

    def _scores(self, tensors: tuple[Any, ...]) -> Tensor:
        first, *others = (tensor for tensor in tensors if is_embeddings(tensor))
        if others:
            return self.similarity(first, torch.cat(others))
        count = len(first)
        other = ~torch.eye(count, dtype=torch.bool, device=first.device)
        return self.similarity(first, first)[other].view(count, max(count - 1, 0))


def _ascending(pairs: Any) -> tuple[tuple[int, int], ...]:
    try:
        listed = [(num_layers, dim) for num_layers, dim in pairs]
    except (TypeError, ValueError):
        listed = []
    if not listed:
        message = f"pairs must be (num_layers, dim) each, such as [(2, 64), (6, 384)]; received {pairs!r:.100}"
        raise InputError(message)
    checked = tuple((whole("num_layers of a pair", n), whole("dim of a pair", d)) for n, d in listed)
    for before, after in pairwise(checked):
        if before == after or before[0] > after[0] or before[1] > after[1]:
            message = f"pairs must ascend in layers and dimensions; received {after} after {before}; sort them"
            raise InputError(message)
    return checked
