"""Which name is that picture's? Emoji whose names nobody was trained on, by a closed form and by trained networks.

Pictures of 32 x 32 by three vendors, without skin tones, whose names differ in nothing else; names as all-MiniLM-L6-v2
writes them, which stays as it is (its vectors are computed once, and their mean is taken off). Every way learns from
the same pictures and names: `RidgeAligner` maps histograms of gradients and colours to the names' vectors; a network of
one hidden layer behind the same histograms is trained, for equal steps with three seeds, by the losses of CLIP, ALIGN
(temperature from 1, smoothing), SigLIP, CWCL (both forms of the weights), and by CLIP's where repeated captions count
as right, or never meet in a batch; and a ConvNet by CLIP's. Asked are test pictures for their names among the 226, and
names for pictures; ties count against the right one. Floor: chance.

Steps, rates, dropout, views without mirrors, and no map behind the names (one was trained along at first, and finds
less) were chosen for CLIP's loss on the validation names, with seed 0; the other losses take them as they are.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

import embedkit as ek
from benchmarks.emoji import STYLES, Emoji, emoji
from benchmarks.peer import on_cores
from benchmarks.results import Row
from benchmarks.towards import Towards
from embedkit.encoders.image import conv_encoder, histogram_encoder
from embedkit.evaluation.items import Items
from embedkit.evaluation.keyed_search import keyed_search
from embedkit.evaluation.novelty import Band, by_novelty, nearness
from embedkit.evaluation.pair_search import PairSearch, mean_items
from embedkit.evaluation.statistics import bootstrap_interval, paired_difference
from embedkit.heads import RidgeAligner
from embedkit.losses import PairContrastiveLoss, SigmoidPairLoss
from embedkit.modules.augmentation import RandomViews
from embedkit.ops.targets import cosine_weights, same_key
from embedkit.training.batches import OnePerKey
from embedkit.training.fit import fit

DIM = 384
BATCH = 192
SEEDS = (0, 1, 2)
ALPHAS = (0.001, 0.01, 0.1, 0.3, 1.0, 3.0)
METRICS = ("recall@1", "recall@10")
RIDGE, CLIP = "HOG + RidgeAligner", "CLIP"
WAYS = ("picture to name", "name to picture")

Found = dict[tuple[str, str], list[PairSearch]]
"""Of each vendor and way: what was found, one entry a seed."""


@dataclass(frozen=True)
class Task:
    """What is learnt from and asked, and the vectors of all names."""

    train: Emoji
    test: Emoji
    names: Mapping[str, NDArray[np.float32]]

    def vectors(self, names: list[str]) -> NDArray[np.float32]:
        """Of some names, (n, 384)."""
        return np.stack([self.names[name] for name in names])


@dataclass(frozen=True)
class Tower:
    """An untrained encoder of pictures by its seed, and how long it is trained and how fast."""

    encoder: Callable[[int], ek.Encoder]
    steps: int
    rate: float


HISTOGRAMS = Tower(
    lambda seed: histogram_encoder(dim=DIM, augment=RandomViews(mirror=False, brightness=0.1), seed=seed, device="cpu"),
    steps=1000,
    rate=1e-3,
)
CONV_NET = Tower(
    lambda seed: conv_encoder(dim=DIM, augment=RandomViews(mirror=False), seed=seed, device="cpu"),
    steps=600,
    rate=2e-3,
)


@dataclass(frozen=True)
class Arm:
    """A loss, what it is told of each pair, whether one family comes once in a batch, and what is trained."""

    loss: Callable[[], nn.Module]
    labels: str = ""
    one_per_family: bool = False
    tower: Tower = HISTOGRAMS


ARMS: dict[str, Arm] = {
    CLIP: Arm(PairContrastiveLoss),
    "ALIGN": Arm(lambda: PairContrastiveLoss(temperature=1.0, smoothing=0.1)),
    "SigLIP": Arm(SigmoidPairLoss),
    "CWCL": Arm(lambda: PairContrastiveLoss(target=cosine_weights, directions="from_positives"), "vectors"),
    "CWCL, sharp": Arm(
        lambda: PairContrastiveLoss(target=partial(cosine_weights, temperature=0.1), directions="from_positives"),
        "vectors",
    ),
    "CLIP, same caption right": Arm(lambda: PairContrastiveLoss(target=same_key), "keys"),
    "CLIP, one of a family": Arm(PairContrastiveLoss, one_per_family=True),
    "CLIP, ConvNet": Arm(PairContrastiveLoss, tower=CONV_NET),
}


def run(smoke: bool) -> Iterator[Row]:
    """Recall both ways by vendor, gains over the closed form and over CLIP with their tests, and recall by novelty."""
    task = names_and_pictures(smoke)
    seeds = SEEDS[:1] if smoke else SEEDS
    arms = list(ARMS)[:2] if smoke else list(ARMS)
    found: dict[str, Found] = {RIDGE: by_ridge(task)}
    told = {RIDGE: RIDGE}
    jobs = [(arm, seed) for arm in arms for seed in seeds]
    work = partial(by_network, task=task, smoke=smoke)
    each = [work(job) for job in jobs] if smoke else on_cores(work, jobs)
    for arm in arms:
        of_arm = [result for (name, _), result in zip(jobs, each, strict=True) if name == arm]
        found[arm] = {key: [result[key][0] for result, _ in of_arm] for key in of_arm[0][0]}
        told[arm] = f"{arm}; trained for {fmean(seconds for _, seconds in of_arm):.0f} s on one core"
    resamples = 200 if smoke else 2000
    for arm in (*arms, RIDGE):
        yield from _rows(arm, told[arm], found, resamples)
    for arm in arms:
        yield from _gains(arm, found, resamples)
    yield from _by_novelty(task, found[arms[0]], resamples)


def names_and_pictures(smoke: bool) -> Task:
    """Pictures, and MiniLM's vectors of all their names, less the mean of those that are trained on."""
    train, test = emoji("train", tones=False), emoji("test", tones=False)
    if smoke:
        train, test = train.at(range(0, len(train), len(train) // 60)), test.at(range(0, len(test), len(test) // 40))
    names = sorted({*train.names, *test.names})
    vectors = ek.load(device="cpu").encode(names)
    learnt = set(train.names)
    centre = vectors[[name in learnt for name in names]].mean(axis=0)
    return Task(train, test, dict(zip(names, vectors - centre, strict=True)))


def by_ridge(task: Task) -> Found:
    """What the closed form finds."""
    eye = histogram_encoder(device="cpu")
    aligner = RidgeAligner(alpha=ALPHAS).fit(eye.encode(task.train.images), task.vectors(task.train.names))
    return _searched(task, aligner.transform(eye.encode(task.test.images)))


def by_network(job: tuple[str, int], *, task: Task, smoke: bool) -> tuple[Found, float]:
    """What a network finds that was trained with an arm's loss and a seed, and the seconds of its training."""
    arm, seed = ARMS[job[0]], job[1]
    encoder = arm.tower.encoder(seed)
    codes = {name: code for code, name in enumerate(dict.fromkeys(task.train.names))}
    keys = np.array([[codes[name]] for name in task.train.names], dtype=np.float32)
    columns = {
        "image": list(task.train.images),
        "label": np.hstack([task.vectors(task.train.names), keys]),
    }
    sampler: dict[str, Any] = (
        {"batch_sampler": partial(OnePerKey, keys=task.train.families)} if arm.one_per_family else {}
    )
    started = time.perf_counter()
    fit(
        encoder,
        columns,
        Towards(arm.loss(), arm.labels),
        max_steps=2 if smoke else arm.tower.steps,
        batch_size=16 if smoke else BATCH,
        learning_rate=arm.tower.rate,
        seed=seed,
        show_progress_bar=False,
        **sampler,
    )
    return _searched(task, encoder.encode(task.test.images)), time.perf_counter() - started


def _searched(task: Task, pictures: NDArray[Any]) -> Found:
    names = list(dict.fromkeys(task.test.names))
    told = task.vectors(names)
    found: Found = {}
    for style in STYLES:
        rows = [row for row, each in enumerate(task.test.styles) if each == style]
        keys = [task.test.names[row] for row in rows]
        asked = [place for place, name in enumerate(names) if name in set(keys)]
        found[style, WAYS[0]] = [keyed_search(pictures[rows], told, keys, names)]
        found[style, WAYS[1]] = [keyed_search(told[asked], pictures[rows], [names[place] for place in asked], keys)]
    return found


def _rows(arm: str, told: str, found: Mapping[str, Found], resamples: int) -> Iterator[Row]:
    for (style, way), several in found[arm].items():
        for metric in METRICS:
            interval = bootstrap_interval([mean_items(several, metric)], resamples=resamples)
            of_seeds = ", ".join(f"{each.score(metric):.3f}" for each in several)
            yield Row(
                method="emoji names",
                variant=f"{told}; seeds: {of_seeds}; median rank {several[0].median_rank:g}",
                dataset=f"emoji, {style}",
                metric=f"{metric}, {way}",
                value=interval.value,
                low=interval.low,
                high=interval.high,
                seeds=len(several),
                baseline=None if arm == RIDGE else found[RIDGE][style, way][0].score(metric),
                floor=min(1.0, int(metric.partition("@")[2]) / several[0].pool),
            )


def _gains(arm: str, found: Mapping[str, Found], resamples: int) -> Iterator[Row]:
    """Over the closed form and over CLIP's own loss, all vendors together, with the p of a permutation test."""
    for other in (RIDGE, CLIP):
        if arm == other:
            continue
        for metric in METRICS:
            one, two = (
                [_named(found[name][style, WAYS[0]], metric, style) for style in STYLES] for name in (arm, other)
            )
            gain = paired_difference(one, two, resamples=resamples)
            yield Row(
                method="emoji names",
                variant=f"{arm} minus {other}; p = {gain.p_value:.4f}",
                dataset="emoji, three vendors",
                metric=f"gain in {metric}, {WAYS[0]}",
                value=gain.difference,
                low=gain.low,
                high=gain.high,
                seeds=len(found[arm][STYLES[0], WAYS[0]]),
                floor=0.0,
            )


def _named(several: list[PairSearch], metric: str, style: str) -> Items:
    items = mean_items(several, metric)
    return Items("test", style, items.statistic, items.unit, items.ids, items.columns)


def _by_novelty(task: Task, found: Found, resamples: int) -> Iterator[Row]:
    """Recall at 10 by how near a name is to the nearest that was trained on."""
    shown = task.test.of(STYLES[0])
    near = nearness(task.vectors(shown.names), task.vectors(list(dict.fromkeys(task.train.names))))
    bands: list[Band] = by_novelty(found[STYLES[0], WAYS[0]][0], "recall@10", near, resamples=resamples)
    for band in bands:
        if band.score is not None:
            yield Row(
                method="emoji names",
                variant=f"CLIP, seed 0; {band.count} names, whose nearest trained one is so near",
                dataset=f"emoji, {STYLES[0]}",
                metric=f"recall@10, nearness {band.low:g} to {band.high:g}",
                value=band.score.value,
                low=band.score.low,
                high=band.score.high,
                floor=10 / found[STYLES[0], WAYS[0]][0].pool,
            )
