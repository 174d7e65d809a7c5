"""The items behind a score of mteb: from the predictions it can write and the data the task holds.

Each kind of task has one function below. What it gives must reproduce mteb's own main score; where it does not, or
where a metric cannot be resampled, no items are kept and the score stands without an interval.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from mteb.abstasks import AbsTask
from numpy.typing import NDArray

from embedkit.errors import InputError
from embedkit.evaluation.items import Items, TaskItems
from embedkit.evaluation.statistics import score

_TOLERANCE = 5e-4
"""Mean over folds (mteb) against mean over items (here): folds differ by one item in size."""
_EXAMPLES = 20
_SHOWN = 300


def items_of(
    task: AbsTask, predictions: Mapping[str, Any], scores: Mapping[str, Sequence[Mapping[str, Any]]]
) -> TaskItems:
    """What the scores of one task are made of.

    Args:
        task: The task, its data still loaded.
        predictions: What mteb wrote for it: subset → split → predictions.
        scores: The result's scores: split → one mapping a subset.
    """
    parts = []
    for split, entries in scores.items():
        for entry in entries:
            subset = str(entry["hf_subset"])
            part = _part(task, split, subset, predictions.get(subset, {}).get(split), entry)
            if part is not None and _makes_up(part, float(entry["main_score"])):
                parts.append(part)
    complete = len(parts) == sum(len(entries) for entries in scores.values())
    return replace(without_items(task), parts=tuple(parts) if complete else ())


def without_items(task: AbsTask) -> TaskItems:
    """What is known of a task's scores beside their items."""
    return TaskItems(
        metric=task.metadata.main_score,
        task_type=str(task.metadata.type),
        modality=getattr(task, "modality", "+".join(task.metadata.modalities)),
        source=str(getattr(task, "source", "hub")),
        parts=(),
    )


def _makes_up(part: Items, main_score: float) -> bool:
    try:
        return abs(score([part]) - main_score) <= _TOLERANCE
    except InputError:  # such as targets that are all equal
        return False


def _part(task: AbsTask, split: str, subset: str, predictions: Any, scores: Mapping[str, Any]) -> Items | None:
    own: Callable[..., Items | None] | None = getattr(task, "items", None)
    if own is not None:
        return own(split, subset)
    extract = _EXTRACT.get(str(task.metadata.type))
    data = _data(task, split, subset)
    if extract is None or predictions is None or data is None:
        return None
    found = extract(task, data, predictions, scores)
    if found is None:
        return None
    statistic, unit, ids, columns, examples = found
    return Items(split, subset, statistic, unit, tuple(ids), columns, tuple(examples))


_Found = tuple[str, str, Sequence[str], Mapping[str, NDArray[np.float64]], Sequence[Mapping[str, str]]]


def _sts(task: Any, data: Any, predictions: Any, scores: Mapping[str, Any]) -> _Found | None:
    del scores
    kind, _, statistic = task.metadata.main_score.rpartition("_")
    similarities = _column(predictions, kind)
    if similarities is None or statistic not in {"spearman", "pearson"}:
        return None
    target = np.asarray(data["score"], dtype=np.float64)
    first, second = task.column_names
    error = np.abs(_ranks(similarities) - _ranks(target))
    examples = [
        {
            "first": _shown(data[first][row]),
            "second": _shown(data[second][row]),
            "given": f"{target[row]:g}",
            "similarity": f"{similarities[row]:.3f}",
        }
        for row in _worst(error)
    ]
    ids = [str(row) for row in range(len(target))]
    return statistic, "pair", ids, {"score": similarities, "target": target}, examples


def _pairs(task: Any, data: Any, predictions: Any, scores: Mapping[str, Any]) -> _Found | None:
    kind, _, statistic = task.metadata.main_score.rpartition("_")
    if statistic != "ap":
        return None
    if kind == "max":  # over the similarity functions: the one that reached it
        kind = max(("similarity", *_KINDS), key=lambda name: scores.get(f"{name}_ap", -math.inf))
    similarities = _column(predictions, kind)
    if similarities is None:
        return None
    if kind in {"manhattan", "euclidean"}:
        similarities = -similarities
    target = np.asarray(data[task.label_column_name], dtype=np.float64)
    examples = [
        {
            "first": _shown(data[task.input1_column_name][row]),
            "second": _shown(data[task.input2_column_name][row]),
            "given": "same" if target[row] else "different",
            "similarity": f"{similarities[row]:.3f}",
        }
        for row in _worst(np.abs(_ranks(similarities) - target))
    ]
    ids = [str(row) for row in range(len(target))]
    return "average_precision", "pair", ids, {"score": similarities, "target": target}, examples


