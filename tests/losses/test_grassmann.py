import math

import pytest
import torch

from embedkit.errors import InputError
from embedkit.losses import GrassmannLoss


def batch(*, count=8, dim=6, classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, dim, generator=generator), torch.arange(count) % classes


def identity_error(bases):
    return (bases.transpose(1, 2) @ bases - torch.eye(bases.shape[2])).abs().max().item()


def test_the_formula_in_loops_gives_the_same():
    loss, (embeddings, labels) = GrassmannLoss(6, 3, rank=2), batch()
    total = 0.0
    for x, label in zip(embeddings, labels, strict=True):
        logits = [25 * float((basis.T @ x).norm() / x.norm()) for basis in loss.bases.detach()]
        total += math.log(sum(math.exp(each) for each in logits)) - logits[label]
    assert loss(embeddings, labels).item() == pytest.approx(total / 8, rel=1e-5)


def test_worked_by_hand():
    loss = GrassmannLoss(2, 2, rank=1, scale=1.0)
    loss.bases.data.copy_(torch.tensor([[[1.0], [0.0]], [[0.0], [1.0]]]))
    value = loss(torch.tensor([[-5.0, 0.0]]), torch.tensor([0]))
    assert value.item() == pytest.approx(math.log(1 + math.exp(-1)))


def test_one_dimension_is_the_size_of_the_cosine():
    loss, (embeddings, _) = GrassmannLoss(6, 3, rank=1, scale=1.0), batch()
    cosines = torch.nn.functional.cosine_similarity(embeddings[:, None], loss.bases[None, :, :, 0], dim=2)
    torch.testing.assert_close(loss.logits(embeddings), cosines.abs())


def test_another_basis_of_the_same_subspaces_changes_nothing():
    loss, (embeddings, labels) = GrassmannLoss(6, 3, rank=2), batch()
    value = loss(embeddings, labels)
    mixed = loss.bases.data @ torch.tensor([[2.0, 1.0], [-1.0, 3.0]])
    loss.bases.data.copy_(mixed)
    torch.testing.assert_close(loss(embeddings, labels), value)
    assert identity_error(loss.bases.data) < 1e-6


def test_whole_spaces_tell_nothing():
    loss, (embeddings, labels) = GrassmannLoss(6, 3, rank=6), batch()
    torch.testing.assert_close(loss.logits(embeddings), torch.full((8, 3), 25.0))
    assert loss(embeddings, labels).item() == pytest.approx(math.log(3), rel=1e-5)


def test_embeddings_cut_to_no_more_than_the_subspaces_are_refused():
    loss, (embeddings, _) = GrassmannLoss(6, 3, rank=3), batch()
    assert loss.logits(embeddings[:, :4]).shape == (8, 3)
    with pytest.raises(InputError, match=r"wider than the subspaces, 3; received 3"):
        loss.logits(embeddings[:, :3])


def test_weights_in_half_precision():
    loss, (embeddings, labels) = GrassmannLoss(6, 3, rank=2), batch()
    value = loss(embeddings, labels)
    torch.testing.assert_close(loss.bfloat16()(embeddings, labels), value, rtol=0.05, atol=0.05)


def test_opposite_embeddings_are_of_the_same_class():
    loss, (embeddings, _) = GrassmannLoss(6, 3, rank=2), batch()
    torch.testing.assert_close(loss.logits(-embeddings), loss.logits(embeddings))


def test_the_gradient_is_tangent_to_the_manifold():
    loss, (embeddings, labels) = GrassmannLoss(6, 3, rank=2), batch()
    loss(embeddings, labels).backward()
    within = loss.bases.data.transpose(1, 2) @ loss.bases.grad
    assert loss.bases.grad.abs().max() > 0.1
    assert within.abs().max() < 1e-5


def test_a_step_is_one_along_the_geodesic_but_for_its_square():
    loss, (embeddings, labels) = GrassmannLoss(6, 3, rank=2), batch()
    rate = 1e-3
    loss(embeddings, labels).backward()
    start, gradient = loss.bases.data.clone(), loss.bases.grad
    left, sizes, right = torch.linalg.svd(-rate * gradient, full_matrices=False)
    geodesic = (start @ right.mT * sizes.cos()[:, None, :] + left * sizes.sin()[:, None, :]) @ right
    torch.optim.SGD([loss.bases], rate).step()
    loss.logits(embeddings)

    stepped = loss.bases.data
    projections = [bases @ bases.mT for bases in (start, geodesic, stepped)]
    moved = (projections[1] - projections[0]).abs().max()
    assert moved > 1e-3
    assert (projections[2] - projections[1]).abs().max() < 0.02 * moved
    assert identity_error(stepped) < 1e-6


def test_training_finds_the_subspaces():
    draw = torch.Generator().manual_seed(0)
    planes = torch.linalg.qr(torch.randn(3, 8, 2, generator=draw))[0]
    labels = torch.arange(90) % 3
    embeddings = (planes[labels] @ torch.randn(90, 2, 1, generator=draw)).squeeze(2)
    loss = GrassmannLoss(8, 3, rank=2)
    optimizer = torch.optim.SGD(loss.parameters(), 0.05)
    for _ in range(100):
        optimizer.zero_grad()
        loss(embeddings, labels).backward()
        optimizer.step()
    assert (loss.logits(embeddings).argmax(dim=1) == labels).float().mean() > 0.95


def test_seeds_make_the_first_subspaces():
    bases = [GrassmannLoss(6, 3, rank=2, seed=seed).bases for seed in (0, 0, 1)]
    assert torch.equal(bases[0], bases[1])
    assert not torch.equal(bases[0], bases[2])
    assert identity_error(bases[0].data) < 1e-6


def test_many_classes():
    loss, (embeddings, _) = GrassmannLoss(6, 100_000, rank=1), batch()
    loss(embeddings, torch.arange(8) * 12_000).backward()
    assert torch.isfinite(loss.bases.grad).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((8, 1), "num_classes"), ((6, 3, 0), "rank"), ((4, 3, 5), "dim"), ((6, 3, 2, 0.0), "scale"), ((0, 3), "dim")],
)
def test_wrong_sizes_are_refused(arguments, message):
    dim, classes, *more = arguments
    with pytest.raises(InputError, match=message):
        GrassmannLoss(dim, classes, **dict(zip(("rank", "scale"), more, strict=False)))


def test_wider_embeddings_and_unknown_classes_are_refused():
    with pytest.raises(InputError, match=r"at most 6 wide.*received"):
        GrassmannLoss(6, 3, rank=2)(torch.ones(2, 7), torch.tensor([0, 1]))
    with pytest.raises(InputError, match=r"0 … 2.*received"):
        GrassmannLoss(6, 3, rank=2)(torch.ones(2, 6), torch.tensor([0, 3]))
