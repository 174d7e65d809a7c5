import math

import pytest
import torch
from pytorch_metric_learning import distances
from pytorch_metric_learning import losses as peers

from embedkit.errors import InputError
from embedkit.losses import InfoNCELoss, SupConLoss
from embedkit.ops.similarity import dot_product


def batch(*, count=9, dim=5, classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(count, dim, generator=generator, dtype=torch.float64)
    return embeddings, torch.randint(0, classes, (count,), generator=generator)


def test_the_formula_in_loops_gives_the_same():
    embeddings, labels = batch()
    labels[0] = 99  # alone
    unit = torch.nn.functional.normalize(embeddings, dim=1)
    values = []
    for i in range(9):
        others = [a for a in range(9) if a != i]
        positives = [p for p in others if labels[p] == labels[i]]
        scores = {a: math.exp(float(unit[i] @ unit[a]) / 0.3) for a in others}
        if positives:
            values.append(-sum(math.log(scores[p] / sum(scores.values())) for p in positives) / len(positives))
    assert SupConLoss(temperature=0.3)(embeddings, labels).item() == pytest.approx(sum(values) / len(values))


@pytest.mark.parametrize("seed", range(5))
def test_pytorch_metric_learning_gives_the_same(seed):
    embeddings, labels = batch(count=24, classes=4, seed=seed)
    one, other = (embeddings.clone().requires_grad_() for _ in range(2))
    ours, theirs = SupConLoss(temperature=0.2)(one, labels), peers.SupConLoss(temperature=0.2)(other, labels)
    torch.testing.assert_close(ours, theirs)
    ours.backward()
    theirs.backward()
    torch.testing.assert_close(one.grad, other.grad)


def test_by_inner_products_too():
    embeddings, labels = batch(count=12)
    theirs = peers.SupConLoss(temperature=2.0, distance=distances.DotProductSimilarity(normalize_embeddings=False))
    ours = SupConLoss(temperature=2.0, similarity=dot_product)
    torch.testing.assert_close(ours(embeddings, labels), theirs(embeddings, labels))


def test_pairs_are_info_nce_among_all_others():
    embeddings, _ = batch(count=2)
    value = SupConLoss(temperature=0.5)(embeddings, torch.tensor([1, 1]))
    assert value.item() == pytest.approx(0)  # nothing else could be taken for the positive
    three = torch.cat([embeddings, -embeddings[:1]])
    labels = torch.tensor([1, 1, 2])
    torch.testing.assert_close(
        SupConLoss(temperature=0.5)(three, labels),
        (
            InfoNCELoss(temperature=0.5, in_batch=False)(three[:1], three[1:2], three[2:])
            + InfoNCELoss(temperature=0.5, in_batch=False)(three[1:2], three[:1], three[2:])
        )
        / 2,
    )


def test_equal_rows_of_one_class_reach_the_log_of_their_number():
    assert SupConLoss()(torch.ones(8, 3), torch.zeros(8).long()).item() == pytest.approx(math.log(7))


@pytest.mark.parametrize("labels", [[0, 1, 2], [5, 4, 3]])
def test_without_two_of_a_class_it_is_zero_with_a_gradient_of_zero(labels):
    embeddings = torch.randn(3, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    value = SupConLoss()(embeddings, torch.tensor(labels))
    value.backward()
    assert value.item() == 0
    assert (embeddings.grad == 0).all()


def test_names_of_classes_do_not_matter():
    embeddings, labels = batch()
    torch.testing.assert_close(SupConLoss()(embeddings, labels), SupConLoss()(embeddings, 10**9 - 7 * labels))


@pytest.mark.parametrize("temperature", [0, -1, float("nan"), "0.1"])
def test_the_temperature_is_above_zero(temperature):
    with pytest.raises(InputError, match="temperature"):
        SupConLoss(temperature=temperature)
