import math

import pytest
import torch
from pytorch_metric_learning import losses as peers
from torch.func import functional_call

from embedkit.errors import InputError
from embedkit.losses import MatryoshkaLoss
from embedkit.losses.proxy_anchor import ProxyAnchorLoss
from embedkit.ops.similarity import cosine_similarity


def batch(*, count=9, dim=5, classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(count, dim, generator=generator, dtype=torch.float64)
    return embeddings, torch.randint(0, classes, (count,), generator=generator)


def in_loops(embeddings, labels, proxies, margin, scale):
    unit = torch.nn.functional.normalize(embeddings, dim=1)
    proxies = torch.nn.functional.normalize(proxies.detach(), dim=1)
    pulled, pushed = [], []
    for number, proxy in enumerate(proxies):
        of_class = [float(x @ proxy) for x, label in zip(unit, labels, strict=True) if label == number]
        of_others = [float(x @ proxy) for x, label in zip(unit, labels, strict=True) if label != number]
        if of_class:
            pulled.append(math.log(1 + sum(math.exp(-scale * (s - margin)) for s in of_class)))
        pushed.append(math.log(1 + sum(math.exp(scale * (s + margin)) for s in of_others)))
    return sum(pulled) / len(pulled) + sum(pushed) / len(pushed)


@pytest.mark.parametrize("margin", [0.0, 0.1, 0.7])
@pytest.mark.parametrize("scale", [0.5, 32.0])
def test_the_formula_in_loops_gives_the_same(margin, scale):
    embeddings, labels = batch()
    loss = ProxyAnchorLoss(5, 4, margin=margin, scale=scale, seed=1).double()  # nobody is of class 3

    value = loss(embeddings, labels)

    assert value.item() == pytest.approx(in_loops(embeddings, labels, loss.weights, margin, scale))


def test_worked_by_hand():
    loss = ProxyAnchorLoss(2, 3, margin=0.25, scale=2.0)
    with torch.no_grad():
        loss.weights.copy_(torch.tensor([[5.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]))
    # Cosines of the rows with the proxies: (0.6, 0.8, -0.6) and (1, 0, -1), both of class 0.
    pulled = math.log(1 + math.exp(-2 * 0.35) + math.exp(-2 * 0.75))
    pushed = math.log(1 + math.exp(2 * 1.05) + math.exp(2 * 0.25)) + math.log(
        1 + math.exp(-2 * 0.35) + math.exp(-2 * 0.75)
    )

    value = loss(torch.tensor([[3.0, 4.0], [0.1, 0.0]]), torch.tensor([0, 0]))

    assert value.item() == pytest.approx(pulled + pushed / 3)


@pytest.mark.parametrize("seed", range(5))
def test_pytorch_metric_learning_gives_the_same(seed):
    embeddings, labels = batch(count=24, classes=6, seed=seed)
    one, other = (embeddings.clone().requires_grad_() for _ in range(2))
    loss = ProxyAnchorLoss(5, 9, margin=0.2, scale=16.0, seed=seed).double()
    peer = peers.ProxyAnchorLoss(9, 5, margin=0.2, alpha=16).double()
    peer.proxies.data.copy_(loss.weights.data)

    ours, theirs = loss(one, labels), peer(other, labels)
    torch.testing.assert_close(ours, theirs)
    ours.backward()
    theirs.backward()

    torch.testing.assert_close(one.grad, other.grad)
    torch.testing.assert_close(loss.weights.grad, peer.proxies.grad)


def test_gradients_are_those_of_small_steps():
    embeddings, labels = batch(count=5, dim=3)
    loss = ProxyAnchorLoss(3, 4, scale=4.0)

    def value(embeddings, weights):
        return functional_call(loss, {"weights": weights}, (embeddings, labels))

    assert torch.autograd.gradcheck(
        value, (embeddings.requires_grad_(), loss.weights.detach().double().requires_grad_())
    )


def test_rows_on_their_own_proxies_far_from_the_others_cost_nothing():
    loss = ProxyAnchorLoss(4, 4, scale=200.0)
    with torch.no_grad():
        loss.weights.copy_(torch.eye(4))
    far = torch.eye(4) - 0.25  # cosines: 0.87 with the own, -0.29 with the others

    assert loss(far, torch.arange(4)).item() == pytest.approx(0, abs=1e-6)
    assert loss(far, torch.tensor([1, 2, 3, 0])).item() > 100


@pytest.mark.parametrize("count", [1, 6])
def test_one_class_in_the_batch_is_pushed_from_the_other_proxies(count):
    embeddings, _ = batch(count=count)
    labels = torch.ones(count, dtype=torch.long)
    loss = ProxyAnchorLoss(5, 3)
    embeddings.requires_grad_()

    value = loss(embeddings, labels)
    value.backward()

    assert value.item() == pytest.approx(in_loops(embeddings.detach(), labels, loss.weights.double(), 0.1, 32.0))
    assert (loss.weights.grad != 0).any(dim=1).all()
    assert torch.isfinite(embeddings.grad).all()


def test_an_empty_batch_is_zero_with_gradients_of_zero():
    loss, embeddings = ProxyAnchorLoss(5, 3), torch.empty(0, 5, requires_grad=True)

    value = loss(embeddings, torch.empty(0, dtype=torch.long))
    value.backward()

    assert value.item() == 0
    assert (loss.weights.grad == 0).all()
    assert embeddings.grad.shape == (0, 5)


def test_a_great_scale_stays_finite():
    loss, (embeddings, labels) = ProxyAnchorLoss(5, 3, scale=1e4), batch()
    embeddings = embeddings.float().requires_grad_()

    value = loss(embeddings, labels)
    value.backward()

    assert torch.isfinite(value)
    assert torch.isfinite(embeddings.grad).all()
    assert torch.isfinite(loss.weights.grad).all()


def test_proxies_and_embeddings_count_by_direction():
    loss, (embeddings, labels) = ProxyAnchorLoss(5, 3), batch()
    expected = loss(embeddings, labels)
    loss.weights.data *= torch.tensor([[0.01], [3.0], [100.0]])

    torch.testing.assert_close(loss(embeddings * torch.arange(1, 10)[:, None], labels), expected, rtol=1e-5, atol=0)


def test_narrower_embeddings_meet_the_first_columns():
    loss, (embeddings, labels) = ProxyAnchorLoss(5, 3), batch()
    expected = in_loops(embeddings[:, :2], labels, loss.weights[:, :2].double(), 0.1, 32.0)

    assert loss(embeddings[:, :2], labels).item() == pytest.approx(expected)
    MatryoshkaLoss(loss, [2])(embeddings, labels).backward()
    assert (loss.weights.grad[:, :2] != 0).all()
    assert (loss.weights.grad[:, 2:] == 0).all()


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int32])
def test_any_integers_are_labels(dtype):
    loss, (embeddings, labels) = ProxyAnchorLoss(5, 3), batch()

    assert torch.equal(loss(embeddings, labels.to(dtype)), loss(embeddings, labels))


