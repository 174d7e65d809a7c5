"""What all heads do that learn sums over rows, whatever the sums are: parts and their order change nothing."""

from functools import partial
from itertools import product

import numpy as np
import pytest
from scipy.sparse import csr_array

from embedkit.errors import InputError
from embedkit.heads import GaussianClassifier, PrototypeClassifier, RandomFeatureClassifier, SubspaceClassifier

CLASSES = np.array([7, -3, 40, 0, 12])
CODES = np.repeat(np.arange(5), [14, 9, 6, 2, 1])
DRAW = np.random.default_rng(0)
X = DRAW.normal(size=(5, 8))[CODES] + DRAW.normal(size=(32, 8)) + 0.5
Y = CLASSES[CODES]
NEW = DRAW.normal(size=(30, 8)) + 0.5
TEXTS = np.array(["fox", "Ant", "élan", "10", "9"])

MAKERS = {
    "cosine": PrototypeClassifier,
    "Euclidean": partial(PrototypeClassifier, metric="euclidean"),
    "TEEN": partial(PrototypeClassifier, calibration=0.3, base_classes=[40, 7]),
    "Gaussian": GaussianClassifier,
    "Gaussian, chosen": partial(GaussianClassifier, shrinkage="auto", priors="counts"),
    "Gaussian, diagonal": partial(GaussianClassifier, covariance="diagonal"),
    "random features": partial(RandomFeatureClassifier, num_features=30),
    "ridge": partial(RandomFeatureClassifier, num_features=0, alpha=0.3),
}


@pytest.fixture(params=MAKERS)
def make(request):
    return MAKERS[request.param]


def state(head):
    return {name: np.copy(each) for name, each in vars(head).items() if name.endswith("_")}


def assert_same(head, other, **tolerance):
    assert head.classes_.tolist() == other.classes_.tolist()
    found, expected = head.decision_function(NEW), other.decision_function(NEW)
    np.testing.assert_allclose(found, expected, **{"rtol": 1e-8, "atol": 1e-8, **tolerance})


def test_any_split_in_any_order_gives_what_fit_gives(make):
    whole = make().fit(X, Y)
    for seed, parts in enumerate([1, 2, 7, 32]):
        head = make()
        for part in np.array_split(np.random.default_rng(seed).permutation(32), parts):
            head.partial_fit(X[part], Y[part])
        assert_same(head, whole)


def test_tasks_of_classes_in_any_order_and_classes_told_beforehand_give_what_fit_gives(make):
    whole = make().fit(X, Y)
    for tasks in ([[12], [0, 7], [40, -3]], [[-3, 40], [7, 12, 0]]):
        head, told = make(), make()
        for task in tasks:
            rows = np.isin(Y, task)
            head.partial_fit(X[rows], Y[rows])
            told.partial_fit(X[rows], Y[rows], classes=CLASSES)
        assert_same(head, whole)
        assert_same(told, whole)


def test_fit_forgets_what_was_before(make):
    assert_same(make().fit(NEW[:, ::-1], np.arange(30) % 4).fit(X, Y), make().fit(X, Y), rtol=0, atol=0)


def test_texts_are_labels_as_numbers_are(make):
    chosen = {"base_classes": ["élan", "fox"]} if make is MAKERS["TEEN"] else {}
    head, numbers = make(**chosen).fit(X[:20], TEXTS[CODES[:20]]).partial_fit(X[20:], TEXTS[CODES[20:]]), make()
    numbers.fit(X, Y)
    assert head.classes_.tolist() == sorted(TEXTS)
    named = dict(zip(CLASSES.tolist(), TEXTS.tolist(), strict=True))
    assert head.predict(NEW).tolist() == [named[each] for each in numbers.predict(NEW).tolist()]


