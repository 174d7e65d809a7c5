"""The parts of a score: splits and subsets, within which items are resampled."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from embedkit.errors import InputError
from embedkit.evaluation.items import Items
from embedkit.evaluation.statistics.metrics import STATISTICS
from embedkit.evaluation.statistics.statistic import Evaluate, Resamples


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
    return mean_value([stratum.value for stratum in strata_of(parts)])


@dataclass(frozen=True, eq=False)
class Stratum:
    """A split and subset, within which items are resampled.

    Attributes:
        size: Number of items.
        evaluate: Their statistic, as a function of an index matrix.
        value: The statistic of all items once.
        frame: The same where two models are scored on the same items, so that they can share resamples: a resample
            defines the statistic of both or of neither.
    """

    size: int
    evaluate: Evaluate
    value: float
    frame: tuple[str, int, bytes]


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
    value = float(evaluate(Resamples(np.arange(size)[None]))[0])
    if math.isnan(value):
        message = f"{named(part)}: {part.statistic} needs items with different targets; all {size} have the same"
        raise InputError(message)
    target = part.columns["target"].tobytes() if "target" in statistic.columns else b""
    return Stratum(size, evaluate, value, (part.statistic, size, target))


def mean_value(values: Sequence[float]) -> float:
    """What the strata make up together."""
    return math.fsum(values) / len(values)


def place(part: Items) -> tuple[str, str]:
    """What tells a part from the others of its task."""
    return part.split, part.subset


def named(part: Items) -> str:
    """Where a part is, for messages."""
    return "/".join(place(part))
