"""Linear discriminant analysis part by part: the oracles are scikit-learn's, and plain loops where it has none."""

import numpy as np
import pytest
from sklearn.covariance import oas
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.naive_bayes import GaussianNB

from embedkit.errors import InputError
from embedkit.heads import GaussianClassifier

DRAW = np.random.default_rng(0)
MEANS = DRAW.normal(size=(4, 6)) + 3
EVEN = np.arange(60) % 4
UNEVEN = np.repeat([0, 1, 2, 3], [31, 16, 9, 4])
NOISE = DRAW.normal(size=(60, 6)) @ DRAW.normal(size=(6, 6))


def within(X, y):
    """Rows about the mean of their class."""
    return X - np.array([X[y == each].mean(axis=0) for each in y])


def by_loops(head, X, y, rows):
    """Scores, from the definitions."""
    n, width = X.shape
    scatter = sum(np.outer(row, row) for row in within(X, y))
    if head.covariance == "diagonal":
        scatter = np.diag(np.diag(scatter))
    spread = np.trace(scatter) / n / width * np.eye(width)
    inverse = np.linalg.inv((1 - head.shrinkage_) * scatter / n + head.shrinkage_ * spread)
    scores = np.zeros((len(rows), len(np.unique(y))))
    for place, each in enumerate(np.unique(y)):
        mean, share = X[y == each].mean(axis=0), np.mean(y == each)
        prior = share if head.priors == "counts" else 1 / len(np.unique(y))
        for row, x in enumerate(rows):
            scores[row, place] = x @ inverse @ mean - mean @ inverse @ mean / 2 + np.log(prior)
    return scores / head.temperature


@pytest.mark.parametrize("covariance", ["shared", "diagonal"])
@pytest.mark.parametrize("priors", ["uniform", "counts"])
@pytest.mark.parametrize("shrinkage", [0.01, 1, "auto"])
def test_plain_loops_give_the_same(covariance, priors, shrinkage):
    X = MEANS[UNEVEN] + NOISE
    head = GaussianClassifier(shrinkage=shrinkage, covariance=covariance, priors=priors).fit(X, UNEVEN)
    np.testing.assert_allclose(head.decision_function(X[:9]), by_loops(head, X, UNEVEN, X[:9]), atol=1e-9)
    head.set_params(temperature=7.0)
    np.testing.assert_allclose(head.decision_function(X[:9]), by_loops(head, X, UNEVEN, X[:9]), atol=1e-9)


@pytest.mark.parametrize("shrinkage", [1e-6, 0.1, 0.5])
@pytest.mark.parametrize(("y", "priors"), [(EVEN, "uniform"), (EVEN, "counts"), (UNEVEN, "counts")])
def test_scikit_learn_gives_the_same(shrinkage, y, priors):
    """Classes weigh by their priors in its covariance, so with uniform ones it agrees where classes are as large."""
    X = MEANS[y] + NOISE
    known = LinearDiscriminantAnalysis(
        solver="lsqr", shrinkage=shrinkage, priors=np.full(4, 0.25) if priors == "uniform" else None
    ).fit(X, y)
    head = GaussianClassifier(shrinkage=shrinkage, priors=priors).fit(X, y)
    np.testing.assert_allclose(head.decision_function(X), known.decision_function(X), atol=1e-8)
    np.testing.assert_allclose(head.predict_proba(X), known.predict_proba(X), atol=1e-9)
    two = np.minimum(y, 1)
    np.testing.assert_allclose(
        GaussianClassifier(shrinkage=shrinkage, priors="counts").fit(X, two).decision_function(X),
        LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage).fit(X, two).decision_function(X),
        atol=1e-8,
    )


@pytest.mark.parametrize("rows", [60, 9])
def test_the_shrinkage_that_is_chosen_is_the_oracle_approximating(rows):
    X, y = (MEANS[UNEVEN] + NOISE)[::-1][:rows], UNEVEN[::-1][:rows]
    head = GaussianClassifier(shrinkage="auto").fit(X, y)
    covariance, shrinkage = oas(within(X, y), assume_centered=True)
    np.testing.assert_allclose(head.shrinkage_, shrinkage)
    np.testing.assert_allclose(head.covariance_, covariance, atol=1e-12)


