"""Factorization machine: every pair of fields by the inner product of their vectors."""

from collections.abc import Sequence

import torch
from torch import Tensor

from embedkit.modules.interaction.click_model import ClickModel, field_embedding
from embedkit.modules.interaction.interaction import Interaction
from embedkit.modules.interaction.linear import LinearInteraction
from embedkit.modules.lookup import FieldEmbedding, Lookup


class FactorizationMachine(Interaction):
    """Second-order factorization machine.

        logit = bias + Σ_f w_f + Σ_{f<g} ⟨v_f, v_g⟩,   the pairs in O(fields · dim) as ½ Σ_k [(Σ_f v_fk)² − Σ_f v_fk²]

    Args:
        fields: Fields of a record.
        dim: Width of a field's vector.
        first_order: Weights w_f, of width 1.

    Raises:
        InputError: A size is no whole number of at least 1.

    Example:
        >>> from embedkit.modules.lookup import PlainLookup
        >>> machine = FactorizationMachine(2, 4, FieldEmbedding(PlainLookup([3, 5], 1)))
        >>> machine(torch.ones(1, 2, 4), torch.tensor([[2, 4]])).shape
        torch.Size([1])

    Reference:
        Steffen Rendle: Factorization Machines. ICDM 2010, Eq. 1 and Lemma 3.1.

    Deviations:
        None.
    """

    def __init__(self, fields: int, dim: int, first_order: FieldEmbedding) -> None:
        super().__init__(fields, dim)
        self.first_order, self.linear = first_order, LinearInteraction(fields)

    def logits(self, vectors: Tensor, ids: Tensor, weights: Tensor | None) -> Tensor:
        """First order and pairs."""
        pairs = vectors.sum(dim=1).square().sum(dim=1) - vectors.square().sum(dim=(1, 2))
        first: Tensor = self.linear(self.first_order(ids, weights), ids, weights)
        return torch.add(first, pairs, alpha=0.5)


def factorization_machine(
    sizes: Sequence[int],
    dim: int = 10,
    *,
    columns: Sequence[int] | None = None,
    names: Sequence[str] | None = None,
    lookup: Lookup | None = None,
) -> ClickModel:
    """A whole model: a factorization machine.

    Args:
        sizes: Vocabulary size of each field.
        dim: Width of a field's vector.
        columns: Field of each column of ids, as `Vocabulary.columns` says; None means that columns are the fields.
        names: What messages call the fields.
        lookup: Gives the vectors in place of a plain table.

    Returns:
        The model, to be trained.

    Raises:
        InputError: An argument is out of range.

    Example:
        >>> factorization_machine([3, 5], dim=4)(torch.tensor([[2, 4]])).shape
        torch.Size([1])
    """
    first = field_embedding(sizes, 1, columns=columns, names=names)
    return ClickModel(
        field_embedding(sizes, dim, columns=columns, names=names, lookup=lookup),
        FactorizationMachine(len(sizes), dim, first),
    )
