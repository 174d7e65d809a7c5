import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from embedkit.evaluation.statistics import STATISTICS
from embedkit.evaluation.statistics import statistic as module
from tests.evaluation.statistics.samples import MOST, columns_for


def by_the_book(statistic, columns):
    """The statistic of one resample, from the library that defines it."""
    target = columns.get("target")
    if statistic == "mean":
        return columns["score"].mean()
    if statistic in {"accuracy", "f1"}:
        options = {"average": "macro"} if statistic == "f1" else {}
        function = metrics.f1_score if statistic == "f1" else metrics.accuracy_score
        return np.mean([function(target, guesses, **options) for guesses in columns["prediction"].T])
    functions = {
        "spearman": lambda x, y: stats.spearmanr(x, y).statistic,
        "pearson": lambda x, y: stats.pearsonr(x, y).statistic,
        "auc": lambda x, y: metrics.roc_auc_score(y, x),
        "average_precision": lambda x, y: metrics.average_precision_score(y, x),
    }
    return functions[statistic](columns["score"], target)


@pytest.mark.parametrize("statistic", STATISTICS)
def test_each_resample_is_what_the_library_says(statistic):
    generator = np.random.default_rng(0)
    columns = columns_for(statistic, generator)
    index = generator.integers(MOST, size=(12, MOST))
    expected = [by_the_book(statistic, {name: values[row] for name, values in columns.items()}) for row in index]
    np.testing.assert_allclose(STATISTICS[statistic](columns, index), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("statistic", STATISTICS)
def test_blocks_change_nothing(statistic, monkeypatch):
    generator = np.random.default_rng(1)
    columns = columns_for(statistic, generator)
    index = generator.integers(MOST, size=(25, MOST))
    whole = STATISTICS[statistic](columns, index)
    monkeypatch.setattr(module, "_BLOCK", 7 * MOST)
    np.testing.assert_array_equal(STATISTICS[statistic](columns, index), whole)


def test_no_resample_gives_no_value():
    assert STATISTICS["mean"]({"score": np.ones(3)}, np.empty((0, 3), dtype=int)).shape == (0,)


def test_labels_that_a_resample_lacks_do_not_count():
    columns = {"prediction": np.array([0.0, 1, 2]), "target": np.array([0.0, 1, 1])}
    assert STATISTICS["f1"](columns, np.array([[0, 0, 1], [2, 2, 2]])).tolist() == [1, 0]


@pytest.mark.parametrize("statistic", ["spearman", "pearson", "auc", "average_precision"])
def test_a_resample_of_one_target_is_undefined(statistic):
    columns = {"score": np.array([0.1, 0.2, 0.3]), "target": np.array([0.0, 0, 1])}
    assert np.isnan(STATISTICS[statistic](columns, np.array([[0, 1, 0]]))).all()
