from itertools import product

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from embedkit.errors import InputError
from embedkit.heads import ConformalLabelSets
from embedkit.heads.flips import cheapest_first


class Given(BaseEstimator):
    """Rows are the probabilities of their labels."""

    def __init__(self):
        self.classes_ = None

    def fit(self, X, y):
        return self

    def predict_proba(self, X):
        return np.asarray(X)


def drawn(n, seed, labels=10):
    """Rows that are probabilities, and labels drawn by them."""
    draw = np.random.default_rng(seed)
    q = draw.beta(0.3, 0.7, size=(n, labels))
    return q, (draw.random((n, labels)) < q).astype(int)


def calibrated(n=60, seed=0, labels=10, **arguments):
    X, Y = drawn(n, seed, labels)
    return ConformalLabelSets(estimator=FrozenEstimator(Given()), **arguments).fit(X, Y), X, Y


SCORES = {
    "logloss": lambda q, Y: sum(-np.log(p if present else 1 - p) for p, present in zip(q, Y, strict=True)),
    "norm": lambda q, Y: sum(abs(present - p) ** 1.5 for p, present in zip(q, Y, strict=True)),
}


@pytest.mark.parametrize("nonconformity", SCORES)
def test_the_region_is_that_of_all_sets_tried_one_by_one(nonconformity):
    head, X, Y = calibrated(nonconformity=nonconformity, order=1.5)
    score = SCORES[nonconformity]
    known = np.array([score(*pair) for pair in zip(X, Y, strict=True)])
    every = np.array(list(product((0, 1), repeat=10)))
    for q in drawn(4, seed=1)[0]:
        scores = np.array([score(q, one) for one in every])
        p = (np.sum(known[:, None] >= scores, axis=0) + 1) / 61
        np.testing.assert_allclose(head.p_value(np.tile(q, (1024, 1)), every), p)
        for alpha in (0.05, 0.2, 0.6):
            region = every[p > alpha]
            found, bounds = head.predict_sets([q], alpha), head.label_bounds([q], alpha)
            assert found.complete.tolist() == [True]
            assert {*map(tuple, found.sets[0].astype(int))} == {*map(tuple, region)}
            assert len(found.sets[0]) == len(region)
            assert (np.diff([score(q, one) for one in found.sets[0]]) > -1e-9).all()
            np.testing.assert_array_equal(bounds.in_any[0], region.any(axis=0))
            np.testing.assert_array_equal(bounds.in_all[0], region.all(axis=0) & (len(region) > 0))


def test_by_hand():
    """By the norm of order 1: .1 + .1, .5 + .1, .9 + .2, .9 + .9; of (.8, .45) 1 0: .65, 1 1: .75, 0 0: 1.25."""
    estimator = FrozenEstimator(Given())
    X, Y = [[0.9, 0.1], [0.5, 0.9], [0.1, 0.8], [0.9, 0.1]], [[1, 0], [0, 1], [1, 1], [0, 1]]
    head = ConformalLabelSets(estimator=estimator, nonconformity="norm", order=1, alpha=0.45).fit(X, Y)
    np.testing.assert_allclose(head.scores_, [0.2, 0.6, 1.1, 1.8])
    new = [[0.8, 0.45]]
    np.testing.assert_allclose([head.p_value(new, [Y])[0] for Y in ([1, 0], [1, 1], [0, 0])], [3 / 5, 3 / 5, 2 / 5])
    assert head.predict_sets(new).sets[0].tolist() == [[True, False], [True, True]]
    assert head.label_bounds(new).in_all.tolist() == [[True, False]]
    assert head.label_bounds(new).in_any.tolist() == [[True, True]]


def test_subsets_come_in_order_each_once():
    costs = sorted(np.random.default_rng(0).exponential(size=9))
    found = list(cheapest_first(costs, 3.0, 0.5))
    totals = [sum(costs[place] for place in places) for places in found]
    assert totals == sorted(totals)
    every = {tuple(np.flatnonzero(bits)) for bits in product((0, 1), repeat=9) if 0.5 + np.dot(bits, costs) <= 3.0}
    assert {*found} == every
    assert len(found) == len(every)


@pytest.mark.parametrize("nonconformity", SCORES)
def test_as_many_regions_hold_the_right_set_as_are_asked_for(nonconformity):
    """Of scores without ties the right one is among the 36 least of 40 with probability .9, whatever they are."""
    held = []
    for seed in range(60):
        head, *_ = calibrated(39, seed, nonconformity=nonconformity)
        held.append(np.mean(head.p_value(*drawn(50, 1000 + seed)) > 0.1))
    assert abs(np.mean(held) - 0.9) < 4 * np.std(held) / len(held) ** 0.5


@pytest.mark.parametrize("nonconformity", SCORES)
def test_regions_shrink_to_the_best_set_and_to_nothing(nonconformity):
    head, X, _ = calibrated(nonconformity=nonconformity, labels=3)
    best = X > 0.5
    before = None
    for alpha in (1 / 61, 0.1, 0.3, 0.6, 0.99):
        sets = [{*map(tuple, some)} for some in head.predict_sets(X, alpha).sets]
        assert all(tuple(one) in some for one, some in zip(best, sets, strict=True) if some)
        assert before is None or all(some <= more for some, more in zip(sets, before, strict=True))
        before = sets
    assert sum(map(len, before)) > 0
    assert max(map(len, before)) == 1


