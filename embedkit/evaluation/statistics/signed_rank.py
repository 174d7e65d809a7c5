"""Two models over many tasks."""

from collections.abc import Sequence

import numpy as np

from embedkit.evaluation.statistics.arguments import finite
from embedkit.evaluation.statistics.statistic import ROUNDING


def wilcoxon(differences: Sequence[float]) -> float:
    """Wilcoxon's signed-rank test of two models over tasks, two-sided.

    Tasks without a difference are left out, as Wilcoxon did; where none is left, p is 1. The least p that k tasks can
    reach is 2 / 2ᵏ, so fewer than six tasks cannot reach 0.05 whatever they say; p is given as it is.

    Args:
        differences: Score of the first model less that of the second, one a task.

    Returns:
        The p-value.

    Raises:
        InputError: There is no difference, or one is not finite.

    Example:
        >>> wilcoxon([0.01, 0.02, 0.03, 0.04, 0.05, 0.06])
        0.03125

    Reference:
        F. Wilcoxon, "Individual Comparisons by Ranking Methods", Biometrics Bulletin 1945.
    """
    given = finite("differences", differences, least=1)
    apart = given[np.abs(given) > ROUNDING]
    if not len(apart):
        return 1.0
    from scipy import stats

    # Rounded, so that differences that are equal but for their last bit tie.
    return float(stats.wilcoxon(apart.round(12)).pvalue)
