"""What FaissIndex.search adds to the raw faiss call: checks, normalisation, ids, order."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faiss
import numpy as np

import embedkit as ek
from benchmarks.peer import ratio_row, speed_ratios
from benchmarks.results import Row

DIM = 384
BATCH = 64
K = 10
RUNS = 15


def run(smoke: bool) -> Iterator[Row]:
    """Time of FaissIndex.search over that of faiss on the very same index file, exact and HNSW."""
    count, runs = (1_000, 3) if smoke else (100_000, RUNS)
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(count, DIM)).astype(np.float32)
    queries = generator.normal(size=(BATCH, DIM)).astype(np.float32)
    for kind in ("flat", "hnsw"):
        yield ratio_row(
            _overhead(kind, vectors, queries, runs),
            runs,
            method="FaissIndex.search",
            variant=kind,
            dataset=f"{count:,} x {DIM}, batch {BATCH}, {kind}",
            metric="time, x raw faiss",
        )


def _overhead(kind: Any, vectors: Any, queries: Any, runs: int) -> tuple[float, float, float]:
    index = ek.FaissIndex(kind=kind)
    index.add([f"document {i}" for i in range(len(vectors))], vectors)
    with tempfile.TemporaryDirectory() as folder:
        index.save(folder)
        raw = faiss.read_index(str(next(Path(folder).glob("index-*.faiss"))))
    unit = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    parameters = faiss.SearchParametersHNSW(efSearch=128) if kind == "hnsw" else None
    index.search(queries, K)
    raw.search(unit, K, params=parameters)
    return speed_ratios(
        lambda: [raw.search(unit, K, params=parameters) for _ in range(5)],
        lambda: [index.search(queries, K) for _ in range(5)],
        runs,
    )
