"""Rows of whole numbers with a scale a row: after training, and during it with stochastic rounding."""

from collections.abc import Sequence
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from embedkit.errors import InputError
from embedkit.modules.lookup.lookup import Lookup
from embedkit.modules.lookup.packing import MOST_BITS, checked_weight, most_bits, pack, packed_width, unpack

Scales = Literal["float32", "float16"]
_SCALES = {"float32": torch.float32, "float16": torch.float16}
_ROUNDING = 2.0**-20  # what float32 leaves of a zero, a scale times a code, and their sum, with room


class QuantizedLookup(Lookup):
    """Rows of `bits`-bit codes: value = zero + scale · code, a zero and a scale a row.

        zero = min(row)   scale = (max(row) - min(row)) / (2^bits - 1)   code = round((value - zero) / scale)

    or, symmetric, value = scale · (code - 2^(bits-1)) with scale = max|row| / (2^(bits-1) - 1) and no zero. The error
    of a value is at most scale / 2, and where there is a zero, a row of one value is exact. It serves: nothing in it is
    trained.

    Bytes: num_rows · (⌈dim · bits / 8⌉ + 4 · numbers), `numbers` being 2, or 1 if symmetric; 2 in place of 4 with
    float16.

    Args:
        sizes: As in `Lookup`.
        dim: As in `Lookup`.
        names: As in `Lookup`.
        bits: Bits of a code, 1 … 16 (2 … 16 if symmetric); codes are packed without gaps within a row.
        symmetric: Whether the middle code is zero, so that none is stored.
        scales: "float16" halves what scales and zeros take. They are rounded outwards, so that the error stays below
            scale / 2; but a row of one value is then exact only if float16 has that value.

    Raises:
        InputError: As in `Lookup`, or `bits` or `scales` is none of these.

    Example:
        >>> lookup = QuantizedLookup.from_weight(torch.tensor([[0.0, 1.0, 2.0, 15.0]]), [1], bits=4)
        >>> lookup(torch.tensor([[0]])).tolist(), lookup.nbytes
        ([[[0.0, 1.0, 2.0, 15.0]]], 10)

    Reference:
        Hui Guan, Andrey Malevich, Jiyan Yang, Jongsoo Park, Hector Yuen: Post-Training 4-bit Quantization on Embedding
        Tables. 2019, section 3 (row-wise uniform quantisation, their ASYM and SYM).

    Deviations:
        No search for a clipping range (their GREEDY). Any number of bits, not 4 and 8 alone.
    """

    options = ("bits", "symmetric", "scales")
    codes: Tensor
    scale: Tensor
    zero: Tensor
    precision: Tensor

    def __init__(
        self,
        sizes: Sequence[int],
        dim: int,
        *,
        names: Sequence[str] | None = None,
        bits: int = 8,
        symmetric: bool = False,
        scales: Scales = "float32",
    ) -> None:
        super().__init__(sizes, dim, names=names)
        check_bits(bits, least=2 if symmetric else 1)
        if scales not in _SCALES:
            message = f"scales must be one of {', '.join(_SCALES)}; received {scales!r}"
            raise InputError(message)
        self.bits, self.symmetric, self.scales = bits, symmetric, scales
        width = packed_width(dim, bits)
        self.register_buffer("codes", torch.zeros(self.num_rows, width, dtype=torch.uint8))
        self.register_buffer("scale", torch.zeros(self.num_rows, dtype=_SCALES[scales]))
        if not symmetric:
            self.register_buffer("zero", torch.zeros(self.num_rows, dtype=_SCALES[scales]))
        # Says in which precision vectors are wanted: scales may be narrower than that.
        self.register_buffer("precision", torch.zeros(()), persistent=False)

    @classmethod
    def from_weight(
        cls,
        weight: Tensor,
        sizes: Sequence[int],
        bits: int = 8,
        *,
        stochastic: bool = False,
        symmetric: bool = False,
        scales: Scales = "float32",
        names: Sequence[str] | None = None,
    ) -> Self:
        """Codes of known vectors.

        Args:
            weight: (num_rows, dim), the fields below each other.
            sizes: Vocabulary size of each field.
            bits: Bits of a code.
            stochastic: Round up with the probability of the fraction that is left, ⌊x + u⌋ with u uniform in 0 … 1,
                instead of to the nearest: then E[value] is the value, and the error below `scale`.
            symmetric: As in the class.
            scales: As in the class.
            names: As in the class.

        Raises:
            InputError: `weight` is of another shape, not finite, or its scales exceed float16.
        """
        weight = checked_weight(weight, sizes)
        lookup = cls(sizes, weight.shape[1], names=names, bits=bits, symmetric=symmetric, scales=scales)
        scale, zero = grid(weight, bits, symmetric=symmetric, scales=_SCALES[scales])
        if not (scale.isfinite().all() and zero.isfinite().all()):
            message = (
                f"scales 'float16' hold numbers up to 65504; the rows range over {weight.min():g} … {weight.max():g}: "
                "choose 'float32'"
            )
            raise InputError(message)
        codes = encode(weight, scale, zero, bits, symmetric=symmetric, stochastic=stochastic)
        lookup.to(weight.device)
        lookup.codes, lookup.scale = pack(codes, bits), scale[:, 0]
        if not symmetric:
            lookup.zero = zero[:, 0]
        return lookup

    def vectors(self, rows: Tensor, fields: Tensor) -> Tensor:
        """Values of the codes."""
        codes = unpack(self.codes[rows], self.bits, self.dim)
        zero = None if self.symmetric else self.zero[rows][..., None]
        return decode(codes, self.scale[rows][..., None], zero, self.bits).to(self.precision.dtype)


