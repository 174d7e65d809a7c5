"""Losses that remember the training set get numbers of rows, and see all of them when an epoch begins."""

from functools import partial

import numpy as np
import pytest
import torch
from sentence_transformers.sentence_transformer import losses
from torch import nn

from embedkit.encoders.lora import LoRA
from embedkit.encoders.record import Vocabulary, record_encoder
from embedkit.errors import InputError
from embedkit.losses import (
    ContrastiveLoss,
    EnergyConfusionLoss,
    MatryoshkaLoss,
    MetrixLoss,
    NormDirectionLoss,
    SBCLLoss,
    SupConLoss,
)
from embedkit.training.batches import SeveralPerClass
from embedkit.training.fit import fit
from embedkit.training.projection import fit_projection

TEXTS = [f"{animal} number {count}" for animal in ("a cat", "the dog", "one bird") for count in range(6)]
LABELS = [7] * 6 + [2] * 6 + [5] * 6


class Remembering(nn.Module):
    """Notes what it is called with and told."""

    row_labels = np.array(LABELS)

    def __init__(self):
        super().__init__()
        self.rows, self.epochs, self.vectors = [], [], []

    def forward(self, embeddings, labels):
        self.rows += labels.tolist()
        return embeddings.square().sum()

    def begin_epoch(self, epoch, embed):
        self.epochs.append(epoch)
        self.vectors.append(np.asarray(embed()))


def settings(**changes):
    return {"epochs": 3, "batch_size": 6, "learning_rate": 1e-3, "show_progress_bar": False, **changes}


def examples(labels=LABELS):
    return {"text": TEXTS, "label": labels}


@pytest.mark.parametrize("wrap", [lambda loss: loss, lambda loss: MatryoshkaLoss(loss, [8, 32])], ids=["", "wrapped"])
def test_fit_hands_on_numbers_of_rows_and_says_when_an_epoch_begins(make_encoder, wrap):
    encoder, loss = make_encoder(), Remembering()
    before = encoder.encode(TEXTS)
    fit(encoder, examples(), wrap(loss), **settings())
    assert sorted(set(loss.rows)) == list(range(18))
    assert loss.epochs == [0, 1, 2]
    np.testing.assert_allclose(loss.vectors[0], before, atol=1e-6)
    assert np.abs(loss.vectors[1] - before).max() > 1e-4


def test_projections_do_so_too():
    vectors, loss = np.random.default_rng(0).normal(size=(18, 8)), Remembering()
    fit_projection(loss, vectors, LABELS, 8, steps=6, batch_size=6, per_class=2, learning_rate=1e-9)
    assert sorted(loss.rows) == sorted(2 * list(range(18)))
    assert loss.epochs == [0, 1]
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(
        loss.vectors[0] @ loss.vectors[0].T, vectors @ vectors.T / lengths / lengths.T, atol=1e-5
    )


def test_a_loss_made_for_other_rows_is_refused(make_encoder):
    loss = SBCLLoss(LABELS[:-1])
    with pytest.raises(InputError, match=r"made for the examples.*18; received 17 labels"):
        fit(make_encoder(), examples(), loss, **settings())
    with pytest.raises(InputError, match="made for the examples"):
        fit_projection(loss, np.ones((18, 4)), LABELS, 2)
    with pytest.raises(InputError, match=r"made for the examples.*0; received 17 labels"):
        fit(make_encoder(), {"text": TEXTS, "other": TEXTS}, loss, **settings())


def test_a_loss_made_with_other_labels_is_refused(make_encoder):
    other = [*LABELS[:-1], 7]
    for loss in (SBCLLoss(other), NormDirectionLoss(SupConLoss(), np.ones((18, 32)), other)):
        with pytest.raises(InputError, match=r"others in 1 places, first in row 17"):
            fit(make_encoder(), examples(), loss, **settings())


