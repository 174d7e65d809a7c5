"""Search tasks on things that are not prose: code by question, columns by column.

Each is a retrieval task of mteb's over the *text form* of its documents, so that its evaluator, BM25 and any text
encoder work on it unchanged. `native` maps each text to the thing itself, for encoders that read it.
"""

import ast
import hashlib
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from datasets import Dataset
from mteb.abstasks import AbsTaskRetrieval
from mteb.abstasks.task_metadata import TaskMetadata

from embedkit.evaluation.tasks.metadata import data_folder, existing, metadata

_FUNCTIONS = 1_000
_LONGEST = 4_000
_WORDS = 4
"""Shorter questions, such as "Return the name", have too many answers."""
_LEFT_OUT = ("test", "idlelib", "lib2to3", "site-packages", "dist-packages", "turtledemo", "ensurepip", "pydoc_data")
_VALUES = 20
"""Values of a column that its text form shows: the first distinct ones."""


class SearchTask(AbsTaskRetrieval):
    """Documents and questions made here; a document whose id is the question's own is no answer to it.

    Attributes:
        modality: What a document is.
        source: Where the data came from.
        native: Text form → the thing itself, for encoders that read it.
    """

    ignore_identical_ids = True

    def __init__(
        self,
        about: TaskMetadata,
        queries: Mapping[str, str],
        documents: Mapping[str, str],
        relevant: Mapping[str, Sequence[str]],
        *,
        modality: str,
        source: str,
        native: Mapping[str, Any] | None = None,
    ) -> None:
        self.metadata = about
        super().__init__()
        self.dataset = {
            "default": {
                "test": {
                    "queries": _dataset(queries),
                    "corpus": _dataset(documents),
                    "relevant_docs": {query: dict.fromkeys(found, 1) for query, found in relevant.items()},
                    "top_ranked": None,
                }
            }
        }
        self.data_loaded = True
        self.modality = modality
        self.source = source
        self.native: Mapping[str, Any] = native or {}


def code_search_task(data: Path | None = None) -> SearchTask:
    """Find a function by its docstring: 1,000 functions of the standard library of this Python.

    The question is the first sentence of the docstring, the document the function without any of it. Files are read
    in the order of the hash of their place, so that all runs on one version of Python agree.
    """
    del data
    chosen: dict[str, tuple[str, str]] = {}
    for place, question, code in _functions(Path(sysconfig.get_path("stdlib"))):
        chosen.setdefault(question, (place, code))
        if len(chosen) == _FUNCTIONS:
            break
    queries = {f"question {place}": question for question, (place, _) in chosen.items()}
    documents = dict(chosen.values())
    about = metadata(
        "PythonCodeSearch",
        "Retrieval",
        "ndcg_at_10",
        "Find a function of Python's standard library by the first sentence of its docstring.",
        [queries, documents],
    )
    relevant = {f"question {place}": [place] for place in documents}
    return SearchTask(about, queries, documents, relevant, modality="code", source="the standard library of Python")


def join_search_task(data: Path | None = None) -> SearchTask:
    """Find the column that a foreign key refers to, among all columns of the Spider databases that are here.

    A document is one column: its name and its first distinct values, without the name of its table, which a foreign
    key's own name often repeats. Encoders that read tables get a frame of one column.

    Raises:
        InputError: The databases are not there.
    """
    folder = data_folder(data) / "tables" / "spider"
    declared = pd.read_csv(existing(folder / "profile_foreign_keys.csv"))
    texts: dict[str, str] = {}
    native: dict[str, pd.DataFrame] = {}
    for place, column in _columns(folder / "databases"):
        texts[place] = f"{column.name}: {', '.join(column)}"
        native[texts[place]] = column.to_frame()
    relevant: dict[str, list[str]] = {}
    for key in declared.itertuples():
        place, referred = (".".join(map(str, names)).lower() for names in (key[1:4], (key[1], *key[4:6])))
        if {place, referred} <= set(texts) and place != referred:
            relevant.setdefault(place, []).append(referred)
    queries = {place: texts[place] for place in relevant}
    about = metadata(
        "SpiderJoinSearch",
        "Retrieval",
        "ndcg_at_10",
        "Find the column that a foreign key refers to among the columns of the Spider databases.",
        [queries, texts, relevant],
    )
    return SearchTask(about, queries, texts, relevant, modality="table", source=str(folder), native=native)


def _functions(root: Path) -> Iterator[tuple[str, str, str]]:
    """(place, first sentence of the docstring, code without the docstring) of each function that has one."""
    for path in sorted(root.rglob("*.py"), key=lambda path: _digest(path.relative_to(root).as_posix())):
        relative = path.relative_to(root)
        if any(part.startswith("_") or part in _LEFT_OUT for part in relative.with_suffix("").parts):
            continue
        try:
            source = path.read_text("utf-8")
            tree = ast.parse(source)
        except (SyntaxError, UnicodeDecodeError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (found := _question_and_code(node, source)):
                yield f"{relative.as_posix()}:{node.lineno}", *found


def _question_and_code(node: ast.FunctionDef | ast.AsyncFunctionDef, source: str) -> tuple[str, str] | None:
    docstring = ast.get_docstring(node)
    if not docstring or len(node.body) < 2:
        return None
    question = " ".join(docstring.split("\n\n")[0].split()).split(". ")[0].rstrip(".")
    text, last = node.body[0], node.end_lineno or node.lineno
    lines = source.splitlines()
    code = "\n".join(lines[node.lineno - 1 : text.lineno - 1] + lines[text.end_lineno or text.lineno : last])
    return (question, code) if len(question.split()) >= _WORDS and len(code) <= _LONGEST else None


def _columns(databases: Path) -> Iterator[tuple[str, "pd.Series[str]"]]:
    """(database.table.column, its first distinct values) of every CSV file."""
    for path in sorted(databases.glob("*/data/*.csv")):
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
        for name in frame.columns:
            place = f"{path.parents[1].name}.{path.stem}.{name}".lower()
            yield place, frame[name].drop_duplicates().head(_VALUES).reset_index(drop=True)


def _dataset(texts: Mapping[str, str]) -> Dataset:
    return Dataset.from_dict({"id": list(texts), "text": list(texts.values())})


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
