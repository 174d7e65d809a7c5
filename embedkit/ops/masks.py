"""Which tokens count, and their mean."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def masked_mean(states: Float[Tensor, "n tokens dim"], mask: Bool[Tensor, "n tokens"]) -> Float[Tensor, "n dim"]:
    """Mean of the states that count: Σ_t mask_t states_t / Σ_t mask_t; zero where none counts.

    States that do not count have no influence, whatever they hold (NaN too), and get no gradient.

    Args:
        states: (n, tokens, dim), summed in float32 at least.
        mask: True for what counts, (n, tokens).

    Returns:
        (n, dim), in the type of `states`.

    Example:
        >>> states = torch.tensor([[[1.0], [3.0], [9.0]]])
        >>> masked_mean(states, torch.tensor([[True, True, False]])).tolist()
        [[2.0]]
    """
    counted = states.masked_fill(~mask.unsqueeze(-1), 0)
    wide = torch.promote_types(states.dtype, torch.float32)
    total = counted.sum(dim=1, dtype=wide)
    return (total / mask.sum(dim=1, keepdim=True).clamp(min=1)).to(states.dtype)


def without_first(mask: Bool[Tensor, "n tokens"], lengths: Int[Tensor, "n"]) -> Bool[Tensor, "n tokens"]:
    """A mask without its first true entries: row i loses `lengths[i]` of them, on whichever side padding is.

    Args:
        mask: True for tokens, False for padding, (n, tokens).
        lengths: How many to take away, (n,); a row that has fewer keeps none.

    Returns:
        (n, tokens).

    Example:
        >>> left_padded = torch.tensor([[False, True, True, True]])
        >>> without_first(left_padded, torch.tensor([2])).tolist()
        [[False, False, False, True]]
    """
    return mask & (mask.cumsum(dim=1) > lengths.unsqueeze(1))
