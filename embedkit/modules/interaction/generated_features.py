"""FGCNN: convolutions over neighbouring fields make new features, which an IPNN reads beside the raw ones."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from embedkit.errors import InputError
from embedkit.modules.interaction.click_model import ClickModel, field_embedding
from embedkit.modules.interaction.inner_product import IPNN
from embedkit.modules.interaction.interaction import Interaction, whole
from embedkit.modules.interaction.mlp import linear
from embedkit.modules.lookup import FieldEmbedding, Lookup


class FGCNN(Interaction):
    """Feature generation by convolution, then a product-based network.

        c_i = pool(tanh(BN(conv_i(c_{i−1}))))          c_0 = vectors of the fields from a table of its own
        n_i = tanh(W_i vec(c_i) + b_i)                 `maps` new features for each of the ⌈fields / poolⁱ⌉ rows of c_i
        logit = IPNN([v_1; …; v_fields; n_1; n_2; …])

    Convolutions run over the fields, each coordinate of the vectors for itself, so the order of the fields matters.

    Args:
        fields: Fields of a record.
        dim: Width of a field's vector.
        generator: Vectors that features are made from, as many and as wide as the raw ones.
        channels: Channels of each convolution.
        kernel: Fields that a convolution sees, odd.
        pool: Fields that are pooled to one.
        maps: New features for each row that is left.
        conv_batch_norm: Whether convolutions are normalised over the batch.
        hidden: Hidden widths of the IPNN.
        batch_norm: The IPNN's.
        dropout: The IPNN's.

    Raises:
        InputError: An argument is out of range, or `generator` is for other fields or of another width.

    Example:
        >>> from embedkit.modules.lookup import PlainLookup
        >>> generator = FieldEmbedding(PlainLookup([3, 5], 4))
        >>> interaction = FGCNN(2, 4, generator, channels=[3], kernel=3, hidden=[8])
        >>> interaction(torch.ones(3, 2, 4), torch.zeros(3, 2, dtype=torch.long)).shape
        torch.Size([3])

    Reference:
        Bin Liu, Ruiming Tang, Yingzhi Chen, Jinkai Yu, Huifeng Guo, Yuzhou Zhang: Feature Generation by Convolutional
        Neural Network for Click-Through Rate Prediction. WWW 2019, Eq. 2–8.

    Deviations:
        Batch normalisation in the convolutions, as in the open benchmark. The last pooling window may be cut short, for
        any `pool`; the benchmark pads by fields mod pool on both sides, which fits a pool of 2 only. A convolution is
        computed as one product with its banded matrix, which is what it is.
    """

    def __init__(  # noqa: PLR0913 (what the method is made of)
        self,
        fields: int,
        dim: int,
        generator: FieldEmbedding,
        *,
        channels: Sequence[int] = (6, 8),
        kernel: int = 7,
        pool: int = 2,
        maps: int = 3,
        conv_batch_norm: bool = True,
        hidden: Sequence[int] = (400, 400, 400),
        batch_norm: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(fields, dim)
        given = (len(generator.lookup.sizes), generator.lookup.dim)
        if given != (self.fields, self.dim):
            message = (
                f"generator must give {self.fields} vectors of width {self.dim}; it gives {given[0]} of {given[1]}"
            )
            raise InputError(message)
        if not channels:
            message = "channels must name one convolution at least; received none: IPNN is the model without"
            raise InputError(message)
        self.generator = generator
        self.convolutions = nn.ModuleList()
        height, depth, total = self.fields, 1, self.fields
        for units in channels:
            layer = FieldConvolution(
                height, dim, depth, units, kernel=kernel, pool=pool, maps=maps, batch_norm=conv_batch_norm
            )
            self.convolutions.append(layer)
            height, depth = layer.height, units
            total += height * maps
        self.ipnn = IPNN(total, dim, hidden=hidden, batch_norm=batch_norm, dropout=dropout)

    def logits(self, vectors: Tensor, ids: Tensor, weights: Tensor | None) -> Tensor:
        """Output of the IPNN on raw and generated features."""
        features = [vectors]
        signal = self.generator(ids, weights).transpose(1, 2)
        for layer in self.convolutions:
            signal, generated = layer(signal)
            features.append(generated)
        logits: Tensor = self.ipnn(torch.cat(features, dim=1), ids, weights)
        return logits


class FieldConvolution(nn.Module):
    """One convolution over fields, its pooling, and the features made of it.

    Args:
        fields: Rows that come.
        dim: Width of a field's vector.
        inputs: Channels that come.
        outputs: Channels that are given.
        kernel: As in `FGCNN`.
        pool: As in `FGCNN`.
        maps: As in `FGCNN`.
        batch_norm: As in `FGCNN`'s `conv_batch_norm`.

    Attributes:
        height: Rows that are left.

    Raises:
        InputError: An argument is out of range.
    """

    def __init__(
        self, fields: int, dim: int, inputs: int, outputs: int, *, kernel: int, pool: int, maps: int, batch_norm: bool
    ) -> None:
        super().__init__()
        if whole("kernel", kernel) % 2 == 0:
            message = f"kernel must be odd, so that it has a middle; received {kernel}"
            raise InputError(message)
        self.fields, self.dim, self.pool = fields, dim, whole("pool", pool)
        self.height = -(-fields // pool)
        self.weight = nn.Parameter(torch.empty(whole("each of channels", outputs), inputs, kernel))
        nn.init.xavier_normal_(self.weight)
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.norm = nn.BatchNorm1d(outputs) if batch_norm else None
        self.recombine = linear(self.height * dim * outputs, self.height * dim * whole("maps", maps))

    def extra_repr(self) -> str:
        """What the shapes of weights do not tell."""
        return f"fields={self.fields}, pool={self.pool}"

    def forward(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        """Next signal and new features.

        Args:
            signal: (batch, dim, channels · fields).

        Returns:
            (batch, dim, channels · height), and (batch, height · maps, dim).
        """
        batch = len(signal)
        convolved = self._convolve(signal.reshape(batch * self.dim, signal.shape[2]))
        active = torch.tanh(convolved if self.norm is None else self.norm(convolved))
        pooled = functional.max_pool1d(active, self.pool, ceil_mode=True)
        pooled = pooled.reshape(batch, self.dim, pooled.shape[1] * self.height)
        generated: Tensor = self.recombine(pooled.flatten(1))
        return pooled, torch.tanh(generated).view(batch, generated.shape[1] // self.dim, self.dim)

    def _convolve(self, rows: Tensor) -> Tensor:
        """(records, inputs · fields) to (records, outputs, fields), by the matrix of what becomes of unit vectors."""
        outputs, inputs, kernel = self.weight.shape
        units = torch.eye(rows.shape[1], dtype=rows.dtype, device=rows.device).view(-1, inputs, self.fields)
        matrix = functional.conv1d(units, self.weight, padding=kernel // 2).flatten(1)
        convolved = torch.addmm(self.bias.repeat_interleave(self.fields), rows, matrix)
        return convolved.view(len(rows), outputs, self.fields)


def fgcnn(
    sizes: Sequence[int],
    dim: int = 10,
    hidden: Sequence[int] = (400, 400, 400),
    *,
    columns: Sequence[int] | None = None,
    names: Sequence[str] | None = None,
    lookup: Lookup | None = None,
    **options: Any,
) -> ClickModel:
    """A whole model: FGCNN, with a second plain table that features are made from.

    Args:
        sizes: Vocabulary size of each field.
        dim: Width of a field's vector.
        hidden: Widths of the hidden layers.
        columns: Field of each column of ids, as `Vocabulary.columns` says; None means that columns are the fields.
        names: What messages call the fields.
        lookup: Gives the vectors in place of a plain table.
        **options: More of `FGCNN`'s arguments.

    Returns:
        The model, to be trained.

    Raises:
        InputError: An argument is out of range.

    Example:
        >>> fgcnn([3, 5], dim=4, hidden=[8], channels=[3], kernel=3)(torch.tensor([[2, 4], [0, 0]])).shape
        torch.Size([2])
    """
    generator = field_embedding(sizes, dim, columns=columns, names=names)
    interaction = FGCNN(len(sizes), dim, generator, hidden=hidden, **options)
    return ClickModel(field_embedding(sizes, dim, columns=columns, names=names, lookup=lookup), interaction)
