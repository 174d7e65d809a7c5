"""How far apart pictures and texts lie in the space they share, and what that does to search."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedkit.errors import InputError
from embedkit.ops.vectors import as_embeddings, normalize


@dataclass(frozen=True)
class ModalityGap:
    """What pairs of vectors of two modalities say of their common space.

    Attributes:
        gap: Distance between the two means of the vectors, scaled to length 1; 0 … 2.
        matched: Mean cosine of a pair.
        random: Mean cosine of a picture and a text that are no pair.
        hubness: Skewness of how often a text is among the `k` nearest of a picture: high where few texts are near to
            everything; 0 where all are found equally often.
        own_images: Share of pictures among the `k` nearest others of a picture in one index of both; without a gap
            about one half, at 1 no text is ever found.
        own_texts: The same for a text, of texts.
        k: Of the neighbours.
    """

    gap: float
    matched: float
    random: float
    hubness: float
    own_images: float
    own_texts: float
    k: int

    def __str__(self) -> str:
        """One line a number."""
        lines = [
            ("distance of the means", self.gap),
            ("cosine of a pair", self.matched),
            ("cosine of no pair", self.random),
            ("hubness of texts (skewness)", self.hubness),
            (f"pictures among {self.k} neighbours of a picture", self.own_images),
            (f"texts among {self.k} neighbours of a text", self.own_texts),
        ]
        return "\n".join(f"{name:<42} {value:>6.3f}" for name, value in lines)


def modality_gap(images: Any, texts: Any, *, k: int = 10) -> ModalityGap:
    """Measure the gap between two modalities on vectors of pairs.

    Args:
        images: (n, dim).
        texts: (n, dim); row i belongs to picture i.
        k: Neighbours, 1 … n − 1.

    Returns:
        The measures; all of them are the same after one rotation of both.

    Raises:
        InputError: These are no pairs of one width, there are fewer than two, or k is out of range.

    Example:
        >>> found = modality_gap([[1, 0], [0, 1]], [[1, 0], [0, 1]], k=1)
        >>> found.gap, found.matched, found.random
        (0.0, 1.0, 0.0)

    Reference:
        W. Liang et al., "Mind the Gap: Understanding the Modality Gap in Multi-modal Contrastive Representation
        Learning", NeurIPS 2022, for the gap; M. Radovanović et al., "Hubs in Space", JMLR 2010, for hubness.
    """
    one, other = as_embeddings(images, what="images"), as_embeddings(texts, what="texts")
    if one.shape != other.shape or len(one) < 2:
        raise InputError(
            f"images and texts must be two pairs or more, of one width; received shapes {one.shape} and {other.shape}"
        )
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k < len(one):
        raise InputError(f"k must be a whole number, 1 … {len(one) - 1}; received {k!r}")
    one, other = normalize(one).astype(np.float64), normalize(other).astype(np.float64)
    count, means = len(one), (one.mean(axis=0), other.mean(axis=0))
    matched = float((one * other).sum(axis=1).mean())
    across, within, among = one @ other.T, one @ one.T, other @ other.T
    found = np.bincount(_nearest(across, k).ravel(), minlength=count).astype(np.float64)
    spread = found.std()
    return ModalityGap(
        gap=float(np.linalg.norm(means[0] - means[1])),
        matched=matched,
        random=float((count * (means[0] @ means[1]) - matched) / (count - 1)),
        hubness=float((((found - found.mean()) / spread) ** 3).mean()) if spread else 0.0,
        own_images=_own_share(within, across, k),
        own_texts=_own_share(among, across.T, k),
        k=k,
    )


def _nearest(scores: NDArray[np.float64], k: int) -> NDArray[np.int64]:
    return np.argpartition(-scores, k - 1, axis=1)[:, :k]


def _own_share(own: NDArray[np.float64], others: NDArray[np.float64], k: int) -> float:
    """Share of the same modality among the nearest of both, itself left out."""
    own = own.copy()
    np.fill_diagonal(own, -np.inf)
    return float((_nearest(np.hstack([own, others]), k) < len(own)).mean())
