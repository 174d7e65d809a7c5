"""Depth pays in time: what `encode` at a depth costs, and what the whole grid costs, in full encodes."""

import statistics
from collections.abc import Callable, Iterator

import embedkit as ek
from benchmarks.data import stsb
from benchmarks.peer import seconds
from benchmarks.results import Row

LAYERS = (1, 2, 3, 4, 5, 6)
DIMS = (24, 48, 96, 192, 288, 384)
RUNS = 3
SHARED = 0.06
"""What tokenising and embedding may cost beside the layers, as a share of a full encode."""


def run(smoke: bool) -> Iterator[Row]:
    """Wall times of each depth and of the grid over that of a full encode, taken turn by turn."""
    first, second, _ = stsb("test")
    texts = list(dict.fromkeys(first + second))[: 16 if smoke else None]
    encoder = ek.load(device="cpu")
    calls: dict[str, Callable[[], object]] = {
        f"encode, {layer} of 6 layers": lambda layer=layer: encoder.encode(texts, num_layers=layer)  # type: ignore[misc]
        for layer in LAYERS[:-1]
    }
    calls["encode_grid, 6 x 6"] = lambda: encoder.encode_grid(texts, LAYERS, DIMS)
    ratios: dict[str, list[float]] = {name: [] for name in calls}
    encoder.encode(texts)  # warms up
    for _ in range(1 if smoke else RUNS):
        for name, call in calls.items():
            full = seconds(lambda: encoder.encode(texts))
            ratios[name].append(seconds(call) / full)
    limits = [layer / 6 + SHARED for layer in LAYERS[:-1]] + [1.1]
    for (name, taken), limit in zip(ratios.items(), limits, strict=True):
        yield Row(
            method=name,
            dataset="STS-B test",
            metric=f"time, x a full encode (limit {limit:.2f})",
            value=round(statistics.median(taken), 3),
            low=round(min(taken), 3),
            high=round(max(taken), 3),
            seeds=len(taken),
            baseline=1.0 if "grid" not in name else round(len(DIMS) * sum(LAYERS) / LAYERS[-1], 1),
        )
