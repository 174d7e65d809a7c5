"""A number and where it may lie."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """A score and where it may lie.

    Attributes:
        value: The score, or the mean over seeds.
        low: Lower end.
        high: Upper end; low ≤ value ≤ high.
        level: How often such intervals hold the true value, such as 0.95.
        n: Number of items, or of seeds.
        resamples: How many were drawn; 0 where the interval is a formula.
    """

    value: float
    low: float
    high: float
    level: float
    n: int
    resamples: int
