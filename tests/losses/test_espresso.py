import math

import numpy as np
import pytest
import torch
from torch import nn

from embedkit.errors import InputError
from embedkit.losses import CoSENTLoss, EspressoLoss, InfoNCELoss, MatryoshkaLoss

LAYERS, COUNT, DIM, K = 4, 6, 12, 5


def grids(number=2, *, seed=0, shape=(LAYERS, COUNT, DIM)):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, requires_grad=True) for _ in range(number)]


def nothing(*tensors):
    """A loss that leaves what is compressed."""
    return tensors[0].sum() * 0


def softmax(rows):
    weights = np.exp(rows - rows.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


def alignment(vectors, k, temperature):
    """A of the paper, by numpy; the eigenvectors of A·Aᵀ are the left singular vectors of A."""
    related = softmax(vectors.T @ vectors / math.sqrt(vectors.shape[1]))
    squares, directions = np.linalg.eigh(related @ related.T)
    target = vectors @ directions[:, ::-1][:, :k] * np.sqrt(squares[::-1][:k])
    prefix = vectors[:, :k]
    for column in range(k):
        if target[:, column] @ prefix[:, column] < 0:
            target[:, column] *= -1
    p, q = softmax(target / temperature), softmax(prefix / temperature)
    return ((prefix - target) ** 2).mean() + (p * np.log(p / q)).sum() / len(vectors)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_the_formula_in_loops_gives_the_same(temperature):
    first, second = grids()
    wide = [each.detach().double().numpy() for each in (first, second)]

    def task(layer, dim):
        return InfoNCELoss()(first[layer - 1, :, :dim], second[layer - 1, :, :dim]).item()

    def compress(layer):
        return 0.7 * alignment(np.concatenate([each[layer - 1] for each in wide]), K, temperature)

    expected = task(LAYERS, DIM) + task(LAYERS, K) + compress(LAYERS)
    for layer in range(1, LAYERS):
        expected += (task(layer, K) + compress(layer)) / (1 + math.log(layer)) / (LAYERS - 1)

    loss = EspressoLoss(InfoNCELoss(), K, compress_weight=0.7, temperature=temperature)(first, second)

    assert loss.item() == pytest.approx(expected, rel=1e-4)


def test_worked_by_hand():
    # One row (a, a) has vᵀv/√2 constant, so A is ½ everywhere: U = (1, 1)/√2 up to its sign and S = 1,
    # hence c = 2a/√2 = √2·a, beside the prefix a: MSE (√2 − 1)²·a². KL over one coordinate is 0.
    embeddings = torch.full((1, 1, 2), 3.0)

    assert EspressoLoss(nothing, 1)(embeddings).item() == pytest.approx((math.sqrt(2) - 1) ** 2 * 9, rel=1e-5)


def test_layers_weigh_one_over_one_plus_their_logarithm():
    layers = torch.eye(4)[:, None, :]  # row l holds 1 at place l: the gradient of a sum shows each layer's weight
    layers.requires_grad_()

    EspressoLoss(torch.sum, 2, compress_weight=0)(layers).backward()

    expected = [1 / 3, 1 / 3 / (1 + math.log(2)), 1 / 3 / (1 + math.log(3))]
    assert layers.grad[:3, 0, 0].tolist() == pytest.approx(expected)
    assert (layers.grad[:3, 0, 2:] == 0).all()  # layers below the last are trained at `dim` only
    assert layers.grad[3, 0].tolist() == [2, 2, 1, 1]


def test_with_one_layer_and_nothing_compressed_it_is_a_matryoshka():
    tensors = grids(shape=(1, COUNT, DIM))

    loss = EspressoLoss(InfoNCELoss(), K, compress_weight=0)(*tensors)

    torch.testing.assert_close(loss, MatryoshkaLoss(InfoNCELoss(), [K, DIM])(*(each[0] for each in tensors)))


def test_at_the_full_width_it_is_the_wrapped_loss_twice():
    tensors = grids(shape=(1, COUNT, DIM))

    loss = EspressoLoss(InfoNCELoss(), DIM, compress_weight=0)(*tensors)

    torch.testing.assert_close(loss, 2 * InfoNCELoss()(*(each[0] for each in tensors)))


def test_the_order_of_rows_and_of_arguments_does_not_matter():
    first, second = grids()
    turn = torch.randperm(COUNT, generator=torch.Generator().manual_seed(1))
    loss = EspressoLoss(CoSENTLoss(), K)
    scores = torch.linspace(0, 1, COUNT)
    expected = loss(first, second, scores)

    torch.testing.assert_close(loss(first[:, turn], second[:, turn], scores[turn]), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(loss(second, first, scores), expected, rtol=1e-4, atol=1e-5)


def test_only_the_prefix_learns_from_what_is_compressed():
    tensors = grids()

    EspressoLoss(nothing, K)(*tensors).backward()

    for each in tensors:
        assert (each.grad[..., :K] != 0).all()
        assert (each.grad[..., K:] == 0).all()


def test_descending_it_brings_the_prefix_to_the_components():
    (embeddings,) = grids(1, shape=(1, 40, DIM))
    loss = EspressoLoss(nothing, 2)
    before = loss(embeddings).item()
    optimizer = torch.optim.Adam([embeddings], lr=0.02)

    for _ in range(100):
        optimizer.zero_grad()
        loss(embeddings).backward()
        optimizer.step()

    assert loss(embeddings).item() < before / 2


def test_an_overflow_gives_nan_and_no_error():
    tensors = [torch.full((2, 3, 8), torch.inf, requires_grad=True) for _ in range(2)]

    assert torch.isnan(EspressoLoss(nothing, 4)(*tensors))


def test_weights_of_the_wrapped_loss_are_registered():
    class Learned(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, first, second):
            return self.scale * (first - second).square().mean()

    loss = EspressoLoss(Learned(), K)
    loss(*grids()).backward()

    assert [name for name, _ in loss.named_parameters()] == ["loss.scale"]
    assert loss.loss.scale.grad != 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dim": 0}, "dim must be an integer, 1 or more; received 0"),
        ({"dim": [8]}, "dim must be an integer"),
        ({"compress_weight": -1}, "compress_weight must be a finite number, 0 or more"),
        ({"temperature": -1}, "temperature must be a finite number above 0"),
        ({"loss": InfoNCELoss}, "pass an instance"),
    ],
)
def test_wrong_settings_are_refused(options, said):
    with pytest.raises(InputError, match=said):
        EspressoLoss(**{"loss": InfoNCELoss(), "dim": K, **options})


def test_a_wrong_call_is_refused():
    with pytest.raises(InputError, match=r"must not exceed the embeddings' width, 12; received \[13\]"):
        EspressoLoss(InfoNCELoss(), 13)(*grids())
    with pytest.raises(InputError, match=r"shape \(layers, n, dim\)"):
        EspressoLoss(InfoNCELoss(), K)(*(each[-1] for each in grids()))
