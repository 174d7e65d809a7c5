from itertools import pairwise

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator
from sklearn.naive_bayes import GaussianNB
from sklearn.svm import LinearSVC

from embedkit.errors import InputError
from embedkit.heads import ConformalClassifier


class Given(BaseEstimator):
    """Rows are their own probabilities."""

    def __init__(self, classes=("a", "b", "c")):
        self.classes = classes
        self.classes_ = np.array(classes)

    def fit(self, X, y):
        return self

    def predict_proba(self, X):
        return np.asarray(X)


def drawn(n, seed, classes=3, sharpness=2.0):
    """Rows that are probabilities, and classes drawn by them."""
    draw = np.random.default_rng(seed)
    q = draw.dirichlet(np.full(classes, 1 / sharpness), size=n)
    return q, (q.cumsum(axis=1) < draw.random((n, 1))).sum(axis=1)


def calibrated(n=40, seed=0, **arguments):
    X, codes = drawn(n, seed)
    head = ConformalClassifier(estimator=FrozenEstimator(Given()), **arguments)
    return head.fit(X, np.array(["a", "b", "c"])[codes]), X, codes


def score_of(q, c, nonconformity):
    return 1 - q[c] if nonconformity == "lac" else sum(other for other in q if other > q[c])


@pytest.mark.parametrize("mondrian", [False, True])
@pytest.mark.parametrize("nonconformity", ["lac", "aps"])
def test_loops_give_the_same(nonconformity, mondrian):
    head, X, codes = calibrated(nonconformity=nonconformity, mondrian=mondrian, alpha=0.3)
    new, _ = drawn(20, seed=1)
    new = np.vstack([new, X[:3], [[0.25, 0.5, 0.25]], [[1 / 3] * 3]])
    for row, found, inside in zip(new, head.p_values(new), head.predict_set(new), strict=True):
        for c in range(3):
            asked = score_of(row, c, nonconformity)
            known = [score_of(q, y, nonconformity) for q, y in zip(X, codes, strict=True) if not mondrian or y == c]
            expected = (sum(score >= asked for score in known) + 1) / (len(known) + 1)
            assert found[c] == expected
            assert inside[c] == (expected > 0.3)


@pytest.mark.parametrize(
    ("nonconformity", "p"),
    [("lac", [3 / 5, 2 / 5]), ("aps", [5 / 5, 2 / 5])],
)
def test_by_hand(nonconformity, p):
    """The scores are .1 .3 .5 .8, and for aps 0 0 0 .8; those asked about are .4 and .6, and 0 and .6."""
    X = [[0.9, 0.1], [0.7, 0.3], [0.5, 0.5], [0.8, 0.2]]
    estimator = FrozenEstimator(Given(("a", "b")))
    head = ConformalClassifier(estimator=estimator, nonconformity=nonconformity, alpha=0.4).fit(X, list("aabb"))
    np.testing.assert_allclose(head.p_values([[0.6, 0.4]]), [p])
    np.testing.assert_array_equal(head.predict_set([[0.6, 0.4]]), [[True, False]])
    np.testing.assert_array_equal(head.predict_set([[0.6, 0.4]], alpha=0.39), [[True, True]])


@pytest.mark.parametrize("nonconformity", ["lac", "aps"])
def test_as_many_sets_hold_the_right_class_as_are_asked_for(nonconformity):
    """Of scores without ties the right one is among the 36 least of 40 with probability .9, whatever they are."""
    held = []
    for seed in range(60):
        head, *_ = calibrated(39, seed, nonconformity=nonconformity)
        new, codes = drawn(50, seed=1000 + seed)
        held.append(head.predict_set(new)[np.arange(50), codes].mean())
    four_errors = 4 * np.std(held) / len(held) ** 0.5
    assert np.mean(held) > 0.9 - four_errors
    assert nonconformity == "aps" or np.mean(held) < 0.9 + four_errors


def test_by_class_a_class_that_is_mistaken_is_held_as_often_as_others():
    def mistaken(seed):
        X, codes = drawn(1000, seed)
        X[codes == 2] = X[codes == 2][:, [2, 1, 0]]  # what is of class 2 looks like class 0
        return X, codes

    held = {}
    for mondrian in (False, True):
        X, codes = mistaken(0)
        head = ConformalClassifier(estimator=FrozenEstimator(Given((0, 1, 2))), mondrian=mondrian).fit(X, codes)
        X, codes = mistaken(1)
        inside = head.predict_set(X)[np.arange(1000), codes]
        held[mondrian] = [inside[codes == c].mean() for c in range(3)]
    assert min(held[False]) < 0.8
    assert min(held[True]) > 0.85


@pytest.mark.parametrize("nonconformity", ["lac", "aps"])
def test_sets_shrink_as_more_may_be_missed(nonconformity):
    head, X, _ = calibrated(nonconformity=nonconformity)
    sets = [head.predict_set(X, alpha=alpha) for alpha in (1 / 41, 0.05, 0.1, 0.3, 0.7, 0.999)]
    for larger, smaller in pairwise(sets):
        assert (larger >= smaller).all()
    least = sets[-1].sum(axis=1)
    assert (least == 1).all() if nonconformity == "aps" else least.max() <= 1
    np.testing.assert_array_equal(sets[2], head.predict_set(X))


