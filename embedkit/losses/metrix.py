"""Metrix: a loss of pairs, also on mixtures of a positive and a negative."""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from embedkit.errors import InputError
from embedkit.losses.arguments import check_labels, check_rows, not_negative, positive, whole
from embedkit.losses.draws import Draws
from embedkit.ops.labels import same_class
from embedkit.ops.similarity import cosine_similarity

_SHORTEST = 1e-6


@runtime_checkable
class OfPairs(Protocol):
    """A loss that sums up what each positive costs and what each negative costs, and also takes what is partly both."""

    def __call__(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """The loss of one batch."""

    def of_pairs(self, similarities: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
        """As in `ContrastiveLoss`."""


class MetrixLoss(nn.Module):
    """A loss of pairs, plus the same loss on mixtures of what an anchor should be near and what it should not (Metrix).

        total = loss(embeddings, labels) + weight · loss of the pairs (a, v)
        v = λ z_p + (1 − λ) z_n,  z = embeddings / ‖embeddings‖,  λ drawn from Beta(alpha, alpha)

    A mixture counts as λ of a positive and 1 − λ of a negative. For each anchor a, p are all its positives or the
    anchor itself, either with chance one half, and n its `num_negatives` nearest negatives. Mixtures are compared by
    their cosines, which follow from those of the embeddings, so that none is built: for n rows, at most p positives
    each, n · p · num_negatives numbers of memory.

    Draws, one λ a batch, come from a generator of the loss's own, whose state is part of `state_dict()`.

    Args:
        loss: `ContrastiveLoss`, `MultiSimilarityLoss`, or another that has their `of_pairs`. Others, such as SupCon, in
            which positives stand in one softmax with the negatives, have no cost of a pair that could be shared out.
        weight: Of the mixtures; 0 leaves the loss as it is.
        alpha: Above 0; higher mixes more evenly.
        num_negatives: Of each anchor, that are mixed.
        seed: Starts the generator.

    Raises:
        InputError: The loss has no `of_pairs`, or a number is out of range.

    Example:
        >>> from embedkit.losses import ContrastiveLoss
        >>> embeddings, labels = torch.eye(4), torch.tensor([0, 0, 1, 1])
        >>> loss = MetrixLoss(ContrastiveLoss())
        >>> bool(loss(embeddings, labels) > ContrastiveLoss()(embeddings, labels))
        True

    Reference:
        S. Venkataramanan, B. Psomas, E. Kijak, L. Amsaleg, K. Karantzalos, Y. Avrithis, "It Takes Two to Tango: Mixup
        for Deep Metric Learning", ICLR 2022.

    Deviations:
        Mixes embeddings only, neither inputs nor features. One λ a batch, not one a pair.
    """

    def __init__(
        self, loss: OfPairs, *, weight: float = 0.4, alpha: float = 2.0, num_negatives: int = 3, seed: int = 0
    ) -> None:
        super().__init__()
        if isinstance(loss, type) or not isinstance(loss, OfPairs):
            message = (
                "loss must be a loss of pairs, an instance such as ContrastiveLoss() or "
                f"MultiSimilarityLoss(); received {loss!r:.100}, which has no `of_pairs`"
            )
            raise InputError(message)
        self.loss = loss
        self.weight = not_negative("weight", weight)
        self.alpha = positive("alpha", alpha)
        self.num_negatives = whole("num_negatives", num_negatives)
        self.draws = Draws(seed)

    def forward(self, embeddings: Float[Tensor, "n dim"], labels: Shaped[Tensor, "n"]) -> Float[Tensor, ""]:
        """The loss of one batch; draws anew.

        Args:
            embeddings: (n, dim).
            labels: (n,) integers.

        Returns:
            0-d; where no row has both a positive and a negative, what the wrapped loss gives.

        Raises:
            InputError: The embeddings are none, or the labels are not one integer for each.
        """
        wrapped, mixtures = self.terms(embeddings, labels).values()
        return wrapped + mixtures

    def terms(self, embeddings: Float[Tensor, "n dim"], labels: Shaped[Tensor, "n"]) -> dict[str, Tensor]:
        """What the loss is the sum of: "wrapped" and "mixtures"; draws anew."""
        check_rows(embeddings=embeddings)
        check_labels(labels, len(embeddings))
        wrapped: Tensor = self.loss(embeddings, labels)
        share, of_itself = self.draws.beta(self.alpha), bool(self.draws.integer(2))
        if not self.weight:
            return {"wrapped": wrapped, "mixtures": torch.zeros_like(wrapped)}
        similarities = cosine_similarity(embeddings, embeddings)
        positives, negatives = same_class(labels)
        if of_itself:
            positives = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        mixed = self._mixed(similarities, positives, negatives, share)
        return {"wrapped": wrapped, "mixtures": self.weight * mixed}

    def _mixed(self, similarities: Tensor, positives: Tensor, negatives: Tensor, share: float) -> Tensor:
        """The loss of the mixtures; `share` is λ."""
        most = int(positives.sum(dim=1).max()) if len(positives) else 0
        near = positives.to(similarities).topk(most, dim=1).indices[:, :, None]
        most_negatives = min(self.num_negatives, len(positives))
        far = similarities.detach().masked_fill(~negatives, -torch.inf).topk(most_negatives, dim=1).indices[:, None, :]
        anchors = torch.arange(len(positives), device=positives.device)[:, None, None]
        there = (positives[anchors, near] & negatives[anchors, far]).flatten(1).to(similarities)
        sums = share * similarities[anchors, near] + (1 - share) * similarities[anchors, far]
        squares = share**2 + (1 - share) ** 2 + 2 * share * (1 - share) * similarities[near, far]
        mixtures = (sums / squares.clamp(min=_SHORTEST**2).sqrt()).flatten(1)
        return self.loss.of_pairs(mixtures, share * there, (1 - share) * there)

    def extra_repr(self) -> str:
        """The settings, which tell one training run from another."""
        return f"weight={self.weight}, alpha={self.alpha}, num_negatives={self.num_negatives}"
