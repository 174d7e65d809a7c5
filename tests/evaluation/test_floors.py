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
