"""Clusters that split in two and merge where that makes rows likelier, until nothing changes."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from embedkit.ops.normal_inverse_wishart import NormalInverseWishart
from embedkit.ops.pinned_clusters import class_centres, pinned_kmeans

_ROUNDS, _MOVES = 40, 2


def split_gain(belief: NormalInverseWishart, one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """By how much two clusters are likelier than the one they are together, as a logarithm; minus that is a merge's.

        H = log Γ(n) + f(one) + log Γ(m) + f(other) − log Γ(n + m) − f(both)

    with f the log marginal of the rows of a cluster, and Γ what a Dirichlet process of concentration 1 gives its size.

    Args:
        belief: What is believed of each cluster.
        one: (n, d), at least one row.
        other: (m, d), at least one row.

    Example:
        >>> belief = NormalInverseWishart(np.zeros(1), 1.0, np.eye(1), 3.0)
        >>> near, far = np.array([[-1.0], [-1.1]]), np.array([[9.0], [9.1]])
        >>> split_gain(belief, near, far) > 0, split_gain(belief, near[:1], near[1:]) > 0
        (True, False)
    """
    both = np.vstack([one, other])
    return sum(sign * _score(belief, rows) for sign, rows in ((1, one), (1, other), (-1, both)))


class SplitMerge:
    """Clusters as Gaussians whose means and covariances are integrated out, in some of which rows are held.

    Args:
        rows: (n, d).
        pinned: The cluster of each row, 0 … as many as are named, −1 where it is free, (n,). A named cluster is never
            split so that its held rows part, and no two of them merge.
        belief: What is believed of each cluster.
        draw: Where beginnings and acceptances are drawn from.
        max_free: The most clusters there may be without held rows.
    """

    def __init__(
        self,
        rows: NDArray[np.float64],
        pinned: NDArray[np.int64],
        belief: NormalInverseWishart,
        draw: np.random.RandomState,
        max_free: int,
    ) -> None:
        self.rows, self.pinned, self.belief, self.draw = rows, pinned, belief, draw
        self.num_held = int(pinned.max(initial=-1)) + 1
        self.most = self.num_held + max_free
        self._scores: dict[bytes, float] = {}
        self._whole: set[bytes] = set()

    def evidence(self, codes: NDArray[np.int64]) -> float:
        """How likely rows and clusters are together: Σ_c log Γ(n_c) + f(c)."""
        return sum(self._score(np.flatnonzero(codes == cluster)) for cluster in range(_count(codes)))

    def run(self, codes: NDArray[np.int64]) -> tuple[NDArray[np.int64], float]:
        """Move rows, split and merge until nothing changes; the likeliest clusters on the way, and their evidence.

        Args:
            codes: Where to begin, (n,): held clusters first, none of the others empty.
        """
        best, most = codes, self.evidence(codes)
        for _ in range(_ROUNDS):
            before = codes
            codes = self.merged(self.split(self.moved(codes)))
            if np.array_equal(codes, before):
                break
            if (reached := self.evidence(codes)) > most:
                best, most = codes, reached
        return best, most

    def settled(self, codes: NDArray[np.int64]) -> tuple[NDArray[np.int64], float]:
        """Move rows until nothing changes or a cluster would be left empty; the clusters, and their evidence.

        Args:
            codes: As in `run`.
        """
        for _ in range(_ROUNDS):
            moved = self.moved(codes)
            if _count(moved) < _count(codes) or np.array_equal(moved, codes):
                break
            codes = moved
        return codes, self.evidence(codes)

    def split(self, codes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Each cluster in two, by k-means with its held rows on one side, with probability min(1, exp(H))."""
        parted, number = codes.copy(), _count(codes)
        for cluster in range(number):
            inside = np.flatnonzero(codes == cluster)
            held = self.pinned[inside] >= 0
            # What was refused is not asked again before a row comes or goes.
            if number == self.most or len(inside) < 2 or held.all() or inside.tobytes() in self._whole:
                continue
            halves = pinned_kmeans(self.rows[inside], 2, self.draw, pinned=np.where(held, 0, -1)).codes
            first, second = inside[halves == 0], inside[halves == 1]
            if len(first) and len(second) and self._is_taken(self._gain(first, second)):
                parted[second] = number
                number += 1
            else:
                self._whole.add(inside.tobytes())
        return parted

    def merged(self, codes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Each cluster with its nearest, nearest pairs first and none twice, with probability min(1, exp(−H))."""
        joined, taken = codes.copy(), set[int]()
        for first, second in self._neighbours(codes):
            if first in taken or second in taken:
                continue
            one, other = np.flatnonzero(codes == first), np.flatnonzero(codes == second)
            if self._is_taken(-self._gain(one, other)):
                joined[other] = first  # the smaller number: a held cluster takes in a free one
                taken |= {first, second}
        return self._without_gaps(joined)

    def moved(self, codes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Free rows to where they are likeliest, by n_c · predictive density; clusters left empty are no more."""
        free = self.pinned < 0
        for _ in range(_MOVES):
            inside = [np.flatnonzero(codes == cluster) for cluster in range(_count(codes))]
            likely = [self.belief.updated(self.rows[some]).log_predictive(self.rows[free]) for some in inside]
            weights = np.log([max(len(some), 1) for some in inside])
            moved = codes.copy()
            moved[free] = (np.array(likely) + weights[:, None]).argmax(axis=0)
            codes, before = self._without_gaps(moved), codes
            if np.array_equal(codes, before):
                break
        return codes

    def _neighbours(self, codes: NDArray[np.int64]) -> list[tuple[int, int]]:
        """Each cluster with the nearest that it may merge with, the smaller number first; nearest pairs first."""
        centres = class_centres(self.rows, codes, _count(codes))
        apart = np.square(centres[:, None] - centres).sum(axis=2)
        np.fill_diagonal(apart, np.inf)
        apart[: self.num_held, : self.num_held] = np.inf
        nearest = apart.argmin(axis=1).tolist() if len(apart) else []
        pairs = {(min(pair), max(pair)) for pair in enumerate(nearest) if np.isfinite(apart[pair])}
        return sorted(pairs, key=lambda pair: (float(apart[pair]), pair))

    def _without_gaps(self, codes: NDArray[np.int64]) -> NDArray[np.int64]:
        free = codes >= self.num_held
        closed = codes.copy()
        closed[free] = self.num_held + np.unique(codes[free], return_inverse=True)[1]
        return closed

    def _gain(self, one: NDArray[np.int64], other: NDArray[np.int64]) -> float:
        both = np.sort(np.concatenate([one, other]))
        return self._score(one) + self._score(other) - self._score(both)

    def _score(self, some: NDArray[np.int64]) -> float:
        key = some.tobytes()
        if key not in self._scores:
            self._scores[key] = _score(self.belief, self.rows[some])
        return self._scores[key]

    def _is_taken(self, gain: float) -> bool:
        return bool(np.log(self.draw.uniform()) < gain)


def _score(belief: NormalInverseWishart, rows: NDArray[np.float64]) -> float:
    return float(gammaln(max(len(rows), 1))) + belief.log_marginal(rows)


def _count(codes: NDArray[np.int64]) -> int:
    return int(codes.max(initial=-1)) + 1
