"""Classes by two or three words each: is it worth moving what the words say to where the documents are?

News of AG News, 1,000 at a time, and medical abstracts, 300 at a time, in five draws without a text in common, as
vectors of all-MiniLM-L6-v2. The words were written down before anything was measured, and no label is seen but by the
last arm; the documents that classes move to are the ones that are told apart. Beside it stand the words alone (the
baseline, `ZeroShotClassifier`; the floor is the largest class), the one document that is nearest to them, which is what
the authors' code takes unless told otherwise, and logistic regression by cross-validation: what the labels of 800 news
or of 240 abstracts are worth. The default number of documents was set on training texts of Banking77, CLINC150 and
TREC, with their names for words.

Where EMBEDKIT_NLI names a folder with a model of textual entailment, transformers' zero-shot pipeline is asked too.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

import embedkit as ek
from benchmarks.data import ag_news, medical_abstracts
from benchmarks.results import Row
from embedkit.evaluation.items import Items
from embedkit.evaluation.statistics import bootstrap_interval, paired_difference
from embedkit.heads import LabelNameClassifier

DRAWS = 5
NEWS = {
    "World": ["world", "politics", "government"],
    "Sports": ["sports", "team", "game"],
    "Business": ["business", "company", "market"],
    "Sci/Tech": ["science", "technology", "computer"],
}
MEDICINE = {
    "neoplasms": ["neoplasms", "cancer", "tumor"],
    "digestive system diseases": ["digestive system diseases", "stomach", "liver"],
    "nervous system diseases": ["nervous system diseases", "brain", "nerve"],
    "cardiovascular diseases": ["cardiovascular diseases", "heart", "artery"],
    "general pathological conditions": ["general pathological conditions", "symptoms", "injury"],
}
NEAREST, WORDS, SUPERVISED, ENTAILMENT = "nearest", "words alone", "all labels", "entailment"
ARMS: dict[str, dict[str, Any]] = {
    NEAREST: {},
    "k-means": {"refine": "kmeans"},
    "one document": {"num_docs": 1},
    WORDS: {"refine": None},
}


@dataclass(frozen=True)
class Draw:
    """Documents, and the words of each class.

    Attributes:
        texts: Of the documents; none where vectors were drawn.
        documents: Their vectors.
        labels: Their classes.
        words: Vectors of the words.
        classes: The class of each word.
    """

    texts: list[str]
    documents: NDArray[np.float32]
    labels: NDArray[Any]
    words: NDArray[np.float32]
    classes: NDArray[Any]


def run(smoke: bool) -> Iterator[Row]:
    """Accuracy by what is done with the words."""
    sources = {"drawn": [_drawn(seed) for seed in range(2)]} if smoke else _sources()
    for dataset, draws in sources.items():
        found = {arm: [_said(draw, options) for draw in draws] for arm, options in ARMS.items()}
        found[SUPERVISED] = [_supervised(draw) for draw in draws]
        if not smoke and (entailed := _entailment(draws)):
            found[ENTAILMENT] = entailed
        items = {
            arm: [_items(number, draw, each) for number, (draw, each) in enumerate(zip(draws, said, strict=True))]
            for arm, said in found.items()
        }
        largest = [np.unique(draw.labels, return_counts=True)[1].max() / len(draw.labels) for draw in draws]
        words = float(np.mean([part.columns["score"].mean() for part in items[WORDS]]))
        for arm, several in items.items():
            interval = bootstrap_interval(several, resamples=200 if smoke else 2000)
            gain = paired_difference(several, items[WORDS], resamples=200 if smoke else 2000)
            told = "" if arm == WORDS else f"; gain {gain.low:+.3f} to {gain.high:+.3f}"
            yield Row(
                method="LabelNameClassifier",
                variant=arm + told,
                dataset=dataset,
                metric="accuracy",
                value=interval.value,
                low=interval.low,
                high=interval.high,
                seeds=len(draws),
                baseline=None if arm == WORDS else words,
                floor=float(np.mean(largest)),
            )


def _said(draw: Draw, options: dict[str, Any]) -> NDArray[Any]:
    y = np.concatenate([draw.classes.astype(object), np.repeat(np.array([-1], dtype=object), len(draw.documents))])
    return LabelNameClassifier(**options).fit(np.concatenate([draw.words, draw.documents]), y).predict(draw.documents)


def _supervised(draw: Draw) -> NDArray[Any]:
    said: NDArray[Any] = cross_val_predict(LogisticRegression(C=10, max_iter=300), draw.documents, draw.labels, cv=5)
    return said


def _entailment(draws: list[Draw]) -> list[NDArray[Any]]:
    """What a model of textual entailment says, if there is one."""
    folder = os.environ.get("EMBEDKIT_NLI")
    if not folder:
        print("  entailment is skipped: EMBEDKIT_NLI names no folder with a model of it")
        return []
    from transformers import pipeline

    ask = pipeline("zero-shot-classification", model=folder, device="cpu")
    names = np.unique(draws[0].classes).tolist()
    return [np.array([each["labels"][0] for each in ask(draw.texts, candidate_labels=names)]) for draw in draws]


def _items(number: int, draw: Draw, said: NDArray[Any]) -> Items:
    right = (said == draw.labels).astype(np.float64)
    return Items("test", f"draw {number}", "mean", "document", tuple(map(str, range(len(right)))), {"score": right})


def _sources() -> dict[str, list[Draw]]:
    encoder = ek.load(device="cpu")
    found: dict[str, list[Draw]] = {}
    for dataset, (texts, labels), said, size in (
        ("AG News, 1,000 texts", ag_news(), NEWS, 1000),
        ("Medical abstracts, 300 texts", medical_abstracts(), MEDICINE, 300),
    ):
        words = encoder.encode([word for some in said.values() for word in some])
        classes = np.repeat(list(said), [len(some) for some in said.values()])
        order = np.random.default_rng(0).permutation(len(texts))
        found[dataset] = []
        for number in range(DRAWS):
            rows = order[number * size : (number + 1) * size]
            some = [texts[row] for row in rows]
            found[dataset].append(Draw(some, encoder.encode(some), np.array(labels)[rows], words, classes))
    return found


def _drawn(seed: int) -> Draw:
    draw = np.random.default_rng(seed)
    centres, labels = draw.normal(size=(3, 8)), np.repeat(["a", "b", "c"], 40)
    documents = np.repeat(centres, 40, axis=0) + draw.normal(size=(120, 8))
    words = np.repeat(centres, 2, axis=0) + draw.normal(size=(6, 8))
    return Draw([], documents.astype(np.float32), labels, words.astype(np.float32), np.repeat(["a", "b", "c"], 2))
