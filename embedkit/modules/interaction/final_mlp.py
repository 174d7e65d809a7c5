"""FinalMLP: two perceptrons on gated vectors, fused by a bilinear form; DualMLP without the gates."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from embedkit.errors import InputError
from embedkit.modules.interaction.click_model import ClickModel, field_embedding
from embedkit.modules.interaction.interaction import Interaction, whole
from embedkit.modules.interaction.mlp import MLP, linear
from embedkit.modules.lookup import FieldEmbedding, Lookup


class FinalMLP(Interaction):
    """Two streams, each a perceptron on vectors that a gate of its own has weighed, and a bilinear fusion of both.

        g_s = 2 σ(MLP_gate,s(context_s))                 one number for each coordinate of e = [v_1; …; v_fields]
        o_s = MLP_s(g_s ⊙ e)                             s = 1, 2
        logit = w_1ᵀ o_1 + b_1 + w_2ᵀ o_2 + b_2 + Σ_h o_1,hᵀ W_h o_2,h      the heads h cut o_1 and o_2 into parts

    Args:
        fields: Fields of a record.
        dim: Width of a field's vector.
        gates: The two gates; None for DualMLP, which has none.
        first: Hidden widths of the first stream, one at least.
        second: Hidden widths of the second stream, one at least.
        num_heads: Heads of the bilinear form, a divisor of the last width of both streams.
        batch_norm: The streams', as in `MLP`.
        dropout: The streams', as in `MLP`; one number, or one a stream.

    Raises:
        InputError: An argument is out of range, or the heads do not divide the widths.

    Example:
        >>> gates = (ContextGate(2, 4, width=3, hidden=[8]), ContextGate(2, 4, width=3, hidden=[8]))
        >>> interaction = FinalMLP(2, 4, gates, first=[8], second=[6], num_heads=2)
        >>> interaction(torch.ones(3, 2, 4), torch.zeros(3, 2, dtype=torch.long)).shape
        torch.Size([3])

    Reference:
        Kelong Mao, Jieming Zhu, Liangcai Su, Guohao Cai, Yuru Li, Zhenhua Dong: FinalMLP: An Enhanced Two-Stream MLP
        Model for CTR Prediction. AAAI 2023, Eq. 5–11.

    Deviations:
        Each stream has a bias in the fusion, as the release has; one of the two is redundant. W_h begins normally
        distributed with Xavier's deviation for the (d_1 · d_2 / num_heads, 1) column of all its weights, as released.
    """

    def __init__(
        self,
        fields: int,
        dim: int,
        gates: "tuple[ContextGate, ContextGate] | None" = None,
        *,
        first: Sequence[int] = (400,),
        second: Sequence[int] = (400,),
        num_heads: int = 1,
        batch_norm: bool = False,
        dropout: float | tuple[float, float] = 0.0,
    ) -> None:
        super().__init__(fields, dim)
        if not first or not second:
            message = f"first and second must have a hidden layer each; received {list(first)} and {list(second)}"
            raise InputError(message)
        if gates is not None and len(gates) != 2:
            message = f"gates must be two, one a stream, or None; received {len(gates)}"
            raise InputError(message)
        dropouts = dropout if isinstance(dropout, tuple) else (dropout, dropout)
        if len(dropouts) != 2:
            message = f"dropout must be one number, or two, one a stream; received {dropout}"
            raise InputError(message)
        width = self.fields * self.dim
        self.gates = nn.ModuleList(gates or ())
        self.first, self.second = (
            MLP(width, hidden, batch_norm=batch_norm, dropout=share)
            for hidden, share in zip((first, second), dropouts, strict=True)
        )
        self.fusion = BilinearFusion(self.first.width, self.second.width, num_heads)

    def logits(self, vectors: Tensor, ids: Tensor, weights: Tensor | None) -> Tensor:
        """Fusion of both streams."""
        flat = vectors.flatten(1)
        gated = [flat * gate(ids, weights) for gate in self.gates] or [flat, flat]
        logits: Tensor = self.fusion(self.first(gated[0]), self.second(gated[1]))
        return logits


class ContextGate(nn.Module):
    """Weighs the coordinates of a record's vectors, 0 … 2, by a context: 2 σ(MLP(context)).

    Args:
        fields: Fields of the vectors to be weighed.
        dim: Width of a field's vector.
        hidden: Hidden widths of the gate's perceptron.
        embedding: Vectors of the context's fields, a table of the gate's own; None for one learned vector, the same for
            each record.
        columns: Which columns of a batch's ids the context's are, one for each column of `embedding`.
        width: Width of the learned vector.

    Raises:
        InputError: `columns` are not those of `embedding`, or a size is no whole number of at least 1.

    Deviations:
        None: a context of one column is computed once for each of its values in the batch, which is exact as nothing in
        the gate depends on other records.
    """

    columns: Tensor

    def __init__(
        self,
        fields: int,
        dim: int,
        *,
        hidden: Sequence[int],
        embedding: FieldEmbedding | None = None,
        columns: Sequence[int] = (),
        width: int | None = None,
    ) -> None:
        super().__init__()
        expected = len(embedding.fields) if embedding else 0
        if len(columns) != expected:
            message = f"columns must be one for each column of embedding, {expected}; received {list(columns)}"
            raise InputError(message)
        self.embedding = embedding
        if embedding is None:
            given = dim if width is None else whole("width", width)
            self.constant = nn.Parameter(torch.zeros(1, given))
        else:
            given = len(embedding.lookup.sizes) * embedding.lookup.dim
        self.register_buffer("columns", torch.tensor(columns, dtype=torch.long), persistent=False)
        self.mlp = MLP(given, hidden, out=whole("fields", fields) * whole("dim", dim))

    def extra_repr(self) -> str:
        """The columns that are read."""
        return f"columns={self.columns.tolist()}"

    def forward(self, ids: Tensor, weights: Tensor | None = None) -> Tensor:
        """(batch, columns) to (batch, fields · dim), or to (1, fields · dim) without context."""
        if self.embedding is None:
            return self._gate(self.constant)
        ids = ids[:, self.columns]
        if weights is not None:
            return self._gate(self.embedding(ids, weights[:, self.columns]).flatten(1))
        if ids.shape[1] > 1:
            return self._gate(self.embedding(ids).flatten(1))
        values, places = torch.unique(ids, return_inverse=True)
        return self._gate(self.embedding(values[:, None]).flatten(1)).index_select(0, places.squeeze(1))

    def _gate(self, context: Tensor) -> Tensor:
        logits: Tensor = self.mlp(context)
        return 2 * torch.sigmoid(logits)


class BilinearFusion(nn.Module):
    """Score of two vectors: linear in each, and bilinear in both, head by head.

    Args:
        first: Width of the first.
        second: Width of the second.
        num_heads: Parts that both are cut into.

    Raises:
        InputError: The heads do not divide both widths.
    """

    def __init__(self, first: int, second: int, num_heads: int = 1) -> None:
        super().__init__()
        if first % whole("num_heads", num_heads) or second % num_heads:
            message = f"num_heads must divide the last widths of both streams, {first} and {second}; it is {num_heads}"
            raise InputError(message)
        self.first, self.second = linear(first, 1), linear(second, 1)
        self.bilinear = nn.Parameter(torch.empty(num_heads, first // num_heads, second // num_heads))
        nn.init.xavier_normal_(self.bilinear.data.view(-1, 1))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """(batch, first) and (batch, second) to (batch,)."""
        heads, first_width, second_width = self.bilinear.shape
        parts = torch.bmm(first.view(-1, heads, first_width).transpose(0, 1), self.bilinear)
        crossed = (parts * second.view(-1, heads, second_width).transpose(0, 1)).sum(dim=(0, 2))
        score: Tensor = self.first(first).squeeze(1) + self.second(second).squeeze(1) + crossed
        return score


def finalmlp(
    sizes: Sequence[int],
    dim: int = 10,
    *,
    gates: Sequence[int] = (400,),
    contexts: tuple[Sequence[int], Sequence[int]] = ((), ()),
    columns: Sequence[int] | None = None,
    names: Sequence[str] | None = None,
    lookup: Lookup | None = None,
    **options: Any,
) -> ClickModel:
    """A whole model: FinalMLP.

    Args:
        sizes: Vocabulary size of each field.
        dim: Width of a field's vector.
        gates: Hidden widths of both gates.
        contexts: Fields that each gate reads, from tables of its own; none for a learned vector.
        columns: Field of each column of ids, as `Vocabulary.columns` says; None means that columns are the fields.
        names: What messages call the fields.
        lookup: Gives the vectors in place of a plain table.
        **options: More of `FinalMLP`'s arguments.

    Returns:
        The model, to be trained.

    Raises:
        InputError: An argument is out of range.

    Example:
        >>> finalmlp([3, 5], dim=4, first=[8], second=[6], gates=[8], contexts=([0], [1]))(torch.tensor([[2, 4]])).shape
        torch.Size([1])
    """
    if len(contexts) != 2:
        message = f"contexts must be two, the fields of each gate; received {len(contexts)}: () gives a gate none"
        raise InputError(message)
    pair = [_context_gate(sizes, dim, gates, sorted(set(context)), columns, names) for context in contexts]
    interaction = FinalMLP(len(sizes), dim, (pair[0], pair[1]), **options)
    return ClickModel(field_embedding(sizes, dim, columns=columns, names=names, lookup=lookup), interaction)


def _context_gate(
    sizes: Sequence[int],
    dim: int,
    hidden: Sequence[int],
    context: Sequence[int],
    columns: Sequence[int] | None,
    names: Sequence[str] | None,
) -> ContextGate:
    if not all(field in range(len(sizes)) for field in context):
        message = f"contexts must name fields 0 … {len(sizes) - 1}; received {list(context)}"
        raise InputError(message)
    embedding, read = None, []
    if context:
        fields = list(range(len(sizes)) if columns is None else columns)
        read = [column for column, field in enumerate(fields) if field in context]
        embedding = field_embedding(
            [sizes[field] for field in context],
            dim,
            columns=[context.index(fields[column]) for column in read],
            names=[names[field] for field in context] if names else None,
        )
    return ContextGate(len(sizes), dim, hidden=hidden, embedding=embedding, columns=read)


def dualmlp(
    sizes: Sequence[int],
    dim: int = 10,
    *,
    columns: Sequence[int] | None = None,
    names: Sequence[str] | None = None,
    lookup: Lookup | None = None,
    **options: Any,
) -> ClickModel:
    """A whole model: DualMLP, which is FinalMLP without gates.

    Args:
        sizes: Vocabulary size of each field.
        dim: Width of a field's vector.
        columns: Field of each column of ids, as `Vocabulary.columns` says; None means that columns are the fields.
        names: What messages call the fields.
        lookup: Gives the vectors in place of a plain table.
        **options: More of `FinalMLP`'s arguments.

    Returns:
        The model, to be trained.

    Raises:
        InputError: An argument is out of range.

    Example:
        >>> dualmlp([3, 5], dim=4, first=[8], second=[6])(torch.tensor([[2, 4]])).shape
        torch.Size([1])

    Reference:
        As `FinalMLP`, section 3.2.

    Deviations:
        The streams are fused as FinalMLP fuses them; the paper's DualMLP adds them.
    """
    interaction = FinalMLP(len(sizes), dim, **options)
    return ClickModel(field_embedding(sizes, dim, columns=columns, names=names, lookup=lookup), interaction)
