"""How many Frappe records a CPU-second trains on, in one thread, and how many ids a lookup answers.

The baseline of the networks is FuxiCTR 2.3.10 with the same settings in one thread. It needs versions of its libraries
that cannot be installed beside this package: `FUXICTR_PYTHON` names a Python of its own, which imports `fuxictr`, and
`model_zoo` from a checkout of the same version, as what `pip` installs lacks these models. Both then train in turn on
the same arrays: an epoch of twelve batches with what its `fit` does, a look at few validation rows included. FuxiCTR
gets batches cut from memory; its own loader, which collects them row by row, makes it a little slower. Without the
variable the baseline is what FuxiCTR did once on a faster machine.
"""

import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.clicks import frappe
from benchmarks.results import Row
from embedkit.encoders.record import Records, encode_records, record_encoder
from embedkit.modules.interaction import autoint, deepfm, finalmlp
from embedkit.modules.lookup import HashLookup, PlainLookup, RobeLookup, UnifiedLookup
from embedkit.training.click import ClickData, fit_clicks

RUNS, ROWS = 3, 49_152
DEEP: dict[str, Any] = {"hidden": (400, 400, 400), "batch_norm": True, "dropout": 0.2}
STREAMS: dict[str, Any] = {"first": (400,), "second": (100,), "num_heads": 5, "batch_norm": True, "dropout": 0.4}


class Network(NamedTuple):
    """A network that both train.

    Attributes:
        make: From sizes to the model.
        quoted: Thousands of samples a CPU-second of FuxiCTR on another, faster machine.
        wanted: About which number is wanted.
        peer: FuxiCTR's name of it.
        options: FuxiCTR's words for what `make` has.
    """

    make: Any
    quoted: float
    wanted: int
    peer: str
    options: dict[str, Any]


MODELS = {
    "DeepFM, 400 x 3": Network(
        partial(deepfm, **DEEP),
        22.5,
        45,
        "DeepFM",
        {"hidden_units": [400, 400, 400], "batch_norm": True, "net_dropout": 0.2},
    ),
    "FinalMLP": Network(
        partial(finalmlp, gates=(400,), contexts=((0,), (1,)), **STREAMS),
        14.9,
        30,
        "FinalMLP",
        {"fs_hidden_units": [400], "fs1_context": ["0"], "fs2_context": ["1"], "num_heads": 5}
        | {"mlp1_hidden_units": [400], "mlp1_batch_norm": True, "mlp1_dropout": 0.4}
        | {"mlp2_hidden_units": [100], "mlp2_batch_norm": True, "mlp2_dropout": 0.4},
    ),
    "AutoInt, 6 x 128": Network(
        partial(autoint, num_layers=6, width=128, num_heads=4),
        1.9,
        3,
        "AutoInt",
        {"attention_layers": 6, "attention_dim": 128, "num_heads": 4, "dnn_hidden_units": []},
    ),
}

_PEER = """
import json, sys, time
import model_zoo
import numpy as np
import torch
from fuxictr.features import FeatureMap

torch.set_num_threads(1)
folder, name, options = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
arrays = np.load(folder + "/log.npz")
fields = FeatureMap("", folder)
fields.labels = ["label"]
for field, size in enumerate(arrays["sizes"].tolist()):
    fields.features[str(field)] = {"type": "categorical", "source": "", "vocab_size": size}
fields.num_fields, fields.default_emb_dim = len(fields.features), 10

class Batches:
    def __init__(self, part):
        self.columns = torch.from_numpy(arrays[part]).T.contiguous()
    def __len__(self):
        return -(-self.columns.shape[1] // 4096)
    def __iter__(self):
        for rows in torch.randperm(self.columns.shape[1]).split(4096):
            yield dict(zip([*fields.features, "label"], self.columns[:, rows]))

few, train = Batches("few"), Batches("train")
common = dict(embedding_dim=10, embedding_regularizer=0.05, learning_rate=1e-3, optimizer="adam")
common |= dict(loss="binary_crossentropy", metrics=["AUC"], model_root=folder, verbose=0)
for data in (few, train):  # few warm up
    model = getattr(model_zoo, name)(fields, **options, **common)
    started = time.process_time()
    model.fit(data, epochs=1, validation_data=few)
    spent = time.process_time() - started
print(len(arrays["train"]) / spent / 1000)
"""

IDS = 2_000_000


def run(smoke: bool) -> Iterator[Row]:
    """Thousands of training samples and millions of ids a CPU-second."""
    threads, peer = torch.get_num_threads(), os.environ.get("FUXICTR_PYTHON")
    runs = 1 if smoke else RUNS
    torch.set_num_threads(1)
    try:
        for name, network in list(MODELS.items())[:1] if smoke else MODELS.items():
            speeds, theirs = [], []
            for _ in range(runs):
                speeds.append(_training_speed(network.make, smoke))
                if peer:
                    theirs.append(_peer_speed(peer, network, smoke))
            baseline = round(statistics.median(theirs), 2) if theirs else network.quoted
            source = "same run" if theirs else "quoted from another machine"
            yield _row(name, "1,000 samples a CPU-s", speeds, f"; baseline: FuxiCTR, {source}", baseline)
        for lookup in (PlainLookup, HashLookup, UnifiedLookup, RobeLookup):
            yield _row(lookup.__name__, "million ids a CPU-s", [_lookup_speed(lookup, smoke) for _ in range(runs)])
    finally:
        torch.set_num_threads(threads)


def _row(method: str, metric: str, speeds: list[float], about: str = "", baseline: float | None = None) -> Row:
    return Row(
        method=f"throughput, {method}",
        variant=f"one thread{about}",
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
    log = frappe(8192 if smoke else ROWS)
    few = frappe(2048).validation
    model = make(log.vocabulary.sizes)
    started = time.process_time()
    fit_clicks(model, log.train, few, epochs=1, batch_size=4096, table_l2=0.05, l2="dense", show_progress_bar=False)
    return len(log.train) / (time.process_time() - started) / 1000


def _peer_speed(python: str, network: Network, smoke: bool) -> float:
    """The same by FuxiCTR, in a process of its own."""
    log = frappe(8192 if smoke else ROWS)
    train, few = (_table(part) for part in (log.train, frappe(2048).validation))
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / "log.npz", sizes=log.vocabulary.sizes, train=train, few=few)
        done = subprocess.run(
            [python, "-c", _PEER, folder, network.peer, json.dumps(network.options)],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    return float(done.stdout)


def _table(data: ClickData) -> npt.NDArray[np.int64]:
    """Ids, and labels in the last column."""
    assert data.labels is not None
    return np.column_stack((data.ids, data.labels)).astype(np.int64)


def _lookup_speed(kind: Any, smoke: bool) -> float:
    log = frappe(8192 if smoke else ROWS)
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
