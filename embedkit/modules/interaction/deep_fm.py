"""DeepFM: a factorization machine beside a perceptron, on the same vectors."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from embedkit.modules.interaction.click_model import ClickModel, field_embedding
from embedkit.modules.interaction.deep import DNN
from embedkit.modules.interaction.fm import FactorizationMachine
from embedkit.modules.interaction.interaction import Interaction
from embedkit.modules.lookup import FieldEmbedding, Lookup


class DeepFM(Interaction):
    """Sum of a factorization machine and a multi-layer perceptron, logit = FM(v) + MLP(v).

    Args:
        fields: Fields of a record.
        dim: Width of a field's vector.
        first_order: Weights of the factorization machine's linear part, of width 1.
        hidden: Widths of the hidden layers.
        batch_norm: As in `MLP`.
        dropout: As in `MLP`.

    Raises:
        InputError: An argument is out of range.

    Example:
        >>> import torch
        >>> from embedkit.modules.lookup import PlainLookup
        >>> interaction = DeepFM(2, 4, FieldEmbedding(PlainLookup([3, 5], 1)), hidden=[8])
        >>> interaction(torch.ones(3, 2, 4), torch.zeros(3, 2, dtype=torch.long)).shape
        torch.Size([3])

    Reference:
        Huifeng Guo, Ruiming Tang, Yunming Ye, Zhenguo Li, Xiuqiang He: DeepFM: A Factorization-Machine based Neural
        Network for CTR Prediction. IJCAI 2017, Eq. 1–4.

    Deviations:
        Batch normalisation is an option, as in the open benchmark.
    """

    def __init__(
        self,
        fields: int,
        dim: int,
        first_order: FieldEmbedding,
        *,
        hidden: Sequence[int] = (400, 400, 400),
        batch_norm: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(fields, dim)
        self.fm = FactorizationMachine(fields, dim, first_order)
        self.deep = DNN(fields, dim, hidden=hidden, batch_norm=batch_norm, dropout=dropout)

    def logits(self, vectors: Tensor, ids: Tensor, weights: Tensor | None) -> Tensor:
        """Sum of the two."""
        logits: Tensor = self.fm(vectors, ids, weights) + self.deep(vectors, ids, weights)
        return logits


def deepfm(
    sizes: Sequence[int],
    dim: int = 10,
    hidden: Sequence[int] = (400, 400, 400),
    *,
    columns: Sequence[int] | None = None,
    names: Sequence[str] | None = None,
    lookup: Lookup | None = None,
    **options: Any,
) -> ClickModel:
    """A whole model: DeepFM.

    Args:
        sizes: Vocabulary size of each field.
        dim: Width of a field's vector.
        hidden: Widths of the hidden layers.
        columns: Field of each column of ids, as `Vocabulary.columns` says; None means that columns are the fields.
        names: What messages call the fields.
        lookup: Gives the vectors in place of a plain table.
        **options: More of `DeepFM`'s arguments.

    Returns:
        The model, to be trained.

    Raises:
        InputError: An argument is out of range.

    Example:
        >>> import torch
        >>> deepfm([3, 5], dim=4, hidden=[8])(torch.tensor([[2, 4]])).shape
        torch.Size([1])
    """
    first = field_embedding(sizes, 1, columns=columns, names=names)
    interaction = DeepFM(len(sizes), dim, first, hidden=hidden, **options)
    return ClickModel(field_embedding(sizes, dim, columns=columns, names=names, lookup=lookup), interaction)