def _classification(task: Any, data: Any, predictions: Any, scores: Mapping[str, Any]) -> _Found | None:
    del scores
    if task.metadata.main_score not in {"accuracy", "f1"}:
        return None
    labels = list(data[task.label_column_name])
    rows, predicted = _folds(task, len(labels), predictions) if task.is_cross_validation else (None, predictions)
    if rows is not None:
        labels = [labels[row] for row in rows]
    # The true labels first: their codes must not depend on what a model predicts.
    others = {guess for run in predicted for guess in run}.difference(labels)
    names = {name: code for code, name in enumerate([*sorted(set(labels), key=str), *sorted(others, key=str)])}
    if any(len(run) != len(labels) for run in predicted):
        return None
    target = np.asarray([names[label] for label in labels], dtype=np.float64)
    guesses = np.asarray([[names[p] for p in run] for run in predicted], dtype=np.float64).T
    ids = [str(row) for row in (rows if rows is not None else range(len(labels)))]
    wrong = (guesses != target[:, None]).mean(axis=1)
    words = _label_names(data, task.label_column_name)
    examples = [
        {
            "text": _shown(data[_input_column(task)][int(ids[row])]),
            "given": _shown(words(labels[row])),
            "predicted": _shown(words(predicted[int(np.argmax(guesses[row] != target[row]))][row])),
        }
        for row in _worst(wrong)
        if wrong[row] > 0
    ]
    return task.metadata.main_score, "text", ids, {"prediction": guesses, "target": target}, examples


def _multilabel(task: Any, data: Any, predictions: Any, scores: Mapping[str, Any]) -> _Found | None:
    del scores
    from sklearn.preprocessing import MultiLabelBinarizer

    truth = MultiLabelBinarizer().fit_transform(data[task.label_column_name])
    guesses = np.asarray(predictions)
    if task.metadata.main_score != "accuracy" or guesses.ndim != 3 or guesses.shape[1:] != truth.shape:
        return None  # another metric, or a sample of the data that mteb does not name
    exact = (guesses == truth).all(axis=2).T.astype(np.float64)
    ids = [str(row) for row in range(len(truth))]
    return "mean", "text", ids, {"score": exact}, []


def _retrieval(task: Any, data: Any, predictions: Any, scores: Mapping[str, Any]) -> _Found | None:
    del scores
    relevant = {query: grades for query, grades in data["relevant_docs"].items() if grades}
    found = {query: dict(documents) for query, documents in predictions.items() if query in relevant}
    if task.ignore_identical_ids:
        for query, documents in found.items():
            documents.pop(query, None)
    values = _query_scores(task.metadata.main_score, relevant, found)
    if values is None or task.skip_first_result:
        return None
    ids = sorted(values)
    column = np.asarray([values[query] for query in ids], dtype=np.float64)
    queries = dict(zip(data["queries"]["id"], data["queries"]["text"], strict=True))
    documents = {id: row for row, id in enumerate(data["corpus"]["id"])}
    examples = []
    for row in _worst(-column):
        query = ids[row]
        best = max(relevant[query], key=lambda id: relevant[query][id])
        first = max(found[query], key=lambda id: (found[query][id], id), default=None)
        examples.append(
            {
                "query": _shown(queries[query]),
                "expected": _shown(_document(data["corpus"], documents.get(best))),
                "found first": _shown(_document(data["corpus"], documents.get(first))),
                task.metadata.main_score: f"{column[row]:.3f}",
            }
        )
    return "mean", "query", ids, {"score": column}, examples


def _clustering(task: Any, data: Any, predictions: Any, scores: Mapping[str, Any]) -> _Found | None:
    del data, predictions
    measures = scores.get("v_measures")
    if task.metadata.main_score != "v_measure" or not measures:
        return None
    levels = measures if isinstance(measures, dict) else {"all": measures}
    values = [value for level in levels.values() for value in level]
    ids = [f"{name} {run}" for name, level in levels.items() for run in range(len(level))]
    return "mean", "clustering", ids, {"score": np.asarray(values, dtype=np.float64)}, []


def _bitext(task: Any, data: Any, predictions: Any, scores: Mapping[str, Any]) -> _Found | None:
    del data, scores
    pairs = next(iter(predictions.values())) if isinstance(predictions, dict) else predictions
    if task.metadata.main_score != "accuracy":
        return None
    column = np.asarray([pair["corpus_id"] == row for row, pair in enumerate(pairs)], dtype=np.float64)
    return "mean", "pair", [str(row) for row in range(len(column))], {"score": column}, []


