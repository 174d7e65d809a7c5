"""Losses that remember the training set: they are called with numbers of rows, and look at all of them now and then."""

from collections.abc import Callable
from typing import Any

from datasets import Dataset
from torch import nn

from embedkit.errors import InputError
from embedkit.training.examples import LABELS


def remembers(loss: nn.Module, count: int) -> bool:
    """Whether a loss, or one within it, takes the number of each row in place of its label.

    Args:
        loss: Any.
        count: Examples there are.

    Raises:
        InputError: It does, and remembers another number of them.
    """
    remembered = {module.num_rows for module in loss.modules() if hasattr(module, "num_rows")}
    if remembered - {count}:
        message = f"the loss must be made for the examples it is trained on, {count}; received one for {remembered}"
        raise InputError(message)
    return bool(remembered)


def with_row_numbers(dataset: Dataset) -> Dataset:
    """The number of each example in place of its label."""
    label = next(name for name in dataset.column_names if name in LABELS)
    return dataset.remove_columns(label).add_column(label, list(range(len(dataset))))


def begin_epoch(loss: nn.Module, epoch: int, embed: Callable[[], Any]) -> None:
    """Tell a loss, and those within it, that an epoch begins.

    Args:
        loss: Any; told are those with a method `begin_epoch`.
        epoch: From 0.
        embed: Gives the present embeddings of all examples, (n, dim), when it is called.
    """
    for module in loss.modules():
        begin = getattr(module, "begin_epoch", None)
        if callable(begin):
            begin(epoch, embed)
