"""Search with several right answers, novelty, the modality gap and the audit of pairs."""

import numpy as np
import pytest
from scipy.stats import ortho_group
from sklearn.metrics import roc_auc_score

from embedkit.errors import InputError
from embedkit.evaluation.keyed_search import keyed_search
from embedkit.evaluation.modality_gap import modality_gap
from embedkit.evaluation.novelty import by_novelty, nearness
from embedkit.evaluation.pair_audit import audit_pairs
from embedkit.evaluation.pair_search import PairSearch, pair_search


def unit(*shape, seed=0):
    vectors = np.random.default_rng(seed).normal(size=shape)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


# -- keyed_search --------------------------------------------------------------------------------------


def naive_ranks(queries, documents, query_keys, document_keys):
    ranks = []
    for query, key in zip(queries, query_keys, strict=True):
        scores = [float(query @ document) for document in documents]
        best = max(score for score, other in zip(scores, document_keys, strict=True) if other == key)
        wrong = [score for score, other in zip(scores, document_keys, strict=True) if other != key]
        ranks.append(1 + sum(score >= best for score in wrong))
    return ranks


def test_ranks_are_those_of_naive_loops():
    draw = np.random.default_rng(1)
    queries, documents = unit(1100, 6), unit(70, 6, seed=1)
    keys = draw.integers(20, size=70).tolist() + list(range(20))
    documents = np.vstack([documents, unit(20, 6, seed=2)])
    wanted = draw.integers(20, size=1100).tolist()
    found = keyed_search(queries, documents, wanted, keys)
    assert found.ranks.tolist() == naive_ranks(queries, documents, wanted, keys)
    assert found.pool == 90


def test_with_one_key_a_pair_it_is_pair_search():
    one, other = unit(40, 5), unit(40, 5, seed=1)
    found = keyed_search(one, other, range(40), range(40))
    np.testing.assert_array_equal(found.ranks, pair_search(one, other).ranks)


def test_vectors_that_say_nothing_find_nothing():
    found = keyed_search(np.ones((4, 3)), np.ones((6, 3)), ["a", "b", "a", "b"], ["a", "a", "b", "c", "c", "c"])
    assert found.ranks.tolist() == [5, 6, 5, 6]  # behind all wrong ones
    assert (found.score("recall@5"), found.score("recall@4"), found.median_rank) == (0.5, 0.0, 5.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query_keys": ["a"]}, "query_keys must be one for each of 2"),
        ({"document_keys": "abc"}, "document_keys must be one for each of 3"),
        ({"query_keys": ["a", "z"]}, "1 have none, the first with key 'z'"),
        ({"queries": np.ones((2, 4))}, "must have one width"),
        ({"queries": np.ones((0, 2)), "query_keys": []}, "there must be some"),
        ({"documents": np.full((3, 2), np.nan)}, "finite"),
    ],
)
def test_bad_searches_are_refused(change, message):
    given = {
        "queries": np.ones((2, 2)),
        "documents": np.ones((3, 2)),
        "query_keys": ["a", "b"],
        "document_keys": ["a", "b", "c"],
    }
    with pytest.raises(InputError, match=message):
        keyed_search(**{**given, **change})


# -- novelty -------------------------------------------------------------------------------------------


def test_nearness_is_the_largest_cosine():
    new, old = unit(1500, 4), unit(30, 4, seed=1)
    np.testing.assert_allclose(nearness(new * 3, old), (new @ old.T).max(axis=1), atol=1e-6)
    np.testing.assert_allclose(nearness(old, old), 1, atol=1e-6)
    assert nearness(np.empty((0, 4)), old).shape == (0,)


def test_bands_hold_each_query_once_and_their_mean_is_the_score():
    draw = np.random.default_rng(0)
    found = PairSearch(draw.integers(1, 20, size=300), 50)
    near = draw.uniform(-1, 1, size=300)
    bands = by_novelty(found, "recall@10", near, resamples=100)
    assert sum(band.count for band in bands) == 300
    total = sum(band.count * band.score.value for band in bands if band.score)
    assert total / 300 == pytest.approx(found.score("recall@10"))
    for band in bands:
        inside = (near >= band.low) & (near < band.high)
        assert band.score.value == pytest.approx((found.ranks[inside] <= 10).mean())


def test_edges_belong_to_the_band_above_and_the_last_to_the_last():
    bands = by_novelty(
        PairSearch(np.ones(4, int), 4), "MRR", [0.0, 0.5, 1.0, 1.0 + 1e-7], edges=(0, 0.5, 1), resamples=100
    )
    assert [band.count for band in bands] == [1, 3]
    empty = by_novelty(PairSearch(np.ones(1, int), 4), "MRR", [0.1], edges=(0, 0.5, 1), resamples=100)
    assert (empty[1].count, empty[1].score) == (0, None)


@pytest.mark.parametrize(
    ("near", "edges", "message"),
    [
        ([0.1], (0, 1), "near must be one number for each of 2"),
        ([0.1, 2.0], (0, 1), "within the edges"),
        ([0.1, np.nan], (0, 1), "within the edges"),
        ([0.1, 0.2], (1, 0), "edges must be"),
        ([0.1, 0.2], (1,), "edges must be"),
    ],
)
def test_bad_bands_are_refused(near, edges, message):
    with pytest.raises(InputError, match=message):
        by_novelty(PairSearch(np.ones(2, int), 4), "MRR", near, edges=edges)


def test_nothing_trained_on_is_refused():
    with pytest.raises(InputError, match="trained_on must be some vectors of width 3"):
        nearness(unit(2, 3), np.empty((0, 3)))


# -- the gap -------------------------------------------------------------------------------------------


