"""Encoders of several towers, such as one for pictures and one for texts, whose vectors share a space."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sentence_transformers.base.modules import Router

from embedkit.encoders.inputs import (
    Features,
    InputModule,
    PreparedInputs,
    Reader,
    ReadsText,
    described,
    reader_for,
    reads_plain_text,
)
from embedkit.errors import InputError

_LONGEST_PATH = 1024


def towers_of(encoder: Any) -> Mapping[str, Any]:
    """The towers of an encoder that begins with a router one of whose towers reads what is no text, by modality.

    Empty for any other: two towers of texts are told apart by their task, which is sentence-transformers' work, as is
    a tower whose first module has a way of its own to read.
    """
    first = encoder[0]
    if not isinstance(first, Router):
        return {}
    towers: dict[str, Any] = dict(first.sub_modules.items())
    firsts = [tower[0] for tower in towers.values()]
    own = [isinstance(each, InputModule) for each in firsts]
    return towers if any(own) and all(own[at] or reads_plain_text(each) for at, each in enumerate(firsts)) else {}


def reader_of(encoder: Any, prompt: str | None, task: str | None = None) -> Reader:
    """What reads for an encoder; of several towers the one that `task` names, or all."""
    towers = towers_of(encoder)
    if not towers:
        return reader_for(encoder, prompt)
    if task is not None and task in towers:
        return reader_for(towers[task], prompt)
    return TowersReader({name: reader_for(tower, prompt) for name, tower in towers.items()})


class TowersReader:
    """Reads what any of several towers reads: each input goes to the tower that takes it.

    A string is text, never the path of a picture: `pathlib.Path("cat.png")` is one, and so is the string where `task`
    names the tower of pictures.

    Args:
        readers: The reader of each tower, by modality, in the order in which they are asked.
    """

    def __init__(self, readers: Mapping[str, Reader]) -> None:
        # Strings go to a reader of text before any that would take them for paths.
        order = sorted(readers, key=lambda name: not isinstance(readers[name], ReadsText))
        self._readers = {name: readers[name] for name in order}
        self.expects = " or ".join(reader.expects for reader in self._readers.values())

    def is_single(self, inputs: Any) -> bool:
        """Whether any tower takes it for one input."""
        return any(reader.is_single(inputs) for reader in self._readers.values())

    def problem(self, value: Any) -> str | None:
        """Why no tower takes it; a string that names a file is refused, since it would be read as text."""
        name = self._tower(value)
        if isinstance(value, str) and len(self._readers) > 1 and _names_file(value):
            return f"received the name of a file, {value[:200]!r}: pass pathlib.Path({value[:200]!r}) for what it holds"
        return f"received {described(value)}" if name is None else self._readers[name].problem(value)

    def key(self, value: Any) -> bytes | None:
        """Its tower's, and which tower that is."""
        name = str(self._tower(value))
        key = self._readers[name].key(value)
        return None if key is None else name.encode() + b" " + key

    def prepare(self, inputs: list[Any], prompt: str | None, task: str | None) -> PreparedInputs:
        """Let each tower read its own; a prompt stands before texts alone."""
        names = [str(self._tower(value)) for value in inputs]
        parts = {}
        for name in dict.fromkeys(names):
            rows = [row for row, each in enumerate(names) if each == name]
            reader = self._readers[name]
            said = prompt if isinstance(reader, ReadsText) else None
            parts[name] = (rows, reader.prepare([inputs[row] for row in rows], said, task))
        return _PreparedTowers(parts, len(inputs))

    def _tower(self, value: Any) -> str | None:
        """The first tower that takes a value; that of texts takes all strings."""
        for name, reader in self._readers.items():
            if reader.problem(value) is None or (isinstance(value, str) and isinstance(reader, ReadsText)):
                return name
        return None


@dataclass
class _PreparedTowers:
    """What each tower read, and from which rows; no batch holds inputs of two."""

    parts: Mapping[str, tuple[list[int], PreparedInputs]]
    count: int

    def __post_init__(self) -> None:
        self.lengths = np.zeros(self.count, dtype=np.int64)
        self.groups = np.zeros(self.count, dtype=np.int64)
        self._places = np.zeros(self.count, dtype=np.int64)
        seen = 0
        for rows, part in self.parts.values():
            inner = getattr(part, "groups", None)
            self.lengths[rows] = part.lengths
            self.groups[rows] = seen + (np.unique(inner, return_inverse=True)[1] if inner is not None else 0)
            self._places[rows] = np.arange(len(rows))
            seen = int(self.groups.max()) + 1
        self._names = {row: name for name, (rows, _) in self.parts.items() for row in rows}

    def batch(self, rows: Sequence[int]) -> Features:
        """Tensors of the inputs at `rows`, and which tower they are for.

        Raises:
            InputError: They are for several: a batch of training is made of one column.
        """
        names = sorted({self._names[int(row)] for row in rows})
        if len(names) > 1:
            raise InputError(f"a column of examples must be for one tower; received a batch for {' and '.join(names)}")
        (name,) = names
        features = self.parts[name][1].batch([int(self._places[row]) for row in rows])
        return {**features, "modality": name}


def _names_file(text: str) -> bool:
    path = Path(text) if len(text) < _LONGEST_PATH and "\n" not in text and "\0" not in text else None
    return path is not None and path.suffix != "" and path.is_file()
