"""Two models on the same items: how far they are apart, and whether chance explains it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from embedkit.errors import InputError
from embedkit.evaluation.items import Items
from embedkit.evaluation.statistics.arguments import check_settings
from embedkit.evaluation.statistics.bootstrap import ends
from embedkit.evaluation.statistics.matching import matched
from embedkit.evaluation.statistics.metrics import STATISTICS
from embedkit.evaluation.statistics.replicates import Replicates, replicates
from embedkit.evaluation.statistics.statistic import ROUNDING, Evaluate, Integers, Resamples, Values, in_blocks
from embedkit.evaluation.statistics.strata import Stratum, strata_of

_Matched: TypeAlias = list[tuple[Items, Items]]
_Content: TypeAlias = tuple[tuple[str, bytes], ...]


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
    (found,) = paired_differences([(a, b)], level=level, resamples=resamples, seed=seed)
    if isinstance(found, InputError):
        raise found
    return found


def paired_differences(
    pairs: Sequence[tuple[Sequence[Items], Sequence[Items]]],
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> list[Difference | InputError]:
    """The difference of each of many pairs of models, in less time than one by one.

    Args:
        pairs: Items of the first and the second model of each. Pairs on the same items share what is drawn, and what
            is computed of a model that several of them hold.
        level: As in `paired_difference`.
        resamples: Likewise.
        seed: Likewise.

    Returns:
        One entry a pair: what `paired_difference` returns or, of items that it refuses, the error that it raises.

    Raises:
        InputError: Level or resamples are out of range.
    """
    check_settings(level, resamples)
    found: dict[int, Difference | InputError] = {}
    alike: dict[tuple[object, ...], dict[int, _Pair]] = {}
    for i, (a, b) in enumerate(pairs):
        try:
            pair = _pair(matched(a, b))
        except InputError as error:
            found[i] = error
        else:
            alike.setdefault(tuple(stratum.frame for stratum in pair.of_a), {})[i] = pair
    for members in alike.values():
        different = {pair.contents: pair for pair in members.values()}
        told = _differences(different, level, resamples, np.random.default_rng(seed))
        found |= {i: told[pair.contents] for i, pair in members.items()}
    return [found[i] for i in range(len(pairs))]


@dataclass(frozen=True, eq=False)
class _Pair:
    """Two models on the same items, part by part.

    Attributes:
        parts: Items of both.
        contents: What tells the first, and the second, from models of other answers.
        of_a: Strata of the first.
        of_b: Strata of the second.
    """

    parts: _Matched
    contents: tuple[_Content, _Content]
    of_a: list[Stratum]
    of_b: list[Stratum]


def _pair(parts: _Matched) -> _Pair:
    a, b = ([pair[which] for pair in parts] for which in (0, 1))
    return _Pair(parts, (_content(a), _content(b)), strata_of(a), strata_of(b))


def _content(parts: Sequence[Items]) -> _Content:
    return tuple((name, values.tobytes()) for part in parts for name, values in sorted(part.columns.items()))


def _differences(
    pairs: Mapping[tuple[_Content, _Content], _Pair], level: float, resamples: int, generator: np.random.Generator
) -> dict[tuple[_Content, _Content], Difference]:
    """The difference of each pair, all of them on the same items."""
    models = {
        content: strata
        for pair in pairs.values()
        for content, strata in zip(pair.contents, (pair.of_a, pair.of_b), strict=True)
    }
    of_model = dict(zip(models, replicates(list(models.values()), resamples, generator), strict=True))
    by_part = zip(*(pair.parts for pair in pairs.values()), strict=True)
    swapped = np.mean([_swapped_differences(parts, resamples, generator) for parts in by_part], axis=0).T
    return {
        key: _difference(pair, [of_model[content] for content in key], values, level)
        for (key, pair), values in zip(pairs.items(), swapped, strict=True)
    }


def _difference(pair: _Pair, both: Sequence[Replicates], swapped: Values, level: float) -> Difference:
    a, b = both
    difference = a.minus(b)
    value = difference.value
    widest = 1.0 - min(STATISTICS[first.statistic].lowest for first, _ in pair.parts)
    low, high = ends(difference, (-widest, widest), level)
    extreme = int(np.count_nonzero(np.abs(swapped) >= abs(value) - ROUNDING))
    return Difference(a.value, b.value, value, low, high, (1 + extreme) / (1 + len(swapped)), a.size)


def _swapped_differences(pairs: Sequence[tuple[Items, Items]], count: int, generator: np.random.Generator) -> Values:
    """Differences of each pair's values after random swaps of its columns, item by item, (count, pairs)."""
    size = len(pairs[0][0])

    def flips(start: int, stop: int) -> Integers:
        coins = generator.integers(2, size=(stop - start, size), dtype=np.int8)
        return np.arange(size) + size * coins.astype(np.int64)

    return in_blocks([_swapped(*pair) for pair in pairs], count, size, flips)


def _swapped(a: Items, b: Items) -> Evaluate:
    """The difference as a function of which of both models' answers the first is given."""
    statistic, size = STATISTICS[a.statistic], len(a)
    both = {name: np.concatenate([_on_common_scale(part, name) for part in (a, b)]) for name in statistic.columns}
    evaluate = statistic.of(both)

    def difference(given: Resamples) -> Values:
        others = given.once("others", lambda index: Resamples(2 * np.arange(size) + size - index))
        return evaluate(given) - evaluate(others)

    return difference


def _on_common_scale(part: Items, name: str) -> Values:
    scale = STATISTICS[part.statistic].common_scale
    return part.columns[name] if scale is None or name == "target" else scale(part.columns[name])
