import math

import numpy as np
import pytest
from scipy import stats

from embedkit.errors import InputError
from embedkit.evaluation.statistics import score
from tests.evaluation.statistics.samples import columns_for, items


def test_is_the_mean_over_parts_and_not_over_items():
    assert score([items("mean", score=[1]), items("mean", "fr", score=[0, 0, 0])]) == 0.5


@pytest.mark.parametrize("statistic", ["spearman", "auc", "average_precision"])
def test_of_ranks_is_free_of_scale(statistic):
    columns = columns_for(statistic, np.random.default_rng(2))
    assert score([items(statistic, **columns)]) == pytest.approx(
        score([items(statistic, **{**columns, "score": np.exp(columns["score"])})])
    )


def test_pearson_survives_huge_and_tiny_values():
    x, y = np.random.default_rng(3).normal(size=(2, 30))
    expected = stats.pearsonr(x, y).statistic
    assert score([items("pearson", score=x * 1e200, target=y * 1e-200)]) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ([], "there are none"),
        ([items("mean", score=[1, math.nan])], "test/default: column 'score' must be finite; 1 of its values"),
        ([items("mean", target=[1, 2])], "there must be columns score; received target"),
        ([items("mean", score=np.empty((0,)))], "at least one item"),
        ([items("spearman", score=np.ones((2, 2)), target=[1, 2])], r"it is \(2, 2\)"),
        ([items("spearman", score=[1, 2], target=[1, 2, 3])], r"it is \(3,\)"),
        ([items("auc", score=[1, 2], target=[1, 2])], "must hold 0 and 1"),
        ([items("auc", score=[1, 2], target=[1, 1])], "auc needs items with different targets; all 2"),
        ([items("average_precision", score=[1, 2], target=[0, 0])], "needs items with different targets"),
        ([items("spearman", score=[1], target=[1])], "needs items with different targets; all 1"),
        ([items("median", score=[1])], "must be one of mean"),
    ],
)
def test_refuses(parts, said):
    with pytest.raises(InputError, match=said):
        score(parts)
