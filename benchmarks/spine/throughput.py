"""Encoding speed beside sentence-transformers: same weights, float32, two threads, turn by turn."""

import random
from collections.abc import Iterator

import torch
from sentence_transformers import SentenceTransformer

import embedkit as ek
from benchmarks.data import stsb
from benchmarks.peer import default_folder, seconds, speed_ratios
from benchmarks.results import Row

BATCH_SIZES = (16, 32, 64, 128, 256)
RUNS = 7


def run(smoke: bool) -> Iterator[Row]:
    """Ratio of sentences per second: on STS-B at the peer's best batch size, on a mix at its default call."""
    torch.set_num_threads(2)
    encoder, peer = ek.load(device="cpu"), SentenceTransformer(str(default_folder()), device="cpu")
    first, second, _ = stsb("test")
    sentences = (first + second)[: 200 if smoke else None]
    runs = 1 if smoke else RUNS
    encoder.encode(sentences[:64])
    best = min(BATCH_SIZES, key=lambda size: _peer_seconds(peer, sentences, size))
    median, low, high = speed_ratios(
        lambda: encoder.encode(sentences), lambda: peer.encode(sentences, batch_size=best), runs
    )
    yield Row(
        method="encode, throughput",
        variant=f"default call; peer at its best batch size, {best}",
        dataset="STS-B test",
        metric="x sentence-transformers",
        value=median,
        low=low,
        high=high,
        seeds=runs,
        baseline=1.0,
    )
    mix = short_and_long(sentences)
    median, low, high = speed_ratios(lambda: encoder.encode(mix), lambda: peer.encode(mix), runs)
    yield Row(
        method="encode, throughput",
        variant="both default calls",
        dataset="short + long mix",
        metric="x sentence-transformers",
        value=median,
        low=low,
        high=high,
        seeds=runs,
        baseline=1.0,
    )


def short_and_long(sentences: list[str]) -> list[str]:
    """Each sentence once: five in six alone, every sixth text made of the next twelve. All are distinct."""
    distinct = list(dict.fromkeys(sentences))
    texts: list[str] = []
    position = 0
    while position < len(distinct):
        size = 12 if len(texts) % 6 == 5 else 1
        texts.append(" ".join(distinct[position : position + size]))
        position += size
    random.Random(0).shuffle(texts)  # noqa: S311 (no secret)
    return texts


def _peer_seconds(peer: SentenceTransformer, sentences: list[str], batch_size: int) -> float:
    return min(seconds(lambda: peer.encode(sentences, batch_size=batch_size)) for _ in range(2))
