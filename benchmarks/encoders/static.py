"""What context is worth: the default model, its embedding layer, two static tables made from it, and shared words.

The order to confirm or deny is that of A. Maity et al., "BERT or FastText?", 2024: contextual above the model's own
embedding layer above static vectors.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import embedkit as ek
from benchmarks.data import banking77, medical_abstracts, stsb
from benchmarks.results import Row
from embedkit.encoders.text import distill_static, static_encoder, tfidf_lsa
from embedkit.evaluation.floors import untrained
from embedkit.evaluation.items import Items
from embedkit.evaluation.statistics import bootstrap_interval, holm, paired_difference
from embedkit.types import Embeddings

CONTEXTUAL = "last layer of the default model"
STRENGTHS = (0.01, 0.1, 1.0)
FOLDS = 5
DIM = 256

Encode: TypeAlias = Callable[[Sequence[str], Sequence[str]], Embeddings]
"""Texts an encoder may learn from, texts to encode → vectors."""


@dataclass(frozen=True)
class Size:
    """How much of everything: all, or what ends in seconds."""

    smoke: bool

    def cut(self, *columns: list[Any], to: int) -> list[list[Any]]:
        """Evenly spaced entries of each column."""
        step = max(1, len(columns[0]) // to) if self.smoke else 1
        return [column[::step] for column in columns]


def run(smoke: bool) -> Iterator[Row]:
    """Accuracy, macro F1 and Spearman of each encoder, with intervals, and its difference to the contextual one."""
    size = Size(smoke)
    encoder = ek.load(device="cpu")
    arms = _arms(encoder, size)
    for dataset, metric, measure in (
        ("banking77", "accuracy", _banking),
        ("Medical Abstracts", "macro F1", _medical),
        ("STS-B test", "Spearman", _similarity),
    ):
        found, floor = measure(arms, encoder, size)
        yield from _rows(found, floor, dataset=dataset, metric=metric, resamples=100 if smoke else 2000)


def _arms(encoder: ek.Encoder, size: Size) -> dict[str, Encode]:
    """Each encoder by name; the one a user gets by default first."""
    table = static_encoder(encoder)
    # A whole vocabulary takes longer than a smoke run has.
    distilled = table if size.smoke else distill_static(encoder, dim=DIM)
    dim = 4 if size.smoke else DIM

    def shared_words(known: Sequence[str], texts: Sequence[str]) -> Embeddings:
        vectors: Embeddings = tfidf_lsa(known, dim=dim).encode(texts)
        return vectors

    return {
        "distilled": lambda _, texts: distilled.encode(texts),
        "word table": lambda _, texts: table.encode(texts),
        "embedding layer, num_layers=0": lambda _, texts: encoder.encode(texts, num_layers=0),
        "TF-IDF + LSA": shared_words,
        CONTEXTUAL: lambda _, texts: encoder.encode(texts),
    }


def _banking(arms: dict[str, Encode], encoder: ek.Encoder, size: Size) -> tuple[dict[str, Items], float]:
    """Intents of the test split, learned from the training split; the floor is the most frequent intent."""
    del encoder
    known, intents = size.cut(*_few(*banking77("train"), size), to=24)
    asked, expected = size.cut(*_few(*banking77("test"), size), to=12)
    codes = {intent: code for code, intent in enumerate(sorted({*intents, *expected}))}
    labels, target = (np.array([codes[intent] for intent in column]) for column in (intents, expected))
    found = {}
    for name, encode in arms.items():
        prediction = _predicted(encode(known, known), labels, encode(known, asked), size)
        found[name] = _items("accuracy", prediction=prediction, target=target)
    most = np.bincount(labels).argmax()
    return found, float(np.mean(target == most))


def _few(texts: list[str], intents: list[str], size: Size) -> tuple[list[str], list[str]]:
    """In a smoke run three intents, else all."""
    kept = sorted(set(intents))[: 3 if size.smoke else None]
    pairs = [(text, intent) for text, intent in zip(texts, intents, strict=True) if intent in kept]
    return [text for text, _ in pairs], [intent for _, intent in pairs]


def _medical(arms: dict[str, Encode], encoder: ek.Encoder, size: Size) -> tuple[dict[str, Items], float]:
    """Topics by five-fold cross-validation, every abstract predicted once; the floor is the most frequent topic."""
    del encoder
    texts, topics = size.cut(*medical_abstracts(), to=24)
    texts = [text[:60] for text in texts] if size.smoke else texts
    target = np.unique(topics, return_inverse=True)[1]
    folds = list(StratifiedKFold(2 if size.smoke else FOLDS, shuffle=True, random_state=0).split(texts, target))
    found = {}
    for name, encode in arms.items():
        prediction = np.empty(len(texts), dtype=np.int64)
        vectors = None if name == "TF-IDF + LSA" else encode([], texts)  # the others learn nothing from the texts
        for train, test in folds:
            own = encode([texts[row] for row in train], texts) if vectors is None else vectors
            prediction[test] = _predicted(own[train], target[train], own[test], size)
        found[name] = _items("f1", prediction=prediction, target=target)
    most = np.full(len(texts), np.bincount(target).argmax())
    return found, bootstrap_interval([_items("f1", prediction=most, target=target)], resamples=100).value


def _similarity(arms: dict[str, Encode], encoder: ek.Encoder, size: Size) -> tuple[dict[str, Items], float]:
    """Cosines against people's scores; the floor is the same network with random weights."""
    first, second, scores = size.cut(*stsb("test"), to=20)
    known = [text for column in stsb("train")[:2] for text in size.cut(column, to=20)[0]]
    target = np.array(scores)
    found = {
        name: _items("spearman", score=_cosines(encode(known, first), encode(known, second)), target=target)
        for name, encode in arms.items()
    }
    fresh = untrained(encoder)
    floor = _items("spearman", score=_cosines(fresh.encode(first), fresh.encode(second)), target=target)
    return found, bootstrap_interval([floor], resamples=100).value


