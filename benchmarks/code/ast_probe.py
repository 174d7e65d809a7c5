"""How much of a syntax tree each layer of the default text model holds, on functions of the standard library.

900 functions to learn from and 300 to read, of 8 to 100 tokens, from different files, none of them tests. A seed draws
them from half as many again, and the probe's first weights. The baseline is the same model with layers of chance, the
floor is the right structure with the commonest label, for the accuracy of labels the commonest label. What is expected:
middle layers best, layers of chance no better than the embeddings, little left in the last layer.

Beside the rows, `ast_probe.csv` keeps every run and `ast_probe.png` draws F1 by layer and by rank.
"""

import csv
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peer import on_cores
from benchmarks.results import Row
from embedkit import load
from embedkit.encoders.code.functions import find_functions
from embedkit.encoders.code.syntax_tree import syntax_tree, tree_tuple
from embedkit.errors import InputError
from embedkit.probes.ast import AstScore, LeafVectors, floor_scores, layer_score, leaf_vectors, random_layers

SEEDS = (0, 1, 2)
SIZES = (900, 300)
SPARE = 1.5
STEPS = 1000
RANK, RANKS = 64, (8, 16, 128)
MIDDLE, LAYERS = 3, (0, 1, 2, 3, 4, 5, 6)
RANDOM = (1, 3)
FEWEST, MOST = 8, 100
A_FILE = 10
TEST_SHARE = 0.25
TESTS = {"test", "tests", "idlelib", "lib2to3", "turtledemo", "site-packages", "__phello__"}
MODEL, DRAWN = "MiniLM", "random layers"


@dataclass(frozen=True)
class Job:
    """One probe: of which vectors, at which layer and rank, and what it learns from and reads."""

    vectors: str
    layer: int
    rank: int
    seed: int
    steps: int
    train: LeafVectors
    test: LeafVectors


@dataclass(frozen=True)
class Found:
    """What a job came to."""

    vectors: str
    layer: int
    rank: int
    seed: int
    score: AstScore


def run(smoke: bool) -> Iterator[Row]:
    """F1 and accuracy of labels by layer, by rank, of layers of chance and of the floors."""
    sizes = (16, 8) if smoke else SIZES
    sources = [
        functions(files, size if smoke else round(SPARE * size)) for files, size in zip(_files(), sizes, strict=True)
    ]
    layers, drawn = ((0, MIDDLE), (MIDDLE,)) if smoke else (LAYERS, RANDOM)
    depths = {MODEL: layers, DRAWN: drawn}
    reading = [(name, codes, depths[name]) for name in depths for codes in sources]
    leaves = [_vectors(job) for job in reading] if smoke else on_cores(_vectors, reading)
    read = {MODEL: leaves[:2], DRAWN: leaves[2:]}
    left_out = sum(each.left_out for each in read[MODEL])
    wanted = [
        (MODEL, layer, RANK) for layer in dict.fromkeys((MIDDLE, *layers))
    ]  # the middle one stands for the method
    wanted += [(DRAWN, layer, RANK) for layer in drawn]
    wanted += [(MODEL, MIDDLE, rank) for rank in RANKS[: 1 if smoke else None]]
    jobs, floors = [], []
    for seed in SEEDS[: 1 if smoke else None]:
        places = [_draw(len(each.trees), size, seed) for each, size in zip(read[MODEL], sizes, strict=True)]
        for vectors, layer, rank in wanted:
            train, test = (_only(each.at(own), layer) for each, own in zip(read[vectors], places, strict=True))
            jobs.append(Job(vectors, layer, rank, seed, 10 if smoke else STEPS, train, test))
        floors.append(floor_scores(jobs[-1].train.trees, jobs[-1].test.trees))
    found = [measured(job) for job in jobs] if smoke else on_cores(measured, jobs)
    if not smoke:
        _keep(found)
    yield from _rows(found, floors, wanted, sizes, left_out)


def _files() -> tuple[list[Path], list[Path]]:
    """Files of the standard library to learn from and to read, in an order of chance."""
    root = Path(sysconfig.get_path("stdlib"))
    paths = [path for path in sorted(root.rglob("*.py")) if not TESTS & set(path.relative_to(root).parts[:-1])]
    paths = [paths[place] for place in _draw(len(paths), len(paths), seed=0)]
    cut = round(TEST_SHARE * len(paths))
    return paths[cut:], paths[:cut]


def functions(files: Iterable[Path], wanted: int) -> list[str]:
    """Code of functions of fitting size, at most 10 of a file, none twice."""
    found: dict[str, None] = {}
    for file in files:
        try:
            inside = find_functions(file.read_text(encoding="utf-8"), path=file.name)
        except (InputError, UnicodeDecodeError):
            continue
        codes = (inside[place].code for place in _draw(len(inside), len(inside), seed=0))
        found.update(dict.fromkeys(islice(filter(_fits, codes), A_FILE)))
        if len(found) >= wanted:
            break
    return list(found)[:wanted]


