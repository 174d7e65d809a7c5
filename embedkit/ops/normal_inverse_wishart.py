"""How likely rows are under one Gaussian of which neither mean nor covariance is known, in closed form."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, multigammaln


@dataclass(frozen=True)
class NormalInverseWishart:
    """A belief about mean μ and covariance Σ of a Gaussian.

        Σ ~ IW(scatter, dof),   μ given Σ ~ N(mean, Σ / strength)

    Attributes:
        mean: (d,).
        strength: Of how many rows the mean is worth, above 0.
        scatter: (d, d), positive definite.
        dof: Degrees of freedom, above d − 1.

    Reference:
        K. P. Murphy, "Conjugate Bayesian analysis of the Gaussian distribution", 2007, section 9.
    """

    mean: NDArray[np.float64]
    strength: float
    scatter: NDArray[np.float64]
    dof: float

    def updated(self, rows: NDArray[np.float64]) -> "NormalInverseWishart":
        """The belief after rows were seen.

            strength' = strength + n,   dof' = dof + n,   mean' = (strength mean + Σ_i x_i) / strength'
            scatter' = scatter + Σ_i (x_i − x̄)(x_i − x̄)ᵀ + strength n / strength' (x̄ − mean)(x̄ − mean)ᵀ

        Args:
            rows: (n, d).
        """
        count = len(rows)
        if not count:
            return self
        centre = rows.mean(axis=0)
        apart, centred = centre - self.mean, rows - centre
        strength = self.strength + count
        scatter = self.scatter + centred.T @ centred + self.strength * count / strength * np.outer(apart, apart)
        return NormalInverseWishart(self.mean + count / strength * apart, strength, scatter, self.dof + count)

    def log_marginal(self, rows: NDArray[np.float64]) -> float:
        """Log density of rows together, mean and covariance integrated out.

            −n d/2 log π + log Γ_d(dof'/2) − log Γ_d(dof/2) + dof/2 log|scatter| − dof'/2 log|scatter'|
                + d/2 (log strength − log strength')

        Args:
            rows: (n, d).

        Example:
            >>> belief = NormalInverseWishart(np.zeros(1), 1.0, np.eye(1) / 2, 1.0)  # one row: the standard Cauchy
            >>> round(float(np.exp(belief.log_marginal(np.array([[1.0]])))), 6), round(1 / (2 * np.pi), 6)
            (0.159155, 0.159155)
        """
        width = len(self.mean)
        after = self.updated(rows)
        return after._log_volume() - self._log_volume() - len(rows) * width / 2 * float(np.log(np.pi))

    def log_predictive(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Log density of each row alone, (n,): a Student-t.

            dof − d + 1 degrees of freedom, at mean, of shape scatter (strength + 1) / (strength (dof − d + 1))

        Args:
            rows: (n, d).
        """
        width = len(self.mean)
        degrees = self.dof - width + 1
        factor = np.linalg.cholesky(self.scatter * (self.strength + 1) / (self.strength * degrees))
        squared = np.square(np.linalg.solve(factor, (rows - self.mean).T)).sum(axis=0)
        constant = gammaln((degrees + width) / 2) - gammaln(degrees / 2) - width / 2 * np.log(degrees * np.pi)
        found: NDArray[np.float64] = (
            constant - np.log(np.diagonal(factor)).sum() - (degrees + width) / 2 * np.log1p(squared / degrees)
        )
        return found

    def _log_volume(self) -> float:
        width = len(self.mean)
        log_determinant = np.linalg.slogdet(self.scatter)[1]
        return float(
            multigammaln(self.dof / 2, width) - self.dof / 2 * log_determinant - width / 2 * np.log(self.strength)
        )
