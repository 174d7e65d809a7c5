"""Cells of the elastic grid: the embeddings after a layer, cut to a width.

The layer-wise losses are called with embeddings of shape (layers, n, dim): row l − 1 is what
`encode(num_layers=l)` returns, before any truncation; the last row is the full depth. The other arguments
(labels, scores) have one axis and are the same in every cell.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from embedkit.errors import InputError
from embedkit.losses.arguments import described

_AXES = 3


def is_embeddings(value: Any) -> bool:
    """Whether an argument is cut: a floating tensor of two or more axes. Labels and scores are not."""
    return isinstance(value, Tensor) and value.is_floating_point() and value.ndim >= 2


def narrowest(tensors: tuple[Any, ...]) -> int:
    """The least width among the embeddings.

    Raises:
        InputError: There are none.
    """
    found = [tensor.shape[-1] for tensor in tensors if is_embeddings(tensor)]
    if not found:
        received = ", ".join(map(described, tensors)) or "nothing"
        message = f"at least one argument must be embeddings, floating and of shape (n, dim); received {received}"
        raise InputError(message)
    width: int = min(found)
    return width


def grid_of(tensors: tuple[Any, ...]) -> tuple[int, int]:
    """Number of layers and width of the embeddings among the arguments.

    Raises:
        InputError: There are none, they are not by layer, or they differ in layers or width.
    """
    narrowest(tensors)
    embeddings = [tensor for tensor in tensors if is_embeddings(tensor)]
    grids = {(tensor.shape[0], tensor.shape[-1]) for tensor in embeddings}
    if len(grids) > 1 or any(tensor.ndim < _AXES for tensor in embeddings) or 0 in min(grids):
        received = ", ".join(map(described, embeddings))
        message = (
            "embeddings must have shape (layers, n, dim), with the same layers and dim in each argument; "
            f"received {received}; stack the embeddings of all layers, the full depth last"
        )
        raise InputError(message)
    return grids.pop()


def check_widths(dims: Sequence[int], width: int) -> None:
    """Check that embeddings can be cut to all of `dims`.

    Raises:
        InputError: One exceeds their width.
    """
    if max(dims) > width:
        message = (
            f"dims must not exceed the embeddings' width, {width}; received {list(dims)}; leave out the wider ones"
        )
        raise InputError(message)


def cell(tensors: tuple[Any, ...], num_layers: int, dim: int) -> tuple[Any, ...]:
    """The arguments of a loss at one depth and width: embeddings (n, dim), the rest as it came."""
    return cut(tuple(tensor[num_layers - 1] if is_embeddings(tensor) else tensor for tensor in tensors), dim)


def cut(tensors: tuple[Any, ...], dim: int) -> tuple[Any, ...]:
    """The arguments of a loss with all embeddings cut to their first `dim` numbers; lengths are not restored."""
    return tuple(tensor[..., :dim] if is_embeddings(tensor) else tensor for tensor in tensors)


def rows(tensors: tuple[Any, ...]) -> Tensor:
    """All embeddings of a cell below each other, (rows, dim), in float32 at least."""
    stacked = torch.cat([tensor.reshape(-1, tensor.shape[-1]) for tensor in tensors if is_embeddings(tensor)])
    return stacked.to(torch.promote_types(stacked.dtype, torch.float32))


def divergence(teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
    """KL(softmax(teacher / temperature) ‖ softmax(student / temperature)), the mean over rows, in nats.

    Args:
        teacher: Logits, (rows, choices). No gradient flows into it.
        student: Logits of the same shape.
        temperature: Divides both; above 0.

    Returns:
        0-d, 0 or more up to rounding; 0 where there are no rows, or no two choices.
    """
    target = (teacher.detach() / temperature).log_softmax(dim=1)
    fitted = (student / temperature).log_softmax(dim=1)
    return functional.kl_div(fitted, target, reduction="sum", log_target=True) / max(len(student), 1)
