"""How hard an approximate search tries: tuned for the queries that will come."""

import numpy as np
import pytest

from embedkit import FaissIndex, Retriever
from embedkit.errors import InputError
from embedkit.index.faiss_index import Tuning


def two_clouds(n=12_000, dim=16):
    """Vectors in clusters, queries like them, and queries of another kind, which lie apart."""
    draw = np.random.default_rng(0)
    centres = draw.normal(size=(300, dim))
    vectors = (centres[draw.integers(300, size=n)] + 0.3 * draw.normal(size=(n, dim))).astype(np.float32)
    alike = vectors[:200] + 0.1 * draw.normal(size=(200, dim)).astype(np.float32)
    apart = draw.normal(size=(200, dim)).astype(np.float32) + 2.0
    return vectors, alike, apart


def found_share(index, queries, exact):
    return np.mean(
        [len(set(a) & set(b)) / 10 for a, b in zip(index.search(queries).ids, exact.search(queries).ids, strict=True)]
    )


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_tuning_reaches_the_recall_for_the_queries_it_saw(kind):
    vectors, alike, apart = two_clouds()
    index, exact = FaissIndex(kind=kind), FaissIndex(kind="flat")
    for each in (index, exact):
        each.add(range(len(vectors)), vectors)
    efforts = []
    for queries in (alike, apart):
        found = index.tune(queries, recall=0.95)
        assert found.recall >= 0.95
        assert found_share(index, queries, exact) == pytest.approx(found.recall, abs=1e-9)
        assert found.tried[-1][:2] == (found.effort, found.recall)
        assert all(share < 0.95 for _, share, _ in found.tried[:-1])
        efforts.append(index.effort)
    assert efforts[1] > efforts[0]


def test_all_lists_give_all_neighbours():
    vectors, alike, _ = two_clouds()
    index = FaissIndex(kind="ivf")
    index.add(range(len(vectors)), vectors)
    assert index.tune(alike, recall=1.0).recall == 1.0


def test_an_exact_index_has_nothing_to_tune():
    index = FaissIndex()
    index.add(["a", "b"], np.eye(2))
    assert index.tune(np.eye(2), k=5) == Tuning(None, 1.0)
    assert index.effort is None


def test_an_effort_is_kept_and_lost_with_the_kind(tmp_path):
    vectors, alike, _ = two_clouds()
    index = FaissIndex(kind="ivf")
    index.add(range(len(vectors)), vectors)
    effort = index.tune(alike).effort
    index.save(tmp_path / "index")
    again = FaissIndex.load(tmp_path / "index")
    assert again.effort == effort
    np.testing.assert_array_equal(again.search(alike).ids, index.search(alike).ids)
    again.remove(range(5000))  # too few for lists: searched exactly from here on
    assert (again.built_as, again.effort) == ("flat", None)


def test_tuning_after_removals_and_with_few_neighbours():
    vectors, alike, _ = two_clouds(2000)
    index = FaissIndex(kind="hnsw")
    index.add(range(len(vectors)), vectors)
    index.remove(range(0, 2000, 10))
    assert index.tune(alike, k=3).recall >= 0.95
    small = FaissIndex(kind="hnsw")
    small.add(range(4), vectors[:4])
    assert small.tune(alike).recall == 1.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"recall": 0}, "recall must be a share"),
        ({"recall": 1.1}, "recall must be a share"),
        ({"recall": "all"}, "recall must be a share"),
        ({"k": 0}, "k must be a positive integer"),
        ({"queries": np.empty((0, 2))}, "received none"),
        ({"queries": np.ones((2, 3))}, "dimensions"),
        ({"queries": np.zeros((2, 2))}, "zero"),
    ],
)
def test_bad_tuning_is_refused(arguments, message):
    index = FaissIndex(kind="hnsw")
    index.add(["a", "b"], np.eye(2))
    with pytest.raises(InputError, match=message):
        index.tune(**{"queries": np.eye(2), **arguments})
    assert index.effort is None


class Identity:
    """Reads vectors."""

    def encode(self, inputs, **_):
        return np.asarray(inputs, dtype=np.float32)

    def get_embedding_dimension(self):
        return 16


def test_a_retriever_tunes_its_index_and_keeps_that(tmp_path):
    vectors, alike, _ = two_clouds(11_000)
    with Retriever(Identity(), FaissIndex(kind="ivf"), folder=tmp_path / "kept") as retriever:
        retriever.add(range(len(vectors)), list(vectors))
        retriever.save()
        effort = retriever.tune(alike).effort
        expected = [hit.id for hit in retriever.search(alike[0])]
        assert [hit.id for hit in retriever.nearest(alike[0])] == expected
    with Retriever.load(tmp_path / "kept", Identity(), read_only=True) as again:
        assert again.index.effort == effort
        assert [hit.id for hit in again.search(alike[0])] == expected
