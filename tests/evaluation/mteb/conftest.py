"""Tasks of a few rows, and an encoder that needs no weights."""

import hashlib

import pytest


@pytest.fixture
def make_task():
    """A function giving a loaded task of mteb over small data, of a kind."""
    from datasets import Dataset, DatasetDict
    from mteb.abstasks import AbsTaskClassification, AbsTaskPairClassification, AbsTaskRetrieval, AbsTaskSTS

    from embedkit.evaluation.tasks.metadata import metadata

    def make(kind="sts", name=None, content=None):
        builders = {
            "sts": (AbsTaskSTS, "STS", "cosine_spearman", _sts),
            "pairs": (AbsTaskPairClassification, "PairClassification", "max_ap", _pairs),
            "classification": (AbsTaskClassification, "Classification", "accuracy", _classes),
            "retrieval": (AbsTaskRetrieval, "Retrieval", "ndcg_at_10", _search),
        }
        base, task_type, main_score, rows = builders[kind]
        content = content or rows()
        about = metadata(name or f"Tiny{kind.title()}", task_type, main_score, "A few rows.", content)
        task = type("Tiny", (base,), {"metadata": about})()
        if kind == "retrieval":
            split = {name: Dataset.from_dict(content[name]) for name in ("queries", "corpus")}
            task.dataset = {
                "default": {"test": {**split, "relevant_docs": content["relevant_docs"], "top_ranked": None}}
            }
        else:
            task.dataset = {
                "default": DatasetDict({split: Dataset.from_dict(columns) for split, columns in content.items()})
            }
        task.data_loaded = True
        return task

    return make


WORDS = ["cat", "dog", "bird", "mat", "red", "green", "blue", "one", "two", "three"]


def _sts():
    first = [f"a {word} sat on the mat" for word in WORDS]
    second = [f"the {WORDS[(i * 3) % 10]} sings on a mat" for i in range(10)]
    return {"test": {"sentence1": first, "sentence2": second, "score": [float(i % 6) for i in range(10)]}}


def _pairs():
    sts = _sts()["test"]
    return {"test": {"sentence1": sts["sentence1"], "sentence2": sts["sentence2"], "labels": [0, 1] * 5}}


def _classes():
    text = [f"{colour} {word}" for colour in ("red", "green") for word in WORDS]
    return {split: {"text": text, "label": [0] * 10 + [1] * 10} for split in ("train", "test")}


def _search():
    return {
        "queries": {"id": ["q1", "q2", "q3"], "text": ["cat", "dog", "bird"]},
        "corpus": {
            "id": ["d1", "d2", "d3", "d4"],
            "text": ["a cat", "the dog barks", "one two three", "a bird sings"],
            "title": ["", "", "", ""],
        },
        "relevant_docs": {"q1": {"d1": 1}, "q2": {"d2": 2, "d1": 1}, "q3": {"d4": 1, "d3": 1}},
    }


class Words:
    """Vectors that say which words a text has; what differs between two of them is `salt`."""

    prompts = {}  # noqa: RUF012

    def __init__(self, salt="", dim=64):
        self.salt, self.dim, self.calls = salt, dim, 0
        self.fingerprint = hashlib.sha256(f"{salt}{dim}".encode()).hexdigest()

    def get_embedding_dimension(self):
        return self.dim

    def encode(self, inputs, **options):
        import numpy as np

        self.calls += 1
        vectors = np.full((len(inputs), self.dim), 0.01, dtype=np.float32)
        for vector, text in zip(vectors, inputs, strict=True):
            for word in text.lower().split():
                digest = hashlib.sha256(f"{self.salt}{word}".encode()).digest()
                vector[int.from_bytes(digest[:4], "big") % self.dim] += 1
        return vectors


@pytest.fixture
def words():
    return Words
