"""Classes by words, moved to documents: the oracle is the authors' description in plain loops."""

import numpy as np
import pytest

from embedkit.errors import InputError
from embedkit.heads import LabelNameClassifier, ZeroShotClassifier

DRAW = np.random.default_rng(0)
CENTRES = DRAW.normal(size=(3, 6))
WORDS = np.repeat(CENTRES, 2, axis=0) + DRAW.normal(size=(6, 6)) * 0.5
CLASSES = ["tea", "tea", "rum", "rum", "ale", "ale"]
DOCUMENTS = np.repeat(CENTRES, 30, axis=0) + DRAW.normal(size=(90, 6))


class Letters:
    """Counts letters: a vector of 26 numbers."""

    def encode(self, texts, **_):
        return np.array([[text.count(chr(97 + place)) for place in range(26)] for text in texts], dtype=np.float32)


def fitted(words=WORDS, classes=CLASSES, documents=DOCUMENTS, **options):
    y = np.array([*classes, *[-1] * len(documents)], dtype=object)
    return LabelNameClassifier(**options).fit(np.concatenate([words, documents]), y)


def unit(vector):
    return vector / np.linalg.norm(vector)


def mean_of_words(label):
    return unit(sum(unit(word) for word, each in zip(WORDS, CLASSES, strict=True) if each == label))


@pytest.mark.parametrize(("num_docs", "min_similarity"), [(1, -1.0), (7, -1.0), (60, 0.6), (5, 1.0)])
def test_the_mean_of_the_documents_nearest_to_the_words(num_docs, min_similarity):
    head = fitted(num_docs=num_docs, min_similarity=min_similarity)
    assert head.classes_.tolist() == sorted(set(CLASSES))
    for label, anchor in zip(head.classes_, head.anchors_, strict=True):
        start = mean_of_words(label)
        ranked = sorted(map(unit, DOCUMENTS), key=lambda document: -document @ start)
        kept = [document for document in ranked[:num_docs] if document @ start > min_similarity]
        np.testing.assert_allclose(anchor, unit(np.mean(kept or ranked[:1], axis=0)), atol=1e-6)


def test_k_means_begins_at_the_words():
    anchors = {label: mean_of_words(label) for label in sorted(set(CLASSES))}
    members = None
    while members != (members := [max(anchors, key=lambda each: anchors[each] @ unit(one)) for one in DOCUMENTS]):
        for label in set(members):
            own = [unit(one) for one, each in zip(DOCUMENTS, members, strict=True) if each == label]
            anchors[label] = unit(np.mean(own, axis=0))
    np.testing.assert_allclose(fitted(refine="kmeans").anchors_, list(anchors.values()), atol=1e-6)


def test_by_hand():
    """Nearest to east are (4, 3) and (0, 2): norms (.8, .6) and (0, 1) have the mean (.4, .8)."""
    head = fitted([[1, 0], [-1, 0]], [1, 0], [[4, 3], [0, 2], [-1, 0]], num_docs=2, temperature=1.0)
    east = np.array([1, 2]) / 5**0.5
    np.testing.assert_allclose(head.anchors_[1], east, atol=1e-7)
    assert head.predict([[1, 1]]).tolist() == [1]


def test_a_document_that_is_the_word_is_the_class():
    head = fitted(num_docs=1, documents=np.concatenate([DOCUMENTS, [mean_of_words("rum") * 3]]))
    np.testing.assert_allclose(head.anchors_[1], mean_of_words("rum"), atol=1e-6)


def test_of_all_documents_all_classes_are_equal():
    head = fitted(num_docs=10**6)
    np.testing.assert_allclose(head.anchors_, np.tile(unit(sum(map(unit, DOCUMENTS))), (3, 1)), atol=1e-6)
    np.testing.assert_allclose(head.predict_proba(DOCUMENTS), 1 / 3, atol=1e-4)


@pytest.mark.parametrize(("count", "used"), [(2, 1), (12, 4), (90, 25), (240, 40)])
def test_by_default_half_an_equal_share_but_25_and_never_more_than_a_share(count, used):
    documents = DRAW.normal(size=(count, 6))
    np.testing.assert_array_equal(
        fitted(documents=documents).anchors_, fitted(documents=documents, num_docs=used).anchors_
    )


@pytest.mark.parametrize("refine", ["nearest", "kmeans", None])
def test_the_order_of_words_and_documents_changes_nothing(refine):
    other = fitted(WORDS[::-1], CLASSES[::-1], DOCUMENTS[::-1], refine=refine)
    np.testing.assert_allclose(other.anchors_, fitted(refine=refine).anchors_, atol=1e-6)


def test_words_alone_are_the_zero_shot_classifier():
    expected = ZeroShotClassifier().fit(WORDS, CLASSES)
    for head in (
        fitted(refine=None),
        *(LabelNameClassifier(refine=each).fit(WORDS, CLASSES) for each in ("nearest", None)),
    ):
        np.testing.assert_array_equal(head.anchors_, expected.anchors_)
        np.testing.assert_array_equal(head.predict_proba(DOCUMENTS), expected.predict_proba(DOCUMENTS))


@pytest.mark.parametrize("refine", ["nearest", "kmeans"])
def test_single_and_double_precision_agree(refine):
    single = fitted(WORDS.astype(np.float32), CLASSES, DOCUMENTS.astype(np.float32), refine=refine)
    np.testing.assert_allclose(single.anchors_, fitted(refine=refine).anchors_, atol=1e-5)


def test_names_and_words_are_encoded():
    said = {"sports": ["sport", "football"], "news": ["news"]}
    documents = ["a football player", "the sports of today", "some news", "no news"]
    head = LabelNameClassifier(num_docs=1).fit_names(Letters(), said, documents)
    assert head.predict(Letters().encode(documents[1:3])).tolist() == ["sports", "news"]
    words = Letters().encode(["sport", "football", "news"])
    expected = LabelNameClassifier().fit(words, ["sports", "sports", "news"])
    np.testing.assert_array_equal(LabelNameClassifier().fit_names(Letters(), said).anchors_, expected.anchors_)
    with pytest.raises(InputError, match="words of 'news' must be one or more"):
        LabelNameClassifier().fit_names(Letters(), {"sports": ["sport"], "news": "news"})


@pytest.mark.parametrize(
    ("options", "y", "message"),
    [
        ({"refine": "mean"}, [0, 1], "refine must be"),
        ({"num_docs": 0}, [0, 1], "num_docs must be a count"),
        ({"num_docs": True}, [0, 1], "num_docs must be a count"),
        ({"min_similarity": float("nan")}, [0, 1], "min_similarity must be -1"),
        ({"temperature": 0}, [0, 1], "temperature must be a number above 0"),
        ({}, [-1, -1], "some rows must speak of a class"),
        ({}, ["tea", "-1"], "dtype=object"),
    ],
)
def test_wrong_arguments_are_refused(options, y, message):
    with pytest.raises(InputError, match=message):
        LabelNameClassifier(**options).fit([[1.0, 0.0], [0.0, 1.0]], y)
