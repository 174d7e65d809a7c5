"""Floors on texts that give them nothing to hold on to."""

import pytest

pytest.importorskip("bm25s", reason="the extra mteb is not installed")

from embedkit.evaluation.floors import Bm25


def test_documents_without_a_word_are_found_with_a_score_of_0():
    floor = Bm25()
    floor.add(["a", "b"], ["!", ""], [{}, {}])
    (hits,) = floor.search(["a cat"], k=2)
    assert {hit.id for hit in hits} == {"a", "b"}
    assert all(hit.score == 0 for hit in hits)


def test_scores_of_all_documents_are_those_of_the_search():
    floor = Bm25()
    documents = ["a cat on a mat", "a dog", "mat", "!"]
    floor.add(range(4), documents, [{}] * 4)
    queries = ["cat mat", "dog", "nothing known", "?"]
    scores = floor.scores(queries)
    assert scores.shape == (4, 4)
    for row, hits in zip(scores, floor.search(queries, k=4), strict=True):
        assert [row[hit.id] for hit in hits] == pytest.approx([hit.score for hit in hits])
    assert not scores[2:].any()
    assert floor.scores([]).shape == (0, 4)
