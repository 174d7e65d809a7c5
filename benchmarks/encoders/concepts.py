"""What named dimensions cost and what their explanations are worth: 77 intents as concepts on banking77."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

import embedkit as ek
from benchmarks.data import banking77
from benchmarks.results import Row
from embedkit.evaluation.items import Items
from embedkit.evaluation.statistics import bootstrap_interval
from embedkit.modules.projection import PrototypeConcepts
from embedkit.ops.centroids import nearest_centroids
from embedkit.ops.vectors import normalize
from embedkit.training.sesa import sesa
from embedkit.types import Embeddings

K = 10
NEAREST = 20
SEEDS = (0, 1, 2)


def run(smoke: bool) -> Iterator[Row]:
    """Accuracy of the largest concept, nDCG against dense vectors, and whether the first concept named matters most."""
    step, resamples = (100, 200) if smoke else (1, 2000)
    texts, intents = (column[::step] for column in banking77("train"))
    asked, expected = (column[::step] for column in banking77("test"))
    encoder = ek.load(device="cpu")
    documents, queries = encoder.encode(texts), encoder.encode(asked)
    names, truth, labels = sorted(set(intents)), np.array(expected), np.array(intents)
    spelled = encoder.encode([name.replace("_", " ") for name in names])
    examples = np.array([documents[labels == name].mean(axis=0) for name in names])
    chance = 1 / len(names)

    variants = {
        "prototypes from the training examples": examples,
        f"from the {NEAREST} training texts nearest to the name": nearest_centroids(
            spelled, documents, max_num_docs=NEAREST
        ),
        "from the name alone": spelled,
    }
    accuracies = {
        name: _interval(np.array(names)[_activations(prototypes, queries).argmax(axis=1)] == truth, resamples)
        for name, prototypes in variants.items()
    }
    for name, found in accuracies.items():
        baseline = accuracies["from the name alone"].value if name != "from the name alone" else None
        yield _row(found, variant=name, metric="accuracy of the largest concept", baseline=baseline, floor=chance)

    learned, logistic = _learned(encoder, texts, intents, asked, smoke)
    right = np.mean([np.array(names)[found.argmax(axis=1)] == truth for found, _ in learned], axis=0)
    yield _row(
        _interval(right, resamples),
        variant="SESA on the training examples; baseline: logistic regression on dense vectors",
        metric="accuracy of the largest concept",
        baseline=float((logistic == truth).mean()),
        floor=chance,
        seeds=len(learned),
    )

    relevant = truth[:, None] == labels
    activations = normalize(_activations(examples, queries)), normalize(_activations(examples, documents))
    dense = _interval(_ndcg(queries @ documents.T, relevant), resamples)
    named = _interval(_ndcg(activations[0] @ activations[1].T, relevant), resamples)
    shuffled = np.random.default_rng(0).permutation(len(texts))
    floor = float(_ndcg((queries @ documents.T)[:, shuffled], relevant).mean())
    yield _row(
        named,
        variant=f"{len(names)} concepts; baseline: {queries.shape[1]} dense dimensions",
        metric=f"nDCG@{K}",
        baseline=dense.value,
        floor=floor,
    )

    gains = np.mean([_ndcg(normalize(q) @ normalize(d).T, relevant) for q, d in learned], axis=0)
    yield _row(
        _interval(gains, resamples),
        variant=f"SESA, {len(names)} concepts; baseline: {queries.shape[1]} dense dimensions",
        metric=f"nDCG@{K}",
        baseline=dense.value,
        floor=floor,
        seeds=len(learned),
    )

    falls = {which: _interval(_falls(*activations, which), resamples) for which in ("first", "random", "last")}
    yield _row(
        falls["first"],
        variant="first concept of explain deleted; baseline: a random one, floor: the last one",
        metric="best document loses first place",
        baseline=falls["random"].value,
        floor=falls["last"].value,
    )


def _learned(
    encoder: ek.Encoder, texts: list[str], intents: list[str], asked: list[str], smoke: bool
) -> tuple[list[tuple[Embeddings, Embeddings]], NDArray[np.str_]]:
    """Concepts of the queries and of the training texts, in the order of their names, by SESA with each seed.

    Then what logistic regression, the ceiling of a linear map, says of the queries.
    """
    vectors = dict(zip([*texts, *asked], encoder.encode([*texts, *asked]), strict=True))
    found = []
    for seed in SEEDS[: 1 if smoke else None]:
        concepts = sesa(encoder, texts, intents, epochs=2 if smoke else 20, seed=seed)
        order = np.argsort(concepts.names)
        with torch.inference_mode():
            held = [
                concepts.concepts.activations(torch.from_numpy(np.stack([vectors[text] for text in some]))).numpy()
                for some in (asked, texts)
            ]
        found.append((held[0][:, order], held[1][:, order]))
    ceiling = LogisticRegression(C=10, max_iter=300).fit([vectors[text] for text in texts], intents)
    return found, ceiling.predict([vectors[text] for text in asked])


def _activations(prototypes: Embeddings, vectors: Embeddings) -> Embeddings:
    """What a `ConceptEncoder` of these prototypes makes of vectors that are known already."""
    concepts = PrototypeConcepts([str(row) for row in range(len(prototypes))], prototypes)
    with torch.inference_mode():
        found: Embeddings = concepts.activations(torch.from_numpy(vectors)).numpy()
    return found


def _ndcg(scores: Embeddings, relevant: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Of each query; a document is relevant or not. A query without relevant documents counts 0."""
    gains = 1 / np.log2(np.arange(2, K + 2))
    best = np.argsort(-scores, axis=1, kind="stable")[:, :K]
    ideal = np.cumsum(gains)[np.clip(relevant.sum(axis=1), 1, K) - 1]
    found: NDArray[np.float64] = (np.take_along_axis(relevant, best, axis=1) * gains).sum(axis=1) / ideal
    return found


def _falls(queries: Embeddings, documents: Embeddings, which: str) -> NDArray[np.bool_]:
    """Whether a query's best document is no longer the best once one concept of their explanation is deleted."""
    rows = np.arange(len(queries))
    best = (queries @ documents.T).argmax(axis=1)
    contributions = queries * documents[best]
    ranked = np.argsort(-contributions, axis=1, kind="stable")
    count = (contributions > 0).sum(axis=1)
    drawn = np.random.default_rng(0).random(len(queries))
    place = {"first": 0 * count, "random": (drawn * count).astype(np.int64), "last": np.maximum(count - 1, 0)}[which]
    without = queries.copy()
    without[rows, ranked[rows, place]] = 0
    scores = without @ documents.T
    fell: NDArray[np.bool_] = scores.max(axis=1) > scores[rows, best] + 1e-6
    return fell


def _interval(values: NDArray[Any], resamples: int) -> Any:
    ids = tuple(map(str, range(len(values))))
    return bootstrap_interval(
        [Items("test", "default", "mean", "query", ids, {"score": values.astype(np.float64)})], resamples=resamples
    )


def _row(found: Any, *, variant: str, metric: str, baseline: float | None, floor: float, seeds: int = 1) -> Row:
    return Row(
        method="ConceptEncoder",
        variant=variant,
        dataset="banking77",
        metric=metric,
        value=found.value,
        low=found.low,
        high=found.high,
        seeds=seeds,
        baseline=baseline,
        floor=floor,
    )
