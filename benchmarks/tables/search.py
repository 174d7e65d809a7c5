"""Are columns found to join on? Declared foreign keys of the Spider databases, each asked for among all columns.

A query is a column that refers to another; all other columns of all databases are candidates, its own table left out.
What is asked for is the column it refers to: one, though others may join as well, so that the figures are a lower
bound. Keys count whose two columns have a cell. Ours reads name and values of each column by itself; the baseline reads
the same text encoder's "name: first 20 values". TF-IDF and MinHash read values alone, and names alone are read too: it
is told so what each of them is worth. Floor: a candidate drawn at random.

Questions in words are not part of the data, so that search for tables by text is not measured.
"""

import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer

import embedkit as ek
from benchmarks.results import Row
from benchmarks.spider import spider, spider_keys
from embedkit.encoders.table.parts import part_encoder
from embedkit.encoders.table.search import ColumnIndex
from embedkit.encoders.table.table import Table
from embedkit.evaluation.items import Items
from embedkit.evaluation.statistics import bootstrap_interval

KS = (1, 5, 10)
FIRST_VALUES = 20
PERMUTATIONS = 128
PRIME = (1 << 61) - 1

Column = tuple[str, str]
"""Names of a table, with its database, and of a column in it."""
Scores = NDArray[np.float64]
Ranks = NDArray[np.int64]


def run(smoke: bool) -> Iterator[Row]:
    """Recall of the column referred to, of each way to read a column; seconds to build and to ask."""
    databases, most_rows, resamples = (2, 5, 200) if smoke else (None, None, 2000)
    tables = {
        f"{database}.{name}": Table(name, table.columns, table.rows[:most_rows])
        for (database, name), table in spider(databases).items()
    }
    values = {
        (name, column): found
        for name, table in tables.items()
        for place, column in enumerate(table.columns)
        if (found := [row[place].strip() for row in table.rows if row[place].strip()])
    }
    wanted = dict.fromkeys(
        ((f"{key.database}.{key.table}", key.column), (f"{key.database}.{key.parent_table}", key.parent_column))
        for key in spider_keys(databases)
    )
    keys = [(child, parent) for child, parent in wanted if {child, parent} <= values.keys() and child[0] != parent[0]]
    columns = list(values)
    task = _Task(columns, keys)
    dataset = f"Spider, {len(keys)} keys"
    chance = {k: task.chance(k) for k in KS}

    encoder = ek.load(device="cpu")
    ours, seconds, milliseconds = _ours(encoder, tables, task)
    texts = [f"{name}: {', '.join(values[table, name][:FIRST_VALUES])}" for table, name in columns]
    baseline = task.ranks(_cosines(encoder.encode(texts, normalize_embeddings=True), task))
    names = encoder.encode([name for _, name in columns], normalize_embeddings=True)
    sets = [set(found) for found in values.values()]
    arms = {
        "part_encoder of MiniLM; baseline: name: first 20 values": ours,
        "name: first 20 values, as one text": baseline,
        "name alone": task.ranks(_cosines(names, task)),
        "values alone, TF-IDF of whole values": task.ranks(_tfidf(list(values.values()), task)),
        f"values alone, MinHash Jaccard, {PERMUTATIONS} permutations": task.ranks(_minhash(sets, task)),
        "values alone, exact containment": task.ranks(_containment(sets, task)),
    }
    for k in KS:
        reference = float((baseline <= k).mean())
        for variant, ranks in arms.items():
            yield _row(
                ranks <= k,
                resamples,
                variant=variant,
                dataset=dataset,
                metric=f"recall@{k}",
                baseline=reference if ranks is ours else None,
                floor=chance[k],
            )
    about: dict[str, Any] = {"method": "ColumnIndex", "dataset": f"Spider, {len(columns)} columns"}
    yield Row(**about, metric="seconds to build", value=round(seconds, 3))
    yield Row(**about, metric="ms a query, of a list", value=round(milliseconds, 4))


class _Task:
    """Which columns are asked with, and which is wanted of each; the columns of its own table are no candidates."""

    def __init__(self, columns: Sequence[Column], keys: Sequence[tuple[Column, Column]]) -> None:
        place = {column: position for position, column in enumerate(columns)}
        self.keys = keys
        self.queries = np.array([place[child] for child, _ in keys])
        self.wanted = np.array([place[parent] for _, parent in keys])
        tables = np.array([table for table, _ in columns])
        self.is_own = tables[self.queries, None] == tables

    def ranks(self, scores: Scores) -> Ranks:
        """Rank, from 1, of the wanted column by scores (queries, columns); of equal scores half come before it."""
        scores = np.where(self.is_own, -np.inf, scores)
        wanted = np.take_along_axis(scores, self.wanted[:, None], axis=1)
        before = (scores > wanted).sum(axis=1) + ((scores == wanted).sum(axis=1) - 1) / 2
        found: Ranks = 1 + np.ceil(before).astype(np.int64)
        return found

    def chance(self, k: int) -> float:
        """Recall of a random order."""
        return float(np.minimum(1, k / (~self.is_own).sum(axis=1)).mean())


def _ours(encoder: ek.Encoder, tables: dict[str, Table], task: _Task) -> tuple[Ranks, float, float]:
    """Ranks by `ColumnIndex`, seconds to build it, and milliseconds a query."""
    index = ColumnIndex(part_encoder(encoder))
    started = time.perf_counter()
    index.add(tables)
    built = time.perf_counter()
    children = [child for child, _ in task.keys]
    index.search(children, k=max(KS))
    asked = time.perf_counter()
    ranks = []
    for (_, parent), hits in zip(task.keys, index.search(children, k=len(index)), strict=True):
        scores = {(hit.table, hit.column): hit.score for hit in hits}
        before = sum(score > scores[parent] for score in scores.values())
        equal = sum(score == scores[parent] for score in scores.values()) - 1
        ranks.append(1 + before + -(-equal // 2))
    return np.array(ranks), built - started, 1000 * (asked - built) / len(children)


def _cosines(vectors: Any, task: _Task) -> Scores:
    found: Scores = (vectors[task.queries] @ vectors.T).astype(np.float64)
    return found


def _tfidf(values: Sequence[Sequence[str]], task: _Task) -> Scores:
    vectors = TfidfVectorizer(analyzer=list).fit_transform(values)
    found: Scores = (vectors[task.queries] @ vectors.T).toarray()
    return found


def _minhash(sets: Sequence[set[str]], task: _Task) -> Scores:
    """Share of 128 random hash functions by which two sets of values have the same smallest value."""
    generator = np.random.default_rng(0)
    numbers = {value: generator.integers(1 << 32) for value in sorted(set().union(*sets))}
    factor, shift = generator.integers(1, 1 << 31, size=(2, PERMUTATIONS, 1))
    smallest = np.stack(
        [((factor * np.array([numbers[value] for value in each]) + shift) % PRIME).min(axis=1) for each in sets]
    )
    return np.stack([(smallest == smallest[query]).mean(axis=1) for query in task.queries])


def _containment(sets: Sequence[set[str]], task: _Task) -> Scores:
    """Share of the query's different values that stand in the other column."""
    return np.array([[len(sets[query] & other) / len(sets[query]) for other in sets] for query in task.queries])


def _row(hits: NDArray[np.bool_], resamples: int, **about: Any) -> Row:
    ids = tuple(map(str, range(len(hits))))
    items = Items("test", "default", "mean", "query", ids, {"score": hits.astype(np.float64)})
    found = bootstrap_interval([items], resamples=resamples)
    return Row(method="ColumnIndex", value=found.value, low=found.low, high=found.high, **about)
