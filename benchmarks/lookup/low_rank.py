"""Does AFM lose less than SVD at every rank? The table and the first layer of a click network trained on Frappe.

What is measured is the error of what comes out over the training records, as a share of its variance: the claim of the
method. What it does to AUC, as it comes and after tuning, is in `compression`.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.clicks import DIM, click_network, fitted, frappe
from benchmarks.peer import on_cores
from benchmarks.results import Row
from embedkit.modules.lookup import LowRankLookup, PlainLookup
from embedkit.modules.lookup.low_rank import Method, low_rank_linear

SEEDS = (0, 1, 2)
RANKS = (1, 2, 4, 8, 12)
LAYER_RANKS = (8, 16, 32, 64)
RECORDS = 20_000
"""Of the training records that the layer is fitted to; others measure it."""


def run(smoke: bool) -> Iterator[Row]:
    """Share of the variance that is lost, by rank; the baseline is SVD."""
    jobs = [(seed, smoke) for seed in (SEEDS[:1] if smoke else SEEDS)]
    found = on_cores(measured, jobs)
    for place, (what, rank) in enumerate(found[0]):
        afm, svd = ([list(each.values())[place][method] for each in found] for method in ("afm", "svd"))
        yield Row(
            method=f"AFM, {what}",
            variant=f"rank {rank}; baseline: SVD of the weights",
            dataset="Frappe",
            metric=f"error over the data, share, rank {rank}",
            value=round(float(np.mean(afm)), 5),
            low=round(min(afm), 5),
            high=round(max(afm), 5),
            seeds=len(afm),
            baseline=round(float(np.mean(svd)), 5),
        )


def measured(job: tuple[int, bool]) -> dict[tuple[str, int], dict[Method, float]]:
    """Errors of both methods at each rank, of the table and of the layer."""
    seed, smoke = job
    log = frappe(8192 if smoke else None)
    model: Any = fitted(click_network(PlainLookup(log.vocabulary.sizes, DIM), log, seed), log, seed, smoke)
    counts = torch.from_numpy(np.concatenate(log.vocabulary.counts))
    table = model.embedding.lookup.materialize().detach()
    layer = next(module for module in model.modules() if isinstance(module, nn.Linear))
    rows = torch.from_numpy(np.random.default_rng(seed).permutation(len(log.train))[: 2 * RECORDS])
    with torch.inference_mode():
        inputs = model.embedding(torch.from_numpy(log.train.ids.astype(np.int64))[rows]).flatten(1)
    seen, unseen = inputs.chunk(2)
    found: dict[tuple[str, int], dict[Method, float]] = {}
    methods: tuple[Method, Method] = ("afm", "svd")
    for rank in RANKS:
        found["table", rank] = {each: _table_error(table, log.vocabulary.sizes, counts, rank, each) for each in methods}
    for rank in LAYER_RANKS:
        found["first layer", rank] = {each: _layer_error(layer, seen, unseen, rank, each) for each in methods}
    return found


def _table_error(table: torch.Tensor, sizes: Any, counts: torch.Tensor, rank: int, method: Method) -> float:
    small = LowRankLookup.from_weight(table, sizes, rank, counts=counts, method=method).materialize()
    shares = (counts / counts.sum())[:, None]
    centred = table - (shares * table).sum(0)
    return float((shares * (small - table) ** 2).sum() / (shares * centred**2).sum())


def _layer_error(layer: nn.Linear, seen: torch.Tensor, unseen: torch.Tensor, rank: int, method: Method) -> float:
    with torch.inference_mode():
        small, true = low_rank_linear(layer, seen, rank, method)(unseen), layer(unseen)
        return float((small - true).square().sum() / (true - true.mean(0)).square().sum())
