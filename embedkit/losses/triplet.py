"""Triplets: nearer to one's own class than to another, by a margin, for the triplets that a miner picks."""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from embedkit.errors import InputError
from embedkit.losses.arguments import check_labels, check_rows, described, not_negative
from embedkit.ops.labels import mean_where
from embedkit.ops.mining import all_triplets
from embedkit.ops.similarity import unit_distance

Miner: TypeAlias = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
"""(n, dim) and (n,) to the rows of anchors, positives and negatives, as in `embedkit.ops.mining`."""


class TripletLoss(nn.Module):
    """Hinge between the distances of an anchor to a row of its class and to one of another, over mined triplets.

        loss = mean over (a, p, n) with a term above 0 of  ‖z_a − z_p‖ − ‖z_a − z_n‖ + margin
        z = embeddings / ‖embeddings‖

    Triplets that keep the margin do not count, not even in the mean: else the few that break it would weigh less and
    less as training goes on.

    Args:
        margin: By which the negative must be farther; 0 or more, of distances that are 0 … 2.
        miner: (embeddings, labels) to the rows of anchors, positives and negatives, such as the functions of
            `embedkit.ops.mining`, or with settings `functools.partial(semi_hard_triplets, margin=0.1)`,
            whose margin is of squared distances.

    Raises:
        InputError: The margin is below 0, or `miner` is no function.

    Example:
        >>> embeddings = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
        >>> loss = TripletLoss(margin=0.5)  # √2 − 2 + 0.5 is below 0; √2 − √2 + 0.5 counts
        >>> loss(embeddings, torch.tensor([0, 0, 1])).item()
        0.5

    Reference:
        F. Schroff et al., "FaceNet: A Unified Embedding for Face Recognition and Clustering", CVPR 2015, Section 3.1.

    Deviations:
        The distances are not squared, as in A. Hermans et al., "In Defense of the Triplet Loss for Person
        Re-Identification", 2017; the mean of the terms above 0, where the paper has the sum of all. A row without
        direction is √2 from all others and has no gradient.
    """

    def __init__(self, *, margin: float = 0.2, miner: Miner = all_triplets) -> None:
        super().__init__()
        self.margin = not_negative("margin", margin)
        self.miner = _callable_miner(miner)

    def forward(self, embeddings: Float[Tensor, "n dim"], labels: Shaped[Tensor, "n"]) -> Float[Tensor, ""]:
        """The loss of one batch. Takes n² numbers of memory and some for each triplet.

        Args:
            embeddings: (n, dim).
            labels: (n,) integers.

        Returns:
            0-d; 0 where every triplet keeps the margin, or there is none.

        Raises:
            InputError: The embeddings are none, the labels are not one integer for each, or what the miner gives are
                not the rows of triplets.
        """
        check_rows(embeddings=embeddings)
        check_labels(labels, len(embeddings))
        anchors, positives, negatives = _checked(self.miner(embeddings.detach(), labels), len(embeddings))
        distances = unit_distance(embeddings, embeddings)
        terms = distances[anchors, positives] - distances[anchors, negatives] + self.margin
        # The miner and the comparison leave out what is NaN; the sum shows it.
        return mean_where(terms, terms > 0) + 0 * distances.sum()

    def extra_repr(self) -> str:
        """The settings, which tell one training run from another."""
        return f"margin={self.margin}, miner={_name(self.miner)}"


def _callable_miner(miner: Any) -> Miner:
    if isinstance(miner, type) or not callable(miner):
        message = (
            f"miner must be a function of embeddings and labels, or an instance of a miner; received {miner!r:.100}"
        )
        raise InputError(message)
    function: Miner = miner
    return function


def _checked(found: Any, count: int) -> Tensor:
    """What a miner gave, as (3, t)."""
    three = isinstance(found, tuple | list) and len(found) == 3
    if not three or not all(_is_index(each) for each in found) or len({len(each) for each in found}) > 1:
        received = ", ".join(map(described, found)) if isinstance(found, tuple | list) else described(found)
        message = f"miner must give three tensors of integers, all (t,); received {received or 'nothing'}"
        raise InputError(message)
    rows = torch.stack([each.long() for each in found])
    if bool(((rows < 0) | (rows >= count)).any()):
        message = f"miner must give rows of the {count} embeddings; received {int(rows.min())} … {int(rows.max())}"
        raise InputError(message)
    return rows


def _is_index(value: Any) -> bool:
    kind = value.dtype if isinstance(value, Tensor) and value.ndim == 1 else torch.bool
    return not kind.is_floating_point and not kind.is_complex and kind != torch.bool


def _name(miner: Any) -> str:
    if isinstance(miner, partial):
        return f"{_name(miner.func)}({', '.join(f'{name}={value!r}' for name, value in miner.keywords.items())})"
    return str(getattr(miner, "__name__", type(miner).__name__))
