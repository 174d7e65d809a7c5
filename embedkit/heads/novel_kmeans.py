"""Novel classes as clusters of k-means that begin away from the known ones."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import pairwise_distances_argmin
from sklearn.utils import check_random_state

from embedkit.heads.novel_classes import NovelClassHead, Rows, check_count
from embedkit.ops.cluster_number import cluster_number
from embedkit.ops.pinned_clusters import class_centres, pinned_kmeans


class NovelClassKMeans(NovelClassHead):
    """k-means of the rows without a class, which begins away from the classes that are known.

        first centres: of a few rows drawn in proportion to min_c ‖x − centre_c‖², over known and novel centres so far,
            that which leaves the least sum of squared distances from novel ones
        then k-means, whose centres are the novel classes

    All rows without a class are taken to be of novel classes, as in novel class discovery; a known class only keeps
    new ones from beginning where it is. Where such rows may also be of known classes (generalised discovery), which is
    the usual case with data that nobody has sorted, set `known_in_unlabelled`: they then go to the nearest centre of
    all, and the centre of a known class is the mean of its own rows and of those that came.

    Without any known class both are k-means, and on vectors of a strong encoder k-means of the rows without a class is
    as accurate; what is added is names, the number and its range, and rows that may be of known classes. Vectors are
    taken as they are: bring them to length 1 before, where their cosine counts.

    Args:
        num_novel: Novel classes. None estimates it: from 2, or fewer beside known classes that rows may be of, to
            `max_novel`, that of the largest mean silhouette of the rows without a class.
        max_novel: The most that are tried.
        known_in_unlabelled: Whether rows without a class may be of a known one.
        num_init: As many beginnings are tried for each number; that of the least sum of squares is kept.
        random_state: Where beginnings are drawn from.

    Attributes:
        known_classes_: Those that y names, sorted.
        novel_classes_: Names of those that were found: the integers after the largest known one, from 0; where classes
            are texts "novel 0", "novel 1" and so on, without such as are known classes.
        labels_: The class of each row of X, (n,); a row that has one keeps it.
        num_novel_: How many novel classes there are.
        num_novel_range_: The least and the largest number that is likely; it holds what would win in 90 % of the draws
            of such clusters. Trust it more than the number. Twice the same where the number was given.
        k_scores_: Mean silhouette by number; empty where the number was given.
        cluster_centers_: Of known classes, then of novel ones, (classes, width); `predict` gives the nearest.

    Raises:
        InputError: At `fit`, an argument is out of range, or more classes are asked for than there are rows.

    Example:
        >>> X = [[0.0, 0.0], [0.0, 1.0], [9.0, 0.0], [9.0, 1.0], [0.0, 9.0]]
        >>> head = NovelClassKMeans(num_novel=2, random_state=0)
        >>> head.fit_predict(X, np.array(["near", "near", -1, -1, -1], dtype=object)).tolist()[:4]
        ['near', 'near', 'novel 0', 'novel 0']
        >>> head.predict([[0.0, 0.4]]).tolist()
        ['near']

    Reference:
        C. Troisemaine et al., "A Practical Approach to Novel Class Discovery in Tabular Data", Data Mining and
        Knowledge Discovery, 2024; for `known_in_unlabelled`, S. Vaze et al., "Generalized Category Discovery",
        CVPR 2022.

    Deviations:
        Rows are drawn by squared distances, the first paper's code takes distances; and of several drawn ones the best
        is taken, as scikit-learn does. Silhouettes of more than 2,000 rows are those of 2,000 drawn ones.
    """

    def __init__(
        self,
        *,
        num_novel: int | None = None,
        max_novel: int = 30,
        known_in_unlabelled: bool = False,
        num_init: int = 10,
        random_state: Any = None,
    ) -> None:
        self.num_novel = num_novel
        self.max_novel = max_novel
        self.known_in_unlabelled = known_in_unlabelled
        self.num_init = num_init
        self.random_state = random_state

    def _discovered(self, rows: Rows, known: NDArray[np.int64]) -> NDArray[np.int64]:
        check_count("num_init", self.num_init, 1)
        num_free = int((known < 0).sum())
        choices = self._choices(num_free)
        seed = check_random_state(self.random_state).randint(2**31)
        # Each number begins anew, so that it is the same whether it was given or found.
        tried = {each: self._clustered(rows, known, each, np.random.RandomState(seed)) for each in choices}
        number, self.k_scores_ = choices[0], {}
        self.num_novel_range_ = (number, number)
        if len(choices) > 1:
            # Without known classes within reach only the rows to be sorted have neighbours that count.
            some = np.ones(len(rows), dtype=bool) if self.known_in_unlabelled else known < 0
            partitions = {each: codes[some] for each, (codes, _) in tried.items()}
            chosen = cluster_number(rows[some], partitions, np.random.RandomState(seed), counted=known[some] < 0)
            number, self.k_scores_ = chosen.best, chosen.scores
            self.num_novel_range_ = (chosen.low, chosen.high)
        self.num_novel_ = number
        codes, self.cluster_centers_ = tried[number]
        return codes

    def _nearest(self, rows: Rows) -> NDArray[np.int64]:
        codes: NDArray[np.int64] = pairwise_distances_argmin(rows, self.cluster_centers_.astype(rows.dtype))
        return codes

    def _clustered(
        self, rows: Rows, known: NDArray[np.int64], number: int, draw: np.random.RandomState
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The class of each row, and all centres."""
        num_known = len(self.known_classes_)
        if self.known_in_unlabelled:
            found = pinned_kmeans(rows, num_known + number, draw, pinned=known, num_init=self.num_init)
            return found.codes, found.centres
        centres, codes = class_centres(rows, known, num_known), known.copy()
        if number:
            found = pinned_kmeans(rows[known < 0], number, draw, away_from=centres, num_init=self.num_init)
            codes[known < 0] = num_known + found.codes
            centres = np.vstack([centres, found.centres])
        return codes, centres

    def _choices(self, num_free: int) -> list[int]:
        """Numbers of novel classes that are tried."""
        num_known = len(self.known_classes_) if self.known_in_unlabelled else 0
        least = 0 if num_known else min(1, num_free)
        if self.num_novel is not None:
            check_count("num_novel", self.num_novel, least, num_free)
            return [int(self.num_novel)]
        check_count("max_novel", self.max_novel, 1)
        # Silhouettes compare two clusters at least; where there are too few rows for two nothing is compared.
        return list(range(max(2 - num_known, 0), min(self.max_novel, num_free - 1) + 1)) or [least]
