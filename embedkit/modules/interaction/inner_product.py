"""IPNN: a perceptron that is also given the inner product of every pair of fields."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from embedkit.modules.interaction.click_model import ClickModel, field_embedding
from embedkit.modules.interaction.interaction import Interaction, pairs
from embedkit.modules.interaction.mlp import MLP
from embedkit.modules.lookup import Lookup


class IPNN(Interaction):
    """Product-based network with inner products.

        logit = MLP([v_1; …; v_fields; ⟨v_1, v_2⟩; ⟨v_1, v_3⟩; …; ⟨v_{fields−1}, v_fields⟩])

    Args:
        fields: Fields of a record.
        dim: Width of a field's vector.
        hidden: Widths of the hidden layers.
        batch_norm: As in `MLP`.
        dropout: As in `MLP`.

    Raises:
        InputError: An argument is out of range.

    Example:
        >>> IPNN(3, 4, hidden=[8])(torch.ones(2, 3, 4), torch.zeros(2, 3, dtype=torch.long)).shape
        torch.Size([2])

    Reference:
        Yanru Qu, Han Cai, Kan Ren, Weinan Zhang, Yong Yu, Ying Wen, Jun Wang: Product-based Neural Networks for User
        Response Prediction. ICDM 2016, section III-A.

    Deviations:
        The products go into the perceptron as they are, as in the open benchmark; the paper first mixes them with
        factorised weights. Products of a field with itself are left out.
    """

    positions: Tensor

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
        self.register_buffer("positions", pairs(self.fields), persistent=False)
        width = self.fields * self.dim + len(self.positions)
        self.mlp = MLP(width, hidden, out=1, batch_norm=batch_norm, dropout=dropout)

    def logits(self, vectors: Tensor, ids: Tensor, weights: Tensor | None) -> Tensor:
        """Output of the perceptron."""
        del ids, weights
        products = torch.bmm(vectors, vectors.transpose(1, 2)).flatten(1).index_select(1, self.positions)
        logits: Tensor = self.mlp(torch.cat([vectors.flatten(1), products], dim=1)).squeeze(1)
        return logits


def ipnn(
    sizes: Sequence[int],
    dim: int = 10,
    hidden: Sequence[int] = (400, 400, 400),
    *,
    columns: Sequence[int] | None = None,
    names: Sequence[str] | None = None,
    lookup: Lookup | None = None,
    **options: Any,
) -> ClickModel:
    """A whole model: IPNN.

    Args:
        sizes: Vocabulary size of each field.
        dim: Width of a field's vector.
        hidden: Widths of the hidden layers.
        columns: Field of each column of ids, as `Vocabulary.columns` says; None means that columns are the fields.
        names: What messages call the fields.
        lookup: Gives the vectors in place of a plain table.
        **options: More of `IPNN`'s arguments.

    Returns:
        The model, to be trained.

    Raises:
        InputError: An argument is out of range.

    Example:
        >>> ipnn([3, 5], dim=4, hidden=[8])(torch.tensor([[2, 4]])).shape
        torch.Size([1])
    """
    interaction = IPNN(len(sizes), dim, hidden=hidden, **options)
    return ClickModel(field_embedding(sizes, dim, columns=columns, names=names, lookup=lookup), interaction)
