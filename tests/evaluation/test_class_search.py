import numpy as np
import pytest

from embedkit.errors import InputError
from embedkit.evaluation.class_search import class_search
from embedkit.evaluation.statistics import bootstrap_interval


def batch(*, count=40, dim=5, classes=4, seed=0):
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, classes, size=count)
    return draw.normal(size=(count, dim)) + labels[:, None] * 0.4, labels


@pytest.mark.parametrize("seed", range(3))
def test_the_definitions_in_loops_give_the_same(seed):
    vectors, labels = batch(seed=seed)
    labels[0] = 99  # alone
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    maps, precisions, first, five = [], [], [], []
    for i in range(1, 40):
        others = sorted((j for j in range(40) if j != i), key=lambda j, i=i: -unit[i] @ unit[j])
        hits = [labels[j] == labels[i] for j in others]
        right = sum(hits)
        precisions.append(sum(hits[:right]) / right)
        maps.append(sum(sum(hits[: k + 1]) / (k + 1) for k in range(right) if hits[k]) / right)
        first.append(hits[0])
        five.append(any(hits[:5]))
    found = class_search(vectors, labels)
    assert found.rows.tolist() == list(range(1, 40))
    assert found.pool == 39
    np.testing.assert_allclose(found.values("MAP@R"), maps)
    np.testing.assert_allclose(found.values("R-precision"), precisions)
    np.testing.assert_array_equal(found.values("recall@1"), first)
    np.testing.assert_array_equal(found.values("recall@5"), five)
    assert found.score("MAP@R") == pytest.approx(np.mean(maps))


def test_worked_by_hand():
    angles = np.radians([0, 10, 25, 45])
    found = class_search(np.stack([np.cos(angles), np.sin(angles)], axis=1), [0, 1, 0, 0])
    # The first finds 10, 25, 45 degrees: wrong, right, right. R = 2: (0 + 1/2) / 2.
    # The third, 15, 20 and 25 degrees away: wrong, right, right: the same. The last: right, wrong, right: 1 / 2.
    assert [ranks.tolist() for ranks in found.ranks] == [[2, 3], [2, 3], [1, 3]]
    np.testing.assert_allclose(found.values("MAP@R"), [0.25, 0.25, 0.5])
    np.testing.assert_allclose(found.values("R-precision"), [0.5, 0.5, 0.5])


@pytest.mark.parametrize("spread", [1.0, 0.0])
def test_a_search_that_does_not_reach_all_finds_the_same(spread):
    draw = np.random.default_rng(0)
    labels = np.arange(600) % 150
    vectors = np.eye(150)[labels] + 0.1 * draw.normal(size=(600, 150)) if spread else np.ones((600, 3))
    found = class_search(vectors, labels)
    assert (found.depth, found.pool) == (107, 599)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -np.inf)
    same = labels[:, None] == labels[None, :]
    order = np.argsort(-(cosines - 1e-5 * same), axis=1, kind="stable")
    hits = np.take_along_axis(same, order, axis=1)[:, :3]
    np.testing.assert_allclose(found.values("R-precision"), hits.mean(axis=1))
    np.testing.assert_allclose(found.values("recall@1"), hits[:, 0])
    with pytest.raises(InputError, match=r"nearest 107 at most; received recall@108"):
        found.values("recall@108")


def test_vectors_without_direction_are_searched_too():
    found = class_search([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0], [1.0, 0.1]], [0, 1, 0, 1])
    np.testing.assert_allclose(found.values("recall@1"), [0, 1, 0, 1])


def test_classes_that_lie_apart_are_found_whole():
    labels = np.arange(12) % 3
    found = class_search(np.eye(3)[labels] + 0.01 * batch(count=12, dim=3)[0], labels)
    assert found.score("MAP@R") == found.score("R-precision") == found.score("recall@1") == 1


def test_vectors_that_say_nothing_find_nothing():
    found = class_search(np.ones((6, 3)), [0, 0, 1, 1, 2, 2])
    assert found.score("recall@1") == found.score("MAP@R") == 0


def test_lengths_and_names_of_classes_do_not_matter():
    vectors, labels = batch()
    one, other = class_search(vectors, labels), class_search(vectors * np.arange(1, 41)[:, None], -7 * labels)
    assert [ranks.tolist() for ranks in one.ranks] == [ranks.tolist() for ranks in other.ranks]


def test_scores_have_intervals():
    interval = bootstrap_interval([class_search(*batch()).items("MAP@R")], resamples=100)
    assert interval.low < interval.value < interval.high


@pytest.mark.parametrize(
    ("vectors", "labels", "message"),
    [
        (np.eye(3), [0, 0], "labels must be one integer for each of 3"),
        (np.eye(3), [0.0, 0.0, 1.0], "labels must be one integer"),
        (np.eye(3), [0, 1, 2], "a class must have two vectors"),
        (np.zeros((0, 3)), np.zeros(0, dtype=int), "a class must have two vectors"),
        (np.full((2, 3), np.nan), [0, 0], "finite"),
    ],
)
def test_what_cannot_be_searched_is_said(vectors, labels, message):
    with pytest.raises(InputError, match=message):
        class_search(vectors, labels)


@pytest.mark.parametrize("metric", ["map@r", "recall@0", "MAP@10", None])
def test_metrics_there_are_not(metric):
    with pytest.raises(InputError, match=r"metric must be such as MAP@R"):
        class_search(np.eye(2), [0, 0]).values(metric)
