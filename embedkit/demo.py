"""The demonstration: the standard library of the running Python, indexed and asked."""

import ast
import csv
import platform
import sysconfig
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

from embedkit.console import print_hits, sync_with_bar
from embedkit.corpus.documents import Cutting
from embedkit.corpus.walk import SourceFile, walk
from embedkit.encoders.loading import load
from embedkit.index.retriever import Retriever
from embedkit.index.store import STORE

QUESTIONS = (
    "how do I rotate log files",
    "parse command line arguments",
    "compute a SHA-256 checksum of a file",
    "wait until several threads have finished",
    "how many functions and lines does the decimal module have",
)

# What a demonstration of three minutes on two cores can do without: tests, applications and data that come with the
# library, what is deprecated, windows to draw in, and the packages for mail and markup. Private names are left out too.
_EXCLUDE = (
    *("test", "tests", "idlelib", "lib2to3", "turtledemo", "ensurepip", "encodings", "pydoc_data", "lib-dynload"),
    *("distutils", "msilib", "tkinter", "turtle.py", "config-*", "*.txt", "unittest", "ctypes", "pydoc.py"),
    *("email", "html", "xml", "xmlrpc", "wsgiref", "imaplib.py", "locale.py", "stringprep.py", "pickletools.py"),
)


def run(out: Path | None) -> None:
    """Index the standard library and print the answers to five questions.

    Args:
        out: Where tables and index are kept; None uses a temporary folder that is removed at the end.
    """
    library = Path(sysconfig.get_paths()["stdlib"])
    with _workplace(out) as folder:
        typer.echo(
            f"indexing the public functions and classes of Python {platform.python_version()}'s standard library",
            err=True,
        )
        started = time.perf_counter()
        tables = folder / "tables"
        write_tables(library, tables)
        cutting = Cutting(public_only=True)
        with _retriever(folder / "index") as retriever:
            report = sync_with_bar(retriever, [str(library), str(tables)], cutting, exclude=_EXCLUDE)
            seconds = time.perf_counter() - started
            typer.echo(
                f"{len(retriever):,} documents of {report.files + report.unchanged:,} files, "
                f"{report.added:,} of them encoded now, in {seconds:.0f} s"
            )
            for question in QUESTIONS:
                typer.echo(f"\n{question}?")
                print_hits(retriever.search(question, k=5), str(library), str(folder))


def write_tables(library: Path, folder: Path) -> None:
    """Three relations of the library's own making: its modules, classes and functions, as CSV.

    Args:
        library: Folder of Python files.
        folder: Gets modules.csv, classes.csv and functions.csv; existing ones are replaced.
    """
    modules, classes, functions = [], [], []
    for file in walk([library], _EXCLUDE):
        tree = _parsed(file.path) if isinstance(file, SourceFile) and file.path.suffix == ".py" else None
        if tree is None:
            continue
        module = ".".join(file.path.relative_to(library).with_suffix("").parts)
        nodes = list(ast.walk(tree))
        own_classes = [node for node in nodes if isinstance(node, ast.ClassDef)]
        own_functions = [node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        modules.append((module, len(own_functions), len(own_classes), _last_line(tree)))
        classes += [(module, node.name, " ".join(map(ast.unparse, node.bases)), _lines(node)) for node in own_classes]
        functions += [(module, node.name, len(node.args.args), _lines(node)) for node in own_functions]
    modules.sort(key=lambda row: -row[1])
    _write_csv(folder / "modules.csv", ("module", "functions", "classes", "lines"), modules)
    _write_csv(folder / "classes.csv", ("module", "class", "bases", "lines"), classes)
    _write_csv(folder / "functions.csv", ("module", "function", "arguments", "lines"), functions)


def _parsed(path: Path) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, OSError):
        return None


def _lines(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def _last_line(tree: ast.Module) -> int:
    return (tree.body[-1].end_lineno or 0) if tree.body else 0


def _write_csv(path: Path, header: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


@contextmanager
def _workplace(out: Path | None) -> Iterator[Path]:
    if out is not None:
        yield out
        return
    with tempfile.TemporaryDirectory(prefix="embedkit-demo-") as folder:
        yield Path(folder)


def _retriever(folder: Path) -> Retriever:
    encoder = load()
    if (folder / STORE).is_file():
        return Retriever.load(folder, encoder)
    return Retriever(encoder, folder=folder)
