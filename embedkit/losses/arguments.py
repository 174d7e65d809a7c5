"""What losses are built from and called with, checked."""

import math
import operator
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from embedkit.errors import InputError

Loss: TypeAlias = Callable[..., Tensor]
"""Tensors to a 0-d tensor: any `torch.nn.Module` or function of one of the shelf's four shapes."""

Similarity: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""(n, dim) and (m, dim) to (n, m), as in `embedkit.ops.similarity`."""


def callable_loss(loss: Any) -> Loss:
    """The loss that a wrapper wraps.

    Raises:
        InputError: Not callable, or a class where an instance must stand.
    """
    if isinstance(loss, type) or not callable(loss):
        received = f"the class {loss.__name__}" if isinstance(loss, type) else repr(loss)
        message = f"loss must be a loss or a function of tensors; received {received:.100}; pass an instance"
        raise InputError(message)
    wrapped: Loss = loss
    return wrapped


def labelled_loss(loss: Any) -> Loss:
    """The loss with labels that a wrapper wraps.

    Raises:
        InputError: As `callable_loss`, or it takes the numbers of rows for labels.
    """
    wrapped = callable_loss(loss)
    for part in loss.modules() if isinstance(loss, nn.Module) else ():
        if hasattr(part, "row_labels"):
            received = f"{type(part).__name__}, which takes numbers of rows"
            raise InputError(f"loss must take classes; received {received}: wrap within it")
    return wrapped


def callable_similarity(similarity: Any) -> Similarity:
    """What compares embeddings.

    Raises:
        InputError: Not callable.
    """
    if not callable(similarity):
        message = f"similarity must be a function of (n, dim) and (m, dim); received {similarity!r:.100}"
        raise InputError(message)
    function: Similarity = similarity
    return function


def positive(what: str, value: Any) -> float:
    """A number above 0.

    Raises:
        InputError: It is not.
    """
    if not 0 < (number := _number(value)) < math.inf:
        message = f"{what} must be a finite number above 0; received {value!r:.100}"
        raise InputError(message)
    return number


def not_negative(what: str, value: Any) -> float:
    """A number that is 0 or more.

    Raises:
        InputError: It is not.
    """
    if not 0 <= (number := _number(value)) < math.inf:
        message = f"{what} must be a finite number, 0 or more; received {value!r:.100}"
        raise InputError(message)
    return number


def whole(what: str, value: Any, *, least: int = 1) -> int:
    """An integer that is at least `least`; numpy's count.

    Raises:
        InputError: It is not.
    """
    try:
        number = least - 1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = least - 1
    if number < least:
        message = f"{what} must be an integer, {least} or more; received {value!r:.100}"
        raise InputError(message)
    return number


def widths(dims: Any) -> tuple[int, ...]:
    """The widths that a loss cuts embeddings to.

    Raises:
        InputError: None are given, one comes twice, or one is no width.
    """
    if isinstance(dims, str) or not isinstance(dims, Sequence) or not dims:
        message = f"dims must be a list of widths such as [64, 128, 384]; received {dims!r:.100}"
        raise InputError(message)
    checked = tuple(whole("each of dims", dim) for dim in dims)
    if len(set(checked)) < len(checked):
        message = f"dims must name each width once; received {list(checked)}; give a width more weight instead"
        raise InputError(message)
    return checked


def one_of(what: str, value: Any, choices: Sequence[Any]) -> None:
    """Check that a setting is one of those there are.

    Raises:
        InputError: It is not.
    """
    if value not in choices:
        message = f"{what} must be one of {', '.join(map(repr, choices))}; received {value!r:.100}"
        raise InputError(message)


def check_rows(**embeddings: Any) -> None:
    """Check that all are floating tensors of one shape (n, dim).

    Raises:
        InputError: They are not.
    """
    shapes = {tuple(each.shape) if _is_matrix(each) else None for each in embeddings.values()}
    if len(shapes) > 1 or None in shapes:
        received = ", ".join(f"{name} {described(each)}" for name, each in embeddings.items())
        message = f"{', '.join(embeddings)} must be floating tensors of one shape (n, dim); received {received}"
        raise InputError(message)


def check_scores(scores: Any, count: int) -> None:
    """Check that there is one finite number for each pair.

    Raises:
        InputError: There is not.
    """
    right = isinstance(scores, Tensor) and tuple(scores.shape) == (count,) and not scores.is_complex()
    if not right or not bool(torch.isfinite(scores).all()):
        found = "NaN or infinity" if right else described(scores)
        message = f"scores must be a tensor of one finite number for each of the {count} pairs; received {found}"
        raise InputError(message)


def check_labels(labels: Any, count: int) -> None:
    """Check that there is one integer for each embedding.

    Raises:
        InputError: There is not.
    """
    right = isinstance(labels, Tensor) and tuple(labels.shape) == (count,)
    if not right or labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        message = f"labels must be a tensor of one integer for each of the {count} embeddings; received {{}}"
        raise InputError(message.format(described(labels)))


def check_narrower(embeddings: Any, dim: int) -> None:
    """Check that embeddings are floating, (n, width), no wider than the weights they meet.

    Raises:
        InputError: They are not.
    """
    check_rows(embeddings=embeddings)
    if embeddings.shape[1] > dim:
        message = (
            f"embeddings must be at most {dim} wide; received {described(embeddings)}: build the loss for their width"
        )
        raise InputError(message)


def check_classes(labels: Any, count: int, num_classes: int) -> None:
    """Check that there is one class for each embedding: an integer, 0 … num_classes − 1.

    Raises:
        InputError: There is not.
    """
    check_labels(labels, count)
    _check_range("labels must be classes", labels, num_classes)


def check_row_numbers(rows: Any, count: int, num_rows: int) -> None:
    """Check that there is a row of the training set for each embedding: an integer, 0 … num_rows − 1.

    Raises:
        InputError: There is not.
    """
    check_labels(rows, count)
    _check_range("labels must be row numbers of the training examples", rows, num_rows)


def described(value: Any) -> str:
    """What came, in few words."""
    if isinstance(value, Tensor):
        return f"{tuple(value.shape)} of {str(value.dtype).removeprefix('torch.')}"
    return type(value).__name__


def _check_range(what: str, labels: Tensor, count: int) -> None:
    if not len(labels):
        return
    low, high = (int(end) for end in labels.long().aminmax())
    if low < 0 or high >= count:
        raise InputError(f"{what}, 0 … {count - 1}; received {low} … {high}")


def _number(value: Any) -> float:
    return float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan


def _is_matrix(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim == 2 and value.shape[1] > 0 and value.is_floating_point()
