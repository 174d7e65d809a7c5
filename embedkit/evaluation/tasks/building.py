"""Loaded tasks of mteb's kinds from plain lists: its evaluators and metrics on data that is already here."""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from mteb.abstasks import (
    AbsTask,
    AbsTaskClassification,
    AbsTaskClustering,
    AbsTaskMultilabelClassification,
    AbsTaskPairClassification,
    AbsTaskRetrieval,
    AbsTaskSTS,
)

from embedkit.errors import InputError
from embedkit.evaluation.tasks.metadata import metadata

_Table: TypeAlias = dict[str, list[Any]]

Splits: TypeAlias = Mapping[str, tuple[Sequence[str], Sequence[Any]]]
"""Split → its texts and their labels."""

_FOLDS = 5
_NEIGHBOURS = 5
_LARGEST_SAMPLE = 16_384


@dataclass(frozen=True, slots=True)
class About:
    """What is said of a task beside its data.

    Attributes:
        name: Name of the task; also the stem of its result file.
        source: The file or folder its data came from.
        description: What is asked of a model, in one sentence.
        language: ISO 639-3 and script, such as "eng-Latn".
        seed: Of everything that is drawn: training samples, folds, clustering samples.
    """

    name: str
    source: str
    description: str
    language: str = "eng-Latn"
    seed: int = 42  # mteb's own


def sts(about: About, first: Sequence[str], second: Sequence[str], scores: Sequence[float]) -> AbsTask:
    """Similarity of pairs, scored by Spearman's correlation with `scores`, which may have any range.

    Raises:
        InputError: All scores are equal, so that no correlation exists.
    """
    low, high = min(scores), max(scores)
    if low == high:
        message = f"{about.source}: scores must differ for a correlation to exist; all are {low:g}"
        raise InputError(message)
    columns: _Table = {"sentence1": list(first), "sentence2": list(second), "score": list(scores)}
    return _task(AbsTaskSTS, "STS", "cosine_spearman", about, {"test": columns}, min_score=low, max_score=high)


def pair_classification(about: About, first: Sequence[str], second: Sequence[str], same: Sequence[bool]) -> AbsTask:
    """Which pairs belong together, scored by the average precision of the best similarity function.

    Raises:
        InputError: All pairs belong together, or none does.
    """
    if len(set(same)) < 2:
        message = f"{about.source}: some pairs must belong together and some not; all are labelled {int(same[0])}"
        raise InputError(message)
    columns: _Table = {"sentence1": list(first), "sentence2": list(second), "labels": [int(label) for label in same]}
    return _task(AbsTaskPairClassification, "PairClassification", "max_ap", about, {"test": columns})


def classification(about: About, splits: Splits) -> AbsTask:
    """One class a text, scored by the accuracy of logistic regression on eight training texts a class.

    With a split "train", ten such samples are drawn from it and scored on "test". With "test" alone, mteb's
    cross-validation draws from four fifths of it and scores on the fifth left out, five times.

    Raises:
        InputError: Fewer than two classes, a class with one training text, a class of "test" that "train" lacks, or
            too few texts for five folds.
    """
    train = "train" if "train" in splits else "test"
    labels = {split: list(values) for split, (_, values) in splits.items()}
    _check_classes(about.source, labels[train], labels["test"])
    if train == "test":
        _check_folds(about, labels["test"])
    names = sorted({*labels[train], *labels["test"]})
    code = {name: number for number, name in enumerate(names)}
    columns: dict[str, _Table] = {
        split: {"text": list(texts), "label": [code[label] for label in labels[split]]}
        for split, (texts, _) in splits.items()
    }
    how = {"train_split": train, "is_cross_validation": train == "test"}
    return _task(AbsTaskClassification, "Classification", "accuracy", about, columns, names, **how)


