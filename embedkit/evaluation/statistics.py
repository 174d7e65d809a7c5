"""What a score is worth: its interval, the difference of two models, many tasks, several seeds.

All of it is computed from `Items`: each metric is a function of resampled items, and the rest follows.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from embedkit.errors import InputError
from embedkit.evaluation.items import Items

Columns: TypeAlias = Mapping[str, NDArray[np.float64]]
Integers: TypeAlias = NDArray[np.integer[Any]]
Values: TypeAlias = NDArray[np.float64]
Evaluate: TypeAlias = Callable[[Integers], Values]

_BLOCK = 2**17  # resampled items in memory at once: about what the processor caches hold
_GROUPS = 200  # how finely the jackknife cuts a part
_ROUNDING = 1e-12  # differences of scores below this are those of summation order
_VANISHING = 1e-20  # mean square, where 1 is that of all items, below which a resampled column is constant
_FEWEST_RESAMPLES = 100


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


@dataclass(frozen=True)
class Statistic:
    """A score as a function of resampled items.

    Attributes:
        prepare: Columns → a function of an index matrix (resamples, n) that gives (resamples,).
        columns: Names of the columns it reads. "score" and "target" are (n,).
        repeats: Whether the first column may be (n, repeats) too.
        lowest: Its least possible value; the greatest is 1.
        common_scale: Brings the raw scores of two models, whose scales differ, onto one before they are swapped,
            without changing the value; None where a score means the same for every model.
    """

    prepare: Callable[[Columns], Evaluate]
    columns: tuple[str, ...]
    repeats: bool = False
    lowest: float = 0.0
    common_scale: Callable[[Values], Values] | None = None

    def __call__(self, columns: Columns, index: Integers) -> Values:
        """The statistic of each resample.

        Args:
            columns: Name → values, first axis the items.
            index: Which items each resample holds, (resamples, n).

        Returns:
            (resamples,), NaN where the resample does not define it: a constant target for "spearman", "pearson" and
            "auc", no positive for "average_precision".

        Raises:
            InputError: A column is missing, not finite, or of another shape.

        Example:
            >>> STATISTICS["mean"]({"score": np.array([0.0, 1.0])}, np.array([[0, 0], [0, 1]]))
            array([0. , 0.5])
        """
        count, size = index.shape
        return _in_blocks(self.of(columns), count, size, lambda start, stop: index[start:stop])

    def of(self, columns: Columns) -> Evaluate:
        """The function of the index matrix alone, for many calls on the same columns."""
        for name in self.columns:
            self._check(name, columns)
        return self.prepare(columns)

    def _check(self, name: str, columns: Columns) -> None:
        if name not in columns:
            message = f"there must be columns {', '.join(self.columns)}; received {', '.join(columns) or 'none'}"
            raise InputError(message)
        values, first = columns[name], columns[self.columns[0]]
        most = 2 if self.repeats and name == self.columns[0] else 1
        if not 1 <= values.ndim <= most or not values.size or len(values) != len(first):
            shape = "(items,) or (items, repeats)" if most == 2 else "(items,)"
            message = f"column {name!r} must be {shape}, with at least one item and as many as the others; "
            raise InputError(message + f"it is {values.shape}")
        if not np.isfinite(values).all():
            message = f"column {name!r} must be finite; {np.count_nonzero(~np.isfinite(values))} of its values are not"
            raise InputError(message)


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
    return _mean_value(_strata(parts))


def bootstrap_interval(
    parts: Sequence[Items], *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Interval:
    """Where the score of an endless supply of such items may lie: the expanded BCa bootstrap.

    Items are resampled within each part. Bias correction and acceleration (BCa) move the two percentiles for the
    bias and skewness of the score; t quantiles times sqrt(n / (n − parts)) in place of normal ones widen them where
    there are few items. `benchmarks/evaluation/statistics.py` measures how often 95 % intervals hold the truth: 94 to
    96 % for accuracy 0.8, query scores with many zeros and ones, Spearman, average precision and macro F1 of forty
    classes, where plain percentiles fall to 81 %; 98 % for accuracy 0.97 of 200, more than asked. Not to be trusted:
    heavily skewed scores of some ten items, and macro F1 over classes of fewer than ten items each, where intervals
    are too narrow.

    Resamples that do not define the statistic (one class only) are drawn anew. Where all resamples give one value
    (one item, or all items alike) they say nothing of what was not drawn. Then the interval allows for the share of
    unlike items that n draws miss with probability (1 − level) / 2, each as good or bad as the statistic can be: 20
    right answers of 20 give 0.83 to 1.

    Args:
        parts: One entry a split and subset.
        level: How often such intervals shall hold the true value, between 0 and 1.
        resamples: How many to draw, at least 100.
        seed: Of the random generator; equal seeds give equal intervals.

    Returns:
        Score and interval; n counts the items of all parts.

    Raises:
        InputError: As in `score`, or level or resamples out of range.

    Example:
        >>> right = np.repeat([1.0, 0.0], [80, 20])
        >>> part = Items("test", "default", "mean", "text", tuple(map(str, range(100))), {"score": right})
        >>> found = bootstrap_interval([part])
        >>> found.value, round(found.low, 2), round(found.high, 2)
        (0.8, 0.71, 0.87)

    Reference:
        B. Efron, "Better Bootstrap Confidence Intervals", JASA 1987. T. Hesterberg, "What Teachers Should Know About
        the Bootstrap", The American Statistician 2015, for the expanded percentiles.

    Deviations:
        The jackknife for the acceleration leaves out groups of items where a part has more than 200. The value is
        always inside the interval.
    """
    check_settings(level, resamples)
    strata = _strata(parts)
    lowest = min(STATISTICS[part.statistic].lowest for part in parts)
    low, high = _ends(strata, (lowest, 1.0), level, resamples, np.random.default_rng(seed))
    return Interval(_mean_value(strata), low, high, level, _size(strata), resamples)


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
    pairs = _matched(a, b)
    of_a, of_b = _strata([first for first, _ in pairs]), _strata([second for _, second in pairs])
    strata = [_minus(first, second) for first, second in zip(of_a, of_b, strict=True)]
    difference = _mean_value(strata)
    generator = np.random.default_rng(seed)
    widest = 1.0 - min(STATISTICS[first.statistic].lowest for first, _ in pairs)
    low, high = _ends(strata, (-widest, widest), level, resamples, generator)
    swapped = np.mean([_swapped_differences(*pair, resamples, generator) for pair in pairs], axis=0)
    extreme = int(np.count_nonzero(np.abs(swapped) >= abs(difference) - _ROUNDING))
    p_value = (1 + extreme) / (1 + resamples)
    return Difference(_mean_value(of_a), _mean_value(of_b), difference, low, high, p_value, _size(strata))


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
    given = _finite("differences", differences, least=1)
    apart = given[np.abs(given) > _ROUNDING]
    if not len(apart):
        return 1.0
    from scipy import stats

    # Rounded, so that differences that are equal but for their last bit tie.
    return float(stats.wilcoxon(apart.round(12)).pvalue)


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """P-values adjusted for how many there are, by Holm's step-down procedure.

    Rejecting where the adjusted value is below α keeps the probability of any false rejection below α.

    Args:
        p_values: One a test, each between 0 and 1.

    Returns:
        Adjusted values in the same order: the i-th smallest of k times k − i + 1, never below a smaller one's, at
        most 1.

    Raises:
        InputError: A value is not between 0 and 1.

    Example:
        >>> holm([0.02, 0.01])
        (0.02, 0.02)

    Reference:
        S. Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of Statistics 1979.
    """
    given = np.asarray(p_values, dtype=np.float64)
    if not np.all((given >= 0) & (given <= 1)):
        message = f"p-values must lie between 0 and 1; received {list(p_values)}"
        raise InputError(message)
    order = np.argsort(given, kind="stable")
    steps = np.arange(len(given), 0, -1)
    adjusted = np.empty_like(given)
    adjusted[order] = np.minimum(np.maximum.accumulate(given[order] * steps), 1.0)
    return tuple(adjusted.tolist())


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
    check_settings(level, _FEWEST_RESAMPLES)
    given = _finite("scores of seeds", values, least=2)
    from scipy.special import stdtrit

    mean, error = given.mean(), given.std(ddof=1) / math.sqrt(len(given))
    half = float(stdtrit(len(given) - 1, (1 + level) / 2) * error)
    return Interval(float(mean), float(mean) - half, float(mean) + half, level, len(given), 0)


def check_settings(level: float, resamples: int) -> None:
    """Check what all resampling takes.

    Raises:
        InputError: The level is not between 0 and 1, or there are fewer than 100 resamples.
    """
    if not 0 < level < 1:
        message = f"level must lie between 0 and 1, such as 0.95; received {level!r}"
        raise InputError(message)
    if resamples < _FEWEST_RESAMPLES:
        message = f"resamples must be at least {_FEWEST_RESAMPLES}; received {resamples!r}"
        raise InputError(message)


# The statistics. Scores become codes 0, 1, … in their order once, so that a resample is counted and never sorted.


def _mean(columns: Columns) -> Evaluate:
    of_items = columns["score"].reshape(len(columns["score"]), -1).mean(axis=1)
    return lambda index: of_items[index].mean(axis=1)


def _accuracy(columns: Columns) -> Evaluate:
    prediction = columns["prediction"].reshape(len(columns["target"]), -1)
    return _mean({"score": (prediction == columns["target"][:, None]).astype(np.float64)})


def _spearman(columns: Columns) -> Evaluate:
    scores, targets = _centred_ranks(columns["score"]), _centred_ranks(columns["target"])
    return lambda index: _correlation(scores(index), targets(index))


def _pearson(columns: Columns) -> Evaluate:
    scores, targets = _standardised(columns["score"]), _standardised(columns["target"])

    def evaluate(index: Integers) -> Values:
        x, y = scores[index], targets[index]
        return _correlation(x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True))

    return evaluate


def _average_precision(columns: Columns) -> Evaluate:
    classes = _classes_by_score(columns)

    def evaluate(index: Integers) -> Values:
        negatives, positives = classes(index)
        found = positives.cumsum(axis=1)
        precision = found / np.maximum(found + negatives.cumsum(axis=1), 1)
        return _ratio((precision * positives).sum(axis=1), found[:, -1])

    return evaluate


def _auc(columns: Columns) -> Evaluate:
    classes = _classes_by_score(columns)

    def evaluate(index: Integers) -> Values:
        negatives, positives = classes(index)
        above = negatives.cumsum(axis=1)
        below = above[:, -1:] - above + negatives / 2
        return _ratio((positives * below).sum(axis=1), positives.sum(axis=1) * above[:, -1])

    return evaluate


def _macro_f1(columns: Columns) -> Evaluate:
    target, prediction = columns["target"], columns["prediction"].reshape(len(columns["target"]), -1)
    labels, codes = np.unique(np.column_stack([target, prediction]), return_inverse=True)
    targets, *predictions = codes.reshape(len(target), -1).T
    kinds = len(labels)

    def evaluate(index: Integers) -> Values:
        true = _counts(targets[index], kinds)
        experiments = []
        for predicted in predictions:
            hits = np.where(predicted == targets, targets, kinds)
            both = true + _counts(predicted[index], kinds)
            f1 = 2 * _counts(hits[index], kinds + 1)[:, :kinds] / np.maximum(both, 1)
            experiments.append(f1.sum(axis=1) / (both > 0).sum(axis=1))  # over the labels of the resample
        values: Values = np.mean(experiments, axis=0)
        return values

    return evaluate


def _ranks(values: Values) -> Values:
    from scipy.stats import rankdata

    ranks: Values = rankdata(values)
    return ranks


def _standardised(values: Values) -> Values:
    centred = values - values.mean()
    widest = np.abs(centred).max()
    scaled: Values = centred / widest if widest > 0 else centred
    deviation = scaled.std()
    return scaled / deviation if deviation > 0 else scaled


STATISTICS: Mapping[str, Statistic] = MappingProxyType(
    {
        "mean": Statistic(_mean, ("score",), repeats=True),
        "spearman": Statistic(_spearman, ("score", "target"), lowest=-1.0, common_scale=_ranks),
        "pearson": Statistic(_pearson, ("score", "target"), lowest=-1.0, common_scale=_standardised),
        "average_precision": Statistic(_average_precision, ("score", "target"), common_scale=_ranks),
        "auc": Statistic(_auc, ("score", "target"), common_scale=_ranks),
        "accuracy": Statistic(_accuracy, ("prediction", "target"), repeats=True),
        "f1": Statistic(_macro_f1, ("prediction", "target"), repeats=True),
    }
)
"""What a score can be: the mean of "score" over items and repeats; rank or linear correlation, or ranking quality, of
"score" against "target"; the share of "prediction" that equals "target", or macro F1, averaged over experiments."""


def _counts(codes: Integers, kinds: int) -> Integers:
    """How often each of the codes 0 … kinds − 1 occurs in each row."""
    rows = len(codes)
    placed = codes + kinds * np.arange(rows)[:, None]
    return np.bincount(placed.ravel(), minlength=rows * kinds).reshape(rows, kinds)


def _centred_ranks(column: Values) -> Evaluate:
    """Average ranks within each resample, less their mean."""
    values, codes = np.unique(column, return_inverse=True)

    def evaluate(index: Integers) -> Values:
        drawn = codes[index]
        counts = _counts(drawn, len(values))
        middles = counts.cumsum(axis=1) - (counts - 1) / 2 - (index.shape[1] + 1) / 2
        ranks: Values = np.take_along_axis(middles, drawn, axis=1)
        return ranks

    return evaluate


def _correlation(x: Values, y: Values) -> Values:
    """Of centred rows; 0 where x is constant, NaN where y is."""
    products, of_x, of_y = (np.einsum("ij,ij->i", left, right) for left, right in ((x, y), (x, x), (y, y)))
    constant_x, constant_y = (squares <= _VANISHING * x.shape[1] for squares in (of_x, of_y))
    norms = np.sqrt(of_x) * np.sqrt(of_y)
    values: Values = np.divide(products, norms, out=np.zeros_like(norms), where=~(constant_x | constant_y))
    values[constant_y] = np.nan
    return values


def _classes_by_score(columns: Columns) -> Callable[[Integers], tuple[Integers, Integers]]:
    """Negatives and positives of each resample at each score, highest first."""
    target = columns["target"]
    if not np.isin(target, (0, 1)).all():
        message = f"column 'target' must hold 0 and 1; it holds {np.unique(target)[:5].tolist()}"
        raise InputError(message)
    values, codes = np.unique(-columns["score"], return_inverse=True)
    classes = 2 * codes + target.astype(np.int64)

    def evaluate(index: Integers) -> tuple[Integers, Integers]:
        counts = _counts(classes[index], 2 * len(values))
        return counts[:, 0::2], counts[:, 1::2]

    return evaluate


def _ratio(above: Values, below: Integers) -> Values:
    values: Values = np.divide(above, below, out=np.full(len(below), np.nan), where=below > 0)
    return values


# Resampling.


@dataclass(frozen=True, eq=False)
class _Stratum:
    """A split and subset, within which items are resampled."""

    size: int
    evaluate: Evaluate
    value: float


def _strata(parts: Sequence[Items]) -> list[_Stratum]:
    if not parts:
        message = (
            "there must be items to resample; there are none, so evaluate the task again with embedkit to keep them"
        )
        raise InputError(message)
    return [_stratum(part) for part in parts]


def _stratum(part: Items) -> _Stratum:
    statistic = STATISTICS.get(part.statistic)
    if statistic is None:
        message = f"{_named(part)}: the statistic must be one of {', '.join(STATISTICS)}; it is {part.statistic!r}"
        raise InputError(message)
    try:
        evaluate = statistic.of(part.columns)
    except InputError as error:
        message = f"{_named(part)}: {error}"
        raise InputError(message) from None
    size = len(part.columns[statistic.columns[0]])
    value = float(evaluate(np.arange(size)[None])[0])
    if math.isnan(value):
        message = f"{_named(part)}: {part.statistic} needs items with different targets; all {size} have the same"
        raise InputError(message)
    return _Stratum(size, evaluate, value)


def _minus(a: _Stratum, b: _Stratum) -> _Stratum:
    return _Stratum(a.size, lambda index: a.evaluate(index) - b.evaluate(index), a.value - b.value)


def _mean_value(strata: Sequence[_Stratum]) -> float:
    return math.fsum(stratum.value for stratum in strata) / len(strata)


def _size(strata: Sequence[_Stratum]) -> int:
    return sum(stratum.size for stratum in strata)


def _ends(
    strata: Sequence[_Stratum],
    bounds: tuple[float, float],
    level: float,
    resamples: int,
    generator: np.random.Generator,
) -> tuple[float, float]:
    """Both ends of the interval of the mean value; `bounds` hold every value it can take."""
    value, size = _mean_value(strata), _size(strata)
    drawn: Values = np.mean([_resampled(stratum, resamples, generator) for stratum in strata], axis=0)
    if np.ptp(drawn) <= _ROUNDING:
        missed = 1 - ((1 - level) / 2) ** (1 / size)
        lowest, highest = min(bounds[0], value), max(bounds[1], value)
        return value - missed * (value - lowest), value + missed * (highest - value)
    low, high = np.quantile(drawn, _tails(drawn, value, strata, level))
    return min(float(low), value), max(float(high), value)


def _tails(drawn: Values, value: float, strata: Sequence[_Stratum], level: float) -> Values:
    """Which quantiles of the resampled values are the ends: Efron's BCa, with Hesterberg's t in place of z."""
    from scipy.special import ndtr, ndtri, stdtrit

    below = np.mean(drawn < value - _ROUNDING) + np.mean(np.abs(drawn - value) <= _ROUNDING) / 2
    bias = ndtri(np.clip(below, 1 / len(drawn), 1 - 1 / len(drawn)))
    influence = np.concatenate([_influence(stratum) for stratum in strata])
    squares = (influence**2).sum()
    acceleration = (influence**3).sum() / (6 * squares**1.5) if squares > 0 else 0.0
    size, freedom = _size(strata), _size(strata) - len(strata)
    shifted = bias + stdtrit(freedom, np.array([1 - level, 1 + level]) / 2) * math.sqrt(size / freedom)
    stretch = 1 - acceleration * shifted  # not positive only with very few items: the end is then the last resample
    ends = np.where(stretch > 0, shifted / np.where(stretch > 0, stretch, 1), np.copysign(np.inf, shifted))
    tails: Values = ndtr(bias + ends)
    return tails


def _resampled(stratum: _Stratum, count: int, generator: np.random.Generator) -> Values:
    """Values of `count` resamples on which the statistic is defined."""

    def draw(many: int) -> Values:
        return _in_blocks(
            stratum.evaluate,
            many,
            stratum.size,
            lambda start, stop: generator.integers(stratum.size, size=(stop - start, stratum.size)),
        )

    values = draw(count)
    # It ends: where all items define the statistic, a resample does so with probability 1/2 or more.
    while len(undefined := np.flatnonzero(np.isnan(values))):
        values[undefined] = draw(len(undefined))
    return values


def _influence(stratum: _Stratum) -> Values:
    """How much the value owes to each group of items, by leaving it out; 0 where it is not defined without."""
    if stratum.size == 1:
        return np.zeros(1)
    each = -(-stratum.size // _GROUPS)
    groups = stratum.size // each
    group_of = np.arange(stratum.size) % groups
    group_of[groups * each :] = groups  # what is over stays in, so that all groups are of one size

    def others(start: int, stop: int) -> Integers:
        kept = group_of != np.arange(start, stop)[:, None]
        return np.nonzero(kept)[1].reshape(stop - start, -1)

    left_out = _in_blocks(stratum.evaluate, groups, stratum.size, others)
    return np.nan_to_num(stratum.value - left_out)


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

    return _in_blocks(swapped, count, size, flips)


def _on_common_scale(part: Items, name: str) -> Values:
    scale = STATISTICS[part.statistic].common_scale
    return part.columns[name] if scale is None or name == "target" else scale(part.columns[name])


def _in_blocks(evaluate: Evaluate, count: int, size: int, rows: Callable[[int, int], Integers]) -> Values:
    """`evaluate` on `count` rows of an index matrix that is never held whole."""
    step = max(1, _BLOCK // max(size, 1))
    blocks = [evaluate(rows(start, min(start + step, count))) for start in range(0, count, step)]
    return np.concatenate([np.empty(0), *blocks])


# Matching two models.


def _matched(a: Sequence[Items], b: Sequence[Items]) -> list[tuple[Items, Items]]:
    """Parts of both, in one order, the items of the second in the order of the first."""
    parts_a, parts_b = (sorted(parts, key=_place) for parts in (a, b))
    places_a, places_b = ([_place(part) for part in parts] for parts in (parts_a, parts_b))
    if not a or not b or places_a != places_b:
        first, second = (", ".join(map("/".join, places)) or "none" for places in (places_a, places_b))
        message = (
            f"both models must have items of the same splits and subsets; the first has {first}, the second {second}: "
            "evaluate both on the same, with embedkit, which keeps the items"
        )
        raise InputError(message)
    return [(first, _aligned(first, second)) for first, second in zip(parts_a, parts_b, strict=True)]


def _aligned(a: Items, b: Items) -> Items:
    if a.statistic != b.statistic:
        message = (
            f"{_named(a)}: both models must be scored by one statistic; they are by {a.statistic} and {b.statistic}"
        )
        raise InputError(message)
    for part, which in ((a, "first"), (b, "second")):
        if len(set(part.ids)) != len(part.ids) or any(len(values) != len(part) for values in part.columns.values()):
            message = f"{_named(a)}: each item must have its own id; the {which} model has {len(part):,} ids, of which "
            message += f"{len(set(part.ids)):,} differ: evaluate it again"
            raise InputError(message)
    if differing := sorted(set(a.ids) ^ set(b.ids)):
        message = (
            f"{_named(a)}: both models must be scored on the same items; {len(differing):,} of their ids, such as "
            f"{differing[0]!r}, are in one only: evaluate both on the same data"
        )
        raise InputError(message)
    position = {id: i for i, id in enumerate(b.ids)}
    order = [position[id] for id in a.ids]
    aligned = replace(b, ids=a.ids, columns={name: values[order] for name, values in b.columns.items()})
    _check_columns(a, aligned)
    return aligned


def _check_columns(a: Items, b: Items) -> None:
    shapes_a, shapes_b = ({name: values.shape for name, values in part.columns.items()} for part in (a, b))
    if shapes_a != shapes_b:
        message = (
            f"{_named(a)}: both models must have the same columns, in the same shapes; they have {shapes_a} and "
            f"{shapes_b}: evaluate both with the same settings"
        )
        raise InputError(message)
    if "target" in a.columns and (unlike := np.nonzero(a.columns["target"] != b.columns["target"])[0]).size:
        message = (
            f"{_named(a)}: both models must be scored against the same targets; {unlike.size:,} differ, such as that "
            f"of {a.ids[unlike[0]]!r}: evaluate both on one revision of the data"
        )
        raise InputError(message)


def _place(part: Items) -> tuple[str, str]:
    return part.split, part.subset


def _named(part: Items) -> str:
    return "/".join(_place(part))


def _finite(what: str, values: Sequence[float], *, least: int) -> Values:
    given = np.asarray(values, dtype=np.float64)
    if given.ndim != 1 or len(given) < least or not np.isfinite(given).all():
        message = f"{what} must be {least} or more finite numbers; received {given.tolist()!r:.100}"
        raise InputError(message)
    return given
