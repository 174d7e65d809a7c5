"""Columns of a batch that are stored in different ways, each way in turn."""

from collections.abc import Callable

import torch
from torch import Tensor


def in_groups(groups: Tensor, vectors: Callable[[int, Tensor], Tensor]) -> Tensor:
    """Vectors of all columns, made a group of columns at a time.

    Args:
        groups: Group of each column, (columns,).
        vectors: From a group and the columns that belong to it to their vectors, (batch, columns of the group, dim).

    Returns:
        (batch, columns, dim), in the order of the columns.
    """
    found, counts = torch.unique(groups, return_counts=True)
    order = groups.argsort(stable=True)
    split = torch.split(order, counts.tolist())
    parts = [vectors(group, columns) for group, columns in zip(found.tolist(), split, strict=True)]
    if len(parts) == 1:
        return parts[0]
    return torch.cat(parts, dim=1).index_select(1, order.argsort())
