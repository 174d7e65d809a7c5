import pytest
import torch
from torch.nn.functional import triplet_margin_loss

from embedkit.errors import InputError
from embedkit.losses import ProtoTripletLoss


def batch(*, count=12, dim=4, classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(count, dim, generator=generator, dtype=torch.float64)
    return embeddings, torch.randint(0, classes, (count,), generator=generator)


@pytest.mark.parametrize("seed", range(3))
def test_the_formula_in_loops_gives_the_same(seed):
    embeddings, labels = batch(seed=seed)
    labels[0] = 99  # alone: a mean that others may come near to, and no query
    values = []
    for i in range(1, 12):
        others = [j for j in range(12) if j != i and labels[j] == labels[i]]
        own = (embeddings[i] - embeddings[others].mean(dim=0)).norm()
        far = min(
            (embeddings[i] - embeddings[labels == k].mean(dim=0)).norm()
            for k in set(labels.tolist()) - {int(labels[i])}
        )
        values.append(max(0.0, float(own - far + 0.7)))
    assert ProtoTripletLoss(margin=0.7)(embeddings, labels).item() == pytest.approx(sum(values) / len(values))


def test_worked_by_hand():
    embeddings = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 2.0]])
    # To its own: 5 and 5. To the other: 2 and sqrt(13).
    expected = ((5 - 2 + 1) + (5 - 13**0.5 + 1)) / 2
    assert ProtoTripletLoss(margin=1.0)(embeddings, torch.tensor([0, 0, 1])).item() == pytest.approx(expected)


def test_two_of_a_class_against_one_are_triplets():
    embeddings, _ = batch(count=3)
    labels = torch.tensor([1, 1, 0])
    anchors, positives, negatives = embeddings[[0, 1]], embeddings[[1, 0]], embeddings[[2, 2]]
    expected = triplet_margin_loss(anchors, positives, negatives, margin=0.5, eps=0)
    torch.testing.assert_close(ProtoTripletLoss(margin=0.5)(embeddings, labels), expected)


def test_classes_that_lie_apart_cost_nothing():
    embeddings = torch.tensor([[0.0], [0.1], [9.0], [9.1]], requires_grad=True)
    value = ProtoTripletLoss()(embeddings, torch.tensor([0, 0, 1, 1]))
    value.backward()
    assert value.item() == 0
    assert (embeddings.grad == 0).all()


def test_moving_everything_changes_nothing():
    embeddings, labels = batch()
    torch.testing.assert_close(ProtoTripletLoss()(embeddings + 7, labels), ProtoTripletLoss()(embeddings, labels))


@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 2]])
def test_one_class_or_no_two_of_any_give_zero_with_a_gradient_of_zero(labels):
    embeddings = torch.randn(3, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    value = ProtoTripletLoss()(embeddings, torch.tensor(labels))
    value.backward()
    assert value.item() == 0
    assert (embeddings.grad == 0).all()


def test_the_gradient_is_that_of_finite_differences():
    embeddings, labels = batch(count=7)
    assert torch.autograd.gradcheck(
        lambda rows: ProtoTripletLoss(margin=2.0)(rows, labels), embeddings.requires_grad_()
    )


def test_the_margin_is_not_negative():
    with pytest.raises(InputError, match="margin"):
        ProtoTripletLoss(margin=-0.1)