def test_a_folder_is_that_of_what_was_remembered(make_encoder, tmp_path):
    loss = NormDirectionLoss(SupConLoss(), np.ones((18, 32)), LABELS)
    fit(make_encoder(), examples(), loss, folder=tmp_path, **settings(epochs=1))
    other = NormDirectionLoss(SupConLoss(), np.eye(18, 32), LABELS)
    with pytest.raises(InputError, match="loss"):
        fit(make_encoder(), examples(), other, folder=tmp_path, **settings(epochs=1))


def test_a_loss_of_sentence_transformers_around_a_table_is_taken():
    encoder = record_encoder(Vocabulary.fit({"user": ["ann", "bob"], "item": ["tea", "jam"]}), dim=4)
    records = [{"user": user, "item": item} for user in ("ann", "bob") for item in ("tea", "jam")]
    pairs = {"a": records, "b": records, "score": [1.0] * 4}
    assert fit(encoder, pairs, losses.CosineSimilarityLoss(encoder), **settings(epochs=1, batch_size=2)).steps == 2


def test_subclasses_are_found_anew_in_training(make_encoder):
    labels = [7] * 9 + [2] * 6 + [5] * 3
    loss = SBCLLoss(labels, min_cluster_size=3, warmup=1, refresh_every=1)
    sampler = partial(SeveralPerClass, labels=labels, per_class=3)
    done = fit(make_encoder(), examples(labels), loss, **settings(batch_sampler=sampler))
    assert loss.clustered == 2
    assert len(set(loss.subclasses.tolist())) == 6
    assert set(done.terms) == {"subclasses", "classes"}


class CutShortError(Exception):
    pass


class Cut(nn.Module):
    """Fails in one step."""

    def __init__(self, loss, step):
        super().__init__()
        self.loss, self._left = loss, step

    def __repr__(self):
        return repr(self.loss)

    def forward(self, *batch):
        self._left -= 1
        if self._left == 0:
            raise CutShortError
        return self.loss(*batch)


def test_a_run_that_was_cut_short_goes_on_with_the_subclasses_it_had(make_encoder, tmp_path):
    def train(step, folder):
        encoder, loss = make_encoder(), SBCLLoss(LABELS, min_cluster_size=3, warmup=0, refresh_every=2)
        fit(encoder, examples(), Cut(loss, step), folder=folder, **settings(epochs=4, evaluations=4))
        return encoder, loss

    whole, first = train(0, tmp_path / "whole")
    with pytest.raises(CutShortError):
        train(8, tmp_path / "cut")
    resumed, second = train(0, tmp_path / "cut")
    assert torch.equal(first.subclasses, second.subclasses)
    np.testing.assert_allclose(resumed.encode(TEXTS), whole.encode(TEXTS), atol=1e-6)


def test_a_teacher_is_learnt_from(make_encoder):
    teacher = np.eye(18, 32) + 3 * np.eye(3, 32)[np.repeat([0, 1, 2], 6)]
    encoder = make_encoder(unit=False)
    loss = NormDirectionLoss(SupConLoss(), teacher, LABELS, weight=5.0)
    done = fit(encoder, examples(), loss, **settings(epochs=8))
    assert done.terms["direction"][-1][1] < done.terms["direction"][0][1] - 0.5


@pytest.mark.parametrize(
    ("loss", "names"),
    [
        (EnergyConfusionLoss(SupConLoss(), weight=0.5), {"wrapped", "confusion"}),
        (MetrixLoss(ContrastiveLoss()), {"wrapped", "mixtures"}),
        (SupConLoss(), set()),
    ],
)
@pytest.mark.parametrize("lora", [None, LoRA(rank=2)])
def test_what_a_loss_is_the_sum_of_is_told(make_encoder, loss, names, lora):
    if lora:
        pytest.importorskip("peft", reason="the extra train is not installed")
    sampler = partial(SeveralPerClass, labels=LABELS, per_class=3)
    done = fit(make_encoder(), examples(), loss, lora=lora, **settings(batch_sampler=sampler, epochs=1))
    assert set(done.terms) == names
    assert {len(each) for each in done.terms.values()} <= {len(done.losses)}
    for (_, total), *terms in zip(done.losses, *done.terms.values(), strict=True):
        if terms:
            assert sum(value for _, value in terms) == pytest.approx(total, abs=1e-3)
