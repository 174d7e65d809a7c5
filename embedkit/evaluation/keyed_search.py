"""Search where a query may have several right answers, such as all pictures of one name."""

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from embedkit.errors import InputError
from embedkit.evaluation.pair_search import ROUNDING, PairSearch
from embedkit.ops.vectors import as_embeddings, normalize

_ROWS = 1024


def keyed_search(
    queries: Any,
    documents: Any,
    query_keys: Sequence[Hashable],
    document_keys: Sequence[Hashable],
) -> PairSearch:
    """Rank, by cosine, the best right answer to each query among the wrong ones.

    Right is each document with the query's key. Wrong documents that score as high, within `ROUNDING`, count as before
    it: vectors that say nothing find nothing. Called with queries and documents in each other's place it measures the
    other direction.

    Args:
        queries: (n, dim), such as of pictures.
        documents: (m, dim), such as of names.
        query_keys: One for each query.
        document_keys: One for each document.

    Returns:
        Ranks from 1, one a query, and m as the pool: recall at any k, and the median rank.

    Raises:
        InputError: There is no query, the widths differ, a vector is not finite, keys are missing, or a query has no
            right answer.

    Example:
        >>> pictures, names = [[1, 0], [0.9, 0.2], [0, 1]], [[0.8, 0.3], [0, 1]]
        >>> found = keyed_search(pictures, names, ["cat", "cat", "dog"], ["cat", "dog"])
        >>> found.score("recall@1"), found.median_rank
        (1.0, 1.0)
    """
    asked, held = as_embeddings(queries, what="queries"), as_embeddings(documents, what="documents")
    if asked.shape[1] != held.shape[1] or not len(asked):
        shapes = f"{asked.shape} and {held.shape}"
        raise InputError(f"queries and documents must have one width, and there must be some; received {shapes}")
    codes: dict[Hashable, int] = {}
    wanted, given = (
        np.array([codes.setdefault(key, len(codes)) for key in _keys(name, keys, len(vectors))], dtype=np.int64)
        for name, keys, vectors in (("query_keys", query_keys, asked), ("document_keys", document_keys, held))
    )
    if len(lost := np.flatnonzero(~np.isin(wanted, given))):
        raise InputError(
            f"each query must have a right answer; {len(lost)} have none, the first with key {query_keys[lost[0]]!r}"
        )
    asked, held = normalize(asked), normalize(held)
    ranks = []
    for start in range(0, len(asked), _ROWS):
        scores = asked[start : start + _ROWS] @ held.T
        right = wanted[start : start + _ROWS, None] == given[None, :]
        best = np.where(right, scores, -np.inf).max(axis=1, keepdims=True)
        ranks.append(1 + (~right & ~(scores < best - ROUNDING)).sum(axis=1))
    return PairSearch(np.concatenate(ranks).astype(np.int64), len(held))


def _keys(name: str, keys: Any, count: int) -> list[Hashable]:
    several = list(keys) if isinstance(keys, Sequence | np.ndarray) and not isinstance(keys, str) else []
    if len(several) != count:
        raise InputError(f"{name} must be one for each of {count} vectors; received {len(several)}")
    return several
