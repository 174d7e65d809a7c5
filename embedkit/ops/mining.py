"""Which triplets of a labelled batch a loss looks at: miners.

A miner takes embeddings (n, dim) and labels (n,) and gives the rows of anchors, positives and negatives as three
tensors of one length, sorted by anchor, then positive; there may be none. The positive is another row of the anchor's
class, the negative a row of another class. All compare by the cosine, or by d = √(2 − 2 cosine), which is the Euclidean
distance of rows scaled to length 1; a row without direction has cosine 0 to all. No gradient flows through the choice.
"""

import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor

from embedkit.errors import InputError
from embedkit.ops.labels import masked_softmax, same_class
from embedkit.ops.similarity import cosine_similarity

_LEAST = 1e-8  # of 1 − d²/4, whose logarithm is taken


def all_triplets(
    embeddings: Float[Tensor, "n dim"], labels: Shaped[Tensor, "n"]
) -> tuple[Int64[Tensor, "t"], Int64[Tensor, "t"], Int64[Tensor, "t"]]:
    """Every anchor with every other row of its class and every row of another class.

    Takes n numbers of memory for each pair of one class.

    Args:
        embeddings: (n, dim); only the labels are looked at.
        labels: (n,), integers.

    Returns:
        Anchors, positives and negatives.

    Example:
        >>> anchors, positives, negatives = all_triplets(torch.ones(3, 2), torch.tensor([5, 5, 8]))
        >>> anchors.tolist(), positives.tolist(), negatives.tolist()
        ([0, 1], [1, 0], [2, 2])
    """
    positives, negatives = same_class(labels)
    anchors, others = positives.nonzero(as_tuple=True)
    pairs, found = negatives[anchors].nonzero(as_tuple=True)
    return anchors[pairs], others[pairs], found


def hard_triplets(
    embeddings: Float[Tensor, "n dim"], labels: Shaped[Tensor, "n"]
) -> tuple[Int64[Tensor, "t"], Int64[Tensor, "t"], Int64[Tensor, "t"]]:
    """Each anchor with its farthest positive and its nearest negative ("batch hard").

    Anchors that lack either are left out.

    Args:
        embeddings: (n, dim).
        labels: (n,), integers.

    Returns:
        Anchors, positives and negatives.

    Example:
        >>> embeddings = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [-1.0, 0.0]])
        >>> anchors, positives, negatives = hard_triplets(embeddings, torch.tensor([0, 0, 0, 1]))
        >>> anchors.tolist(), positives.tolist(), negatives.tolist()
        ([0, 1, 2], [2, 2, 0], [3, 3, 3])

    Reference:
        A. Hermans et al., "In Defense of the Triplet Loss for Person Re-Identification", arXiv 1703.07737, 2017, Eq. 5.

    Deviations:
        By the cosine, where the paper takes the distance of rows of any length.
    """
    positives, negatives = same_class(labels)
    anchors = (positives.any(dim=1) & negatives.any(dim=1)).nonzero().squeeze(1)
    if not len(anchors):
        return anchors, anchors, anchors
    cosines = _cosines(embeddings)[anchors]
    farthest = cosines.masked_fill(~positives[anchors], torch.inf).argmin(dim=1)
    nearest = cosines.masked_fill(~negatives[anchors], -torch.inf).argmax(dim=1)
    return anchors, farthest, nearest


