import warnings

import numpy as np
import pytest

from embedkit.errors import InputError
from embedkit.heads import ZeroShotClassifier

CLASSES = ["cat", "dog", "bird"]
TEMPLATES = ["a {}", "the {} sings", "{} and {}"]


class Letters:
    """Counts letters: a vector of 26 numbers."""

    def encode(self, texts, **_):
        return np.array([[text.count(chr(97 + place)) for place in range(26)] for text in texts], dtype=np.float32)


def test_by_hand():
    """(1, 0) and (3, 4)/5 have the mean (.8, .4), of direction (2, 1)/sqrt(5)."""
    classifier = ZeroShotClassifier(temperature=0.1).fit([[1, 0], [3, 4], [0, 2]], ["a", "a", "b"])
    np.testing.assert_allclose(classifier.anchors_, [[2 / 5**0.5, 1 / 5**0.5], [0, 1]])
    odds = np.exp(10 / 5**0.5 - 10)
    np.testing.assert_allclose(classifier.predict_proba([[0, 7]]), [[odds / (1 + odds), 1 / (1 + odds)]])


def test_one_template_is_the_vector_of_the_text():
    classifier = ZeroShotClassifier().fit_names(Letters(), CLASSES, templates=["a {}"])
    vectors = Letters().encode([f"a {name}" for name in sorted(CLASSES)])
    assert classifier.classes_.tolist() == sorted(CLASSES)
    np.testing.assert_allclose(classifier.anchors_, vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def test_order_and_repetition_of_templates_change_nothing():
    first = ZeroShotClassifier().fit_names(Letters(), CLASSES, templates=TEMPLATES)
    for templates in (TEMPLATES[::-1], TEMPLATES * 3):
        other = ZeroShotClassifier().fit_names(Letters(), CLASSES[::-1], templates=templates)
        np.testing.assert_allclose(other.anchors_, first.anchors_)


def test_one_text_a_class_is_no_reason_to_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ZeroShotClassifier().fit(np.eye(40), [f"class {number}" for number in range(40)])


def test_a_name_stands_in_each_place():
    said = []

    class Watching(Letters):
        def encode(self, texts, **options):
            said.extend(texts)
            return super().encode(texts, **options)

    ZeroShotClassifier().fit_names(Watching(), ["{} brace"], templates=["{} or {}"])
    assert said == ["{} brace or {} brace"]


def test_the_temperature_does_not_change_who_wins():
    draw = np.random.default_rng(0)
    X, y, new = draw.normal(size=(30, 4)), draw.integers(5, size=30), draw.normal(size=(50, 4))
    sharp, flat = (ZeroShotClassifier(temperature=temperature).fit(X, y) for temperature in (0.001, 1e6))
    np.testing.assert_array_equal(sharp.predict(new), flat.predict(new))
    np.testing.assert_allclose(flat.predict_proba(new), 0.2, atol=1e-5)
    np.testing.assert_allclose(sharp.predict_proba(new).sum(axis=1), 1)


def test_what_has_no_direction_is_as_near_to_all():
    classifier = ZeroShotClassifier().fit([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]], ["gone", "gone", "up"])
    np.testing.assert_array_equal(classifier.anchors_, [[0, 0], [0, 1]])
    np.testing.assert_array_equal(classifier.predict_proba([[0.0, 0.0]]), [[0.5, 0.5]])


@pytest.mark.parametrize("temperature", [0, -1.0, float("inf"), float("nan"), "100", True])
def test_a_temperature_out_of_range_is_refused(temperature):
    with pytest.raises(InputError, match="temperature must be a number above 0"):
        ZeroShotClassifier(temperature=temperature).fit([[1.0], [2.0]], [0, 1])


@pytest.mark.parametrize(
    ("classes", "templates", "message"),
    [
        ([], ["a {}"], "classes must be one or more"),
        ("cat", ["a {}"], "classes must be one or more"),
        (["cat", 3], ["a {}"], "classes must be one or more"),
        (["cat", "cat"], ["a {}"], "classes must differ"),
        (CLASSES, [], "templates must be one or more"),
        (CLASSES, "a {}", "templates must be one or more"),
        (CLASSES, ["a photo"], "templates must have {}"),
    ],
)
def test_names_and_templates_are_checked(classes, templates, message):
    with pytest.raises(InputError, match=message):
        ZeroShotClassifier().fit_names(Letters(), classes, templates=templates)
