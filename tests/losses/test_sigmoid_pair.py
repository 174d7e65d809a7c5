import math

import pytest
import torch

from embedkit.errors import InputError
from embedkit.losses import SigmoidPairLoss


def batch(count=6, dim=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(count, dim, generator=generator, requires_grad=True) for _ in range(2)]


def softplus(value):
    return math.log1p(math.exp(value))


@pytest.mark.parametrize("keys", [None, [0, 1, 0, 2, 2, 2]])
def test_the_formula_in_loops_gives_the_same(keys):
    anchors, positives = batch()
    names = keys or list(range(6))
    total = 0.0
    for i, anchor in enumerate(anchors):
        for j, positive in enumerate(positives):
            logit = torch.cosine_similarity(anchor, positive, dim=0).item() / 0.2 - 1.5
            total += softplus(-logit if names[i] == names[j] else logit)
    labels = None if keys is None else torch.tensor(keys)
    loss = SigmoidPairLoss(temperature=0.2, bias=-1.5)(anchors, positives, labels)
    assert loss.item() == pytest.approx(total / 6, rel=1e-5)


@pytest.mark.parametrize("count", [1, 2, 16])
def test_right_angles_at_the_paper_s_start_by_hand(count):
    """All similarities 0: softplus(10) for each pair, softplus(-10) = 4.54e-5 for each wrong one."""
    apart = torch.eye(2 * count)
    loss = SigmoidPairLoss()(apart[:count], apart[count:])
    assert loss.item() == pytest.approx(softplus(10) + (count - 1) * softplus(-10), rel=1e-6)


@pytest.mark.parametrize("chunk_size", [1, 2, 4, 6, 100])
def test_chunks_give_the_same_value_and_gradients(chunk_size):
    ours, theirs = batch(), batch()
    chunked, full = SigmoidPairLoss(chunk_size=chunk_size), SigmoidPairLoss()

    loss, expected = chunked(*ours), full(*theirs)
    loss.backward()
    expected.backward()

    torch.testing.assert_close(loss, expected)
    for our, their in zip([*ours, *chunked.parameters()], [*theirs, *full.parameters()], strict=True):
        torch.testing.assert_close(our.grad, their.grad)


def test_all_pairs_less_the_diagonal_is_the_same():
    """Σ softplus(l) − Σ diag(l), since softplus(−l) = softplus(l) − l."""
    anchors, positives = batch()
    logits = torch.nn.functional.normalize(anchors) @ torch.nn.functional.normalize(positives).T / 0.1 - 10
    expected = (torch.nn.functional.softplus(logits).sum() - logits.diagonal().sum()) / 6
    torch.testing.assert_close(SigmoidPairLoss()(anchors, positives), expected)


def test_order_sides_and_rotation_do_not_matter():
    anchors, positives = batch()
    loss = SigmoidPairLoss()
    value = loss(anchors, positives)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    torch.testing.assert_close(loss(anchors[order], positives[order]), value)
    torch.testing.assert_close(loss(positives, anchors), value)
    rotation, _ = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(1)))
    torch.testing.assert_close(loss(anchors @ rotation, positives @ rotation), value)


def test_temperature_and_bias_are_learnt():
    loss = SigmoidPairLoss()
    loss(*batch()).backward()
    assert [name for name, each in loss.named_parameters() if each.grad is not None] == ["bias", "temperature.log"]


@pytest.mark.parametrize("chunk_size", [None, 2])
def test_no_pair_costs_nothing(chunk_size):
    anchors, positives = batch(count=0)
    loss = SigmoidPairLoss(chunk_size=chunk_size)(anchors, positives)
    loss.backward()
    assert loss.item() == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "temperature must be a finite number above 0"),
        ({"bias": math.nan}, "bias must be a finite number"),
        ({"chunk_size": 0}, "chunk_size must be an integer, 1 or more"),
        ({"similarity": None}, "similarity must be a function"),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        SigmoidPairLoss(**options)


def test_labels_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="labels must be a tensor of one integer for each of the 6"):
        SigmoidPairLoss()(*batch(), torch.zeros(6, 2))