def test_what_is_listed_never_looks_like_all_when_it_is_not():
    whole, X, _ = calibrated(labels=4)
    short, *_ = calibrated(labels=4, max_sets=5)
    every = whole.predict_sets(X)
    assert every.complete.all()
    with pytest.warns(UserWarning, match=r"of 60 rows have more than max_sets=5 sets, .* see `complete`"):
        some = short.predict_sets(X)
    sizes = np.array([len(sets) for sets in every.sets])
    np.testing.assert_array_equal(some.complete, sizes <= 5)
    assert 0 < some.complete.sum() < 60
    for one, other in zip(some.sets, every.sets, strict=True):
        np.testing.assert_array_equal(one, other[:5])
    for one, other in zip(short.label_bounds(X), whole.label_bounds(X), strict=True):
        np.testing.assert_array_equal(one, other)


def test_labels_that_cost_the_same_either_way_give_all_sets():
    head = ConformalLabelSets(estimator=FrozenEstimator(Given())).fit(np.full((9, 6), 0.5), np.eye(9, 6, dtype=int))
    assert len({*map(tuple, head.predict_sets([[0.5] * 6]).sets[0])}) == 64
    bounds = head.label_bounds([[0.5] * 6])
    assert bounds.in_any.all()
    assert not bounds.in_all.any()


def test_a_label_that_never_or_always_was_is_no_obstacle():
    draw = np.random.default_rng(0)
    X = draw.normal(size=(80, 3))
    Y = np.column_stack([X[:, 0] > 0, np.zeros(80), np.ones(80)]).astype(int)
    with pytest.warns(UserWarning, match="present in all training examples"):
        head = ConformalLabelSets(random_state=0).fit(X, Y)
    assert np.isfinite(head.scores_).all()
    bounds = head.label_bounds(X)
    assert not bounds.in_any[:, 1].any()
    assert bounds.in_all[:, 2].mean() > 0.8
    assert np.isfinite(head.p_value(X, 1 - Y)).all()


def test_forms_of_labels_and_of_probabilities():
    draw = np.random.default_rng(0)
    X = draw.normal(size=(80, 3))
    Y = (X + 0.5 * draw.normal(size=(80, 3)) > 0).astype(int)
    table, sparse, truth = (ConformalLabelSets(random_state=0).fit(X, y) for y in (Y, csr_array(Y), Y == 1))
    for head in (sparse, truth):
        np.testing.assert_array_equal(head.scores_, table.scores_)
    near = ConformalLabelSets(estimator=KNeighborsClassifier(5), random_state=0).fit(X, Y)
    of_labels = np.stack([each[:, 1] for each in near.predict_proba(X)], axis=1)
    given = ConformalLabelSets(estimator=FrozenEstimator(Given())).fit(of_labels, Y)
    again = ConformalLabelSets(estimator=FrozenEstimator(near.estimator_)).fit(X, Y)
    np.testing.assert_array_equal(again.scores_, given.scores_)
    one = ConformalLabelSets(random_state=0, alpha=0.2).fit(X, np.where(Y[:, 0], "yes", "no"))
    assert set(one.predict(X)) == {"no", "yes"}
    assert one.label_bounds([[9.0, 0, 0], [-9.0, 0, 0]]).in_all.tolist() == [[True], [False]]


ROWS, TABLE = drawn(30, seed=0, labels=3)


@pytest.mark.parametrize(
    ("arguments", "y", "message"),
    [
        ({"alpha": 1}, TABLE, "alpha must be"),
        ({"nonconformity": "hamming"}, TABLE, 'nonconformity must be "logloss" or "norm"'),
        ({"order": 0}, TABLE, "order must be a number above 0"),
        ({"max_sets": 0}, TABLE, "max_sets must be a count of 1 or more"),
        ({"alpha": 0.05}, TABLE, r"= 19 calibration rows or more; received 15 at alpha=0.05: give more rows"),
        ({}, 2 * TABLE, r"y must hold 0 and 1 only, in 30 rows of 3 labels; .* the values \[0, 2\]"),
        ({}, TABLE - 1, r"y must hold 0 and 1 only"),
        ({}, np.full(30, -1), r"or one label of two classes, \(n,\); received 1 class"),
        ({}, np.arange(30) % 3, r"received 3 class.*take ConformalClassifier"),
        ({"estimator": FrozenEstimator(Given())}, TABLE[:, :2], "for each of 2 labels; it gave those of 3"),
        (
            {"estimator": FrozenEstimator(LogisticRegression().fit(ROWS, TABLE[:, 0]))},
            np.repeat(["a", "b"], 15),
            "y must have the classes that the estimator knows",
        ),
    ],
)
def test_what_cannot_be_is_refused(arguments, y, message):
    with pytest.raises(InputError, match=message):
        ConformalLabelSets(random_state=0, **arguments).fit(ROWS, y)


def test_later_calls_are_checked():
    head, X, Y = calibrated(n=19, alpha=0.05)
    for call in (head.predict_sets, head.label_bounds):
        with pytest.raises(InputError, match=r"= 24 calibration rows or more; received 19 at alpha=0.04"):
            call(X, alpha=0.04)
    with pytest.raises(InputError, match=r"Y must hold 0 and 1 only, in 19 rows of 10 labels"):
        head.p_value(X, Y[:, :9])
