"""How many Frappe records a CPU-second trains on, in one thread, and how many ids a lookup answers.

The baseline of the networks is FuxiCTR 2.3.10 with the same settings, one thread of such a machine; it is not run here,
since it needs versions of its libraries that cannot be installed beside this package.
"""

import statistics
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks.clicks import frappe
from benchmarks.results import Row
from embedkit.encoders.record import Records, encode_records, record_encoder
from embedkit.modules.interaction import autoint, deepfm, finalmlp
from embedkit.modules.lookup import HashLookup, PlainLookup, RobeLookup, UnifiedLookup
from embedkit.training.click import fit_clicks

RUNS = 3
DEEP: dict[str, Any] = {"hidden": (400, 400, 400), "batch_norm": True, "dropout": 0.2}
STREAMS: dict[str, Any] = {"first": (400,), "second": (100,), "num_heads": 5, "batch_norm": True, "dropout": 0.4}
MODELS: dict[str, tuple[Any, float, int]] = {
    "DeepFM, 400 x 3": (partial(deepfm, **DEEP), 22.5, 45),
    "FinalMLP": (partial(finalmlp, gates=(400,), contexts=((0,), (1,)), **STREAMS), 14.9, 30),
    "AutoInt, 6 x 128": (partial(autoint, num_layers=6, width=128, num_heads=4), 1.9, 3),
}
"""From sizes to the model; thousands of samples a CPU-second of FuxiCTR; about which number is wanted."""

IDS = 2_000_000


def run(smoke: bool) -> Iterator[Row]:
    """Thousands of training samples and millions of ids a CPU-second."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for name, (make, peer, _) in list(MODELS.items())[:1] if smoke else MODELS.items():
            speeds = [_training_speed(make, smoke) for _ in range(1 if smoke else RUNS)]
            yield _row(name, "1,000 samples a CPU-s", speeds, baseline=peer)
        for lookup in (PlainLookup, HashLookup, UnifiedLookup, RobeLookup):
            speeds = [_lookup_speed(lookup, smoke) for _ in range(1 if smoke else RUNS)]
            yield _row(lookup.__name__, "million ids a CPU-s", speeds, baseline=None)
    finally:
        torch.set_num_threads(threads)


def _row(method: str, metric: str, speeds: list[float], *, baseline: float | None) -> Row:
    return Row(
        method=f"throughput, {method}",
        variant="one thread" + ("; baseline: FuxiCTR" if baseline else ""),
        dataset="Frappe",
        metric=metric,
        value=round(statistics.median(speeds), 2),
        low=round(min(speeds), 2),
        high=round(max(speeds), 2),
        seeds=len(speeds),
        baseline=baseline,
    )


def _training_speed(make: Any, smoke: bool) -> float:
    """One epoch with everything that belongs to it but the validation rows, of which there are few."""
    log = frappe(8192 if smoke else None)
    few = frappe(2048).validation
    model = make(log.vocabulary.sizes)
    started = time.process_time()
    fit_clicks(model, log.train, few, epochs=1, batch_size=4096, table_l2=0.05, l2="dense", show_progress_bar=False)
    return len(log.train) / (time.process_time() - started) / 1000


def _lookup_speed(kind: Any, smoke: bool) -> float:
    log = frappe(8192 if smoke else None)
    lookup = (
        PlainLookup(log.vocabulary.sizes, 16)
        if kind is PlainLookup
        else kind.for_budget(log.vocabulary.sizes, 16, 4 * 16 * sum(log.vocabulary.sizes) // 5)
    )
    encoder = record_encoder(log.vocabulary, lookup)
    count = (20_000 if smoke else IDS) // log.train.ids.shape[1]
    ids = np.resize(log.train.ids, (count, log.train.ids.shape[1]))
    encode_records(encoder, Records(ids[:1000]))  # warms up
    started = time.process_time()
    encode_records(encoder, Records(ids), show_progress_bar=False)
    return ids.size / (time.process_time() - started) / 1e6