def multilabel(about: About, splits: Splits) -> AbsTask:
    """Any number of labels a text, scored by how many texts five nearest neighbours label exactly right.

    mteb has no cross-validation for this kind: with "test" alone, half of the texts are taken for training, seeded,
    so that each label is on both sides where it can be.

    Raises:
        InputError: Fewer than two labels, a label with one text, a label of "test" that "train" lacks, or fewer than
            five labelled training texts.
    """
    if "train" not in splits:
        texts, values = splits["test"]
        _check_classes(about.source, [label for labels in values for label in labels], [])
        splits = {
            split: ([texts[row] for row in rows], [values[row] for row in rows])
            for split, rows in _dealt(values, about.seed).items()
        }
    labels = {split: [list(one) for one in values] for split, (_, values) in splits.items()}
    flat = {split: [label for one in values for label in one] for split, values in labels.items()}
    _check_classes(about.source, flat["train"], flat["test"], least=1)
    if sum(map(bool, labels["train"])) < _NEIGHBOURS or len(set(flat["test"])) < 2:
        message = f"{about.source}: there must be {_NEIGHBOURS} labelled training texts and two labels to find"
        raise InputError(message)
    names = sorted({*flat["train"], *flat["test"]})
    code = {name: number for number, name in enumerate(names)}
    columns: dict[str, _Table] = {
        split: {"text": list(texts), "label": [sorted({code[label] for label in one}) for one in labels[split]]}
        for split, (texts, _) in splits.items()
    }
    base = AbsTaskMultilabelClassification
    return _task(base, "MultilabelClassification", "accuracy", about, columns, names)


def clustering(about: About, texts: Sequence[str], clusters: Sequence[str]) -> AbsTask:
    """Which texts belong together, scored by the V-measure of k-means over ten samples, drawn with replacement.

    Raises:
        InputError: Fewer than two clusters, or as many clusters as texts.
    """
    names = sorted(set(clusters))
    if not 2 <= len(names) < len(texts):
        message = f"{about.source}: texts must form at least two clusters and one of several texts; found {len(names)}"
        raise InputError(message)
    code = {name: number for number, name in enumerate(names)}
    columns: _Table = {"sentences": list(texts), "labels": [code[cluster] for cluster in clusters]}
    how = {"max_fraction_of_documents_to_embed": None, "max_documents_per_cluster": min(len(texts), _LARGEST_SAMPLE)}
    return _task(AbsTaskClustering, "Clustering", "v_measure", about, {"test": columns}, names, **how)


def retrieval(
    about: About,
    documents: Mapping[str, tuple[str, str]],
    queries: Mapping[str, str],
    relevant: Mapping[str, Mapping[str, int]],
    candidates: Mapping[str, Sequence[str]] | None = None,
) -> AbsTask:
    """Search among documents, scored by nDCG@10; with candidates, reranking of them, scored by MAP.

    Args:
        about: What is said of the task.
        documents: Id → title, which may be empty, and text.
        queries: Id → text; those without an entry in `relevant` are left out.
        relevant: Query id → document id → grade, 0 for not relevant and more for better.
        candidates: Query id → the documents to rank.

    Raises:
        InputError: A query has no relevant document.
    """
    without = [query for query, grades in relevant.items() if not any(grades.values())]
    if without or not relevant:
        message = (
            f"{about.source}: every query must have a document of grade 1 or more; "
            f"{len(without):,} have none, such as {queries.get(without[0], without[0])!r:.100}"
            if without
            else f"{about.source}: there must be queries with relevant documents; there are none"
        )
        raise InputError(message)
    corpus = {"id": list(documents), "text": [text for _, text in documents.values()]}
    if any(title for title, _ in documents.values()):
        corpus["title"] = [title for title, _ in documents.values()]
    asked = [query for query in queries if query in relevant]
    held = {
        "corpus": Dataset.from_dict(corpus),
        "queries": Dataset.from_dict({"id": asked, "text": [queries[query] for query in asked]}),
        "relevant_docs": {query: dict(relevant[query]) for query in asked},
        "top_ranked": None if candidates is None else {query: list(candidates[query]) for query in asked},
    }
    kind, main_score = ("Retrieval", "ndcg_at_10") if candidates is None else ("Reranking", "map_at_1000")
    content = [corpus, held["queries"].to_dict(), held["relevant_docs"], held["top_ranked"]]
    return _loaded(AbsTaskRetrieval, kind, main_score, about, content, {"default": {"test": held}})


class _Seeded(AbsTask):
    """Draws its samples anew at each evaluation, so that all models meet the same ones."""

    modality = "text"

    def evaluate(self, *args: Any, **options: Any) -> Any:
        self.rng_state, self.np_rng = random.Random(self.seed), np.random.default_rng(self.seed)  # noqa: S311
        return super().evaluate(*args, **options)


