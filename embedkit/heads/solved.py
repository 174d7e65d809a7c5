"""What classifiers share whose weights are solved for from sums."""

from abc import abstractmethod
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from embedkit.heads.additive import AdditiveClassifier
from embedkit.heads.scoring import Rows


class Solution(NamedTuple):
    """Weights of each class, (classes, features), what is added, (classes,), and how strongly they were penalised."""

    weights: NDArray[np.float64]
    offsets: NDArray[np.float64]
    strength: float


class SolvedClassifier(AdditiveClassifier):
    """An additive classifier whose scores are linear; its weights are solved for when they are first asked for.

    So many small parts cost no more than their sums, and only the sums are kept.
    """

    @abstractmethod
    def _solve(self) -> Solution:
        """The weights that follow from the sums; what classes without rows get does not matter."""

    @abstractmethod
    def _sum(self, rows: Rows, codes: NDArray[np.int64], weights: NDArray[np.float64]) -> None:
        """Learn from rows whose classes stand at `codes` in `classes_`, `counts_` included."""

    def _features(self, rows: Rows) -> NDArray[np.float64]:
        """What the weights are multiplied with, (n, features)."""
        return np.asarray(rows, dtype=np.float64)

    def _add(self, rows: Rows, codes: NDArray[np.int64], weights: NDArray[np.float64]) -> None:
        _SOLUTIONS.pop(self, None)
        self._sum(rows, codes, weights)

    def _solution(self) -> Solution:
        arguments = repr(self.get_params(deep=False))
        held = _SOLUTIONS.get(self)
        if held is None or held[0] != arguments:
            self._check_arguments()
            held = _SOLUTIONS[self] = arguments, self._solve()
        return held[1]

    def _scores(self, rows: Rows) -> NDArray[np.float64]:
        solution = self._solution()
        scores = self._features(rows) @ solution.weights.T + solution.offsets
        scores[:, self.counts_ == 0] = -np.inf
        return scores


# Beside the estimators: scoring must not change one, and what can be solved for again is no part of what it learnt.
_SOLUTIONS: WeakKeyDictionary[SolvedClassifier, tuple[str, Solution]] = WeakKeyDictionary()
