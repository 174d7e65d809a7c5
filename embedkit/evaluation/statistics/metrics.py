"""What a score can be: means, correlations, and the quality of rankings and classes.

Scores become codes 0, 1, … in their order once, so that a resample is counted and never sorted.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from embedkit.errors import InputError
from embedkit.evaluation.statistics.statistic import Columns, Evaluate, Integers, Statistic, Values

_VANISHING = 1e-20  # mean square, where 1 is that of all items, below which a resampled column is constant


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