def _task(
    base: type[AbsTask],
    kind: str,
    main_score: str,
    about: About,
    splits: Mapping[str, _Table],
    names: Sequence[str] = (),
    **attributes: Any,
) -> AbsTask:
    dataset = DatasetDict({split: labelled(columns, names) for split, columns in splits.items()})
    return _loaded(base, kind, main_score, about, [splits, names], dataset, **attributes)


def _loaded(
    base: type[AbsTask], kind: str, main_score: str, about: About, content: Any, dataset: Any, **attributes: Any
) -> AbsTask:
    """The revision covers what decides a score: the data, how it is sampled, and the seed."""
    described = metadata(
        about.name, kind, main_score, about.description, [kind, about.seed, about.language, attributes, content]
    ).model_copy(update={"eval_langs": [about.language]})
    # A class of its own, because mteb looks for a task's default prompt by the name its class has.
    made = type(kind, (_Seeded, base), {"metadata": described, "source": about.source, **attributes})
    task: AbsTask = made(seed=about.seed)
    task.dataset, task.data_loaded = dataset, True
    return task


def labelled(columns: Mapping[str, list[Any]], names: Sequence[str]) -> Dataset:
    """A data set whose label column, if any, knows the names of its numbers."""
    features = {}
    for column, values in columns.items():
        if names and column in {"label", "labels"}:
            many = any(isinstance(value, list) for value in values)
            features[column] = [ClassLabel(names=list(names))] if many else ClassLabel(names=list(names))
        else:
            first = values[0]
            features[column] = Value(
                "string" if isinstance(first, str) else "float64" if column == "score" else "int64"
            )
    return Dataset.from_dict(dict(columns), features=Features(features))


def _check_classes(source: str, train: Sequence[str], test: Sequence[str], least: int = 2) -> None:
    counts = Counter(train)
    absent = sorted(set(test) - set(counts))
    few = sorted(name for name, count in counts.items() if count < least)
    if len(counts) < 2:
        message = f"{source}: there must be at least two classes to learn; found {sorted(counts)}"
    elif absent:
        message = f"{source}: every class of the test texts must be among the training texts; {_names(absent)} is not"
    elif few:
        message = f"{source}: every class must have at least {least} texts; {_names(few)} has one: merge or drop it"
    else:
        return
    raise InputError(message)


def _check_folds(about: About, labels: Sequence[str]) -> None:
    """Each fold must leave two classes to learn from; mteb draws folds without looking at classes."""
    from sklearn.model_selection import KFold

    folds = KFold(_FOLDS, shuffle=True, random_state=about.seed)
    if len(labels) < _FOLDS or any(len({labels[row] for row in rows}) < 2 for rows, _ in folds.split(labels)):
        message = (
            f"{about.source}: five-fold cross-validation must find two classes in every four fifths of the texts; "
            f"{len(labels)} texts are too few: add some, or a file of training texts"
        )
        raise InputError(message)


def _dealt(labels: Sequence[Sequence[str]], seed: int) -> dict[str, list[int]]:
    """Rows in two halves: texts with rare labels first, each to the side that has fewer of its rarest label.

    The first text of a label always goes to training, so no label is without one.
    """
    counts = Counter(label for one in labels for label in one)
    order = list(range(len(labels)))
    random.Random(seed).shuffle(order)  # noqa: S311  # a split, not a secret
    order.sort(key=lambda row: min((counts[label] for label in labels[row]), default=len(labels)))
    rows: dict[str, list[int]] = {"train": [], "test": []}
    held = {"train": Counter[str](), "test": Counter[str]()}
    for row in order:
        rarest = min(labels[row], key=lambda label: (counts[label], label), default="")
        is_new = any(not held["train"][label] for label in labels[row])
        side = "train" if is_new or held["train"][rarest] <= held["test"][rarest] else "test"
        rows[side].append(row)
        held[side].update(labels[row] or [rarest])
    return {side: sorted(chosen) for side, chosen in rows.items()}


def _names(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:5])) + (f" and {len(names) - 5:,} more" if len(names) > 5 else "")
