"""The Python on this machine as distributions: the standard library by top module, and what is installed."""

import hashlib
import os
import platform
import re
import sysconfig
from collections import defaultdict
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path, PurePosixPath

from embedkit.corpus.walk import Skip, SourceFile, walk
from embedkit.errors import InputError

__all__ = ["STANDARD_LIBRARY", "Distribution", "folder_distribution", "installed_distributions"]

STANDARD_LIBRARY = "stdlib/"
"""Before the top module, the name of a distribution that is part of the standard library."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """Files that came together.

    Attributes:
        name: As packages are normalised, "scikit-learn"; "stdlib/json" for a module of the standard library.
        version: "" where none is known.
        root: The folder that paths are relative to.
        files: Python files, with forward slashes, sorted.
        unreadable: Files and folders that could not be looked at.
    """

    name: str
    version: str
    root: Path
    files: tuple[str, ...]
    unreadable: tuple[str, ...] = ()

    def fingerprint(self) -> str:
        """A hash of its files' names and sizes; of a file that is gone, the name."""
        lines = [f"{name}\0{_size(self.root / name)}\n" for name in (*self.files, *self.unreadable)]
        return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def installed_distributions() -> list[Distribution]:
    """The standard library, one distribution a top module, then the installed packages that list Python files.

    A package that is installed twice counts as it would be imported. Packages that only point elsewhere, as those
    under development do, list no Python file and are left out: name their folder.

    Returns:
        Distributions, each group sorted by name.

    Example:
        >>> names = [one.name for one in installed_distributions()]
        >>> "stdlib/json" in names, "numpy" in names
        (True, True)
    """
    packages: dict[str, Distribution] = {}
    for found in metadata.distributions():
        name = re.sub(r"[-_.]+", "-", found.metadata["Name"] or "").lower()
        paths = [PurePosixPath(file.as_posix()) for file in found.files or ()]
        files = tuple(sorted(str(path) for path in paths if path.suffix == ".py" and _is_inside(path)))
        if name and files and name not in packages:
            packages[name] = Distribution(name, found.version or "", Path(str(found.locate_file(""))), files)
    return [*_standard_library(), *(packages[name] for name in sorted(packages))]


def folder_distribution(folder: str | os.PathLike[str], *, name: str | None = None) -> Distribution:
    """All Python files below a folder, as one distribution.

    Hidden folders, caches and installed packages below it are left out. Links to folders are not followed, so a loop
    ends nowhere; links to files are, when they lead to a file below the folder.

    Args:
        folder: Is searched.
        name: Of the distribution; the folder's own without one.

    Returns:
        A distribution without a version.

    Raises:
        InputError: The folder is none, cannot be read, or holds no Python.
    """
    root = Path(folder).resolve()
    if not root.is_dir():
        raise InputError(f"folder must be a folder that holds Python; {os.fspath(folder)!r} is none")
    files, unreadable = _python_below(root)
    if not files:
        reason = "cannot be read" if unreadable else "holds no file that ends in .py"
        raise InputError(f"folder must hold Python; {os.fspath(folder)!r} {reason}: name another")
    return Distribution(name or root.name, "", root, files, unreadable)


def _standard_library() -> list[Distribution]:
    root = Path(sysconfig.get_path("stdlib")).resolve()
    groups: dict[str, list[str]] = defaultdict(list)
    if root.is_dir():  # it may be an archive
        for file in _python_below(root)[0]:
            groups[file.partition("/")[0].removesuffix(".py")].append(file)
    version = platform.python_version()
    return [
        Distribution(STANDARD_LIBRARY + name, version, root, tuple(files)) for name, files in sorted(groups.items())
    ]


def _python_below(root: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Python files below a folder, and what could not be looked at."""
    files: list[str] = []
    unreadable: list[str] = []
    for found in walk([root]):
        is_python = found.path.suffix == ".py" or (isinstance(found, Skip) and not found.path.suffix)
        if is_python and found.path.is_relative_to(root):
            (files if isinstance(found, SourceFile) else unreadable).append(found.path.relative_to(root).as_posix())
    return tuple(sorted(files)), tuple(sorted(unreadable))


def _is_inside(path: PurePosixPath) -> bool:
    return not path.is_absolute() and ".." not in path.parts


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1
