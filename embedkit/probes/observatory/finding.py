"""What a property of the Observatory gives: means with intervals, beside what chance and a perfect encoder give."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

import numpy as np

from embedkit.errors import InputError

_WIDTH = 100
_RESAMPLES = 2000
_AT_A_TIME = 4_000_000  # numbers drawn at a time, which bounds memory
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Estimate:
    """A mean over units (tables, pairs, groups) with its interval.

    Attributes:
        value: The mean; NaN where no unit defines it.
        low: Lower end of the interval.
        high: Upper end.
        n: How many units.
    """

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        if math.isnan(self.value):
            return "undefined"
        if self.low == self.high:
            return _short(self.value)
        return f"{_short(self.value)} [{_short(self.low)}, {_short(self.high)}]"


@dataclass(frozen=True)
class Line:
    """One figure of a finding.

    Attributes:
        name: Such as "column, cosine".
        estimate: What was measured.
        control: What chance or a confound gives on the same units; None where there is none.
        ideal: What a perfect encoder gives: 1.0 for a cosine that should not move, 0.0 for a dispersion; None where
            nothing is perfect.
    """

    name: str
    estimate: Estimate
    control: Estimate | None
    ideal: float | None


@dataclass(frozen=True)
class Finding:
    """What was measured of one property. Printed it is a table; `finding["column, cosine"]` is one of its lines.

    Attributes:
        property: Such as "row order".
        question: What was asked, in one sentence.
        lines: The figures.
        notes: What was left out, undefined or too small to say anything.

    Example:
        >>> cosine = Line("column, cosine", estimate([0.9, 1.0, 0.8]), estimate([0.1]), ideal=1.0)
        >>> print(Finding("row order", "Do vectors stay when rows are shuffled?", (cosine,)))
        row order: Do vectors stay when rows are shuffled?
        line            measured              control  ideal  n
        column, cosine  0.900 [0.800, 1.000]  0.100    1.000  3
    """

    property: str
    question: str
    lines: tuple[Line, ...]
    notes: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Line:
        """The line of that name.

        Raises:
            InputError: There is none.
        """
        for line in self.lines:
            if line.name == name:
                return line
        message = f"a finding is asked for one of its lines, {', '.join(line.name for line in self.lines)}"
        raise InputError(f"{message}; received {name!r}")

    def plot(self, axis: Any) -> None:
        """Draw one row a line: point with interval, the control hollow, the ideal as a bar.

        Args:
            axis: A matplotlib axis.
        """
        rows = range(len(self.lines))
        found = [line.estimate for line in self.lines]
        controls = [math.nan if line.control is None else line.control.value for line in self.lines]
        ideals = [math.nan if line.ideal is None else line.ideal for line in self.lines]
        axis.hlines(rows, [each.low for each in found], [each.high for each in found], color="C0")
        axis.plot([each.value for each in found], rows, "o", color="C0", label="measured")
        axis.plot(controls, rows, "o", color="C1", fillstyle="none", label="control")
        axis.plot(ideals, rows, "|", color="C2", markersize=14, label="ideal")
        axis.set_yticks(rows, [line.name for line in self.lines])
        axis.set_ylim(len(self.lines) - 0.5, -0.5)
        axis.set_title(self.property)
        axis.legend()

    def __str__(self) -> str:
        head = ["measured", "control", "ideal", "n"]
        cells = [head, *map(_cells, self.lines)]
        widths = [max(len(row[at]) for row in cells) for at in range(len(head))]
        names = ["line", *(line.name for line in self.lines)]
        room = min(max(map(len, names)), _WIDTH - sum(widths) - 2 * len(widths))
        written = wrap(f"{self.property}: {self.question}", _WIDTH)
        for name, row in zip(names, cells, strict=True):
            figures = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            first, *more = wrap(name, room)
            written += [f"{first.ljust(room)}  {figures}".rstrip(), *more]
        for note in self.notes:
            written += wrap(note, _WIDTH, initial_indent="- ", subsequent_indent="  ")
        return "\n".join(written)


def _cells(line: Line) -> list[str]:
    control = "" if line.control is None else str(line.control)
    ideal = "" if line.ideal is None else _short(line.ideal)
    return [str(line.estimate), control, ideal, f"{line.estimate.n:,}"]


def _short(number: float) -> str:
    return f"{number:.3f}" if number == 0 or 0.01 <= abs(number) < 1000 else f"{number:.3g}"


def estimate(values: Iterable[float], *, level: float = 0.95, seed: int = 0) -> Estimate:
    """The mean over units, and where the mean of an endless supply of such units may lie.

    The interval is that of the bias-corrected and accelerated bootstrap of 2,000 resamples. With fewer than some ten
    units it is too narrow; `n` is there to be read.

    Args:
        values: One a unit. NaN stands for a unit that does not define it, and is left out.
        level: How often such intervals shall hold the true mean, between 0 and 1.
        seed: Of the random generator; equal seeds give equal intervals.

    Returns:
        The mean of the n units that are left, and its interval. No unit gives NaN; of one, or of equal ones, both ends
        are the mean.

    Raises:
        InputError: `level` is out of range.

    Example:
        >>> estimate([0.25, 0.75, float("nan")])
        Estimate(value=0.5, low=0.25, high=0.75, n=2)

    Reference:
        B. Efron, "Better Bootstrap Confidence Intervals", JASA 82 (397), 1987.
    """
    if not 0 < level < 1:
        message = f"level must be between 0 and 1, such as 0.95; received {level!r}"
        raise InputError(message)
    units = np.asarray(list(values), dtype=np.float64)
    units = units[~np.isnan(units)]
    if not len(units):
        return Estimate(math.nan, math.nan, math.nan, 0)
    value = float(units.mean())
    if np.ptp(units) <= _ROUNDING * np.abs(units).max():
        return Estimate(value, value, value, len(units))
    from scipy.stats import bootstrap

    found = bootstrap(
        [units],
        np.mean,
        n_resamples=_RESAMPLES,
        batch=max(1, _AT_A_TIME // len(units)),
        confidence_level=level,
        random_state=np.random.default_rng(seed),
    ).confidence_interval
    return Estimate(value, float(found.low), float(found.high), len(units))
