import numpy as np
import pytest
from sklearn.cluster import KMeans

from embedkit.ops.pinned_clusters import class_centres, pinned_kmeans, seeded_centres


def blobs(*, seed=0, dim=3, dtype=np.float64):
    draw = np.random.default_rng(seed)
    means = 8 * draw.normal(size=(4, dim))
    labels = np.repeat(np.arange(4), 15)
    return (means[labels] + draw.normal(size=(60, dim))).astype(dtype), labels


def start(seed=0):
    return np.random.RandomState(seed)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_without_pinned_rows_it_is_k_means(dtype):
    rows, _ = blobs(dtype=dtype)
    found = pinned_kmeans(rows, 4, start(), num_init=5)
    other = KMeans(4, n_init=5, random_state=0).fit(rows)
    assert found.inertia == pytest.approx(other.inertia_, rel=1e-4)
    assert len(set(zip(found.codes.tolist(), other.labels_.tolist(), strict=True))) == 4
    np.testing.assert_allclose(np.sort(found.centres, axis=0), np.sort(other.cluster_centers_, axis=0), rtol=1e-4)


def test_pinned_rows_never_leave_and_the_others_are_nearest():
    rows, _ = blobs()
    pinned = np.full(60, -1)
    pinned[[0, 20, 40]] = [0, 1, 0]  # rows of two blobs in one cluster
    found = pinned_kmeans(rows, 5, start(), pinned=pinned, num_init=3)
    assert found.codes[[0, 20, 40]].tolist() == [0, 1, 0]
    nearest = np.square(rows[:, None] - found.centres).sum(axis=2).argmin(axis=1)
    np.testing.assert_array_equal(found.codes[pinned < 0], nearest[pinned < 0])
    np.testing.assert_allclose(found.centres, class_centres(rows, found.codes, 5))


def test_seeds_are_drawn_by_squared_distance():
    """From a centre at 0, rows at 1 and 3: 1 to 9. Of two draws 3 is kept, which leaves 1 instead of 4; where the
    centre is no cluster both leave 4, and the first is kept."""
    rows, centre = np.array([[1.0], [3.0]]), np.zeros((1, 1))
    begun = [seeded_centres(rows, 1, centre, start(seed)).item() for seed in range(300)]
    assert np.mean([each == 1 for each in begun]) == pytest.approx(0.1**2, abs=0.02)
    away = [seeded_centres(rows, 1, centre[:0], start(seed), away_from=centre).item() for seed in range(300)]
    assert np.mean([each == 1 for each in away]) == pytest.approx(0.1, abs=0.05)


def test_seeds_keep_away_from_what_there_is():
    rows, labels = blobs()
    begun = class_centres(rows, np.where(labels < 3, labels, -1), 3)
    for centres in ({"begun": begun}, {"begun": begun[:0], "away_from": begun}):
        seeds = [seeded_centres(rows, 1, draw=start(seed), **centres) for seed in range(20)]
        assert np.mean([labels[(rows == each).all(axis=1)] == 3 for each in seeds]) > 0.7  # evenly a quarter


def test_a_cluster_that_is_left_without_a_row_gets_one():
    rows, pinned = np.array([[0.0], [9.0], [4.0], [4.0], [5.0]]), np.array([0, 0, -1, -1, -1])
    found = pinned_kmeans(rows, 3, start(), pinned=pinned, away_from=np.array([[4.0], [5.0]]))
    assert np.bincount(found.codes, minlength=3).tolist() == [2, 2, 1]


def test_rows_that_are_all_the_same_end():
    found = pinned_kmeans(np.ones((6, 2)), 3, start())
    assert found.inertia == 0
    np.testing.assert_allclose(found.centres, 1)


def test_no_clusters_to_draw_and_far_from_0():
    rows, labels = blobs()
    pinned = np.where(np.arange(60) % 3 == 0, labels, -1)
    here = pinned_kmeans(rows, 4, start(), pinned=pinned)
    there = pinned_kmeans((rows + 1e3).astype(np.float32), 4, start(), pinned=pinned)
    np.testing.assert_array_equal(here.codes, labels)
    np.testing.assert_array_equal(there.codes, labels)
