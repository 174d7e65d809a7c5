"""Readers of the data sets that benchmarks measure on; none of them is part of the project."""

import csv
import json
import os
import random
from pathlib import Path
from typing import Literal

from benchmarks.results import DataMissing

_PROJECT = Path(__file__).resolve().parent.parent


def data_folder(*parts: str) -> Path:
    """A folder or file below EMBEDKIT_DATA, which is `../shared/data` beside the project unless set.

    Raises:
        DataMissing: It is not there.
    """
    named = os.environ.get("EMBEDKIT_DATA")
    root = Path(named).expanduser() if named else _PROJECT.parent / "shared" / "data"
    path = root.joinpath(*parts)
    if not path.exists():
        raise DataMissing(path)
    return path


def stsb(split: Literal["train", "dev", "test"]) -> tuple[list[str], list[str], list[float]]:
    """English STS benchmark: first sentences, second sentences, and how alike people found them, 0 to 5.

    Raises:
        DataMissing: The data set is not there.
    """
    path = data_folder("text", "stsb", f"stsb-en-{split}.csv")
    with path.open(encoding="utf-8", newline="") as file:
        rows = [(first, second, float(score)) for first, second, score in csv.reader(file)]
    return [row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows]


def banking77(split: Literal["train", "test"]) -> tuple[list[str], list[str]]:
    """Questions of bank customers and their intents, of 77; the test split without what stands in the other too.

    Raises:
        DataMissing: The data set is not there.
    """
    rows = _rows("text", "banking77", f"{split}.csv")
    known = {_folded(text) for text, _ in _rows("text", "banking77", "train.csv")} if split == "test" else set()
    kept = [(text, intent) for text, intent in rows if _folded(text) not in known]
    return [text for text, _ in kept], [intent for _, intent in kept]


def _folded(text: str) -> str:
    """What two texts share that differ in case and blanks alone."""
    return " ".join(text.lower().split())


def medical_abstracts() -> tuple[list[str], list[str]]:
    """Abstracts of medical articles and what they are about, of 5.

    Raises:
        DataMissing: The data set is not there.
    """
    names = dict(_rows("text", "medical_abstracts", "medical_tc_labels.csv"))
    rows = _rows("text", "medical_abstracts", "medical_tc_test.csv")
    return [text for _, text in rows], [names[label] for label, _ in rows]


def _rows(*parts: str) -> list[tuple[str, str]]:
    """The lines of a CSV file of two columns, without its header."""
    with data_folder(*parts).open(encoding="utf-8", newline="") as file:
        return [(first, second) for first, second in list(csv.reader(file))[1:]]


def trec(split: Literal["train", "test"], *, fine: bool = False) -> tuple[list[str], list[str]]:
    """Questions and what they ask for, of 6 or 50; the test split without what stands in the other too.

    Raises:
        DataMissing: The data set is not there.
    """

    def read(name: str) -> list[tuple[str, str]]:
        lines = data_folder("text", "trec", f"TREC.{name}").read_text("latin-1").strip().split("\n")
        pairs = [(text, label) for label, _, text in (line.partition(" ") for line in lines)]
        return pairs if fine else [(text, label.partition(":")[0]) for text, label in pairs]

    known = {text for text, _ in read("train")} if split == "test" else set()
    kept = [(text, label) for text, label in read(split) if text not in known]
    return [text for text, _ in kept], [label for _, label in kept]


def clinc150(split: Literal["train", "test"]) -> tuple[list[str], list[str]]:
    """Queries to an assistant and their intents, of 150; the test split without what stands in the other too.

    Raises:
        DataMissing: The data set is not there.
    """
    splits = json.loads(data_folder("text", "clinc150", "data_full.json").read_text("utf-8"))
    known = {text for text, _ in splits["train"]} if split == "test" else set()
    kept = [(text, intent) for text, intent in splits[split] if text not in known]
    return [text for text, _ in kept], [intent for _, intent in kept]


def clinc150_domains() -> dict[str, list[str]]:
    """The ten domains of the intents, 15 in each.

    Raises:
        DataMissing: The data set is not there.
    """
    domains: dict[str, list[str]] = json.loads(data_folder("text", "clinc150", "domains.json").read_text("utf-8"))
    return domains


def clinc150_pairs(count: int, seed: int = 0) -> list[tuple[str, str, float]]:
    """Pairs of training queries in the manner of NLI: same intent (5), same domain (2.5), another domain (0).

    Raises:
        DataMissing: The data set is not there.
    """
    rows = json.loads(data_folder("text", "clinc150", "data_full.json").read_text("utf-8"))["train"]
    domains = clinc150_domains()
    domain_of = {intent: domain for domain, intents in domains.items() for intent in intents}
    by_intent: dict[str, list[str]] = {}
    for text, intent in rows:
        by_intent.setdefault(intent, []).append(text)
    draw = random.Random(seed)  # noqa: S311 (no secret)
    intents = sorted(by_intent.keys() & domain_of.keys())
    pairs = []
    for place in range(count):
        intent = draw.choice(intents)
        near = [other for other in intents if other != intent and domain_of[other] == domain_of[intent]]
        far = [other for other in intents if domain_of[other] != domain_of[intent]]
        other, score = [(intent, 5.0), (draw.choice(near), 2.5), (draw.choice(far), 0.0)][place % 3]
        pairs.append((draw.choice(by_intent[intent]), draw.choice(by_intent[other]), score))
    return pairs


def ag_news() -> tuple[list[str], list[str]]:
    """Titles with descriptions of news, and what they are about, of 4; the test split.

    Raises:
        DataMissing: The data set is not there.
    """
    names = data_folder("text", "ag_news", "classes.txt").read_text("utf-8").split("\n")
    with data_folder("text", "ag_news", "test.csv").open(encoding="utf-8", newline="") as file:
        rows = [(f"{title}. {description}", names[int(label) - 1]) for label, title, description in csv.reader(file)]
    return [text for text, _ in rows], [name for _, name in rows]


def sib200(language: str, split: Literal["train", "dev", "test"]) -> tuple[list[str], list[str]]:
    """Sentences of Wikinews, Wikibooks and Wikivoyage in a language, such as "fra_Latn", and their topics, of 7.

    Languages have the same sentences in the same order, translated.

    Raises:
        DataMissing: The data set is not there.
    """
    with data_folder("text", "sib200", language, f"{split}.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return [row["text"] for row in rows], [row["category"] for row in rows]


def nlupp_banking() -> tuple[list[str], list[list[str]]]:
    """What people say to a bank, and all that they mean by it, of 48; of equal texts the first.

    Raises:
        DataMissing: The data set is not there.
    """
    folder = data_folder("text", "nlupp", "banking")
    rows: dict[str, tuple[str, list[str]]] = {}
    for fold in range(20):
        for row in json.loads((folder / f"fold{fold}.json").read_text("utf-8")):
            rows.setdefault(_folded(row["text"]), (row["text"], row.get("intents", [])))
    return [text for text, _ in rows.values()], [meant for _, meant in rows.values()]
