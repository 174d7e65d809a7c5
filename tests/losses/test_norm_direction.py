import math

import numpy as np
import pytest
import torch

from embedkit.errors import InputError
from embedkit.losses import EnergyConfusionLoss, MatryoshkaLoss, NormDirectionLoss, SBCLLoss, SupConLoss

LABELS = [4, 4, 4, 9, 9, 2]


def teacher(*, dim=5, seed=0):
    return np.random.default_rng(seed).normal(size=(6, dim)).astype(np.float32)


def nothing(embeddings, labels):
    del labels
    return 0 * embeddings.sum()


def direction(vectors, labels=LABELS):
    return NormDirectionLoss(nothing, vectors, labels, weight=1.0)


def batch(*, dim=5, seed=1):
    return torch.randn(6, dim, generator=torch.Generator().manual_seed(seed)), torch.arange(6)


def test_the_formula_in_loops_gives_the_same():
    vectors, (embeddings, rows) = teacher(), batch()
    total = 0.0
    for s, row in zip(embeddings.numpy(), rows.tolist(), strict=True):
        mean = vectors[[each for each in range(6) if LABELS[each] == LABELS[row]]].mean(axis=0)
        total += 1 - s @ mean / np.linalg.norm(mean) / max(np.linalg.norm(s), np.linalg.norm(vectors[row]))
    assert direction(vectors)(embeddings, rows).item() == pytest.approx(total / 6, rel=1e-5)


def test_worked_by_hand():
    loss = direction([[3.0, 4.0], [0.0, 2.0]], [0, 1])
    embeddings = torch.tensor([[1.5, 2.0], [3.0, 3.0]])  # half as long; and 45 degrees off, long enough
    assert loss(embeddings, torch.arange(2)).item() == pytest.approx((0.5 + 1 - math.sqrt(0.5)) / 2)


def test_long_ones_are_judged_by_their_cosine():
    vectors, (embeddings, rows) = teacher(), batch()
    loss = direction(vectors)
    means = torch.stack([torch.from_numpy(vectors)[torch.tensor(LABELS) == label].mean(dim=0) for label in LABELS])
    cosines = torch.nn.functional.cosine_similarity(embeddings, means)
    torch.testing.assert_close(loss(100 * embeddings, rows), (1 - cosines).mean())


def test_of_the_teacher_only_the_length_of_the_row_counts():
    vectors = teacher()
    turned = vectors.copy()
    turned[5] *= -1  # alone in its class: its direction is the class's
    embeddings, rows = batch()
    one, other = (direction(each).terms(embeddings[:5], rows[:5])["direction"] for each in (vectors, turned))
    torch.testing.assert_close(one, other)


def test_what_is_right_costs_nothing_and_what_is_opposite_two():
    vectors = np.eye(6, 5, dtype=np.float32) + 1
    means = torch.stack([torch.from_numpy(vectors[np.array(LABELS) == label].mean(axis=0)) for label in LABELS])
    loss, rows = direction(vectors), torch.arange(6)
    assert loss(9 * means, rows).item() == pytest.approx(0, abs=1e-6)
    assert loss(-9 * means, rows).item() == pytest.approx(2)


def test_short_ones_gain_by_growing():
    vectors, rows = np.ones((6, 5), np.float32), torch.arange(6)
    embeddings = torch.full((6, 5), 0.1, requires_grad=True)
    direction(vectors)(embeddings, rows).backward()
    assert (embeddings.grad < 0).all()


def test_a_weight_of_zero_is_the_loss_itself_with_the_classes_as_given():
    embeddings, rows = batch()
    value = NormDirectionLoss(SupConLoss(), teacher(), LABELS, weight=0)(embeddings, rows)
    assert torch.equal(value, SupConLoss()(embeddings, torch.tensor(LABELS)))


def test_around_another_wrapper():
    embeddings, rows = batch()
    inner = EnergyConfusionLoss(SupConLoss())
    terms = NormDirectionLoss(inner, teacher(), LABELS).terms(embeddings, rows)
    assert torch.equal(terms["wrapped"], inner(embeddings, torch.tensor(LABELS)))


@pytest.mark.parametrize("wrap", [lambda loss: NormDirectionLoss(loss, teacher(), LABELS), EnergyConfusionLoss])
@pytest.mark.parametrize("loss", [SBCLLoss(LABELS), MatryoshkaLoss(SBCLLoss(LABELS), [8])])
def test_a_loss_that_takes_rows_is_not_wrapped(wrap, loss):
    with pytest.raises(InputError, match=r"must take classes.*SBCLLoss"):
        wrap(loss)


def test_narrower_embeddings_meet_the_first_coordinates():
    vectors, (embeddings, rows) = teacher(), batch()
    whole, cut = direction(vectors), direction(vectors[:, :3])
    torch.testing.assert_close(whole(embeddings[:, :3], rows), cut(embeddings[:, :3], rows))


def test_rows_that_are_zero_here_and_there_have_no_gradient():
    embeddings = torch.zeros(6, 5, requires_grad=True)
    direction(np.zeros((6, 5), np.float32))(embeddings, torch.arange(6)).backward()
    assert (embeddings.grad == 0).all()


@pytest.mark.parametrize(
    ("vectors", "labels"),
    [([], []), (np.ones((6, 5)), LABELS[:5]), (np.full((6, 5), np.nan), LABELS), (np.ones((6, 5)), [0.5] * 6)],
)
def test_teacher_and_labels_go_together(vectors, labels):
    with pytest.raises(InputError, match="must"):
        NormDirectionLoss(SupConLoss(), vectors, labels)


def test_wider_embeddings_and_unknown_rows_are_refused():
    loss = direction(teacher())
    with pytest.raises(InputError, match=r"at most 5 wide.*received"):
        loss(torch.ones(2, 6), torch.tensor([0, 1]))
    with pytest.raises(InputError, match=r"0 … 5.*received"):
        loss(torch.ones(2, 5), torch.tensor([0, 6]))