def semi_hard_triplets(
    embeddings: Float[Tensor, "n dim"], labels: Shaped[Tensor, "n"], *, margin: float = 0.2
) -> tuple[Int64[Tensor, "t"], Int64[Tensor, "t"], Int64[Tensor, "t"]]:
    """Each pair of one class with the nearest negative that is farther than the positive, by less than a margin.

        d²_ap < d²_an < d²_ap + margin,   d² = 2 − 2 cosine

    Pairs without such a negative are left out.

    Args:
        embeddings: (n, dim).
        labels: (n,), integers.
        margin: Of squared distances, which are 0 … 4; above 0.

    Returns:
        Anchors, positives and negatives.

    Raises:
        InputError: The margin is not above 0.

    Example:
        >>> embeddings = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.96, 0.28], [0.6, 0.8]])  # d²_01 = 0.4, d²_03 = 0.8
        >>> anchors, positives, negatives = semi_hard_triplets(embeddings, torch.tensor([0, 0, 1, 2]), margin=0.5)
        >>> (
        ...     anchors.tolist(),
        ...     positives.tolist(),
        ...     negatives.tolist(),
        ... )  # all others are nearer to the second than the first
        ([0], [1], [3])

    Reference:
        F. Schroff et al., "FaceNet: A Unified Embedding for Face Recognition and Clustering", CVPR 2015, Section 3.2.

    Deviations:
        None. The paper leaves open which of the semi-hard negatives it takes.
    """
    if not margin > 0:
        raise InputError(f"margin must be above 0; received {margin!r:.100}")
    positives, negatives = same_class(labels)
    squares = 2 - 2 * _cosines(embeddings)
    chosen, found = _nearest_from(squares, negatives, squares, beyond=True)
    return _triplets(positives & (found - squares < margin), chosen)


def distance_weighted_triplets(
    embeddings: Float[Tensor, "n dim"],
    labels: Shaped[Tensor, "n"],
    *,
    cutoff: float = 0.5,
    upper: float = 1.4,
    seed: int = 0,
) -> tuple[Int64[Tensor, "t"], Int64[Tensor, "t"], Int64[Tensor, "t"]]:
    """Each pair of one class with a negative drawn so that all distances from the anchor come up alike.

        P(n | a) ∝ 1 / q(max(d_an, cutoff)),   q(d) = d^(dim − 2) · (1 − d²/4)^((dim − 3)/2)

    with q the density of distances between random points on the sphere, most of which are nearly √2 apart. Negatives
    farther than `upper` are never drawn; anchors that have no others are left out. Equal batches and seeds give equal
    triplets, rows in another order others; torch's global generators are left alone.

    Args:
        embeddings: (n, dim).
        labels: (n,), integers.
        cutoff: Nearer negatives weigh as much as those at this distance; above 0.
        upper: The farthest negative that may be drawn; from `cutoff` to 2.
        seed: Of the random generator.

    Returns:
        Anchors, positives and negatives.

    Raises:
        InputError: `cutoff` is not above 0, or `upper` not between it and 2.

    Example:
        >>> embeddings = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8], [-1.0, 0.0]])
        >>> anchors, positives, negatives = distance_weighted_triplets(embeddings, torch.tensor([0, 0, 1, 0]))
        >>> anchors.tolist(), positives.tolist(), negatives.tolist()  # the third is too far from the fourth
        ([0, 0, 1, 1], [1, 3, 0, 3], [2, 2, 2, 2])

    Reference:
        C.-Y. Wu et al., "Sampling Matters in Deep Embedding Learning", ICCV 2017, Section 4.

    Deviations:
        The paper bounds the weight from above, here the distance is bounded from below: 1 / q falls up to √2, so that
        both bound the weights of near negatives. 1 − d²/4 is taken as 1e-8 where it is less.
    """
    if not 0 < cutoff <= upper <= 2:
        message = "cutoff and upper must be distances with 0 < cutoff ≤ upper ≤ 2; received {!r:.100} and {!r:.100}"
        raise InputError(message.format(cutoff, upper))
    positives, negatives = same_class(labels)
    dim, device = embeddings.shape[1], embeddings.device
    distances = (2 - 2 * _cosines(embeddings).double()).clamp(min=0).sqrt()
    candidates = negatives & (distances <= upper)
    bounded = distances.clamp(min=cutoff)
    rest = (1 - bounded.square() / 4).clamp(min=_LEAST)
    weights = masked_softmax((2 - dim) * bounded.log() + (3 - dim) / 2 * rest.log(), candidates)
    # One draw for each place of (n, n), a pair or not, takes less memory than one row of weights for each pair.
    totals = weights.cumsum(dim=1)
    draws = torch.rand(
        totals.shape, dtype=totals.dtype, device=device, generator=torch.Generator(device).manual_seed(seed)
    )
    chosen = torch.searchsorted(totals, draws * totals[:, -1:], right=True)
    return _triplets(positives & candidates.any(dim=1, keepdim=True), chosen)


