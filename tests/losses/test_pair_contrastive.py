import math
from functools import partial

import pytest
import torch

from embedkit.errors import InputError
from embedkit.losses import InfoNCELoss, PairContrastiveLoss
from embedkit.ops.similarity import dot_product
from embedkit.ops.targets import cosine_weights, same_key

sharp = partial(cosine_weights, temperature=0.1)


def batch(count=6, dim=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(count, dim, generator=generator, requires_grad=True) for _ in range(2)]


def features(count=6, width=7, seed=3):
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def by_loops(anchors, positives, anchor_targets, positive_targets, temperature):
    """The formula, entry by entry; targets are lists of rows, not scaled."""

    def one_way(rows, others, targets):
        total = 0.0
        for row, target in zip(rows, targets, strict=True):
            weights = [math.exp(torch.cosine_similarity(row, each, dim=0).item() / temperature) for each in others]
            for weight, wanted in zip(weights, target, strict=True):
                total -= wanted / sum(target) * math.log(weight / sum(weights))
        return total / len(rows)

    return (one_way(anchors, positives, anchor_targets) + one_way(positives, anchors, positive_targets)) / 2


def test_the_formula_in_loops_gives_the_same():
    tensors, known, keys = batch(), features(), torch.tensor([0, 1, 0, 2, 2, 2])
    pair = torch.eye(6).tolist()

    found = PairContrastiveLoss(temperature=0.2)(*tensors)
    assert found.item() == pytest.approx(by_loops(*tensors, pair, pair, 0.2), rel=1e-5)
    shared = same_key(keys, keys).tolist()
    found = PairContrastiveLoss(target=same_key, temperature=0.2)(*tensors, keys)
    assert found.item() == pytest.approx(by_loops(*tensors, shared, shared, 0.2), rel=1e-5)
    alike = cosine_weights(known, known).tolist()
    found = PairContrastiveLoss(target=cosine_weights, directions="from_positives", temperature=0.2)(*tensors, known)
    assert found.item() == pytest.approx(by_loops(*tensors, pair, alike, 0.2), rel=1e-5)


def test_the_pair_alone_is_the_mean_of_info_nce_both_ways():
    ours, theirs = batch(), batch()
    one_way = InfoNCELoss(temperature=0.1)

    loss, expected = PairContrastiveLoss(temperature=0.1)(*ours), (one_way(*theirs) + one_way(*theirs[::-1])) / 2
    loss.backward()
    expected.backward()

    torch.testing.assert_close(loss, expected)
    for our, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(our.grad, their.grad)


@pytest.mark.parametrize(("count", "scale"), [(16, 10.0), (4, 2.0)])
def test_right_angles_by_hand(count, scale):
    eye = torch.eye(count)
    loss = PairContrastiveLoss(temperature=1 / scale)(eye, eye)
    assert loss.item() == pytest.approx(math.log(1 + (count - 1) * math.exp(-scale)), rel=1e-4)


@pytest.mark.parametrize("target", [None, same_key, cosine_weights])
def test_vectors_that_are_all_the_same_cost_log_n_whatever_the_target(target):
    labels = {None: None, same_key: torch.tensor([1, 1, 2, 3]), cosine_weights: features(4)}[target]
    same = torch.ones(4, 3)
    assert PairContrastiveLoss(target=target)(same, same, labels).item() == pytest.approx(math.log(4))


def test_a_target_that_is_the_pair_alone_is_no_target():
    tensors, apart = batch(), torch.eye(6)
    expected = PairContrastiveLoss()(*tensors)
    torch.testing.assert_close(PairContrastiveLoss(target=same_key)(*tensors, torch.arange(6)), expected)
    torch.testing.assert_close(PairContrastiveLoss(target=lambda a, b: a @ b.T)(*tensors, apart), expected)


def test_only_the_proportions_of_weights_count():
    tensors, known = batch(), features()
    loss, larger = (
        PairContrastiveLoss(target=lambda a, b, c=factor: c * cosine_weights(a, b))(*tensors, known)
        for factor in (1, 9)
    )
    torch.testing.assert_close(loss, larger)


def test_the_lowest_value_is_the_entropy_of_the_target():
    known = features(4)
    wanted = cosine_weights(known, known)
    wanted = wanted / wanted.sum(1, keepdim=True)
    entropy = -(wanted * wanted.log()).sum(1).mean()
    logits = wanted.log()
    loss = PairContrastiveLoss(
        target=cosine_weights, directions="from_anchors", temperature=1.0, similarity=lambda a, b: a @ b
    )
    way = (
        loss(logits, torch.eye(4), known) * 2
        - PairContrastiveLoss(temperature=1.0, similarity=dot_product)(torch.eye(4), logits) * 0
    )
    back = -torch.log_softmax(logits, dim=1).diagonal().mean()  # eye @ logits, rows of the other direction
    torch.testing.assert_close(way - back, entropy)


def test_order_sides_and_rotation_do_not_matter():
    anchors, positives = batch()
    loss, known = PairContrastiveLoss(target=cosine_weights), features()
    value = loss(anchors, positives, known)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    torch.testing.assert_close(loss(anchors[order], positives[order], known[order]), value)
    torch.testing.assert_close(loss(positives, anchors, known), value)
    rotation, _ = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(1)))
    torch.testing.assert_close(loss(anchors @ rotation, positives @ rotation, known), value)


