import numpy as np
import pytest

mteb = pytest.importorskip("mteb", reason="the extra mteb is not installed")

from embedkit import FaissIndex, Retriever  # noqa: E402
from embedkit.errors import InputError  # noqa: E402
from embedkit.evaluation.mteb.model import EncoderModel  # noqa: E402
from embedkit.evaluation.mteb.pipeline import PipelineModel  # noqa: E402
from embedkit.evaluation.mteb.run import run  # noqa: E402


@pytest.fixture
def score(make_task, tmp_path):
    def run_one(model, task=None):
        return run(model, [task or make_task("retrieval")], tmp_path, floors=()).models[0].tasks["TinyRetrieval"]

    return run_one


@pytest.mark.parametrize("kind", ["flat", "hnsw"])
def test_a_retriever_scores_as_exact_search_does(words, score, kind):
    pipeline = PipelineModel(lambda: Retriever(words(), FaissIndex(kind=kind)), "pipe", revision=kind)
    assert isinstance(pipeline, mteb.models.SearchProtocol)
    assert score(pipeline).score == pytest.approx(score(EncoderModel(words(), "mine")).score, abs=1e-6)


def test_a_reranker_that_knows_the_answer_gets_full_marks_and_one_that_inverts_does_not(words, score, make_task):
    relevant = {"cat": {"d1"}, "dog": {"d2", "d1"}, "bird": {"d3", "d4"}}

    def oracle(query, hits):
        return [2.0 * (hit.id in relevant[query]) + (hit.id == "d2") for hit in hits]

    def make():
        return Retriever(words())

    assert score(PipelineModel(make, "oracle", revision="1", rerank=oracle)).score == pytest.approx(1.0)
    inverted = PipelineModel(
        make, "inverted", revision="1", rerank=lambda query, hits: [-x for x in oracle(query, hits)]
    )
    assert score(inverted).score < 0.7


def test_what_lies_beyond_the_depth_stays_behind_in_its_order(words, make_task):
    pipeline = PipelineModel(
        lambda: Retriever(words()), "pipe", revision="1", rerank=lambda query, hits: [-5.0] * len(hits), depth=1
    )
    data = make_task("retrieval").dataset["default"]["test"]
    pipeline.index(data["corpus"])
    found = pipeline.search(data["queries"], top_k=4)["q1"]
    plain = PipelineModel(lambda: Retriever(words()), "pipe", revision="1")
    plain.index(data["corpus"])
    assert sorted(found, key=found.get, reverse=True) == list(plain.search(data["queries"], top_k=4)["q1"])


def test_candidates_of_a_reranking_task_bound_the_search(words, make_task):
    pipeline = PipelineModel(lambda: Retriever(words()), "pipe", revision="1")
    data = make_task("retrieval").dataset["default"]["test"]
    pipeline.index(data["corpus"])
    ranked = {"q1": ["d3", "d4"], "q2": ["d1"], "q3": ["d1", "d2", "d3"]}
    found = pipeline.search(data["queries"], top_k=10, top_ranked=ranked)
    assert {query: set(documents) for query, documents in found.items()} == {q: set(d) for q, d in ranked.items()}


def test_a_filter_holds_in_every_search(words, make_task):
    data = make_task("retrieval").dataset["default"]["test"]
    corpus = data["corpus"].add_column("language", ["en", "de", "en", "de"])
    pipeline = PipelineModel(lambda: Retriever(words()), "pipe", revision="1", where={"language": "en"})
    pipeline.index(corpus)
    assert set(pipeline.search(data["queries"], top_k=10)["q2"]) == {"d1", "d3"}


def test_titles_are_part_of_what_is_indexed(words, make_task):
    data = make_task("retrieval").dataset["default"]["test"]
    seen = []

    class Spy:
        def add(self, ids, documents, metadata):
            seen.extend(documents)

    titled = data["corpus"].remove_columns("title").add_column("title", ["Cats", "", "", ""])
    PipelineModel(Spy, "pipe", revision="1").index(titled)
    assert seen == ["Cats a cat", "the dog barks", "one two three", "a bird sings"]


def test_depth_must_be_positive(words):
    with pytest.raises(InputError, match="depth must be at least 1; received 0"):
        PipelineModel(lambda: Retriever(words()), "pipe", revision="1", depth=0)


def test_scores_are_finite(words, score):
    assert np.isfinite(score(PipelineModel(lambda: Retriever(words()), "pipe", revision="1")).score)
