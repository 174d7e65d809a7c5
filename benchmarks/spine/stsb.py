"""STS-B test: the default encoder's published quality, and equality with sentence-transformers itself."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.stats import spearmanr
from sentence_transformers import SentenceTransformer

import embedkit as ek
from benchmarks.data import stsb
from benchmarks.peer import default_folder, tfidf_cosines
from benchmarks.results import Row

PUBLISHED = 82.03
RESAMPLES = 1000


def run(smoke: bool) -> Iterator[Row]:
    """Spearman of cosine similarities, its bootstrap interval, and the largest difference of any coordinate."""
    first, second, scores = stsb("test")
    kept = slice(0, 50 if smoke else None)
    first, second, gold = first[kept], second[kept], np.array(scores[kept])
    encoder, peer = ek.load(device="cpu"), SentenceTransformer(str(default_folder()), device="cpu")
    ours = encoder.encode(first), encoder.encode(second)
    theirs = peer.encode(first), peer.encode(second)
    similarities = _cosines(*ours)
    low, high = _interval(similarities, gold, 50 if smoke else RESAMPLES)
    yield Row(
        method="encode, default model",
        dataset="STS-B test",
        metric="Spearman x 100",
        value=_spearman(similarities, gold),
        low=low,
        high=high,
        baseline=_spearman(_cosines(*theirs), gold),
        floor=_spearman(tfidf_cosines(first, second), gold),
        paper=PUBLISHED,
    )
    yield Row(
        method="encode, default model",
        dataset="STS-B test",
        metric="max difference to sentence-transformers",
        value=float(max(np.abs(a - b).max() for a, b in zip(ours, theirs, strict=True))),
        baseline=2e-6,
    )


def _cosines(first: Any, second: Any) -> Any:
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return (first * second).sum(axis=1) / norms


def _spearman(similarities: Any, gold: Any) -> float:
    return round(float(spearmanr(similarities, gold).statistic) * 100, 2)


def _interval(similarities: Any, gold: Any, resamples: int) -> tuple[float, float]:
    generator = np.random.default_rng(0)
    draws = (generator.integers(len(gold), size=len(gold)) for _ in range(resamples))
    values = [_spearman(similarities[draw], gold[draw]) for draw in draws]
    low, high = np.percentile(values, [2.5, 97.5])
    return round(float(low), 2), round(float(high), 2)
