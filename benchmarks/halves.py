"""Labelled vectors of which half the classes are learnt from: what losses with labels are compared on.

Texts are those of Banking77 (at most 30 a class are learnt from), CLINC150 (40) and TREC's fine classes that have 25
questions or more (30); of each class 15 more are asked (10 of TREC, held out of its training split, whose test split
has too few). Their strong vectors are those of all-MiniLM-L6-v2, their weak ones TF-IDF of 1,500 words. Pictures are
the letters of Omniglot's "small 2"; the drawings of ten people are learnt from, those of ten others asked. Their
strong vectors are those of a ConvNet that learnt the letters of "small 1", of other alphabets, their weak ones
histograms of edges.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import TfidfVectorizer
from torch import nn

import embedkit as ek
from benchmarks.data import banking77, clinc150, trec
from benchmarks.drawn import Drawn, omniglot
from benchmarks.results import Row
from embedkit.encoders.image import conv_encoder, histogram_encoder
from embedkit.evaluation.class_search import class_search
from embedkit.evaluation.items import Items
from embedkit.evaluation.statistics import bootstrap_interval, paired_difference
from embedkit.losses import (
    ArcFaceLoss,
    CACRLoss,
    ContrastiveLoss,
    EnergyConfusionLoss,
    GrassmannLoss,
    ICNNLoss,
    MetrixLoss,
    MultiSimilarityLoss,
    NormDirectionLoss,
    PairContrastiveLoss,
    ProtoTripletLoss,
    ProxyAnchorLoss,
    SBCLLoss,
    SimLAPLoss,
    SoftmaxLoss,
    SupConLoss,
    TripletLoss,
)
from embedkit.modules.augmentation import RandomViews
from embedkit.ops.mining import distance_weighted_triplets, hard_triplets, semi_hard_triplets
from embedkit.ops.targets import same_key
from embedkit.ops.vectors import normalize
from embedkit.training.fit import fit

SEEDS = (10, 11, 12, 13, 14)
SEEN, UNSEEN = "seen classes", "unseen classes"
NOTHING, CHANCE = "no training", "random vectors"
WORDS, LEAST = 1500, 25
BESIDE = ", beside"
"""Ends the name of an arm whose trained vectors, at twice the weight, stand beside those from before."""


@dataclass(frozen=True)
class Learnt:
    """What a loss is made for: the classes that are learnt from.

    Attributes:
        labels: 0 … classes − 1, of each example.
        teacher: Strong vectors of the examples.
        dim: Width of the embeddings.
    """

    labels: NDArray[np.int64]
    teacher: NDArray[np.float32]
    dim: int

    @property
    def classes(self) -> int:
        """How many there are."""
        return int(self.labels.max()) + 1


def norm_direction(learnt: Learnt) -> nn.Module:
    """SupCon, and the directions that the strong vectors, cut to the width, have by class."""
    teacher = learnt.teacher
    if teacher.shape[1] > learnt.dim:
        teacher = PCA(learnt.dim, random_state=0).fit_transform(teacher).astype(np.float32)
    return NormDirectionLoss(SupConLoss(), normalize(teacher), learnt.labels)


ARMS: dict[str, Callable[[Learnt], nn.Module]] = {
    "SupCon": lambda learnt: SupConLoss(),
    "CACR": lambda learnt: CACRLoss(),
    "ProtoTriplet": lambda learnt: ProtoTripletLoss(),
    "SBCL": lambda learnt: SBCLLoss(learnt.labels),
    "ICNN": lambda learnt: ICNNLoss(),
    "contrastive": lambda learnt: ContrastiveLoss(),
    "multi-similarity": lambda learnt: MultiSimilarityLoss(),
    "triplet": lambda learnt: TripletLoss(),
    "triplet, hard": lambda learnt: TripletLoss(miner=hard_triplets),
    "triplet, semi-hard": lambda learnt: TripletLoss(miner=semi_hard_triplets),
    "triplet, distance-weighted": lambda learnt: TripletLoss(miner=distance_weighted_triplets),
    "softmax": lambda learnt: SoftmaxLoss(learnt.dim, learnt.classes),
    "ArcFace": lambda learnt: ArcFaceLoss(learnt.dim, learnt.classes),
    "ProxyAnchor": lambda learnt: ProxyAnchorLoss(learnt.dim, learnt.classes),
    "Grassmann": lambda learnt: GrassmannLoss(learnt.dim, learnt.classes),
    "SimLAP": lambda learnt: SimLAPLoss(learnt.dim, learnt.classes),
    "SupCon + energy confusion": lambda learnt: EnergyConfusionLoss(SupConLoss(), weight=0.3),
    "contrastive + energy confusion": lambda learnt: EnergyConfusionLoss(ContrastiveLoss(), weight=0.3),
    "multi-similarity + Metrix": lambda learnt: MetrixLoss(MultiSimilarityLoss()),
    "contrastive + Metrix": lambda learnt: MetrixLoss(ContrastiveLoss()),
    "SupCon + norm and direction": norm_direction,
}
"""Losses, with the settings that they have. Where all classes have one size, SBCL is SupCon."""


@dataclass(frozen=True)
class Labelled:
    """Inputs or vectors, with their classes.

    Attributes:
        name: Of the data and the kind of vectors.
        train: Of the examples that are learnt from.
        labels: Their classes, as numbers.
        teacher: Strong vectors of them.
        test: Of those that are asked.
        test_labels: Their classes, by the same numbers.
    """

    name: str
    train: NDArray[Any]
    labels: NDArray[np.int64]
    teacher: NDArray[np.float32]
    test: NDArray[Any]
    test_labels: NDArray[np.int64]


@dataclass(frozen=True)
class Texts:
    """Texts of one data set, as `Labelled`."""

    name: str
    train: list[str]
    labels: NDArray[np.int64]
    test: list[str]
    test_labels: NDArray[np.int64]


Found: TypeAlias = dict[str, Items]
"""Of seen and of unseen classes: MAP@R of each query."""


def texts(smoke: bool) -> Iterator[Texts]:
    """The three data sets of texts."""
    sources: dict[str, tuple[Callable[[Literal["train", "test"]], tuple[list[str], list[str]]], int]] = {
        "Banking77": (banking77, 30),
        "CLINC150": (clinc150, 40),
        "TREC fine": (_trec_fine, 30),
    }
    for name, (read, count) in sources.items():
        train, test = read("train"), read("test")
        classes = sorted(set(train[1]))[:: 16 if smoke else 1]
        codes = {label: code for code, label in enumerate(classes)}
        first = _some(train, codes, slice(6 if smoke else count))
        second = _some(test, codes, slice(-4 if smoke else -15, None))
        yield Texts(name, *first, *second)


def pictures(smoke: bool) -> Drawn:
    """The letters, of which the drawings of the first ten people are learnt from."""
    return omniglot("small2", 80 if smoke else None)


def vectors(smoke: bool) -> Iterator[Labelled]:
    """Strong and weak vectors of all data."""
    for each in texts(smoke):
        yield from vectors_of(each)
    letters, kinds = pictures(smoke), {}
    labels = np.unique(letters.labels, return_inverse=True)[1]
    first = np.array(letters.makers) <= 10
    for kind, picture_encoder in {"ConvNet": conv_net(smoke), "histograms": histogram_encoder(device="cpu")}.items():
        kinds[kind] = picture_encoder.encode(letters.images)
    for kind, found in kinds.items():
        teacher = kinds["ConvNet"][first]
        yield Labelled(f"Omniglot, {kind}", found[first], labels[first], teacher, found[~first], labels[~first])


def vectors_of(some: Texts) -> Iterator[Labelled]:
    """Strong and weak vectors of texts."""
    encoder, words = ek.load(device="cpu"), TfidfVectorizer(max_features=WORDS).fit(some.train)
    strong = encoder.encode(some.train), encoder.encode(some.test)
    weak = [words.transform(part).toarray().astype(np.float32) for part in (some.train, some.test)]
    for kind, (train, test) in {"MiniLM": strong, "TF-IDF": weak}.items():
        yield Labelled(f"{some.name}, {kind}", train, some.labels, strong[0], test, some.test_labels)


def jobs(data: Iterable[Labelled | Texts], arms: Iterable[str], seeds: Iterable[int]) -> list[tuple[Any, str, int]]:
    """All data with all arms and seeds, but SBCL where it is SupCon."""
    return [
        (each, arm, seed)
        for each in data
        for arm in arms
        for seed in seeds
        if arm != "SBCL" or len(set(np.bincount(each.labels))) > 1
    ]


def learnt_half(labels: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """The classes that are learnt from."""
    classes = np.unique(labels)
    return np.random.default_rng(seed).permutation(classes)[: len(classes) // 2]


def search(embeddings: NDArray[Any], labels: NDArray[np.int64], half: NDArray[np.int64], seed: int) -> Found:
    """MAP@R among the classes that were learnt from, and among the others."""
    seen, found = np.isin(labels, half), {}
    for which, asked in ((SEEN, seen), (UNSEEN, ~seen)):
        items = class_search(embeddings[asked], labels[asked]).items("MAP@R")
        found[which] = Items("test", f"draw {seed}", items.statistic, items.unit, items.ids, items.columns)
    return found


def made(arm: str, learnt: Learnt) -> nn.Module:
    """The loss of an arm, beside or not."""
    return ARMS[arm.removesuffix(BESIDE)](learnt)


def beside(arm: str, before: NDArray[Any], after: NDArray[Any]) -> NDArray[Any]:
    """The vectors of an arm: those after training, or both, each of length 1, weighed 1 to 2."""
    return np.hstack([normalize(before), 2 * normalize(after)]) if arm.endswith(BESIDE) else after


def rows(method: str, found: dict[tuple[str, str], list[Found]], smoke: bool) -> Iterator[Row]:
    """A row for each of the data, arm and half, beside what no training and random vectors reach."""
    resamples = 200 if smoke else 2000
    for (name, arm), several in found.items():
        if arm == CHANCE:
            continue
        untrained, chance = found[name, NOTHING], found[name, CHANCE]
        for half in (SEEN, UNSEEN):
            items = [one[half] for one in several]
            interval = bootstrap_interval(items, resamples=resamples)
            told = ""
            if arm != NOTHING:
                gain = paired_difference(items, [one[half] for one in untrained], resamples=resamples)
                told = f"; gain {gain.low:+.3f} to {gain.high:+.3f}"
            yield Row(
                method=method,
                variant=arm + told,
                dataset=name,
                metric=f"MAP@R, {half}",
                value=interval.value,
                low=interval.low,
                high=interval.high,
                seeds=len(several),
                baseline=None if arm == NOTHING else _mean([one[half] for one in untrained]),
                floor=_mean([one[half] for one in chance]),
            )


def _mean(several: list[Items]) -> float:
    return float(np.mean([items.columns["score"].mean() for items in several]))


def _some(
    source: tuple[list[str], list[str]], codes: dict[str, int], places: slice
) -> tuple[list[str], NDArray[np.int64]]:
    """Some texts of each class, in a random order that does not change."""
    all_texts, labels = source
    draw = np.random.default_rng(0)
    orders = {label: draw.permutation(np.flatnonzero(np.array(labels) == label))[places] for label in codes}
    chosen = np.concatenate(list(orders.values()))
    return [all_texts[row] for row in chosen], np.array([codes[labels[row]] for row in chosen])


def _trec_fine(split: Literal["train", "test"]) -> tuple[list[str], list[str]]:
    """Both of the training split: ten questions of each class are asked, the others learnt from."""
    pairs = dict(zip(*trec("train", fine=True), strict=True))
    names, counts = np.unique(list(pairs.values()), return_counts=True)
    draw = np.random.default_rng(1)
    members = {
        name: draw.permutation([text for text, label in pairs.items() if label == name])
        for name, count in zip(names, counts, strict=True)
        if count >= LEAST
    }
    part = slice(10) if split == "test" else slice(10, None)
    kept = [(str(text), str(name)) for name, some in members.items() for text in some[part]]
    return [text for text, _ in kept], [name for _, name in kept]


def conv_net(smoke: bool) -> ek.Encoder:
    """A ConvNet that learnt the letters of other alphabets."""
    letters = omniglot("small1", 80 if smoke else None)
    keys = np.unique(letters.labels, return_inverse=True)[1]
    draw = np.random.default_rng(0)
    partners = np.array([draw.choice(np.flatnonzero(keys == key)) for key in keys])
    encoder = conv_encoder(widths=(32, 64, 128), dim=128, augment=RandomViews(mirror=False), device="cpu")
    pairs = {"first": list(letters.images), "second": list(letters.images[partners]), "label": keys}
    options: dict[str, Any] = {"max_steps": 2 if smoke else 150, "batch_size": 64, "learning_rate": 2e-3}
    fit(encoder, pairs, PairContrastiveLoss(target=same_key), show_progress_bar=False, **options)
    return encoder
