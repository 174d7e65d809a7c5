import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.utils.estimator_checks import parametrize_with_checks

from embedkit.errors import InputError
from embedkit.evaluation.cluster_accuracy import cluster_accuracy
from embedkit.training.projection_discovery import ProjectionDiscovery, _known_loss


def blobs(classes=5, each=16, dim=6, noise=6, seed=0):
    """Classes that `dim` columns tell apart, and as many columns that say nothing."""
    draw = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), each)
    rows = 3 * draw.normal(size=(classes, dim))[labels] + 0.5 * draw.normal(size=(len(labels), dim))
    return np.hstack([rows, 2 * draw.normal(size=(len(labels), noise))]), labels


def hidden(labels, *, first=3):
    return np.where(labels < first, labels, -1)


def head(**options):
    return ProjectionDiscovery(**{"random_state": 0, "epochs": 30, "batch_size": 32, "learning_rate": 1e-2, **options})


@parametrize_with_checks([ProjectionDiscovery(epochs=20, max_novel=4, num_init=1, random_state=0)])
def test_scikit_learn_s_checks(estimator, check):
    check(estimator)


def test_clear_classes_are_found_counted_and_kept(tmp_path):
    rows, y = blobs()
    found = head(max_novel=5).fit(rows, np.array(["a", "b", "c", -1, -1], dtype=object)[y])
    assert found.num_novel_ == 2
    assert list(found.k_scores_) == [2, 3, 4, 5]
    assert found.novel_classes_.tolist() == ["novel 0", "novel 1"]
    assert cluster_accuracy(y, found.labels_) == 1
    found.save(tmp_path / "head")
    again = ProjectionDiscovery.load(tmp_path / "head")
    np.testing.assert_array_equal(again.predict(rows), found.predict(rows))
    np.testing.assert_array_equal(again.transform(rows), found.transform(rows))


def test_what_is_clustered_is_what_was_trained_and_has_length_1():
    rows, y = blobs()
    found = head(num_novel=2).fit(rows, hidden(y))
    z = found.transform(rows)
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1, atol=1e-6)
    x = torch.from_numpy(
        ((rows - rows.mean(0)) / np.sqrt(np.square(rows - rows.mean(0)).sum(1).mean())).astype(np.float32)
    )
    for place, (weights, biases) in enumerate(zip(found.weights_, found.biases_, strict=True)):
        x = (x.relu() if place else x) @ torch.from_numpy(weights) + torch.from_numpy(biases)
    torch.testing.assert_close(torch.nn.functional.normalize(x, dim=1), torch.from_numpy(z))
    np.testing.assert_array_equal(found.clusterer_.predict(z), found.predict(rows))
    np.testing.assert_allclose(found.clusterer_.cluster_centers_[1], z[y == 1].mean(axis=0), atol=1e-6)
    assert [weights.shape for weights in found.weights_] == [(12, 9), (9, 6), (6, 6)]


def test_a_weight_of_0_is_an_autoencoder_which_no_class_changes():
    rows, y = blobs()
    one = head(weight=0.0, num_novel=2).fit(rows, hidden(y))
    other = head(weight=0.0, num_novel=2).fit(rows, hidden((y + 1) % 5))
    np.testing.assert_array_equal(one.transform(rows), other.transform(rows))
    assert one.losses_[-1] < 0.7 * one.losses_[0]
    assert 0 < one.losses_[-1] < 1  # a share of the spread


def test_a_weight_of_1_is_a_classifier_which_no_unlabelled_row_changes():
    rows, y = blobs()
    told = hidden(y)
    one = head(weight=1.0, num_novel=1).fit(rows, told)
    turned = rows.copy()
    turned[told < 0] = rows[told < 0][::-1]  # the same mean and spread
    other = head(weight=1.0, num_novel=1).fit(turned, told)
    np.testing.assert_allclose(one.transform(rows), other.transform(rows), atol=1e-4)
    assert one.losses_[-1] < 0.3
    assert (one.predict(rows[y < 3]) == y[y < 3]).all()


@pytest.mark.parametrize("weight", [0.5, 1.0])
def test_without_known_classes_it_is_k_means_in_the_space_of_an_autoencoder(weight):
    rows, y = blobs()
    found = head(weight=weight, num_novel=5).fit(rows)
    z = found.transform(rows)
    np.testing.assert_array_equal(z, head(weight=0.0, num_novel=5).fit(rows, hidden(y)).transform(rows))
    own = np.square(z - found.clusterer_.cluster_centers_[found.labels_]).sum()
    assert own <= 1.001 * KMeans(5, n_init=10, random_state=0).fit(z).inertia_


def test_one_novel_class_and_none():
    rows, y = blobs()
    assert set(head(num_novel=1, epochs=1).fit(rows, hidden(y)).labels_[y > 2]) == {3}
    whole = head(epochs=1).fit(rows, y)
    assert whole.num_novel_ == 0
    np.testing.assert_array_equal(whole.labels_, y)


def test_batches_without_a_known_class_are_numbers():
    rows, y = blobs()
    assert _known_loss(torch.zeros(4, 3), torch.full((4,), -1)).item() == 0
    assert _known_loss(torch.zeros(2, 4), torch.tensor([-1, 2])).item() == pytest.approx(np.log(4))
    few = np.where(np.arange(len(y)) == 0, 0, -1)
    assert np.isfinite(head(batch_size=4, epochs=2, num_novel=2).fit(rows, few).losses_).all()


def test_the_same_seed_gives_the_same_and_leaves_torch_s_alone():
    rows, y = blobs()
    before = torch.get_rng_state()
    one, other = (head(num_novel=2, epochs=2).fit(rows, hidden(y)) for _ in range(2))
    np.testing.assert_array_equal(one.transform(rows), other.transform(rows))
    assert torch.equal(torch.get_rng_state(), before)


def test_size_and_place_and_rows_that_are_the_same():
    rows, y = blobs()
    one, other = (head(num_novel=2, epochs=3).fit(each, hidden(y)).transform(each) for each in (rows, 1e3 * rows + 5))
    np.testing.assert_allclose(one, other, atol=1e-3)
    same = head(num_novel=1, epochs=2).fit(np.ones((6, 3)), [0, 0, 1, 1, -1, -1])
    assert np.isfinite(same.losses_).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight": 1.5}, "weight must be a share, 0 … 1"),
        ({"weight": -0.1}, "weight must be"),
        ({"dim": 0}, "dim must be"),
        ({"epochs": 0}, "epochs must be"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"learning_rate": 0}, "learning_rate must be"),
        ({"num_novel": 9}, "num_novel must be"),
    ],
)
def test_wrong_arguments_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        head(**options).fit([[0.0], [1.0], [2.0]], [0, -1, -1])