def test_order_of_rows_names_of_classes_and_repeated_calls_change_nothing():
    head, X, codes = calibrated(nonconformity="aps")
    turned = ConformalClassifier(estimator=FrozenEstimator(Given(("z", "y", "x"))), nonconformity="aps")
    turned.fit(X[::-1], np.array(["z", "y", "x"])[codes[::-1]])
    np.testing.assert_array_equal(turned.p_values(X), head.p_values(X))
    np.testing.assert_array_equal(np.vstack([head.p_values(row[None]) for row in X]), head.p_values(X))
    X = np.random.default_rng(0).normal(size=(60, 3))
    once, again, other = (
        ConformalClassifier(random_state=seed).fit(X, np.arange(60) % 2).scores_ for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(once, again)
    assert not np.array_equal(once, other)


def test_the_estimator_answers_as_before():
    draw = np.random.default_rng(0)
    X, y = draw.normal(size=(60, 3)), np.arange(60) % 3
    head = ConformalClassifier(estimator=GaussianNB(), random_state=0).fit(X, y)
    np.testing.assert_array_equal(head.predict(X), head.estimator_.predict(X))
    np.testing.assert_array_equal(head.predict_proba(X), head.estimator_.predict_proba(X))
    frozen = ConformalClassifier(estimator=FrozenEstimator(head.estimator_)).fit(X, y)
    np.testing.assert_array_equal(frozen.predict_proba(X), head.predict_proba(X))
    assert frozen.counts_.tolist() == [60]
    narrow = ConformalClassifier(random_state=0).fit(X.astype(np.float32), y)
    wide = ConformalClassifier(random_state=0).fit(X.astype(np.float32).astype(np.float64), y)
    np.testing.assert_allclose(narrow.predict_proba(X), wide.predict_proba(X), atol=1e-5)


@pytest.mark.parametrize(("size", "counts"), [(0.5, (5, 15, 10)), (0.2, (2, 6, 4)), (12, (2, 6, 4))])
def test_each_class_has_its_share_of_both_parts(size, counts):
    y = np.repeat(["few", "many", "some"], (10, 30, 20))
    X = np.random.default_rng(0).normal(size=(60, 2))
    head = ConformalClassifier(calibration_size=size, mondrian=True, alpha=0.5, random_state=0).fit(X, y)
    assert tuple(head.counts_) == counts


def test_a_class_is_never_wholly_left_to_calibration():
    X = np.random.default_rng(0).normal(size=(42, 2))
    y = np.repeat([-7, 3, 5, 8], (1, 20, 20, 1))
    for seed in range(5):
        head = ConformalClassifier(calibration_size=36, alpha=0.1, random_state=seed).fit(X, y)
        assert head.classes_.tolist() == [-7, 3, 5, 8]
        assert 34 <= head.counts_[0] <= 36


def test_rows_on_both_sides_are_told():
    X = np.random.default_rng(0).normal(size=(40, 2))
    y = np.arange(40) % 2
    X[20:] = X[:20] * 1.0
    X[0, 0], X[20, 0] = 0.0, -0.0
    with pytest.warns(
        UserWarning, match=r"calibration rows are also .* more than alpha of these may be missed"
    ) as told:
        head = ConformalClassifier(random_state=0).fit(X, y)
    assert head.counts_.tolist() == [20]
    assert len(told) == 1


ROWS = drawn(30, seed=0)[0]
LABELS = np.arange(30) % 3


@pytest.mark.parametrize(
    ("arguments", "y", "message"),
    [
        ({"alpha": 0}, LABELS, "alpha must be a number above 0 and below 1; received 0"),
        ({"alpha": 1.0}, LABELS, "alpha must be"),
        ({"alpha": np.nan}, LABELS, "alpha must be"),
        ({"alpha": "0.1"}, LABELS, "alpha must be"),
        ({"nonconformity": "raps"}, LABELS, 'nonconformity must be "lac" or "aps"'),
        ({"calibration_size": 30}, LABELS, "that leaves rows to fit on; received 30 for 30 rows"),
        ({"calibration_size": 1.0}, LABELS, "a share above 0 and below 1"),
        ({"calibration_size": True}, LABELS, "a share above 0 and below 1"),
        ({"estimator": LinearSVC()}, LABELS, "estimator must have predict_proba"),
        (
            {"estimator": FrozenEstimator(Given((0, 1)))},
            LABELS,
            r"classes that the estimator knows; received .*: \[2\]",
        ),
        ({}, np.full(30, -1), "two classes or more; received one class, -1"),
        ({"alpha": 0.05}, LABELS, r"= 19 calibration rows or more; received 15 at alpha=0.05: give more rows"),
        ({"mondrian": True}, LABELS, r"= 9 calibration rows or more of each class, such as 0; received 5"),
        ({"mondrian": True, "alpha": 0.5}, [2, *[0, 1] * 14, 0], "of each class, such as 2; received 0"),
    ],
)
def test_what_cannot_be_is_refused(arguments, y, message):
    with pytest.raises(InputError, match=message):
        ConformalClassifier(random_state=0, **arguments).fit(ROWS, y)


def test_a_fit_that_is_refused_at_its_end_changes_no_set():
    head = ConformalClassifier(alpha=0.2, random_state=0).fit(ROWS, LABELS)
    before = head.p_values(ROWS)
    with pytest.raises(InputError, match="calibration rows or more"):
        head.fit(ROWS[:6], LABELS[:6][::-1])
    np.testing.assert_array_equal(head.p_values(ROWS), before)


def test_an_alpha_that_the_calibration_rows_do_not_allow_is_refused_later_too():
    head, X, _ = calibrated(n=19, alpha=0.05)
    with pytest.raises(InputError, match=r"= 24 calibration rows or more; received 19 at alpha=0.04"):
        head.predict_set(X, alpha=0.04)
    with pytest.raises(InputError, match="alpha must be"):
        head.predict_set(X, alpha=2)
