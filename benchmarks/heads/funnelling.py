"""Topics of texts in four languages: does one classifier above those of each language and of sentence vectors gain?

SIB-200 in English, French, German and Spanish, so many training sentences of each language, not the same ones, drawn
anew for each of five seeds; of all 701 only the parts that rows are dealt into differ. All 204 test sentences of each
language are asked; macro-F1 of 7 topics is the mean over the languages. A language's view is TF-IDF of its character
n-grams, another that of all rows is the vectors of all-MiniLM-L6-v2, an English model.

Single views are logistic regression: of each language alone on TF-IDF ("TF-IDF"), of all rows on the vectors
("MiniLM"). The better one is the baseline, the most frequent topic the floor. "Fun" stands on TF-IDF alone, "gFun" on
the vectors too; "seen" (the paper's TAT) lets the upper classifier learn from posteriors of rows that were learnt from.
How strongly rows are fitted was chosen on the development split, at 300 sentences: of 1, 3, 10, 30 and 100 for TF-IDF,
alone, below "Fun" and below "gFun"; of 0.3, 1, 3 and 10 for the vectors alone, and 1 is the best and used throughout.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

import embedkit as ek
from benchmarks.data import sib200
from benchmarks.peer import on_cores
from benchmarks.results import Row
from embedkit.evaluation.statistics import over_seeds
from embedkit.heads import FunnellingClassifier

SEEDS = 5
SIZES = (100, 300, 701)
LANGUAGES = ("eng_Latn", "fra_Latn", "deu_Latn", "spa_Latn")
TFIDF, MINILM, FLOOR, FUN, GFUN = "TF-IDF", "MiniLM", "most frequent topic", "Fun", "gFun"
STRENGTHS = {TFIDF: 100.0, FUN: 10.0, GFUN: 3.0}
"""Of logistic regression on TF-IDF: where it stands below another, posteriors that are less sure are better."""
ARMS: dict[str, dict[str, Any]] = {
    GFUN: {},
    f"{GFUN}, concat": {"aggregate": "concat"},
    f"{GFUN}, seen": {"cv": None},
    FUN: {},
    f"{FUN}, seen": {"cv": None},
}


@dataclass(frozen=True)
class Split:
    """Sentences of one language.

    Attributes:
        texts: The sentences.
        vectors: Of the sentences.
        topics: Of the sentences.
    """

    texts: NDArray[Any]
    vectors: NDArray[np.float32]
    topics: NDArray[Any]


def run(smoke: bool) -> Iterator[Row]:
    """Macro-F1 by what stands above what, and how many sentences are learnt from."""
    data = _drawn() if smoke else _read()
    sizes = (20,) if smoke else SIZES
    jobs = [(size, seed) for size in sorted(sizes, reverse=True) for seed in range(2 if smoke else SEEDS)]
    work = partial(measure, data=data)
    measured = dict(zip(jobs, [work(job) for job in jobs] if smoke else on_cores(work, jobs), strict=True))
    for size in sizes:
        runs = [scores for (of, _), scores in measured.items() if of == size]
        single = max((TFIDF, MINILM), key=lambda arm: np.mean([scores[arm] for scores in runs]))
        baseline, floor = (float(np.mean([scores[arm] for scores in runs])) for arm in (single, FLOOR))
        for arm in (*ARMS, TFIDF, MINILM):
            interval = over_seeds([scores[arm] for scores in runs])
            gain = over_seeds([scores[arm] - scores[single] for scores in runs])
            yield Row(
                method="FunnellingClassifier",
                variant=f"{arm}; gain {gain.low:+.3f} to {gain.high:+.3f}" if arm in ARMS else arm,
                dataset=f"SIB-200, {size} a language",
                metric="macro-F1",
                value=interval.value,
                low=interval.low,
                high=interval.high,
                seeds=len(runs),
                baseline=baseline if arm in ARMS else None,
                floor=floor,
            )


def measure(job: tuple[int, int], *, data: list[tuple[Split, Split]]) -> dict[str, float]:
    """Macro-F1 of each arm, with so many sentences of each language, drawn by a seed."""
    size, seed = job
    draw = np.random.default_rng(seed)
    known = [_some(train, draw.permutation(len(train.topics))[:size]) for train, _ in data]
    asked = [test for _, test in data]
    words, words_asked = zip(*(_tfidf(*each) for each in zip(known, asked, strict=True)), strict=True)
    vectors, vectors_asked = (np.concatenate([each.vectors for each in some]) for some in (known, asked))
    topics = np.concatenate([each.topics for each in known])
    pairs = zip(words, known, words_asked, strict=True)
    said = {
        TFIDF: np.concatenate([_single(x, each.topics, STRENGTHS[TFIDF]).predict(z) for x, each, z in pairs]),
        MINILM: _single(vectors, topics).predict(vectors_asked),
    }
    values, counts = np.unique(topics, return_counts=True)
    said[FLOOR] = np.repeat(values[counts.argmax()], len(vectors_asked))
    languages, languages_asked = (sparse.block_diag(blocks, format="csr") for blocks in (words, words_asked))
    views = [block.shape[1] for block in words]
    for arm, options in ARMS.items():
        kind = GFUN if arm.startswith(GFUN) else FUN
        # The penalty weighs less on a view whose numbers are larger: a factor of the root of C is C itself.
        rows, rows_asked = (STRENGTHS[kind] ** 0.5 * each for each in (languages, languages_asked))
        head = FunnellingClassifier(views=views, random_state=seed, **options)
        if kind == GFUN:
            head.set_params(views=[*views, vectors.shape[1]])
            beside = ((rows, vectors), (rows_asked, vectors_asked))
            rows, rows_asked = (sparse.hstack(pair, format="csr") for pair in beside)
        said[arm] = head.fit(rows, topics).predict(rows_asked)
    return {arm: _macro_f1(asked, predicted) for arm, predicted in said.items()}


def _macro_f1(asked: list[Split], predicted: NDArray[Any]) -> float:
    """The mean over the languages."""
    parts = np.split(predicted, np.cumsum([len(each.topics) for each in asked])[:-1])
    found = [f1_score(each.topics, part, average="macro") for each, part in zip(asked, parts, strict=True)]
    return float(np.mean(found))


def _single(rows: Any, topics: NDArray[Any], strength: float = 1.0) -> Any:
    return LogisticRegression(C=strength, max_iter=1000).fit(rows, topics)


def _tfidf(known: Split, asked: Split) -> tuple[Any, Any]:
    """Of the sentences of one language."""
    words = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True, min_df=2, max_features=5000)
    return words.fit_transform(known.texts), words.transform(asked.texts)


def _some(split: Split, rows: NDArray[np.int64]) -> Split:
    return Split(split.texts[rows], split.vectors[rows], split.topics[rows])


def _read() -> list[tuple[Split, Split]]:
    encoder = ek.load(device="cpu")
    found = []
    for language in LANGUAGES:
        train, test = (
            Split(np.array(texts, dtype=object), encoder.encode(texts), np.array(topics))
            for texts, topics in (sib200(language, "train"), sib200(language, "test"))
        )
        found.append((train, test))
    return found


def _drawn() -> list[tuple[Split, Split]]:
    """Two languages of words that some topics prefer."""
    draw = np.random.default_rng(0)

    def split(words: NDArray[Any]) -> Split:
        topics = np.arange(40) % 3
        texts = [" ".join(draw.choice(words[topic : topic + 3], size=3)) for topic in topics]
        vectors = np.eye(3, 8)[topics] + draw.normal(size=(40, 8))
        return Split(np.array(texts, dtype=object), vectors.astype(np.float32), topics)

    languages = np.array([["sun", "moon", "star", "tree", "bird"], ["sol", "lune", "astre", "arbre", "oiseau"]])
    return [(split(words), split(words)) for words in languages]
