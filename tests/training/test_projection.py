import numpy as np
import pytest
import torch
from pytorch_metric_learning import losses as peers
from sentence_transformers.base.modules import Normalize
from sklearn.decomposition import PCA

import embedkit as ek
from embedkit.encoders.encoder import Encoder
from embedkit.errors import InputError
from embedkit.losses import EnergyConfusionLoss, InfoNCELoss, ProtoTripletLoss, SoftmaxLoss, SupConLoss
from embedkit.training.projection import fit_projection


def noisy(*, count=120, classes=6, width=20, seed=0):
    """Classes that four dimensions tell apart, among louder ones that say nothing."""
    means = np.random.default_rng(9).normal(size=(classes, 4))
    draw = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    told = means[labels] + 0.2 * draw.normal(size=(count, 4))
    return np.hstack([told, 2 * draw.normal(size=(count, width - 4))]), labels


def purity(vectors, labels):
    """How often the nearest other vector is of the same class."""
    cosines = vectors @ vectors.T - 9 * np.eye(len(vectors))
    return (labels[cosines.argmax(axis=1)] == labels).mean()


@pytest.mark.parametrize(
    "loss",
    [
        SupConLoss(),
        ProtoTripletLoss(),
        EnergyConfusionLoss(SupConLoss()),
        SoftmaxLoss(6, 6),
        peers.MultiSimilarityLoss(),
        peers.ArcFaceLoss(6, 6),
    ],
    ids=lambda loss: type(loss).__name__,
)
def test_it_finds_the_dimensions_that_tell_classes_apart(loss):
    X, y = noisy()
    other_X, other_y = noisy(count=60, seed=1)
    before = fit_projection(SupConLoss(), X, y, 6, steps=1, learning_rate=1e-9)
    after = fit_projection(loss, X, y, 6, steps=200, learning_rate=1e-2, batch_size=48)
    assert purity(after.transform(other_X), other_y) > purity(before.transform(other_X), other_y) + 0.3
    assert np.mean(after.losses[-10:]) < np.mean(after.losses[:10])
    assert len(after.losses) == 200


def test_it_begins_with_principal_directions():
    X, y = noisy()
    begun = fit_projection(SupConLoss(), X, y, 5, steps=1, learning_rate=1e-12)
    expected = PCA(5).fit(X).components_.T
    np.testing.assert_allclose(np.abs(np.sum(begun.weights * expected, axis=0)), 1, atol=1e-4)


def test_fewer_rows_than_dimensions():
    X, y = noisy(count=6, classes=3)
    begun = fit_projection(SupConLoss(), X, y, 20, steps=1, learning_rate=1e-12)
    np.testing.assert_allclose(begun.weights.T @ begun.weights, np.eye(20), atol=1e-5)


def test_the_same_seed_gives_the_same_map_and_leaves_torchs_alone():
    X, y = noisy()
    before = torch.get_rng_state()
    one, same, other = (fit_projection(SupConLoss(), X, y, 4, steps=5, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(one.weights, same.weights)
    assert not np.array_equal(one.weights, other.weights)


def test_an_encoder_can_end_in_it(tmp_path):
    encoder = ek.load(device="cpu")
    texts = ["a cat", "a kitten", "tax law", "a court"]
    vectors = encoder.encode(texts)
    projection = fit_projection(SupConLoss(), vectors, [0, 0, 1, 1], 8, steps=3)
    projected = Encoder([*encoder, projection.module(), Normalize()], device="cpu")
    np.testing.assert_allclose(projected.encode(texts), projection.transform(vectors), atol=1e-5)
    projected.save_pretrained(str(tmp_path / "model"))
    np.testing.assert_allclose(
        ek.load(tmp_path / "model", device="cpu").encode(texts), projected.encode(texts), atol=1e-6
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dim": 0}, "dim"),
        ({"dim": 21}, "dim be at most its width"),
        ({"y": np.zeros(120)}, "labels must be one integer for each of 120"),
        ({"y": [0, 1]}, "labels must be one integer for each of 120"),
        ({"y": ["a"] * 120}, "labels must be one integer for each of 120"),
        ({"loss": SupConLoss}, "loss must be an instance of a loss"),
        ({"loss": InfoNCELoss}, "loss must be an instance of a loss"),
        ({"X": np.full((120, 20), np.nan)}, "X must"),
        ({"X": np.zeros((0, 20)), "y": np.zeros(0, dtype=int)}, "X must have rows"),
        ({"per_class": 1}, "per_class"),
        ({"per_class": 5, "batch_size": 4}, "per_class must be at most batch_size"),
        ({"steps": 0}, "steps"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"weight_decay": -1}, "weight_decay"),
    ],
)
def test_what_cannot_be_is_said(change, message):
    X, y = noisy()
    with pytest.raises(InputError, match=message):
        fit_projection(**{"loss": SupConLoss(), "X": X, "y": y, "dim": 4, **change})
