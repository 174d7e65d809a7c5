"""Which pairs may be wrong: captions that do not fit their pictures, for a person to look at."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GroupKFold

from embedkit.errors import InputError
from embedkit.evaluation.pair_search import ROUNDING
from embedkit.heads import RidgeAligner
from embedkit.ops.vectors import as_embeddings, normalize

_LEAST = 10


@dataclass(frozen=True, eq=False)
class PairAudit:
    """How well each pair fits.

    Attributes:
        scores: (n,): cosine of a pair, -1 … 1.
        fits: (n,): probability that the pair is none of the wrong ones, by a mixture of two normal distributions of
            the scores; 1 for all where the scores do not differ.
    """

    scores: NDArray[np.float64]
    fits: NDArray[np.float64]

    def worst(self, count: int | None = None) -> NDArray[np.int64]:
        """Rows to look at, the worst first.

        Args:
            count: How many; None gives all rows.
        """
        return np.argsort(self.scores, kind="stable")[:count]


def audit_pairs(
    images: Any,
    texts: Any,
    *,
    groups: Sequence[Hashable] | None = None,
    folds: int | None = 5,
    seed: int = 0,
) -> PairAudit:
    """Tell how well each caption fits its picture.

    Nothing is left out of anything: on emoji, training on the pairs that the mixture keeps was worse than on all of
    them, wrong ones included. Look at `worst`, or weigh by `fits`.

    Args:
        images: (n, width).
        texts: (n, dim); row i belongs to picture i.
        groups: Pairs of one group, such as pictures of one thing, are kept in one fold, so that a wrong caption is not
            vouched for by its like.
        folds: The cosine is of the caption and of what a `RidgeAligner` makes of the picture that learnt from the
            other folds. None: both lie in one space already, and the cosine is theirs.
        seed: Of the folds and of the mixture.

    Returns:
        Scores and probabilities, in the order of the pairs.

    Raises:
        InputError: These are no pairs, fewer than 10, there are fewer groups than folds, or they have no common space.

    Example:
        >>> draw = np.random.default_rng(0)
        >>> pictures = draw.normal(size=(200, 8))
        >>> captions = pictures @ draw.normal(size=(8, 8))
        >>> captions[:3] = captions[[1, 2, 0]]
        >>> sorted(audit_pairs(pictures, captions).worst(3).tolist())
        [0, 1, 2]

    Reference:
        Y. Duan et al., "PC2: Pseudo-Classification Based Pseudo-Captioning for Noisy Correspondence Learning in
        Cross-Modal Retrieval", ACM MM 2024, for the mixture.

    Deviations:
        The scores are cosines of a closed-form map, not the losses of a network in training; nothing is thrown away.
    """
    one, other = as_embeddings(images, what="images"), as_embeddings(texts, what="texts")
    if len(one) != len(other) or len(one) < _LEAST:
        raise InputError(f"images and texts must be {_LEAST} pairs or more; received {len(one)} and {len(other)}")
    if folds is None and one.shape[1] != other.shape[1]:
        raise InputError(
            f"without folds images and texts must have one width; received {one.shape[1]} and {other.shape[1]}"
        )
    guessed = one if folds is None else _out_of_fold(one, other, groups, folds, seed)
    scores = (normalize(guessed).astype(np.float64) * normalize(other)).sum(axis=1)
    return PairAudit(scores, _fits(scores, seed))


def _out_of_fold(
    images: Any, texts: Any, groups: Sequence[Hashable] | None, folds: int, seed: int
) -> NDArray[np.float32]:
    """What a map that learnt from the other folds makes of each picture."""
    if isinstance(folds, bool) or not isinstance(folds, int) or folds < 2:
        raise InputError(f"folds must be a whole number from 2, or None; received {folds!r}")
    labels = list(range(len(images))) if groups is None else list(groups)
    if len(labels) != len(images) or len(set(labels)) < folds:
        raise InputError(
            f"groups must be one for each of {len(images)} pairs, and {folds} different ones or more; "
            f"received {len(labels)}, {len(set(labels))} of them different"
        )
    codes = {label: code for code, label in enumerate(dict.fromkeys(labels))}
    guessed = np.empty(texts.shape, dtype=np.float32)
    for known, asked in GroupKFold(folds, shuffle=True, random_state=seed).split(
        images, groups=[codes[label] for label in labels]
    ):
        guessed[asked] = RidgeAligner().fit(images[known], texts[known]).transform(images[asked])
    return guessed


def _fits(scores: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Probability of the component with the higher mean."""
    if np.ptp(scores) < ROUNDING:
        return np.ones(len(scores))
    rows = ((scores - scores.min()) / np.ptp(scores))[:, None]
    mixture = GaussianMixture(2, reg_covar=5e-4, random_state=seed).fit(rows)
    found: NDArray[np.float64] = mixture.predict_proba(rows)[:, int(mixture.means_.argmax())]
    return found
