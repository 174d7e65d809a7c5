"""What evaluating every depth and width costs, in evaluations of one cell."""

import statistics
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from datasets import DatasetDict

import embedkit as ek
from benchmarks.data import data_folder
from benchmarks.peer import seconds
from benchmarks.results import Row
from embedkit.evaluation.mteb.grid import grid
from embedkit.evaluation.mteb.model import EncoderModel
from embedkit.evaluation.mteb.run import run as evaluate_on
from embedkit.evaluation.tasks.known import known_task

LAYERS = (1, 2, 3, 4, 5, 6)
DIMS = (32, 64, 128, 192, 256, 384)
RUNS = 3
TASKS = ("STSBenchmark",)
NAME = "all-MiniLM-L6-v2"


def run(smoke: bool) -> Iterator[Row]:
    """Ratios of wall times taken turn by turn; the baseline is one evaluation a cell, as tools without a grid do."""
    root = data_folder("text").parent
    layers, dims, runs = (LAYERS[-2:], DIMS[-2:], 1) if smoke else (LAYERS, DIMS, RUNS)
    for name in TASKS[:1] if smoke else TASKS:
        task: Any = known_task(name, root)
        if smoke:
            task.dataset = DatasetDict({"test": task.dataset["test"].select(range(16))})
        yield _row(name, task, layers, dims, runs)


def _row(name: str, task: Any, layers: tuple[int, ...], dims: tuple[int, ...], runs: int) -> Row:
    encoder = ek.load(device="cpu")

    def cell(layer: int, dim: int) -> object:
        with tempfile.TemporaryDirectory() as folder:
            model = EncoderModel(encoder, NAME, num_layers=layer, truncate_dim=dim)
            return evaluate_on(model, [task], Path(folder), floors=())

    def whole() -> object:
        with tempfile.TemporaryDirectory() as folder:
            return grid(encoder, NAME, [task], layers, dims, Path(folder))

    cell(layers[-1], dims[-1])  # warms up
    ratios = []
    for turn in range(runs):
        one = seconds(lambda: cell(layers[-1], dims[-1]))
        ratios.append(seconds(whole) / one)
        if turn == 0:
            # Depth decides what a cell costs, width does not: one width stands for all.
            each = sum(seconds(partial(cell, layer, dims[-1])) for layer in layers) * len(dims) / one
    return Row(
        method=f"elastic grid, {len(layers)} x {len(dims)}",
        dataset=name,
        metric="cost, x one cell (limit 1.2)",
        value=round(statistics.median(ratios), 2),
        low=round(min(ratios), 2),
        high=round(max(ratios), 2),
        seeds=runs,
        baseline=round(each, 1),
        floor=1.0,
    )
