"""No member of a shelf escapes its conformance suite."""

import ast
import importlib
from pathlib import Path

from sklearn.base import BaseEstimator

import embedkit.heads
import embedkit.losses
import embedkit.modules.lookup

PACKAGE = Path(__file__).parents[2] / "embedkit"
CONTRACTS = Path(__file__).parent


def definitions(path):
    return [node for node in ast.parse(path.read_text(encoding="utf-8")).body if hasattr(node, "name")]


def test_every_function_that_makes_an_encoder_is_in_the_suite():
    makers = {
        node.name
        for path in (PACKAGE / "encoders").glob("*/*.py")
        for node in definitions(path)
        if isinstance(node, ast.FunctionDef) and node.returns and ast.unparse(node.returns).strip("'\"") == "Encoder"
    }
    suite = (CONTRACTS / "test_encoder.py").read_text(encoding="utf-8")
    assert "table_encoder" in makers
    assert {name for name in makers if f"{name}(" not in suite} == set()


def test_every_index_is_in_the_suite():
    indexes = {
        node.name
        for path in (PACKAGE / "index").glob("*_index.py")
        for node in definitions(path)
        if isinstance(node, ast.ClassDef) and node.name.endswith("Index")
    }
    suite = (CONTRACTS / "test_index.py").read_text(encoding="utf-8")
    assert "FaissIndex" in indexes
    assert {name for name in indexes if f"{name}(" not in suite} == set()


def test_every_loss_is_in_the_suite_and_exported():
    losses = {
        node.name
        for path in (PACKAGE / "losses").glob("*.py")
        for node in definitions(path)
        if isinstance(node, ast.ClassDef) and node.name.endswith("Loss")
    }
    suite = (CONTRACTS / "test_losses.py").read_text(encoding="utf-8")
    assert "InfoNCELoss" in losses
    assert {name for name in losses if f"{name}(" not in suite} == set()
    assert set(embedkit.losses.__all__) == losses


def test_every_pooling_is_in_the_suite():
    poolings = {
        node.name
        for path in (PACKAGE / "modules/pooling").glob("*.py")
        for node in definitions(path)
        if isinstance(node, ast.ClassDef) and node.name.endswith("Pooling") and not is_abstract(node)
    }
    suite = (CONTRACTS / "test_pooling.py").read_text(encoding="utf-8")
    assert "LatentAttentionPooling" in poolings
    assert {name for name in poolings if f"{name}(" not in suite} == set()


def test_every_lookup_is_in_the_suite_and_exported():
    lookups = {
        node.name
        for path in (PACKAGE / "modules/lookup").glob("*.py")
        for node in definitions(path)
        if isinstance(node, ast.ClassDef) and node.name.endswith("Lookup") and not is_abstract(node)
    }
    suite = (CONTRACTS / "test_lookup.py").read_text(encoding="utf-8")
    assert "PlainLookup" in lookups
    assert {name for name in lookups if name not in suite} == set()
    assert lookups <= set(embedkit.modules.lookup.__all__)


def test_every_head_is_in_the_suite_and_exported():
    heads = {
        node.name
        for path in (PACKAGE / "heads").glob("*.py")
        for node in definitions(path)
        if isinstance(node, ast.ClassDef) and is_estimator(path.stem, node.name)
    }
    suite = (CONTRACTS / "test_heads.py").read_text(encoding="utf-8")
    assert "RidgeAligner" in heads
    assert {name for name in heads if name not in suite} == set()
    assert heads <= set(embedkit.heads.__all__)


def is_estimator(module, name):
    """Whether it can be made; what heads share has no constructor of its own."""
    found = getattr(importlib.import_module(f"embedkit.heads.{module}"), name)
    return issubclass(found, BaseEstimator) and "__init__" in vars(found)


def is_abstract(definition):
    return any("abstractmethod" in map(ast.unparse, getattr(node, "decorator_list", ())) for node in definition.body)
