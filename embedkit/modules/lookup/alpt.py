"""ALPT: whole-number rows whose step is learned with them."""

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from embedkit.modules.lookup.lookup import Lookup
from embedkit.modules.lookup.packing import most_bits, pack
from embedkit.modules.lookup.quantized import QuantizedLookup, check_bits, decode, encode

_SMALLEST_STEP = 1e-8


class LearnedStepLookup(Lookup):
    """A table trained as `bits`-bit codes with a learned step a row (ALPT).

        x = row / step;   vector = step · round(clip(x, -most, most)),   most = 2^(bits-1) - 1
        d vector / d row  := 1 within the range, 0 beyond
        d vector / d step := round(x) - x within, ± most beyond;   times 1 / √(batch · dim · most)

    After each step of the optimisers the rows of the batch are rounded stochastically to their grid; other rows are
    left alone. Steps have an optimiser of their own, SGD, and stay above zero.

    Bytes in training: 4 · num_rows · (dim + 1). `serving` gives a symmetric `QuantizedLookup` of the same vectors, in
    num_rows · (⌈dim · bits / 8⌉ + 4) bytes.

    Args:
        sizes: As in `Lookup`.
        dim: As in `Lookup`.
        names: As in `Lookup`.
        bits: Bits of a code, 2 … 16.
        step_lr: Learning rate of the steps.
        std: Standard deviation of the normal distribution that rows begin with.

    Raises:
        InputError: As in `Lookup`, or `bits` is out of range.

    Example:
        >>> lookup = LearnedStepLookup([3, 5], dim=4, bits=8)
        >>> ids = torch.tensor([[2, 0], [0, 4]])
        >>> torch.equal(lookup(ids), lookup.serving()(ids)), lookup.serving().nbytes
        (True, 64)

    Reference:
        Shiwei Li, Huifeng Guo, Lu Hou, Wei Zhang, Xing Tang, Ruiming Tang, Rui Zhang, Ruixuan Li: Adaptive
        Low-Precision Training for Embeddings in Click-Through Rate Prediction. AAAI 2023, Algorithm 1. Steven K. Esser,
        Jeffrey L. McKinstry, Deepika Bablani, Rathinakumar Appuswamy, Dharmendra S. Modha: Learned Step Size
        Quantization. ICLR 2020, Eq. 3 (the gradient of the step).

    Deviations:
        Rows and steps are updated from one backward pass; theirs takes a second one for the steps, after the rows. The
        lowest code, -2^(bits-1), is not used. Rows are held as float32 values of their grid while training. Steps begin
        as in LSQ, at 2 mean|row| / √most, where theirs is 0.01, which is as large as a whole row here.
    """

    options = ("bits", "step_lr", "std")
    touched: Tensor

    def __init__(
        self,
        sizes: Sequence[int],
        dim: int,
        *,
        names: Sequence[str] | None = None,
        bits: int = 8,
        step_lr: float = 2e-5,
        std: float = 0.01,
    ) -> None:
        super().__init__(sizes, dim, names=names)
        check_bits(bits, least=2)
        self.bits, self.step_lr, self.std = bits, step_lr, std
        self.weight = nn.Parameter(torch.empty(self.num_rows, dim).normal_(std=std))
        step = 2 * self.weight.detach().abs().mean(1, keepdim=True) / self._most**0.5
        self.step = nn.Parameter(step.clamp(min=_SMALLEST_STEP))
        self.register_buffer("touched", torch.zeros(self.num_rows, dtype=torch.bool), persistent=False)

    @classmethod
    def for_budget(
        cls,
        sizes: Sequence[int],
        dim: int,
        nbytes: int,
        *,
        names: Sequence[str] | None = None,
        counts: Tensor | None = None,
        seed: int = 0,
        **options: Any,
    ) -> Self:
        """The most bits whose `serving` form takes at most `nbytes`.

        Args:
            sizes: As in the class.
            dim: As in the class.
            nbytes: Bytes that may be served.
            names: As in the class.
            counts: Not used: all values are treated alike.
            seed: Not used: nothing is drawn but weights.
            **options: Further arguments of the class.

        Raises:
            InputError: `nbytes` is below the bytes of two bits a value; the message names them.
        """
        del counts, seed
        bits = most_bits(sum(sizes), dim, nbytes, least=2, beside=4, means="two bits a value and 4 bytes a row")
        return cls(sizes, dim, names=names, bits=bits, **options)

    @property
    def _most(self) -> int:
        return int(2 ** (self.bits - 1)) - 1

    def vectors(self, rows: Tensor, fields: Tensor) -> Tensor:
        """Rows on their grids."""
        if self.training:
            self.touched[rows] = True
        weight, step = nn.functional.embedding(rows, self.weight), nn.functional.embedding(rows, self.step)
        factor = (max(1, len(rows)) * self.dim * self._most) ** -0.5
        rounded: Tensor = _LearnedRounding.apply(weight, step, self.bits, factor)  # type: ignore[no-untyped-call]
        return rounded

    def own_optimizer(self) -> torch.optim.Optimizer:
        """SGD on the steps."""
        return torch.optim.SGD([self.step], lr=self.step_lr)

    def after_step(self, progress: float) -> None:
        """Rounds the rows of the batch."""
        with torch.no_grad():
            self.step.clamp_(min=_SMALLEST_STEP)
            rows = self.touched.nonzero()[:, 0]
            step = self.step[rows]
            codes = _codes(self.weight[rows], step, self.bits, stochastic=True)
            self.weight[rows] = decode(codes, step, None, self.bits).to(self.weight.dtype)
            self.touched.zero_()

    def serving(self) -> QuantizedLookup:
        """The codes and steps alone."""
        served = QuantizedLookup(self.sizes, self.dim, names=self.names, bits=self.bits, symmetric=True)
        with torch.no_grad():
            served.codes = pack(_codes(self.weight, self.step, self.bits), self.bits)
            served.scale = self.step[:, 0].float().clone()
        return served.to(self.weight.device)


class _LearnedRounding(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, step: Tensor, bits: int, factor: float) -> Tensor:
        ctx.save_for_backward(weight, step)
        ctx.bits, ctx.factor = bits, factor
        return decode(_codes(weight, step, bits), step, None, bits).to(weight.dtype)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, Tensor, None, None]:
        weight, step = ctx.saved_tensors
        most = 2 ** (ctx.bits - 1) - 1
        x = weight.float() / step.float()
        within = x.abs() <= most
        slope = torch.where(within, x.round() - x, most * x.sign())
        for_step = (upstream[0].float() * slope).sum(-1, keepdim=True) * ctx.factor
        return upstream[0] * within, for_step.to(step.dtype), None, None


def _codes(weight: Tensor, step: Tensor, bits: int, *, stochastic: bool = False) -> Tensor:
    return encode(weight, step, torch.zeros_like(step), bits, symmetric=True, stochastic=stochastic)
