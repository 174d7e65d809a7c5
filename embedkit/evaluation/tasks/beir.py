"""Folders in the format of BEIR: corpus.jsonl, queries.jsonl and qrels/*.tsv.

Reference: Thakur, Reimers, Rücklé, Srivastava, Gurevych, "BEIR: A Heterogeneous Benchmark for Zero-shot Evaluation of
Information Retrieval Models", NeurIPS Datasets and Benchmarks 2021.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedkit.errors import InputError
from embedkit.evaluation.tasks.reading import decoded, objects_of, some
from embedkit.index.ids import is_unicode

CORPUS, QUERIES, QRELS = "corpus.jsonl", "queries.jsonl", "qrels"
_HEADER = ["query-id", "corpus-id", "score"]


@dataclass(frozen=True, slots=True)
class Collection:
    """What there is to search, what is asked, and what answers it.

    Attributes:
        documents: Id → title, which may be empty, and text.
        queries: Id → text.
        relevant: Query id → document id → grade, 0 for not relevant and more for better.
    """

    documents: Mapping[str, tuple[str, str]]
    queries: Mapping[str, str]
    relevant: Mapping[str, Mapping[str, int]]


def is_beir(folder: Path) -> bool:
    """Whether a folder holds a BEIR data set, or two of its three parts, so that `read_beir` can name the other."""
    parts = (folder / CORPUS).is_file(), (folder / QUERIES).is_file(), (folder / QRELS).is_dir()
    return sum(parts) >= 2


def read_beir(folder: Path) -> Collection:
    """Read one BEIR folder; of several files of judgements test.tsv is taken, else dev.tsv.

    A document needs a title or a text, a query a text. The same document may be there twice, a query may not.

    Args:
        folder: Holds corpus.jsonl, queries.jsonl and qrels/.

    Raises:
        InputError: A file is missing or damaged, an id stands for two texts, a judgement names a query or document
            that is not there, or a grade is not a whole number of 0 or more; file and line are named.
    """
    documents = _documents(folder / CORPUS)
    queries = _queries(folder / QUERIES)
    return Collection(documents, queries, _relevant(_qrels(folder / QRELS), documents, queries))


def beside(folder: Path) -> list[Path]:
    """Other files of a BEIR folder, which `read_beir` leaves alone."""
    return sorted(path for path in folder.iterdir() if path.is_file() and path.name not in {CORPUS, QUERIES})


def _documents(path: Path) -> dict[str, tuple[str, str]]:
    documents: dict[str, tuple[str, str]] = {}
    for place, value in objects_of(path, _bytes(path)):
        id = _id(path, place, value)
        document = (_text(path, place, value, "title"), _text(path, place, value, "text"))
        if not any(part.strip() for part in document):
            message = f"{path}, {place}: a document must have a title or a text; {id!r} has neither"
            raise InputError(message)
        if documents.setdefault(id, document) != document:
            message = f"{path}, {place}: an id must stand for one document; {id!r} has another text above"
            raise InputError(message)
    return documents


def _queries(path: Path) -> dict[str, str]:
    queries: dict[str, str] = {}
    for place, value in objects_of(path, _bytes(path)):
        id, text = _id(path, place, value), _text(path, place, value, "text")
        if not text.strip() or id in queries:
            what = "is there twice" if id in queries else "has none"
            message = f"{path}, {place}: every query must be there once and have a text; {id!r} {what}"
            raise InputError(message)
        queries[id] = text
    return queries


def _relevant(path: Path, documents: Mapping[str, Any], queries: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    lines = [line.rstrip("\r").split("\t") for line in decoded(path, _bytes(path)).split("\n")]
    if lines[0] != _HEADER:
        message = f"{path} must begin with the line {' '.join(_HEADER)}, split by tabs; it begins with {lines[0]}"
        raise InputError(message)
    relevant: dict[str, dict[str, int]] = {}
    missing: dict[str, list[str]] = {"query": [], "document": []}
    for number, cells in enumerate(lines[1:], 2):
        if cells == [""]:
            continue
        place = f"line {number}"
        query, document, grade = _judgement(path, place, cells)
        if query not in queries:
            missing["query"].append(f"{place} ({query})")
        elif document not in documents:
            missing["document"].append(f"{place} ({document})")
        elif relevant.setdefault(query, {}).setdefault(document, grade) != grade:
            message = f"{path}, {place}: query {query!r} and document {document!r} must have one grade; received two"
            raise InputError(message)
    for what, places in missing.items():
        if places:
            message = f"{path}: every {what} that is judged must be there; these are not: {some(places)}"
            raise InputError(message)
    return relevant


def _judgement(path: Path, place: str, cells: list[str]) -> tuple[str, str, int]:
    if len(cells) != len(_HEADER):
        message = f"{path}, {place}: there must be three cells, split by tabs; found {len(cells)}"
        raise InputError(message)
    query, document, grade = (cell.strip() for cell in cells)
    if not grade.isdecimal():
        message = (
            f"{path}, {place}: a grade must be a whole number, 0 for not relevant and more for better; received "
            f"{grade!r}: turn scales that count the other way round"
        )
        raise InputError(message)
    return query, document, int(grade)


def _qrels(folder: Path) -> Path:
    found = sorted(folder.glob("*.tsv"))
    for name in ("test", "dev"):
        if folder / f"{name}.tsv" in found:
            return folder / f"{name}.tsv"
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "nothing"
        message = f"{folder} must hold test.tsv, dev.tsv or one other .tsv of judgements; found {names}"
        raise InputError(message)
    return found[0]


def _bytes(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror}"
        raise InputError(message) from None
    if not data.strip():
        message = f"{path} must hold data; it is empty"
        raise InputError(message)
    return data


def _id(path: Path, place: str, value: Mapping[str, Any]) -> str:
    id = value.get("_id")
    if isinstance(id, int) and not isinstance(id, bool):
        id = str(id)
    if not isinstance(id, str) or not id.strip() or not is_unicode(id):
        message = f"{path}, {place}: '_id' must be text or a whole number; received {id!r:.100}"
        raise InputError(message)
    return id.strip()


def _text(path: Path, place: str, value: Mapping[str, Any], field: str) -> str:
    text = value.get(field) or ""
    if not isinstance(text, str) or not is_unicode(text):
        message = f"{path}, {place}: {field!r} must be text; received {text!r:.100}"
        raise InputError(message)
    return text
