import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score

from embedkit.ops.cluster_number import cluster_number


def partitions(classes, *, spread=0.3, seed=0):
    draw = np.random.default_rng(seed)
    rows = np.repeat(4 * draw.normal(size=(classes, 2)), 20, axis=0) + spread * draw.normal(size=(20 * classes, 2))
    return rows, {k: KMeans(k, n_init=3, random_state=0).fit_predict(rows).astype(np.int64) for k in range(2, 9)}


def start():
    return np.random.RandomState(0)


def test_scores_are_scikit_learn_s():
    rows, tried = partitions(5)
    found = cluster_number(rows, tried, start())
    assert found.scores == pytest.approx({k: silhouette_score(rows, codes) for k, codes in tried.items()})
    assert found.best == max(found.scores, key=found.scores.get)


def test_by_hand():
    """Of rows 0, 1 and 4 in {0, 1}, {4}: (4 - 1) / 4, (3 - 1) / 3, and 0 for what is alone."""
    found = cluster_number(np.array([[0.0], [1.0], [4.0]]), {2: np.array([0, 0, 1])}, start())
    assert found.scores == pytest.approx({2: (3 / 4 + 2 / 3) / 3})


def test_the_range_is_narrow_where_clusters_are_clear_and_wide_where_they_are_not():
    clear, vague = (cluster_number(*partitions(5, spread=spread), start()) for spread in (0.01, 1.5))
    assert (clear.best, clear.high) == (5, 5)
    assert clear.low >= 4  # two of the five are near each other
    assert vague.low <= vague.best <= vague.high
    assert vague.low < vague.high


def test_only_rows_that_count_do():
    rows, tried = partitions(3)
    counted = np.arange(len(rows)) < 20
    all_of_them = cluster_number(rows, tried, start()).scores
    some = cluster_number(rows, tried, start(), counted=counted).scores
    assert some != pytest.approx(all_of_them)
    assert cluster_number(rows, tried, start(), counted=np.ones(len(rows), bool)).scores == pytest.approx(all_of_them)


def test_one_cluster_and_rows_alone_score_nothing():
    rows = np.arange(4.0)[:, None]
    assert cluster_number(rows, {1: np.zeros(4, int), 4: np.arange(4)}, start()).scores == {1: 0, 4: 0}