def test_proxies_in_half_precision_are_computed_with_in_full():
    loss, (embeddings, labels) = ProxyAnchorLoss(5, 3).half(), batch()

    value = loss(embeddings.half(), labels)

    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss.float()(embeddings.half().float(), labels))


def test_a_hundred_thousand_classes():
    loss, (embeddings, labels) = ProxyAnchorLoss(8, 100_000), batch(count=32, dim=8, classes=100_000)
    embeddings = embeddings.float().requires_grad_()

    loss(embeddings, labels).backward()

    assert (embeddings.grad != 0).any(dim=1).all()
    assert (loss.weights.grad != 0).any(dim=1).all()


def test_the_seed_draws_the_proxies():
    one, same, other = (ProxyAnchorLoss(5, 3, seed=seed).weights for seed in (4, 4, 5))

    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert 0.9 < ProxyAnchorLoss(100, 100).weights.std() < 1.1


def test_descent_separates_the_classes():
    loss = ProxyAnchorLoss(5, 3)
    embeddings, labels = batch(count=12)
    embeddings.requires_grad_()
    optimiser = torch.optim.Adam([embeddings, *loss.parameters()], lr=0.05)
    for _ in range(200):
        optimiser.zero_grad()
        loss(embeddings, labels).backward()
        optimiser.step()

    cosines = cosine_similarity(embeddings, loss.weights)
    assert torch.equal(cosines.argmax(dim=1), labels)
    assert cosines.gather(1, labels[:, None]).min() > 0.1
    assert cosines.scatter(1, labels[:, None], -1).max() < -0.1


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_that_is_no_class_is_refused(label):
    with pytest.raises(InputError, match=r"labels must be classes, 0 … 2; received"):
        ProxyAnchorLoss(5, 3)(torch.zeros(2, 5), torch.tensor([0, label]))


def test_embeddings_wider_than_the_proxies_are_refused():
    with pytest.raises(InputError, match=r"at most 5 wide; received \(2, 6\)"):
        ProxyAnchorLoss(5, 3)(torch.zeros(2, 6), torch.tensor([0, 1]))


@pytest.mark.parametrize("sizes", [(0, 2), (4, 1), (4, True), (4.0, 2), ("4", 2)])
def test_sizes_are_checked(sizes):
    with pytest.raises(InputError, match="must be an integer"):
        ProxyAnchorLoss(*sizes)


@pytest.mark.parametrize(
    ("name", "value"),
    [("margin", -0.1), ("margin", "0.1"), ("margin", math.inf), ("scale", 0), ("scale", math.nan), ("seed", -1)],
)
def test_settings_are_checked(name, value):
    with pytest.raises(InputError, match=rf"{name} must be.*received"):
        ProxyAnchorLoss(5, 3, **{name: value})


def test_what_it_prints_tells_its_settings():
    assert "dim=5, num_classes=3, margin=0.2, scale=8.0" in repr(ProxyAnchorLoss(5, 3, margin=0.2, scale=8))
