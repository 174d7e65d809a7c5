"""CLIP's loss and its kin: each pair among the others of the batch, both ways, towards a matrix of right answers."""

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn import functional

from embedkit.errors import InputError
from embedkit.losses.arguments import (
    Similarity,
    callable_similarity,
    check_rows,
    described,
    not_negative,
    one_of,
    whole,
)
from embedkit.losses.temperature import LearntTemperature
from embedkit.ops.similarity import cosine_similarity

Target: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""What is known of rows and of candidates, to weights (n, m) ≥ 0, such as those of `embedkit.ops.targets`."""

Directions: TypeAlias = Literal["both", "from_anchors", "from_positives"]


class PairContrastiveLoss(nn.Module):
    """Cross-entropy between where a softmax over the batch looks and where it should look, half each way.

        loss = ½ · mean_i −Σ_j T_ij · log softmax_j( s(anchors_i, positives_j) / temperature )
             + ½ · mean_i −Σ_j T_ij · log softmax_j( s(positives_i, anchors_j) / temperature )

    with s = `similarity` and T the target, each row of which is scaled to sum 1:

    - `target=None`: the pair alone. CLIP; ALIGN but for its factor 2; LiT where one tower is frozen.
    - `same_key`: all that have the row's key share the weight, for captions that occur more than once.
    - `cosine_weights`: by the likeness of the features of a frozen encoder. CWCL, with `directions` naming the one
      from the modality that those features belong to; the other direction keeps the pair alone.

    Args:
        target: None, or one of `embedkit.ops.targets`; it gets the labels of the batch.
        directions: In which of the two the target is used.
        smoothing: Share of each row's weight that is spread over all candidates, below 1.
        queue_size: So many rows of earlier batches are candidates too, without gradient. Only in training.
        temperature: At the beginning, 0.01 or more.
        learn_temperature: Whether the optimiser changes it; it stays at 0.01 or above.
        similarity: (n, dim), (m, dim) → (n, m), such as the functions of `embedkit.ops.similarity`.

    Raises:
        InputError: An argument is out of range, or no function where one must stand.

    Example:
        >>> loss = PairContrastiveLoss(temperature=1.0)
        >>> round(loss(torch.eye(2), torch.eye(2)).item(), 4)  # log(1 + exp(-1))
        0.3133

    Reference:
        A. Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021, Fig. 3;
        C. Jia et al., "Scaling Up Visual and Vision-Language Representation Learning With Noisy Text Supervision",
        ICML 2021, Eq. 1 and 2, and smoothing; R. S. Srinivasa et al., "CWCL: Cross-Modal Transfer with Continuously
        Weighted Contrastive Loss", NeurIPS 2023.

    Deviations:
        Directions are averaged; ALIGN and CWCL add them. The queue begins empty instead of with random vectors, which
        would be wrong candidates.
    """

    def __init__(
        self,
        *,
        target: Target | None = None,
        directions: Directions = "both",
        smoothing: float = 0.0,
        queue_size: int = 0,
        temperature: float = 0.07,
        learn_temperature: bool = True,
        similarity: Similarity = cosine_similarity,
    ) -> None:
        super().__init__()
        if target is not None and not callable(target):
            raise InputError(f"target must be a function of embedkit.ops.targets, or None; received {target!r:.100}")
        one_of("directions", directions, ("both", "from_anchors", "from_positives"))
        if not_negative("smoothing", smoothing) >= 1:
            raise InputError(f"smoothing must be a share below 1; received {smoothing}")
        self.target, self.directions, self.smoothing = target, directions, smoothing
        self.queue_size = whole("queue_size", queue_size, least=0)
        self.temperature = LearntTemperature(temperature, learnt=learn_temperature)
        self.similarity = callable_similarity(similarity)
        self._queue: list[Tensor] = []  # anchors, positives and, with a target, labels of earlier batches

    def forward(
        self,
        anchors: Float[Tensor, "n dim"],
        positives: Float[Tensor, "n dim"],
        labels: Shaped[Tensor, "n ..."] | None = None,
    ) -> Float[Tensor, ""]:
        """The loss of one batch.

        Args:
            anchors: (n, dim).
            positives: (n, dim); row i belongs to anchor i.
            labels: What the target is computed from: keys (n,), or features (n, width). None without a target.

        Returns:
            0-d; 0 for an empty batch. Its lowest value is the entropy of the target, which is 0 for the pair alone.

        Raises:
            InputError: The tensors differ in shape, labels are missing, or there are some and no target to take them.
        """
        check_rows(anchors=anchors, positives=positives)
        self._check_labels(labels, len(anchors))
        batch = [anchors, positives] if labels is None else [anchors, positives, labels]
        everything = self._with_queue(batch)
        known = None if labels is None else (labels, everything[2])
        there = self._one_way(anchors, everything[1], known if self.directions != "from_positives" else None)
        back = self._one_way(positives, everything[0], known if self.directions != "from_anchors" else None)
        if self.training and self.queue_size:
            self._queue = [each[: self.queue_size].detach() for each in everything]
        return (there + back) / 2

    def _check_labels(self, labels: Any, count: int) -> None:
        if (labels is None) != (self.target is None):
            message = "labels must be given exactly where there is a target; received {} and the target {!r:.60}"
            raise InputError(message.format("none" if labels is None else described(labels), self.target))
        if labels is not None and (not isinstance(labels, Tensor) or labels.ndim == 0 or len(labels) != count):
            raise InputError(f"labels must be a tensor of {count} rows; received {described(labels)}")

    def _with_queue(self, batch: list[Tensor]) -> list[Tensor]:
        """The batch, and in training what earlier batches left behind it."""
        if not self.training or not self._queue:
            return batch
        return [torch.cat([now, before.to(now)]) for now, before in zip(batch, self._queue, strict=True)]

    def _one_way(self, rows: Tensor, candidates: Tensor, known: tuple[Tensor, Tensor] | None) -> Tensor:
        logits = self.similarity(rows, candidates) / self.temperature()
        wanted = torch.eye(*logits.shape, device=logits.device, dtype=logits.dtype)
        if self.target is not None and known is not None:
            wanted = _scaled(self.target(*known), logits)
        wanted = (1 - self.smoothing) * wanted + self.smoothing / max(len(candidates), 1)
        return -(wanted * functional.log_softmax(logits, dim=1)).sum() / max(len(rows), 1)


def _scaled(weights: Tensor, logits: Tensor) -> Tensor:
    """What a target gave, each row scaled to sum 1.

    Raises:
        InputError: It is of another shape than the logits, has a negative number, or a row without any weight.
    """
    sums = weights.sum(dim=-1, keepdim=True)
    if weights.shape != logits.shape or not bool((weights >= 0).all() & (sums > 0).all()):
        raise InputError(
            f"target must give weights {tuple(logits.shape)}, none negative and some above 0 in each row; "
            f"received {described(weights)}"
        )
    return (weights / sums).detach().to(logits)
