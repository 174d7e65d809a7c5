"""Layers that most interactions share: linear, batch normalisation, ReLU and dropout."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from embedkit.modules.interaction.interaction import share, whole

_STEPS = 65536  # what a random number of 16 bits can be


class MLP(nn.Module):
    """Linear layers, each followed by batch normalisation (if asked for), ReLU and dropout; then a linear output.

        h_{l+1} = dropout(ReLU(BN(W_l h_l + b_l)))

    Args:
        width: Width of the input.
        hidden: Widths of the hidden layers; none for a linear model.
        out: Width of a last layer that is only linear; None leaves it out.
        batch_norm: Whether hidden layers are normalised over the batch.
        dropout: Share of hidden units that a training step leaves out, to the next 1/65536.

    Attributes:
        width: Width of the output.

    Raises:
        InputError: A width is no whole number of at least 1, or `dropout` is out of range.

    Example:
        >>> MLP(4, [8, 8], out=1, batch_norm=True, dropout=0.1)(torch.ones(2, 4)).shape
        torch.Size([2, 1])

    Deviations:
        Weights begin normally distributed with Xavier's deviation and biases at 0, as in the open benchmark. Dropout
        draws 16 random bits a unit, four units a draw, and so is about three times as fast on a CPU as one Bernoulli
        draw a unit; the kept units are scaled by exactly one over the probability that was applied.
    """

    def __init__(
        self,
        width: int,
        hidden: Sequence[int] = (),
        *,
        out: int | None = None,
        batch_norm: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.width = whole("width", width)
        layers: list[nn.Module] = []
        for units in hidden:
            layers.append(linear(self.width, whole("each of hidden", units)))
            layers += [nn.BatchNorm1d(units)] if batch_norm else []
            layers.append(ReluDropout(dropout))
            self.width = units
        if out is not None:
            layers.append(linear(self.width, whole("out", out)))
            self.width = out
        self.layers = nn.Sequential(*layers)

    def forward(self, inputs: Tensor) -> Tensor:
        """(batch, width of the input) to (batch, width of the output)."""
        outputs: Tensor = self.layers(inputs)
        return outputs


class ReluDropout(nn.Module):
    """ReLU, and in training dropout behind it, in one pass back.

    Args:
        dropout: Share of units that a training step leaves out.

    Raises:
        InputError: `dropout` is out of range.
    """

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = share("dropout", dropout)

    def extra_repr(self) -> str:
        """The share."""
        return f"dropout={self.dropout}"

    def forward(self, inputs: Tensor) -> Tensor:
        """Of the same shape."""
        if not self.training or not self.dropout:
            return torch.relu(inputs)
        output: Tensor = _ReluDropout.apply(inputs, self.dropout)  # type: ignore[no-untyped-call]
        return output


class _ReluDropout(torch.autograd.Function):
    """A unit that is zero, by either cause, passes no gradient; one that is not passes it scaled: no mask is kept."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, dropout: float) -> Tensor:
        kept, ctx.scale = kept_units(inputs, dropout)
        outputs = torch.relu(inputs).mul_(kept).mul_(ctx.scale)
        ctx.save_for_backward(outputs)
        return outputs

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (outputs,) = ctx.saved_tensors
        return torch.ops.aten.threshold_backward(gradient, outputs, 0).mul_(ctx.scale), None


def kept_units(like: Tensor, dropout: float) -> tuple[Tensor, float]:
    """Which units dropout keeps, bool of the shape of `like`, and what those are multiplied by.

    Args:
        like: What units are left out of.
        dropout: Probability of a unit to be left out, rounded to a multiple of 1/65536.
    """
    left_out = min(round(dropout * _STEPS), _STEPS - 1)
    draws = torch.empty((like.numel() + 3) // 4, dtype=torch.int64, device=like.device).random_(-(2**63), None)
    bits = draws.view(torch.int16)[: like.numel()].view(like.shape)
    return bits >= left_out - _STEPS // 2, _STEPS / (_STEPS - left_out)


def linear(inputs: int, outputs: int, *, bias: bool = True) -> nn.Linear:
    """A linear layer as the open benchmark begins it: Xavier's normal weights, biases of 0."""
    layer = nn.Linear(inputs, outputs, bias=bias)
    nn.init.xavier_normal_(layer.weight)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer
