"""Is an approximate index of pictures as good for queries that are texts as for those that are pictures?

Four views of each emoji (as it is, mirrored, moved by two pixels each way) are mapped to the space of MiniLM's vectors
by `RidgeAligner`, which learnt from other emoji, and put into IVF and HNSW. Pictures ask (fifth views, moved by one
pixel), and names ask. Recall at 10 is the share of the exact ten neighbours; equal effort is equal time, so each effort
that either kind of query would choose is measured for both, with milliseconds a query on one thread. First what the
index does untuned, then tuned by pictures, then by names: `FaissIndex.tune` to a recall of .95 on half of the queries
of that kind, asked the other half. Floor: ten drawn at random.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

import embedkit as ek
from benchmarks.emoji import Emoji, emoji
from benchmarks.results import Row
from embedkit.encoders.image import histogram_encoder
from embedkit.heads import RidgeAligner

K, RECALL, TURNS = 10, 0.95, 5
MOVES = ((0, 0), (2, 0), (0, 2))
KINDS = ("ivf", "hnsw")


@dataclass(frozen=True)
class Queries:
    """Half to tune by, half to ask."""

    name: str
    tuning: NDArray[np.float32]
    asked: NDArray[np.float32]


def run(smoke: bool) -> Iterator[Row]:
    """Recall and time by kind of index, of query, and of what it was tuned by."""
    vectors, pictures, names = _spaces(smoke)
    exact = ek.FaissIndex(kind="flat")
    exact.add(range(len(vectors)), vectors)
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        for kind in KINDS:
            index = ek.FaissIndex(kind=kind)  # type: ignore[arg-type]  # one of its literals
            index.add(range(len(vectors)), vectors)
            for tuned_by in (None, pictures, names):
                index.effort = None
                if tuned_by is not None:
                    index.tune(tuned_by.tuning, k=K, recall=RECALL)
                for queries in (names, pictures):
                    yield from _rows(index, exact, queries, "nothing" if tuned_by is None else tuned_by.name)
    finally:
        faiss.omp_set_num_threads(threads)


def _rows(index: ek.FaissIndex, exact: ek.FaissIndex, queries: Queries, tuned_by: str) -> Iterator[Row]:
    wanted = exact.search(queries.asked, k=K).ids
    found = index.search(queries.asked, k=K).ids
    shares = [len(set(right) & set(given)) / K for right, given in zip(wanted, found, strict=True)]
    seconds = []
    for _ in range(TURNS):
        started = time.perf_counter()
        index.search(queries.asked, k=K)
        seconds.append(time.perf_counter() - started)
    milliseconds = 1000 * min(seconds) / len(queries.asked)
    yield Row(
        method=f"{index.built_as}, tuned by {tuned_by}",
        variant=f"effort {index.effort or 'as it comes'}; {milliseconds:.3f} ms a query; {len(index)} pictures",
        dataset=f"emoji, asked by {queries.name}",
        metric="recall@10 of the exact ten",
        value=round(float(np.mean(shares)), 4),
        floor=round(K / len(index), 4),
    )


def _spaces(smoke: bool) -> tuple[NDArray[np.float32], Queries, Queries]:
    """Vectors of views, of pictures that ask and of names that ask, in one space."""
    held, learnt = emoji("train", tones=True), emoji("val", tones=True)
    if smoke:
        held, learnt = held.at(range(0, len(held), 60)), learnt.at(range(0, len(learnt), 10))
    names = list(dict.fromkeys(held.names))
    text, eye = ek.load(device="cpu"), histogram_encoder(device="cpu")
    known = text.encode(learnt.names)
    centre = known.mean(axis=0)
    aligner = RidgeAligner().fit(eye.encode(learnt.images), known - centre)

    def mapped(images: NDArray[Any]) -> NDArray[np.float32]:
        return aligner.transform(eye.encode(images)).astype(np.float32)

    views = [held.images[:, :, ::-1], *(_moved(held, *move) for move in MOVES)]
    vectors = np.concatenate([mapped(view) for view in views])
    return vectors, _halves("pictures", mapped(_moved(held, 1, 1))), _halves("names", text.encode(names) - centre)


def _moved(pictures: Emoji, down: int, right: int) -> NDArray[Any]:
    return np.roll(pictures.images, (down, right), axis=(1, 2))


def _halves(name: str, vectors: NDArray[np.float32]) -> Queries:
    order = np.random.default_rng(0).permutation(len(vectors))[:2000]
    return Queries(name, vectors[order[::2]], vectors[order[1::2]])
