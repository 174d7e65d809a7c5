"""Scores on resamples and without some of the items; models scored on the same items share what is drawn."""

import operator
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from embedkit.evaluation.statistics.statistic import Evaluate, Integers, Values, in_blocks
from embedkit.evaluation.statistics.strata import Stratum, mean_value

_GROUPS = 200  # how finely the jackknife cuts a part


@dataclass(frozen=True, eq=False)
class Replicates:
    """One score, or the difference of two, again and again; every tuple has one entry a stratum.

    Attributes:
        values: Of all items.
        drawn: Of the resamples.
        left_out: Without each group of items; NaN where it is not defined without.
        size: Number of items of all strata.
    """

    values: tuple[float, ...]
    drawn: tuple[Values, ...]
    left_out: tuple[Values, ...]
    size: int

    @property
    def value(self) -> float:
        """What the strata make up together."""
        return mean_value(self.values)

    def minus(self, other: "Replicates") -> "Replicates":
        """The difference to another model on the same resamples."""
        return Replicates(
            tuple(map(operator.sub, self.values, other.values)),
            tuple(map(operator.sub, self.drawn, other.drawn)),
            tuple(map(operator.sub, self.left_out, other.left_out)),
            self.size,
        )


def replicates(models: Sequence[Sequence[Stratum]], resamples: int, generator: np.random.Generator) -> list[Replicates]:
    """The replicates of each model, all from the same resamples.

    Args:
        models: Strata of each, whose `frame` are the same.
        resamples: How many to draw.
        generator: What draws them.
    """
    drawn, left_out = [], []
    for strata in zip(*models, strict=True):
        evaluates, size = [stratum.evaluate for stratum in strata], strata[0].size
        drawn.append(_drawn(evaluates, size, resamples, generator).T.copy())
        left_out.append(_left_out(evaluates, size).T.copy())
    return [
        Replicates(
            tuple(stratum.value for stratum in strata),
            tuple(part[i] for part in drawn),
            tuple(part[i] for part in left_out),
            sum(stratum.size for stratum in strata),
        )
        for i, strata in enumerate(models)
    ]


def _drawn(evaluates: Sequence[Evaluate], size: int, count: int, generator: np.random.Generator) -> Values:
    """Values of `count` resamples on which the statistic is defined, (count, models)."""

    def draw(many: int) -> Values:
        return in_blocks(evaluates, many, size, lambda start, stop: generator.integers(size, size=(stop - start, size)))

    values = draw(count)
    # It ends: where all items define the statistic, a resample does so with probability 1/2 or more.
    while len(undefined := np.flatnonzero(np.isnan(values).any(axis=1))):
        values[undefined] = draw(len(undefined))
    return values


def _left_out(evaluates: Sequence[Evaluate], size: int) -> Values:
    """Values without each group of items, (groups, models)."""
    if size == 1:
        return np.full((1, len(evaluates)), np.nan)
    each = -(-size // _GROUPS)
    groups = size // each
    group_of = np.arange(size) % groups
    group_of[groups * each :] = groups  # what is over stays in, so that all groups are of one size

    def others(start: int, stop: int) -> Integers:
        kept = group_of != np.arange(start, stop)[:, None]
        return np.nonzero(kept)[1].reshape(stop - start, -1)

    return in_blocks(evaluates, groups, size, others)
