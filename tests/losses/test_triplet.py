from functools import partial

import pytest
import torch
from pytorch_metric_learning import losses as peers
from pytorch_metric_learning import miners

from embedkit.errors import InputError
from embedkit.losses.triplet import TripletLoss
from embedkit.ops.mining import (
    all_triplets,
    distance_weighted_triplets,
    hard_triplets,
    positive_aware_triplets,
    semi_hard_triplets,
)

MINERS = [all_triplets, hard_triplets, semi_hard_triplets, distance_weighted_triplets, positive_aware_triplets]
NONE = torch.zeros(0, dtype=torch.int64)


def batch(*, count=12, dim=4, classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(count, dim, generator=generator, dtype=torch.float64, requires_grad=True)
    return embeddings, torch.randint(0, classes, (count,), generator=generator)


def value_and_gradient(loss, embeddings, *arguments):
    embeddings = embeddings.detach().clone().requires_grad_()
    value = loss(embeddings, *arguments)
    value.backward()
    return value.detach(), embeddings.grad


@pytest.mark.parametrize("mine", MINERS)
def test_the_formula_in_loops_gives_the_same(mine):
    embeddings, labels = batch()
    unit = embeddings.detach() / embeddings.detach().norm(dim=1, keepdim=True)
    values = []
    for a, p, n in zip(*mine(embeddings, labels), strict=True):
        values.append(max(0.0, float((unit[a] - unit[p]).norm() - (unit[a] - unit[n]).norm() + 0.3)))
    expected = sum(values) / sum(value > 0 for value in values)
    assert TripletLoss(margin=0.3, miner=mine)(embeddings, labels).item() == pytest.approx(expected)


@pytest.mark.parametrize("margin", [0.0, 0.05, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_pytorch_metric_learning_gives_the_same(seed, margin):
    embeddings, labels = batch(count=20, seed=seed)
    found = value_and_gradient(TripletLoss(margin=margin), embeddings, labels)
    torch.testing.assert_close(
        found, value_and_gradient(peers.TripletMarginLoss(margin=margin, smooth_loss=False), embeddings, labels)
    )


@pytest.mark.parametrize("mine", [hard_triplets, semi_hard_triplets])
def test_pytorch_metric_learning_takes_the_triplets(mine):
    embeddings, labels = batch(count=20)
    found = value_and_gradient(TripletLoss(miner=mine), embeddings, labels)
    peer = peers.TripletMarginLoss(margin=0.2)
    torch.testing.assert_close(found, value_and_gradient(peer, embeddings, labels, mine(embeddings, labels)))


def test_a_miner_of_pytorch_metric_learning_works():
    embeddings, labels = batch(count=20)
    miner = miners.TripletMarginMiner(margin=0.1, type_of_triplets="hard")
    found = value_and_gradient(TripletLoss(miner=miner), embeddings, labels)
    peer = peers.TripletMarginLoss(margin=0.2)
    torch.testing.assert_close(found, value_and_gradient(peer, embeddings, labels, miner(embeddings, labels)))


def test_worked_by_hand():
    embeddings = torch.tensor([[2.0, 0.0], [0.0, 1.0], [-3.0, 0.0]])
    labels = torch.tensor([0, 0, 1])
    # From the first √2 − 2, from the second √2 − √2.
    assert TripletLoss(margin=0.5)(embeddings, labels).item() == pytest.approx(0.5)
    assert TripletLoss(margin=1.0)(embeddings, labels).item() == pytest.approx((2**0.5 - 2 + 2) / 2)


def test_lengths_do_not_matter():
    embeddings, labels = batch()
    torch.testing.assert_close(TripletLoss()(embeddings * 7, labels), TripletLoss()(embeddings, labels))


@pytest.mark.parametrize("mine", MINERS)
@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 2]])
def test_without_triplets_it_is_zero_with_a_gradient_of_zero(mine, labels):
    value, gradient = value_and_gradient(TripletLoss(miner=mine), batch(count=3)[0], torch.tensor(labels))
    assert value == 0
    assert (gradient == 0).all()


def test_triplets_that_keep_the_margin_cost_nothing():
    embeddings = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]])
    value, gradient = value_and_gradient(TripletLoss(), embeddings, torch.tensor([0, 0, 1, 1]))
    assert value == 0
    assert (gradient == 0).all()


