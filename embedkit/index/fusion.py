"""One search over several retrievers, such as one of pictures and one of texts: an index each, ranks fused."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from embedkit.errors import InputError
from embedkit.index.filters import Where
from embedkit.index.retriever import Hit, Retriever
from embedkit.ops.vectors import as_embeddings, normalize
from embedkit.types import Id

CONSTANT = 60.0
"""What a rank is added to: the larger, the less the first places count above the next."""

_DEPTH = 50
_CANCELLED = 1e-5


@dataclass(frozen=True, slots=True)
class FusedHit:
    """One answer of several retrievers.

    Attributes:
        id: Whatever has this id in any of them is one thing.
        score: Sum over the retrievers that found it of weight / (`CONSTANT` + rank); higher is better.
        hits: What each of these retrievers says of it, by name.
    """

    id: Id
    score: float
    hits: Mapping[str, Hit]


def reciprocal_rank_fusion(
    rankings: Sequence[Sequence[Hashable]], *, weights: Sequence[float] | None = None
) -> list[tuple[Hashable, float]]:
    """Fuse rankings whose scores cannot be compared, by ranks alone.

    Args:
        rankings: Ids, best first, each at most once in one ranking.
        weights: One for each ranking, 0 or more; None weighs all alike.

    Returns:
        Ids and Σ weight / (60 + rank) with ranks from 1, best first; of equal scores the one that came first.

    Raises:
        InputError: There is not one weight for each ranking, one is negative, or an id is twice in a ranking.

    Example:
        >>> [(id, round(61 * score, 3)) for id, score in reciprocal_rank_fusion([["a", "b"], ["b", "c"]])]
        [('b', 1.984), ('a', 1.0), ('c', 0.984)]

    Reference:
        G. V. Cormack, C. L. A. Clarke, S. Büttcher, "Reciprocal Rank Fusion outperforms Condorcet and Individual Rank
        Learning Methods", SIGIR 2009.
    """
    shares = [1.0] * len(rankings) if weights is None else [float(weight) for weight in weights]
    if len(shares) != len(rankings) or not all(0 <= share < np.inf for share in shares):
        raise InputError(f"weights must be one for each of {len(rankings)} rankings, 0 or more; received {weights!r}")
    scores: dict[Hashable, float] = {}
    for ranking, share in zip(rankings, shares, strict=True):
        if len(set(ranking)) < len(ranking):
            raise InputError("a ranking must have each id at most once; received one that repeats an id")
        for rank, id in enumerate(ranking, start=1):
            scores[id] = scores.get(id, 0.0) + share / (CONSTANT + rank)
    return sorted(scores.items(), key=lambda pair: -pair[1])


class FusedRetriever:
    """Asks several retrievers and fuses what they find by rank.

    Vectors of two modalities do not mix in one index, even where one encoder made them: each lies nearest to its own
    kind, and a text finds texts alone. So each modality has an index, and their answers are fused. What has one id in
    several retrievers, such as a product's picture and its description, is one answer.

    Args:
        retrievers: By name, such as "image" and "text".

    Raises:
        InputError: There is no retriever.

    Example:
        >>> import embedkit as ek
        >>> encoder = ek.load()
        >>> titles, bodies = ek.Retriever(encoder), ek.Retriever(encoder)
        >>> titles.add(["rain", "cake"], ["Showers", "Baking"])
        >>> bodies.add(["rain", "snow"], ["It will pour down today.", "White hills."])
        >>> (best, *_) = FusedRetriever({"title": titles, "body": bodies}).search("weather forecast", k=1)
        >>> best.id, sorted(best.hits)
        ('rain', ['body', 'title'])
    """

    def __init__(self, retrievers: Mapping[str, Retriever]) -> None:
        if not isinstance(retrievers, Mapping) or not retrievers:
            raise InputError(f"retrievers must be one or more by name; received {retrievers!r:.100}")
        self.retrievers = dict(retrievers)

    def search(
        self,
        query: Any,
        k: int = 10,
        *,
        names: Sequence[str] | None = None,
        weights: Mapping[str, float] | None = None,
        where: Where | None = None,
        depth: int | None = None,
    ) -> list[FusedHit]:
        """The best answers to one query.

        Args:
            query: What the encoders read, such as a text or a picture. A tuple is one query of several parts, such as a
                picture and what should be different: the vector asked for is the sum of the parts', each of length 1.
            k: How many answers, at least 1.
            names: Which retrievers to ask; None asks all.
            weights: By name of a retriever; those not named weigh 1.
            where: Conditions on metadata, as in `Retriever.search`.
            depth: How many answers each retriever gives to the fusion; None takes 50, or k if that is more.

        Returns:
            At most k answers, best first.

        Raises:
            InputError: A name is unknown, a query has no parts, or as in `Retriever.search`.

        Reference:
            C. Jia et al., "Scaling Up Visual and Vision-Language Representation Learning With Noisy Text Supervision",
            ICML 2021, for queries of a picture and a text.
        """
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise InputError(f"k must be a positive integer; received {k!r}")
        asked = list(self.retrievers) if names is None else list(names)
        unknown = sorted({*asked, *(weights or {})} - set(self.retrievers))
        if unknown or not asked:
            raise InputError(f"names must be some of {list(self.retrievers)}; received {unknown or 'none'}")
        vectors: dict[int, Any] = {}
        found: dict[str, list[Hit]] = {}
        for name in asked:
            retriever = self.retrievers[name]
            made_by = id(retriever.encoder)
            if made_by not in vectors:
                vectors[made_by] = _vector(retriever, query)
            found[name] = retriever.nearest(vectors[made_by], depth or max(k, _DEPTH), where=where)
        fused = reciprocal_rank_fusion(
            [[hit.id for hit in found[name]] for name in asked],
            weights=[(weights or {}).get(name, 1.0) for name in asked],
        )
        known = {name: {hit.id: hit for hit in hits} for name, hits in found.items()}
        return [
            FusedHit(best, score, {name: hits[best] for name, hits in known.items() if best in hits})  # type: ignore[arg-type]
            for best, score in fused[:k]
        ]


def _vector(retriever: Retriever, query: Any) -> Any:
    """Of one query; several parts are added up."""
    if not isinstance(query, tuple):
        vector = as_embeddings(np.atleast_2d(retriever.encode_query(query)), what="the encoder's vectors")
        if len(vector) != 1:
            raise InputError(f"query must be one, or a tuple of its parts; received a batch of {len(vector)}")
        return vector[0]
    if not query:
        raise InputError("query must have a part; received an empty tuple")
    parts = [as_embeddings(np.atleast_2d(retriever.encode_query(part)), what="the encoder's vectors") for part in query]
    total = normalize(np.concatenate(parts)).sum(axis=0)
    if np.linalg.norm(total) < _CANCELLED:
        raise InputError("parts of a query must not point in opposite directions; these cancel each other out")
    return total
