"""Does a pooling that reads all layers beat the mean of the last one, behind a frozen backbone?

The means of all layers of the default model are computed once; heads are trained on them: the last layer as it is, the
plain mean of layers, a trained mix of layers, Perceiver pooling over layers, and latent attention over the last layer's
mean (one vector a text here, so that its latents act as a nonlinear map). Every arm ends in a linear map trained along.
On classes it gives logits (cross-entropy, accuracy); on STS-B the vector whose cosines are compared (CoSENT, Spearman).
Width, epochs and learning rate were fixed beforehand and are the same for all.

Floor: chance for classes, and 0 for STS-B. Differences are tested over task x seed by Wilcoxon's test, with Holm.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.nn import functional

import embedkit as ek
from benchmarks.data import banking77, clinc150, stsb, trec
from benchmarks.peer import on_cores
from benchmarks.results import Row
from embedkit.evaluation.statistics import holm, wilcoxon
from embedkit.losses import CoSENTLoss
from embedkit.modules.pooling import LatentAttentionPooling, LayerMixPooling, MultiLayerPooling
from embedkit.ops.similarity import pairwise_cosine_similarity

LAYERS = 6
DIM = 384
SEEDS = 10
TRAIN = 4000
EPOCHS = 3
BATCH = 64
LEARNING_RATE = 1e-3


class _Last(nn.Module):
    def forward(self, pooled: Tensor) -> Tensor:
        return pooled[:, -1]


class _MeanOfLayers(nn.Module):
    def forward(self, pooled: Tensor) -> Tensor:
        return pooled.mean(dim=1)


class _Mixed(nn.Module):
    """A pooling of layers on their cached means."""

    def __init__(self, pooling: Any) -> None:
        super().__init__()
        self.pooling = pooling

    def forward(self, pooled: Tensor) -> Tensor:
        vectors: Tensor = self.pooling.mix(pooled[:, -self.pooling.num_layers - 1 + self.pooling.first_layer :])
        return vectors


class _Latent(nn.Module):
    """Latent attention on the cached mean of the last layer."""

    def __init__(self) -> None:
        super().__init__()
        self.pooling = LatentAttentionPooling(DIM, num_latents=64)

    def forward(self, pooled: Tensor) -> Tensor:
        last = pooled[:, -1:]
        mask = torch.ones(last.shape[:2], dtype=torch.long)
        vectors: Tensor = self.pooling({"token_embeddings": last, "attention_mask": mask})["sentence_embedding"]
        return vectors


ARMS: dict[str, Callable[[], nn.Module]] = {
    "multi-layer": lambda: _Mixed(MultiLayerPooling(DIM, LAYERS, num_latents=4)),
    "layer mix": lambda: _Mixed(LayerMixPooling(DIM, LAYERS)),
    "latent attention": _Latent,
    "mean of layers": _MeanOfLayers,
    "last layer": _Last,
}
BASELINE = "last layer"
METHODS = {
    "multi-layer": "MultiLayerPooling",
    "layer mix": "LayerMixPooling",
    "latent attention": "LatentAttentionPooling",
    "mean of layers": "mean of layers",
}


@dataclass(frozen=True)
class Split:
    """Cached features, (texts or pairs x 2, layers, dim), and what is to be told of them."""

    features: Tensor
    target: Tensor


@dataclass(frozen=True)
class Task:
    """One data set, and what knowing nothing reaches on it."""

    train: Split
    test: Split
    floor: float

    @property
    def is_graded(self) -> bool:
        """Pairs with scores; else texts with classes."""
        return self.test.target.is_floating_point()


@dataclass(frozen=True)
class Measured:
    """Scores x 100 of every arm, one a seed."""

    name: str
    is_graded: bool
    floor: float
    scores: dict[str, list[float]]


def run(smoke: bool) -> Iterator[Row]:
    """Scores of each arm on each task, then differences to the last layer over all of them."""
    names, seeds = (list(TASKS)[:2], 1) if smoke else (list(TASKS), SEEDS)
    work = partial(measured, seeds=seeds, smoke=smoke)
    tasks = on_cores(work, names)
    for task in tasks:
        for arm, method in METHODS.items():
            values = task.scores[arm]
            yield Row(
                method=method,
                variant="trained on cached means of layers; baseline: last layer",
                dataset=task.name,
                metric="Spearman x 100" if task.is_graded else "accuracy x 100",
                value=round(float(np.mean(values)), 2),
                low=round(min(values), 2),
                high=round(max(values), 2),
                seeds=len(values),
                baseline=round(float(np.mean(task.scores[BASELINE])), 2),
                floor=task.floor,
            )
    apart = {
        arm: [a - b for task in tasks for a, b in zip(task.scores[arm], task.scores[BASELINE], strict=True)]
        for arm in METHODS
    }
    p_values = holm([wilcoxon(values) for values in apart.values()])
    for (arm, values), p in zip(apart.items(), p_values, strict=True):
        yield Row(
            method=METHODS[arm],
            variant=f"Wilcoxon over task x seed: p = {p:.4f} after Holm",
            dataset=f"{len(tasks)} tasks",
            metric="mean difference to the last layer",
            value=round(float(np.mean(values)), 3),
            low=round(float(np.quantile(values, 0.025)), 3) if len(values) > 1 else None,
            high=round(float(np.quantile(values, 0.975)), 3) if len(values) > 1 else None,
            seeds=seeds,
            floor=0.0,
        )


def measured(name: str, *, seeds: int, smoke: bool) -> Measured:
    """All arms and seeds on one task."""
    task = TASKS[name](ek.load(device="cpu"), 32 if smoke else TRAIN)
    scores = {arm: [trained(task, arm, seed) for seed in range(seeds)] for arm in ARMS}
    return Measured(name, task.is_graded, task.floor, scores)


def trained(task: Task, arm: str, seed: int) -> float:
    """Test score x 100 of one head, trained."""
    torch.manual_seed(seed)
    head = nn.Sequential(ARMS[arm](), nn.Linear(DIM, DIM if task.is_graded else int(task.train.target.max()) + 1))
    if task.is_graded:
        nn.init.eye_(head[1].weight)  # type: ignore[arg-type]  # a Linear's
    optimizer = torch.optim.AdamW(head.parameters(), lr=LEARNING_RATE)
    generator = torch.Generator().manual_seed(seed)
    count = len(task.train.target)
    for _ in range(EPOCHS):
        order = torch.randperm(count, generator=generator)
        for start in range(0, count, BATCH):
            rows = order[start : start + BATCH]
            loss = _loss(head, task.train, rows)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    with torch.inference_mode():
        if not task.is_graded:
            right = head.eval()(task.test.features).argmax(dim=1) == task.test.target
            return 100 * float(right.float().mean())
        first, second = head.eval()(task.test.features).chunk(2)
        return 100 * float(spearmanr(pairwise_cosine_similarity(first, second), task.test.target).statistic)


def _loss(head: nn.Module, split: Split, rows: Tensor) -> Tensor:
    if not split.target.is_floating_point():
        return functional.cross_entropy(head(split.features[rows]), split.target[rows])
    first, second = split.features.chunk(2)
    loss: Tensor = CoSENTLoss()(head(first[rows]), head(second[rows]), split.target[rows])
    return loss


def _graded(encoder: ek.Encoder, size: int) -> Task:
    splits = []
    for rows, most in ((stsb("train"), size), (stsb("test"), size)):
        first, second, scores = rows
        keep = _sample(len(scores), most)
        texts = [first[i] for i in keep] + [second[i] for i in keep]
        splits.append(Split(_layers_of(encoder, texts), torch.tensor([scores[i] for i in keep])))
    return Task(splits[0], splits[1], floor=0.0)


def _classes(read: Callable[[Any], tuple[list[str], list[str]]], encoder: ek.Encoder, size: int) -> Task:
    splits = []
    codes = {label: code for code, label in enumerate(sorted(set(read("train")[1])))}
    for (texts, labels), most in ((read("train"), size), (read("test"), size + size // 4)):
        keep = _sample(len(labels), most)
        target = torch.tensor([codes[labels[i]] for i in keep])
        splits.append(Split(_layers_of(encoder, [texts[i] for i in keep]), target))
    most_common = float(splits[1].target.bincount().max()) / len(splits[1].target)
    return Task(splits[0], splits[1], floor=round(100 * most_common, 2))


TASKS: dict[str, Callable[[ek.Encoder, int], Task]] = {
    "STS-B": _graded,
    "TREC": partial(_classes, trec),
    "banking77": partial(_classes, banking77),
    "CLINC150": partial(_classes, clinc150),
}


def _sample(count: int, size: int) -> list[int]:
    return sorted(np.random.default_rng(0).permutation(count)[:size].tolist())


def _layers_of(encoder: ek.Encoder, texts: list[str]) -> Tensor:
    """Mean states of the layers 0 … 6, (texts, layers, dim), each scaled to length sqrt(dim).

    The default model ends in a `Normalize`; scaling all layers alike leaves directions as they are and gives heads
    numbers of size 1.
    """
    grid = encoder.encode_grid(texts, range(LAYERS + 1), [DIM], normalize_embeddings=True)
    stacked = np.stack([grid[layer, DIM] for layer in range(LAYERS + 1)], axis=1)
    features: Tensor = torch.from_numpy(stacked) * DIM**0.5
    return features