def _predicted(vectors: Embeddings, labels: NDArray[Any], asked: Embeddings, size: Size) -> NDArray[Any]:
    """Logistic regression on standardised vectors, its strength chosen on a fifth of the training vectors."""

    def fitted(strength: float, rows: NDArray[Any]) -> Any:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=20 if size.smoke else 300))
        return model.fit(vectors[rows], labels[rows])

    every = np.arange(len(labels))
    strength = STRENGTHS[0]
    if not size.smoke:
        inner, held_out = train_test_split(every, test_size=0.2, random_state=0, stratify=labels)
        right = [fitted(one, inner).score(vectors[held_out], labels[held_out]) for one in STRENGTHS]
        strength = STRENGTHS[int(np.argmax(right))]
    predicted: NDArray[Any] = fitted(strength, every).predict(asked)
    return predicted


def _cosines(first: Embeddings, second: Embeddings) -> NDArray[np.float64]:
    """Cosine of each pair; 0 where a text has no direction."""
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    cosines: NDArray[np.float64] = (first * second).sum(axis=1) / np.maximum(norms, 1e-12)
    return cosines.astype(np.float64)


def _items(statistic: str, **columns: NDArray[Any]) -> Items:
    ids = tuple(map(str, range(len(columns["target"]))))
    return Items("test", "default", statistic, "text", ids, {name: c.astype(float) for name, c in columns.items()})


def _rows(found: dict[str, Items], floor: float, *, dataset: str, metric: str, resamples: int) -> Iterator[Row]:
    """Scores with the contextual encoder's as baseline, and differences to it with Holm's p-values over the arms."""
    scores = {name: bootstrap_interval([items], resamples=resamples) for name, items in found.items()}
    reference = found[CONTEXTUAL]
    others = [name for name in found if name != CONTEXTUAL]
    differences = [paired_difference([found[name]], [reference], resamples=resamples) for name in others]
    adjusted = holm([difference.p_value for difference in differences])
    for name, score in scores.items():
        baseline = None if name == CONTEXTUAL else scores[CONTEXTUAL].value
        yield Row(
            method="static encoders",
            variant=name,
            dataset=dataset,
            metric=metric,
            value=score.value,
            low=score.low,
            high=score.high,
            baseline=baseline,
            floor=floor,
        )
    for name, difference, p_value in zip(others, differences, adjusted, strict=True):
        yield Row(
            method="static less last layer",
            variant=f"{name}; Holm p {p_value:.2g}",
            dataset=dataset,
            metric=metric,
            value=difference.difference,
            low=difference.low,
            high=difference.high,
            floor=0.0,
        )
