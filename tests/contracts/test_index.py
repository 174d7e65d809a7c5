"""What every kind of index must do under every metric, against brute force in numpy."""

import shutil
import tempfile
from pathlib import Path

import faiss
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from embedkit import FaissIndex
from embedkit.errors import InputError
from embedkit.index import faiss_index

KINDS = ("flat", "hnsw", "ivf", "auto")
METRICS = ("cosine", "inner_product", "l2")
DIM = 16
MANY = 2000


@pytest.fixture(autouse=True)
def small_thresholds(monkeypatch):
    """Graphs and lists from 300 vectors on, so that the tests stay quick."""
    monkeypatch.setattr(faiss_index, "APPROXIMATE_FROM", 300)
    monkeypatch.setattr(faiss_index, "_IVF_TRAINING", 300)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Many small searches are quicker without faiss' threads, above all on a busy machine."""
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    yield
    faiss.omp_set_num_threads(threads)


@pytest.fixture(params=METRICS)
def metric(request):
    return request.param


@pytest.fixture(params=KINDS)
def index(request, metric):
    return FaissIndex(metric=metric, kind=request.param)


def points(count, *, seed=0, dim=DIM):
    """Vectors in clusters, as embeddings are."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(40, dim))
    return (centres[random.integers(0, 40, count)] + 0.4 * random.normal(size=(count, dim))).astype(np.float32)


def names(count):
    """Half strings, half integers that look like them."""
    return [i if i % 2 else str(i + 1) for i in range(count)]


def scores_of(metric, queries, vectors):
    queries, vectors = np.asarray(queries, dtype=np.float64), np.asarray(vectors, dtype=np.float64)
    if metric == "l2":
        return -np.linalg.norm(queries[:, None] - vectors[None], axis=2)
    if metric == "cosine":
        queries = queries / np.linalg.norm(queries, axis=1, keepdims=True)
        vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return queries @ vectors.T


def check(metric, found, queries, ids, vectors, k, *, recall=1.0):
    """Shape, types, order, no id twice, every score that of its id, and enough of the best ones."""
    expected = scores_of(metric, queries, vectors)
    width = min(k, len(ids))
    assert found.scores.shape == found.ids.shape == (len(queries), width)
    assert found.scores.dtype == np.float32
    assert found.ids.dtype == object
    place = {id: position for position, id in enumerate(ids)}
    hits = 0
    for scores, row, truth in zip(found.scores, found.ids, expected, strict=True):
        assert len(set(row)) == width
        assert (np.diff(scores) <= 0).all()
        np.testing.assert_allclose(scores, [truth[place[id]] for id in row], rtol=1e-3, atol=2e-3)
        if width:
            hits += (scores >= np.sort(truth)[-width] - 2e-3).sum()
    assert hits >= recall * len(queries) * width


def exactness(index):
    return 1.0 if index.built_as == "flat" else 0.9


def test_a_few_vectors_are_searched_exactly(index, metric):
    vectors, queries = points(100), points(20, seed=1)
    index.add(names(100), vectors)

    check(metric, index.search(queries, 7), queries, names(100), vectors, 7, recall=exactness(index))


def test_many_vectors_are_found_with_high_recall(index, metric):
    vectors, queries = points(MANY), points(50, seed=1)
    index.add(names(MANY), vectors)

    assert index.built_as == {"auto": "hnsw"}.get(index.kind, index.kind)
    check(metric, index.search(queries, 10), queries, names(MANY), vectors, 10, recall=exactness(index))


def test_one_query_gives_what_a_batch_gives(index):
    index.add(names(500), points(500))
    queries = points(30, seed=1)

    batch = index.search(queries, 5)
    for query, scores, ids in zip(queries, *batch, strict=True):
        single = index.search(query, 5)
        assert single.scores.shape == single.ids.shape == (5,)
        np.testing.assert_allclose(single.scores, scores, rtol=1e-3, atol=2e-3)
        assert set(single.ids) == set(ids)


def test_more_neighbours_than_vectors_give_all_of_them(index, metric):
    vectors, queries = points(400), points(3, seed=1)
    index.add(names(400), vectors)

    check(metric, index.search(queries, 1000), queries, names(400), vectors, 1000)


def test_an_empty_index_finds_nothing(index):
    assert index.search(points(2), 5).ids.shape == (2, 0)
    assert index.search(points(1)[0], 5).scores.shape == (0,)
    assert len(index) == 0
    assert index.ids == []


def test_no_queries_give_no_answers(index):
    index.add(names(400), points(400))

    assert index.search(np.empty((0, DIM)), 5).ids.shape == (0, 5)


def test_adding_no_rows_changes_nothing(index):
    index.add([], np.empty((0, DIM)))
    index.add(names(10), points(10))
    index.add([], np.empty((0, DIM)))
    index.update([], np.empty((0, DIM)))
    index.remove([])

    assert index.ids == names(10)


@pytest.mark.parametrize("share", [0.02, 0.5, 1.0])
def test_among_searches_only_these_ids(index, metric, share):
    vectors, queries = points(800), points(20, seed=1)
    ids = names(800)
    index.add(ids, vectors)
    chosen = np.sort(np.random.default_rng(5).choice(800, round(800 * share), replace=False))
    allowed = [ids[i] for i in chosen]

    found = index.search(queries, 5, among=[*reversed(allowed), "unknown", -7])

    check(metric, found, queries, allowed, vectors[chosen], 5, recall=exactness(index))


@pytest.mark.parametrize("among", [[], ["unknown"], iter(()), {"unknown": 1}])
def test_among_nothing_finds_nothing(index, among):
    index.add(names(400), points(400))

    assert index.search(points(2), 5, among=among).ids.shape == (2, 0)


def test_among_fewer_than_k_finds_all_of_them(index):
    index.add(names(400), points(400))

    assert set(index.search(points(1)[0], 50, among=[1, "1", 399]).ids) == {1, "1", 399}


def test_equal_scores_come_in_the_order_of_adding(metric):
    index = FaissIndex(metric=metric, kind="flat")
    vectors = np.tile(np.eye(4, dtype=np.float32), (50, 1))
    ids = [f"v{i}" for i in range(200)]
    index.add(ids, vectors)

    for queries in (np.eye(4)[:1], np.tile(np.eye(4), (10, 1))):
        for k in (1, 3, 49, 50, 60, 199):
            first = index.search(queries, k).ids[0].tolist()
            assert first == (ids[::4] + [id for i, id in enumerate(ids) if i % 4])[:k]
            among = index.search(queries, k, among=ids[100:]).ids[0].tolist()
            assert among == (ids[100::4] + [id for i, id in enumerate(ids) if i % 4 and i >= 100])[:k]


def test_identical_vectors_are_all_found(index):
    index.add(range(20), np.ones((20, DIM)))

    assert sorted(index.search(np.ones(DIM), 20).ids) == list(range(20))


@pytest.mark.parametrize("count", [60, 900])
def test_removed_ids_are_never_found_again(index, metric, count):
    vectors, queries, ids = points(count), points(20, seed=1), names(count)
    index.add(ids, vectors)
    gone = np.random.default_rng(3).permutation(count)
    for part in np.array_split(gone[: count - 10], 6):
        index.remove([ids[i] for i in part])
        ids_left = [id for i, id in enumerate(ids) if id in index]
        left = [ids.index(id) for id in ids_left]
        assert len(index) == len(ids_left)
        assert index.ids == ids_left
        check(metric, index.search(queries, 5), queries, ids_left, vectors[left], 5, recall=exactness(index))

    with pytest.raises(InputError, match="is not"):
        index.remove([ids[gone[0]]])


def test_an_index_emptied_can_be_filled_again(index, metric):
    for seed in range(2):
        vectors, queries = points(400, seed=seed), points(5, seed=7)
        index.add(names(400), vectors)
        check(metric, index.search(queries, 5), queries, names(400), vectors, 5, recall=exactness(index))
        index.remove(names(400))
        assert len(index) == 0
        assert index.search(queries, 5).ids.shape == (5, 0)


@pytest.mark.parametrize("count", [60, 900])
def test_an_update_replaces_the_vector_and_nothing_else(index, metric, count):
    vectors, ids = points(count), names(count)
    index.add(ids, vectors)
    changed = list(range(3, count, 7))
    replaced = np.delete(np.arange(count), changed)
    newer = points(len(changed), seed=9)

    index.update([ids[i] for i in changed], newer)

    order = [ids[i] for i in [*replaced, *changed]]
    now = np.concatenate([vectors[replaced], newer])
    assert index.ids == order
    expected = now / np.linalg.norm(now, axis=1, keepdims=True) if metric == "cosine" else now
    np.testing.assert_allclose(index.vectors(order), expected, rtol=1e-5)
    queries = points(20, seed=1)
    check(metric, index.search(queries, 5), queries, order, now, 5, recall=exactness(index))


def test_an_id_removed_and_added_again_has_its_new_vector(index):
    index.add(names(400), points(400))
    index.remove(["1"])
    index.add(["1"], -50 * np.ones((1, DIM)))

    assert index.search(-50 * np.ones(DIM), 1).ids.tolist() == ["1"]
    assert index.ids[-1] == "1"


def test_one_and_the_string_one_are_two_ids(index):
    index.add([1, "1"], [[1.0, 0.0], [0.0, 1.0]])

    assert index.search([1.0, 0.0], 1).ids.tolist() == [1]
    assert index.search([0.0, 1.0], 1).ids.tolist() == ["1"]
    index.remove([1])
    assert index.ids == ["1"]
    assert [type(id) for id in index.search([1.0, 0.0], 1).ids] == [str]


@pytest.mark.parametrize("count", [0, 50, 900])
def test_a_saved_index_answers_bit_for_bit_the_same(index, metric, count, tmp_path):
    if count:
        index.add(names(count), points(count))
        index.remove(names(count)[5:50:3])
        index.update(names(count)[:3], points(3, seed=4))
    index.save(tmp_path)

    loaded = FaissIndex.load(tmp_path)

    assert (loaded.dim, loaded.metric, loaded.kind, loaded.built_as) == (index.dim, metric, index.kind, index.built_as)
    assert loaded.ids == index.ids
    assert [type(id) for id in loaded.ids] == [type(id) for id in index.ids]
    np.testing.assert_array_equal(loaded.vectors(index.ids), index.vectors(index.ids))
    for options in ({}, {"among": index.ids[::2]}):
        before, after = (one.search(points(30, seed=1), 7, **options) for one in (index, loaded))
        np.testing.assert_array_equal(before.scores, after.scores)
        np.testing.assert_array_equal(before.ids, after.ids)


@pytest.mark.parametrize("count", [20, 600])
def test_a_loaded_index_goes_on_like_one_that_was_never_saved(index, metric, count, tmp_path):
    index.add(names(count), points(count))
    index.remove(names(count)[:4])
    index.save(tmp_path)
    loaded = FaissIndex.load(tmp_path)
    for one in (index, loaded):
        one.add(["new"], 3 * np.ones((1, DIM)))
        one.update([5], points(1, seed=6))
        one.remove([7])

    assert loaded.ids == index.ids
    before, after = (one.search(points(10, seed=1), count) for one in (index, loaded))
    np.testing.assert_array_equal(before.scores, after.scores)


def bad_calls():
    good = np.ones((1, DIM))
    broken = {"NaN": np.nan, "infinity": np.inf, "too large for float32": 1e300}
    yield from ((f"add {name}", lambda index, x=x: index.add(["new"], good * x)) for name, x in broken.items())
    yield from ((f"update {name}", lambda index, x=x: index.update([1], good * x)) for name, x in broken.items())
    yield from ((f"search {name}", lambda index, x=x: index.search(good * x)) for name, x in broken.items())
    wrong = {
        "wider": np.ones((1, DIM + 1)),
        "narrower": np.ones((1, DIM - 1)),
        "cube": np.ones((1, 1, DIM)),
        "objects": np.full((1, DIM), None),
        "complex": np.ones((1, DIM), dtype=complex),
        "strings": np.full((1, DIM), "1"),
        "ragged": [[1.0] * DIM, [1.0]],
    }
    yield from ((f"add {name}", lambda index, x=x: index.add(["new"], x)) for name, x in wrong.items())
    yield from ((f"search {name}", lambda index, x=x: index.search(x)) for name, x in wrong.items())
    yield "add one vector", lambda index: index.add(["new"], np.ones(DIM))
    yield "add known", lambda index: index.add(["new", 1], np.ones((2, DIM)))
    yield "add twice", lambda index: index.add(["new", "new"], np.ones((2, DIM)))
    yield "add too few ids", lambda index: index.add(["new"], np.ones((2, DIM)))
    yield "add one string", lambda index: index.add("ab", np.ones((2, DIM)))
    yield "update unknown", lambda index: index.update([1, "new"], np.ones((2, DIM)))
    yield "update twice", lambda index: index.update([1, 1], np.ones((2, DIM)))
    yield "remove unknown", lambda index: index.remove([1, "new"])
    yield "remove twice", lambda index: index.remove([1, 1])
    yield "vectors of unknown", lambda index: index.vectors([1, "new"])
    yield from (
        (f"add id {id!r:.20}", lambda index, id=id: index.add([id], good)) for id in ("", True, 2**63, "\ud800")
    )
    yield from ((f"k {k}", lambda index, k=k: index.search(good, k)) for k in (0, -1, True, 1.5, "5", None, np.nan))
    yield from ((f"among {a!r}", lambda index, a=a: index.search(good, 1, among=a)) for a in ("10", b"1", 1))


BAD_CALLS = dict(bad_calls())


@pytest.mark.parametrize("call", BAD_CALLS.values(), ids=BAD_CALLS)
@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf"])
def test_a_bad_call_is_an_input_error_and_changes_nothing(call, kind):
    index = FaissIndex(kind=kind)
    index.add(names(300), points(300))
    before = index.search(points(5, seed=1), 300)

    with pytest.raises(InputError):
        call(index)

    after = index.search(points(5, seed=1), 300)
    assert index.ids == names(300)
    np.testing.assert_array_equal(before.ids, after.ids)
    np.testing.assert_array_equal(before.scores, after.scores)


def test_zero_is_refused_where_it_has_no_direction_and_taken_elsewhere(index, metric):
    index.add(["a"], np.ones((1, 2)))
    if metric == "cosine":
        for call in (
            index.check,
            lambda zero: index.add(["b"], zero),
            lambda zero: index.update(["a"], zero),
            index.search,
        ):
            with pytest.raises(InputError, match="must not be zero"):
                call(np.zeros((1, 2)))
        assert index.ids == ["a"]
    else:
        index.add(["b"], np.zeros((1, 2)))
        assert index.search(np.zeros(2), 1).scores.tolist() == [0.0]


@pytest.mark.parametrize("size", [1e-45, 1e-30, 1e15, 1e25, 3e38])
def test_vectors_of_any_size_keep_their_ids_or_are_refused(index, metric, size):
    vectors = np.diag([size, -size, size]).astype(np.float32)
    vectors[2, 0] = size
    try:
        index.add(["a", "b", "c"], vectors)
    except InputError:
        assert metric != "cosine"
        assert size > 1e18
        assert len(index) == 0
        return
    for position, id in enumerate("abc"):
        found = index.search(vectors[position], 3)
        assert np.isfinite(found.scores).all()
        assert sorted(found.ids) == ["a", "b", "c"]
        if metric == "cosine":
            assert found.ids[0] == id
            assert found.scores[0] == pytest.approx(1, abs=1e-6)


class AgainstAnOracle(RuleBasedStateMachine):
    """Any sequence of calls leaves the index with what a dictionary holds."""

    kind = "flat"
    graph_from = 10**6

    @initialize(metric=st.sampled_from(METRICS))
    def start(self, metric):
        self.folder = Path(tempfile.mkdtemp())
        self.saved = None
        self.held = {}
        self.metric = metric
        self.index = FaissIndex(3, metric=metric, kind=self.kind)

    def teardown(self):
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)

    ids = st.lists(st.one_of(st.integers(0, 9), st.integers(0, 9).map(str)), max_size=8, unique=True)
    vector = st.lists(st.integers(-4, 4), min_size=3, max_size=3).filter(any)

    def known(self, ids):
        return [id for id in ids if id in self.held]

    @rule(ids=ids, data=st.data())
    def add(self, ids, data):
        vectors = np.array([data.draw(self.vector) for _ in ids], dtype=np.float32).reshape(-1, 3)
        if self.known(ids):
            with pytest.raises(InputError):
                self.index.add(ids, vectors)
        else:
            self.index.add(ids, vectors)
            self.held |= dict(zip(ids, vectors, strict=True))

    @rule(ids=ids, data=st.data())
    def update(self, ids, data):
        vectors = np.array([data.draw(self.vector) for _ in ids], dtype=np.float32).reshape(-1, 3)
        if self.known(ids) != ids:
            with pytest.raises(InputError):
                self.index.update(ids, vectors)
            ids = self.known(ids)
            vectors = vectors[: len(ids)]
        self.index.update(ids, vectors)
        for id in ids:
            del self.held[id]
        self.held |= dict(zip(ids, vectors, strict=True))

    @rule(ids=ids)
    def remove(self, ids):
        if self.known(ids) != ids:
            with pytest.raises(InputError):
                self.index.remove(ids)
        self.index.remove(self.known(ids))
        self.held = {id: vector for id, vector in self.held.items() if id not in ids}

    @rule()
    def save(self):
        self.index.save(self.folder)
        self.saved = dict(self.held)

    @precondition(lambda self: self.saved is not None)
    @rule()
    def load(self):
        self.index = FaissIndex.load(self.folder)
        self.held = dict(self.saved)

    @rule(query=vector, k=st.integers(1, 25), among=st.none() | ids)
    def search(self, query, k, among):
        held = {id: v for id, v in self.held.items() if among is None or id in among}
        found = self.index.search([query], k, among=among)
        check(self.metric, found, [query], list(held), np.array(list(held.values())).reshape(-1, 3), k)

    @rule(size=st.integers(1, 20))
    def forget_and_fill(self, size):
        assume(not self.held)
        self.index.add(range(size), np.ones((size, 3)))
        self.held = dict.fromkeys(range(size), np.ones(3, dtype=np.float32))

    @invariant()
    def holds_the_same(self):
        if not hasattr(self, "held"):
            return
        assert len(self.index) == len(self.held)
        assert self.index.ids == list(self.held)
        vectors = np.array(list(self.held.values())).reshape(-1, 3)
        if self.metric == "cosine":
            vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        np.testing.assert_allclose(self.index.vectors(list(self.held)), vectors, rtol=1e-5, atol=1e-6)


class HnswAgainstAnOracle(AgainstAnOracle):
    kind = "hnsw"


class AutoAgainstAnOracle(AgainstAnOracle):
    """Crosses between flat and hnsw at five vectors."""

    kind = "auto"

    def __init__(self):
        super().__init__()
        faiss_index.APPROXIMATE_FROM, self.former = 5, faiss_index.APPROXIMATE_FROM

    def teardown(self):
        faiss_index.APPROXIMATE_FROM = self.former
        super().teardown()


for machine in (AgainstAnOracle, HnswAgainstAnOracle, AutoAgainstAnOracle):
    machine.TestCase.settings = settings(
        max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
    )
TestFlatAgainstAnOracle = AgainstAnOracle.TestCase
TestHnswAgainstAnOracle = HnswAgainstAnOracle.TestCase
TestAutoAgainstAnOracle = AutoAgainstAnOracle.TestCase
