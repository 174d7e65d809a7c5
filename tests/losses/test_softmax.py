import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from embedkit.errors import InputError
from embedkit.losses import MatryoshkaLoss, SoftmaxLoss
from embedkit.training.fit import fit

TEXTS = ["a cat sat on the mat", "the dog barks", "red green blue", "one bird sings", "def return if not true"]
EXAMPLES = {"text": TEXTS * 4, "label": [0, 1, 2, 0, 1] * 4}
QUICK = {"batch_size": 5, "learning_rate": 1e-3, "show_progress_bar": False}


def batch(*, count=8, dim=5, classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, dim, generator=generator), torch.randint(0, classes, (count,), generator=generator)


def drawn(dim=5, classes=3):
    loss = SoftmaxLoss(dim, classes, seed=1)
    with torch.no_grad():
        loss.weights.mul_(50)
        loss.bias.copy_(torch.arange(classes) / 3)
    return loss


def test_the_formula_in_loops_gives_the_same():
    loss, (embeddings, labels) = drawn(), batch()
    total = 0.0
    for row, label in zip(embeddings.tolist(), labels.tolist(), strict=True):
        logits = [
            sum(w * x for w, x in zip(weights, row, strict=True)) + bias
            for weights, bias in zip(loss.weights.tolist(), loss.bias.tolist(), strict=True)
        ]
        total -= logits[label] - math.log(sum(map(math.exp, logits)))

    assert loss(embeddings, labels).item() == pytest.approx(total / len(labels), rel=1e-5)


def test_torch_and_sklearn_give_the_same():
    embeddings, labels = batch(count=40)
    model = LogisticRegression().fit(embeddings.numpy(), labels.numpy())
    loss = SoftmaxLoss(5, 3).double()
    with torch.no_grad():
        loss.weights.copy_(torch.from_numpy(model.coef_))
        loss.bias.copy_(torch.from_numpy(model.intercept_))
    logits = loss.logits(embeddings).detach()

    np.testing.assert_allclose(logits.softmax(dim=1).numpy(), model.predict_proba(embeddings.numpy()), atol=1e-6)
    torch.testing.assert_close(loss(embeddings, labels), torch.nn.functional.cross_entropy(logits, labels))


def test_worked_by_hand():
    loss = SoftmaxLoss(2, 2)
    with torch.no_grad():
        loss.weights.copy_(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
        loss.bias.copy_(torch.tensor([0.0, 1.0]))

    # Logits (3, 3) and (0, 5): ln 2 and ln(1 + e^5).
    value = loss(torch.tensor([[3.0, 1.0], [0.0, 2.0]]), torch.tensor([1, 0]))

    assert value.item() == pytest.approx((math.log(2) + math.log(1 + math.exp(5))) / 2)


@pytest.mark.parametrize("classes", [2, 20])
def test_zero_weights_know_nothing(classes):
    loss = SoftmaxLoss(5, classes)
    loss.weights.data.zero_()

    assert loss(*batch(classes=classes)).item() == pytest.approx(math.log(classes))


def test_one_number_more_on_every_bias_changes_nothing():
    loss, tensors = drawn(), batch()
    expected = loss(*tensors)
    loss.bias.data += 3

    torch.testing.assert_close(loss(*tensors), expected)


def test_narrower_embeddings_meet_the_first_columns():
    loss, (embeddings, labels) = drawn(), batch()
    padded = torch.cat([embeddings[:, :2], torch.zeros(8, 3)], dim=1)

    torch.testing.assert_close(loss(embeddings[:, :2], labels), loss(padded, labels))
    MatryoshkaLoss(loss, [2])(embeddings, labels).backward()
    assert (loss.weights.grad[:, :2] != 0).all()
    assert (loss.weights.grad[:, 2:] == 0).all()


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int32])
def test_any_integers_are_labels(dtype):
    loss, (embeddings, labels) = drawn(), batch()

    assert torch.equal(loss(embeddings, labels.to(dtype)), loss(embeddings, labels))


def test_an_empty_batch_and_one_class_only():
    loss = drawn()

    assert loss(torch.empty(0, 5), torch.empty(0, dtype=torch.long)).item() == 0
    assert torch.isfinite(loss(batch()[0], torch.zeros(8, dtype=torch.long)))


def test_long_embeddings_in_half_precision_stay_finite():
    loss = drawn().half()

    assert torch.isfinite(loss(torch.full((2, 5), 6e4, dtype=torch.float16), torch.tensor([0, 1])))


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_that_is_no_class_is_refused(label):
    with pytest.raises(InputError, match=r"labels must be classes, 0 … 2; received"):
        drawn()(torch.zeros(2, 5), torch.tensor([0, label]))


def test_embeddings_wider_than_the_weights_are_refused():
    with pytest.raises(InputError, match=r"at most 5 wide; received \(2, 6\)"):
        drawn().logits(torch.zeros(2, 6))


@pytest.mark.parametrize("sizes", [(0, 2), (4, 1), (4, True), (4.0, 2), ("4", 2)])
def test_sizes_are_checked(sizes):
    with pytest.raises(InputError, match="must be an integer"):
        SoftmaxLoss(*sizes)


def test_fit_trains_encoder_and_classifier(make_encoder):
    encoder, loss = make_encoder(), SoftmaxLoss(32, 3)
    before, weights = encoder.fingerprint, loss.weights.detach().clone()

    fit(encoder, EXAMPLES, loss, epochs=20, **{**QUICK, "learning_rate": 1e-2})

    assert encoder.fingerprint != before
    assert (loss.weights != weights).any(dim=1).all()
    assert (loss.bias != 0).all()
    predicted = loss.logits(torch.from_numpy(encoder.encode(TEXTS))).argmax(dim=1)
    assert predicted.tolist() == EXAMPLES["label"][:5]


def test_a_classifier_is_taken_up_where_it_was_cut_short(make_encoder, tmp_path):
    class CutShortError(Exception):
        pass

    class Cut(SoftmaxLoss):
        """Dies at the seventh batch; in its name it is the loss it cuts short."""

        calls = 0

        def forward(self, embeddings, labels):
            self.calls += 1
            if self.calls == 7:
                raise CutShortError
            return super().forward(embeddings, labels)

    Cut.__name__ = "SoftmaxLoss"
    whole, part = make_encoder(), make_encoder()
    options = {"epochs": 3, "evaluations": 3, **QUICK}
    one, other = SoftmaxLoss(32, 3), SoftmaxLoss(32, 3)

    fit(whole, EXAMPLES, one, **options)
    with pytest.raises(CutShortError):
        fit(part, EXAMPLES, Cut(32, 3), folder=tmp_path, **options)
    again = make_encoder()
    fit(again, EXAMPLES, other, folder=tmp_path, **options)

    assert torch.equal(one.weights, other.weights)
    assert torch.equal(one.bias, other.bias)
    assert whole.fingerprint == again.fingerprint
