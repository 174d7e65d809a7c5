"""Do the interactions reach the open board's figures on Frappe? Its settings, the official validation and test rows.

The board's figures are single runs, but for DeepFM's, the mean of five; ours are means over seeds. Training rows have
the official positives and negatives drawn anew: on them the board's own code reaches its AUC, not quite its logloss.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import torch

from benchmarks.clicks import frappe, scored
from benchmarks.peer import on_cores
from benchmarks.results import Row
from embedkit.modules.interaction import (
    ClickModel,
    autoint,
    dcnv2,
    deepfm,
    dnn,
    dualmlp,
    factorization_machine,
    fgcnn,
    finalmlp,
    finalnet,
    ipnn,
    logistic_regression,
)
from embedkit.modules.lookup import PlainLookup
from embedkit.training.click import fit_clicks

SEEDS = (0, 1, 2)
DIM, STD = 10, 1e-4  # the board's
DEEP: dict[str, Any] = {"hidden": (400, 400, 400), "batch_norm": True}
STREAMS: dict[str, Any] = {
    "first": (400,),
    "second": (100,),
    "num_heads": 5,
    "batch_norm": True,
    "dropout": (0.4, 0.4),
}


@dataclass(frozen=True)
class Entry:
    """One model with the settings the board found for it.

    Attributes:
        make: From sizes of the fields to the model.
        l2: The board's regulariser of tables, dense: half of it times all squared weights joins each batch's loss.
        board: AUC and logloss there; None where it has no entry.
        patience: Epochs without a better validation AUC before training stops.
    """

    make: Callable[..., ClickModel]
    l2: float
    board: tuple[float, float | None] | None
    patience: int = 2


MODELS: dict[str, Entry] = {
    "FinalMLP": Entry(partial(finalmlp, gates=(400,), contexts=((0,), (1,)), **STREAMS), 0.05, (0.9861, 0.1484)),
    "DualMLP": Entry(partial(dualmlp, **STREAMS), 0.05, (0.9847, None)),
    "FinalNet": Entry(partial(finalnet, dropout=0.1), 0.1, (0.9857, 0.1311)),
    "AutoInt+": Entry(
        partial(autoint, num_layers=5, scale=True, layer_norm=True, dropout=0.1, **DEEP), 0.1, (0.9848, 0.1490)
    ),
    "DCN-V2": Entry(partial(dcnv2, crosses=4, dropout=0.4, **DEEP), 0.05, (0.9845, 0.1491)),
    "DeepFM": Entry(partial(deepfm, dropout=0.2, **DEEP), 0.05, (0.9840, 0.1495)),
    "FGCNN": Entry(partial(fgcnn, dropout=0.3), 0.05, None, patience=3),  # as IPNN, which it adds features to
    "IPNN": Entry(partial(ipnn, dropout=0.3), 0.05, (0.9841, 0.1540), patience=3),
    "DNN": Entry(partial(dnn, dropout=0.2, **DEEP), 0.05, (0.9833, 0.1622)),
    "FM": Entry(factorization_machine, 5e-6, (0.9671, 0.2065)),
    "LR": Entry(logistic_regression, 1e-5, (0.9356, 0.3076)),
}
"""What a user would take first comes first; DNN is the baseline and LR the floor."""

Job: TypeAlias = tuple[str, int, bool]
"""Model, seed, and whether it is a smoke run."""


def run(smoke: bool) -> Iterator[Row]:
    """AUC and logloss of each model on the test rows."""
    names = ["FinalMLP", "DNN", "LR"] if smoke else list(MODELS)
    jobs = [(name, seed, smoke) for name in names for seed in (SEEDS[:1] if smoke else SEEDS)]
    each = [trained(job) for job in jobs] if smoke else on_cores(trained, jobs)
    found = dict(zip(jobs, each, strict=True))
    for place, metric in enumerate(("AUC", "logloss")):
        scores = {name: [found[job][place] for job in jobs if job[0] == name] for name in names}
        for name in names:
            board = MODELS[name].board
            yield Row(
                method=name,
                variant="board settings; baseline: DNN, floor: LR",
                dataset="Frappe test",
                metric=metric,
                value=round(float(np.mean(scores[name])), 5),
                low=round(min(scores[name]), 5),
                high=round(max(scores[name]), 5),
                seeds=len(scores[name]),
                baseline=None if name == "DNN" else round(float(np.mean(scores["DNN"])), 5),
                floor=round(float(np.mean(scores["LR"])), 5),
                paper=board and board[place],
            )


def trained(job: Job) -> tuple[float, float]:
    """AUC and logloss on the test rows of one model, trained until its validation AUC no longer rises."""
    name, seed, smoke = job
    entry, log = MODELS[name], frappe(8192 if smoke else None)
    torch.manual_seed(seed)
    width = 1 if name == "LR" else DIM
    model = entry.make(log.vocabulary.sizes, lookup=PlainLookup(log.vocabulary.sizes, width, std=STD))
    fit_clicks(
        model.to("cuda" if torch.cuda.is_available() else "cpu"),
        log.train,
        log.validation,
        epochs=1 if smoke else 100,
        batch_size=4096,
        learning_rate=1e-3,
        table_l2=entry.l2,
        l2="dense",
        patience=entry.patience,
        seed=seed,
        show_progress_bar=False,
    )
    return scored(model, log.test)
