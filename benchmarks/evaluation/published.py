"""The default model through the bridge to mteb, on local files, against its published scores and plain mteb."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mteb
from datasets import DatasetDict
from sentence_transformers import SentenceTransformer

import embedkit as ek
from benchmarks.data import data_folder
from benchmarks.peer import default_folder
from benchmarks.results import Row
from embedkit.evaluation.mteb.run import quiet
from embedkit.evaluation.statistics import bootstrap_interval
from embedkit.evaluation.tasks.known import known_task

PUBLISHED = {
    "STSBenchmark": 82.03,
    "STS12": 72.37,
    "STS13": 80.60,
    "STS14": 75.59,
    "Banking77Classification": 80.04,  # 78.9 to 81.3 over its ten training samples
}
"""Main scores of sentence-transformers/all-MiniLM-L6-v2 in mteb's own collection of results."""


def run(smoke: bool) -> Iterator[Row]:
    """Score, bootstrap interval over items, the same by plain mteb, and TF-IDF."""
    texts = data_folder("text")
    names = ["STSBenchmark"] if smoke else list(PUBLISHED)
    if not (texts / "semeval_sts" / "2012" / "MSRvid.test.tsv").is_file():
        names = ["STS12WithoutMSRvid" if name == "STS12" else name for name in names]
    for name in names:
        task: Any = known_task(name, texts.parent)
        if smoke:
            task.dataset = DatasetDict({"test": task.dataset["test"].select(range(64))})
        yield _row(name, task)


def _row(name: str, task: Any) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        found = ek.evaluate(None, [task], results=Path(folder), floors=["tfidf"])
        ours, floor = (model.tasks[name] for model in found.models)
        interval = bootstrap_interval(ours.items)
    peer = SentenceTransformer(str(default_folder()), device="cpu")
    with quiet():
        plain = mteb.evaluate(peer, task, cache=None, show_progress_bar=False, co2_tracker=False)
    return Row(
        method="evaluate, MiniLM",
        dataset=name,
        metric=f"{task.metadata.main_score} x 100",
        value=_points(ours.score),
        low=_points(interval.low),
        high=_points(interval.high),
        baseline=_points(plain.task_results[0].get_score()),
        floor=_points(floor.score),
        paper=PUBLISHED.get(name),
    )


def _points(score: float) -> float:
    return round(100 * score, 2)
