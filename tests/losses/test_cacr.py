import math

import pytest
import torch

from embedkit.errors import InputError
from embedkit.losses import CACRLoss


def batch(*, count=9, dim=5, classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(count, dim, generator=generator, dtype=torch.float64)
    return embeddings, torch.randint(0, classes, (count,), generator=generator)


def weighted(costs, sharpness):
    weights = [math.exp(sharpness * cost) for cost in costs]
    return sum(weight * cost for weight, cost in zip(weights, costs, strict=True)) / sum(weights)


def in_loops(embeddings, labels, pull, push):
    unit = torch.nn.functional.normalize(embeddings, dim=1)
    values = []
    for i in range(len(labels)):
        costs = {j: float((unit[i] - unit[j]).square().sum()) for j in range(len(labels)) if j != i}
        positives = [cost for j, cost in costs.items() if labels[j] == labels[i]]
        negatives = [cost for j, cost in costs.items() if labels[j] != labels[i]]
        values.append(
            (weighted(positives, pull) if positives else 0) - (weighted(negatives, -push) if negatives else 0)
        )
    return sum(values) / len(values)


@pytest.mark.parametrize("sharpness", [(1.0, 2.0), (0.0, 0.0), (3.0, 0.9)])
def test_the_formula_in_loops_gives_the_same(sharpness):
    embeddings, labels = batch()
    labels[0] = 99  # alone
    loss = CACRLoss(positive_sharpness=sharpness[0], negative_sharpness=sharpness[1])
    assert loss(embeddings, labels).item() == pytest.approx(in_loops(embeddings, labels, *sharpness))


def test_worked_by_hand():
    embeddings = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    labels = torch.tensor([0, 0, 1])
    # Positives cost 2 and 2; negatives 4 and 2; the third has the negatives 4 and 2, of weights e^-4 and e^-2.
    third = (4 * math.exp(-4) + 2 * math.exp(-2)) / (math.exp(-4) + math.exp(-2))
    expected = ((2 - 4) + (2 - 2) + (0 - third)) / 3
    assert CACRLoss(negative_sharpness=1.0)(embeddings, labels).item() == pytest.approx(expected)


def test_sharp_weights_look_at_the_farthest_positive_and_the_nearest_negative():
    embeddings, labels = batch(count=12)
    costs = torch.cdist(*(2 * [torch.nn.functional.normalize(embeddings, dim=1)])).square()
    same = labels[:, None] == labels[None, :]
    farthest, nearest = costs.masked_fill(~same, 0).amax(dim=1), costs.masked_fill(same, 9).amin(dim=1)
    loss = CACRLoss(positive_sharpness=1e4, negative_sharpness=1e4)
    assert loss(embeddings, labels).item() == pytest.approx((farthest - nearest).mean().item(), abs=1e-3)


def test_it_stays_between_its_ends():
    two = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    assert CACRLoss()(two, torch.tensor([0, 0])).item() == pytest.approx(4)
    assert CACRLoss()(two, torch.tensor([0, 1])).item() == pytest.approx(-4)


def test_lengths_do_not_matter():
    embeddings, labels = batch()
    lengths = torch.arange(1, 10)[:, None]
    torch.testing.assert_close(CACRLoss()(embeddings, labels), CACRLoss()(embeddings * lengths, labels))


def test_one_row_has_neither_and_a_gradient_of_zero():
    embeddings = torch.ones(1, 3, requires_grad=True)
    value = CACRLoss()(embeddings, torch.tensor([4]))
    value.backward()
    assert value.item() == 0
    assert (embeddings.grad == 0).all()


@pytest.mark.parametrize("name", ["positive_sharpness", "negative_sharpness"])
def test_sharpness_is_not_negative(name):
    with pytest.raises(InputError, match=name):
        CACRLoss(**{name: -0.1})
