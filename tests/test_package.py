"""What must hold of every file of the package, whatever it does."""

import ast
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import embedkit

PROJECT = Path(__file__).resolve().parent.parent
FILES = sorted((PROJECT / "embedkit").rglob("*.py"))
PICKLING = {"cloudpickle", "dill", "joblib", "pickle"}
HEAVY = {"faiss", "numpy", "sentence_transformers", "torch", "transformers"}


def name_of(path: Path) -> str:
    return path.relative_to(PROJECT).as_posix()


def imported(node: ast.AST) -> set[str]:
    """Top-level packages that a statement imports."""
    if isinstance(node, ast.Import):
        return {alias.name.partition(".")[0] for alias in node.names}
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        return {node.module.partition(".")[0]}
    return set()


def offences(tree: ast.AST) -> list[str]:
    """Lines that the package must not contain."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert):
            found.append(f"line {node.lineno}: assert; `python -O` would drop the check")
        found += [f"line {node.lineno}: imports {name}" for name in imported(node) & PICKLING]
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "torch.load":
            found.append(f"line {node.lineno}: torch.load")
        if isinstance(node, ast.ImportFrom) and node.module == "torch" and "load" in {a.name for a in node.names}:
            found.append(f"line {node.lineno}: torch.load")
        if isinstance(node, ast.keyword) and node.arg == "trust_remote_code" and ast.unparse(node.value) != "False":
            found.append(f"line {node.value.lineno}: trust_remote_code")
    return found


def test_no_file_has_an_assert_or_unsafe_loading() -> None:
    found = {name_of(path): offences(ast.parse(path.read_bytes())) for path in FILES}
    assert {name: lines for name, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "source",
    [
        "assert x",
        "import pickle",
        "def f():\n    from joblib import load",
        "import numpy, dill.source",
        "torch.load(path)",
        "from torch import load",
        "f(trust_remote_code=True)",
        "f(trust_remote_code=given)",
    ],
)
def test_each_offence_is_seen(source: str) -> None:
    assert len(offences(ast.parse(source))) == 1


def test_lawful_neighbours_are_not_offences() -> None:
    assert offences(ast.parse("import json\nfrom .pickle import a\njson.load(f)\nf(trust_remote_code=False)")) == []


def test_every_public_module_has_a_docstring() -> None:
    public = [path for path in FILES if not path.stem.startswith("_") or path.stem == "__init__"]
    assert [name_of(path) for path in public if not ast.get_docstring(ast.parse(path.read_bytes()))] == []


def test_importing_embedkit_is_cheap_and_brings_nothing_heavy() -> None:
    program = f"import sys, embedkit; print(*sorted({HEAVY!r} & set(sys.modules)))"
    costs = []
    for _ in range(3):
        before = os.times()
        done = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=True)
        after = os.times()
        assert done.stdout.split() == []
        costs.append(after.children_user - before.children_user + after.children_system - before.children_system)
    assert min(costs) < 0.2, f"CPU seconds of the whole interpreter: {costs}"


def test_version_is_the_one_of_the_distribution() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert embedkit.__version__ == project["version"]


def test_package_is_marked_as_typed() -> None:
    assert (PROJECT / "embedkit" / "py.typed").is_file()
