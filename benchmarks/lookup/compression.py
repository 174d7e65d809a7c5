"""One figure: what each way to compress an embedding table costs in AUC, every stored byte counted, on Frappe.

One network, one schedule, and of a seed the same first weights of the network. Methods that share or shape rows are
trained at their size from the start; those that search are trained again on what they found; the others compress a
table that was trained whole, and are tuned for two more epochs where something can be tuned. What two more epochs give
to the full table is a row of its own. A method whose smallest table is above a budget is left out there. The floor is
the naive way, one hash a field.

Beside the rows, `compression.csv` keeps every run and `compression.png` draws AUC against bytes.
"""

import copy
import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
import torch
from torch import Tensor

from benchmarks.clicks import DIM, Log, click_network, fitted, frappe, scored
from benchmarks.peer import on_cores
from benchmarks.results import Row
from embedkit.errors import InputError
from embedkit.modules.interaction import ClickModel
from embedkit.modules.lookup import (
    AdaptiveLookup,
    AutoDimLookup,
    AutoSrhLookup,
    DeepHashLookup,
    DeepLightLookup,
    HashLookup,
    LearnedStepLookup,
    Lookup,
    MGQELookup,
    MixedDimLookup,
    OptEmbedLookup,
    PlainLookup,
    QuantizedTrainingLookup,
    QuotientRemainderLookup,
    RobeLookup,
    SearchResult,
    SoftThresholdLookup,
    TensorTrainLookup,
    UnifiedLookup,
    compress,
    evolve,
    greedy_search,
    random_search,
)

SEEDS = (0, 1, 2)
SHARES = (0.5, 0.2, 0.08, 0.02)
TUNING = 2
SEARCHES = 160
FULL, FLOOR = "full table", "hash, one probe a field"

Make: TypeAlias = Callable[..., Lookup]
Job: TypeAlias = tuple[str, float, int, bool]
"""Method, share of the full table's bytes (1 where the method has no budget), seed, and whether it is a smoke run."""

TRAINED: dict[str, Make] = {
    "ROBE": RobeLookup.for_budget,
    "Unified, 4 probes": partial(UnifiedLookup.for_budget, probes=4),
    "Unified, 1 probe": partial(UnifiedLookup.for_budget, probes=1),
    "hash, 4 probes a field": partial(HashLookup.for_budget, probes=4),
    FLOOR: partial(HashLookup.for_budget, probes=1),
    "QR, multiply": partial(QuotientRemainderLookup.for_budget, operation="multiply"),
    "QR, add": partial(QuotientRemainderLookup.for_budget, operation="add"),
    "QR, concat": partial(QuotientRemainderLookup.for_budget, operation="concat"),
    "TT-Rec": TensorTrainLookup.for_budget,
    "DHE": DeepHashLookup.for_budget,
    "MDE": MixedDimLookup.for_budget,
    "AdaptEmb": AdaptiveLookup.for_budget,
    "MGQE": MGQELookup.for_budget,
    "int, stochastic": QuantizedTrainingLookup.for_budget,
    "ALPT": LearnedStepLookup.for_budget,
    "DeepLight": DeepLightLookup.for_budget,
    "AutoSrh": AutoSrhLookup.for_budget,
}
"""Methods that are told their size."""

UNSIZED: dict[str, Make] = {
    FULL: lambda sizes, dim, **_: PlainLookup(sizes, dim),
    "AutoDim": lambda sizes, dim, **_: AutoDimLookup(sizes, dim),
    "PEP": lambda sizes, dim, **_: SoftThresholdLookup(sizes, dim),
}
"""Methods that find their size themselves."""

OPTEMBED: dict[str, Callable[..., SearchResult]] = {
    "OptEmbed, evolved": partial(evolve, budget=SEARCHES),
    "OptEmbed, random search": partial(random_search, budget=SEARCHES),
    "OptEmbed, greedy search": lambda score, fields, dim, seed: greedy_search(score, fields, dim, budget=SEARCHES),
}

