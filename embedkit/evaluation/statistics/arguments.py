"""What intervals and tests are given, checked."""

from collections.abc import Sequence

import numpy as np

from embedkit.errors import InputError
from embedkit.evaluation.statistics.statistic import Values

FEWEST_RESAMPLES = 100


def check_settings(level: float, resamples: int) -> None:
    """Check what all resampling takes.

    Raises:
        InputError: The level is not between 0 and 1, or there are fewer than 100 resamples.
    """
    if not 0 < level < 1:
        message = f"level must lie between 0 and 1, such as 0.95; received {level!r}"
        raise InputError(message)
    if resamples < FEWEST_RESAMPLES:
        message = f"resamples must be at least {FEWEST_RESAMPLES}; received {resamples!r}"
        raise InputError(message)


def finite(what: str, values: Sequence[float], *, least: int) -> Values:
    """One-dimensional numbers, none of them NaN or infinite.

    Raises:
        InputError: They are not, or fewer than `least`.
    """
    given = np.asarray(values, dtype=np.float64)
    if given.ndim != 1 or len(given) < least or not np.isfinite(given).all():
        message = f"{what} must be {least} or more finite numbers; received {given.tolist()!r:.100}"
        raise InputError(message)
    return given
