"""What losses with labels do to classes that were learnt from, and to those that were not.

Half the classes of Banking77 and CLINC150 are learnt from (five draws of the halves), 30 and 40 texts each; 15 test
texts of each class look for the others of their class, among those of learnt classes and, apart from them, among those
of the rest: MAP@R. `fit_projection` trains a linear map, beginning with the principal directions, for equal steps with
each loss, on vectors of all-MiniLM-L6-v2 (384 to 384) and, as weak ones, on TF-IDF (1,500 words to 128). Baseline: the
vectors as they come. Floor: random vectors. pytorch-metric-learning's losses are taken as they are, with its settings.

"Beside": the map's vectors, at twice the weight, joined to those that it began with, each of length 1. That, the steps
and the rate were chosen for SupCon with three other draws of the halves and other texts, which are asked nothing here.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pytorch_metric_learning import losses as peers
from sklearn.feature_extraction.text import TfidfVectorizer
from torch import nn

import embedkit as ek
from benchmarks.data import banking77, clinc150
from benchmarks.peer import on_cores
from benchmarks.results import Row
from embedkit.evaluation.class_search import class_search
from embedkit.evaluation.items import Items
from embedkit.evaluation.statistics import bootstrap_interval, paired_difference
from embedkit.losses import CACRLoss, EnergyConfusionLoss, ProtoTripletLoss, SupConLoss
from embedkit.ops.vectors import normalize
from embedkit.training.projection import fit_projection

SEEDS = (10, 11, 12, 13, 14)
STEPS, TESTED, WORDS, WEIGHT = 200, 15, 1500, 2.0
SEEN, UNSEEN = "seen classes", "unseen classes"
NOTHING, BESIDE, CHANCE = "no training", "SupCon, beside", "random vectors"

Make: TypeAlias = Callable[[int, int], nn.Module]
"""A loss for so many classes and that width."""

ARMS: dict[str, Make] = {
    BESIDE: lambda classes, dim: SupConLoss(),
    "SupCon": lambda classes, dim: SupConLoss(),
    "CACR": lambda classes, dim: CACRLoss(),
    "ProtoTriplet": lambda classes, dim: ProtoTripletLoss(),
    "SupCon + energy confusion": lambda classes, dim: EnergyConfusionLoss(SupConLoss(), weight=0.3),
    "contrastive (PML)": lambda classes, dim: peers.ContrastiveLoss(),
    "contrastive (PML) + energy confusion": lambda classes, dim: EnergyConfusionLoss(
        peers.ContrastiveLoss(), weight=0.1
    ),
    "multi-similarity (PML)": lambda classes, dim: peers.MultiSimilarityLoss(),
    "triplet (PML)": lambda classes, dim: peers.TripletMarginLoss(margin=0.1),
    "ArcFace (PML)": peers.ArcFaceLoss,
    "ProxyAnchor (PML)": peers.ProxyAnchorLoss,
}


@dataclass(frozen=True)
class Data:
    """Vectors of texts, by how they came about, and their classes."""

    train: dict[str, NDArray[np.float32]]
    train_labels: NDArray[np.int64]
    test: dict[str, NDArray[np.float32]]
    test_labels: NDArray[np.int64]


Found: TypeAlias = dict[str, Items]
"""Of seen and of unseen classes: MAP@R of each query."""


def run(smoke: bool) -> Iterator[Row]:
    """MAP@R by loss, data and vectors, each beside untrained vectors, and what the recipe gains."""
    sets = {
        "Banking77": _data(banking77, 6 if smoke else 30, smoke),
        "CLINC150": _data(clinc150, 6 if smoke else 40, smoke),
    }
    arms = [*(list(ARMS)[:2] if smoke else ARMS), NOTHING, CHANCE]
    jobs = [
        (name, kind, arm, seed)
        for name, data in sets.items()
        for kind in data.train
        for arm in arms
        for seed in (SEEDS[:1] if smoke else SEEDS)
    ]
    work = partial(measure, sets=sets, steps=2 if smoke else STEPS)
    each = [work(job) for job in jobs] if smoke else on_cores(work, jobs)
    found: dict[tuple[str, str, str], list[Found]] = {}
    for (name, kind, arm, _), one in zip(jobs, each, strict=True):
        found.setdefault((name, kind, arm), []).append(one)
    resamples = 200 if smoke else 2000
    for (name, kind, arm), several in found.items():
        if arm != CHANCE:
            yield from _rows(name, kind, arm, several, found, resamples)


def _rows(
    name: str, kind: str, arm: str, several: list[Found], found: dict[tuple[str, str, str], list[Found]], resamples: int
) -> Iterator[Row]:
    untrained, chance = found[name, kind, NOTHING], found[name, kind, CHANCE]
    for classes in (SEEN, UNSEEN):
        items = [one[classes] for one in several]
        interval = bootstrap_interval(items, resamples=resamples)
        told = ""
        if arm != NOTHING:
            gain = paired_difference(items, [one[classes] for one in untrained], resamples=resamples)
            told = f"; gain {gain.low:+.3f} to {gain.high:+.3f}"
        yield Row(
            method="losses with labels",
            variant=arm + told,
            dataset=f"{name}, {kind}",
            metric=f"MAP@R, {classes}",
            value=interval.value,
            low=interval.low,
            high=interval.high,
            seeds=len(several),
            baseline=None if arm == NOTHING else _mean([one[classes] for one in untrained]),
            floor=_mean([one[classes] for one in chance]),
        )


def _mean(several: list[Items]) -> float:
    return float(np.mean([items.columns["score"].mean() for items in several]))


def measure(job: tuple[str, str, str, int], *, sets: dict[str, Data], steps: int) -> Found:
    """MAP@R of seen and of unseen classes with one loss, kind of vectors and draw of the halves."""
    name, kind, arm, seed = job
    data = sets[name]
    draw = np.random.default_rng(seed)
    classes = np.unique(data.train_labels)
    learnt = draw.permutation(classes)[: len(classes) // 2]
    rows = np.isin(data.train_labels, learnt)
    labels = np.unique(data.train_labels[rows], return_inverse=True)[1]
    transform = _learn(arm, data.train[kind][rows], labels, seed, steps)
    seen = np.isin(data.test_labels, learnt)
    found: Found = {}
    for which, asked in ((SEEN, seen), (UNSEEN, ~seen)):
        vectors = data.test[kind][asked]
        found_by = draw.normal(size=vectors.shape) if arm == CHANCE else transform(vectors)
        items = class_search(found_by, data.test_labels[asked]).items("MAP@R")
        found[which] = Items("test", f"draw {seed}", items.statistic, items.unit, items.ids, items.columns)
    return found


def _learn(
    arm: str, vectors: NDArray[Any], labels: NDArray[Any], seed: int, steps: int
) -> Callable[[NDArray[Any]], NDArray[Any]]:
    if arm in (NOTHING, CHANCE):
        return normalize
    dim = 384 if vectors.shape[1] == 384 else 128
    loss = ARMS[arm](int(labels.max()) + 1, dim)
    projection = fit_projection(loss, vectors, labels, dim, steps=steps, seed=seed)
    if arm != BESIDE:
        return projection.transform
    return lambda asked: np.hstack([normalize(asked), WEIGHT * projection.transform(asked)])


def _data(read: Callable[[Any], tuple[list[str], list[str]]], learnt: int, smoke: bool) -> Data:
    texts, labels = {}, {}
    for split, count in (("train", learnt), ("test", 4 if smoke else TESTED)):
        all_texts, all_labels = read(split)
        names, codes = np.unique(all_labels, return_inverse=True)
        draw = np.random.default_rng(0)
        chosen = range(0, len(names), 16 if smoke else 1)
        orders = [draw.permutation(np.flatnonzero(codes == code)) for code in chosen]
        rows = np.concatenate([order[:count] if split == "train" else order[-count:] for order in orders])
        texts[split], labels[split] = [all_texts[row] for row in rows], codes[rows]
    encoder, words = ek.load(device="cpu"), TfidfVectorizer(max_features=WORDS).fit(texts["train"])

    def vectors(split: str) -> dict[str, NDArray[np.float32]]:
        weak = words.transform(texts[split]).toarray().astype(np.float32)
        return {"MiniLM": encoder.encode(texts[split]), "TF-IDF": weak}

    return Data(vectors("train"), labels["train"], vectors("test"), labels["test"])
