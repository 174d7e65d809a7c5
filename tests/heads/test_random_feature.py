"""Ridge regression on random features: the oracles are scikit-learn's ridge, and the hat matrix of all rows."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge, RidgeClassifier

from embedkit.errors import InputError
from embedkit.heads import RandomFeatureClassifier

DRAW = np.random.default_rng(0)
Y = np.arange(50) % 3
X = DRAW.normal(size=(50, 6)) + DRAW.normal(size=(3, 6))[Y]
NEW = DRAW.normal(size=(20, 6))
CHOICES = (0.0001, 0.01, 0.3, 1.0, 10.0)


def features(head, rows):
    """H, drawn as it says."""
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    if not head.num_features:
        return units
    return np.maximum(0, units @ np.random.RandomState(head.seed_).standard_normal((6, head.num_features)))


@pytest.mark.parametrize("num_features", [0, 4, 80])
@pytest.mark.parametrize("alpha", [0.01, 1])
def test_scikit_learn_s_ridge_gives_the_same(num_features, alpha):
    head = RandomFeatureClassifier(num_features=num_features, alpha=alpha, temperature=1.0, random_state=3).fit(X, Y)
    H = features(head, X)
    penalty = alpha * np.square(H).sum() / 50
    ridge = Ridge(alpha=penalty, fit_intercept=False).fit(H, np.eye(3)[Y])
    np.testing.assert_allclose(head.decision_function(NEW), ridge.predict(features(head, NEW)), atol=1e-8)
    classifier = RidgeClassifier(alpha=penalty, fit_intercept=False)
    np.testing.assert_array_equal(head.predict(NEW), classifier.fit(H, Y).predict(features(head, NEW)))
    two = RandomFeatureClassifier(num_features=num_features, alpha=alpha, temperature=1.0, random_state=3).fit(X, Y > 1)
    np.testing.assert_allclose(
        two.decision_function(NEW), classifier.fit(H, Y > 1).decision_function(features(head, NEW)), atol=1e-8
    )


@pytest.mark.parametrize(("num_features", "rows"), [(0, 50), (5, 50), (80, 50), (80, 9)])
def test_alpha_is_chosen_by_the_hat_matrix(num_features, rows):
    head = RandomFeatureClassifier(num_features=num_features, alpha=CHOICES, random_state=0).fit(X[:rows], Y[:rows])
    H, targets = features(head, X[:rows]), np.eye(3)[Y[:rows]]

    def error(alpha):
        penalty = alpha * np.square(H).sum() / rows
        hat = H @ np.linalg.inv(H.T @ H + penalty * np.eye(H.shape[1])) @ H.T
        return np.square(targets - hat @ targets).sum() / rows / (1 - np.trace(hat) / rows) ** 2

    assert head.alpha_ == min(CHOICES, key=error)
    chosen = RandomFeatureClassifier(num_features=num_features, alpha=head.alpha_, random_state=0)
    np.testing.assert_allclose(
        head.decision_function(NEW), chosen.fit(X[:rows], Y[:rows]).decision_function(NEW), atol=1e-9
    )


def test_the_choice_depends_on_how_much_noise_there_is():
    noise = RandomFeatureClassifier(num_features=0, alpha=CHOICES).fit(X, DRAW.permutation(Y))
    clear = RandomFeatureClassifier(num_features=0, alpha=CHOICES).fit(np.tile(np.eye(6), (5, 1)), np.arange(30) % 6)
    assert noise.alpha_ >= 1.0
    assert clear.alpha_ == 0.0001


def test_by_hand():
    """Rows 1, 1, −1 at length 1 of classes a, a, b: G = 3, Q = (2, −1), λ = 1 · 1, so W = (1/2, −1/4)."""
    head = RandomFeatureClassifier(num_features=0, alpha=1.0, temperature=0.5).fit([[5.0], [1.0], [-2.0]], list("aab"))
    np.testing.assert_allclose(head.decision_function([[3.0], [-1.0]]), [-0.75 / 0.5, 0.75 / 0.5])
    np.testing.assert_allclose(head.predict_proba([[3.0]])[0, 0], 1 / (1 + np.exp(-1.5)))


def test_a_large_penalty_leaves_the_sums_of_classes_and_none_the_rows_themselves():
    head = RandomFeatureClassifier(num_features=80, alpha=1e9, random_state=0).fit(X, Y)
    sums = features(head, NEW) @ np.stack([features(head, X)[each == Y].sum(axis=0) for each in range(3)]).T
    scores = head.decision_function(NEW)
    np.testing.assert_allclose(scores / scores.sum(), sums / sums.sum(), rtol=1e-5)
    head = RandomFeatureClassifier(num_features=300, alpha=1e-9, temperature=1.0, random_state=0).fit(X, Y)
    np.testing.assert_allclose(head.decision_function(X), np.eye(3)[Y], atol=1e-3)


def test_length_of_rows_does_not_matter():
    head = RandomFeatureClassifier(num_features=30, random_state=0).fit(X, Y)
    longer = RandomFeatureClassifier(num_features=30, random_state=0).fit(X * DRAW.uniform(1, 99, size=(50, 1)), Y)
    np.testing.assert_allclose(longer.decision_function(NEW), head.decision_function(7 * NEW), atol=1e-8)


def test_the_random_directions_come_back_from_what_is_kept(tmp_path):
    for state in (None, 5, np.random.RandomState(1)):
        head = RandomFeatureClassifier(num_features=30, random_state=state).fit(X, Y)
        kept = head.set_params(random_state=None)
        kept.save(tmp_path / "head")
        again = RandomFeatureClassifier.load(tmp_path / "head")
        np.testing.assert_array_equal(again.decision_function(NEW), head.decision_function(NEW))
        for each in (head, again):
            each.partial_fit(NEW, np.arange(20) % 4)
        np.testing.assert_array_equal(again.decision_function(NEW), head.decision_function(NEW))
    kept = {name: each for name, each in vars(head).items() if isinstance(each, np.ndarray)}
    assert sum(each.nbytes for each in kept.values()) == 8 * (30 * 31 // 2 + 4 * 30 + 4 + 4)


def test_new_classes_widen_what_is_kept_and_are_learnt():
    head = RandomFeatureClassifier(num_features=0, alpha=0.01).fit(np.eye(6)[:2], [4, 2])
    head.partial_fit(np.eye(6)[2:], [9, 1, 3, 0], classes=[7])
    assert head.predict(np.eye(6)).tolist() == [4, 2, 9, 1, 3, 0]
    assert head.sums_.shape == (7, 6)
    assert (head.decision_function(NEW)[:, 5] == -np.inf).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_features": -1}, "num_features must be 0 or more"),
        ({"num_features": 1.5}, "num_features must be 0 or more"),
        ({"alpha": 0.0}, "alpha must be a number above 0"),
        ({"alpha": (1.0, -1.0)}, "alpha must be a number above 0"),
        ({"alpha": ()}, "alpha must be a number above 0, or several; received none"),
        ({"alpha": "1"}, "alpha must be a number above 0"),
        ({"temperature": 0}, "temperature must be a number above 0"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        RandomFeatureClassifier(**arguments).fit(X, Y)
