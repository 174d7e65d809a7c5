"""Sizes that fit in a budget of bytes."""

from bisect import bisect_right
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from embedkit.modules.lookup.packing import check_budget


def largest_size(kind: type, cost: Callable[[int], int], nbytes: int, *, least: int, most: int) -> int:
    """The largest of the sizes `least` … `most` whose cost in bytes, which grows with size, is in the budget.

    Raises:
        InputError: Not even the smallest is.
    """
    check_budget(nbytes, cost(least), f"the smallest {kind.__name__} of these fields")
    return least + bisect_right(range(least, most + 1), nbytes, key=cost) - 1


def even_levels(kind: type, costs: Tensor, nbytes: int) -> list[int]:
    """One level a field: the highest that all can have, then higher ones where the rest of the budget allows.

    Args:
        kind: Whom the message names.
        costs: Bytes of each field at each level, (fields, levels), growing along levels.
        nbytes: The budget.

    Raises:
        InputError: Not even the lowest level is in the budget.
    """
    common = largest_size(kind, costs.sum(0).tolist().__getitem__, nbytes, least=0, most=costs.shape[1] - 1)
    return raised_levels(costs, [common] * len(costs), nbytes)


def raised_levels(costs: Tensor, levels: Sequence[int], nbytes: int) -> list[int]:
    """Levels of fields, each raised as far as the rest of the budget allows.

    The field that costs least when it is full goes first: a record has a value in each field, and this way most fields
    are raised.

    Args:
        costs: As in `even_levels`.
        levels: Level of each field, together in the budget.
        nbytes: The budget.
    """
    levels = list(levels)
    rest = nbytes - int(costs[torch.arange(len(costs)), levels].sum())
    for field in costs[:, -1].argsort(stable=True).tolist():
        ladder = costs[field].tolist()
        rest += ladder[levels[field]]
        levels[field] = bisect_right(ladder, rest) - 1
        rest -= ladder[levels[field]]
    return levels
