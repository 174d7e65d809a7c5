"""Novel classes as Gaussians beside known ones, and how many there are by splitting and merging."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.utils import check_random_state

from embedkit.errors import InputError
from embedkit.heads.novel_classes import NovelClassHead, Rows, check_count
from embedkit.ops.normal_inverse_wishart import NormalInverseWishart
from embedkit.ops.pinned_clusters import pinned_kmeans
from embedkit.ops.split_merge import SplitMerge


class SemiSupervisedGaussianMixture(NovelClassHead):
    """Gaussian classes, some of which have named rows; clusters split and merge until their number suits the rows.

        z = the first num_components principal components of x, about their mean; s² = their mean variance
        Σ_c ~ IW(d · prior_scale · s² I, 2d + 1),   μ_c ~ N(0, Σ_c / prior_scale),   d = num_components
        split c into a, b with probability min(1, exp(H)),   merge a, b into c with probability min(1, exp(−H))
        H = log Γ(n_a) + f(a) + log Γ(n_b) + f(b) − log Γ(n_c) − f(c)

    with f the log density of a cluster's rows, mean and covariance integrated out. It begins with k-means in which
    named rows stay in their class; then rows go where n_c · predictive density is largest, clusters split, and nearest
    ones merge, until nothing changes. A named row never leaves its class, two known classes never merge, and a row
    without a class may be of a known one. By this prior a class is expected to have prior_scale · s² of variance, as
    firmly as d rows would say so, and means to lie as far apart as rows do.

    How many classes there are depends on how wide a class is expected to be, and on where it began. Of several scales
    the one under which the rows are likeliest is taken, but read `num_novel_range_`: classes that are no Gaussians,
    such as handwritten digits, come out as several. On vectors of texts k-means in all dimensions is more accurate
    where the number is known (`NovelClassKMeans` with `known_in_unlabelled`); this is for finding it.

    Args:
        num_novel: Novel classes. None finds it: rows begin in known classes alone, or one, and in `max_novel` more.
        max_novel: The most there may be.
        prior_scale: How wide a class is expected to be, as a share of the variance of all rows, above 0; or several.
        num_components: Of the principal components that it works in. In hundreds of dimensions a covariance cannot be
            learnt from the rows of a class.
        random_state: Where beginnings and acceptances are drawn from.

    Attributes:
        known_classes_: Those that y names, sorted.
        novel_classes_: Names of those that were found: the integers after the largest known one, from 0; where classes
            are texts "novel 0", "novel 1" and so on, without such as are known classes.
        labels_: The class of each row of X, (n,); a row that has one keeps it.
        num_novel_: How many novel classes there are: the last number, which `labels_` has.
        num_novel_range_: The least and the largest number from both beginnings, at the scale that was taken and at
            those beside it.
        num_novel_by_scale_: The same at each scale alone.
        evidence_: Log density of the rows in their clusters, by scale.
        prior_scale_: The scale that was taken.
        pca_: scikit-learn's `PCA`.
        counts_: Rows of each class, known ones first, (classes,).
        means_: What is believed of the mean of each, (classes, d).
        strengths_: Of how many rows that is worth, (classes,).
        scatters_: (classes, d, d).
        dofs_: Degrees of freedom of the covariance, (classes,).

    Raises:
        InputError: At `fit`, an argument is out of range, or there is one row only.

    Example:
        >>> draw = np.random.default_rng(0)
        >>> X = np.concatenate([draw.normal(place, 0.1, size=(20, 2)) for place in (0, 1, 2)])
        >>> y = np.repeat([5, -1, -1], 20)
        >>> head = SemiSupervisedGaussianMixture(random_state=0).fit(X, y)
        >>> head.num_novel_, head.predict([[0.0, 0.1], [2.0, 2.0]]).tolist() in ([5, 6], [5, 7])
        (2, True)

    Reference:
        B. Zhao, X. Wen, K. Han, "Learning Semi-supervised Gaussian Mixture Models for Generalized Category Discovery",
        ICCV 2023; J. Chang, J. W. Fisher III, "Parallel Sampling of DP Mixture Models using Sub-Clusters Splits",
        NIPS 2013, for H.

    Deviations:
        The paper alternates this with training the vectors. Its code also accepts one move in ten whatever H is, keeps
        clusters that merged, so that their number only grows, works in all dimensions with one scale for all data, and
        moves rows by k-means.
    """

    def __init__(
        self,
        *,
        num_novel: int | None = None,
        max_novel: int = 30,
        prior_scale: float | Sequence[float] = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6),
        num_components: int = 12,
        random_state: Any = None,
    ) -> None:
        self.num_novel = num_novel
        self.max_novel = max_novel
        self.prior_scale = prior_scale
        self.num_components = num_components
        self.random_state = random_state

    def _discovered(self, rows: Rows, known: NDArray[np.int64]) -> NDArray[np.int64]:
        scales = _scales(self.prior_scale)
        check_count("num_components", self.num_components, 1)
        starts = self._starts(int((known < 0).sum()))
        if len(rows) < 2:
            raise InputError(f"a covariance needs 2 rows; received n_samples={len(rows)}")
        seed = check_random_state(self.random_state).randint(2**31)
        with np.errstate(invalid="ignore"):  # rows that are all the same have no share of the variance
            self.pca_ = PCA(min(self.num_components, *rows.shape), random_state=seed).fit(rows)
        reduced = self._reduced(rows)
        variance = float(reduced.var(axis=0).mean()) or 1.0
        tried = {
            scale: [self._begun(reduced, known, _belief(scale, variance, reduced), each, seed) for each in starts]
            for scale in scales
        }
        codes = self._choose(tried)
        self._keep(reduced, codes, _belief(self.prior_scale_, variance, reduced))
        return codes

    def _starts(self, num_free: int) -> list[int]:
        """Numbers of novel classes it begins with."""
        least = 0 if len(self.known_classes_) else 1
        if self.num_novel is not None:
            check_count("num_novel", self.num_novel, least, num_free)
            return [int(self.num_novel)]
        check_count("max_novel", self.max_novel, 1)
        return sorted({min(least, num_free), min(self.max_novel, num_free)})

    def _begun(
        self,
        reduced: NDArray[np.float64],
        known: NDArray[np.int64],
        belief: NormalInverseWishart,
        start: int,
        seed: int,
    ) -> tuple[NDArray[np.int64], float]:
        """Clusters from one beginning, and how likely they are."""
        draw = np.random.RandomState(seed)
        begun = pinned_kmeans(reduced, len(self.known_classes_) + start, draw, pinned=known).codes
        search = SplitMerge(reduced, known, belief, draw, self.max_novel)
        return search.run(begun) if self.num_novel is None else search.settled(begun)

    def _choose(self, tried: dict[float, list[tuple[NDArray[np.int64], float]]]) -> NDArray[np.int64]:
        num_known, scales = len(self.known_classes_), list(tried)
        numbers = [[int(codes.max()) + 1 - num_known for codes, _ in found] for found in tried.values()]
        likeliest = [max(found, key=lambda each: each[1]) for found in tried.values()]
        self.evidence_ = {scale: evidence for scale, (_, evidence) in zip(scales, likeliest, strict=True)}
        self.num_novel_by_scale_ = {each: (min(some), max(some)) for each, some in zip(scales, numbers, strict=True)}
        place = int(np.argmax(list(self.evidence_.values())))
        beside = [number for some in numbers[max(place - 1, 0) : place + 2] for number in some]
        codes = likeliest[place][0]
        self.prior_scale_ = scales[place]
        self.num_novel_ = int(codes.max()) + 1 - num_known
        self.num_novel_range_ = (min(beside), max(beside))
        return codes

    def _keep(self, reduced: NDArray[np.float64], codes: NDArray[np.int64], belief: NormalInverseWishart) -> None:
        """What is believed of each class."""
        after = [belief.updated(reduced[codes == cluster]) for cluster in range(int(codes.max()) + 1)]
        self.counts_ = np.bincount(codes)
        self.means_ = np.array([each.mean for each in after])
        self.strengths_ = np.array([each.strength for each in after])
        self.scatters_ = np.array([each.scatter for each in after])
        self.dofs_ = np.array([each.dof for each in after])

    def _nearest(self, rows: Rows) -> NDArray[np.int64]:
        reduced = self._reduced(rows)
        kept = zip(self.counts_, self.means_, self.strengths_, self.scatters_, self.dofs_, strict=True)
        likely = [
            np.log(count) + NormalInverseWishart(mean, float(strength), scatter, float(dof)).log_predictive(reduced)
            for count, mean, strength, scatter, dof in kept
        ]
        codes: NDArray[np.int64] = np.argmax(likely, axis=0)
        return codes

    def _reduced(self, rows: Rows) -> NDArray[np.float64]:
        reduced: NDArray[np.float64] = self.pca_.transform(rows).astype(np.float64, copy=False)
        return reduced


def _belief(scale: float, variance: float, reduced: NDArray[np.float64]) -> NormalInverseWishart:
    width = reduced.shape[1]
    scatter = width * scale * variance * np.eye(width)
    return NormalInverseWishart(reduced.mean(axis=0), scale, scatter, 2.0 * width + 1)


def _scales(prior_scale: Any) -> list[float]:
    several = isinstance(prior_scale, Sequence) and not isinstance(prior_scale, str)
    numbers = list(prior_scale) if several else [prior_scale]
    right = all(isinstance(each, int | float) and not isinstance(each, bool) and 0 < each < np.inf for each in numbers)
    if not numbers or not right:
        raise InputError(f"prior_scale must be a number above 0, or several; received {prior_scale!r:.100}")
    return sorted({float(each) for each in numbers})
