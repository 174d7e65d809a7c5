import pytest
import torch

from embedkit.errors import InputError
from embedkit.losses import ContrastiveLoss


def batch(*, count=9, dim=4, classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(count, dim, generator=generator, dtype=torch.float64)
    return embeddings, torch.randint(0, classes, (count,), generator=generator)


def in_loops(embeddings, labels, margin):
    unit = torch.nn.functional.normalize(embeddings, dim=1)
    total = 0.0
    for i in range(len(labels)):
        for j in range(len(labels)):
            cosine = float(unit[i] @ unit[j])
            if i != j:
                total += 1 - cosine if labels[i] == labels[j] else max(0.0, cosine - margin)
    return total / len(labels)


@pytest.mark.parametrize("margin", [0.0, 0.3, 1.0])
def test_the_formula_in_loops_gives_the_same(margin):
    embeddings, labels = batch()
    labels[0] = 99  # alone
    value = ContrastiveLoss(margin=margin)(embeddings, labels)
    assert value.item() == pytest.approx(in_loops(embeddings, labels, margin))


def test_worked_by_hand():
    embeddings = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    # One pair of positives at .6, negatives at 0 and .8: each row .4, and .3 for the second and third.
    value = ContrastiveLoss()(embeddings, torch.tensor([0, 0, 1]))
    assert value.item() == pytest.approx((0.4 + 0.4 + 0.3 + 0.3) / 3)


def test_a_margin_of_one_only_attracts():
    embeddings, _ = batch()
    assert ContrastiveLoss(margin=1.0)(embeddings, torch.arange(9)).item() == pytest.approx(0, abs=1e-12)


def test_equal_positives_and_far_negatives_cost_nothing():
    embeddings = torch.eye(3)[[0, 0, 1, 1, 2]].requires_grad_()
    value = ContrastiveLoss()(embeddings, torch.tensor([0, 0, 1, 1, 2]))
    assert value.item() == pytest.approx(0, abs=1e-6)


def test_one_row_has_a_gradient_of_zero():
    embeddings = torch.ones(1, 3, requires_grad=True)
    value = ContrastiveLoss()(embeddings, torch.tensor([4]))
    value.backward()
    assert value.item() == 0
    assert (embeddings.grad == 0).all()


@pytest.mark.parametrize("margin", [-0.1, 1.1, "wide", True])
def test_the_margin_is_a_cosine(margin):
    with pytest.raises(InputError, match="margin"):
        ContrastiveLoss(margin=margin)
