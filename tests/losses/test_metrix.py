import math

import pytest
import torch

from embedkit.errors import InputError
from embedkit.losses import ContrastiveLoss, MetrixLoss, MultiSimilarityLoss, ProtoTripletLoss, SupConLoss

BASES = [ContrastiveLoss(margin=0.1), MultiSimilarityLoss(negative_scale=3.0)]


def batch(*, count=9, dim=5, classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(count, dim, generator=generator, dtype=torch.float64)
    return embeddings, torch.randint(0, classes, (count,), generator=generator)


def drawn(loss, *, share, of_itself, monkeypatch, weight=1.0, num_negatives=2):
    wrapped = MetrixLoss(loss, weight=weight, num_negatives=num_negatives)
    monkeypatch.setattr(wrapped.draws, "beta", lambda alpha: share)
    monkeypatch.setattr(wrapped.draws, "integer", lambda count: int(of_itself))
    return wrapped


def mixtures_in_loops(embeddings, labels, share, of_itself, hardest):
    """Similarities of each anchor to its mixtures, made as vectors."""
    unit = torch.nn.functional.normalize(embeddings, dim=1)
    found = []
    for a in range(len(labels)):
        positives = [a] if of_itself else [j for j in range(len(labels)) if j != a and labels[j] == labels[a]]
        negatives = [j for j in range(len(labels)) if labels[j] != labels[a]]
        negatives = sorted(negatives, key=lambda j: -float(unit[a] @ unit[j]))[:hardest]
        mixed = [share * unit[p] + (1 - share) * unit[n] for p in positives for n in negatives]
        found.append([float(unit[a] @ (v / v.norm())) for v in mixed])
    return found


@pytest.mark.parametrize("of_itself", [False, True])
@pytest.mark.parametrize("base", BASES, ids=lambda base: type(base).__name__)
def test_mixtures_that_are_built_give_the_same(base, of_itself, monkeypatch):
    embeddings, labels = batch()
    labels[0] = 99  # alone
    share = 0.3
    found = mixtures_in_loops(embeddings, labels, share, of_itself, 2)
    width = max(map(len, found))
    there = torch.tensor([[1.0] * len(row) + [0.0] * (width - len(row)) for row in found], dtype=torch.float64)
    similarities = torch.tensor([row + [0.0] * (width - len(row)) for row in found], dtype=torch.float64)
    wrapped = drawn(base, share=share, of_itself=of_itself, monkeypatch=monkeypatch)

    terms = wrapped.terms(embeddings, labels)

    torch.testing.assert_close(terms["mixtures"], base.of_pairs(similarities, share * there, (1 - share) * there))
    torch.testing.assert_close(terms["wrapped"], base(embeddings, labels))


def test_worked_by_hand(monkeypatch):
    embeddings = torch.eye(3)
    loss = drawn(ContrastiveLoss(margin=0.0), share=0.5, of_itself=False, monkeypatch=monkeypatch)
    # Each of the first two meets the mixture of the other and the third, at cosine 0: half a positive, which lacks 1.
    assert loss.terms(embeddings, torch.tensor([0, 0, 1]))["mixtures"].item() == pytest.approx(0.5)


def test_of_itself_worked_by_hand(monkeypatch):
    embeddings = torch.eye(2)
    loss = drawn(ContrastiveLoss(margin=0.0), share=0.5, of_itself=True, monkeypatch=monkeypatch)
    cosine = math.sqrt(0.5)
    expected = (1 - cosine) / 2 + cosine / 2
    assert loss.terms(embeddings, torch.tensor([0, 1]))["mixtures"].item() == pytest.approx(expected)


@pytest.mark.parametrize("base", BASES, ids=lambda base: type(base).__name__)
def test_unmixed_it_is_the_half_of_the_positives_or_of_the_negatives(base, monkeypatch):
    embeddings, _ = batch(count=6)
    labels = torch.tensor([0, 0, 1, 1, 2, 2])  # one positive each
    unit = torch.nn.functional.normalize(embeddings, dim=1)
    cosines, same = unit @ unit.T, labels[:, None] == labels[None, :]
    positives, nothing = (same & ~torch.eye(6, dtype=torch.bool)).double(), torch.zeros(6, 6, dtype=torch.float64)

    whole = drawn(base, share=1.0, of_itself=False, monkeypatch=monkeypatch, num_negatives=1)
    torch.testing.assert_close(whole.terms(embeddings, labels)["mixtures"], base.of_pairs(cosines, positives, nothing))
    none = drawn(base, share=0.0, of_itself=False, monkeypatch=monkeypatch, num_negatives=4)
    torch.testing.assert_close(
        none.terms(embeddings, labels)["mixtures"], base.of_pairs(cosines, nothing, (~same).double())
    )


@pytest.mark.parametrize("base", BASES, ids=lambda base: type(base).__name__)
def test_a_weight_of_zero_is_the_loss_itself(base):
    embeddings, labels = batch()
    assert torch.equal(MetrixLoss(base, weight=0)(embeddings, labels), base(embeddings, labels))


def test_both_parents_get_a_gradient(monkeypatch):
    embeddings, _ = batch(count=3)
    loss = drawn(MultiSimilarityLoss(), share=0.5, of_itself=False, monkeypatch=monkeypatch)
    embeddings.requires_grad_()
    loss.terms(embeddings, torch.tensor([0, 0, 1]))["mixtures"].backward()
    assert (embeddings.grad.norm(dim=1) > 0).all()


def test_the_gradient_is_that_of_finite_differences(monkeypatch):
    embeddings, labels = batch(count=7)
    loss = drawn(MultiSimilarityLoss(), share=0.4, of_itself=False, monkeypatch=monkeypatch)
    assert torch.autograd.gradcheck(lambda rows: loss(rows, labels), embeddings.requires_grad_())


def test_shares_are_drawn_evenly_about_one_half():
    loss = MetrixLoss(ContrastiveLoss(), alpha=2.0)
    shares = torch.tensor([loss.draws.beta(2.0) for _ in range(4000)])
    assert shares.mean().item() == pytest.approx(0.5, abs=0.02)
    assert shares.var().item() == pytest.approx(1 / 20, abs=0.005)  # of Beta(2, 2)


def test_draws_change_from_batch_to_batch():
    loss, (embeddings, labels) = MetrixLoss(ContrastiveLoss()), batch()
    assert len({loss(embeddings, labels).item() for _ in range(4)}) > 1


@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 2], [5, 5, 5]])
def test_without_mixtures_it_is_the_loss_alone(labels, monkeypatch):
    embeddings, _ = batch(count=3)
    wrapped = drawn(ContrastiveLoss(), share=0.5, of_itself=False, monkeypatch=monkeypatch)
    assert torch.equal(wrapped(embeddings, torch.tensor(labels)), ContrastiveLoss()(embeddings, torch.tensor(labels)))


@pytest.mark.parametrize(
    "wrong", [ContrastiveLoss, ProtoTripletLoss(), SupConLoss(), "ContrastiveLoss", None, lambda a, b: a.sum()]
)
def test_the_wrapped_loss_is_one_of_pairs(wrong):
    with pytest.raises(InputError, match=r"loss of pairs.*received"):
        MetrixLoss(wrong)


@pytest.mark.parametrize("setting", [{"weight": -1.0}, {"alpha": 0}, {"num_negatives": 0}, {"seed": -1}])
def test_settings_have_ranges(setting):
    with pytest.raises(InputError, match=next(iter(setting))):
        MetrixLoss(ContrastiveLoss(), **setting)