def test_equal_vectors_have_no_gap():
    vectors = unit(50, 8)
    found = modality_gap(vectors, vectors, k=5)
    assert found.gap == pytest.approx(0, abs=1e-6)
    assert found.matched == pytest.approx(1, abs=1e-6)
    cosines = vectors @ vectors.T
    assert found.random == pytest.approx((cosines.sum() - 50) / (50 * 49), abs=1e-6)


def test_by_hand():
    """Pictures (1, 0) and texts (0, 1): the means are sqrt(2) apart, and no neighbour is of the other kind."""
    found = modality_gap([[1, 0]] * 3, [[0, 2]] * 3, k=2)
    assert found.gap == pytest.approx(2**0.5)
    assert (found.matched, found.random) == (0, 0)
    assert (found.own_images, found.own_texts) == (1, 1)


def test_hubness_of_one_hub_by_hand():
    """All four pictures find the first of four texts: counts 4, 0, 0, 0 have skewness 2 / sqrt(3)."""
    found = modality_gap(np.eye(1, 5).repeat(4, axis=0), np.eye(4, 5), k=1)
    assert found.hubness == pytest.approx(2 / 3**0.5)


def test_one_rotation_of_both_changes_nothing_and_two_do():
    one, other = unit(40, 6), unit(40, 6, seed=1)
    turn = ortho_group.rvs(6, random_state=0)
    before, after = modality_gap(one, other), modality_gap(one @ turn, other @ turn)
    for name, value in vars(before).items():
        assert getattr(after, name) == pytest.approx(value, abs=1e-5), name
    assert modality_gap(one @ turn, other).matched != pytest.approx(before.matched, abs=1e-3)


def test_it_says_its_numbers():
    lines = str(modality_gap(unit(20, 4), unit(20, 4, seed=1))).splitlines()
    assert len(lines) == 6
    assert max(map(len, lines)) < 60


@pytest.mark.parametrize(
    ("images", "texts", "k"),
    [
        (unit(3, 2), unit(2, 2), 1),
        (unit(3, 2), unit(3, 3), 1),
        (unit(1, 2), unit(1, 2), 1),
        (unit(3, 2), unit(3, 2), 3),
    ],
)
def test_bad_gaps_are_refused(images, texts, k):
    with pytest.raises(InputError, match=r"images and texts must be two pairs|k must be a whole number, 1 … 2"):
        modality_gap(images, texts, k=k)


# -- the audit -----------------------------------------------------------------------------------------


def noisy(share=0.3, n=300):
    draw = np.random.default_rng(0)
    images = draw.normal(size=(n, 10))
    texts = images @ draw.normal(size=(10, 8)) + 0.5 * draw.normal(size=(n, 8))
    wrong = np.arange(n) < share * n
    texts[wrong] = np.roll(texts[wrong], 1, axis=0)
    return images, texts, wrong


def test_wrong_captions_come_first():
    images, texts, wrong = noisy()
    audit = audit_pairs(images, texts)
    assert roc_auc_score(wrong, -audit.scores) > 0.95
    assert roc_auc_score(wrong, -audit.fits) > 0.95
    assert ((audit.fits >= 0) & (audit.fits <= 1)).all()
    assert wrong[audit.worst(30)].mean() > 0.9
    assert sorted(audit.worst().tolist()) == list(range(300))


def test_the_order_of_pairs_does_not_matter_where_no_folds_are_drawn():
    images, texts = unit(60, 4), unit(60, 4, seed=1)
    order = np.random.default_rng(3).permutation(60)
    first, other = audit_pairs(images, texts, folds=None), audit_pairs(images[order], texts[order], folds=None)
    np.testing.assert_allclose(other.scores, first.scores[order], atol=1e-6)
    np.testing.assert_allclose(other.scores, (images * texts).sum(1)[order], atol=1e-6)


def test_two_far_normal_distributions_are_told_apart():
    angles = np.concatenate(
        [np.random.default_rng(0).normal(0.2, 0.02, 70), np.random.default_rng(1).normal(1.2, 0.02, 30)]
    )
    texts = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    audit = audit_pairs(np.array([[1.0, 0.0]] * 100), texts, folds=None)
    assert (audit.fits > 0.5).tolist() == [True] * 70 + [False] * 30


def test_where_nothing_differs_all_fit():
    audit = audit_pairs(unit(20, 3), unit(20, 3), folds=None)
    assert audit.fits.tolist() == [1.0] * 20


def test_a_group_vouches_for_itself_unless_it_is_kept_in_one_fold():
    """Each wrong caption is given to five equal pictures: the other four teach the map that it is right."""
    images, texts, wrong = noisy(n=100)
    images, texts, wrong = (np.repeat(each, 5, axis=0) for each in (images, texts, wrong))
    groups = np.repeat(np.arange(100), 5).tolist()
    apart = audit_pairs(images, texts, groups=groups).scores[wrong].mean()
    assert apart < audit_pairs(images, texts).scores[wrong].mean()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"texts": unit(19, 3)}, "must be 10 pairs or more; received 20 and 19"),
        ({"images": unit(5, 3), "texts": unit(5, 3)}, "must be 10 pairs or more"),
        ({"folds": 1}, "folds must be a whole number from 2"),
        ({"folds": None, "texts": unit(20, 4)}, "must have one width"),
        ({"groups": ["a"] * 20}, "5 different ones or more; received 20, 1 of them different"),
        ({"groups": ["a"] * 3}, "groups must be one for each of 20 pairs"),
    ],
)
def test_bad_audits_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        audit_pairs(**{"images": unit(20, 3), "texts": unit(20, 3), **change})
