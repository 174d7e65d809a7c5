"""What every interaction is: vectors of fields in, one logit a record out."""

import math
import operator
from abc import ABC, abstractmethod
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from embedkit.errors import InputError


class Interaction(nn.Module, ABC):
    """Lets the vectors of a record's fields interact and scores the record.

    Args:
        fields: Fields of a record.
        dim: Width of a field's vector.

    Raises:
        InputError: An argument is no whole number of at least 1.
    """

    def __init__(self, fields: int, dim: int) -> None:
        super().__init__()
        self.fields, self.dim = whole("fields", fields), whole("dim", dim)

    def forward(self, vectors: Tensor, ids: Tensor, weights: Tensor | None = None) -> Tensor:
        """Logits of a batch of records.

        Args:
            vectors: (batch, fields, dim).
            ids: (batch, columns), what the vectors were looked up by; read by interactions with tables of their own.
            weights: (batch, columns), as in `FieldEmbedding`; None for 1.

        Returns:
            (batch,).

        Raises:
            InputError: `vectors` has another shape, or an interaction with tables of its own refuses the ids.
        """
        if vectors.ndim != 3 or vectors.shape[1:] != (self.fields, self.dim):
            wanted = f"(batch, {self.fields}, {self.dim})"
            message = f"vectors must be {wanted}, a vector a field; received shape {tuple(vectors.shape)}"
            raise InputError(message)
        return self.logits(vectors, ids, weights)

    @abstractmethod
    def logits(self, vectors: Tensor, ids: Tensor, weights: Tensor | None) -> Tensor:
        """Logits, (batch,), from what `forward` has checked."""

    def loss(self, vectors: Tensor, labels: Tensor, ids: Tensor, weights: Tensor | None = None) -> Tensor:
        """What training minimises: the mean binary cross-entropy, and what a method adds to it.

        Args:
            vectors: As in `forward`.
            labels: (batch,), 0 or 1, of the dtype of `vectors`.
            ids: As in `forward`.
            weights: As in `forward`.

        Returns:
            A scalar.
        """
        logits: Tensor = self(vectors, ids, weights)
        loss: Tensor = functional.binary_cross_entropy_with_logits(logits, labels)
        return loss


def whole(what: str, value: Any, *, least: int = 1) -> int:
    """An integer that is at least `least`.

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


def share(what: str, value: Any) -> float:
    """A number from 0 to below 1.

    Raises:
        InputError: It is not.
    """
    number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    if not 0 <= number < 1:
        message = f"{what} must be a number, 0 or more and below 1; received {value!r:.100}"
        raise InputError(message)
    return number


def pairs(count: int) -> Tensor:
    """Where the pairs i < j lie in a flattened (count, count) matrix, row by row."""
    rows, columns = torch.triu_indices(count, count, offset=1)
    positions: Tensor = rows * count + columns
    return positions
