import math

import pytest
import torch
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

from embedkit.errors import InputError
from embedkit.losses import InfoNCELoss
from embedkit.ops.similarity import dot_product

COSINE_1 = torch.tensor([[1.0, 0.0]])
COSINE_0 = torch.tensor([[0.0, 1.0]])


def batch(*, count=6, negatives=2, dim=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(count, dim, generator=generator, requires_grad=True) for _ in range(2 + negatives)]


def by_loops(anchors, positives, *negatives, temperature, in_batch):
    def weight(x, y):
        return math.exp(torch.nn.functional.cosine_similarity(x, y, dim=0).item() / temperature)

    total = 0.0
    for i, anchor in enumerate(anchors):
        rows = range(len(anchors)) if in_batch else [i]
        candidates = [document[j] for document in (positives, *negatives) for j in rows]
        total -= math.log(weight(anchor, positives[i]) / sum(weight(anchor, candidate) for candidate in candidates))
    return total / len(anchors)


@pytest.mark.parametrize("in_batch", [True, False])
@pytest.mark.parametrize("negatives", [1, 3])
def test_the_formula_in_loops_gives_the_same(in_batch, negatives):
    tensors = batch(negatives=negatives)

    loss = InfoNCELoss(temperature=0.2, in_batch=in_batch)(*tensors)

    assert loss.item() == pytest.approx(by_loops(*tensors, temperature=0.2, in_batch=in_batch), rel=1e-5)


@pytest.mark.parametrize("negatives", [0, 2])
def test_sentence_transformers_gives_the_same_value_and_gradient(negatives):
    ours, theirs = batch(negatives=negatives), batch(negatives=negatives)

    loss = InfoNCELoss(temperature=0.05)(*ours)
    expected = MultipleNegativesRankingLoss(None, scale=20.0).compute_loss_from_embeddings(theirs, None)
    loss.backward()
    expected.backward()

    torch.testing.assert_close(loss, expected, atol=1e-6, rtol=1e-6)
    for our, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(our.grad, their.grad, atol=1e-6, rtol=1e-6)


def test_worked_by_hand():
    loss = InfoNCELoss(temperature=0.5)

    # One anchor, its positive at cosine 1, one negative at cosine 0: −log(e² / (e² + 1)).
    assert loss(COSINE_1, COSINE_1, COSINE_0).item() == pytest.approx(math.log(1 + math.exp(-2)))
    # Nothing tells the four candidates apart: log 4.
    same = torch.ones(4, 3)
    assert loss(same, same).item() == pytest.approx(math.log(4))


def test_for_one_row_both_ways_of_taking_negatives_agree():
    tensors = batch(count=1)

    torch.testing.assert_close(InfoNCELoss(in_batch=True)(*tensors), InfoNCELoss(in_batch=False)(*tensors))


def test_only_own_negatives_count_outside_the_batch():
    anchors, positives, negatives = batch(negatives=1)
    loss = InfoNCELoss(in_batch=False)

    alone = [loss(anchors[i : i + 1], positives[i : i + 1], negatives[i : i + 1]) for i in range(len(anchors))]

    torch.testing.assert_close(loss(anchors, positives, negatives), torch.stack(alone).mean())


def test_the_similarity_can_be_chosen():
    tensors = batch()

    longer = [2 * tensor for tensor in tensors]
    inner = InfoNCELoss(similarity=dot_product, temperature=1.0)

    torch.testing.assert_close(InfoNCELoss()(*longer), InfoNCELoss()(*tensors))
    torch.testing.assert_close(inner(*longer), InfoNCELoss(similarity=dot_product, temperature=0.25)(*tensors))


def test_an_easier_batch_costs_less():
    anchors, positives = torch.eye(5), torch.eye(5)

    assert InfoNCELoss()(anchors, positives) < 1e-6 < InfoNCELoss()(anchors, positives.roll(1, dims=0))


@pytest.mark.parametrize("count", [0, 1])
def test_without_a_negative_the_loss_is_zero_and_still_has_a_gradient(count):
    anchors, positives = batch(count=count, negatives=0)

    loss = InfoNCELoss()(anchors, positives)
    loss.backward()

    assert loss.item() == 0
    assert anchors.grad.abs().sum() == positives.grad.abs().sum() == 0


def test_what_cannot_be_is_refused():
    anchors, positives = batch(negatives=0)

    with pytest.raises(InputError, match=r"one shape \(n, dim\); received anchors \(6, 5\) of float32, pos"):
        InfoNCELoss()(anchors, positives[:5])
    with pytest.raises(InputError, match=r"negatives\[0\] \(6, 5\) of int64"):
        InfoNCELoss()(anchors, positives, positives.long())
    with pytest.raises(InputError, match="needs negatives"):
        InfoNCELoss(in_batch=False)(anchors, positives)
    with pytest.raises(InputError, match="similarity must be a function"):
        InfoNCELoss(similarity="cosine")
