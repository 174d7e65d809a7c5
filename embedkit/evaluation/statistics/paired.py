"""Two models on the same items: how far they are apart, and whether chance explains it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from embedkit.evaluation.items import Items
from embedkit.evaluation.statistics.arguments import check_settings
from embedkit.evaluation.statistics.bootstrap import ends
from embedkit.evaluation.statistics.matching import matched
from embedkit.evaluation.statistics.metrics import STATISTICS
from embedkit.evaluation.statistics.statistic import ROUNDING, Integers, Values, in_blocks
from embedkit.evaluation.statistics.strata import mean_value, minus, size_of, strata_of


@dataclass(frozen=True)
class Difference:
    """Two models on the same items.

    Attributes:
        a: Score of the first.
        b: Score of the second.
        difference: a − b.
        low: Lower end of the interval of the difference.
        high: Upper end.
        p_value: How likely so large a difference, of either sign, is between models that are interchangeable.
        n: Number of items.
    """

    a: float
    b: float
    difference: float
    low: float
    high: float
    p_value: float
    n: int


def paired_difference(
    a: Sequence[Items], b: Sequence[Items], *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Difference:
    """How far two models are apart on the same items, and whether chance explains it.

    The interval is that of `bootstrap_interval`, with the same items resampled for both. The p-value is that of a
    permutation test: item by item, a coin decides whether the two models' answers change places. Raw similarities of
    two models live on different scales and could not change places, so "spearman", "auc" and "average_precision"
    swap ranks within the model and "pearson" swaps standardised scores, which leaves both models' values as they are.
    Interval and test are two procedures: near the edge one may exclude 0 and the other not; the test decides. Where
    differences are coarse, as of accuracies, ties count as extreme and the test errs less often than it says.

    Args:
        a: Items of the first model, one entry a split and subset.
        b: Items of the second, matched by id; any order.
        level: Of the interval, between 0 and 1.
        resamples: How many resamples and how many permutations, at least 100.
        seed: Of the random generator.

    Returns:
        Scores, difference, interval and p = (1 + as extreme) / (1 + resamples), two-sided.

    Raises:
        InputError: As in `score`, or the two differ in splits, subsets, statistics, ids or targets.

    Reference:
        R. Dror et al., "The Hitchhiker's Guide to Testing Statistical Significance in Natural Language Processing",
        ACL 2018. B. Phipson and G. Smyth, "Permutation P-values Should Never Be Zero", 2010, for the added ones.
    """
    check_settings(level, resamples)
    pairs = matched(a, b)
    of_a, of_b = strata_of([first for first, _ in pairs]), strata_of([second for _, second in pairs])
    strata = [minus(first, second) for first, second in zip(of_a, of_b, strict=True)]
    difference = mean_value(strata)
    generator = np.random.default_rng(seed)
    widest = 1.0 - min(STATISTICS[first.statistic].lowest for first, _ in pairs)
    low, high = ends(strata, (-widest, widest), level, resamples, generator)
    swapped = np.mean([_swapped_differences(*pair, resamples, generator) for pair in pairs], axis=0)
    extreme = int(np.count_nonzero(np.abs(swapped) >= abs(difference) - ROUNDING))
    p_value = (1 + extreme) / (1 + resamples)
    return Difference(mean_value(of_a), mean_value(of_b), difference, low, high, p_value, size_of(strata))


def _swapped_differences(a: Items, b: Items, count: int, generator: np.random.Generator) -> Values:
    """Differences of the two models' values after random swaps of their columns, item by item."""
    statistic, size = STATISTICS[a.statistic], len(a)
    both = {name: np.concatenate([_on_common_scale(part, name) for part in (a, b)]) for name in statistic.columns}
    evaluate = statistic.of(both)

    def swapped(index: Integers) -> Values:
        return evaluate(index) - evaluate((index + size) % (2 * size))

    def flips(start: int, stop: int) -> Integers:
        coins = generator.integers(2, size=(stop - start, size), dtype=np.int8)
        return np.arange(size) + size * coins.astype(np.int64)

    return in_blocks(swapped, count, size, flips)


def _on_common_scale(part: Items, name: str) -> Values:
    scale = STATISTICS[part.statistic].common_scale
    return part.columns[name] if scale is None or name == "target" else scale(part.columns[name])
