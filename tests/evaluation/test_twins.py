import numpy as np
import pytest
from sklearn.metrics import accuracy_score

from embedkit.errors import InputError
from embedkit.evaluation.twins import TwinScores, paired_wins, twin_scores


def test_worked_by_hand():
    labels = [0, 1, 1, 0, 0, 1, 1, 0]
    scores = [0.1, 0.9, 0.4, 0.6, 0.7, 0.8, 0.3, 0.3]
    twins = [5, 5, 1, 1, 2, 2, 9, 9]
    assert paired_wins(labels, scores, twins).tolist() == [0.0, 1.0, 1.0, 0.5]
    assert twin_scores(labels, scores, twins) == TwinScores(accuracy=0.5, paired_accuracy=0.625, pairs=4)


def test_naive_loop():
    random = np.random.default_rng(0)
    twins = np.repeat(random.permutation(50), 2)
    labels = np.tile([True, False], 50)
    scores = random.integers(0, 4, 100) / 3
    order = random.permutation(100)
    won = []
    for twin in range(50):
        bug = scores[(twins == twin) & labels][0]
        without = scores[(twins == twin) & ~labels][0]
        won.append(1.0 if bug > without else 0.5 if bug == without else 0.0)
    assert paired_wins(labels[order], scores[order], twins[order]).tolist() == won
    result = twin_scores(labels[order], scores[order], twins[order], threshold=0.4)
    assert result.accuracy == accuracy_score(labels, scores > 0.4)
    assert result.paired_accuracy == np.mean(won)


def test_limits():
    labels, twins = [0, 1] * 10, np.repeat(np.arange(10), 2)
    assert twin_scores(labels, [0, 1] * 10, twins) == TwinScores(1.0, 1.0, 10)
    assert twin_scores(labels, [1, 0] * 10, twins) == TwinScores(0.0, 0.0, 10)
    assert twin_scores(labels, [0.2] * 20, twins) == TwinScores(0.5, 0.5, 10)
    assert twin_scores(labels, np.arange(20), twins).paired_accuracy == 1.0


def test_paired_accuracy_knows_order_only():
    random = np.random.default_rng(1)
    labels, twins, scores = [0, 1] * 30, np.repeat(np.arange(30), 2), random.standard_normal(60)
    shifted = np.exp(scores) + np.repeat(random.integers(0, 1000, 30), 2)
    assert np.array_equal(paired_wins(labels, scores, twins), paired_wins(labels, shifted, twins))
    mirrored = paired_wins(labels, -scores, twins)
    assert np.array_equal(mirrored, 1 - paired_wins(labels, scores, twins))


@pytest.mark.parametrize(
    ("labels", "twins"),
    [
        ([0, 1, 0], [0, 0, 1]),
        ([0, 1, 0, 1], [0, 0, 1, 2]),
        ([0, 0, 1, 1], [0, 0, 1, 1]),
        ([0, 0, 1, 1], [0, 0, 0, 0]),
        ([1, 1], [0, 0]),
    ],
)
def test_twins_are_pairs(labels, twins):
    with pytest.raises(InputError, match="twins must be pairs of one with the bug and one without"):
        twin_scores(labels, [0.0] * len(labels), twins)


def test_lengths_agree():
    with pytest.raises(InputError, match="of one length; received 2, 2, 3"):
        twin_scores([0, 1], [0, 1], [0, 0, 1])


@pytest.mark.parametrize("scores", [[0.1, float("nan")], [0.1, float("inf")], [], [[0.1, 0.2]]])
def test_scores_are_finite(scores):
    with pytest.raises(InputError, match="scores must be 2 or more finite numbers"):
        twin_scores([0, 1], scores, [0, 0])


def test_labels_say_whether():
    with pytest.raises(InputError, match="labels must say whether each has the bug"):
        twin_scores(["correct", "wrong"], [0, 1], [0, 0])
