"""The Cranfield collection: 1,400 abstracts on aerodynamics, 225 questions, graded judgements.

Reference: Cleverdon, "The Cranfield tests on index language devices", Aslib Proceedings 19, 1967.
"""

from collections.abc import Iterator
from pathlib import Path

from embedkit.errors import InputError
from embedkit.evaluation.tasks.beir import Collection

FILES = ("cran.all.1400", "cran.qry", "cranqrel")
_FIELDS = ("T", "A", "B", "W")
_GAINS = {"1": 4, "2": 3, "3": 2, "4": 1, "-1": 1}


def read_cranfield(folder: Path) -> Collection:
    """Read the three files as they are spread.

    - A document is its field .W, which begins with the title. Two documents are empty and left out, with the one
      judgement that names them.
    - Judgements name questions by position, 1 … 225, not by the number after .I; so do the ids here.
    - Their codes count down, from 1, a complete answer, to 4, of least interest: gains are 4 … 1. Every question has
      one document of code −1, which the codes' description does not know; since only relevant documents are listed,
      its gain is the least, 1.

    Args:
        folder: Holds cran.all.1400, cran.qry and cranqrel.

    Raises:
        InputError: A line of judgements is not three numbers, or names a code, question or document that is not there.
    """
    texts = dict(_records(folder / FILES[0]))
    documents = {id: ("", text) for id, text in texts.items() if text}
    queries = {str(position): text for position, (_, text) in enumerate(_records(folder / FILES[1]), 1)}
    relevant: dict[str, dict[str, int]] = {}
    path = folder / FILES[2]
    for number, line in enumerate(path.read_text("utf-8").split("\n"), 1):
        cells = line.split()
        if not cells:
            continue
        if len(cells) != 3 or cells[0] not in queries or cells[1] not in texts or cells[2] not in _GAINS:
            message = f"{path}, line {number}: there must be a question, a document and a code; received {line!r}"
            raise InputError(message)
        if cells[1] in documents:
            relevant.setdefault(cells[0], {})[cells[1]] = _GAINS[cells[2]]
    return Collection(documents, queries, relevant)


def _records(path: Path) -> Iterator[tuple[str, str]]:
    """(number, field .W) of each record. Fields come in one order; a mark that goes back is a slip inside a text."""
    number, field = "", -1
    lines: list[str] = []
    for line in path.read_text("utf-8").split("\n"):
        mark = line.strip()
        if mark.startswith(".I "):
            if number:
                yield number, " ".join(" ".join(lines).split())
            number, field, lines = str(int(mark[3:])), -1, []
        elif mark[:1] == "." and mark[1:] in _FIELDS:
            field = max(field, _FIELDS.index(mark[1:]))
        elif field == _FIELDS.index("W"):
            lines.append(line)
    if number:
        yield number, " ".join(" ".join(lines).split())
