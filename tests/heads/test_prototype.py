"""Nearest means and TEEN: the oracles are plain loops and scikit-learn's nearest centroid."""

import numpy as np
import pytest
from sklearn.neighbors import NearestCentroid

from embedkit.errors import InputError
from embedkit.heads import PrototypeClassifier

DRAW = np.random.default_rng(0)
Y = np.arange(60) % 5
X = DRAW.normal(size=(5, 7))[Y] + DRAW.normal(size=(60, 7))
NEW = DRAW.normal(size=(20, 7))


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def later(**arguments):
    """Classes 0, 1 and 2 come first, then 3 and 4."""
    head = PrototypeClassifier(**arguments).fit(X[Y < 3], Y[Y < 3])
    return head.partial_fit(X[Y > 2], Y[Y > 2])


PLAIN = unit(np.array([unit(X)[each == Y].mean(axis=0) for each in range(5)]))


def test_plain_loops_give_the_same():
    calibration, sharpness = 0.4, 0.2
    prototypes = PLAIN.copy()
    for new in (3, 4):
        powers = [np.exp(PLAIN[new] @ PLAIN[base] / sharpness) for base in range(3)]
        towards = sum(power / sum(powers) * PLAIN[base] for base, power in enumerate(powers))
        prototypes[new] = unit((1 - calibration) * PLAIN[new] + calibration * unit(towards))
    head = later(calibration=calibration, calibration_temperature=sharpness, temperature=0.3)
    np.testing.assert_allclose(head.prototypes_, prototypes, atol=1e-12)
    scores = np.array([[x @ each / np.linalg.norm(x) / 0.3 for each in prototypes] for x in NEW])
    np.testing.assert_allclose(head.decision_function(NEW), scores, atol=1e-12)


def test_euclidean_is_the_nearest_centroid_of_scikit_learn():
    head, known = PrototypeClassifier(metric="euclidean", temperature=1.0).fit(X, Y), NearestCentroid().fit(X, Y)
    np.testing.assert_allclose(head.prototypes_, known.centroids_)
    np.testing.assert_array_equal(head.predict(NEW), known.predict(NEW))
    distances = [[np.square(x - each).sum() for each in known.centroids_] for x in NEW]
    np.testing.assert_allclose(head.decision_function(NEW), -np.array(distances), atol=1e-12)


def test_by_hand():
    """Bases along x and y, a new class at (3, 4) / 5: temperature 1 / log 2 gives shares of 2^.6 to 2^.8."""
    head = PrototypeClassifier(calibration=0.5, calibration_temperature=1 / np.log(2), base_classes=["x", "y"])
    head.fit([[2.0, 0.0], [0.0, 5.0], [3.0, 4.0], [6.0, 8.0]], ["x", "y", "new", "new"])
    towards = np.array([2**0.6, 2**0.8]) / np.sqrt(2**1.2 + 2**1.6)
    moved = np.array([0.6, 0.8]) / 2 + towards / 2
    np.testing.assert_allclose(head.prototypes_, [moved / np.sqrt(moved @ moved), [1, 0], [0, 1]])
    plain = PrototypeClassifier(temperature=0.1).fit([[2.0, 0.0], [0.0, 5.0]], ["x", "y"])
    np.testing.assert_allclose(plain.decision_function([[3.0, 4.0]]), [2.0])
    np.testing.assert_allclose(plain.predict_proba([[3.0, 4.0]])[0, 1], 1 / (1 + np.exp(-2)))


def test_no_calibration_leaves_prototypes_and_a_full_one_only_what_they_lean_on():
    np.testing.assert_allclose(later(calibration=0.0).prototypes_, PLAIN, atol=1e-12)
    even = later(calibration=1.0, calibration_temperature=1e9).prototypes_
    np.testing.assert_allclose(even[3:], np.tile(unit(PLAIN[:3].mean(axis=0)), (2, 1)), atol=1e-6)
    nearest = (PLAIN[3:] @ PLAIN[:3].T).argmax(axis=1)
    sharp = later(calibration=1.0, calibration_temperature=1e-6).prototypes_
    np.testing.assert_allclose(sharp[3:], PLAIN[nearest], atol=1e-9)
    for prototypes in (even, sharp):
        np.testing.assert_allclose(prototypes[:3], PLAIN[:3], atol=1e-12)


def test_a_new_class_that_equals_a_base_class_stays_where_it_is():
    head = (
        PrototypeClassifier(calibration=0.5, calibration_temperature=1e-3)
        .fit(X, Y)
        .partial_fit(X[Y == 2], Y[Y == 2] + 9)
    )
    np.testing.assert_allclose(head.prototypes_[-1], PLAIN[2], atol=1e-9)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_copies_of_a_row_give_that_row_and_rows_twice_the_same_prototype(metric):
    head = PrototypeClassifier(metric=metric).fit(np.tile(X[:1], (7, 1)), [1] * 7)
    np.testing.assert_allclose(head.prototypes_, unit(X[:1]) if metric == "cosine" else X[:1])
    once = PrototypeClassifier(metric=metric).fit(X, Y)
    twice = PrototypeClassifier(metric=metric).fit(np.vstack([X, X[Y == 1]]), np.append(Y, Y[Y == 1]))
    np.testing.assert_allclose(twice.prototypes_, once.prototypes_, atol=1e-12)


def test_base_classes_are_those_of_the_first_call_or_those_that_are_named():
    assert later().base_.tolist() == [True, True, True, False, False]
    assert later(base_classes=[4, 0, 99]).base_.tolist() == [True, False, False, False, True]
    told = PrototypeClassifier().partial_fit(X[:3], Y[:3], classes=range(5)).partial_fit(X, Y)
    assert told.base_.tolist() == [True, True, True, False, False]
    head = later(base_classes=[99], calibration=0.5)  # none of which a row was seen
    np.testing.assert_allclose(head.prototypes_, PLAIN, atol=1e-12)


def test_length_of_rows_does_not_matter_by_cosine():
    longer = PrototypeClassifier().fit(X * DRAW.uniform(1, 99, size=(60, 1)), Y)
    np.testing.assert_allclose(longer.prototypes_, PLAIN, atol=1e-12)
    np.testing.assert_allclose(longer.decision_function(9 * NEW), later().decision_function(NEW), atol=1e-9)


def test_memory_is_a_vector_a_class_as_precise_as_the_rows():
    head = PrototypeClassifier().fit(X.astype(np.float32), Y)
    assert head.means_.dtype == np.float32
    assert head.means_.shape == (5, 7)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"metric": "manhattan"}, 'must be "cosine" or "euclidean"'),
        ({"temperature": 0}, "temperature must be a number above 0"),
        ({"calibration_temperature": -1.0}, "calibration_temperature must be a number above 0"),
        ({"calibration": 1.5}, "calibration must be 0 … 1"),
        ({"calibration": True}, "calibration must be 0 … 1"),
        ({"calibration": 0.3, "metric": "euclidean"}, "calibration is by cosine"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        PrototypeClassifier(**arguments).fit(X, Y)
