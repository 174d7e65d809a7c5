"""What a score is worth: its interval, the difference of two models, many tasks, several seeds.

All of it is computed from `Items`: each metric is a function of resampled items, and the rest follows.
"""

from embedkit.evaluation.statistics.arguments import check_settings
from embedkit.evaluation.statistics.bootstrap import bootstrap_interval, bootstrap_intervals
from embedkit.evaluation.statistics.interval import Interval
from embedkit.evaluation.statistics.metrics import STATISTICS
from embedkit.evaluation.statistics.multiplicity import holm
from embedkit.evaluation.statistics.paired import Difference, paired_difference, paired_differences
from embedkit.evaluation.statistics.seeds import over_seeds
from embedkit.evaluation.statistics.signed_rank import wilcoxon
from embedkit.evaluation.statistics.statistic import Statistic
from embedkit.evaluation.statistics.strata import score

__all__ = [
    "STATISTICS",
    "Difference",
    "Interval",
    "Statistic",
    "bootstrap_interval",
    "bootstrap_intervals",
    "check_settings",
    "holm",
    "over_seeds",
    "paired_difference",
    "paired_differences",
    "score",
    "wilcoxon",
]