class QuantizedTrainingLookup(Lookup):
    """A table that is trained as it will be served, by `QuantizedLookup` with `bits`-bit codes.

    Vectors are the rows rounded to the grid of `QuantizedLookup`, and gradients pass through the rounding. After each
    step rows are rounded stochastically onto that grid, E[rounded] = row: rounded to the nearest, steps below scale / 2
    would be lost. Rows that are on it stay.

    Bytes in training: 4 · num_rows · dim. `serving` gives a `QuantizedLookup` of the same vectors.

    Args:
        sizes: As in `Lookup`.
        dim: As in `Lookup`.
        names: As in `Lookup`.
        bits: Bits of a code, 1 … 16.
        std: Standard deviation of the normal distribution that rows begin with.

    Raises:
        InputError: As in `Lookup`, or `bits` is out of range.

    Example:
        >>> lookup = QuantizedTrainingLookup([3, 5], dim=4, bits=8)
        >>> ids = torch.tensor([[2, 0], [0, 4]])
        >>> lookup.after_step(0.5)
        >>> torch.equal(lookup(ids), lookup.serving()(ids)), lookup.serving().nbytes
        (True, 96)

    Reference:
        Suyog Gupta, Ankur Agrawal, Kailash Gopalakrishnan, Pritish Narayanan: Deep Learning with Limited Numerical
        Precision. ICML 2015, section 3 (stochastic rounding). As INT8/16 among the methods of Hailin Zhang, Penghao
        Zhao, Xupeng Miao, Yingxia Shao, Zirui Liu, Tong Yang, Bin Cui: Experimental Analysis of Large-scale Learnable
        Vector Storage Compression. PVLDB 17(4), 2023.

    Deviations:
        The grid follows each row's least and greatest value; a fixed scale of 0.01 clips what exceeds 1.27. The rows
        are kept as float32 values of the grid while training, so that any optimiser steps them.
    """

    options = ("bits", "std")

    def __init__(
        self,
        sizes: Sequence[int],
        dim: int,
        *,
        names: Sequence[str] | None = None,
        bits: int = 8,
        std: float = 0.01,
    ) -> None:
        super().__init__(sizes, dim, names=names)
        check_bits(bits)
        self.bits, self.std = bits, std
        self.weight = nn.Parameter(torch.empty(self.num_rows, dim).normal_(std=std))

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
            InputError: `nbytes` is below the bytes of one bit a value; the message names them.
        """
        del counts, seed
        bits = most_bits(sum(sizes), dim, nbytes, least=1, beside=8, means="one bit a value and 8 bytes a row")
        return cls(sizes, dim, names=names, bits=bits, **options)

    def vectors(self, rows: Tensor, fields: Tensor) -> Tensor:
        """Rows of the grid, through which gradients pass."""
        exact = nn.functional.embedding(rows, self.weight)
        return self._rounded(exact.detach(), stochastic=False) + (exact - exact.detach())

    def after_step(self, progress: float) -> None:
        """Rounds what the optimiser left."""
        with torch.no_grad():
            rounded = self._rounded(self.weight, stochastic=True)
            # Written anew, the ends of a row and so its grid would move by what float32 rounds, step after step.
            size = self.weight.abs() + self.weight.amin(1, keepdim=True).abs()
            there = (rounded - self.weight).abs() <= _ROUNDING / 2 * size
            self.weight.copy_(torch.where(there, self.weight, rounded))

    def serving(self) -> QuantizedLookup:
        """The codes alone."""
        return QuantizedLookup.from_weight(self.weight, self.sizes, self.bits, names=self.names)

    def _rounded(self, values: Tensor, *, stochastic: bool) -> Tensor:
        wide = values.detach().float()
        scale, zero = grid(wide, self.bits, symmetric=False)
        codes = encode(wide, scale, zero, self.bits, symmetric=False, stochastic=stochastic)
        return decode(codes, scale, zero, self.bits).to(values.dtype)


def check_bits(bits: int, least: int = 1) -> None:
    """Refuse a number of bits that no code has.

    Raises:
        InputError: `bits` is out of range.
    """
    if not (isinstance(bits, int) and least <= bits <= MOST_BITS):
        message = f"bits must be a whole number from {least} to {MOST_BITS}; received {bits!r}"
        raise InputError(message)


def grid(values: Tensor, bits: int, *, symmetric: bool, scales: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Scale and zero of each row of `values`, (..., dim), as (..., 1) each; the zero of a symmetric grid is 0."""
    values = values.double()
    if symmetric:
        greatest = values.abs().amax(-1, keepdim=True)
        scale = greatest / (2 ** (bits - 1) - 1)
        return _outwards(scale, scales, up=True), torch.zeros_like(scale, dtype=scales)
    zero = _outwards(values.amin(-1, keepdim=True), scales, up=False)
    scale = (values.amax(-1, keepdim=True) - zero.double()) / (2**bits - 1)
    return _outwards(scale, scales, up=True), zero


