"""Observatory's eight properties on Spider tables, of eight encoders, each beside what chance or a confound gives.

Order and samples: 40 tables of 8 to 40 rows and 3 to 8 columns that the longest window holds whole. Joins: 150 declared
keys and as many pairs of the same databases that are none. Dependencies (a variance): every second table. Renamed
headers: the names that Spider abbreviates. The checks are figures measured before for the default model, with tables
drawn likewise. A column order that does not matter is no achievement by itself: the cosine to another column of the
same table and the AUC of declared keys tell whether vectors still say anything.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

import embedkit as ek
from benchmarks.peer import on_cores
from benchmarks.results import Row
from benchmarks.spider import Place, spider, spider_keys, spider_names
from embedkit.encoders.depth import truncate_layers
from embedkit.encoders.encoder import Encoder
from embedkit.encoders.table.encoder import table_encoder
from embedkit.encoders.table.parts import part_encoder
from embedkit.encoders.table.table import Table
from embedkit.encoders.text import static_encoder, tfidf_lsa
from embedkit.evaluation.floors import untrained
from embedkit.probes.observatory import (
    Finding,
    Renamed,
    column_order,
    column_pairs,
    dependency_translation,
    entity_stability,
    heterogeneous_context,
    join_relationship,
    perturbation_robustness,
    row_order,
    sample_fidelity,
)

TABLES, WINDOW, PAIRS = 40, 512, 150
OURS, STOCK, QUICK = "columns alone (ours)", "column-wise", "columns alone, static"
CHECKS = {
    ("column-wise", "row order", "column, cosine"): 0.9767,
    ("row-wise", "row order", "column, cosine"): 0.9760,
    ("column-wise", "column order", "column, cosine"): 0.8903,
    ("row-wise", "column order", "column, cosine"): 0.9686,
    ("column-wise", "sample fidelity", "column, cosine"): 0.7017,
    ("row-wise", "sample fidelity", "column, cosine"): 0.7839,
    ("column-wise", "join relationship", "AUC, declared key or not"): 0.960,
}
"""What was measured before, on other draws."""


def run(smoke: bool) -> Iterator[Row]:
    """Each line of each property for each encoder, ours first; the floor is the line's control."""
    names = [QUICK] if smoke else list(_encoders())
    found = dict(zip(names, on_cores(partial(measured, smoke=smoke), names), strict=True))
    stock = {(each.property, line.name): line.estimate.value for each in found.get(STOCK, []) for line in each.lines}
    for name in names:
        for finding in found[name]:
            for line in finding.lines:
                key = finding.property, line.name
                if math.isnan(line.estimate.value):
                    continue
                yield Row(
                    method=finding.property,
                    variant=f"{name}, {line.estimate.n} units; baseline: {STOCK}; floor: control",
                    dataset="Spider",
                    metric=line.name.removeprefix("variance, ").replace("unit length", "unit"),
                    value=round(line.estimate.value, 4),
                    low=round(line.estimate.low, 4),
                    high=round(line.estimate.high, 4),
                    baseline=_shown(stock.get(key)) if name != STOCK else None,
                    floor=_shown(line.control.value) if line.control else None,
                    paper=CHECKS.get((name, *key)),
                )


def _shown(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else round(value, 4)


def _encoders() -> dict[str, Callable[[Encoder, Sequence[str]], Encoder]]:
    """From the default text model and the texts of the tables to each encoder of tables."""
    return {
        OURS: lambda text, _: part_encoder(text),
        STOCK: lambda text, _: table_encoder(text),
        "row-wise": lambda text, _: table_encoder(text, layout="rows"),
        "column-wise, first layer": lambda text, _: table_encoder(truncate_layers(text, 1)),
        "set of cells": lambda text, _: part_encoder(text, unit="cells", max_values=None),
        QUICK: lambda text, _: part_encoder(static_encoder(text)),
        "columns alone, TF-IDF + LSA": lambda _, texts: part_encoder(tfidf_lsa(texts, dim=min(256, len(texts) // 2))),
        "columns alone, untrained": lambda text, _: part_encoder(untrained(text)),
    }


def measured(name: str, *, smoke: bool) -> list[Finding]:
    """All eight properties of one encoder."""
    torch.set_num_threads(1)
    everything = spider(8 if smoke else None)
    small = _small(everything, 2 if smoke else TABLES)
    text = ek.load(device="cpu")
    text.max_seq_length = WINDOW
    texts = sorted({cell for table in everything.values() for row in table.rows[:50] for cell in row if cell})
    encoder = _encoders()[name](text, texts)
    pairs = column_pairs(everything, spider_keys(8 if smoke else None))
    draw = np.random.default_rng(0)
    pairs = [
        pair
        for joins in (True, False)
        for pair in _drawn([each for each in pairs if each.joins is joins], 4 if smoke else PAIRS, draw)
    ]
    variants = 1 if smoke else 4
    findings = [
        row_order(encoder, small, variants=variants),
        column_order(encoder, small, variants=variants),
        join_relationship(encoder, pairs),
        sample_fidelity(encoder, small, variants=variants),
        entity_stability(encoder, part_encoder(static_encoder(text)), small, max_cells=40 if smoke else 300),
        perturbation_robustness(encoder, _renamed(everything)[: 6 if smoke else None]),
    ]
    if smoke:
        return findings
    return [
        *findings,
        dependency_translation(encoder, list(everything.values())[::2]),
        heterogeneous_context(encoder, _small(everything, 3 * TABLES), min_tables=5),
    ]


def _small(tables: dict[Place, Table], count: int) -> list[Table]:
    """Tables that are neither tiny nor too long for the window, drawn over all databases."""
    fit = [each for each in tables.values() if 8 <= len(each.rows) <= 40 and 3 <= len(each.columns) <= 8]
    short = [each for each in fit if sum(len(cell) + 2 for row in each.rows for cell in row) < 2 * WINDOW]
    return _drawn(short, count, np.random.default_rng(0))


def _drawn(items: Sequence[Any], count: int, draw: np.random.Generator) -> list[Any]:
    return [items[place] for place in sorted(draw.permutation(len(items))[:count])]


def _renamed(tables: dict[Place, Table]) -> list[Renamed]:
    """Columns whose headers Spider abbreviates, under both names."""
    found = {(database.lower(), name.lower()): table for (database, name), table in tables.items()}
    pairs = []
    for each in spider_names():
        table = found.get((each.database.lower(), each.table.lower()))
        folded = [name.lower() for name in table.columns] if table else []
        if table and each.column.lower() in folded:
            place = folded.index(each.column.lower())
            column = Table("", (each.column,), [(row[place],) for row in table.rows])
            pairs.append(Renamed(column, each.expansion))
    return pairs
