"""One model trained or run with several seeds."""

import math
from collections.abc import Sequence

from embedkit.evaluation.statistics.arguments import FEWEST_RESAMPLES, check_settings, finite
from embedkit.evaluation.statistics.interval import Interval


def over_seeds(values: Sequence[float], *, level: float = 0.95) -> Interval:
    """The mean of runs that differ in their seed, with Student's interval.

    It says how the score varies with the seed on these very items; `bootstrap_interval` says how it varies with the
    items.

    Args:
        values: One score a seed, at least two.
        level: Between 0 and 1.

    Returns:
        Mean and interval; n counts the seeds.

    Raises:
        InputError: Fewer than two values, or one is not finite.

    Example:
        >>> found = over_seeds([0.80, 0.82, 0.84])
        >>> round(found.value, 2), round(found.low, 2), round(found.high, 2)
        (0.82, 0.77, 0.87)
    """
    check_settings(level, FEWEST_RESAMPLES)
    given = finite("scores of seeds", values, least=2)
    from scipy.special import stdtrit

    mean, error = given.mean(), given.std(ddof=1) / math.sqrt(len(given))
    half = float(stdtrit(len(given) - 1, (1 + level) / 2) * error)
    return Interval(float(mean), float(mean) - half, float(mean) + half, level, len(given), 0)