def _outwards(exact: Tensor, kind: torch.dtype, *, up: bool) -> Tensor:
    """The next number of this kind that is not within the range; float32 is near enough as it is."""
    rounded = exact.to(kind)
    if kind != torch.float16:
        return rounded
    inside = rounded.double() < exact if up else rounded.double() > exact
    beyond = torch.nextafter(rounded, torch.full_like(rounded, float("inf") if up else -float("inf")))
    return torch.where(inside, beyond, rounded)


def encode(values: Tensor, scale: Tensor, zero: Tensor, bits: int, *, symmetric: bool, stochastic: bool) -> Tensor:
    """Codes of `values` on a grid, 0 … 2^bits - 1, int64, of the shape of `values`."""
    scale = scale.double()
    scale = scale.masked_fill(scale == 0, 1)
    exact = (values.double() - zero.double()) / scale
    steps = exact.round()
    if stochastic:
        # What is on the grid but for the rounding of float32 stays there: rows that no step changes would wander else.
        noise = _ROUNDING * (values.double().abs() + zero.double().abs()) / scale
        steps = torch.where((exact - steps).abs() <= noise, steps, (exact + torch.rand_like(exact)).floor())
    most = 2 ** (bits - 1) - 1
    codes: Tensor = steps.clamp(-most, most) + most + 1 if symmetric else steps.clamp(0, 2**bits - 1)
    return codes.long()


def decode(codes: Tensor, scale: Tensor, zero: Tensor | None, bits: int) -> Tensor:
    """Values of codes, in float32; without a zero the grid is symmetric."""
    offset = 2 ** (bits - 1) if zero is None else 0
    steps: Tensor = scale.float() * (codes - offset).float()
    return steps if zero is None else zero.float() + steps
