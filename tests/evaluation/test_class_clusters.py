import numpy as np
import pytest
import torch

from embedkit.errors import InputError
from embedkit.evaluation.class_clusters import class_clusters, icnn_score
from embedkit.losses import ICNNLoss


def batch(spread, *, count=60, classes=4):
    draw = np.random.default_rng(0)
    labels = np.arange(count) % classes
    return np.eye(classes)[labels] + spread * draw.normal(size=(count, classes)), labels


def test_classes_that_lie_apart_are_the_clusters():
    found = class_clusters(*batch(0.01))
    assert found.ami == pytest.approx(1)
    assert found.nmi == pytest.approx(1)


def test_noise_agrees_no_more_than_chance():
    found = class_clusters(np.random.default_rng(0).normal(size=(200, 8)), np.arange(200) % 20)
    assert abs(found.ami) < 0.05
    assert found.nmi > 0.2  # which is why the other is there


def test_less_noise_agrees_more():
    scores = [class_clusters(*batch(spread)).ami for spread in (0.1, 0.4, 2.0)]
    assert scores == sorted(scores, reverse=True)


def test_the_mutual_information_by_hand():
    # Clusters {a, a, b} and {b, b}: the angles leave k-means no choice.
    angles = np.radians([0, 1, 2, 89, 90])
    vectors, labels = np.stack([np.cos(angles), np.sin(angles)], axis=1), [0, 0, 1, 1, 1]
    joint = np.array([[2, 1], [0, 2]]) / 5
    cluster, of_class = joint.sum(axis=1), joint.sum(axis=0)
    shared = sum(
        joint[i, j] * np.log(joint[i, j] / (cluster[i] * of_class[j])) for i in (0, 1) for j in (0, 1) if joint[i, j]
    )
    entropies = [-(each * np.log(each)).sum() for each in (cluster, of_class)]
    assert class_clusters(vectors, labels).nmi == pytest.approx(shared / np.mean(entropies))


@pytest.mark.parametrize(
    ("vectors", "labels", "message"),
    [
        (np.eye(3), [0, 0], "labels must be one integer for each of 3"),
        (np.eye(3), [0, 0, 0], "there must be two classes"),
        (np.zeros((0, 3)), np.zeros(0, dtype=int), "there must be two classes"),
        (np.full((2, 3), np.nan), [0, 1], "finite"),
    ],
)
def test_what_cannot_be_cut_is_said(vectors, labels, message):
    with pytest.raises(InputError, match=message):
        class_clusters(vectors, labels)


@pytest.mark.parametrize("count", [30, 700])  # 700 is more than a block
def test_the_neighbourhood_score_is_that_of_the_loss(count):
    draw = np.random.default_rng(0)
    embeddings, labels = draw.normal(size=(count, 4)).astype(np.float32), draw.integers(0, 5, count)
    loss = ICNNLoss(k=5)(torch.from_numpy(embeddings), torch.from_numpy(labels))
    assert icnn_score(embeddings, labels) == pytest.approx(np.exp(-loss.item()), rel=1e-5)


def test_the_neighbourhood_score_of_classes_apart_is_high_and_of_none_low():
    draw = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 20)
    apart = 10 * np.eye(4)[labels] + 0.1 * draw.normal(size=(80, 4))
    assert icnn_score(apart, labels) > 0.95
    assert icnn_score(draw.normal(size=(80, 4)), labels) < 0.6
    assert icnn_score(1000 * apart + 5, labels) == pytest.approx(icnn_score(apart, labels), abs=1e-3)


@pytest.mark.parametrize("k", [0, 3, 2.5])
def test_neighbours_are_fewer_than_vectors(k):
    with pytest.raises(InputError, match="k must be"):
        icnn_score(np.eye(3), [0, 0, 1], k=k)
