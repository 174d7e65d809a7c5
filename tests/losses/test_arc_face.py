import math
from itertools import pairwise

import pytest
import torch
from pytorch_metric_learning import losses as peers
from torch.func import functional_call

from embedkit.errors import InputError
from embedkit.losses import MatryoshkaLoss
from embedkit.losses.arc_face import ArcFaceLoss

BOTH_AXES = torch.eye(2)


def batch(*, count=9, dim=5, classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(count, dim, generator=generator, dtype=torch.float64)
    return embeddings, torch.randint(0, classes, (count,), generator=generator)


def unit(rows):
    return torch.nn.functional.normalize(rows, dim=1)


def in_loops(embeddings, labels, weights, margin, scale):
    total = 0.0
    for cosines, label in zip((unit(embeddings) @ unit(weights).T).tolist(), labels.tolist(), strict=True):
        angle = math.acos(cosines[label])
        own = math.cos(angle + margin) if angle + margin < math.pi else cosines[label] - margin * math.sin(margin)
        logits = [scale * (own if c == label else cosine) for c, cosine in enumerate(cosines)]
        total -= logits[label] - math.log(sum(map(math.exp, logits)))
    return total / len(labels)


def on_axes(*, margin=0.5, scale=64.0):
    loss = ArcFaceLoss(2, 2, margin=margin, scale=scale)
    with torch.no_grad():
        loss.weights.copy_(BOTH_AXES)
    return loss


@pytest.mark.parametrize("margin", [0.0, 0.5, 1.5])
@pytest.mark.parametrize("scale", [1.0, 64.0])
def test_the_formula_in_loops_gives_the_same(margin, scale):
    embeddings, labels = batch(count=30)
    loss = ArcFaceLoss(5, 4, margin=margin, scale=scale, seed=1).double()

    value = loss(embeddings, labels)

    assert value.item() == pytest.approx(in_loops(embeddings, labels, loss.weights, margin, scale))


def test_worked_by_hand():
    loss = on_axes(margin=math.pi / 3, scale=2.0)

    # At 0° of the own class, 60° count, at 30°, 90°: logits (1, 0) and (0, 1).
    value = loss(torch.tensor([[3.0, 0.0], [math.sqrt(3), 1.0]]), torch.tensor([0, 0]))

    assert value.item() == pytest.approx((math.log(1 + math.exp(-1)) + math.log(1 + math.exp(1))) / 2)


def test_beyond_a_half_turn_worked_by_hand():
    # At 180° of its class, of which it is at 90° from the other.
    value = on_axes(margin=0.5, scale=1.0)(torch.tensor([[-2.0, 0.0]]), torch.tensor([0]))

    assert value.item() == pytest.approx(math.log(1 + math.exp(1 + 0.5 * math.sin(0.5))))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("degrees", [28.6, 80.0])
def test_pytorch_metric_learning_gives_the_same(seed, degrees):
    embeddings, labels = batch(count=24, classes=6, seed=seed)
    one, other = (embeddings.clone().requires_grad_() for _ in range(2))
    loss = ArcFaceLoss(5, 9, margin=math.radians(degrees), scale=16.0, seed=seed).double()
    peer = peers.ArcFaceLoss(9, 5, margin=degrees, scale=16).double()
    peer.W.data.copy_(loss.weights.data.T)
    cosines = (unit(embeddings) @ unit(loss.weights).T).gather(1, labels[:, None])
    assert degrees < 80 or (cosines < -math.cos(loss.margin)).any()  # some pass a half turn

    ours, theirs = loss(one, labels), peer(other, labels)
    torch.testing.assert_close(ours, theirs)
    ours.backward()
    theirs.backward()

    torch.testing.assert_close(one.grad, other.grad)
    torch.testing.assert_close(loss.weights.grad, peer.W.grad.T)


def test_gradients_are_those_of_small_steps():
    embeddings, labels = batch(count=5, dim=3)
    loss = ArcFaceLoss(3, 4, scale=4.0)

    def value(embeddings, weights):
        return functional_call(loss, {"weights": weights}, (embeddings, labels))

    assert torch.autograd.gradcheck(
        value, (embeddings.requires_grad_(), loss.weights.detach().double().requires_grad_())
    )


def test_without_a_margin_it_is_a_softmax_over_scaled_cosines():
    embeddings, labels = batch()
    one, other = (embeddings.clone().requires_grad_() for _ in range(2))
    loss = ArcFaceLoss(5, 3, margin=0, scale=8.0).double()
    expected = torch.nn.functional.cross_entropy(8 * unit(other) @ unit(loss.weights.detach()).T, labels)

    value = loss(one, labels)
    torch.testing.assert_close(value, expected)
    value.backward()
    expected.backward()

    torch.testing.assert_close(one.grad, other.grad)


def test_a_greater_margin_costs_more():
    embeddings, labels = batch()
    values = [ArcFaceLoss(5, 3, margin=margin)(embeddings, labels) for margin in (0, 0.1, 0.3, 0.5, 1.0, math.pi / 2)]

    assert values == sorted(values)
    assert values[0] < values[-1]


def test_rows_on_their_own_weights_cost_nothing():
    loss = ArcFaceLoss(4, 4)
    with torch.no_grad():
        loss.weights.copy_(torch.eye(4))

    assert loss(torch.eye(4), torch.arange(4)).item() == pytest.approx(0, abs=1e-6)
    assert loss(torch.eye(4), torch.tensor([1, 2, 3, 0])).item() > 64


@pytest.mark.parametrize("margin", [0.0, 0.5, 1.0, math.pi / 2])
def test_the_farther_from_the_own_class_the_more_it_costs(margin):
    loss = ArcFaceLoss(3, 2, margin=margin, scale=4.0).double()
    with torch.no_grad():
        loss.weights.copy_(torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]))
    angles = torch.linspace(0, math.pi, 200, dtype=torch.float64)
    rows = torch.stack([angles.cos(), angles.sin(), torch.zeros(200)], dim=1)  # all at 90° from the other class

    values = [loss(row[None], torch.tensor([0])).item() for row in rows]

    assert all(one < other for one, other in pairwise(values))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("margin", [0.0, 0.5, math.pi / 2])
