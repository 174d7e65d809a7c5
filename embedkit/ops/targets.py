"""Which candidates are right answers for a row, and how much: what pair losses aim at instead of the pair alone.

A target is a function of what is known of the rows, (n, …), and of the candidates, (m, …), and gives weights (n, m),
none of them negative. Whoever uses them scales each row to sum 1.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from embedkit.errors import InputError
from embedkit.ops.similarity import cosine_similarity

_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def same_key(rows: Tensor, candidates: Tensor) -> Float[Tensor, "n m"]:
    """1 where row and candidate have one key, such as one caption, else 0.

    Args:
        rows: One key each, (n,).
        candidates: One key each, (m,).

    Returns:
        (n, m), float32.

    Raises:
        InputError: The keys are not one integer each.

    Example:
        >>> same_key(torch.tensor([3, 5]), torch.tensor([5, 3, 5])).tolist()
        [[0.0, 1.0, 0.0], [1.0, 0.0, 1.0]]
    """
    for keys in (rows, candidates):
        if keys.ndim != 1 or keys.dtype not in _INTEGERS:
            kind = str(keys.dtype).removeprefix("torch.")
            raise InputError(
                f"labels must be one integer a row, which is its key; received {tuple(keys.shape)} of {kind}"
            )
    return (rows[:, None] == candidates[None, :]).float()


def cosine_weights(rows: Tensor, candidates: Tensor, *, temperature: float | None = None) -> Float[Tensor, "n m"]:
    """How alike the features of a frozen encoder are: (cos + 1) / 2, or exp((cos − 1) / temperature).

    Features of most encoders share a direction, which makes the first form nearly uniform: centre them, or take the
    second, which is sharper the lower its temperature. No gradient reaches the features.

    Args:
        rows: Features, (n, width).
        candidates: Features, (m, width).
        temperature: Of the second form, above 0; None takes the first.

    Returns:
        (n, m), within 0 … 1.

    Raises:
        InputError: The features are no matrices, or the temperature is not above 0.

    Example:
        >>> features = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> cosine_weights(features, features).tolist()
        [[1.0, 0.5], [0.5, 1.0]]

    Reference:
        R. S. Srinivasa et al., "CWCL: Cross-Modal Transfer with Continuously Weighted Contrastive Loss", NeurIPS 2023,
        for the first form.

    Deviations:
        The second form is not in the paper.
    """
    if rows.ndim != 2 or candidates.ndim != 2:
        shapes = f"{tuple(rows.shape)} and {tuple(candidates.shape)}"
        raise InputError(f"labels must be features, (n, width) and (m, width); received {shapes}")
    if temperature is not None and not temperature > 0:
        raise InputError(f"temperature must be above 0, or None; received {temperature}")
    cosines = cosine_similarity(rows.detach(), candidates.detach()).clamp(-1, 1)
    return (cosines + 1) / 2 if temperature is None else torch.exp((cosines - 1) / temperature)