def test_equal_rows_and_one_of_zero_have_finite_gradients():
    embeddings = torch.tensor([[1.0, 2.0], [1.0, 2.0], [2.0, -1.0], [0.0, 0.0]])
    value, gradient = value_and_gradient(TripletLoss(margin=2.0), embeddings, torch.tensor([0, 0, 1, 1]))
    # All but the equal ones are √2 apart: 0 − √2 + 2 of those, √2 − √2 + 2 of the others.
    assert value.item() == pytest.approx((2 - 2**0.5 + 2) / 2, abs=1e-3)
    assert (gradient[3] == 0).all()
    assert gradient.abs().max() < 10


@pytest.mark.parametrize("mine", MINERS)
def test_what_is_not_a_number_shows_with_every_miner(mine):
    embeddings, labels = batch()
    spoiled = embeddings.detach().clone()
    spoiled[3, 0] = torch.nan
    assert TripletLoss(miner=mine)(spoiled, labels).isnan()


def test_the_gradient_is_that_of_finite_differences():
    embeddings, labels = batch(count=7)
    assert torch.autograd.gradcheck(lambda rows: TripletLoss(margin=2.0)(rows, labels), embeddings)


@pytest.mark.parametrize("mine", MINERS)
def test_a_step_down_the_gradient_makes_it_smaller(mine):
    embeddings, labels = batch()
    triplets = mine(embeddings, labels)
    loss = TripletLoss(margin=0.5, miner=lambda *_: triplets)
    value, gradient = value_and_gradient(loss, embeddings, labels)
    assert loss(embeddings.detach() - 1e-5 * gradient, labels) < value


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_widened(dtype):
    embeddings, labels = batch()
    half = embeddings.detach().to(dtype)
    found, gradient = value_and_gradient(TripletLoss(), half, labels)
    expected, wide = value_and_gradient(TripletLoss(), half.float(), labels)
    assert torch.equal(found, expected)
    torch.testing.assert_close(gradient.float(), wide, rtol=0.02, atol=1e-3)


def test_no_gradient_flows_through_the_choice():
    def choose(embeddings, labels):
        assert not embeddings.requires_grad
        return all_triplets(embeddings, labels)

    TripletLoss(miner=choose)(*batch()).backward()


@pytest.mark.parametrize("kind", [torch.uint8, torch.int32])
def test_indices_may_be_any_integers(kind):
    embeddings, labels = batch()
    loss = TripletLoss(miner=lambda *given: [each.to(kind) for each in hard_triplets(*given)])
    torch.testing.assert_close(loss(embeddings, labels), TripletLoss(miner=hard_triplets)(embeddings, labels))


@pytest.mark.parametrize(
    "given",
    [
        None,
        (),
        (NONE, NONE),
        (NONE, NONE, NONE, NONE),
        torch.zeros(3, 2, dtype=torch.int64),
        (NONE, NONE, torch.tensor([1])),
        (NONE, NONE, []),
        (torch.zeros(2), torch.ones(2), torch.ones(2)),
        (torch.ones(12, dtype=torch.bool),) * 3,
        (torch.zeros(1, 1, dtype=torch.int64),) * 3,
        (torch.tensor([0]), torch.tensor([1]), torch.tensor([12])),
        (torch.tensor([0]), torch.tensor([-1]), torch.tensor([2])),
    ],
    ids=lambda given: str(given).replace("\n", ""),
)
def test_what_a_miner_gives_is_checked(given):
    with pytest.raises(InputError, match=r"miner must give.*received"):
        TripletLoss(miner=lambda *_: given)(*batch())


@pytest.mark.parametrize("wrong", ["hard", None, miners.TripletMarginMiner])
def test_what_is_no_miner_is_refused(wrong):
    with pytest.raises(InputError, match=r"miner must be.*received"):
        TripletLoss(miner=wrong)


def test_the_margin_is_not_negative():
    with pytest.raises(InputError, match="margin"):
        TripletLoss(margin=-0.1)


def test_the_settings_are_shown():
    assert repr(TripletLoss()) == "TripletLoss(margin=0.2, miner=all_triplets)"
    narrow = partial(partial(distance_weighted_triplets, cutoff=0.4), seed=3)
    assert TripletLoss(miner=narrow).extra_repr() == "margin=0.2, miner=distance_weighted_triplets(cutoff=0.4, seed=3)"
    assert TripletLoss(miner=miners.TripletMarginMiner()).extra_repr() == "margin=0.2, miner=TripletMarginMiner"