def test_by_hand():
    """Classes at 0 ± 1 and 6 ± 1: Σ = 1, so of 4 the first scores 0 and the second 4 · 6 − 36 / 2 = 6."""
    head = GaussianClassifier(shrinkage=0.3).fit([[-1.0], [1.0], [5.0], [7.0]], ["a", "a", "b", "b"])
    np.testing.assert_allclose(head.covariance_, [[1.0]])
    np.testing.assert_allclose(head.decision_function([[4.0], [3.0]]), [6.0, 0.0], atol=1e-12)
    np.testing.assert_allclose(head.predict_proba([[4.0]]), [[1 / (1 + np.exp(6)), 1 / (1 + np.exp(-6))]])


def test_a_class_that_comes_apart_moves_the_scatter_by_hand():
    """0 and then 4 of one class: no scatter each, and 1 · 1 / 2 · 4² = 8 between them; with 3 times 0, 3 / 4 · 16."""
    head = GaussianClassifier().fit([[0.0]], [7]).partial_fit([[4.0]], [7])
    np.testing.assert_allclose(head.scatter_, [8.0])
    again = GaussianClassifier().fit([[0.0]], [7], [3.0]).partial_fit([[4.0]], [7])
    np.testing.assert_allclose(again.scatter_, [12.0])


def test_the_diagonal_is_naive_bayes_with_one_variance():
    X = MEANS[EVEN] + NOISE
    naive = GaussianNB(var_smoothing=0).fit(X, EVEN)
    naive.var_[:] = within(X, EVEN).var(axis=0)
    head = GaussianClassifier(shrinkage=1e-12, covariance="diagonal").fit(X, EVEN)
    np.testing.assert_allclose(head.predict_proba(X), naive.predict_proba(X), atol=1e-9)
    np.testing.assert_allclose(head.covariance_, naive.var_[0])


def test_a_map_of_the_space_changes_nothing_where_hardly_any_is_shrunk_and_a_rotation_never():
    X = MEANS[UNEVEN] + NOISE
    rotation, _ = np.linalg.qr(DRAW.normal(size=(6, 6)))
    for shrinkage, change in ((1e-10, DRAW.normal(size=(6, 6))), (0.4, 100 * rotation)):
        plain, changed = (GaussianClassifier(shrinkage=shrinkage).fit(rows, UNEVEN) for rows in (X, X @ change + 5))
        np.testing.assert_allclose(changed.predict_proba(X @ change + 5), plain.predict_proba(X), atol=1e-6)


@pytest.mark.parametrize("covariance", ["shared", "diagonal"])
def test_without_any_spread_the_nearest_mean_wins(covariance):
    head = GaussianClassifier(covariance=covariance).fit([[0.1, 0.0], [4.0, 0.0], [0.1, 0.0]], ["near", "far", "near"])
    assert head.predict([[1.9, 0.0], [2.1, 9.0]]).tolist() == ["near", "far"]
    np.testing.assert_allclose(head.decision_function([[2.05, 3.0]]), [0.0], atol=1e-12)


def test_memory_is_that_of_means_and_half_a_matrix():
    X = (MEANS[EVEN] + NOISE).astype(np.float32)
    head = GaussianClassifier().fit(X, EVEN)
    assert head.means_.nbytes + head.scatter_.nbytes == 4 * (4 * 6) + 8 * (6 * 7 // 2)
    assert GaussianClassifier(covariance="diagonal").fit(X, EVEN).scatter_.shape == (6,)


def test_arguments_that_take_effect_when_scored_may_change_without_a_new_fit():
    X = MEANS[EVEN] + NOISE
    head = GaussianClassifier().fit(X, EVEN)
    head.predict(X)
    changed = head.set_params(shrinkage=0.7).decision_function(X)
    np.testing.assert_array_equal(changed, GaussianClassifier(shrinkage=0.7).fit(X, EVEN).decision_function(X))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shrinkage": 0.0}, r'above 0 … 1, or "auto"'),
        ({"shrinkage": 1.1}, r'above 0 … 1, or "auto"'),
        ({"shrinkage": True}, r'above 0 … 1, or "auto"'),
        ({"shrinkage": "oas"}, r'above 0 … 1, or "auto"'),
        ({"covariance": "full"}, 'must be "shared" or "diagonal"'),
        ({"priors": None}, 'must be "uniform" or "counts"'),
        ({"temperature": 0}, "temperature must be a number above 0; received 0"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        GaussianClassifier(**arguments).fit(MEANS[EVEN] + NOISE, EVEN)
