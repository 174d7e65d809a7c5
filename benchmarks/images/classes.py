"""Classes that nobody was trained on: from a few pictures each, by search, and, for signs, from what is said of them.

Omniglot: encoders learn from the 136 letters of "background small 1" and meet the letters of other alphabets. In the
data's own one-shot runs twenty letters of one alphabet are shown once, and twenty drawings by someone else asked; the
modified Hausdorff distance is the baseline that comes with the data. Of the 156 letters of "small 2", one or five
drawings of each are shown (a class is their mean; 20 draws), or the drawings of ten people are looked for among those
of ten others. Sign digits, photographs of hands: learnt from even digits and asked about odd ones, and the other way
round. Letters have no names; of a sign it can be said which fingers are stretched: two digits at a time are left out of
training, and their pictures get one of the two descriptions, as all-MiniLM-L6-v2 writes them.

Trained are a ConvNet and a hidden layer behind histograms, on pairs of pictures of a class where all of one class are
right answers to each other (three seeds); untrained are the pixels, less the mean of each picture, and the histograms,
which `RidgeAligner` maps to the descriptions. The rate and the views were set by one look at an alphabet of "small 1"
that was left out then, the steps by the time they take; signs take them as they are.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

import embedkit as ek
from benchmarks.drawn import Drawn, OneShot, omniglot, one_shot_runs, sign_digits
from benchmarks.peer import on_cores
from benchmarks.results import Row
from benchmarks.towards import Towards
from embedkit.encoders.image import ImageProcessing, conv_encoder, histogram_encoder
from embedkit.evaluation.items import Items
from embedkit.evaluation.keyed_search import keyed_search
from embedkit.evaluation.statistics import bootstrap_interval
from embedkit.heads import RidgeAligner, ZeroShotClassifier
from embedkit.losses import PairContrastiveLoss
from embedkit.modules.augmentation import RandomViews
from embedkit.ops.targets import same_key
from embedkit.ops.vectors import normalize
from embedkit.training.fit import fit

STEPS, BATCH, RATE = 150, 64, 2e-3
SEEDS = (0, 1, 2)
DRAWS = 20
HALVES = ("02468", "13579")
LEFT_OUT = ("05", "16", "27", "38", "49")
STRETCHED = {
    "0": "no finger",
    "1": "index finger",
    "2": "index and middle finger",
    "3": "thumb, index and middle finger",
    "4": "index, middle, ring and little finger",
    "5": "thumb, index, middle, ring and little finger",
    "6": "index, middle and ring finger",
    "7": "index, middle and little finger",
    "8": "index, ring and little finger",
    "9": "middle, ring and little finger",
}

RUNS = ("Omniglot, one-shot runs", "20-way 1-shot")
LETTERS, SIGNS = "Omniglot, new alphabets", "sign digits, new digits"
SAID = (SIGNS, "2-way, by text")
PIXELS, HISTOGRAMS, HAUSDORFF = "pixels", "histograms", "modified Hausdorff distance"
CONV_NET, LAYER = "ConvNet, trained", "histograms + layer, trained"

Encode: TypeAlias = Callable[[NDArray[np.uint8]], NDArray[Any]]
Found: TypeAlias = dict[tuple[str, str], NDArray[np.float64]]
"""Of each data set and metric: how often each picture that was asked about was right."""

TOWERS: dict[str, Callable[..., ek.Encoder]] = {
    CONV_NET: partial(conv_encoder, widths=(32, 64, 128), dim=128),
    LAYER: partial(histogram_encoder, dim=128),
}


@dataclass(frozen=True)
class Task:
    """All pictures, and what is said of the signs."""

    letters: Drawn
    new_letters: Drawn
    runs: list[OneShot]
    signs: Drawn
    said: Mapping[str, NDArray[np.float32]]


def run(smoke: bool) -> Iterator[Row]:
    """Accuracy and recall by way, each beside what the untrained histograms reach."""
    task = _task(smoke)
    work = partial(measure, task=task, steps=2 if smoke else STEPS)
    jobs = [(way, seed) for way in TOWERS for seed in (SEEDS[:1] if smoke else SEEDS)]
    each = [work(job) for job in jobs] if smoke else on_cores(work, jobs)
    found = {way: [one for job, one in zip(jobs, each, strict=True) if job[0] == way] for way in TOWERS}
    found |= {way: [work((way, 0))] for way in (HISTOGRAMS, PIXELS)}
    found[HAUSDORFF] = [{RUNS: by_hausdorff(task.runs)}]
    for way, several in found.items():
        for question in several[0]:
            scores = [one[question] for one in several]
            interval = bootstrap_interval([_items(np.mean(scores, axis=0))], resamples=200 if smoke else 2000)
            of_seeds = f"; seeds: {', '.join(f'{each.mean():.3f}' for each in scores)}" if way in TOWERS else ""
            yield Row(
                method="unseen classes",
                variant=way + of_seeds,
                dataset=question[0],
                metric=question[1],
                value=interval.value,
                low=interval.low,
                high=interval.high,
                seeds=len(several),
                baseline=None if way == HISTOGRAMS else float(found[HISTOGRAMS][0][question].mean()),
                floor=_chance(question, task),
            )


def _task(smoke: bool) -> Task:
    said = ek.load(device="cpu").encode([f"a hand with {fingers} stretched" for fingers in STRETCHED.values()])
    by_digit = dict(zip(STRETCHED, said, strict=True))
    signs = sign_digits()
    if smoke:
        few = signs.at([row for row, maker in enumerate(signs.makers) if maker <= 6])
        return Task(omniglot("small1", 60), omniglot("small2", 60), one_shot_runs(1), few, by_digit)
    return Task(omniglot("small1"), omniglot("small2"), one_shot_runs(), signs, by_digit)


def _chance(question: tuple[str, str], task: Task) -> float:
    if question == RUNS:
        return 1 / len(task.runs[0].shown)
    if question == SAID:
        return 1 / 2
    return 1 / (len(set(task.new_letters.labels)) if question[0] == LETTERS else len(HALVES[0]))


def measure(job: tuple[str, int], *, task: Task, steps: int) -> Found:
    """All that one way finds with one seed."""
    way, seed = job
    learn = partial(learnt, way=way, seed=seed, steps=steps)
    encode = learn(task.letters)
    found: Found = {RUNS: by_runs(task.runs, encode), **few_shown(LETTERS, task.new_letters, encode)}
    halves = [few_shown(SIGNS, task.signs.of(HALVES[1 - half]), learn(task.signs.of(HALVES[half]))) for half in (0, 1)]
    found |= {question: np.concatenate([each[question] for each in halves]) for question in halves[0]}
    if way in (HISTOGRAMS, LAYER):
        found[SAID] = np.concatenate([from_texts(task, pair, way, seed, steps) for pair in LEFT_OUT])
    return found


def learnt(pictures: Drawn, *, way: str, seed: int, steps: int) -> Encode:
    """An encoder that learnt from pictures, or one that does not learn."""
    if way == PIXELS:
        return _pixels
    if way == HISTOGRAMS:
        return histogram_encoder(device="cpu").encode
    encoder = TOWERS[way](augment=RandomViews(mirror=False), seed=seed, device="cpu")
    draw = np.random.default_rng(seed)
    codes = {label: code for code, label in enumerate(dict.fromkeys(pictures.labels))}
    keys = np.array([codes[label] for label in pictures.labels])
    partners = np.array([draw.choice(np.flatnonzero(keys == key)) for key in keys])
    columns = {"first": list(pictures.images), "second": list(pictures.images[partners]), "label": keys}
    _fit(encoder, columns, PairContrastiveLoss(target=same_key), steps, seed)
    return encoder.encode


def from_texts(task: Task, pair: str, way: str, seed: int, steps: int) -> NDArray[np.float64]:
    """Whether each picture of two digits gets the right one of two descriptions, by what was learnt from the others."""
    known = task.signs.of([digit for digit in STRETCHED if digit not in pair])
    centre = np.mean([task.said[digit] for digit in set(known.labels)], axis=0)
    said = {digit: task.said[digit] - centre for digit in STRETCHED}
    texts = np.stack([said[label] for label in known.labels])
    asked = task.signs.of(pair)
    if way == HISTOGRAMS:
        encode = histogram_encoder(device="cpu").encode
        pictures = RidgeAligner().fit(encode(known.images), texts).transform(encode(asked.images))
    else:
        encoder = histogram_encoder(dim=texts.shape[1], augment=RandomViews(mirror=False), seed=seed, device="cpu")
        labels = np.hstack([texts, np.array([[int(label)] for label in known.labels], dtype=np.float32)])
        loss = Towards(PairContrastiveLoss(target=same_key), "keys")
        _fit(encoder, {"image": list(known.images), "label": labels}, loss, steps, seed)
        pictures = encoder.encode(asked.images)
    head = ZeroShotClassifier().fit(np.stack([said[digit] for digit in pair]), list(pair))
    return np.array([guess == label for guess, label in zip(head.predict(pictures), asked.labels, strict=True)], float)


def _fit(encoder: ek.Encoder, columns: dict[str, Any], loss: Any, steps: int, seed: int) -> None:
    options: dict[str, Any] = {
        "max_steps": steps,
        "batch_size": min(BATCH, len(columns["label"])),
        "learning_rate": RATE,
    }
    fit(encoder, columns, loss, seed=seed, show_progress_bar=False, **options)


def by_runs(runs: list[OneShot], encode: Encode) -> NDArray[np.float64]:
    """Whether the most similar of the drawings shown is the right one, for each drawing asked of each run."""
    shown, asked = (encode(np.concatenate([getattr(one, name) for one in runs])) for name in ("shown", "asked"))
    found = []
    for number, one in enumerate(runs):
        rows = slice(number * len(one.answers), (number + 1) * len(one.answers))
        cosines = normalize(asked[rows]) @ normalize(shown[rows]).T
        found.append(cosines.argmax(axis=1) == np.array(one.answers))
    return np.concatenate(found).astype(np.float64)


def few_shown(dataset: str, pictures: Drawn, encode: Encode) -> Found:
    """Accuracy from one and from five pictures of each class, and recall between two halves of those who made them."""
    vectors, labels = normalize(encode(pictures.images)), np.array(pictures.labels)
    classes = np.unique(labels)
    found: Found = {}
    for shots in (1, 5):
        draw = np.random.default_rng(shots)
        right, asked = np.zeros(len(labels)), np.zeros(len(labels))
        for _ in range(DRAWS):
            shown = [draw.choice(np.flatnonzero(labels == each), shots, replace=False) for each in classes]
            means = normalize(np.stack([vectors[rows].mean(axis=0) for rows in shown]))
            rest = np.setdiff1d(np.arange(len(labels)), np.concatenate(shown))
            right[rest] += classes[(vectors[rest] @ means.T).argmax(axis=1)] == labels[rest]
            asked[rest] += 1
        found[dataset, f"{len(classes)}-way {shots}-shot"] = (right / np.maximum(asked, 1))[asked > 0]
    first = np.array(pictures.makers) <= max(pictures.makers) // 2
    search = keyed_search(vectors[first], vectors[~first], labels[first].tolist(), labels[~first].tolist())
    found[dataset, "recall@1, by others"] = search.values("recall@1")
    return found


def by_hausdorff(runs: list[OneShot]) -> NDArray[np.float64]:
    """Whether the drawing at the least modified Hausdorff distance is the right one (Dubuisson and Jain, 1994)."""
    found = []
    for one in runs:
        shown, asked = ([_ink(image) for image in images] for images in (one.shown, one.asked))
        nearest = [int(np.argmin([_hausdorff(each, other) for other in shown])) for each in asked]
        found += [guess == answer for guess, answer in zip(nearest, one.answers, strict=True)]
    return np.array(found, dtype=np.float64)


def _ink(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Places of the dark pixels, from their centre."""
    places = np.argwhere(image[..., 0] < 128).astype(np.float64)
    centred: NDArray[np.float64] = places - places.mean(axis=0)
    return centred


def _hausdorff(one: NDArray[np.float64], two: NDArray[np.float64]) -> float:
    distances = cdist(one, two)
    return float(max(distances.min(axis=0).mean(), distances.min(axis=1).mean()))


def _pixels(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    pixels = ImageProcessing(size=(32, 32)).batch(list(images)).reshape(len(images), -1)
    centred: NDArray[np.float32] = pixels - pixels.mean(axis=1, keepdims=True)
    return centred


def _items(values: NDArray[np.float64]) -> Items:
    return Items("test", "default", "mean", "picture", tuple(map(str, range(len(values)))), {"score": values})
