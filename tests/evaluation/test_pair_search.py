"""Search over pairs: ranks count ties against the right document, in pools and in all."""

import numpy as np
import pytest

from embedkit.errors import InputError
from embedkit.evaluation.pair_search import METRICS, PairSearch, pair_search, pair_search_of_scores
from embedkit.evaluation.statistics import bootstrap_interval, paired_difference


def naive(scores, pool):
    """One query after the other, one candidate after the other."""
    ranks = []
    for start in range(0, len(scores) // pool * pool, pool):
        for query in range(start, start + pool):
            better = 0
            for other in range(start, start + pool):
                better += scores[query][other] >= scores[query][query]
            ranks.append(better)
    found = {
        "MRR": [1 / rank for rank in ranks],
        "MRR@10": [1 / rank if rank <= 10 else 0 for rank in ranks],
        "recall@1": [float(rank == 1) for rank in ranks],
        "recall@10": [float(rank <= 10) for rank in ranks],
    }
    return ranks, {name: sum(values) / len(values) for name, values in found.items()}


@pytest.mark.parametrize(("count", "pool"), [(1, 1), (7, 7), (40, 20), (50, 20), (13, 1)])
def test_ranks_and_scores_are_those_of_naive_loops(count, pool):
    draw = np.random.default_rng(count)
    scores = draw.integers(0, 6, (count, count)).astype(float)  # with many ties
    ranks, wanted = naive(scores, pool)
    found = pair_search_of_scores(scores, pool=pool)
    assert found.ranks.tolist() == ranks
    assert found.pool == pool
    for metric in METRICS:
        assert found.score(metric) == pytest.approx(wanted[metric])


def test_vectors_give_the_ranks_of_their_cosines_also_over_many_blocks():
    draw = np.random.default_rng(0)
    queries = draw.standard_normal((1500, 8)).astype(np.float32)
    documents = queries + draw.standard_normal((1500, 8)).astype(np.float32)
    exact = [each / np.linalg.norm(each, axis=1, keepdims=True) for each in (queries.astype(float), documents)]
    wanted = pair_search_of_scores(exact[0] @ exact[1].T)
    found = pair_search(queries, documents)
    assert np.abs(found.ranks - wanted.ranks).max() <= 1  # cosines within the rounding are ties
    assert (found.ranks == wanted.ranks).mean() > 0.99
    other = pair_search(documents, queries)
    assert np.abs(other.ranks - pair_search_of_scores(exact[1] @ exact[0].T).ranks).max() <= 1


def test_numbers_worked_by_hand():
    """Ranks 1, 2, 20, 11 of 20: MRR (1 + 1/2 + 1/20 + 1/11) / 4; only two are within ten."""
    found = PairSearch(np.array([1, 2, 20, 11]), 20)
    assert found.score("MRR") == pytest.approx((1 + 1 / 2 + 1 / 20 + 1 / 11) / 4)
    assert found.score("MRR@10") == pytest.approx(1.5 / 4)
    assert found.score("recall@1") == 0.25
    assert found.score("recall@10") == 0.5
    two = pair_search([[1, 0], [0, 1]], [[1, 2], [0, 1]])
    assert two.ranks.tolist() == [1, 1]
    assert pair_search([[1, 0], [0, 1]], [[1, 2], [1, 3]]).ranks.tolist() == [1, 1]
    assert pair_search([[1, 0], [0, 1]], [[1, 3], [1, 2]]).ranks.tolist() == [2, 2]


def test_random_vectors_find_as_much_as_chance_says():
    """E[MRR@10] is H_10 / n, E[MRR] is H_n / n, E[recall@k] is k / n."""
    draw = np.random.default_rng(3)
    found = pair_search(draw.standard_normal((4000, 32)), draw.standard_normal((4000, 32)), pool=100)
    harmonic = np.cumsum(1 / np.arange(1, 101))
    assert found.score("MRR@10") == pytest.approx(harmonic[9] / 100, abs=0.008)
    assert found.score("MRR") == pytest.approx(harmonic[99] / 100, abs=0.008)
    assert found.score("recall@10") == pytest.approx(0.1, abs=0.015)


def test_rotation_scale_and_one_order_for_both_change_nothing():
    draw = np.random.default_rng(1)
    queries, documents = draw.standard_normal((2, 60, 6))
    before = pair_search(queries, documents).ranks
    turn = np.linalg.qr(draw.standard_normal((6, 6)))[0]
    np.testing.assert_array_equal(pair_search(queries @ turn * 7, documents @ turn * 0.1).ranks, before)
    order = draw.permutation(60)
    np.testing.assert_array_equal(pair_search(queries[order], documents[order]).ranks, before[order])


def test_equal_pairs_are_found_at_once_and_a_pool_of_one_always():
    vectors = np.random.default_rng(2).standard_normal((30, 8))
    assert pair_search(vectors, vectors).score("recall@1") == 1
    assert pair_search(vectors, -vectors, pool=1).score("MRR") == 1
    assert pair_search(vectors, -vectors).ranks.tolist() == [30] * 30


@pytest.mark.parametrize("dim", [1, 3, 384])
def test_vectors_that_say_nothing_come_last(dim):
    constant = np.full((37, dim), 0.3)
    assert set(pair_search(constant, constant).ranks) == {37}
    zeros = np.zeros((37, dim))
    assert set(pair_search(zeros, zeros).ranks) == {37}
    draw = np.random.default_rng(0).standard_normal((37, dim))
    assert set(pair_search(draw, constant).ranks) == {37}
    assert set(pair_search_of_scores(np.zeros((5, 5))).ranks) == {5}
    assert set(pair_search_of_scores(np.full((5, 5), np.nan)).ranks) == {5}


def test_equal_documents_count_against_the_right_one():
    found = pair_search([[1, 0], [1, 0], [0, 1]], [[1, 0], [1, 0], [0, 1]])
    assert found.ranks.tolist() == [2, 2, 1]


def test_one_pair():
    found = pair_search([[1.0, 2.0]], [[-1.0, 0.0]])
    assert found.ranks.tolist() == [1]
    assert [found.score(metric) for metric in METRICS] == [1, 1, 1, 1]


def test_pairs_behind_the_last_whole_pool_are_left_out():
    vectors = np.random.default_rng(2).standard_normal((25, 8))
    assert len(pair_search(vectors, vectors, pool=10).ranks) == 20
    assert len(pair_search(vectors, vectors, pool=25).ranks) == 25


def test_items_go_into_intervals_and_tests():
    draw = np.random.default_rng(0)
    queries = draw.standard_normal((200, 16))
    good, bad = (pair_search(queries, queries + noise * draw.standard_normal((200, 16))) for noise in (0.5, 3.0))
    interval = bootstrap_interval([good.items("MRR@10")], resamples=200)
    assert interval.value == pytest.approx(good.score("MRR@10"))
    difference = paired_difference([good.items("MRR@10")], [bad.items("MRR@10")], resamples=200)
    assert difference.low > 0
    assert difference.p_value < 0.05


@pytest.mark.parametrize(
    ("queries", "documents", "pool", "named"),
    [
        (np.ones((0, 3)), np.ones((0, 3)), None, "there must be a pair"),
        (np.ones((3, 3)), np.ones((4, 3)), None, "must be pairs"),
        (np.ones((3, 3)), np.ones((3, 4)), None, "must be pairs"),
        (np.full((3, 3), np.nan), np.ones((3, 3)), None, "queries must be finite"),
        (np.ones((3, 3)), np.full((3, 3), np.inf), None, "documents must be finite"),
        (np.ones((3, 3)), np.ones((3, 3)), 4, "pool=4"),
        (np.ones((3, 3)), np.ones((3, 3)), 0, "pool=0"),
        (np.ones(3), np.ones(3), None, "shape"),
        (["a"], ["b"], None, "real numbers"),
    ],
)
def test_what_are_no_pairs_is_refused(queries, documents, pool, named):
    with pytest.raises(InputError, match=named):
        pair_search(queries, documents, pool=pool)


def test_scores_that_are_no_square_and_unknown_metrics_are_refused():
    with pytest.raises(InputError, match="one row and one column a pair"):
        pair_search_of_scores(np.ones((2, 3)))
    with pytest.raises(InputError, match="pool=3"):
        pair_search_of_scores(np.ones((2, 2)), pool=3)
    with pytest.raises(InputError, match="metric must be such as"):
        PairSearch(np.array([1]), 1).score("nDCG")
