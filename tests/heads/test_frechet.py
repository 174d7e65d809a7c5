"""Loki's rule: the oracle is the expected squared distance in plain loops; of the locus a grid of probabilities."""

import warnings
from itertools import product

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from embedkit.errors import InputError
from embedkit.heads import FrechetClassifier
from embedkit.heads.label_metrics import tree_distances

DRAW = np.random.default_rng(0)
X = DRAW.normal(size=(60, 3)) + np.repeat(np.eye(3) * 2, 20, axis=0)
NEW = DRAW.normal(size=(50, 3)) * 2
UNSORTED = ["fox", "ant", "elk", "cat", "bee"]
SEEN = np.repeat(["fox", "bee", "cat"], 20)
POINTS = DRAW.normal(size=(5, 2))
DISTANCES = cdist(POINTS, POINTS)


class Says:
    """An estimator whose probabilities are the rows themselves."""

    def get_params(self, deep=True):
        return {}

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        return np.asarray(X)


def path(labels, seen, temperature=1.0):
    """Labels in a row, and an estimator that says what it is told."""
    head = FrechetClassifier(
        estimator=Says(), labels=range(labels), label_vectors=np.arange(labels)[:, None], temperature=temperature
    )
    return head.fit(np.ones((len(seen), len(seen))), seen)


@pytest.mark.parametrize("given", [{"distances": DISTANCES}, {"label_vectors": POINTS}])
@pytest.mark.parametrize("temperature", [1.0, 0.5, 4.0])
def test_the_least_expected_squared_distance_whatever_the_order_of_labels(given, temperature):
    head = FrechetClassifier(labels=UNSORTED, temperature=temperature, **given).fit(X, SEEN)
    assert head.classes_.tolist() == sorted(UNSORTED)
    logistic = LogisticRegression(max_iter=1000).fit(X, SEEN)
    for row, said, scores in zip(NEW, head.predict(NEW), head.decision_function(NEW), strict=True):
        powers = [each ** (1 / temperature) for each in logistic.predict_proba([row])[0]]
        expected = {
            label: sum(
                power / sum(powers) * DISTANCES[UNSORTED.index(label), UNSORTED.index(seen)] ** 2
                for power, seen in zip(powers, logistic.classes_, strict=True)
            )
            for label in UNSORTED
        }
        assert said == min(expected, key=expected.get)
        np.testing.assert_allclose(-scores, [expected[label] for label in sorted(UNSORTED)])


def test_by_hand():
    """Of .9 for 0 and .1 for 4, the label 0 costs 1.6, 1 costs .9 + .9 = 1.8; at .8 and .2, 3.2 and 2.6."""
    head = path(5, [0, 4])
    np.testing.assert_allclose(-head.decision_function([[0.9, 0.1]])[0, :2], [1.6, 1.8])
    np.testing.assert_allclose(-head.decision_function([[0.8, 0.2]])[0, :2], [3.2, 2.6])
    assert head.predict([[0.9, 0.1], [0.8, 0.2]]).tolist() == [0, 1]


def test_where_all_lie_as_far_apart_the_most_probable_wins():
    logistic = LogisticRegression(max_iter=1000).fit(X, SEEN)
    known = {"estimator": FrozenEstimator(logistic)}
    for options in ({}, {"labels": UNSORTED}, {"labels": UNSORTED, "distances": 3.0 * (1 - np.eye(5)), **known}):
        head = FrechetClassifier(**options).fit(X, SEEN)
        np.testing.assert_array_equal(head.predict(NEW), logistic.predict(NEW))
        np.testing.assert_allclose(
            head.predict_proba(NEW)[:, np.isin(head.classes_, SEEN)], logistic.predict_proba(NEW)
        )


def test_with_label_vectors_the_nearest_to_the_expected_vector():
    head = FrechetClassifier(labels=UNSORTED, label_vectors=POINTS).fit(X, SEEN)
    means = head.predict_proba(NEW) @ POINTS[np.argsort(UNSORTED)]
    nearest = cdist(means, POINTS).argmin(axis=1)
    assert head.predict(NEW).tolist() == [UNSORTED[each] for each in nearest]


def test_ends_of_a_path_reach_all_of_it():
    head = path(9, [0, 8])
    assert head.predict([[0.5, 0.5]]).tolist() == [4]
    assert head.locus().tolist() == list(range(9))
    assert head.next_label() is None


def test_the_temperature_makes_less_sure():
    flat, sharp = (path(9, [0, 8], temperature).predict([[0.6, 0.4], [0.0, 1.0]]) for temperature in (1e9, 1e-4))
    assert flat.tolist() == [4, 8]
    assert sharp.tolist() == [0, 8]


