from itertools import permutations

import numpy as np
import pytest

from embedkit.errors import InputError
from embedkit.evaluation.cluster_accuracy import cluster_accuracy, cluster_hits


def test_no_match_of_the_names_gives_more():
    draw = np.random.default_rng(0)
    labels, clusters = draw.integers(4, size=30), draw.integers(4, size=30)
    best = max(np.mean(np.array(names)[clusters] == labels) for names in permutations(range(4)))
    assert cluster_accuracy(labels, clusters) == pytest.approx(best)
    assert cluster_hits(labels, clusters).mean() == pytest.approx(best)


def test_names_do_not_matter():
    draw = np.random.default_rng(1)
    labels, clusters = draw.integers(5, size=40), draw.integers(6, size=40)
    renamed = np.array(["u", "v", "w", "x", "y", "z"])[draw.permutation(6)][clusters]
    assert cluster_accuracy(labels, renamed) == cluster_accuracy(labels, clusters)
    assert cluster_accuracy(np.array(list("abcde"))[labels], labels) == 1


def test_clusters_and_classes_without_a_partner_are_wrong():
    assert cluster_accuracy([0, 0, 0, 0], [0, 1, 2, 2]) == 0.5
    assert cluster_accuracy([0, 1, 2, 2], [0, 0, 0, 0]) == 0.5


@pytest.mark.parametrize(("labels", "clusters"), [([], []), ([1, 2], [1]), ([[1]], [[1]])])
def test_there_is_one_of_each_for_a_row(labels, clusters):
    with pytest.raises(InputError, match=r"labels and clusters must be"):
        cluster_accuracy(labels, clusters)
