import math

import pytest
import torch

from embedkit.errors import InputError
from embedkit.losses import EnergyConfusionLoss, SupConLoss


def batch(*, count=12, dim=4, classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(count, dim, generator=generator, dtype=torch.float64)
    return embeddings, torch.randint(0, classes, (count,), generator=generator)


def nothing(embeddings, labels):
    del labels
    return 0 * embeddings.sum()


def energy(embeddings, labels):
    return EnergyConfusionLoss(nothing, weight=1.0, log=False)(embeddings, labels)


def in_loops(embeddings, labels):
    classes = [embeddings[labels == label] for label in sorted(set(labels.tolist()))]
    pairs = [(one, other) for one in range(len(classes)) for other in range(len(classes)) if one != other]
    return sum(
        sum(float((x - y).square().sum()) for x in classes[a] for y in classes[b]) / (len(classes[a]) * len(classes[b]))
        for a, b in pairs
    ) / len(pairs)


@pytest.mark.parametrize("seed", range(3))
def test_means_and_variances_give_what_all_pairs_give(seed):
    embeddings, labels = batch(seed=seed)
    labels[0] = 99  # alone
    expected = in_loops(embeddings, labels)
    assert energy(embeddings, labels).item() == pytest.approx(expected)
    total = EnergyConfusionLoss(SupConLoss(), weight=0.3)(embeddings, labels)
    assert total.item() == pytest.approx(SupConLoss()(embeddings, labels).item() + 0.3 * math.log(expected))


def test_worked_by_hand():
    rows = torch.tensor([[0.0], [2.0], [5.0]])
    assert energy(rows, torch.tensor([0, 0, 1])).item() == pytest.approx((25 + 9) / 2)


def test_a_weight_of_zero_is_the_loss_itself():
    embeddings, labels = batch()
    assert torch.equal(
        EnergyConfusionLoss(SupConLoss(), weight=0)(embeddings, labels), SupConLoss()(embeddings, labels)
    )


def test_moving_changes_nothing_and_scaling_adds_its_logarithm():
    embeddings, labels = batch()
    torch.testing.assert_close(energy(embeddings + 5, labels), energy(embeddings, labels))
    one, scaled = (EnergyConfusionLoss(nothing, weight=1.0)(factor * embeddings, labels).item() for factor in (1, 3))
    assert scaled == pytest.approx(one + 2 * math.log(3))


def test_it_is_at_least_the_distance_of_the_means():
    embeddings, _ = batch(count=6)
    labels = torch.tensor([0, 0, 0, 1, 1, 1])
    means = embeddings[:3].mean(dim=0) - embeddings[3:].mean(dim=0)
    assert energy(embeddings, labels) > means.square().sum()
    equal = torch.stack([embeddings[0]] * 3 + [embeddings[1]] * 3)
    torch.testing.assert_close(energy(equal, labels), (embeddings[0] - embeddings[1]).square().sum())


@pytest.mark.parametrize("log", [True, False])
def test_one_class_is_the_loss_alone(log):
    embeddings, _ = batch(count=3)
    wrapped = EnergyConfusionLoss(SupConLoss(), weight=1.0, log=log)
    labels = torch.tensor([2, 2, 2])
    assert torch.equal(wrapped(embeddings, labels), SupConLoss()(embeddings, labels))


def test_equal_rows_stay_finite():
    embeddings = torch.ones(4, 3, requires_grad=True)
    value = EnergyConfusionLoss(nothing)(embeddings, torch.tensor([0, 0, 1, 1]))
    value.backward()
    assert torch.isfinite(value)
    assert (embeddings.grad == 0).all()


def test_the_gradient_is_that_of_finite_differences():
    embeddings, labels = batch(count=7)
    assert torch.autograd.gradcheck(
        lambda rows: EnergyConfusionLoss(nothing)(rows, labels), embeddings.requires_grad_()
    )


@pytest.mark.parametrize("weight", [-0.1, float("inf"), "much"])
def test_the_weight_is_not_negative(weight):
    with pytest.raises(InputError, match="weight"):
        EnergyConfusionLoss(SupConLoss(), weight=weight)


def last_layer(seed=0):
    torch.manual_seed(seed)
    return torch.nn.Linear(4, 3).double()


def test_with_a_layer_the_confusion_stops_before_the_backbone():
    features, labels = batch()
    layer = last_layer()
    features.requires_grad_()
    EnergyConfusionLoss(nothing, weight=1.0, layer=layer)(features, labels).backward()
    assert (features.grad == 0).all()
    assert layer.weight.grad.abs().max() > 0


def test_with_a_layer_the_loss_reaches_the_backbone_and_the_value_is_the_same():
    features, labels = batch()
    layer = last_layer()
    features.requires_grad_()
    value = EnergyConfusionLoss(SupConLoss(), layer=layer)(features, labels)
    torch.testing.assert_close(value, EnergyConfusionLoss(SupConLoss())(layer(features), labels))
    value.backward()
    stopped = features.grad.clone()
    features.grad = None
    SupConLoss()(layer(features), labels).backward()
    torch.testing.assert_close(stopped, features.grad)


def test_a_layer_of_another_width_is_said():
    features, labels = batch(dim=5)
    with pytest.raises(InputError, match=r"layer must take what the loss is called with, \(n, 5\)"):
        EnergyConfusionLoss(SupConLoss(), layer=last_layer())(features, labels)


@pytest.mark.parametrize("layer", [torch.nn.Linear, "last", lambda rows: rows])
def test_the_layer_is_a_module(layer):
    with pytest.raises(InputError, match="layer must be a module"):
        EnergyConfusionLoss(SupConLoss(), layer=layer)
