"""The files of a tree that can be indexed, and a named reason for each that cannot."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from embedkit.encoders.chunk import Kind
from embedkit.encoders.code import LANGUAGES
from embedkit.encoders.table import SUFFIXES
from embedkit.encoders.text import MARKUPS
from embedkit.errors import InputError
from embedkit.index.store import LOCK, STORE

_LEFT_OUT = (".*", "__pycache__", "node_modules", "site-packages", "dist-packages")


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file to index.

    Attributes:
        path: Absolute, with symbolic links resolved.
        kind: How it is read, decided by its suffix.
        size: In bytes, when it was found.
        mtime_ns: When it was last changed, in nanoseconds.
    """

    path: Path
    kind: Kind
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Skip:
    """A file that was passed over, and why."""

    path: Path
    reason: str


def kind_of(path: Path) -> Kind | None:
    """How a file is read, by its suffix; None for files that are not read."""
    suffix = path.suffix.lower()
    if suffix in LANGUAGES:
        return "code"
    if suffix in MARKUPS:
        return "text"
    return "table" if suffix in SUFFIXES else None


def walk(paths: Iterable[str | os.PathLike[str]], exclude: Iterable[str] = ()) -> Iterator[SourceFile | Skip]:
    """The files below `paths`, each once, in sorted order.

    Hidden folders, caches, installed packages and indexes inside a tree are left out, as are files of other
    suffixes. Links to files are followed, links to folders are not, so a loop ends nowhere. A path that is
    named itself is always read, whatever it is called.

    Args:
        paths: Files and folders.
        exclude: Patterns such as "test" or "*.min.js"; files and folders of such a name are left out too.

    Raises:
        InputError: A path does not exist, or a file is of a kind that cannot be read.
    """
    seen: set[Path] = set()
    patterns = (*_LEFT_OUT, *exclude)
    for given in paths:
        root = Path(given)
        if not root.exists():
            message = f"{root} does not exist"
            raise InputError(message)
        if root.is_file() and kind_of(root) is None:
            known = " ".join(sorted({*LANGUAGES, *MARKUPS, *SUFFIXES}))
            message = f"{root} is of no kind that is read; suffixes that are: {known}"
            raise InputError(message)
        for path in [root] if root.is_file() else _files_below(root, patterns):
            found = path if isinstance(path, Skip) else _examined(path)
            if found is not None and found.path not in seen:
                seen.add(found.path)
                yield found


def _files_below(root: Path, patterns: tuple[str, ...]) -> Iterator[Path | Skip]:
    unreadable: list[Skip] = []

    def note(error: OSError) -> None:
        unreadable.append(Skip(Path(error.filename or root), f"cannot be listed: {error.strerror}"))

    for folder, subfolders, names in os.walk(root, onerror=note):
        if {STORE, LOCK} <= set(names):  # an index is no source, least of all the one being written
            subfolders.clear()
            continue
        subfolders[:] = sorted(name for name in subfolders if not _matches(name, patterns))
        yield from (Path(folder, name) for name in sorted(names) if not _matches(name, patterns))
    yield from unreadable


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def _examined(path: Path) -> SourceFile | Skip | None:
    kind = kind_of(path)
    if kind is None:
        return None
    try:
        resolved = path.resolve(strict=True)
        status = resolved.stat()
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or "a loop of links"
        return Skip(path.absolute(), f"cannot be opened: {reason}")
    if not resolved.is_file():
        return Skip(path.absolute(), "is no regular file")
    return SourceFile(resolved, kind, status.st_size, status.st_mtime_ns)
