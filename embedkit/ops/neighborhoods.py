"""What stands nearest to each labelled row: how pure, how tight and how far from other classes classes are."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

_LEAST = 1e-12


@dataclass(frozen=True)
class Neighborhoods:
    """The k nearest others of each row.

    Attributes:
        share: Of them in the class of the row, (n,).
        within: Mean distance of those, as a share of what is nearest in another class or, if that is more, of the
            farthest of the k; 0 … 1, (n,). 0 where there is none.
        between: Mean distance of those in other classes, (n,). 0 where there is none.
        widest: Largest distance of one in another class, (n,). 0 where there is none.
    """

    share: Tensor
    within: Tensor
    between: Tensor
    widest: Tensor


def neighborhoods(
    distances: Float[Tensor, "n m"], same: Bool[Tensor, "n m"], others: Bool[Tensor, "n m"], k: int
) -> Neighborhoods:
    """Look at the k nearest others of each row.

    Args:
        distances: Of each row from m, (n, m).
        same: Which of those are of its class; not the row itself.
        others: Which are of other classes.
        k: How many are looked at; at most as many as there are, 1 at least.

    Returns:
        Numbers of each row.
    """
    far = distances.detach().masked_fill(~(same | others), torch.inf)
    near = far.topk(k, dim=1, largest=False).indices
    found, alike, unlike = distances.gather(1, near), same.gather(1, near), others.gather(1, near)
    nearest = distances.masked_fill(~others, torch.inf).amin(dim=1, keepdim=True)
    farthest = found.masked_fill(~(alike | unlike), 0).amax(dim=1, keepdim=True)
    relative = found / torch.maximum(nearest, farthest).clamp(min=_LEAST)
    return Neighborhoods(
        share=alike.to(distances).mean(dim=1),
        within=_mean_of(relative, alike),
        between=_mean_of(found, unlike),
        widest=found.masked_fill(~unlike, 0).amax(dim=1),
    )


def icnn(of: Neighborhoods) -> Float[Tensor, ""]:
    """ICNN score: half how tight and how far apart classes are, half how pure neighbourhoods are.

        score = ((tight + apart) / 2 + pure) / 2

    with `pure` the mean `share`; `tight` 1 less the mean `within` of the rows that have a neighbour of their class, 0
    if none has; and `apart` the mean `between`, as a share of the largest `widest`, of the rows that have one of
    another class, 1 if none has.

    Returns:
        0-d, 0 … 1.
    """
    has_same, has_other = of.share > 0, of.share < 1
    tight = ((1 - of.within) * has_same).sum() / has_same.sum().clamp(min=1)
    apart = (of.between * has_other).sum() / (has_other.sum() * of.widest.amax()).clamp(min=_LEAST)
    apart = torch.where(has_other.any(), apart, torch.ones_like(apart))
    return ((tight + apart) / 2 + of.share.mean()) / 2


def _mean_of(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the places of a mask in each row; 0 where there is none."""
    return values.masked_fill(~mask, 0).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