def test_a_weight_is_how_often_a_row_is_there_and_0_not_at_all(make):
    weights = np.arange(32) % 4
    weights[-1] = 2
    repeated = np.repeat(np.arange(32), weights)
    head = make().fit(X, Y, sample_weight=weights)
    assert_same(head, make().fit(X[repeated], Y[repeated]))
    with pytest.raises(ValueError, match=r"above 0 for some row|at least one non-zero"):
        head.partial_fit(X, Y, sample_weight=np.zeros(32))
    with pytest.raises(ValueError, match="Negative"):
        head.partial_fit(X, Y, sample_weight=-np.ones(32))


def test_one_class_and_classes_of_one_row(make):
    assert make().fit(X[:9], Y[:9] * 0 + 5).predict(NEW).tolist() == [5] * 30
    rows = np.eye(8)[:3]
    assert make().fit(rows, [7, 40, -3]).predict(rows).tolist() == [7, 40, -3]


def test_a_class_that_has_no_row_yet_never_wins(make):
    head = make().fit(X, Y).partial_fit(X[:1], Y[:1], classes=[-99, 99])
    assert head.classes_.tolist() == [-99, -3, 0, 7, 12, 40, 99]
    rows = np.vstack([NEW, -NEW, np.zeros(8)])
    assert not np.isin(head.predict(rows), [-99, 99]).any()
    assert (head.predict_proba(rows)[:, [0, -1]] == 0).all()
    assert (head.decision_function(rows)[:, [0, -1]] == -np.inf).all()


def test_what_is_refused_changes_nothing(make):
    head = make().fit(X, Y)
    before = state(head)
    for rows, labels, error, message in (
        (X, TEXTS[CODES], InputError, "all numbers or all texts"),
        (X[:, :7], Y, ValueError, "7 features"),
        (csr_array(X), Y, TypeError, "[Ss]parse"),
        (np.where(X > 1, np.nan, X), Y, ValueError, "NaN"),
        (X, Y[1:], ValueError, "inconsistent"),
        (X, X[:, 0], ValueError, "continuous"),
    ):
        with pytest.raises(error, match=message):
            head.partial_fit(rows, labels)
    with pytest.raises(InputError, match="all numbers or all texts"):
        head.partial_fit(X, Y, classes=["text"])
    with pytest.raises(TypeError, match=r"[Ss]parse"):
        head.predict(csr_array(X))
    after = state(head)
    assert before.keys() == after.keys()
    for name, each in before.items():
        np.testing.assert_array_equal(after[name], each)


def test_rows_of_zeros_are_rows(make):
    rows = np.vstack([X, np.zeros((3, 8))])
    head = make().fit(rows, np.append(Y, [7, 7, 5]))
    assert np.isfinite(head.predict_proba(np.zeros((2, 8)))).all()
    assert np.isfinite(make().fit(np.zeros((3, 8)), [1, 2, 3]).decision_function(NEW)).all()


def test_single_and_double_precision_agree_however_many_parts(make):
    single, double = make(), make().fit(X.astype(np.float32).astype(np.float64), Y)
    for row in range(32):
        single.partial_fit(X[[row]].astype(np.float32), Y[[row]])
    rows = NEW.astype(np.float32)
    scale = np.abs(double.decision_function(rows)).max()
    np.testing.assert_allclose(
        single.decision_function(rows) / scale, double.decision_function(rows) / scale, rtol=0, atol=1e-5
    )
    np.testing.assert_array_equal(single.predict(rows), double.predict(rows))


@pytest.mark.parametrize("make_old", [*list(MAKERS.values())[:2], partial(SubspaceClassifier, num_components=2)])
def test_classes_that_are_added_leave_old_scores_to_the_last_bit(make_old):
    for old, width in product([3, 63, 64, 130], [3, 100]):
        rows = np.random.default_rng(width).normal(size=(450, width)).astype(np.float32)
        head = make_old().fit(rows[: 3 * old], np.arange(3 * old) // 3 * 2)
        known, before = head.classes_, head.decision_function(rows[::7])
        head.partial_fit(rows[-60:], np.arange(60) // 3 * 14 - 77)
        after = head.decision_function(rows[::7])
        np.testing.assert_array_equal(after[:, np.isin(head.classes_, known)], before)
