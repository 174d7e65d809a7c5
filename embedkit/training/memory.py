"""Losses that remember the training set: they are called with numbers of rows, and look at all of them now and then."""

from collections.abc import Callable
from typing import Any

import numpy as np
from datasets import Dataset
from torch import nn

from embedkit.errors import InputError
from embedkit.training.examples import LABELS


def remembers(loss: nn.Module, labels: Any) -> bool:
    """Whether a loss, or one within it, takes the number of each row in place of its label.

    Args:
        loss: Any.
        labels: Of the examples, (n,).

    Raises:
        InputError: It does, and remembers other examples than those, or others' labels.
    """
    remembered = [np.asarray(module.row_labels) for module in loss.modules() if hasattr(module, "row_labels")]
    for each in remembered:
        if len(each) != len(labels):
            message = (
                f"the loss must be made for the examples it is trained on, {len(labels)}; received {len(each)} labels"
            )
            raise InputError(message)
        same, other = (np.unique(some, return_inverse=True)[1] for some in (each, np.asarray(labels)))
        if differing := np.flatnonzero(same != other).tolist():
            message = (
                "the loss must be made with the labels of the examples, in their order; "
                f"received others in {len(differing)} places, first in row {differing[0]}"
            )
            raise InputError(message)
    return bool(remembered)


def with_row_numbers(loss: nn.Module, dataset: Dataset) -> Dataset:
    """Examples as the loss takes them: with their numbers for labels if it remembers them, else as they are.

    Raises:
        InputError: As `remembers`.
    """
    if not any(hasattr(module, "row_labels") for module in loss.modules()):
        return dataset  # whose labels need not be read
    label = next((name for name in dataset.column_names if name in LABELS), None)
    remembers(loss, dataset[label][:] if label else [])
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