def test_cosines_of_exactly_one_have_a_finite_gradient(dtype, sign, margin):
    loss = on_axes(margin=margin).to(dtype)
    embeddings = (sign * torch.tensor([[3.0, 0.0], [0.0, 0.5]], dtype=dtype)).requires_grad_()

    value = loss(embeddings, torch.tensor([0, 1]))
    value.backward()

    assert torch.isfinite(value)
    assert torch.isfinite(embeddings.grad).all()
    assert torch.isfinite(loss.weights.grad).all()


@pytest.mark.parametrize("dim", [8, 384])
@pytest.mark.parametrize("noise", [0.0, 1e-7, 1e-5, 1e-4, 1e-3])
def test_near_the_own_weights_the_gradient_stays_within_its_bound(dim, noise):
    loss = ArcFaceLoss(dim, 40)
    with torch.no_grad():
        loss.weights[20:] = loss.weights[:20]  # each class has a twin, which wins by the margin
    generator = torch.Generator().manual_seed(0)
    rows = unit(loss.weights.detach() + noise * torch.randn(40, dim, generator=generator)).requires_grad_()

    (40 * loss(rows, torch.arange(40))).backward()

    assert rows.grad.norm(dim=1).max() < 2 * 64  # in exact numbers 64 · sin(θ + margin) at most


def test_one_class_in_the_batch():
    embeddings, _ = batch()
    labels = torch.ones(9, dtype=torch.long)
    loss = ArcFaceLoss(5, 3).double()

    assert loss(embeddings, labels).item() == pytest.approx(in_loops(embeddings, labels, loss.weights, 0.5, 64.0))


def test_an_empty_batch_is_zero_with_gradients_of_zero():
    loss, embeddings = ArcFaceLoss(5, 3), torch.empty(0, 5, requires_grad=True)

    value = loss(embeddings, torch.empty(0, dtype=torch.long))
    value.backward()

    assert value.item() == 0
    assert (loss.weights.grad == 0).all()
    assert embeddings.grad.shape == (0, 5)


def test_rows_without_a_direction_are_at_right_angles_to_every_class():
    value = on_axes(margin=0.5, scale=1.0)(torch.zeros(1, 2), torch.tensor([1]))

    assert value.item() == pytest.approx(math.log(1 + math.exp(math.sin(0.5))))


