import numpy as np
import pytest
from sklearn.cluster import KMeans

from embedkit.errors import InputError
from embedkit.evaluation.cluster_accuracy import cluster_accuracy
from embedkit.heads import NovelClassKMeans
from embedkit.heads.novel_classes import known_codes, novel_names


def blobs(classes=6, each=12, spread=0.5, seed=0):
    draw = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), each)
    return 6 * draw.normal(size=(classes, 4))[labels] + spread * draw.normal(size=(len(labels), 4)), labels


def hidden(labels, *, first=3):
    """Classes from `first` on are not told."""
    return np.where(labels < first, labels, -1)


def head(**options):
    return NovelClassKMeans(random_state=0, **options)


@pytest.mark.parametrize("known_in_unlabelled", [False, True])
@pytest.mark.parametrize("num_novel", [3, None])
def test_clear_classes_are_found_and_counted(known_in_unlabelled, num_novel):
    X, y = blobs()
    told = hidden(y)
    if known_in_unlabelled:
        told[::2] = -1
    found = head(num_novel=num_novel, max_novel=6, known_in_unlabelled=known_in_unlabelled).fit(X, told)
    assert found.num_novel_ == 3
    low, high = found.num_novel_range_
    assert low <= 3 <= high
    assert found.known_classes_.tolist() == [0, 1, 2]
    assert found.novel_classes_.tolist() == [3, 4, 5]
    np.testing.assert_array_equal(found.labels_[y < 3], y[y < 3])
    assert cluster_accuracy(y, found.labels_) == 1
    np.testing.assert_array_equal(found.predict(X), found.labels_)


def test_a_number_that_was_found_gives_the_same_when_it_is_given():
    X, y = blobs(spread=3.0)
    found = head(max_novel=8).fit(X, hidden(y))
    assert list(found.k_scores_) == list(range(2, 9))
    assert found.k_scores_[found.num_novel_] == max(found.k_scores_.values())
    given = head(num_novel=found.num_novel_).fit(X, hidden(y))
    np.testing.assert_array_equal(given.labels_, found.labels_)
    assert given.k_scores_ == {}
    assert given.num_novel_range_ == (found.num_novel_,) * 2


@pytest.mark.parametrize("y", [None, np.full(72, -1), np.full(72, -1, dtype=object)])
@pytest.mark.parametrize("known_in_unlabelled", [False, True])
def test_without_known_classes_it_is_k_means(y, known_in_unlabelled):
    X, _ = blobs()
    found = head(num_novel=6, known_in_unlabelled=known_in_unlabelled).fit(X, y)
    assert cluster_accuracy(KMeans(6, n_init=10, random_state=0).fit_predict(X), found.labels_) == 1
    assert found.labels_.dtype == np.int64
    assert set(found.labels_) == set(range(6))


def test_rows_without_a_class_are_novel_unless_they_may_be_known():
    X, y = blobs()
    told = hidden(y)
    told[0] = -1  # of class 0
    assert head(num_novel=3).fit(X, told).labels_[0] > 2
    may = head(num_novel=3, known_in_unlabelled=True).fit(X, told)
    assert may.labels_[0] == 0
    np.testing.assert_allclose(may.cluster_centers_[0], X[y == 0].mean(axis=0))


def test_all_novel_rows_may_be_of_known_classes():
    X, y = blobs()
    told = np.where(np.arange(72) % 2, y, -1)
    found = head(max_novel=8, known_in_unlabelled=True).fit(X, told)
    assert found.num_novel_ == 0
    np.testing.assert_array_equal(found.labels_, y)


def test_one_novel_class_is_the_mean_of_its_rows():
    X, y = blobs()
    found = head(num_novel=1).fit(X, hidden(y))
    assert set(found.labels_[y > 2]) == {3}
    np.testing.assert_allclose(found.cluster_centers_[3], X[y > 2].mean(axis=0))


@pytest.mark.parametrize(("told", "number"), [([0, 1, 1], 0), ([0, 1, -1], 1), ([0, -1, -1], 1), ([-1, -1, -1], 2)])
def test_few_rows_are_not_compared(told, number):
    assert head().fit([[0.0], [1.0], [5.0]], told).num_novel_ == number


def test_place_and_precision_do_not_matter():
    X, y = blobs(spread=2.0)
    one = head(max_novel=5).fit(X, hidden(y))
    for other in (X.astype(np.float32), X + 100):
        again = head(max_novel=5).fit(other, hidden(y))
        np.testing.assert_array_equal(again.labels_, one.labels_)
        assert again.k_scores_ == pytest.approx(one.k_scores_, abs=1e-5)


def test_rows_that_are_all_the_same():
    found = head(num_novel=2).fit(np.ones((6, 3)), [0, 0, -1, -1, -1, -1])
    assert set(found.labels_[2:]) <= {1, 2}
    assert head().fit(np.zeros((6, 3))).num_novel_ == 2


def test_texts_keep_their_names_and_novel_ones_get_others():
    X, y = blobs(classes=4)
    told = np.array(["zebra", "novel 0", -1, -1], dtype=object)[y]
    found = head(num_novel=2).fit(X, told)
    assert found.known_classes_.tolist() == ["novel 0", "zebra"]
    assert found.novel_classes_.tolist() == ["novel 1", "novel 2"]
    assert set(found.labels_[y > 1]) == {"novel 1", "novel 2"}
    assert set(found.predict(X)) == {"novel 0", "novel 1", "novel 2", "zebra"}


def test_names_of_integers_follow_the_largest_and_are_never_minus_one():
    for known, names in (([-5, -3], [0, 1]), ([7, 2], [8, 9]), ([], [0, 1])):
        assert novel_names(np.array(known, dtype=np.int64), 2).tolist() == names
    assert known_codes([7.0, -1.0, 2.0], 3)[1].tolist() == [1, -1, 0]


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.array(["a", "-1", "b"]), "give y as dtype=object"),
        (np.array(["a", 3, -1], dtype=object), "all integers or all texts"),
        ([0.5, 1.0, -1.0], r"all integers.*received 0.5"),
        ([np.nan, 1.0, -1.0], "all integers or all texts"),
        ([0, 1], "for each of the 3 rows; received 2"),
    ],
)
def test_wrong_classes_are_refused(y, message):
    with pytest.raises(InputError, match=message):
        head().fit([[0.0], [1.0], [2.0]], y)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_novel": 0}, r"num_novel must be an integer, 1 … 2, the rows without a class; received 0"),
        ({"num_novel": 3}, "num_novel must be"),
        ({"num_novel": 1.0}, "num_novel must be"),
        ({"num_novel": True}, "num_novel must be"),
        ({"max_novel": 0}, "max_novel must be an integer, 1 or more"),
        ({"num_init": 0}, "num_init must be"),
    ],
)
def test_wrong_numbers_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        head(**options).fit([[0.0], [1.0], [2.0]], [0, -1, -1])
