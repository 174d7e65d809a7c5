import math

import pytest
import torch
from sentence_transformers.sentence_transformer.losses import CoSENTLoss as TheirCoSENTLoss

from embedkit.errors import InputError
from embedkit.losses import CoSENTLoss


def batch(*, count=8, dim=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    first, second = (torch.randn(count, dim, generator=generator, requires_grad=True) for _ in range(2))
    return first, second, torch.randint(0, 4, (count,), generator=generator) / 3  # with ties


def by_loops(first, second, scores, *, temperature):
    cosines = [torch.nn.functional.cosine_similarity(x, y, dim=0).item() for x, y in zip(first, second, strict=True)]
    total = 1.0
    for i in range(len(scores)):
        for j in range(len(scores)):
            if scores[i] > scores[j]:
                total += math.exp((cosines[j] - cosines[i]) / temperature)
    return math.log(total)


@pytest.mark.parametrize("temperature", [0.05, 1.0])
def test_the_formula_in_loops_gives_the_same(temperature):
    tensors = batch()

    assert CoSENTLoss(temperature=temperature)(*tensors).item() == pytest.approx(
        by_loops(*tensors, temperature=temperature), rel=1e-5
    )


@pytest.mark.parametrize("count", [1, 2, 32])
def test_sentence_transformers_gives_the_same_value_and_gradient(count):
    ours, theirs = batch(count=count), batch(count=count)

    loss = CoSENTLoss()(*ours)
    expected = TheirCoSENTLoss(None).compute_loss_from_embeddings(list(theirs[:2]), theirs[2])
    loss.backward()
    expected.backward()

    torch.testing.assert_close(loss, expected, atol=1e-6, rtol=1e-6)
    for our, their in zip(ours[:2], theirs[:2], strict=True):
        torch.testing.assert_close(our.grad, their.grad, atol=2e-6, rtol=1e-6)


def test_worked_by_hand():
    first, second = torch.eye(2), torch.tensor([[1.0, 0.0], [1.0, 0.0]])  # cosines 1 and 0

    loss = CoSENTLoss(temperature=0.5)

    assert loss(first, second, torch.tensor([1, 0])).item() == pytest.approx(math.log(1 + math.exp(-2)))
    assert loss(first, second, torch.tensor([0, 1])).item() == pytest.approx(math.log(1 + math.exp(2)))


def test_only_the_order_of_scores_counts():
    first, second, scores = batch()
    expected = CoSENTLoss()(first, second, scores)

    for same_order in (scores * 100 - 7, scores.exp(), (scores * 3).round().long(), scores.half()):
        assert torch.equal(CoSENTLoss()(first, second, same_order), expected)


def test_truth_and_falsehood_are_scores():
    first, second, scores = batch()

    assert torch.equal(CoSENTLoss()(first, second, scores > 0.5), CoSENTLoss()(first, second, (scores > 0.5).long()))


@pytest.mark.parametrize("count", [0, 1, 5])
def test_without_a_higher_score_the_loss_is_zero_and_still_has_a_gradient(count):
    first, second, _ = batch(count=count)

    loss = CoSENTLoss()(first, second, torch.ones(count))
    loss.backward()

    assert loss.item() == 0
    assert first.grad.abs().sum() == second.grad.abs().sum() == 0


def test_a_tiny_temperature_does_not_overflow():
    first, second, scores = batch()

    loss = CoSENTLoss(temperature=1e-6)(first, second, scores)
    loss.backward()

    assert torch.isfinite(loss)
    assert torch.isfinite(first.grad).all()


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        (torch.ones(8, 1), r"each of the 8 pairs; received \(8, 1\) of float32"),
        (torch.ones(7), r"received \(7,\)"),
        (torch.full((8,), torch.nan), "received NaN or infinity"),
        (torch.full((8,), torch.inf), "received NaN or infinity"),
        ([1.0] * 8, "received list"),
        (torch.ones(8, dtype=torch.complex64), "complex64"),
    ],
)
def test_scores_that_are_not_one_number_a_pair_are_refused(scores, said):
    first, second, _ = batch()

    with pytest.raises(InputError, match=said):
        CoSENTLoss()(first, second, scores)
