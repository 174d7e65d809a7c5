import numpy as np
import pytest

from embedkit.errors import InputError
from embedkit.heads import RidgeAligner


def pairs(n=30, width=5, out=3, noise=0.0, seed=0):
    draw = np.random.default_rng(seed)
    X, W, b = draw.normal(size=(n, width)), draw.normal(size=(width, out)), draw.normal(size=out)
    return X, X @ W + b + noise * draw.normal(size=(n, out))


@pytest.mark.parametrize(("n", "width"), [(30, 5), (6, 20)])
@pytest.mark.parametrize("alpha", [0.1, 3.0])
def test_the_normal_equations_give_the_same(n, width, alpha):
    X, y = pairs(n, width, noise=0.5)
    centred, spread = X - X.mean(0), np.square(X - X.mean(0)).sum(1).mean()
    W = np.linalg.solve(centred.T @ centred + alpha * spread * np.eye(width), centred.T @ (y - y.mean(0)))
    aligner = RidgeAligner(alpha=alpha).fit(X, y)
    np.testing.assert_allclose(aligner.coef_, W, atol=1e-8)
    np.testing.assert_allclose(aligner.transform(X), centred @ W + y.mean(0), atol=1e-8)


def test_by_hand():
    """x = -1, 1 and y = -2, 2: w = Σxy / (Σx² + λ) = 4 / (2 + alpha · 1)."""
    for alpha, slope in ((0.0, 2.0), (2.0, 1.0)):
        aligner = RidgeAligner(alpha=alpha).fit([[-1.0], [1.0]], [[-2.0], [2.0]])
        np.testing.assert_allclose(aligner.coef_, [[slope]])
        np.testing.assert_allclose(aligner.intercept_, [0.0], atol=1e-12)


def test_alpha_is_chosen_by_leaving_rows_out():
    X, y = pairs(n=20, width=8, noise=2.0)
    choices = (0.001, 0.1, 10.0)

    def error(alpha):
        spread = np.square(X - X.mean(0)).sum(1).mean()
        missed = 0.0
        for row in range(len(X)):
            rest = np.arange(len(X)) != row
            mine = np.square(X[rest] - X[rest].mean(0)).sum(1).mean()
            left = RidgeAligner(alpha=alpha * spread / mine).fit(X[rest], y[rest])
            missed += np.square(left.transform(X[[row]]) - y[row]).sum()
        return missed

    assert RidgeAligner(alpha=choices).fit(X, y).alpha_ == min(choices, key=error)
    assert RidgeAligner(alpha=choices).fit(*pairs(n=100)).alpha_ == 0.001  # without noise no penalty is best


def test_without_a_penalty_a_linear_map_is_found_again_and_a_rotation_with_it():
    X, y = pairs()
    np.testing.assert_allclose(RidgeAligner(alpha=0.0).fit(X, y).transform(X), y, atol=1e-8)
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(5, 5)))
    np.testing.assert_allclose(RidgeAligner(alpha=0.0).fit(X, X @ rotation).coef_, rotation, atol=1e-8)


def test_a_large_penalty_leaves_the_mean():
    X, y = pairs()
    np.testing.assert_allclose(RidgeAligner(alpha=1e12).fit(X, y).transform(X), np.tile(y.mean(0), (30, 1)), atol=1e-6)


def test_scale_place_and_rotation_of_x_do_not_matter():
    X, y = pairs(noise=0.3)
    plain = RidgeAligner(alpha=0.7).fit(X, y).transform(X)
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(5, 5)))
    for changed in (1000 * X, X + 50, X @ rotation):
        np.testing.assert_allclose(RidgeAligner(alpha=0.7).fit(changed, y).transform(changed), plain, atol=1e-6)


def test_one_row_and_rows_that_are_all_the_same():
    np.testing.assert_allclose(RidgeAligner(alpha=1.0).fit([[1.0, 2.0]], [[3.0]]).transform([[9.0, 9.0]]), [[3.0]])
    same = np.ones((4, 2))
    np.testing.assert_allclose(RidgeAligner().fit(same, pairs(4)[1]).transform(same).std(axis=0), 0, atol=1e-12)


@pytest.mark.parametrize("alpha", [-1.0, np.nan, np.inf, "1", None, (), (0.0, 1.0), (1.0, None), True])
def test_a_strength_that_cannot_be_is_refused(alpha):
    with pytest.raises(InputError, match="alpha must be a number, 0 or more, or several above 0"):
        RidgeAligner(alpha=alpha).fit(*pairs())


def test_a_choice_needs_rows():
    with pytest.raises(InputError, match="needs 3 rows; received n_samples=2: give one alpha"):
        RidgeAligner().fit(*pairs(n=2))
