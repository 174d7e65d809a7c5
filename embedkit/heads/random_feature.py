"""Ridge regression on random features: a wide one-layer network whose last layer alone is learnt, in closed form."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.preprocessing import normalize
from sklearn.utils import check_random_state, gen_batches

from embedkit.errors import InputError
from embedkit.heads.additive import add_sums
from embedkit.heads.packed import Packed, add_gram, cholesky, inverse, packed_identity, solved
from embedkit.heads.scoring import ROWS, Rows, check_positive
from embedkit.heads.solved import Solution, SolvedClassifier


class RandomFeatureClassifier(SolvedClassifier):
    """Ridge regression on random features (RanPAC), part by part, with new classes at any time.

        H = max(0, U R),   U = the rows of X at length 1,   R ~ N(0, 1), (width, num_features)
        G = Hᵀ H,   Q = Hᵀ Y,   Y = 1 where a row is of a class, else 0
        W = (G + λ I)⁻¹ Q,   λ = alpha · mean_i ‖H_i‖²
        score_c(x) = max(0, x R / ‖x‖) W_c / temperature,   p(c | x) = softmax_c(score_c)

    G and Q are sums over rows, so that all parts and orders give the same. So does the choice among several alpha:
    least generalised cross-validation error, in place of that on rows held out of the last part,

        (n − tr(Wᵀ Q) − λ ‖W‖²) / n / (1 − tr(G (G + λ I)⁻¹) / n)²

    Memory is num_features² / 2 numbers of 8 bytes, and num_features a class. Weights are solved for when first asked
    for, in num_features³ steps for each alpha.

    Args:
        num_features: Columns of R; 0: H are the rows U themselves.
        alpha: Strength of the penalty, above 0; of several, the one with the least error.
        temperature: What scores are divided by, above 0. Scores of ridge regression are near 1 for the right class
            and 0 for others and no logarithms of odds, so that probabilities are rough; the default suited parts of the
            training rows of Banking77 and CLINC150 that were held out.
        random_state: An integer, a `RandomState` or None; draws R, which is not kept but drawn anew from `seed_`.

    Attributes:
        classes_: (classes,), sorted.
        counts_: How many rows of each class were seen, or what they weighed, (classes,).
        gram_: G, as the upper triangle of `embedkit.heads.packed`.
        sums_: Qᵀ, (classes, features).
        seed_: What R is drawn from.

    Example:
        >>> classifier = RandomFeatureClassifier(num_features=100, random_state=0)
        >>> classifier = classifier.fit([[1.0, 0.0], [-1.0, 0.0]], ["right", "left"])
        >>> classifier.partial_fit([[0.0, 1.0], [0.0, -1.0]], ["up", "down"]).predict([[0.2, -3.0]]).tolist()
        ['down']

    Reference:
        M. D. McDonnell et al., "RanPAC: Random Projections and Pre-trained Models for Continual Learning", NeurIPS
        2023; G. H. Golub, M. Heath, G. Wahba, "Generalized Cross-Validation as a Method for Choosing a Good Ridge
        Parameter", Technometrics, 1979.

    Deviations:
        The authors choose λ on a fifth of the rows of the current task, so that it depends on the order of tasks.
        Rows are brought to length 1: there is no intercept, so that length would decide no row's class, and only give
        long rows more say. The penalty is in units of the features, so that alpha does not change with their number.
    """

    _per_class: ClassVar[tuple[str, ...]] = ("counts_", "sums_")

    def __init__(
        self,
        *,
        num_features: int = 2000,
        alpha: float | Sequence[float] = (0.001, 0.01, 0.1, 1.0, 10.0),
        temperature: float = 0.05,
        random_state: Any = 0,
    ) -> None:
        self.num_features = num_features
        self.alpha = alpha
        self.temperature = temperature
        self.random_state = random_state

    @property
    def alpha_(self) -> float:
        """The alpha that is taken."""
        return self._solution().strength

    def _check_arguments(self) -> None:
        k = self.num_features
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 0:
            raise InputError(f"num_features must be 0 or more; received {k!r:.100}")
        check_positive("temperature", self.temperature)
        if not self._alphas():
            raise InputError("alpha must be a number above 0, or several; received none")
        for each in self._alphas():
            check_positive("alpha", each)

    def _alphas(self) -> list[Any]:
        several = isinstance(self.alpha, Sequence | np.ndarray) and not isinstance(self.alpha, str)
        return list(self.alpha) if several else [self.alpha]  # type: ignore[arg-type]  # several: it is a sequence

    def _start(self, rows: Rows) -> None:
        self.seed_ = int(check_random_state(self.random_state).randint(2**31 - 1))
        features = self.num_features or rows.shape[1]
        self.gram_ = np.zeros(features * (features + 1) // 2)
        self.sums_ = np.zeros((0, features))

    def _features(self, rows: Rows) -> NDArray[np.float64]:
        units: NDArray[np.float64] = normalize(np.asarray(rows, dtype=np.float64))
        if not self.num_features:
            return units
        features: NDArray[np.float64] = units @ _directions(self.seed_, units.shape[1], self.num_features)
        return np.maximum(features, 0, out=features)

    def _sum(self, rows: Rows, codes: NDArray[np.int64], weights: NDArray[np.float64]) -> None:
        for part in gen_batches(len(rows), ROWS):
            features = self._features(rows[part])
            add_sums(self.sums_, features, codes[part], weights[part])
            self.gram_ = add_gram(self.gram_, features * np.sqrt(weights[part])[:, None])
        self.counts_ += np.bincount(codes, weights, len(self.counts_))

    def _solve(self) -> Solution:
        features = self.sums_.shape[1]
        identity = packed_identity(features)
        mean_square = self.gram_ @ identity / self.counts_.sum() or 1.0
        best = np.inf, np.empty(0), 0.0
        for alpha in self._alphas():
            factor = cholesky(self.gram_ + alpha * mean_square * identity, features)
            weights = solved(factor, self.sums_.T).T
            error = self._error(weights, factor, alpha * mean_square, identity) if len(self._alphas()) > 1 else 0.0
            best = min(best, (error, weights, alpha), key=lambda each: each[0])
        _, weights, alpha = best
        return Solution(weights / self.temperature, np.zeros(len(weights)), float(alpha))

    def _error(self, weights: NDArray[np.float64], factor: Packed, penalty: float, identity: Packed) -> float:
        """Of generalised cross-validation; tr(G (G + λ I)⁻¹) is the number of features − λ tr((G + λ I)⁻¹)."""
        n, features = self.counts_.sum(), self.sums_.shape[1]
        squares = n - np.vdot(weights, self.sums_) - penalty * np.vdot(weights, weights)
        freedom = features - penalty * (inverse(factor, features) @ identity)
        return float(squares / n / (1 - freedom / n) ** 2)


@lru_cache(maxsize=4)
def _directions(seed: int, width: int, features: int) -> NDArray[np.float64]:
    """R: numpy draws the same from a seed in all versions."""
    drawn: NDArray[np.float64] = check_random_state(seed).standard_normal((width, features))
    return drawn
