"""What a score can be: means, correlations, and the quality of rankings and classes.

Scores become codes 0, 1, … in their order once, so that a resample is counted and never sorted.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from embedkit.errors import InputError
from embedkit.evaluation.statistics.statistic import Columns, Evaluate, Integers, Resamples, Statistic, Values

_VANISHING = 1e-20  # mean square, where 1 is that of all items, below which a resampled column is constant


def _mean(columns: Columns) -> Evaluate:
    of_items = columns["score"].reshape(len(columns["score"]), -1).mean(axis=1)
    return lambda resamples: of_items.take(resamples.index).mean(axis=1)


def _accuracy(columns: Columns) -> Evaluate:
    prediction = columns["prediction"].reshape(len(columns["target"]), -1)
    return _mean({"score": (prediction == columns["target"][:, None]).astype(np.float64)})


def _spearman(columns: Columns) -> Evaluate:
    return _correlation(_centred_ranks, columns)


def _pearson(columns: Columns) -> Evaluate:
    return _correlation(_centred_values, columns)


def _average_precision(columns: Columns) -> Evaluate:
    classes = _classes_by_score(columns)

    def evaluate(resamples: Resamples) -> Values:
        negatives, positives = classes(resamples.index)
        found = positives.cumsum(axis=1)
        precision = found / np.maximum(found + negatives.cumsum(axis=1), 1)
        precision *= positives
        return _ratio(precision.sum(axis=1), found[:, -1])

    return evaluate


def _auc(columns: Columns) -> Evaluate:
    classes = _classes_by_score(columns)

    def evaluate(resamples: Resamples) -> Values:
        negatives, positives = classes(resamples.index)
        above = negatives.cumsum(axis=1)
        below = 2 * (above[:, -1:] - above) + negatives  # a tie counts half
        return _ratio((positives * below).sum(axis=1) / 2, positives.sum(axis=1) * above[:, -1])

    return evaluate


def _macro_f1(columns: Columns) -> Evaluate:
    target, prediction = columns["target"], columns["prediction"].reshape(len(columns["target"]), -1)
    labels = np.unique(np.column_stack([target, prediction]))
    kinds = len(labels)
    classes, targets = np.unique(target, return_inverse=True)
    at = np.searchsorted(labels, classes)
    key = ("classes", target.tobytes())
    # Predicted labels, and a second time where they are right.
    answers = [np.searchsorted(labels, guess) + kinds * (guess == target) for guess in prediction.T]

    def evaluate(resamples: Resamples) -> Values:
        of_target = resamples.once(key, lambda index: _counts(targets.take(index), len(classes)))
        experiments = []
        for answer in answers:
            counts = _counts(answer.take(resamples.index), 2 * kinds)
            right = counts[:, kinds:]
            both = counts[:, :kinds] + right
            both[:, at] += of_target
            f1 = 2 * right / np.maximum(both, 1)
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
    """How often each of the codes 0 … kinds − 1 occurs in each row; `codes` are overwritten."""
    rows = len(codes)
    codes += kinds * np.arange(rows)[:, None]
    return np.bincount(codes.ravel(), minlength=rows * kinds).reshape(rows, kinds)


def _centred_ranks(column: Values) -> Callable[[Integers], Values]:
    """Twice the average ranks within each resample, less their mean: integers, so that sums of products are exact."""
    values, codes = np.unique(column, return_inverse=True)

    def evaluate(index: Integers) -> Values:
        drawn = codes.take(index)
        counts = _counts(drawn, len(values))
        middles = counts.cumsum(axis=1)
        middles *= 2
        middles -= counts
        middles -= index.shape[1]
        ranks: Values = middles.astype(np.float64).take(drawn)
        return ranks

    return evaluate


def _centred_values(column: Values) -> Callable[[Integers], Values]:
    standardised = _standardised(column)

    def evaluate(index: Integers) -> Values:
        values = standardised.take(index)
        values -= values.mean(axis=1, keepdims=True)
        return values

    return evaluate


def _correlation(centred: Callable[[Values], Callable[[Integers], Values]], columns: Columns) -> Evaluate:
    """Of score and target, each centred within a resample; 0 where the score is constant, NaN where the target is."""
    x_of, y_of = centred(columns["score"]), centred(columns["target"])
    key = (centred, columns["target"].tobytes())

    def with_squares(rows: Values) -> tuple[Values, Values]:
        return rows, np.einsum("ij,ij->i", rows, rows)

    def evaluate(resamples: Resamples) -> Values:
        x, of_x = with_squares(x_of(resamples.index))
        y, of_y = resamples.once(key, lambda index: with_squares(y_of(index)))
        constant_x, constant_y = (squares <= _VANISHING * x.shape[1] for squares in (of_x, of_y))
        products, norms = np.einsum("ij,ij->i", x, y), np.sqrt(of_x) * np.sqrt(of_y)
        values: Values = np.divide(products, norms, out=np.zeros_like(norms), where=~(constant_x | constant_y))
        values[constant_y] = np.nan
        return values

    return evaluate


def _classes_by_score(columns: Columns) -> Callable[[Integers], tuple[Integers, Integers]]:
    """Negatives and positives of each resample at each score, highest first."""
    target = columns["target"]
    if not np.isin(target, (0, 1)).all():
        message = f"column 'target' must hold 0 and 1; it holds {np.unique(target)[:5].tolist()}"
        raise InputError(message)
    values, codes = np.unique(-columns["score"], return_inverse=True)
    kinds = len(values)
    classes = codes + kinds * target.astype(np.int64)

    def evaluate(index: Integers) -> tuple[Integers, Integers]:
        counts = _counts(classes.take(index), 2 * kinds)
        return counts[:, :kinds], counts[:, kinds:]

    return evaluate


def _ratio(above: Values, below: Integers) -> Values:
    values: Values = np.divide(above, below, out=np.full(len(below), np.nan), where=below > 0)
    return values