_KINDS = ("cosine", "manhattan", "euclidean", "dot")

_EXTRACT: Mapping[str, Callable[[Any, Any, Any, Mapping[str, Any]], _Found | None]] = {
    "STS": _sts,
    "PairClassification": _pairs,
    "Classification": _classification,
    "ImageClassification": _classification,
    "MultilabelClassification": _multilabel,
    "Retrieval": _retrieval,
    "Reranking": _retrieval,
    "InstructionRetrieval": _retrieval,
    "InstructionReranking": _retrieval,
    "Any2AnyRetrieval": _retrieval,
    "Clustering": _clustering,
    "ImageClustering": _clustering,
    "BitextMining": _bitext,
}


# -- what the functions above share --------------------------------------------------------------------


def _data(task: Any, split: str, subset: str) -> Any:
    """The split that was evaluated; mteb keeps data with or without the level of subsets."""
    held = task.dataset
    if held is None:
        return None
    for level in (subset, split):
        if level in held:
            held = held[level]
    return held


def _column(predictions: Any, kind: str) -> NDArray[np.float64] | None:
    """One similarity function's scores; "" and "similarity" mean the model's own."""
    name = {"": "similarity_scores", "similarity": "similarity_scores", "dot": "dot_scores", "cosine": "cosine_scores"}
    values = predictions.get(name.get(kind, f"{kind}_distances"))
    if values is None and kind in {"", "similarity"}:
        values = predictions.get("cosine_scores")
    return None if values is None else np.asarray(values, dtype=np.float64)


def _folds(task: Any, count: int, predictions: Any) -> tuple[list[int], list[list[Any]]]:
    """Mteb's cross-validation folds put end to end: the rows, and one run that predicts each once."""
    from sklearn.model_selection import KFold

    folds = KFold(n_splits=task.n_splits, shuffle=True, random_state=task.seed).split(range(count))
    rows = [int(row) for _, validation in folds for row in validation]
    return rows, [[guess for run in predictions for guess in run]]


def _query_scores(
    metric: str, relevant: Mapping[str, Mapping[str, int]], found: Mapping[str, Mapping[str, float]]
) -> dict[str, float] | None:
    """One value a query, by trec_eval's definitions."""
    import pytrec_eval

    name, _, k = metric.rpartition("_at_")
    if name == "mrr":
        return {query: _reciprocal_rank(relevant[query], found[query], int(k)) for query in found}
    measures = {"ndcg": "ndcg_cut", "map": "map_cut", "recall": "recall", "precision": "P", "hit_rate": "success"}
    if name not in measures:
        return None
    graded = {query: {id: int(grade) for id, grade in grades.items()} for query, grades in relevant.items()}
    evaluated = pytrec_eval.RelevanceEvaluator(graded, {f"{measures[name]}.{k}"}).evaluate(found)
    return {query: values[f"{measures[name]}_{k}"] for query, values in evaluated.items()}


def _reciprocal_rank(relevant: Mapping[str, int], found: Mapping[str, float], k: int) -> float:
    ranked = sorted(found, key=lambda id: (found[id], id), reverse=True)[:k]
    return next((1 / rank for rank, id in enumerate(ranked, 1) if relevant.get(id, 0) > 0), 0.0)


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks scaled to 0 … 1, ties averaged."""
    from scipy.stats import rankdata

    return np.asarray((rankdata(values) - 1) / max(len(values) - 1, 1), dtype=np.float64)


def _worst(error: NDArray[np.float64]) -> list[int]:
    return [int(row) for row in np.argsort(-error, kind="stable")[:_EXAMPLES]]


def _input_column(task: Any) -> str:
    column = task.input_column_name
    return column if isinstance(column, str) else column[0]


def _label_names(data: Any, column: str) -> Callable[[Any], Any]:
    feature = getattr(data, "features", {}).get(column)
    names = getattr(feature, "names", None)
    return lambda label: names[int(label)] if names and isinstance(label, int | np.integer) else label


def _document(corpus: Any, row: int | None) -> str:
    if row is None:
        return "(nothing)"
    document = corpus[row]
    return f"{document.get('title') or ''} {document.get('text') or ''}".strip()


def _shown(value: Any) -> str:
    text = str(value) if isinstance(value, str | int | float) else f"({type(value).__name__})"
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
