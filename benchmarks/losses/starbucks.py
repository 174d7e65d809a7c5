"""Does training fixed sizes together (Starbucks) beat its peers at those sizes, and the model trained for each alone?

The default model is trained on STS-B train and NLI-like pairs, once for each arm and seed, with CoSENT, for 100 steps:
the last layer only; Matryoshka on the last layer; 2D Matryoshka in the paper's form and in sentence-transformers';
Espresso; Starbucks without and with the divergence of scores; and, for each size, a model of that depth trained at that
width. The learning rate and all else were fixed beforehand; the test split is read once, at the end.

Beside the rows, `starbucks.csv` keeps every cell of the grid of every arm and seed, and `starbucks.png` draws them.
"""

import csv
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

import embedkit as ek
from benchmarks.data import clinc150_pairs, stsb
from benchmarks.peer import on_cores, tfidf_cosines
from benchmarks.results import Row
from embedkit.encoders.depth import truncate_layers
from embedkit.evaluation.statistics import holm
from embedkit.evaluation.statistics.metrics import STATISTICS
from embedkit.losses import CoSENTLoss, EspressoLoss, MatryoshkaLoss, StarbucksLoss, TwoDMatryoshkaLoss
from embedkit.training.fit import fit

PAIRS = ((1, 24), (2, 48), (3, 96), (4, 192), (5, 288), (6, 384))
LAYERS, DIMS = zip(*PAIRS, strict=True)
SEEDS = (0, 1, 2)
NLI_LIKE = 750
SETTINGS: dict[str, Any] = {"max_steps": 100, "batch_size": 32, "learning_rate": 5e-5, "show_progress_bar": False}
RESAMPLES = 2000
OURS = "SRL + score KL"
ALONE = "trained alone"

Floats = NDArray[np.float64]


ARMS: dict[str, Callable[[int], Any]] = {
    OURS: lambda _: StarbucksLoss(CoSENTLoss(), PAIRS),
    "SRL": lambda _: StarbucksLoss(CoSENTLoss(), PAIRS, kl=None),
    "last layer only": lambda _: CoSENTLoss(),
    "Matryoshka": lambda _: MatryoshkaLoss(CoSENTLoss(), DIMS),
    "2DMSE, paper": lambda seed: TwoDMatryoshkaLoss(CoSENTLoss(), DIMS, seed=seed),
    "2DMSE, ST": lambda seed: TwoDMatryoshkaLoss(CoSENTLoss(), DIMS, form="sentence_transformers", seed=seed),
    "Espresso": lambda _: EspressoLoss(CoSENTLoss(), 96),
}
"""Losses by name, made anew for each seed; the method that users get by default comes first."""

Job: TypeAlias = tuple[str, tuple[int, int], int, bool]
"""Arm, size, seed, and whether it is a smoke run."""


def run(smoke: bool) -> Iterator[Row]:
    """Spearman of each size and arm; the mean of the grid; and differences with Holm-corrected p-values."""
    test, target = _test(smoke)
    seeds, resamples = (SEEDS[:1], 100) if smoke else (SEEDS, RESAMPLES)
    names, sizes = (list(ARMS)[:1], PAIRS[:1]) if smoke else (list(ARMS), PAIRS)
    jobs = [(name, PAIRS[-1], seed, smoke) for name in names for seed in seeds]
    jobs += [(ALONE, pair, seed, smoke) for pair in sizes for seed in seeds]
    found = dict(zip(jobs, on_cores(trained, jobs), strict=True))
    cells = {name: np.stack([found[name, PAIRS[-1], seed, smoke] for seed in seeds]) for name in names}
    alone = {pair: np.stack([found[ALONE, pair, seed, smoke] for seed in seeds]) for pair in sizes}
    untrained = grid_of(ek.load(device="cpu"), test)
    if not smoke:
        _keep(cells, alone, untrained, target)
    yield from _rows_of_sizes(cells, alone, untrained, test, target)
    yield from _rows_of_grids(cells, untrained, target)
    yield from _comparisons(cells, alone, target, resamples)


