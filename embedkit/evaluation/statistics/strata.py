"""The parts of a score: splits and subsets, within which items are resampled."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from embedkit.errors import InputError
from embedkit.evaluation.items import Items
from embedkit.evaluation.statistics.metrics import STATISTICS
from embedkit.evaluation.statistics.statistic import Evaluate


def score(parts: Sequence[Items]) -> float:
    """The score that items make up: the mean over parts of each part's statistic.

    Args:
        parts: One entry a split and subset.

    Returns:
        The score. Model scores that are all equal order nothing: their correlation counts as 0.

    Raises:
        InputError: There are no items, columns are not what the statistic reads, or it is not defined on them
            (constant targets, one class only).
    """
    return mean_value(strata_of(parts))


@dataclass(frozen=True, eq=False)
class Stratum:
    """A split and subset, within which items are resampled.

    Attributes:
        size: Number of items.
        evaluate: Their statistic, as a function of an index matrix.
        value: The statistic of all items once.
    """

    size: int
    evaluate: Evaluate
    value: float


def strata_of(parts: Sequence[Items]) -> list[Stratum]:
    """One stratum a part.

    Raises:
        InputError: As in `score`.
    """
    if not parts:
        message = (
            "there must be items to resample; there are none, so evaluate the task again with embedkit to keep them"
        )
        raise InputError(message)
    return [_stratum(part) for part in parts]


def _stratum(part: Items) -> Stratum:
    statistic = STATISTICS.get(part.statistic)
    if statistic is None:
        message = f"{named(part)}: the statistic must be one of {', '.join(STATISTICS)}; it is {part.statistic!r}"
        raise InputError(message)
    try:
        evaluate = statistic.of(part.columns)
    except InputError as error:
        message = f"{named(part)}: {error}"
        raise InputError(message) from None
    size = len(part.columns[statistic.columns[0]])
    value = float(evaluate(np.arange(size)[None])[0])
    if math.isnan(value):
        message = f"{named(part)}: {part.statistic} needs items with different targets; all {size} have the same"
        raise InputError(message)
    return Stratum(size, evaluate, value)


def minus(a: Stratum, b: Stratum) -> Stratum:
    """The difference of two models on the same items."""
    return Stratum(a.size, lambda index: a.evaluate(index) - b.evaluate(index), a.value - b.value)


def mean_value(strata: Sequence[Stratum]) -> float:
    """What the strata make up together."""
    return math.fsum(stratum.value for stratum in strata) / len(strata)


def size_of(strata: Sequence[Stratum]) -> int:
    """Number of items of all."""
    return sum(stratum.size for stratum in strata)


def place(part: Items) -> tuple[str, str]:
    """What tells a part from the others of its task."""
    return part.split, part.subset


def named(part: Items) -> str:
    """Where a part is, for messages."""
    return "/".join(place(part))
