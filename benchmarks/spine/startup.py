"""How long a user waits before anything happens: import, help, info."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import embedkit as ek
from benchmarks.peer import seconds
from benchmarks.results import Row

RUNS = 7


def run(smoke: bool) -> Iterator[Row]:
    """CPU seconds of the import; wall seconds of the commands that need no model."""
    runs = 2 if smoke else RUNS
    bare = _cpu([sys.executable, "-c", "pass"], runs)
    imported = _cpu([sys.executable, "-c", "import embedkit"], runs)
    yield _row("import embedkit", "CPU-s", imported, limit=0.2, floor=min(bare), runs=runs)
    command = str(Path(sys.executable).with_name("embedkit"))
    yield _row("embedkit --help", "s", _wall([command, "--help"], runs), limit=0.3, floor=min(bare), runs=runs)
    with tempfile.TemporaryDirectory() as folder:
        _make_index(Path(folder, "index"), 200 if smoke else 20_000)
        wall = _wall([command, "info", str(Path(folder, "index"))], runs)
        yield _row("embedkit info", "s", wall, limit=0.5, floor=min(bare), runs=runs)


def _row(method: str, metric: str, values: list[float], *, limit: float, floor: float, runs: int) -> Row:
    return Row(
        method=method,
        dataset="a fresh interpreter",
        metric=f"{metric} (limit {limit})",
        value=round(float(np.median(values)), 3),
        low=round(min(values), 3),
        high=round(max(values), 3),
        seeds=runs,
        floor=round(floor, 3),
    )


def _wall(command: list[str], runs: int) -> list[float]:
    return [seconds(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL)) for _ in range(runs)]


def _cpu(command: list[str], runs: int) -> list[float]:
    return [_cpu_of(command) for _ in range(runs)]


def _cpu_of(command: list[str]) -> float:
    before = os.times()
    subprocess.run(command, check=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


class _Random:
    """An encoder of random vectors: what `info` reads does not depend on them."""

    def __init__(self) -> None:
        self._generator = np.random.default_rng(0)

    def get_embedding_dimension(self) -> int:
        return 384

    def encode(self, inputs: list[str]) -> object:
        return self._generator.normal(size=(len(inputs), 384)).astype(np.float32)


def _make_index(folder: Path, documents: int) -> None:
    with ek.Retriever(_Random(), folder=folder) as retriever:
        ids = list(range(documents))
        retriever.add(ids, ["text"] * documents, [{"kind": "text", "line": i} for i in ids])