def _test(smoke: bool) -> tuple[tuple[list[str], list[str]], Floats]:
    first, second, gold = stsb("test")
    size = 16 if smoke else None
    return (first[:size], second[:size]), np.asarray(gold[:size])


def trained(job: Job) -> Floats:
    """Cosines of the test pairs by a model of one arm and seed: in every cell, or in its own if it is trained alone."""
    arm, pair, seed, smoke = job
    train = [*zip(*stsb("train"), strict=True), *clinc150_pairs(NLI_LIKE)]
    options = {**SETTINGS, "max_steps": 1} if smoke else SETTINGS
    encoder = truncate_layers(ek.load(device="cpu"), pair[0])
    loss = MatryoshkaLoss(CoSENTLoss(), [pair[1]]) if arm == ALONE else ARMS[arm](seed)
    fit(encoder, train[:64] if smoke else train, loss, seed=seed, **options)
    test, _ = _test(smoke)
    return cosines(encoder, test, *pair) if arm == ALONE else grid_of(encoder, test)


def grid_of(encoder: ek.Encoder, test: tuple[list[str], list[str]]) -> Floats:
    """Cosines of all pairs of texts in every cell, (layers, dims, pairs)."""
    one, two = (encoder.encode_grid(texts, LAYERS, DIMS, normalize_embeddings=True) for texts in test)
    return np.stack([[(one[n, d] * two[n, d]).sum(axis=1) for d in DIMS] for n in LAYERS]).astype(np.float64)


def cosines(encoder: ek.Encoder, test: tuple[list[str], list[str]], depth: int, dim: int) -> Floats:
    """Cosines of all pairs of texts at one depth and width."""
    options: dict[str, Any] = {"num_layers": depth, "truncate_dim": dim, "normalize_embeddings": True}
    one, two = (encoder.encode(texts, **options) for texts in test)
    return np.asarray((one * two).sum(axis=1), dtype=np.float64)


def _rows_of_sizes(
    cells: dict[str, Floats],
    alone: dict[tuple[int, int], Floats],
    untrained: Floats,
    test: tuple[list[str], list[str]],
    target: Floats,
) -> Iterator[Row]:
    tfidf = _points(spearmanr(tfidf_cosines(*test), target).statistic)
    for place, pair in enumerate(PAIRS):
        if pair not in alone:
            continue
        single = _scores(alone[pair], target)
        floor = _points(spearmanr(untrained[place, place], target).statistic)
        about = {"dataset": f"STS-B test, {pair[0]} layers x {pair[1]}", "metric": "Spearman x 100", "floor": floor}
        for name, found in cells.items():
            scores = _scores(found[:, place, place], target)
            yield _over_seeds(scores, method="StarbucksLoss", variant=name, baseline=_mean(single), **about)
        yield _over_seeds(single, method="StarbucksLoss", variant=f"{ALONE}; baseline: TF-IDF", baseline=tfidf, **about)


def _rows_of_grids(cells: dict[str, Floats], untrained: Floats, target: Floats) -> Iterator[Row]:
    """The mean over all cells, those off the trained diagonal too."""
    last = next((found for name, found in cells.items() if name == "last layer only"), None)
    for name, found in cells.items():
        yield _over_seeds(
            [_grid_mean(grid, target) for grid in found],
            method="StarbucksLoss",
            variant=f"{name}; baseline: last layer only; floor: before training",
            dataset="STS-B test, mean of 6 x 6 cells",
            metric="Spearman x 100",
            baseline=None if last is None else _mean([_grid_mean(grid, target) for grid in last]),
            floor=_grid_mean(untrained, target),
        )


