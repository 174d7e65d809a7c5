"""Classes as Gaussians of one shape: a mean each, and one covariance."""

from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import gen_batches

from embedkit.errors import InputError
from embedkit.heads.additive import class_means
from embedkit.heads.packed import add_gram, cholesky, packed_identity, solved, unpacked
from embedkit.heads.scoring import Rows, check_positive
from embedkit.heads.solved import Solution, SolvedClassifier

_ROWS = 4096
_ROUNDING = 1e-14


class GaussianClassifier(SolvedClassifier):
    """Linear discriminant analysis that sees its rows part by part, and takes new classes at any time.

        score_c(x) = (x·Σ⁻¹ means_c − ½ means_c·Σ⁻¹ means_c + log priors_c) / temperature
        p(c | x) = softmax_c(score_c)
        Σ = (1 − shrinkage) S / n + shrinkage · tr(S / n) / width · I
        S = Σ_i (x_i − means_{y_i}) (x_i − means_{y_i})ᵀ

    S is exact whatever the parts: n_b rows of a class that has n_a already add their scatter about their own mean, and
    n_a n_b / (n_a + n_b) δ δᵀ, δ being how far the two means lie apart. No row is kept.

    As of all linear discriminant analysis, in many dimensions the probabilities are far too sure, the more so the fewer
    rows a class has: where they matter rather than the class alone, choose `temperature` on rows held out.

    Args:
        shrinkage: How far Σ is drawn towards a multiple of I, above 0 … 1; "auto": by the formula of oracle
            approximating shrinkage, which needs nothing but S and n.
        covariance: "shared" by all classes, or "diagonal": the same, its diagonal alone; then features count as
            independent, and memory is a mean and no matrix.
        priors: "uniform", or "counts": as frequent as the rows seen. Uniform by default, because classes that came
            later mostly come with few rows, which says nothing of how often they will be asked for.
        temperature: What scores are divided by, above 0: how sure probabilities are, not which class wins. At 1 they
            are those of the Gaussians.

    Attributes:
        classes_: (classes,), sorted.
        counts_: How many rows of each class were seen, or what they weighed, (classes,).
        means_: (classes, width), as precise as X.
        scatter_: S, as the upper triangle of `embedkit.heads.packed`; its diagonal, (width,), if that is all.

    Example:
        >>> classifier = GaussianClassifier().fit([[0.0, 0.0], [2.0, 1.0], [4.0, 0.0]], ["left", "left", "right"])
        >>> classifier.partial_fit([[6.0, 1.0], [8.0, 9.0]], ["right", "up"]).predict([[8.0, 8.0]]).tolist()
        ['up']

    Reference:
        R. A. Fisher, "The Use of Multiple Measurements in Taxonomic Problems", Annals of Eugenics, 1936; Y. Chen,
        A. Wiesel, Y. C. Eldar, A. O. Hero, "Shrinkage Algorithms for MMSE Covariance Estimation", IEEE Transactions
        on Signal Processing, 2010, Eq. 23 without the 2 / width in it, as scikit-learn has it, for "auto".

    Deviations:
        "auto" is not Ledoit and Wolf's as in scikit-learn, for which sums over rows do not suffice when means move.
        Where all rows equal the mean of their class Σ is I: the nearest mean wins.
    """

    _per_class: ClassVar[tuple[str, ...]] = ("counts_", "means_")

    def __init__(
        self,
        *,
        shrinkage: float | Literal["auto"] = 0.1,
        covariance: Literal["shared", "diagonal"] = "shared",
        priors: Literal["uniform", "counts"] = "uniform",
        temperature: float = 1.0,
    ) -> None:
        self.shrinkage = shrinkage
        self.covariance = covariance
        self.priors = priors
        self.temperature = temperature

    @property
    def covariance_(self) -> NDArray[np.float64]:
        """Σ, (width, width); its diagonal, (width,), if that is all."""
        covariance, _ = self._shrunk()
        return covariance if self._is_diagonal() else unpacked(covariance, self.means_.shape[1])

    @property
    def shrinkage_(self) -> float:
        """The shrinkage that is taken."""
        return self._shrunk()[1]

    def _check_arguments(self) -> None:
        check_positive("temperature", self.temperature)
        share = self.shrinkage
        number = isinstance(share, int | float) and not isinstance(share, bool)
        if share != "auto" and not (number and 0 < share <= 1):
            raise InputError(f'shrinkage must be above 0 … 1, or "auto"; received {share!r:.100}')
        if self.covariance not in ("shared", "diagonal"):
            raise InputError(f'covariance must be "shared" or "diagonal"; received {self.covariance!r:.100}')
        if self.priors not in ("uniform", "counts"):
            raise InputError(f'priors must be "uniform" or "counts"; received {self.priors!r:.100}')

    def _start(self, rows: Rows) -> None:
        width = rows.shape[1]
        self.means_ = np.zeros((0, width), rows.dtype)
        self.scatter_ = np.zeros(width if self.covariance == "diagonal" else width * (width + 1) // 2)

    def _sum(self, rows: Rows, codes: NDArray[np.int64], weights: NDArray[np.float64]) -> None:
        batch = class_means(rows, codes, weights)
        for part in gen_batches(len(rows), _ROWS):
            self._spread((rows[part] - batch.means[batch.inverse[part]]) * np.sqrt(weights[part])[:, None])
        before = self.counts_[batch.places]
        pull = before * batch.counts / np.where(before + batch.counts, before + batch.counts, 1)
        self._spread((batch.means - self.means_[batch.places]) * np.sqrt(pull)[:, None])
        batch.merge(self.counts_, self.means_)

    def _spread(self, deviations: NDArray[np.float64]) -> None:
        if self._is_diagonal():
            self.scatter_ += np.square(deviations).sum(axis=0)
        else:
            self.scatter_ = add_gram(self.scatter_, deviations)

    def _is_diagonal(self) -> bool:
        return self.covariance == "diagonal"

    def _shrunk(self) -> tuple[NDArray[np.float64], float]:
        """Σ as S is held, and the shrinkage."""
        n, width = self.counts_.sum(), self.means_.shape[1]
        identity = np.ones(width) if self._is_diagonal() else packed_identity(width)
        covariance = self.scatter_ / n
        variance = covariance @ identity / width
        if variance <= np.square(_ROUNDING * self.means_).mean():
            return identity, 1.0
        if self.shrinkage == "auto":
            diagonal = covariance * identity
            mean_square = (2 * covariance @ covariance - diagonal @ diagonal) / width**2
            spread = (n + 1) * (mean_square - variance**2 / width)
            share = min(1.0, float((mean_square + variance**2) / spread)) if spread > 0 else 1.0
        else:
            share = float(self.shrinkage)
        return (1 - share) * covariance + share * variance * identity, share

    def _solve(self) -> Solution:
        covariance, share = self._shrunk()
        means = np.asarray(self.means_, dtype=np.float64)
        width = means.shape[1]
        weights = means / covariance if self._is_diagonal() else solved(cholesky(covariance, width), means.T).T
        seen = self.counts_ > 0
        priors = self.counts_ / self.counts_.sum() if self.priors == "counts" else seen / seen.sum()
        offsets = np.log(np.where(seen, priors, 1)) - (weights * means).sum(axis=1) / 2
        return Solution(weights / self.temperature, offsets / self.temperature, share)
