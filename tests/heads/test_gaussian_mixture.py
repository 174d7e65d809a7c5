import numpy as np
import pytest
from scipy.stats import multivariate_t

from embedkit.errors import InputError
from embedkit.evaluation.cluster_accuracy import cluster_accuracy
from embedkit.heads import SemiSupervisedGaussianMixture

SCALES = (0.05, 0.1)


def gaussians(classes=6, each=20, dim=5, seed=0):
    draw = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), each)
    return 5 * draw.normal(size=(classes, dim))[labels] + draw.normal(size=(len(labels), dim)), labels


def half_hidden(labels, *, first=3):
    """Half the rows of the first classes are told."""
    return np.where((labels < first) & (np.arange(len(labels)) % 2 == 0), labels, -1)


def head(**options):
    return SemiSupervisedGaussianMixture(**{"random_state": 0, "prior_scale": SCALES, "max_novel": 6, **options})


@pytest.mark.parametrize("num_novel", [3, None])
def test_clear_classes_are_found_and_counted(num_novel):
    X, y = gaussians()
    found = head(num_novel=num_novel).fit(X, half_hidden(y))
    assert found.num_novel_ == 3
    assert found.num_novel_range_ == (3, 3)
    assert cluster_accuracy(y, found.labels_) == 1
    np.testing.assert_array_equal(found.labels_[y < 3], y[y < 3])
    np.testing.assert_array_equal(found.predict(X), found.labels_)
    assert found.counts_.tolist() == [20] * 6


def test_the_number_is_a_range_over_scales_and_the_likeliest_scale_is_taken():
    X, y = gaussians(classes=5, each=12, dim=3)
    scales = (0.01, 0.1, 1.0)
    found = head(prior_scale=scales).fit(X, half_hidden(y))
    assert found.prior_scale_ == max(found.evidence_, key=found.evidence_.get)
    assert list(found.num_novel_by_scale_) == list(scales)
    ends = [each for scale in scales for each in found.num_novel_by_scale_[scale]]
    low, high = found.num_novel_range_
    assert min(ends) <= low <= found.num_novel_ <= high <= max(ends)
    alone = head(prior_scale=found.prior_scale_).fit(X, half_hidden(y))
    np.testing.assert_array_equal(alone.labels_, found.labels_)


def test_named_rows_never_move():
    X, y = gaussians()
    told = half_hidden(y)
    told[[0, 2]] = 5  # among rows of class 0
    found = head().fit(X, told)
    np.testing.assert_array_equal(found.labels_[told >= 0], told[told >= 0])


def test_without_known_classes_it_finds_all():
    X, y = gaussians(classes=4)
    assert cluster_accuracy(y, head().fit_predict(X)) == 1


def test_new_rows_go_where_count_times_student_t_is_largest():
    X, y = gaussians(each=9)
    found = head().fit(X, half_hidden(y))
    new = np.random.default_rng(1).normal(size=(50, 5)) * 5
    z = found.pca_.transform(new)
    densities = []
    for c in range(6):
        degrees = found.dofs_[c] - 4
        shape = found.scatters_[c] * (found.strengths_[c] + 1) / (found.strengths_[c] * degrees)
        densities.append(found.counts_[c] * multivariate_t(found.means_[c], shape, df=degrees).pdf(z))
    names = np.concatenate([found.known_classes_, found.novel_classes_])
    np.testing.assert_array_equal(found.predict(new), names[np.argmax(densities, axis=0)])


def test_size_place_and_rotation_of_x_do_not_matter():
    X, y = gaussians(each=9)
    told = half_hidden(y)
    one = head().fit_predict(X, told)
    rotation, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(5, 5)))
    for other in (1e3 * X + 50, X @ rotation, X.astype(np.float32)):
        assert cluster_accuracy(one, head().fit_predict(other, told)) == 1


def test_only_the_first_components_count():
    X, y = gaussians()
    wide = np.hstack([X, 1e-3 * np.random.default_rng(0).normal(size=(len(X), 200))])
    one, other = (head(num_components=5).fit_predict(each, half_hidden(y)) for each in (X, wide))
    assert cluster_accuracy(one, other) == 1


def test_all_known_and_all_the_same():
    X, y = gaussians()
    found = head().fit(X, y)
    assert found.num_novel_ == 0
    np.testing.assert_array_equal(found.labels_, y)
    assert head().fit(np.ones((8, 3))).num_novel_ == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prior_scale": 0.0}, "prior_scale must be a number above 0, or several"),
        ({"prior_scale": ()}, "prior_scale must be"),
        ({"prior_scale": (0.1, "a")}, "prior_scale must be"),
        ({"num_components": 0}, "num_components must be an integer, 1 or more"),
        ({"max_novel": 0}, "max_novel must be"),
        ({"num_novel": 5}, "num_novel must be an integer, 0 … 2"),
    ],
)
def test_wrong_arguments_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        head(**options).fit([[0.0], [1.0], [2.0]], [0, -1, -1])


def test_one_row_is_refused():
    with pytest.raises(InputError, match="needs 2 rows; received n_samples=1"):
        head().fit([[0.0, 1.0]])
