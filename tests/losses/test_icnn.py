import math

import pytest
import torch

from embedkit.errors import InputError
from embedkit.losses import ICNNLoss


def batch(*, count=12, dim=3, classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(count, dim, generator=generator, dtype=torch.float64)
    return embeddings, torch.randint(0, classes, (count,), generator=generator)


def score(embeddings, labels, k=4):
    return torch.exp(-ICNNLoss(k=k)(embeddings, labels)).item()


def in_loops(embeddings, labels, k):
    points, count = embeddings.tolist(), len(labels)
    tight, apart, pure, widest = [], [], [], 0.0
    for i in range(count):
        others = sorted((math.dist(points[i], points[j]), j) for j in range(count) if j != i)
        near = others[:k]
        foreign = [d for d, j in others if labels[j] != labels[i]]
        scale = max([near[-1][0], *foreign[:1]]) if foreign else math.inf
        same = [d / scale for d, j in near if labels[j] == labels[i]]
        other = [d for d, j in near if labels[j] != labels[i]]
        pure.append(len(same) / k)
        tight += [1 - sum(same) / len(same)] if same else []
        apart += [sum(other) / len(other)] if other else []
        widest = max([widest, *other])
    first = sum(tight) / len(tight) if tight else 0.0
    second = sum(apart) / len(apart) / widest if apart else 1.0
    return ((first + second) / 2 + sum(pure) / count) / 2


@pytest.mark.parametrize("k", [1, 3, 4, 11])
@pytest.mark.parametrize("seed", range(3))
def test_the_formula_in_loops_gives_the_same(k, seed):
    embeddings, labels = batch(seed=seed)
    labels[0] = 99  # alone
    assert score(embeddings, labels, k) == pytest.approx(in_loops(embeddings, labels, k))


def test_worked_by_hand():
    embeddings = torch.tensor([[0.0], [1.0], [3.0]])
    labels = torch.tensor([0, 0, 1])
    # Nearest: 1 of 3, 1 of 2, and the third has one of another class at 2; pure 2/3.
    expected = ((1 - (1 / 3 + 1 / 2) / 2 + 1) / 2 + 2 / 3) / 2
    assert score(embeddings, labels, k=1) == pytest.approx(expected)


def test_scale_place_and_turn_do_not_matter():
    embeddings, labels = batch()
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64))[0]
    moved = 7 * embeddings @ turn + 3
    assert score(moved, labels) == pytest.approx(score(embeddings, labels))


def test_points_of_classes_far_apart_score_one():
    embeddings = torch.tensor([[0.0], [0.0], [9.0], [9.0]])
    assert score(embeddings, torch.tensor([0, 0, 1, 1]), k=1) == pytest.approx(1)


def test_one_class_costs_nothing():
    embeddings, _ = batch()
    embeddings.requires_grad_()
    value = ICNNLoss()(embeddings, torch.zeros(12, dtype=torch.long))
    value.backward()
    assert value.item() == pytest.approx(0)
    assert (embeddings.grad == 0).all()


def test_singletons_have_no_neighbour_of_their_own():
    embeddings, _ = batch()
    value = score(embeddings, torch.arange(12))
    assert 0 < value <= 0.25  # only how far apart they are


def test_the_gradient_is_that_of_finite_differences():
    embeddings, labels = batch(count=8)
    assert torch.autograd.gradcheck(lambda rows: ICNNLoss(k=3)(rows, labels), embeddings.requires_grad_())


@pytest.mark.parametrize("k", [0, -1, 2.5, "four", True])
def test_k_is_a_number_of_neighbours(k):
    with pytest.raises(InputError, match="k must be"):
        ICNNLoss(k=k)
