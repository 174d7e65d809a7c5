"""Make an index hold what a tree holds, encoding only what is new."""

import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from embedkit.corpus.documents import Cutting, FileDocuments, cut_file, digest_of
from embedkit.corpus.walk import Skip, SourceFile, walk
from embedkit.encoders.chunk import CountTokens
from embedkit.errors import InputError
from embedkit.index.retriever import Retriever

_GROUP = 1024
"""Documents encoded together: enough to batch well, few enough for a bar that moves."""

_LEDGER = "file:"


@dataclass
class Report:
    """What a sync did.

    Attributes:
        files: Files that were cut anew.
        unchanged: Files that were as the index knew them; nothing of theirs was encoded.
        added: Documents encoded.
        removed: Documents dropped, because their file changed or is gone.
        skipped: Reason by path.
        notes: What was mended, by path.
    """

    files: int = 0
    unchanged: int = 0
    added: int = 0
    removed: int = 0
    skipped: dict[str, str] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)


Progress = Callable[[int, int], None]
"""Called with the bytes that are done and the bytes there are."""


class Sync:
    """Brings the files below some paths into a retriever.

    The retriever's notes hold a ledger: for each file its size, time, checksum and number of documents. A
    file is noted as pending before its documents change and as done afterwards, so an interruption at any
    moment costs at most one group of files, encoded again.

    Args:
        retriever: Is written to.
        count_tokens: Tokens of a string, as its encoder counts them.
        cutting: Budgets and choices.
        progress: Is told how far it is.
    """

    def __init__(
        self,
        retriever: Retriever,
        count_tokens: CountTokens,
        cutting: Cutting | None = None,
        progress: Progress | None = None,
    ) -> None:
        self._retriever = retriever
        self._count_tokens = count_tokens
        self._cutting = cutting or Cutting()
        self._progress = progress or (lambda done, total: None)
        self._ledger = {name: note for name, note in retriever.notes().items() if name.startswith(_LEDGER)}
        self._group: list[tuple[SourceFile, str | None, FileDocuments]] = []
        self._report = Report()

    def run(self, paths: Iterable[str | os.PathLike[str]], *, keep_others: bool, exclude: Iterable[str] = ()) -> Report:
        """Index the files below `paths` and drop those that are gone.

        Args:
            paths: Files and folders.
            keep_others: Whether files outside `paths` stay in the index.
            exclude: Name patterns of files and folders to leave out.

        Raises:
            InputError: A path does not exist or cannot be read as anything.
        """
        roots = [Path(path).resolve() for path in paths]
        found = list(walk(roots, exclude))
        files = [one for one in found if isinstance(one, SourceFile)]
        self._report.skipped |= {str(one.path): one.reason for one in found if isinstance(one, Skip)}
        total, done = sum(file.size for file in files), 0
        for file in files:
            self._examine(file)
            done += file.size
            self._progress(done, total)
        self._flush()
        present = {_name(file.path) for file in files}
        gone = [
            name
            for name in self._ledger
            if name not in present and (not keep_others or _is_below(name.removeprefix(_LEDGER), roots))
        ]
        self._drop(gone)
        return self._report

    def remove(self, target: str | os.PathLike[str]) -> Report:
        """Drop a file, or every file below a folder, from the index.

        Raises:
            InputError: The index holds nothing of that name.
        """
        path = Path(target).resolve()
        names = [name for name in self._ledger if _is_below(name.removeprefix(_LEDGER), [path])]
        if not names:
            message = f"the index holds neither a document nor a file named {os.fspath(target)!r}"
            raise InputError(message)
        self._drop(names)
        return self._report

    def _examine(self, file: SourceFile) -> None:
        """Take note of an unchanged file, or cut a new one and queue its documents."""
        known = self._ledger.get(_name(file.path), {})
        digest = known.get("sha256") if self._is_untouched(file, known) else digest_of(file.path)
        if digest is not None and known.get("sha256") == digest and known.get("cutting") == asdict(self._cutting):
            self._keep(file, known)
            return
        documents = cut_file(file, self._cutting, self._count_tokens)
        self._group.append((file, digest, documents))
        self._take_note(file, documents.skipped, documents.notes)
        self._report.files += documents.skipped is None
        if sum(len(one.chunks) for _, _, one in self._group) >= _GROUP:
            self._flush()

    def _is_untouched(self, file: SourceFile, known: dict[str, Any]) -> bool:
        return (known.get("size"), known.get("mtime_ns")) == (file.size, file.mtime_ns)

    def _keep(self, file: SourceFile, known: dict[str, Any]) -> None:
        self._report.unchanged += known["skipped"] is None
        self._take_note(file, known["skipped"], known["notes"])
        if not self._is_untouched(file, known):
            self._retriever.write_notes({_name(file.path): {**known, "size": file.size, "mtime_ns": file.mtime_ns}})

    def _take_note(self, file: SourceFile, skipped: str | None, notes: Iterable[str]) -> None:
        if skipped is not None:
            self._report.skipped[str(file.path)] = skipped
        if notes:
            self._report.notes[str(file.path)] = list(notes)

    def _flush(self) -> None:
        """Replace the documents of the queued files, between a note that it began and one that it is done."""
        if not self._group:
            return
        pending = {_name(file.path): self._pending(file, len(one.chunks)) for file, _, one in self._group}
        self._retriever.write_notes(pending)
        self._remove_documents(pending)
        entries = [
            (f"{file.path}#{position}", chunk.text, _metadata(file, chunk))
            for file, _, one in self._group
            for position, chunk in enumerate(one.chunks)
        ]
        if entries:
            ids, texts, metadata = zip(*entries, strict=True)
            self._retriever.add(ids, texts, metadata, show_progress_bar=False)
        self._report.added += len(entries)
        done = {_name(file.path): self._done(file, digest, one) for file, digest, one in self._group}
        self._retriever.write_notes(done)
        self._ledger |= done
        self._group = []

    def _pending(self, file: SourceFile, documents: int) -> dict[str, Any]:
        return {"documents": max(documents, self._ledger.get(_name(file.path), {}).get("documents", 0))}

    def _done(self, file: SourceFile, digest: str | None, one: FileDocuments) -> dict[str, Any]:
        return {
            "documents": len(one.chunks),
            "size": file.size,
            "mtime_ns": file.mtime_ns,
            "sha256": digest,
            "cutting": asdict(self._cutting),
            "skipped": one.skipped,
            "notes": list(one.notes),
        }

    def _drop(self, names: list[str]) -> None:
        self._remove_documents({name: self._ledger[name] for name in names})
        self._retriever.write_notes({}, forget=names)
        for name in names:
            del self._ledger[name]

    def _remove_documents(self, notes: dict[str, dict[str, Any]]) -> None:
        ids = [
            f"{name.removeprefix(_LEDGER)}#{position}"
            for name, note in notes.items()
            if name in self._ledger
            for position in range(note["documents"])
        ]
        present = [id for id in ids if id in self._retriever]
        if present:
            self._retriever.remove(present)
        self._report.removed += len(present)


def _name(path: Path) -> str:
    return f"{_LEDGER}{path}"


def _is_below(path: str, roots: list[Path]) -> bool:
    return any(Path(path).is_relative_to(root) for root in roots)


def _metadata(file: SourceFile, chunk: Any) -> dict[str, Any]:
    place = {"path": str(file.path), "line": chunk.line, "end_line": chunk.end_line}
    return {"kind": chunk.kind, "name": chunk.name, **place}
