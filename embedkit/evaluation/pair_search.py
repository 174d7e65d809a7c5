"""Search with known answers: is each query's own document found among those of the others? One of 1,000, or of all."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from embedkit.errors import InputError
from embedkit.evaluation.items import Items
from embedkit.ops.vectors import as_embeddings, as_real, normalize

Matrix: TypeAlias = NDArray[np.floating[Any]]

ROUNDING = 1e-5
"""Cosines of float32 that differ by less are ties: equal vectors may come out of a matrix product unequal by that."""

METRICS = ("MRR", "MRR@10", "recall@1", "recall@10")
"""What is measured of the ranks; any other depth may stand for 1 and 10."""

_METRIC = re.compile(r"MRR|(MRR|recall)@([1-9][0-9]*)")

_ROWS = 1024


@dataclass(frozen=True, eq=False)
class PairSearch:
    """Where each query's own document came among the candidates.

    Attributes:
        ranks: (queries,), from 1: how many candidates, the right one among them, scored at least as high as it.
        pool: How many candidates each query had.
    """

    ranks: NDArray[np.int64]
    pool: int

    def values(self, metric: str) -> NDArray[np.float64]:
        """The metric of each query, (queries,); its mean is the score.

        Args:
            metric: "MRR" is 1 / rank; "MRR@10" the same, but 0 behind rank 10; "recall@1" and "recall@10" are 1 for
                ranks up to 1 and 10, and 0 behind them. Any other depth may stand for 1 and 10.

        Raises:
            InputError: There is no such metric.
        """
        if not isinstance(metric, str) or not _METRIC.fullmatch(metric):
            message = f"metric must be such as {', '.join(METRICS)}; received {metric!r}"
            raise InputError(message)
        name, _, depth = metric.partition("@")
        gains = 1 / self.ranks if name == "MRR" else np.ones(len(self.ranks))
        found: NDArray[np.float64] = gains * (self.ranks <= int(depth or self.pool))
        return found

    def score(self, metric: str) -> float:
        """Mean of the metric over all queries, 0 … 1.

        Raises:
            InputError: There is no such metric.
        """
        return float(self.values(metric).mean())

    @property
    def median_rank(self) -> float:
        """Of the queries' ranks."""
        return float(np.median(self.ranks))

    def items(self, metric: str) -> Items:
        """The metric of each query, for the intervals and tests of `embedkit.evaluation.statistics`.

        Raises:
            InputError: There is no such metric.
        """
        return mean_items([self], metric)


def mean_items(several: Sequence[PairSearch], metric: str) -> Items:
    """The metric of each query, its mean over several searches with the same queries, such as of seeds.

    Args:
        several: One or more, of as many queries in the same order.
        metric: As in `PairSearch.values`.

    Raises:
        InputError: There is no such metric.
    """
    values: NDArray[np.float64] = np.mean([each.values(metric) for each in several], axis=0)
    ids = tuple(map(str, range(len(values))))
    return Items("test", "default", "mean", "query", ids, {"score": values})


def pair_search(queries: Any, documents: Any, *, pool: int | None = None) -> PairSearch:
    """Rank each query's own document, by cosine, among the documents of its pool.

    Pairs are cut into pools of `pool` in their order, so that they should come in a random one; pairs behind the last
    whole pool are left out. Equal documents, and those whose cosine differs by less than `ROUNDING`, count as before
    the right one: vectors that say nothing give the last rank, not the first. Queries and documents in each other's
    place measure the other direction.

    Args:
        queries: (n, dim).
        documents: (n, dim); row i belongs to query i.
        pool: How many documents each query is compared with, 1 … n. None takes all n.

    Returns:
        The ranks of the queries, in their order.

    Raises:
        InputError: There are no pairs, the numbers or widths differ, a vector is not finite, or the pool is larger
            than there are pairs.

    Example:
        >>> found = pair_search([[1, 0], [0, 1], [1, 1]], [[1, 0.1], [1, 0.2], [1, 1]])
        >>> found.ranks.tolist(), round(found.score("MRR"), 4)
        ([1, 2, 1], 0.8333)

    Reference:
        H. Husain, H.-H. Wu, T. Gazit, M. Allamanis, M. Brockschmidt, "CodeSearchNet Challenge: Evaluating the State of
        Semantic Code Search", 2019: mean reciprocal rank, one of 1,000, with ties against the right one.

    Deviations:
        Their code ranks the queries of each code; here it is the caller who says which side asks.
    """
    asked, held = as_embeddings(queries, what="queries"), as_embeddings(documents, what="documents")
    if asked.shape != held.shape:
        message = (
            "queries and documents must be pairs, of one width: row i of one belongs to row i of the other; "
            f"received shapes {asked.shape} and {held.shape}"
        )
        raise InputError(message)
    asked, held = normalize(asked), normalize(held)
    ranks = [
        _ranks(asked[start:stop] @ held[pooled].T, start - pooled.start, ROUNDING)
        for pooled in _pools(len(asked), pool)
        for start, stop in _blocks(pooled)
    ]
    return PairSearch(np.concatenate(ranks), pool or len(asked))


def pair_search_of_scores(scores: Any, *, pool: int | None = None) -> PairSearch:
    """As `pair_search`, by scores that are known, such as those of BM25.

    Args:
        scores: (n, n), of each query and each document, higher is better; the right ones stand on the diagonal. NaN
            counts as at least as high as anything.
        pool: How many documents each query is compared with, 1 … n. None takes all n.

    Returns:
        The ranks of the queries, in their order.

    Raises:
        InputError: The scores are no square of real numbers, or the pool is larger than it.

    Example:
        >>> pair_search_of_scores([[2.0, 1.0], [3.0, 3.0]]).ranks.tolist()
        [1, 2]
    """
    given = as_real(scores, "scores")
    if given.ndim != 2 or given.shape[0] != given.shape[1]:
        message = f"scores must have one row and one column a pair, (n, n); received shape {given.shape}"
        raise InputError(message)
    ranks = [_ranks(given[pooled, pooled], 0, 0.0) for pooled in _pools(len(given), pool)]
    return PairSearch(np.concatenate(ranks), pool or len(given))


def _pools(count: int, pool: int | None) -> Sequence[slice]:
    size = count if pool is None else pool
    if count < 1 or not 1 <= size <= count:
        wanted = "there must be a pair, and pool must be 1 … the number of pairs, or None for all"
        message = f"{wanted}; received {count} pairs and pool={pool!r}"
        raise InputError(message)
    return [slice(start, start + size) for start in range(0, count - size + 1, size)]


def _blocks(pooled: slice) -> Iterator[tuple[int, int]]:
    """Queries of a pool, so many at a time that their scores need little memory."""
    return ((start, min(start + _ROWS, pooled.stop)) for start in range(pooled.start, pooled.stop, _ROWS))


def _ranks(scores: Matrix, first: int, rounding: float) -> NDArray[np.int64]:
    """Ranks of the documents from `first` on, one a row."""
    rows = np.arange(len(scores))
    own = scores[rows, first + rows]
    found: NDArray[np.int64] = np.sum(~(scores < own[:, None] - rounding), axis=1, dtype=np.int64)
    return found