def _fits(code: str) -> bool:
    return FEWEST <= len(tree_tuple(syntax_tree(code)).leaves) <= MOST


def _vectors(job: tuple[str, list[str], tuple[int, ...]]) -> LeafVectors:
    """What the model, or its layers of chance, make of sources."""
    name, codes, layers = job
    model = load(device="cpu")
    return leaf_vectors(model if name == MODEL else random_layers(model), codes, num_layers=layers)


def _draw(there: int, wanted: int, seed: int) -> list[int]:
    return [int(place) for place in np.random.default_rng(seed).permutation(there)[:wanted]]


def _only(vectors: LeafVectors, layer: int) -> LeafVectors:
    return LeafVectors(vectors.trees, {layer: vectors.vectors[layer]})


def measured(job: Job) -> Found:
    """Train one probe and read the test trees with it."""
    score = layer_score(job.train, job.test, job.layer, rank=job.rank, num_steps=job.steps, seed=job.seed)
    return Found(job.vectors, job.layer, job.rank, job.seed, score)


def _rows(
    found: list[Found],
    floors: list[tuple[AstScore, ...]],
    wanted: list[tuple[str, int, int]],
    sizes: tuple[int, int],
    left_out: int,
) -> Iterator[Row]:
    def f1(scores: Iterable[AstScore]) -> list[float]:
        return [score.f1.value for score in scores]

    def accuracy(scores: Iterable[AstScore]) -> list[float]:
        return [score.label_accuracy for score in scores]

    def scores(vectors: str, layer: int, rank: int) -> list[AstScore]:
        return [each.score for each in found if (each.vectors, each.layer, each.rank) == (vectors, layer, rank)]

    def row(metric: str, variant: str, values: list[float], baseline: list[float], floor: list[float]) -> Row:
        return Row(
            method="AST-Probe",
            variant=f"{variant}; baseline: {DRAWN}",
            dataset="standard library",
            metric=metric,
            value=round(float(np.mean(values)), 4),
            low=round(min(values), 4) if len(values) > 1 else None,
            high=round(max(values), 4) if len(values) > 1 else None,
            seeds=len(values),
            baseline=round(float(np.mean(baseline)), 4),
            floor=round(float(np.mean(floor)), 4),
        )

    chance = scores(DRAWN, MIDDLE, RANK)
    flat, right = zip(*floors, strict=True)
    said = f"{sizes[0]} + {sizes[1]} functions, {left_out} too long left out"
    for at, (vectors, layer, rank) in enumerate(wanted):
        variant = f"{vectors}, layer {layer}, rank {rank}" + (f", {said}" if not at else "")
        own = scores(vectors, layer, rank)
        yield row("F1 of nodes", variant, f1(own), f1(chance), f1(right))
        yield row("accuracy of labels", variant, accuracy(own), accuracy(chance), accuracy(right))
    yield row("F1 of nodes", "right-branching, commonest label", f1(flat), f1(chance), f1(right))


def _keep(found: list[Found]) -> None:
    """All runs as a table, and a picture of their means."""
    folder = Path(__file__).parents[1] / "results" / "code"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "ast_probe.csv").open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(["vectors", "layer", "rank", "seed", "precision", "recall", "f1", "label accuracy"])
        for each in found:
            score = each.score
            rates = (score.precision.value, score.recall.value, score.f1.value, score.label_accuracy)
            lines.writerow([each.vectors, each.layer, each.rank, each.seed, *(round(rate, 5) for rate in rates)])
    draw(found, folder / "ast_probe.png")


def draw(found: list[Found], path: Path) -> None:
    """F1 by layer at one rank, and by rank at one layer: means over seeds, from the least to the most."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (by_layer, by_rank) = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained", sharey=True)
    for vectors in (MODEL, DRAWN):
        points = [(each.layer, each.score.f1.value) for each in found if (each.vectors, each.rank) == (vectors, RANK)]
        _line(by_layer, points, vectors)
    by_layer.set(xlabel="layer", ylabel="F1 of the nodes", title=f"rank {RANK}")
    points = [(each.rank, each.score.f1.value) for each in found if (each.vectors, each.layer) == (MODEL, MIDDLE)]
    _line(by_rank, points, MODEL)
    by_rank.set(xlabel="rank", title=f"layer {MIDDLE}", xscale="log")
    by_rank.set_xticks(sorted({rank for rank, _ in points}), sorted({str(rank) for rank, _ in points}, key=int))
    by_rank.set_ylim(bottom=0)
    by_layer.legend()
    figure.savefig(path, dpi=100, metadata={"Software": None})
    plt.close(figure)


def _line(axis: Any, points: list[tuple[int, float]], label: str) -> None:
    places = sorted({place for place, _ in points})
    runs = [[value for own, value in points if own == place] for place in places]
    means = [float(np.mean(values)) for values in runs]
    spread = [
        [mean - min(values) for mean, values in zip(means, runs, strict=True)],
        [max(values) - mean for mean, values in zip(means, runs, strict=True)],
    ]
    axis.errorbar(places, means, spread, marker="o", capsize=3, label=label)
