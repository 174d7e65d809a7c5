"""FinalNet: layers that multiply two linear maps of what comes, in two blocks that teach each other."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from embedkit.errors import InputError
from embedkit.modules.interaction.click_model import ClickModel, field_embedding
from embedkit.modules.interaction.interaction import Interaction
from embedkit.modules.interaction.mlp import ReluDropout, linear
from embedkit.modules.lookup import Lookup


class FinalNet(Interaction):
    """Two blocks of factorised interaction layers, the first on gated vectors.

        layer(x) = [a; a ⊙ b]    [a; b] = W x + c          each layer doubles the degree of the interaction
        block(x) = layers, each followed by BN, ReLU and dropout, then one linear output
        gated    = [v; v ⊙ (G v + g)]                      G, g mix the fields, coordinate by coordinate
        logit    = ½ (y_1 + y_2),   y_1 = block_1(gated),  y_2 = block_2(v)

    Training adds to the cross-entropy of `logit` that of y_1 and of y_2 against σ(logit), which is held fixed: the
    blocks learn from what they predict together.

    Args:
        fields: Fields of a record.
        dim: Width of a field's vector.
        first: Even hidden widths of the first block, one at least.
        second: Even hidden widths of the second block, one at least.
        gated: Whether the first block reads gated vectors; else it reads the vectors, as the second does.
        batch_norm: As in `MLP`.
        dropout: As in `MLP`.

    Raises:
        InputError: An argument is out of range.

    Example:
        >>> interaction = FinalNet(2, 4, first=[8, 8], second=[6])
        >>> interaction(torch.ones(3, 2, 4), torch.zeros(3, 2, dtype=torch.long)).shape
        torch.Size([3])

    Reference:
        Jieming Zhu, Qinglin Jia, Guohao Cai, Quanyu Dai, Jingjie Li, Zhenhua Dong, Ruiming Tang, Rui Zhang: FINAL:
        Factorized Interaction Layer for CTR Prediction. SIGIR 2023, as the open benchmark has it, with two blocks.

    Deviations:
        The benchmark's form, whose layers give half their width to the linear part and half to the product; the sum of
        both is not offered. The gate begins as the identity, G = 0 and g = 1.
    """

    def __init__(
        self,
        fields: int,
        dim: int,
        *,
        first: Sequence[int] = (400, 400),
        second: Sequence[int] = (400,),
        gated: bool = True,
        batch_norm: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(fields, dim)
        width = self.fields * self.dim
        self.gate = nn.Linear(self.fields, self.fields) if gated else None
        if self.gate is not None:
            nn.init.zeros_(self.gate.weight)
            nn.init.ones_(self.gate.bias)
        self.first = _block(2 * width if gated else width, first, batch_norm=batch_norm, dropout=dropout)
        self.second = _block(width, second, batch_norm=batch_norm, dropout=dropout)

    def logits(self, vectors: Tensor, ids: Tensor, weights: Tensor | None) -> Tensor:
        """Mean of both blocks."""
        del ids, weights
        return self.block_logits(vectors).mean(dim=1)

    def loss(self, vectors: Tensor, labels: Tensor, ids: Tensor, weights: Tensor | None = None) -> Tensor:
        """Cross-entropy, and that of each block against both together."""
        del ids, weights
        blocks = self.block_logits(vectors)
        logits = blocks.mean(dim=1)
        taught = torch.sigmoid(logits.detach())
        entropy = functional.binary_cross_entropy_with_logits
        return entropy(logits, labels) + entropy(blocks[:, 0], taught) + entropy(blocks[:, 1], taught)

    def block_logits(self, vectors: Tensor) -> Tensor:
        """What each block gives, (batch, 2)."""
        given = vectors
        if self.gate is not None:
            gates = self.gate(vectors.transpose(1, 2)).transpose(1, 2)
            given = torch.cat([vectors, vectors * gates], dim=1)
        return torch.cat([self.first(given.flatten(1)), self.second(vectors.flatten(1))], dim=1)


class FactorizedLayer(nn.Module):
    """[a; a ⊙ b] with [a; b] = W x + c.

    Args:
        inputs: Width of what comes.
        outputs: Width of what is given, even.

    Raises:
        InputError: `outputs` is odd.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        if outputs % 2:
            message = f"each hidden width must be even, half of it holds products; received {outputs}"
            raise InputError(message)
        self.linear = linear(inputs, outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """(batch, inputs) to (batch, outputs)."""
        plain, factor = self.linear(inputs).chunk(2, dim=1)
        return torch.cat([plain, plain * factor], dim=1)


def _block(width: int, hidden: Sequence[int], *, batch_norm: bool, dropout: float) -> nn.Sequential:
    if not hidden:
        message = f"first and second must have a hidden layer each; received {list(hidden)}"
        raise InputError(message)
    layers: list[nn.Module] = []
    for units in hidden:
        layers.append(FactorizedLayer(width, units))
        layers += [nn.BatchNorm1d(units)] if batch_norm else []
        layers.append(ReluDropout(dropout))
        width = units
    return nn.Sequential(*layers, linear(width, 1))


def finalnet(
    sizes: Sequence[int],
    dim: int = 10,
    *,
    columns: Sequence[int] | None = None,
    names: Sequence[str] | None = None,
    lookup: Lookup | None = None,
    **options: Any,
) -> ClickModel:
    """A whole model: FinalNet with two blocks.

    Args:
        sizes: Vocabulary size of each field.
        dim: Width of a field's vector.
        columns: Field of each column of ids, as `Vocabulary.columns` says; None means that columns are the fields.
        names: What messages call the fields.
        lookup: Gives the vectors in place of a plain table.
        **options: More of `FinalNet`'s arguments.

    Returns:
        The model, to be trained.

    Raises:
        InputError: An argument is out of range.

    Example:
        >>> finalnet([3, 5], dim=4, first=[8], second=[6])(torch.tensor([[2, 4], [0, 0]])).shape
        torch.Size([2])
    """
    interaction = FinalNet(len(sizes), dim, **options)
    return ClickModel(field_embedding(sizes, dim, columns=columns, names=names, lookup=lookup), interaction)
