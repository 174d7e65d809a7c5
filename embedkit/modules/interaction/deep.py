"""A plain multi-layer perceptron on the vectors of all fields."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from embedkit.modules.interaction.click_model import ClickModel, field_embedding
from embedkit.modules.interaction.interaction import Interaction
from embedkit.modules.interaction.mlp import MLP
from embedkit.modules.lookup import Lookup


class DNN(Interaction):
    """Multi-layer perceptron on the concatenated vectors, logit = MLP([v_1; …; v_fields]).

    Args:
        fields: Fields of a record.
        dim: Width of a field's vector.
        hidden: Widths of the hidden layers.
        batch_norm: As in `MLP`.
        dropout: As in `MLP`.

    Raises:
        InputError: An argument is out of range.

    Example:
        >>> import torch
        >>> DNN(2, 4, hidden=[8])(torch.ones(3, 2, 4), torch.zeros(3, 2, dtype=torch.long)).shape
        torch.Size([3])

    Reference:
        Paul Covington, Jay Adams, Emre Sargin: Deep Neural Networks for YouTube Recommendations. RecSys 2016,
        section 4, as the open benchmark has it.

    Deviations:
        None beyond those of `MLP`.
    """

    def __init__(
        self,
        fields: int,
        dim: int,
        *,
        hidden: Sequence[int] = (400, 400, 400),
        batch_norm: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(fields, dim)
        self.mlp = MLP(self.fields * self.dim, hidden, out=1, batch_norm=batch_norm, dropout=dropout)

    def logits(self, vectors: Tensor, ids: Tensor, weights: Tensor | None) -> Tensor:
        """Output of the perceptron."""
        del ids, weights
        logits: Tensor = self.mlp(vectors.flatten(1)).squeeze(1)
        return logits


def dnn(
    sizes: Sequence[int],
    dim: int = 10,
    hidden: Sequence[int] = (400, 400, 400),
    *,
    columns: Sequence[int] | None = None,
    names: Sequence[str] | None = None,
    lookup: Lookup | None = None,
    **options: Any,
) -> ClickModel:
    """A whole model: a multi-layer perceptron on field vectors.

    Args:
        sizes: Vocabulary size of each field.
        dim: Width of a field's vector.
        hidden: Widths of the hidden layers.
        columns: Field of each column of ids, as `Vocabulary.columns` says; None means that columns are the fields.
        names: What messages call the fields.
        lookup: Gives the vectors in place of a plain table.
        **options: More of `DNN`'s arguments.

    Returns:
        The model, to be trained.

    Raises:
        InputError: An argument is out of range.

    Example:
        >>> import torch
        >>> dnn([3, 5], dim=4, hidden=[8])(torch.tensor([[2, 4]])).shape
        torch.Size([1])
    """
    interaction = DNN(len(sizes), dim, hidden=hidden, **options)
    return ClickModel(field_embedding(sizes, dim, columns=columns, names=names, lookup=lookup), interaction)