AGAIN: dict[str, Callable[[Any], Lookup]] = {
    "AutoDim": lambda found: MixedDimLookup(found.sizes, DIM, dims=found.chosen_dims()),
    "AutoSrh": AutoSrhLookup.serving,
}
"""What of a search is trained again: tables of the chosen widths anew, and what pruning left as it was left."""

POST = ("afm", "low_rank", "int8", "int4", "prune", "codebook", "dedup", "tensor_train")
"""Methods of `compress`, each as it comes and tuned."""


@dataclass(frozen=True)
class Found:
    """One run.

    Attributes:
        method: As rows name it.
        share: Of the full table's bytes, as asked for.
        nbytes: Of the serving table.
        auc: On the test rows.
    """

    method: str
    share: float
    nbytes: int
    auc: float


def run(smoke: bool) -> Iterator[Row]:
    """AUC of each method at each budget, with the full table as baseline."""
    jobs = _jobs(smoke)
    found = [each for some in (map(measured, jobs) if smoke else on_cores(measured, jobs)) for each in some]
    if not smoke:
        _keep(found)
    full = float(np.mean([each.auc for each in found if each.method == FULL]))
    groups: dict[tuple[str, float], list[Found]] = {}
    for each in found:
        groups.setdefault((each.method, each.share), []).append(each)
    for (method, share), runs in groups.items():
        scores = [each.auc for each in runs]
        floor = [each.auc for each in found if (each.method, each.share) == (FLOOR, share)]
        asked = f"budget {share:.0%}, " if share < 1 else ""
        yield Row(
            method=method,
            variant=f"{asked}{np.mean([each.nbytes for each in runs]):,.0f} bytes; baseline: {FULL}",
            dataset="Frappe test",
            metric="AUC",
            value=round(float(np.mean(scores)), 5),
            low=round(min(scores), 5),
            high=round(max(scores), 5),
            seeds=len(runs),
            baseline=None if method == FULL else round(full, 5),
            floor=round(float(np.mean(floor)), 5) if floor else None,
        )


def _jobs(smoke: bool) -> list[Job]:
    seeds, shares = (SEEDS[:1], SHARES[1:2]) if smoke else (SEEDS, SHARES)
    unsized = [FULL] if smoke else [*UNSIZED, *OPTEMBED]  # the longest, so first
    sized = ["ROBE", FLOOR] if smoke else list(TRAINED)
    jobs = [(name, 1.0, seed, smoke) for name in unsized for seed in seeds]
    return jobs + [(name, share, seed, smoke) for name in sized for share in shares for seed in seeds]


def measured(job: Job) -> list[Found]:
    """What one job comes to; training the full table brings all that compresses it."""
    name, share, seed, smoke = job
    log = frappe(8192 if smoke else None)
    torch.manual_seed(seed)
    if name in OPTEMBED:
        return [_optembed(name, seed, log)]
    counts = torch.from_numpy(np.concatenate(log.vocabulary.counts))
    options: dict[str, Any] = {"names": log.vocabulary.names, "counts": counts, "seed": seed}
    sizes = log.vocabulary.sizes
    try:
        lookup = (
            TRAINED[name](sizes, DIM, nbytes=int(share * _whole(log)), **options)
            if name in TRAINED
            else UNSIZED[name](sizes, DIM)
        )
    except InputError:  # the smallest is above the budget
        return []
    model = fitted(click_network(lookup, log, seed), log, seed, smoke)
    if name in AGAIN:
        model = fitted(click_network(AGAIN[name](model.embedding.lookup), log, seed), log, seed, smoke)
    found = [_found(name, share, model, log)]
    if name == FULL:
        found += _post(model, counts, log, seed, smoke)
        if not smoke:
            found.append(_found(f"{FULL}, tuned", share, _tuned(model, log, seed), log))
    return found


def _whole(log: Log) -> int:
    return 4 * DIM * sum(log.vocabulary.sizes)


def _tuned(model: ClickModel, log: Log, seed: int) -> Any:
    return fitted(model, log, seed, smoke=False, epochs=TUNING, rate=1e-3)


