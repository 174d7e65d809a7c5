import math

import numpy as np
import pytest
import torch

from embedkit.errors import InputError
from embedkit.losses import SBCLLoss, SupConLoss

LABELS = [7] * 8 + [3] * 3 + [5] * 2


def vectors(*, count=13, dim=5, seed=0):
    return np.random.default_rng(seed).normal(size=(count, dim))


def batch(rows, *, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(len(rows), 5, generator=generator, dtype=torch.float64), torch.tensor(rows)


def clustered(**settings):
    loss = SBCLLoss(LABELS, min_cluster_size=2, warmup=0, **settings)
    loss.begin_epoch(0, vectors)
    return loss


def in_loops(loss, embeddings, rows):
    unit = torch.nn.functional.normalize(embeddings, dim=1)
    classes, subclasses = loss.classes[rows].tolist(), loss.subclasses[rows].tolist()
    count, near, wide = len(rows), [], []
    for i in range(count):
        others = [j for j in range(count) if j != i]
        own = [j for j in others if subclasses[j] == subclasses[i]]
        rest = [j for j in others if classes[j] == classes[i] and j not in own]
        for positives, among, tau, found in (
            (own, others, loss.temperature, near),
            (rest, [j for j in others if j not in own], float(loss.temperatures[classes[i]]), wide),
        ):
            logits = {j: float(unit[i] @ unit[j]) / tau for j in among}
            total = math.log(sum(math.exp(each) for each in logits.values())) if logits else 0
            if positives:
                found.append(sum(total - logits[j] for j in positives) / len(positives))
    return sum(near) / max(len(near), 1), sum(wide) / max(len(wide), 1)


def test_the_formula_in_loops_gives_the_same():
    loss = clustered(weight=0.7)
    embeddings, rows = batch(range(13))
    near, wide = in_loops(loss, embeddings, rows)
    assert wide > 0
    assert loss(embeddings, rows).item() == pytest.approx(near + 0.7 * wide, rel=1e-6)
    terms = loss.terms(embeddings, rows)
    assert [terms["subclasses"].item(), terms["classes"].item()] == pytest.approx([near, 0.7 * wide], rel=1e-6)


def test_worked_by_hand():
    loss = SBCLLoss([0, 0, 1], temperature=1.0, weight=2.0)
    loss.subclasses.copy_(torch.tensor([0, 1, 2]))
    # No subclass has two; the first two look for each other beside the third, all cosines 0.
    assert loss(torch.eye(3), torch.arange(3)).item() == pytest.approx(2 * math.log(2))


def test_before_the_first_clustering_it_is_sup_con():
    loss, (embeddings, rows) = SBCLLoss(LABELS), batch(range(13))
    torch.testing.assert_close(loss(embeddings, rows), SupConLoss()(embeddings, torch.tensor(LABELS)))


def test_a_weight_of_zero_is_sup_con_of_subclasses():
    loss, (embeddings, rows) = clustered(weight=0), batch(range(13))
    torch.testing.assert_close(loss(embeddings, rows), SupConLoss()(embeddings, loss.subclasses[rows]))


def test_names_of_subclasses_do_not_matter():
    loss, (embeddings, rows) = clustered(), batch(range(13))
    value = loss(embeddings, rows)
    loss.subclasses.copy_(100 - 3 * loss.subclasses)
    torch.testing.assert_close(loss(embeddings, rows), value)


@pytest.mark.parametrize(("size", "parts"), [(1, [4, 1, 1]), (2, [4, 1, 1]), (3, [2, 1, 1]), (100, [1, 1, 1])])
def test_classes_are_cut_into_parts_as_large_as_the_rarest(size, parts):
    loss = SBCLLoss(LABELS, min_cluster_size=size, warmup=0)
    loss.begin_epoch(0, vectors)
    labels, subclasses = np.array(LABELS), loss.subclasses.numpy()
    assert [len(set(subclasses[labels == each])) for each in (7, 3, 5)] == parts
    sizes = np.unique(subclasses[labels == 7], return_counts=True)[1]
    assert sizes.max() - sizes.min() <= 1
    assert len(set(subclasses)) == sum(parts)


def test_wide_classes_have_a_higher_temperature():
    labels = [0] * 20 + [1] * 20 + [2] * 20 + [3] * 20
    points = vectors(count=80)
    points[:20] = points[0] + 0.01 * points[:20]
    loss = SBCLLoss(labels, warmup=0)
    loss.begin_epoch(0, lambda: points)
    assert loss.temperatures[0] < 0.1 < loss.temperatures[1:].max()
    assert loss.temperatures.mean().item() == pytest.approx(0.1, rel=1e-4)


@pytest.mark.parametrize("points", [vectors(), np.ones((13, 5))], ids=["", "equal"])
def test_classes_of_one_or_of_equal_examples_have_finite_gradients(points):
    loss = SBCLLoss([7] * 6 + [3] * 4 + [0, 1, 2], min_cluster_size=2, warmup=0)
    loss.begin_epoch(0, lambda: points)
    assert (loss.temperatures > 0.01).all()
    embeddings = torch.from_numpy(vectors(seed=3)).requires_grad_()
    loss(embeddings, torch.arange(13)).backward()
    assert torch.isfinite(embeddings.grad).all()


def test_labels_may_be_a_tensor():
    assert SBCLLoss(torch.tensor(LABELS)).classes.tolist() == SBCLLoss(LABELS).classes.tolist()


def test_it_clusters_after_the_warm_up_and_then_now_and_then():
    asked = []
    loss = SBCLLoss(LABELS, min_cluster_size=2, warmup=2, refresh_every=3)
    for epoch in range(9):
        loss.begin_epoch(epoch, lambda epoch=epoch: asked.append(epoch) or vectors(seed=epoch))
    assert asked == [2, 5, 8]


def test_a_restored_one_does_not_cluster_again_in_the_same_epoch():
    loss, restored = clustered(), SBCLLoss(LABELS, min_cluster_size=2, warmup=0)
    restored.load_state_dict(loss.state_dict())
    restored.begin_epoch(0, lambda: pytest.fail("was asked"))
    assert torch.equal(restored.subclasses, loss.subclasses)


def test_equal_vectors_are_clustered_too():
    loss = SBCLLoss(LABELS, min_cluster_size=2, warmup=0)
    loss.begin_epoch(0, lambda: np.ones((13, 5)))
    assert len(set(loss.subclasses.tolist())) == 6
    assert torch.isfinite(loss.temperatures).all()


@pytest.mark.parametrize("wrong", [np.ones((12, 5)), np.full((13, 5), np.nan), None])
def test_vectors_are_one_for_each_row(wrong):
    loss = SBCLLoss(LABELS, warmup=0)
    with pytest.raises(InputError, match="must"):
        loss.begin_epoch(0, lambda: wrong)
    assert loss.clustered == -1


@pytest.mark.parametrize("labels", [[], [0.5, 1.0], ["a", "b"], [[0, 1]]])
def test_labels_are_integers(labels):
    with pytest.raises(InputError, match="labels must be"):
        SBCLLoss(labels)


@pytest.mark.parametrize(
    "setting",
    [{"temperature": 0}, {"weight": -1}, {"min_cluster_size": 0}, {"warmup": -1}, {"refresh_every": 0}, {"seed": -1}],
)
def test_settings_have_ranges(setting):
    with pytest.raises(InputError, match=next(iter(setting))):
        SBCLLoss(LABELS, **setting)


def test_rows_are_those_of_the_training_set():
    with pytest.raises(InputError, match=r"0 … 12.*received"):
        SBCLLoss(LABELS)(torch.ones(2, 5), torch.tensor([0, 13]))