def test_repeated_captions_share_the_weight():
    """Two pictures of one caption: neither is punished for being near the other."""
    same = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    keys = torch.tensor([0, 0, 1])
    told, untold = PairContrastiveLoss(target=same_key)(same, same, keys), PairContrastiveLoss()(same, same)
    assert told.item() == pytest.approx(2 / 3 * math.log(2), abs=1e-5)
    assert untold.item() == pytest.approx(2 / 3 * math.log(2), abs=1e-5)
    better = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    assert PairContrastiveLoss()(better, better) < untold
    assert PairContrastiveLoss(target=same_key)(better, better, keys) > told


def test_smoothing_spreads_a_share_over_all():
    tensors = batch(count=3)
    loss = PairContrastiveLoss(smoothing=0.3, temperature=0.5)(*tensors)
    wanted = (0.7 * torch.eye(3) + 0.1).tolist()
    assert loss.item() == pytest.approx(by_loops(*tensors, wanted, wanted, 0.5), rel=1e-5)
    torch.testing.assert_close(PairContrastiveLoss(smoothing=0.0)(*tensors), PairContrastiveLoss()(*tensors))


def test_a_queue_brings_earlier_rows_as_candidates_without_gradient():
    first, second = batch(seed=0), batch(seed=1)
    loss = PairContrastiveLoss(queue_size=4, temperature=0.5)
    torch.testing.assert_close(loss(*first), PairContrastiveLoss(temperature=0.5)(*first))

    value = loss(*second)
    value.backward()

    rows = [torch.cat([now, before[:4]]) for now, before in zip(second, first, strict=True)]
    wanted = torch.eye(6, 10).tolist()
    assert value.item() == pytest.approx(_with_queue(second, rows, wanted, 0.5), rel=1e-5)
    assert all(each.grad is None for each in first)
    loss.eval()
    torch.testing.assert_close(loss(*second), PairContrastiveLoss(temperature=0.5)(*second))


def _with_queue(batch, candidates, wanted, temperature):
    total = 0.0
    for rows, others in ((batch[0], candidates[1]), (batch[1], candidates[0])):
        logits = torch.stack([torch.cosine_similarity(row, others) for row in rows]) / temperature
        total -= (torch.tensor(wanted) * logits.log_softmax(1)).sum().item() / len(rows)
    return total / 2


def test_keys_count_in_the_queue_too():
    anchors, positives = batch(count=2)
    loss = PairContrastiveLoss(target=same_key, queue_size=2, temperature=0.5)
    loss(anchors, positives, torch.tensor([7, 8]))
    found = loss(positives, anchors, torch.tensor([8, 9]))
    alone = PairContrastiveLoss(queue_size=2, temperature=0.5)
    alone(anchors, positives)
    assert found.item() != pytest.approx(alone(positives, anchors).item())


def test_the_temperature_is_learnt_and_kept_above_its_bound():
    loss = PairContrastiveLoss()
    eye = torch.eye(4)
    optimizer = torch.optim.SGD(loss.parameters(), lr=1e4)
    for _ in range(3):
        optimizer.zero_grad()
        loss(eye, eye + 0.5).backward()
        optimizer.step()
    assert loss.temperature().item() == pytest.approx(0.01)
    loss(*batch()).backward()
    assert loss.temperature.log.grad != 0
    fixed = PairContrastiveLoss(learn_temperature=False)
    assert [each for each in fixed.parameters() if each.requires_grad] == []


def test_one_pair_and_no_pair_cost_nothing():
    for count in (0, 1):
        anchors, positives = batch(count=count)
        loss = PairContrastiveLoss()(anchors, positives)
        loss.backward()
        assert loss.item() == pytest.approx(0)
        assert anchors.grad.abs().sum() == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "same_key"}, "target must be a function"),
        ({"directions": "left"}, "directions must be one of"),
        ({"smoothing": 1.0}, "smoothing must be a share below 1"),
        ({"queue_size": -1}, "queue_size must be an integer, 0 or more"),
        ({"temperature": 0.001}, r"temperature must be 0.01 or more"),
        ({"similarity": "cosine"}, "similarity must be a function"),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        PairContrastiveLoss(**options)


@pytest.mark.parametrize(
    ("target", "labels", "message"),
    [
        (None, torch.arange(6), "labels must be given exactly where there is a target"),
        (same_key, None, "labels must be given exactly where there is a target"),
        (same_key, torch.arange(5), "labels must be a tensor of 6 rows"),
        (same_key, [0] * 6, "labels must be a tensor of 6 rows; received list"),
        (lambda a, b: -same_key(a, b), torch.arange(6), "none negative and some above 0"),
        (lambda a, b: 0 * same_key(a, b), torch.arange(6), "none negative and some above 0"),
        (lambda a, b: same_key(a, b)[:3], torch.arange(6), r"target must give weights \(6, 6\)"),
    ],
)
def test_labels_that_do_not_fit_are_refused(target, labels, message):
    with pytest.raises(InputError, match=message):
        PairContrastiveLoss(target=target)(*batch(), labels)