def _found(method: str, share: float, model: ClickModel, log: Log) -> Found:
    """The test rows by the serving form of the table."""
    served = copy.deepcopy(model)
    served.embedding.lookup = model.embedding.lookup.serving()
    auc, _ = scored(served, log.test)
    return Found(method, share, served.embedding.lookup.nbytes, auc)


def _post(model: ClickModel, counts: Tensor, log: Log, seed: int, smoke: bool) -> Iterator[Found]:
    """The trained table compressed to each budget, as it comes and after tuning what can be tuned."""
    for method in POST[:1] if smoke else POST:
        for share in SHARES[1:2] if smoke else SHARES:
            try:
                small: Any = compress(model, budget=int(share * _whole(log)), method=cast(Any, method), counts=counts)
            except InputError:
                continue
            yield _found(f"{method}, as it comes", share, small, log)
            if not smoke and any(weight.requires_grad for weight in small.embedding.lookup.parameters()):
                yield _found(f"{method}, tuned", share, _tuned(small, log, seed), log)


def _optembed(name: str, seed: int, log: Log) -> Found:
    """Supernet, search on the validation rows, training again from all first weights with both masks fixed."""
    lookup = OptEmbedLookup(log.vocabulary.sizes, DIM)
    model = fitted(click_network(lookup, log, seed), log, seed, smoke=False)

    def score(candidate: tuple[int, ...]) -> float:
        lookup.use(candidate)
        return scored(model, log.validation)[0]

    lookup.use(OPTEMBED[name](score, len(lookup.sizes), DIM, seed=seed).candidate)
    return _found(name, 1.0, fitted(click_network(lookup.for_retraining(), log, seed), log, seed, smoke=False), log)


def _keep(found: list[Found]) -> None:
    """All runs as a table, and a picture of their means."""
    folder = Path(__file__).parents[1] / "results" / "lookup"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "compression.csv").open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(["method", "share", "bytes", "auc"])
        lines.writerows([each.method, each.share, each.nbytes, round(each.auc, 5)] for each in found)
    draw(found, folder / "compression.png")


def draw(found: list[Found], path: Path) -> None:
    """Mean bytes against what is missing to AUC 1; those that no other beats at their size are joined and named."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    curves: dict[str, list[tuple[float, float]]] = {}
    for method, share in dict.fromkeys((each.method, each.share) for each in found):
        runs = [each for each in found if (each.method, each.share) == (method, share)]
        point = (float(np.mean([each.nbytes for each in runs])), 1 - float(np.mean([each.auc for each in runs])))
        curves.setdefault(method, []).append(point)
    figure, axis = plt.subplots(figsize=(13, 8), layout="constrained")
    colours = plt.get_cmap("tab20").colors  # type: ignore[attr-defined]  # of a listed map
    for place, (method, points) in enumerate(curves.items()):
        style = {"color": colours[place % 20], "marker": "osv^D*PX"[place % 8], "linestyle": ("-", ":")[place >= 20]}
        axis.plot(*zip(*sorted(points), strict=True), label=method, linewidth=1, markersize=5, **style)
    best = np.inf
    front = []
    for nbytes, missing, method in sorted((*point, name) for name, points in curves.items() for point in points):
        if missing < best:
            best = missing
            front.append((nbytes, missing))
            axis.annotate(method, (nbytes, missing), (0, -14), textcoords="offset points", fontsize=8, ha="center")
    axis.plot(*zip(*front, strict=True), color="black", linewidth=2.5, alpha=0.35, label="Pareto front")
    axis.set(
        xscale="log", yscale="log", xlabel="bytes of the table, everything counted", ylabel="1 − AUC on the test rows"
    )
    axis.set_title("Frappe: one network, one schedule, mean over seeds; below is better")
    figure.legend(fontsize=8, loc="outside right upper")
    axis.grid(alpha=0.3, which="both")
    figure.savefig(path, dpi=100, metadata={"Software": None})
    plt.close(figure)
