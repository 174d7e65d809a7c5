import math

import pytest
import torch
from pytorch_metric_learning import losses as peers

from embedkit.errors import InputError
from embedkit.losses import MultiSimilarityLoss


def batch(*, count=10, dim=4, classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(count, dim, generator=generator, dtype=torch.float64)
    return embeddings, torch.randint(0, classes, (count,), generator=generator)


def in_loops(embeddings, labels, up, down, base):
    unit = torch.nn.functional.normalize(embeddings, dim=1)
    total = 0.0
    for i in range(len(labels)):
        others = [(float(unit[i] @ unit[j]), bool(labels[i] == labels[j])) for j in range(len(labels)) if j != i]
        total += math.log(1 + sum(math.exp(-up * (s - base)) for s, same in others if same)) / up
        total += math.log(1 + sum(math.exp(down * (s - base)) for s, same in others if not same)) / down
    return total / len(labels)


@pytest.mark.parametrize(("up", "down", "base"), [(2.0, 50.0, 0.5), (1.0, 1.0, 0.0), (5.0, 3.0, 1.0)])
def test_the_formula_in_loops_gives_the_same(up, down, base):
    embeddings, labels = batch()
    labels[0] = 99  # alone
    loss = MultiSimilarityLoss(positive_scale=up, negative_scale=down, base=base)
    assert loss(embeddings, labels).item() == pytest.approx(in_loops(embeddings, labels, up, down, base))


@pytest.mark.parametrize("seed", range(3))
def test_value_and_gradient_are_those_of_the_peer(seed):
    one, labels = batch(seed=seed)
    other = one.clone()
    ours = MultiSimilarityLoss()(one.requires_grad_(), labels)
    theirs = peers.MultiSimilarityLoss()(other.requires_grad_(), labels)
    ours.backward()
    theirs.backward()
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(one.grad, other.grad)


def test_worked_by_hand():
    embeddings = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    loss = MultiSimilarityLoss(positive_scale=2.0, negative_scale=4.0, base=0.5)
    assert loss(embeddings, torch.tensor([0, 0])).item() == pytest.approx(math.log(1 + math.e) / 2)
    assert loss(embeddings, torch.tensor([0, 1])).item() == pytest.approx(math.log(1 + math.exp(-2)) / 4)


def test_high_scales_look_at_the_farthest_positive_and_the_nearest_negative():
    embeddings, labels = batch()
    cosines = torch.nn.functional.normalize(embeddings, dim=1)
    cosines = cosines @ cosines.T
    same = labels[:, None] == labels[None, :]
    far = (0.5 - cosines.masked_fill(~same, 9).amin(dim=1)).relu()
    near = (cosines.masked_fill(same, -9).amax(dim=1) - 0.5).relu()
    loss = MultiSimilarityLoss(positive_scale=1e4, negative_scale=1e4)
    assert loss(embeddings, labels).item() == pytest.approx((far + near).mean().item(), abs=1e-3)


@pytest.mark.parametrize("setting", [{"positive_scale": 0}, {"negative_scale": -1.0}, {"base": -0.5}])
def test_settings_have_ranges(setting):
    with pytest.raises(InputError, match=next(iter(setting))):
        MultiSimilarityLoss(**setting)
