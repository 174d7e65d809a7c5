"""DCN-V2: explicit crosses of all coordinates beside a perceptron."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from embedkit.modules.interaction.click_model import ClickModel, field_embedding
from embedkit.modules.interaction.interaction import Interaction, whole
from embedkit.modules.interaction.mlp import MLP, linear
from embedkit.modules.lookup import Lookup


class DCNV2(Interaction):
    """Cross network with full matrices, parallel to a perceptron.

        x_{l+1} = x_0 ⊙ (W_l x_l + b_l) + x_l      x_0 = [v_1; …; v_fields]
        logit = wᵀ [x_L; MLP(x_0)] + b

    Args:
        fields: Fields of a record.
        dim: Width of a field's vector.
        crosses: Cross layers, 0 or more.
        hidden: Widths of the perceptron's hidden layers; none leaves x_0 itself beside the crosses.
        batch_norm: As in `MLP`.
        dropout: As in `MLP`.

    Raises:
        InputError: An argument is out of range.

    Example:
        >>> DCNV2(2, 4, crosses=2, hidden=[8])(torch.ones(3, 2, 4), torch.zeros(3, 2, dtype=torch.long)).shape
        torch.Size([3])

    Reference:
        Ruoxi Wang, Rakesh Shivanna, Derek Cheng, Sagar Jain, Dong Lin, Lichan Hong, Ed Chi: DCN V2: Improved Deep &
        Cross Network and Practical Lessons for Web-scale Learning to Rank Systems. WWW 2021, Eq. 1–2 and Fig. 1b.

    Deviations:
        The parallel structure only, without the mixture of low-rank experts: the open benchmark's setting.
    """

    def __init__(
        self,
        fields: int,
        dim: int,
        *,
        crosses: int = 4,
        hidden: Sequence[int] = (400, 400, 400),
        batch_norm: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(fields, dim)
        width = self.fields * self.dim
        self.crosses = nn.ModuleList(linear(width, width) for _ in range(whole("crosses", crosses, least=0)))
        self.mlp = MLP(width, hidden, batch_norm=batch_norm, dropout=dropout)
        self.output = linear(width + self.mlp.width, 1)

    def logits(self, vectors: Tensor, ids: Tensor, weights: Tensor | None) -> Tensor:
        """Crosses and perceptron, joined by a linear layer."""
        del ids, weights
        first = vectors.flatten(1)
        crossed = first
        for cross in self.crosses:
            crossed = torch.addcmul(crossed, first, cross(crossed))
        logits: Tensor = self.output(torch.cat([crossed, self.mlp(first)], dim=1)).squeeze(1)
        return logits


def dcnv2(
    sizes: Sequence[int],
    dim: int = 10,
    hidden: Sequence[int] = (400, 400, 400),
    *,
    columns: Sequence[int] | None = None,
    names: Sequence[str] | None = None,
    lookup: Lookup | None = None,
    **options: Any,
) -> ClickModel:
    """A whole model: DCN-V2, parallel.

    Args:
        sizes: Vocabulary size of each field.
        dim: Width of a field's vector.
        hidden: Widths of the hidden layers.
        columns: Field of each column of ids, as `Vocabulary.columns` says; None means that columns are the fields.
        names: What messages call the fields.
        lookup: Gives the vectors in place of a plain table.
        **options: More of `DCNV2`'s arguments.

    Returns:
        The model, to be trained.

    Raises:
        InputError: An argument is out of range.

    Example:
        >>> dcnv2([3, 5], dim=4, hidden=[8])(torch.tensor([[2, 4]])).shape
        torch.Size([1])
    """
    interaction = DCNV2(len(sizes), dim, hidden=hidden, **options)
    return ClickModel(field_embedding(sizes, dim, columns=columns, names=names, lookup=lookup), interaction)
