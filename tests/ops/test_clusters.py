import numpy as np
import pytest

from embedkit.errors import InputError
from embedkit.ops.clusters import balanced_clusters


@pytest.mark.parametrize(("rows", "count"), [(10, 3), (9, 3), (7, 7), (5, 1), (50, 8)])
def test_sizes_differ_by_one_at_most(rows, count):
    found = balanced_clusters(np.random.default_rng(0).normal(size=(rows, 4)), count)
    sizes = np.bincount(found, minlength=count)
    assert sizes.sum() == rows
    assert sizes.max() - sizes.min() <= 1
    assert len(sizes) == count


def test_groups_of_one_size_are_found():
    draw = np.random.default_rng(0)
    groups = np.repeat(np.arange(4), 6)
    points = 10 * np.eye(4)[groups] + draw.normal(size=(24, 4))
    found = balanced_clusters(points, 4)
    assert len({(group, cluster) for group, cluster in zip(groups, found, strict=True)}) == 4


def test_what_has_no_room_goes_to_the_next():
    found = balanced_clusters([[0.0], [0.1], [0.2], [0.3], [9.0], [9.1]], 2)
    assert found[3] == found[4] == found[5] != found[0]


def test_equal_vectors_are_cut_too():
    assert sorted(np.bincount(balanced_clusters(np.ones((5, 2)), 3))) == [1, 2, 2]


def test_a_seed_repeats_it():
    points = np.random.default_rng(0).normal(size=(30, 3))
    assert np.array_equal(balanced_clusters(points, 4, seed=5), balanced_clusters(points, 4, seed=5))


@pytest.mark.parametrize("count", [0, 4, -1, True])
def test_there_are_as_many_vectors_as_clusters(count):
    with pytest.raises(InputError, match=r"count must be 1 … 3"):
        balanced_clusters(np.ones((3, 2)), count)