@pytest.mark.parametrize("seed", range(4))
def test_the_locus_is_that_of_a_grid_of_probabilities(seed):
    """Small whole distances, where ties abound: on a grid of 1/60 they are met exactly."""
    draw = np.random.default_rng(seed)
    places = draw.integers(0, 4, size=(9, 2))
    distances = cdist(places, places, "cityblock")
    head = FrechetClassifier(labels=range(9), distances=distances).fit(X, np.repeat(range(3), 20))
    grid = np.array([(a, b, 60 - a - b) for a, b in product(range(61), repeat=2) if a + b <= 60])
    costs = grid @ np.square(distances[:3].astype(int))
    assert head.locus().tolist() == np.flatnonzero((costs == costs.min(axis=1, keepdims=True)).any(axis=0)).tolist()


def test_the_next_label_is_the_farthest_from_what_can_be_said():
    numbers = [7, 3, 5, 1, 2]
    head = FrechetClassifier(labels=numbers, label_vectors=np.array([numbers]).T).fit(X[20:], np.repeat([2, 3], 20))
    assert head.locus().tolist() == [2, 3]
    assert head.next_label() == 7


def test_lengths_of_paths_in_a_tree():
    parents = {"b": "a", "c": "a", "d": "b", "e": "b", "f": "e", "a": None}
    found = tree_distances(parents, ["f", "d", "c", "a"])
    np.testing.assert_array_equal(found, [[0, 3, 4, 3], [3, 0, 3, 2], [4, 3, 0, 1], [3, 2, 1, 0]])
    np.testing.assert_array_equal(
        tree_distances({i: i - 1 for i in range(1, 30)}, range(30)), np.abs(np.subtract.outer(range(30), range(30)))
    )
    assert tree_distances({}, []).shape == (0, 0)


@pytest.mark.parametrize(
    ("parents", "labels", "message"),
    [
        ({"a": "b", "b": "a"}, ["a"], "in a circle"),
        ({"a": "a"}, ["a"], "in a circle"),
        ({"a": "b", "c": "d"}, ["a"], "one root"),
        ({"a": None, "b": None}, ["a"], "one root"),
        ({"a": "b"}, ["a", "x"], "does not hold 'x'"),
    ],
)
def test_what_is_no_tree_is_refused(parents, labels, message):
    with pytest.raises(InputError, match=message):
        tree_distances(parents, labels)


def test_squares_in_place_of_distances_are_told():
    stars = np.abs(np.subtract.outer(range(5), range(5))).astype(np.float32)
    for distances in (stars, np.zeros((5, 5)), stars + DRAW.normal(size=(5, 5)) * 1e-7):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            FrechetClassifier(distances=distances).fit(X[:50], np.arange(50) % 5)
    with pytest.warns(UserWarning, match="squares already"):
        FrechetClassifier(distances=stars**2).fit(X[:50], np.arange(50) % 5)


ODD, SKEW = 1.0 - np.eye(5), np.triu(np.ones((5, 5)), 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"distances": DISTANCES[:4]}, r"shape \(5, 5\)"),
        ({"distances": SKEW}, "symmetric"),
        ({"distances": -DISTANCES}, "0 or more"),
        ({"distances": DISTANCES + np.eye(5)}, "from a label to itself"),
        ({"distances": np.where(np.eye(5) > 0, np.nan, ODD)}, "finite"),
        ({"distances": DISTANCES, "label_vectors": POINTS}, "received both"),
        ({"label_vectors": POINTS[:3]}, "one row for each of 5"),
        ({"labels": UNSORTED[1:]}, "'fox' is missing"),
        ({"labels": [*UNSORTED, "ant"]}, "labels must differ"),
        ({"labels": [UNSORTED]}, "one or more, in a list"),
        ({"labels": [1, 2, 3]}, "is missing"),
        ({"temperature": 0.0}, "temperature must be a number above 0"),
        ({"estimator": LinearSVC()}, "LinearSVC has none"),
    ],
)
def test_wrong_arguments_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        FrechetClassifier(**{"labels": UNSORTED, **options}).fit(X, SEEN)


def test_single_and_double_precision_agree():
    head = FrechetClassifier(labels=UNSORTED, distances=DISTANCES).fit(X, SEEN)
    single, double = (head.decision_function(NEW.astype(kind)) for kind in (np.float32, np.float64))
    np.testing.assert_allclose(single, double, rtol=0, atol=1e-5)
