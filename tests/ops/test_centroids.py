"""Centroids of nearest vectors, and by k-means: the oracle is the authors' description in plain loops."""

import numpy as np
import pytest

from embedkit.errors import InputError
from embedkit.ops.centroids import nearest_centroids, spherical_centroids

GENERATOR = np.random.default_rng(0)
PROTOTYPES = GENERATOR.normal(size=(4, 6)).astype(np.float32)
VECTORS = GENERATOR.normal(size=(30, 6)).astype(np.float32)


def cosine(a, b):
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.mark.parametrize("max_num_docs", [1, 5, 30, 100, None])
@pytest.mark.parametrize("min_similarity", [-1.0, 0.0, 0.5, 1.0])
def test_ranked_cut_and_averaged_label_by_label(max_num_docs, min_similarity):
    found = nearest_centroids(PROTOTYPES, VECTORS, max_num_docs=max_num_docs, min_similarity=min_similarity)
    for prototype, centroid in zip(PROTOTYPES.astype(np.float64), found, strict=True):
        ranked = sorted(VECTORS.astype(np.float64), key=lambda vector: -cosine(vector, prototype))
        kept = [vector for vector in ranked[:max_num_docs] if cosine(vector, prototype) > min_similarity]
        np.testing.assert_allclose(centroid, np.mean(kept or ranked[:1], axis=0), rtol=0, atol=1e-5)


def test_worked_by_hand():
    """Towards the east lie (2, 0) and (2, 2); (0, 4) is at a right angle."""
    vectors = [[0, 4], [2, 2], [2, 0]]
    np.testing.assert_allclose(nearest_centroids([[1, 0]], vectors, max_num_docs=2), [[2, 1]])
    np.testing.assert_allclose(nearest_centroids([[1, 0]], vectors, min_similarity=0.9), [[2, 0]])


def test_one_document_that_is_the_prototype_stays():
    np.testing.assert_array_equal(nearest_centroids(PROTOTYPES, PROTOTYPES, max_num_docs=1), PROTOTYPES)


def test_all_documents_give_one_centroid():
    found = nearest_centroids(PROTOTYPES, VECTORS, max_num_docs=None)
    np.testing.assert_allclose(found, np.tile(VECTORS.mean(axis=0), (4, 1)), rtol=0, atol=1e-6)


def test_documents_twice_and_in_another_order_change_nothing():
    once = nearest_centroids(PROTOTYPES, VECTORS, max_num_docs=5)
    twice = nearest_centroids(PROTOTYPES, np.concatenate([VECTORS[::-1], VECTORS]), max_num_docs=10)
    np.testing.assert_allclose(once, twice, rtol=0, atol=1e-6)


def test_what_is_none_is_refused():
    for options in ({"max_num_docs": 0}, {"max_num_docs": True}):
        with pytest.raises(InputError, match="max_num_docs >= 1"):
            nearest_centroids(PROTOTYPES, VECTORS, **options)
    with pytest.raises(InputError, match="at least one vector"):
        nearest_centroids(PROTOTYPES, np.empty((0, 6)))
    with pytest.raises(InputError, match="6 dimensions"):
        nearest_centroids(PROTOTYPES, VECTORS[:, :5])


def test_k_means_by_cosine_loop_by_loop():
    units = [vector / np.linalg.norm(vector) for vector in VECTORS.astype(np.float64)]
    centroids, members = [start / np.linalg.norm(start) for start in PROTOTYPES.astype(np.float64)], None
    while members != (members := [int(np.argmax([c @ unit for c in centroids])) for unit in units]):
        for cluster in set(members):
            total = sum(unit for unit, member in zip(units, members, strict=True) if member == cluster)
            centroids[cluster] = total / np.linalg.norm(total)
    found = spherical_centroids(PROTOTYPES, VECTORS)
    np.testing.assert_allclose(found, centroids, rtol=0, atol=1e-6)
    np.testing.assert_allclose(spherical_centroids(found, VECTORS), found, rtol=0, atol=1e-6)


def test_k_means_by_hand_and_a_cluster_of_nothing_stays():
    """East has (1, 0) and (0, 1) at first, of mean (1, 1); what has no direction counts nowhere."""
    found = spherical_centroids([[2, 1], [-3, 0]], [[1, 0], [0, 9], [0, 0]])
    np.testing.assert_allclose(found, [[0.5**0.5, 0.5**0.5], [-1, 0]])
    np.testing.assert_allclose(spherical_centroids([[0, 1], [1, 0]], [[1, 0], [-1, 0]]), [[-1, 0], [1, 0]])
    with pytest.raises(InputError, match="max_rounds >= 1"):
        spherical_centroids(PROTOTYPES, VECTORS, max_rounds=0)