def _comparisons(
    cells: dict[str, Floats], alone: dict[tuple[int, int], Floats], target: Floats, resamples: int
) -> Iterator[Row]:
    """Ours minus each other arm at each size, by a bootstrap over the test pairs that all arms and seeds share."""
    draws = np.random.default_rng(0).integers(len(target), size=(resamples, len(target)))
    found = []
    for place, pair in enumerate(PAIRS):
        if pair not in alone:
            continue
        others = {name: grid[:, place, place] for name, grid in cells.items() if name != OURS} | {ALONE: alone[pair]}
        ours = _resampled(cells[OURS][:, place, place], target, draws)
        for name, other in reversed(others.items()):
            apart = ours - _resampled(other, target, draws)
            point = _mean(_scores(cells[OURS][:, place, place], target)) - _mean(_scores(other, target))
            tail = min((apart <= 0).sum(), (apart >= 0).sum())
            found.append((pair, name, point, apart, min(1.0, 2 * (1 + tail) / (1 + resamples))))
    for (pair, name, point, apart, _), p in zip(found, holm([each[-1] for each in found]), strict=True):
        low, high = np.quantile(apart, [0.025, 0.975])
        yield Row(
            method="StarbucksLoss",
            variant=f"minus {name}; paired bootstrap over pairs, mean over seeds; p = {p:.4f} after Holm",
            dataset=f"STS-B test, {pair[0]} layers x {pair[1]}",
            metric="difference x 100",
            value=round(point, 2),
            low=round(min(float(low), point), 2),
            high=round(max(float(high), point), 2),
            seeds=len(cells[OURS]),
            floor=0.0,
        )


def _resampled(similarities: Floats, target: Floats, draws: NDArray[np.int64]) -> Floats:
    """Mean over seeds of Spearman x 100 in each resample."""
    statistic = STATISTICS["spearman"]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        columns = ({"score": one, "target": target} for one in similarities)
        drawn = np.array(list(pool.map(lambda each: statistic(each, draws), columns)))
    return np.asarray(100 * drawn.mean(axis=0))


def _scores(similarities: Floats, target: Floats) -> list[float]:
    return [_points(spearmanr(one, target).statistic) for one in similarities]


def _grid_mean(grid: Floats, target: Floats) -> float:
    return _mean([value for row in grid for value in _scores(row, target)])


def _over_seeds(scores: list[float], **about: Any) -> Row:
    return Row(value=_mean(scores), low=min(scores), high=max(scores), seeds=len(scores), **about)


def _mean(values: list[float]) -> float:
    return round(float(np.mean(values)), 2)


def _points(value: float) -> float:
    return round(100 * float(value), 2)


def _keep(cells: dict[str, Floats], alone: dict[tuple[int, int], Floats], untrained: Floats, target: Floats) -> None:
    """All cells as a table, and a picture of them."""
    folder = Path(__file__).parents[1] / "results" / "losses"
    folder.mkdir(parents=True, exist_ok=True)
    grids = {"before training": untrained[None], **cells}
    scored = {
        name: np.array([[_scores(row, target) for row in grid] for grid in found]) for name, found in grids.items()
    }
    with (folder / "starbucks.csv").open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(["arm", "seed", "layers", "dim", "spearman"])
        for name, found in scored.items():
            for (seed, n, d), value in np.ndenumerate(found):
                lines.writerow([name, seed, LAYERS[n], DIMS[d], value])
        for (layers, dim), found in alone.items():
            lines.writerows([ALONE, seed, layers, dim, value] for seed, value in enumerate(_scores(found, target)))
    _draw({name: found.mean(axis=0) for name, found in scored.items()}, folder / "starbucks.png")


def _draw(grids: dict[str, Floats], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    low, high = min(grid.min() for grid in grids.values()), max(grid.max() for grid in grids.values())
    figure, axes = plt.subplots(2, (len(grids) + 1) // 2, figsize=(14, 7), layout="constrained", squeeze=False)
    for axis in axes.flat[len(grids) :]:
        axis.axis("off")
    for axis, (name, grid) in zip(axes.flat, grids.items(), strict=False):
        axis.imshow(grid, vmin=low, vmax=high, cmap="viridis")
        axis.set(title=name, xlabel="dimensions", ylabel="layers")
        axis.set_xticks(range(len(DIMS)), DIMS)
        axis.set_yticks(range(len(LAYERS)), LAYERS)
        for (n, d), value in np.ndenumerate(grid):
            color = "white" if value < (low + high) / 2 else "black"
            axis.text(d, n, f"{value:.1f}", ha="center", va="center", color=color, fontsize=8)
    figure.suptitle("STS-B test, Spearman × 100, mean over seeds")
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)
