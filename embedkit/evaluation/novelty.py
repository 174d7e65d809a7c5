"""What a search is worth on what is new: scores by how near the right answer is to something that was trained on."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from embedkit.errors import InputError
from embedkit.evaluation.items import Items
from embedkit.evaluation.pair_search import PairSearch
from embedkit.evaluation.statistics import Interval, bootstrap_interval
from embedkit.ops.vectors import as_embeddings, as_real, normalize


@dataclass(frozen=True)
class Band:
    """Queries whose nearness lies within [low, high), and their score.

    Attributes:
        low: Where the band begins.
        high: Where it ends; the last band holds its end too.
        count: Queries in it.
        score: Mean of the metric with its interval; None where there is no query.
    """

    low: float
    high: float
    count: int
    score: Interval | None


def nearness(vectors: Any, trained_on: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Cosine of each vector to the nearest of those that were trained on, such as of a name to the names seen.

    Args:
        vectors: (n, dim).
        trained_on: (m, dim).

    Returns:
        (n,), within -1 … 1.

    Raises:
        InputError: The widths differ, or there is nothing that was trained on.

    Example:
        >>> nearness([[1.0, 0.0], [0.0, 2.0]], [[3.0, 0.0]]).tolist()
        [1.0, 0.0]
    """
    new, old = as_embeddings(vectors, what="vectors"), as_embeddings(trained_on, what="trained_on")
    if new.shape[1] != old.shape[1] or not len(old):
        raise InputError(f"trained_on must be some vectors of width {new.shape[1]}; received shape {old.shape}")
    new, old = normalize(new), normalize(old)
    blocks = [(new[start : start + 1024] @ old.T).max(axis=1) for start in range(0, len(new), 1024)]
    return np.concatenate(blocks) if blocks else np.empty(0, dtype=np.float32)


def by_novelty(
    found: PairSearch,
    metric: str,
    near: Any,
    *,
    edges: Sequence[float] = (-1.0, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
    resamples: int = 2000,
    seed: int = 0,
) -> list[Band]:
    """A metric by how near each query's right answer is to training.

    Zero-shot search is carried by names that nearly occurred in training; one mean over all hides that.

    Args:
        found: What was found.
        metric: As in `PairSearch.values`.
        near: `nearness` of each query's right answer, (queries,).
        edges: Where bands begin and end, rising.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Returns:
        One band between each two edges.

    Raises:
        InputError: There is not one number for each query, one lies outside the edges, or the edges do not rise.

    Example:
        >>> bands = by_novelty(PairSearch(np.array([9, 1, 1]), 10), "recall@1", [0.2, 0.95, 0.9], edges=(0.0, 0.5, 1.0))
        >>> [(band.count, band.score.value) for band in bands]
        [(1, 0.0), (2, 1.0)]
    """
    values, numbers = found.values(metric), as_real(near, "near").astype(np.float64)
    if numbers.shape != values.shape:
        raise InputError(f"near must be one number for each of {len(values)} queries; received shape {numbers.shape}")
    ends = [float(edge) for edge in edges]
    if len(ends) < 2 or any(low >= high for low, high in pairwise(ends)):
        raise InputError(f"edges must be two numbers or more that rise; received {edges!r:.100}")
    # Cosines of float32 leave -1 … 1 by their rounding.
    numbers = np.where(np.isclose(numbers, ends[-1], atol=1e-5), ends[-1], numbers)
    if not ((numbers >= ends[0]) & (numbers <= ends[-1])).all():
        raise InputError(
            f"near must lie within the edges, {ends[0]} … {ends[-1]}; received {numbers.min()} … {numbers.max()}"
        )
    place = np.minimum(np.searchsorted(ends, numbers, side="right") - 1, len(ends) - 2)
    return [
        _band(low, high, values[place == number], resamples, seed) for number, (low, high) in enumerate(pairwise(ends))
    ]


def _band(low: float, high: float, values: np.ndarray[Any, np.dtype[np.float64]], resamples: int, seed: int) -> Band:
    if not len(values):
        return Band(low, high, 0, None)
    ids = tuple(map(str, range(len(values))))
    items = Items("test", "default", "mean", "query", ids, {"score": values})
    return Band(low, high, len(values), bootstrap_interval([items], resamples=resamples, seed=seed))
