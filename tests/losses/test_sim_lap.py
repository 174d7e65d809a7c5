import math

import pytest
import torch

from embedkit.errors import InputError
from embedkit.losses import InfoNCELoss, SimLAPLoss


def batch(*, count=9, dim=6, classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, dim, generator=generator), torch.arange(count) % classes


def paired(loss, partners, monkeypatch):
    monkeypatch.setattr(loss.draws, "permutation", lambda count: torch.tensor(partners))
    return loss


def in_loops(loss, embeddings, labels, partners):
    values = []
    for i, a in enumerate(labels.tolist()):
        b = partners[a]
        gate = loss.gates(torch.tensor([a]), torch.tensor([b]))[0]
        gated = torch.nn.functional.normalize(embeddings * gate, dim=1)
        logits = [(gated[i] @ each).item() / loss.temperature for each in gated]
        against = sum(math.exp(logits[n]) for n, c in enumerate(labels.tolist()) if c not in (a, b))
        for p, c in enumerate(labels.tolist()):
            if c == b and p != i and against:
                values.append(math.log(1 + against / math.exp(logits[p])))
    return sum(values) / len(values)


@pytest.mark.parametrize("partners", [[0, 1, 2], [1, 2, 0], [0, 2, 1]])
def test_the_formula_in_loops_gives_the_same(partners, monkeypatch):
    embeddings, labels = batch()
    loss = paired(SimLAPLoss(6, 3), partners, monkeypatch)
    assert loss(embeddings, labels).item() == pytest.approx(in_loops(loss, embeddings, labels, partners), rel=1e-4)


def test_open_gates_and_the_own_class_are_contrastive(monkeypatch):
    embeddings, _ = batch(count=4)
    loss = paired(SimLAPLoss(6, 3, temperature=0.1), [0, 1], monkeypatch)
    monkeypatch.setattr(loss, "gates", lambda a, b: torch.ones(len(a), 6))
    one, two, three, four = embeddings[:, None]
    negatives = [[three, four], [three, four], [one, two], [one, two]]
    plain = InfoNCELoss(temperature=0.1, in_batch=False)
    pairs = zip([one, two, three, four], [two, one, four, three], negatives, strict=True)
    expected = torch.stack([plain(a, p, *n) for a, p, n in pairs]).mean()
    torch.testing.assert_close(loss(embeddings, torch.tensor([0, 0, 1, 1])), expected)


def test_worked_by_hand(monkeypatch):
    loss = paired(SimLAPLoss(2, 3, temperature=1.0), [0, 1], monkeypatch)
    embeddings = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
    # On the axes a gate changes no cosine: positives at 1, negatives at 0.
    assert loss(embeddings, torch.tensor([0, 0, 1])).item() == pytest.approx(math.log(1 + math.exp(-1)))


def test_a_gate_does_not_depend_on_the_order_of_its_classes():
    loss = SimLAPLoss(6, 4)
    one, other = torch.tensor([0, 3]), torch.tensor([2, 1])
    assert torch.equal(loss.gates(one, other), loss.gates(other, one))
    assert ((loss.gates(one, other) > 0) & (loss.gates(one, other) < 1)).all()


def test_all_that_is_not_a_partner_is_a_negative(monkeypatch):
    embeddings, labels = batch(count=4, classes=2)
    assert paired(SimLAPLoss(6, 3), [1, 0], monkeypatch)(embeddings, labels).item() == 0
    assert paired(SimLAPLoss(6, 3), [0, 1], monkeypatch)(embeddings, labels).item() > 0


def test_weights_of_gates_and_classes_get_a_gradient(monkeypatch):
    embeddings, labels = batch()
    loss = paired(SimLAPLoss(6, 3), [1, 2, 0], monkeypatch)
    loss(embeddings, labels).backward()
    assert all(weights.grad.abs().max() > 0 for weights in loss.parameters())


def test_one_class_or_singletons_have_a_gradient_of_zero():
    for labels in (torch.zeros(3, dtype=torch.long), torch.tensor([0, 1, 2])):
        embeddings = torch.ones(3, 6, requires_grad=True)
        loss = SimLAPLoss(6, 3, seed=3)
        value = loss(embeddings, labels)
        value.backward()
        assert torch.isfinite(embeddings.grad).all()


def test_a_row_without_direction_has_no_gradient():
    embeddings, labels = batch()
    embeddings[4] = 0
    embeddings.requires_grad_()
    SimLAPLoss(6, 3, seed=1)(embeddings, labels).backward()
    assert (embeddings.grad[4] == 0).all()
    assert embeddings.grad.abs().max() < 100


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"dim": 0}, "dim"),
        ({"num_classes": 2}, "num_classes"),
        ({"temperature": 0}, "temperature"),
        ({"hidden": 0}, "hid"),
    ],
)
def test_wrong_settings_are_refused(setting, message):
    with pytest.raises(InputError, match=message):
        SimLAPLoss(**{"dim": 6, "num_classes": 3, **setting})
