"""Encoding speed beside sentence-transformers: same weights, float32, two threads, turn by turn."""

import random
import sysconfig
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer

import embedkit as ek
from benchmarks.data import stsb
from benchmarks.peer import default_folder, ratio_row, seconds, speed_ratios
from benchmarks.results import Row
from embedkit.corpus.tokens import token_counter
from embedkit.encoders.code import chunk_code

BATCH_SIZES = (32, 64, 128)
RUNS = 5


def run(smoke: bool) -> Iterator[Row]:
    """Ratio of sentences per second: on STS-B at the peer's best batch size, on mixes at its default call."""
    torch.set_num_threads(2)
    encoder, peer = ek.load(device="cpu"), SentenceTransformer(str(default_folder()), device="cpu")
    first, second, _ = stsb("test")
    sentences = (first + second)[: 12 if smoke else None]
    runs = 1 if smoke else RUNS
    encoder.encode(sentences[:64])
    best = min(BATCH_SIZES, key=lambda size: _peer_seconds(peer, sentences, size))
    yield ratio_row(
        speed_ratios(partial(encoder.encode, sentences), partial(peer.encode, sentences, batch_size=best), runs),
        runs,
        method="encode, throughput",
        variant=f"default call; peer at its best batch size, {best}",
        dataset="STS-B test",
        metric="x sentence-transformers",
    )
    for dataset, mix in (
        ("sentences + functions", with_functions(sentences[:1200], encoder, 2 if smoke else 200)),
        ("distinct prose, short + long", short_and_long(sentences)),
    ):
        yield ratio_row(
            speed_ratios(partial(encoder.encode, mix), partial(peer.encode, mix), runs),
            runs,
            method="encode, throughput",
            variant="both default calls",
            dataset=dataset,
            metric="x sentence-transformers",
        )


def with_functions(sentences: list[str], encoder: ek.Encoder, count_functions: int) -> list[str]:
    """What an index of prose and code holds: sentences as they come, and functions of the standard library."""
    library = Path(sysconfig.get_paths()["stdlib"])
    count = token_counter(encoder)
    functions = [
        chunk.text
        for name in ("argparse", "tarfile")
        for chunk in chunk_code(
            (library / f"{name}.py").read_text(encoding="utf-8"), language="python", module=name, count_tokens=count
        )
    ]
    return _shuffled(sentences + functions[:count_functions])


def short_and_long(sentences: list[str]) -> list[str]:
    """Each distinct sentence once: five in six alone, every sixth text made of the next twelve."""
    distinct = list(dict.fromkeys(sentences))
    texts: list[str] = []
    position = 0
    while position < len(distinct):
        size = 12 if len(texts) % 6 == 5 else 1
        texts.append(" ".join(distinct[position : position + size]))
        position += size
    return _shuffled(texts)


def _shuffled(texts: list[str]) -> list[str]:
    return random.Random(0).sample(texts, len(texts))  # noqa: S311 (no secret)


def _peer_seconds(peer: SentenceTransformer, sentences: list[str], batch_size: int) -> float:
    return min(seconds(lambda: peer.encode(sentences, batch_size=batch_size)) for _ in range(2))