def positive_aware_triplets(
    embeddings: Float[Tensor, "n dim"], labels: Shaped[Tensor, "n"], *, share: float = 0.95
) -> tuple[Int64[Tensor, "t"], Int64[Tensor, "t"], Int64[Tensor, "t"]]:
    """Each pair of one class with the most similar negative that is clearly less similar than the positive.

        s_an ≤ s_ap − (1 − share) · |s_ap|,   s = cosine;   that is share · s_ap where s_ap ≥ 0

    More similar ones may well be positives that nobody labelled. Pairs without such a negative are left out.

    Args:
        embeddings: (n, dim).
        labels: (n,), integers.
        share: Of the positive's cosine that a negative may reach, 0 … 1.

    Returns:
        Anchors, positives and negatives.

    Raises:
        InputError: The share is not within 0 … 1.

    Example:
        >>> embeddings = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.96, 0.28], [0.6, 0.8]])
        >>> anchors, positives, negatives = positive_aware_triplets(embeddings, torch.tensor([0, 0, 1, 2]))
        >>> (
        ...     anchors.tolist(),
        ...     positives.tolist(),
        ...     negatives.tolist(),
        ... )  # 0.96 is above 0.95 · 0.8
        ([0], [1], [3])

    Reference:
        G. de S. P. Moreira et al., "NV-Retriever: Improving text embedding models with effective hard-negative mining",
        arXiv 2407.15831, 2024, "TopK-PercPos".

    Deviations:
        Within the batch, and the one most similar. share · s_ap lies above a cosine s_ap < 0, which the paper does not
        meet; the bound here stays below it by the same share of its size.
    """
    if not 0 <= share <= 1:
        raise InputError(f"share must be within 0 … 1; received {share!r:.100}")
    positives, negatives = same_class(labels)
    cosines = _cosines(embeddings)
    bounds = cosines - (1 - share) * cosines.abs()
    chosen, found = _nearest_from(-cosines, negatives, -bounds, beyond=False)
    return _triplets(positives & (found < torch.inf), chosen)


def _cosines(embeddings: Tensor) -> Tensor:
    return cosine_similarity(embeddings.detach(), embeddings.detach())


def _nearest_from(
    distances: Float[Tensor, "n n"], negatives: Bool[Tensor, "n n"], bounds: Float[Tensor, "n n"], *, beyond: bool
) -> tuple[Int64[Tensor, "n n"], Float[Tensor, "n n"]]:
    """For each bound in row a, the nearest negative of a that is not nearer than it, or is beyond it; its distance.

    Each row is sorted once, so that n² numbers suffice. Where there is none, the distance is infinite or NaN.
    """
    # A row is none of its own negatives, so that each ends in infinity; only NaN finds no place.
    ordered, order = distances.masked_fill(~negatives, torch.inf).sort(dim=1, stable=True)
    places = torch.searchsorted(ordered, bounds, right=beyond).clamp(max=len(ordered) - 1)
    return order.gather(1, places), ordered.gather(1, places)


def _triplets(pairs: Bool[Tensor, "n n"], chosen: Int64[Tensor, "n n"]) -> tuple[Tensor, Tensor, Tensor]:
    """The pairs of anchor and positive in a mask, with the negative chosen for each."""
    anchors, positives = pairs.nonzero(as_tuple=True)
    return anchors, positives, chosen[anchors, positives]
