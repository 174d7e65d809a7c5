import numpy as np
import pytest
from scipy.special import gammaln
from scipy.stats import multivariate_t, norm

from embedkit.ops.normal_inverse_wishart import NormalInverseWishart


def belief(dim=3, seed=0):
    draw = np.random.default_rng(seed)
    root = draw.normal(size=(dim, dim))
    return NormalInverseWishart(draw.normal(size=dim), 0.3, root @ root.T + np.eye(dim), dim + 1.5)


def drawn(count, dim=3, seed=1):
    return np.random.default_rng(seed).normal(size=(count, dim))


def test_the_marginal_is_the_product_of_predictive_student_t_s():
    now, rows, total = belief(), drawn(7), 0.0
    for row in rows:
        degrees = now.dof - 2
        shape = now.scatter * (now.strength + 1) / (now.strength * degrees)
        density = multivariate_t(now.mean, shape, df=degrees).logpdf(row)
        assert now.log_predictive(row[None]) == pytest.approx(density)
        total += density
        now = now.updated(row[None])
    assert belief().log_marginal(rows) == pytest.approx(total)


def test_worked_by_hand_in_one_dimension():
    """mean 0, strength 1, scatter 2, dof 3; rows 1 and 3: strength' 3, dof' 5, scatter' = 2 + 2 + 1·2/3·4 = 20/3."""
    before, rows = NormalInverseWishart(np.zeros(1), 1.0, 2 * np.eye(1), 3.0), np.array([[1.0], [3.0]])
    after = before.updated(rows)
    assert (after.mean.item(), after.strength, after.dof) == (pytest.approx(4 / 3), 3, 5)
    assert after.scatter.item() == pytest.approx(20 / 3)
    expected = -np.log(np.pi) + gammaln(2.5) - gammaln(1.5) + 1.5 * np.log(2) - 2.5 * np.log(20 / 3) - 0.5 * np.log(3)
    assert before.log_marginal(rows) == pytest.approx(expected)


def test_the_mean_density_under_draws_of_the_belief_is_the_marginal():
    known, rows = NormalInverseWishart(np.ones(1), 2.0, 4 * np.eye(1), 6.0), np.array([[0.5], [2.0], [1.0]])
    draw = np.random.default_rng(0)
    sigma = 4 / draw.chisquare(6, size=100_000)
    mean = draw.normal(1, np.sqrt(sigma / 2))
    density = np.exp(norm(mean, np.sqrt(sigma)).logpdf(rows).sum(axis=0)).mean()
    assert np.log(density) == pytest.approx(known.log_marginal(rows), abs=0.01)


def test_parts_order_and_no_rows():
    known, rows = belief(), drawn(6)
    assert known.log_marginal(rows[:0]) == 0
    assert known.log_marginal(rows[::-1]) == pytest.approx(known.log_marginal(rows))
    whole, parts = known.updated(rows), known.updated(rows[:2]).updated(rows[2:])
    np.testing.assert_allclose(parts.scatter, whole.scatter)
    np.testing.assert_allclose(parts.mean, whole.mean)
