"""Logistic regression: one weight a value of a field."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from embedkit.modules.interaction.click_model import ClickModel, field_embedding
from embedkit.modules.interaction.interaction import Interaction
from embedkit.modules.lookup import Lookup


class LinearInteraction(Interaction):
    """No interaction: the sum of one weight a field, logit = bias + Σ_f w_f.

    The weights are the vectors, of width 1. As part of another interaction it scores what a second `FieldEmbedding`,
    over a `PlainLookup(sizes, 1)`, gives for the ids.

    Args:
        fields: Fields of a record.

    Raises:
        InputError: `fields` is no whole number of at least 1.

    Example:
        >>> LinearInteraction(2)(torch.tensor([[[1.0], [0.5]]]), torch.zeros(1, 2, dtype=torch.long)).tolist()
        [1.5]

    Reference:
        Steffen Rendle: Factorization Machines. ICDM 2010, the first two terms of Eq. 1.

    Deviations:
        None.
    """

    def __init__(self, fields: int) -> None:
        super().__init__(fields, 1)
        self.bias = nn.Parameter(torch.zeros(1))

    def logits(self, vectors: Tensor, ids: Tensor, weights: Tensor | None) -> Tensor:
        """Sum of the weights."""
        del ids, weights
        return vectors.sum(dim=(1, 2)) + self.bias


def logistic_regression(
    sizes: Sequence[int],
    *,
    columns: Sequence[int] | None = None,
    names: Sequence[str] | None = None,
    lookup: Lookup | None = None,
) -> ClickModel:
    """A whole model: logistic regression on the values of fields.

    Args:
        sizes: Vocabulary size of each field.
        columns: Field of each column of ids, as `Vocabulary.columns` says; None means that columns are the fields.
        names: What messages call the fields.
        lookup: Gives the weights, of width 1, in place of a plain table.

    Returns:
        The model, to be trained.

    Raises:
        InputError: An argument is out of range.

    Example:
        >>> logistic_regression([3, 5])(torch.tensor([[2, 4]])).shape
        torch.Size([1])
    """
    return ClickModel(
        field_embedding(sizes, 1, columns=columns, names=names, lookup=lookup), LinearInteraction(len(sizes))
    )