def test_weights_and_embeddings_count_by_direction():
    loss, (embeddings, labels) = ArcFaceLoss(5, 3), batch()
    expected = loss(embeddings, labels)
    loss.weights.data *= torch.tensor([[0.01], [3.0], [100.0]])

    torch.testing.assert_close(loss(embeddings * torch.arange(1, 10)[:, None], labels), expected, rtol=1e-5, atol=0)


def test_narrower_embeddings_meet_the_first_columns():
    loss, (embeddings, labels) = ArcFaceLoss(5, 3), batch()
    expected = in_loops(embeddings[:, :2], labels, loss.weights[:, :2].double(), 0.5, 64.0)

    assert loss(embeddings[:, :2], labels).item() == pytest.approx(expected)
    MatryoshkaLoss(loss, [2])(embeddings, labels).backward()
    assert (loss.weights.grad[:, :2] != 0).all()
    assert (loss.weights.grad[:, 2:] == 0).all()


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int32])
def test_any_integers_are_labels(dtype):
    loss, (embeddings, labels) = ArcFaceLoss(5, 3), batch()

    assert torch.equal(loss(embeddings, labels.to(dtype)), loss(embeddings, labels))


def test_weights_in_half_precision_are_computed_with_in_full():
    loss, (embeddings, labels) = ArcFaceLoss(5, 3).half(), batch()

    value = loss(embeddings.half(), labels)

    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss.float()(embeddings.half().float(), labels))


def test_a_hundred_thousand_classes():
    loss, (embeddings, labels) = ArcFaceLoss(8, 100_000), batch(count=32, dim=8, classes=100_000)
    embeddings = embeddings.float().requires_grad_()

    loss(embeddings, labels).backward()

    assert (embeddings.grad != 0).any(dim=1).all()
    assert (loss.weights.grad[labels] != 0).any(dim=1).all()


def test_the_seed_draws_the_weights():
    one, same, other = (ArcFaceLoss(5, 3, seed=seed).weights for seed in (4, 4, 5))

    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert 0.9 < ArcFaceLoss(100, 100).weights.std() < 1.1


def test_descent_separates_the_classes_by_more_than_the_margin():
    loss = ArcFaceLoss(5, 3)
    embeddings, labels = batch(count=12)
    embeddings.requires_grad_()
    optimiser = torch.optim.Adam([embeddings, *loss.parameters()], lr=0.05)
    for _ in range(300):
        optimiser.zero_grad()
        loss(embeddings, labels).backward()
        optimiser.step()

    angles = (unit(embeddings) @ unit(loss.weights).T.double()).clamp(-1, 1).acos()
    own, others = angles.gather(1, labels[:, None]), angles.scatter(1, labels[:, None], math.pi)
    assert (own + 0.5 < others.amin(dim=1, keepdim=True)).all()


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_that_is_no_class_is_refused(label):
    with pytest.raises(InputError, match=r"labels must be classes, 0 … 2; received"):
        ArcFaceLoss(5, 3)(torch.zeros(2, 5), torch.tensor([0, label]))


def test_embeddings_wider_than_the_weights_are_refused():
    with pytest.raises(InputError, match=r"at most 5 wide; received \(2, 6\)"):
        ArcFaceLoss(5, 3)(torch.zeros(2, 6), torch.tensor([0, 1]))


@pytest.mark.parametrize("sizes", [(0, 2), (4, 1), (4, True), (4.0, 2), ("4", 2)])
def test_sizes_are_checked(sizes):
    with pytest.raises(InputError, match="must be an integer"):
        ArcFaceLoss(*sizes)


@pytest.mark.parametrize(
    ("name", "value"),
    [("margin", -0.1), ("margin", "0.1"), ("margin", math.nan), ("scale", 0), ("scale", math.inf), ("seed", -1)],
)
def test_settings_are_checked(name, value):
    with pytest.raises(InputError, match=rf"{name} must be.*received"):
        ArcFaceLoss(5, 3, **{name: value})


def test_degrees_are_refused():
    with pytest.raises(InputError, match=r"margin must be an angle in radians, 0 … π/2; received 28.6"):
        ArcFaceLoss(5, 3, margin=28.6)


def test_what_it_prints_tells_its_settings():
    assert "dim=5, num_classes=3, margin=0.25, scale=8.0" in repr(ArcFaceLoss(5, 3, margin=0.25, scale=8))
