"""Inline SVG: intervals as dots and whiskers, and quality against cost with its frontier.

Places along the x axis are percentages, so a chart fills its box at any width while its text keeps its size.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from embedkit.evaluation.report.markup import points, text

ROW = 26
"""Height of one row of `intervals`, in pixels; the names beside it are set to the same."""

_AXIS = 24
_HEIGHT = 300
_STEPS = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True)
class Dot:
    """One row of `intervals`.

    Attributes:
        name: Whose score it is.
        score: 0 … 1.
        low: Lower end of the interval; None where there is none.
        high: Upper end.
        kind: Class of the mark: "lead", "model" or "floor".
    """

    name: str
    score: float
    low: float | None
    high: float | None
    kind: str


@dataclass(frozen=True)
class Point:
    """One mark of `pareto`.

    Attributes:
        number: What is written into it.
        name: What it stands for.
        cost: Above 0; less is better.
        quality: 0 … 1; more is better.
    """

    number: int
    name: str
    cost: float
    quality: float


def intervals(dots: Sequence[Dot], *, key: str, title: str) -> str:
    """Dots with whiskers, one row each; what lies left of the axis, as floors do, becomes an arrow.

    Args:
        dots: Rows from top to bottom, at least one.
        key: What the ids in the SVG begin with; unique on the page.
        title: What is shown.
    """
    axis = _axis(_ends(_in_sight(dots)))
    height = ROW * len(dots)
    grid = "".join(
        f'<line class="grid" x1="{x}" x2="{x}" y1="0" y2="{height}"/>'
        f'<text class="tick" x="{x}" y="{height + 17}" text-anchor="middle">{tick:g}</text>'
        for tick in axis.ticks
        for x in [axis.place(tick)]
    )
    rows = "".join(_interval(dot, axis, ROW * i + ROW // 2) for i, dot in enumerate(dots))
    said = "; ".join(_said(dot) for dot in dots)
    return _svg(grid + rows, height + _AXIS, key=key, title=title, said=said)


def pareto(marks: Sequence[Point], *, key: str, title: str, unit: Callable[[float], str]) -> str:
    """Quality against cost on a logarithmic scale, with the frontier as steps.

    Args:
        marks: At least one.
        key: What the ids in the SVG begin with; unique on the page.
        title: What is shown.
        unit: A cost in words.
    """
    x_axis = _log_axis([mark.cost for mark in marks])
    y_axis = _axis([mark.quality for mark in marks])
    best = set(frontier([(mark.cost, -mark.quality) for mark in marks]))
    across = "".join(
        f'<line class="grid" x1="0" x2="100%" y1="{y}" y2="{y}"/><text class="tick" x="0" y="{y - 4}">{tick:g}</text>'
        for tick in y_axis.ticks
        for y in [_down(y_axis, tick)]
    )
    down = "".join(
        f'<line class="grid" x1="{x}" x2="{x}" y1="0" y2="{_HEIGHT}"/>'
        f'<text class="tick" x="{x}" y="{_HEIGHT + 17}" text-anchor="middle">{text(unit(tick))}</text>'
        for tick in x_axis.ticks
        for x in [x_axis.place(math.log10(tick))]
    )
    steps = _steps(sorted((marks[i] for i in best), key=lambda mark: mark.cost), x_axis, y_axis)
    circles = "".join(
        f'<g class="{"best" if i in best else "other"}"><title>{text(mark.name)}: {points(mark.quality)} at '
        f'{text(unit(mark.cost))}</title><circle cx="{x}" cy="{y}" r="10"/>'
        f'<text x="{x}" y="{y + 4}" text-anchor="middle">{mark.number}</text></g>'
        for i, mark in sorted(enumerate(marks), key=lambda pair: pair[0] in best)
        for x, y in [(x_axis.place(math.log10(mark.cost)), _down(y_axis, 100 * mark.quality))]
    )
    said = "; ".join(f"{mark.name}: {points(mark.quality)} at {unit(mark.cost)}" for mark in marks)
    return _svg(across + down + steps + circles, _HEIGHT + _AXIS, key=key, title=title, said=said)


def frontier(costs: Sequence[tuple[float, ...]]) -> list[int]:
    """Positions of those that no other beats: none is as good in every cost and better in one.

    Args:
        costs: The costs of each, of one length; less is better.

    Example:
        >>> frontier([(1, 5), (2, 2), (3, 3), (4, 1)])
        [0, 1, 3]
    """
    return [
        i
        for i, one in enumerate(costs)
        if not any(other != one and all(map(float.__le__, map(float, other), map(float, one))) for other in costs)
    ]


def _in_sight(dots: Sequence[Dot]) -> Sequence[Dot]:
    """The models, and those floors that leave them half of the width at least."""
    models = [dot for dot in dots if dot.kind != "floor"]
    if not models:
        return dots
    ends = _ends(models)
    return [dot for dot in dots if dot.kind != "floor" or dot.score >= 2 * min(ends) - max(ends)]


def _ends(dots: Sequence[Dot]) -> list[float]:
    return [end for dot in dots for end in (dot.score, dot.low, dot.high) if end is not None]


@dataclass(frozen=True)
class _Axis:
    low: float
    high: float
    ticks: tuple[float, ...]

    def share(self, value: float) -> float:
        return (value - self.low) / (self.high - self.low)

    def place(self, value: float) -> str:
        return f"{100 * self.share(value):.2f}%"


def _axis(scores: Sequence[float]) -> _Axis:
    """From a little below the least score to a little above the greatest, in points, with round ticks."""
    low, high = 100 * min(scores), 100 * max(scores)
    margin = max(0.08 * (high - low), 0.5)
    low, high = low - margin, high + margin
    raw = (high - low) / 5
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next(magnitude * step for step in _STEPS if magnitude * step >= raw * 0.99)
    first, last = math.ceil(low / step), math.floor(high / step)
    return _Axis(low, high, tuple(round(i * step, 6) for i in range(first, last + 1)))


def _log_axis(costs: Sequence[float]) -> _Axis:
    low, high = math.log10(min(costs)), math.log10(max(costs))
    margin = max(0.08 * (high - low), 0.1)
    low, high = low - margin, high + margin
    wanted = [(1, 2, 5), (1,)][high - low > 3]
    decades = range(math.floor(low), math.ceil(high))
    ticks = [digit * 10.0**decade for decade in decades for digit in wanted]
    return _Axis(low, high, tuple(tick for tick in ticks if low <= math.log10(tick) <= high))


def _down(axis: _Axis, value: float) -> float:
    return round(_HEIGHT * (1 - axis.share(value)), 1)


def _interval(dot: Dot, axis: _Axis, y: int) -> str:
    if 100 * dot.score < axis.low:
        mark = f'<path d="M10 {y - 5} L2 {y} L10 {y + 5} Z"/>'
    else:
        whisker = ""
        if dot.low is not None and dot.high is not None:
            ends = [axis.place(max(100 * end, axis.low)) for end in (dot.low, dot.high)]
            whisker = f'<line x1="{ends[0]}" x2="{ends[1]}" y1="{y}" y2="{y}"/>'
        mark = f'{whisker}<circle cx="{axis.place(100 * dot.score)}" cy="{y}" r="4.5"/>'
    return f'<g class="{dot.kind}"><title>{text(_said(dot))}</title>{mark}</g>'


def _steps(marks: Sequence[Point], x_axis: _Axis, y_axis: _Axis) -> str:
    """From each mark to the right as far as the next, then up to it."""
    corners = [(x_axis.place(math.log10(mark.cost)), _down(y_axis, 100 * mark.quality)) for mark in marks]
    lines = []
    for (x, y), (next_x, next_y) in zip(corners, [*corners[1:], ("100%", corners[-1][1])], strict=True):
        lines.append(f'<line class="frontier" x1="{x}" x2="{next_x}" y1="{y}" y2="{y}"/>')
        lines.append(f'<line class="frontier" x1="{next_x}" x2="{next_x}" y1="{y}" y2="{next_y}"/>')
    return "".join(lines)


def _said(dot: Dot) -> str:
    if dot.low is None:
        return f"{dot.name}: {points(dot.score)}, no interval"
    return f"{dot.name}: {points(dot.score)}, {points(dot.low)} to {points(dot.high)}"


def _svg(content: str, height: int, *, key: str, title: str, said: str) -> str:
    return (
        f'<svg role="img" width="100%" height="{height}" aria-labelledby="{key}-title {key}-said">'
        f'<title id="{key}-title">{text(title)}</title><desc id="{key}-said">{text(said, limit=4000)}</desc>'
        f"{content}</svg>"
    )
