"""Functions as trees whose nodes know their places: what may be changed, and whether a change did only what it should.

Nothing is changed in annotations, decorators, default values, type parameters and patterns, nor in f-strings, which
are one token of the code, and where Python before 3.12 misplaces what stands in them.
"""

import ast
from collections.abc import Iterable, Iterator
from random import Random

from embedkit.encoders.code.functions import Function, parse_function
from embedkit.encoders.split import Source, Span
from embedkit.errors import InputError

__all__ = [
    "MAX_CHARACTERS",
    "Code",
    "checked_functions",
    "children",
    "is_same",
    "parsed_functions",
    "random_of",
    "replaced",
]

MAX_CHARACTERS = 1_000_000
"""Longer functions give no examples: each change of one is parsed again, at several seconds and gigabytes."""

_OPAQUE = ("JoinedStr", "TemplateStr", "TypeAlias", "MatchValue", "MatchMapping", "MatchClass", "MatchSingleton")
_FIELDS: dict[type[ast.AST], tuple[str, ...]] = {
    ast.FunctionDef: ("body",),
    ast.AsyncFunctionDef: ("body",),
    ast.ClassDef: ("bases", "keywords", "body"),
    ast.Lambda: ("body",),
    ast.AnnAssign: ("target", "value"),
    **{getattr(ast, name): () for name in _OPAQUE if hasattr(ast, name)},  # each version of Python knows others
}


class Code:
    """A function's code, its tree, and the places of its nodes.

    Args:
        text: Source of one function.

    Attributes:
        text: The same.
        definition: Its tree.

    Raises:
        InputError: `text` is not the source of one function.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.definition = parse_function(text)
        self._source = Source(text)

    def span(self, node: ast.expr) -> Span:
        """Characters of an expression, without the parentheses around it."""
        return self.start(node), self._source.at_column(node.end_lineno or node.lineno, node.end_col_offset or 0)

    def start(self, node: ast.expr | ast.arg) -> int:
        """Where a node begins."""
        return self._source.at_column(node.lineno, node.col_offset)

    def body(self) -> Iterator[ast.AST]:
        """Every node of the body in which something may be changed, in no order that means anything."""
        todo: list[ast.AST] = [self.definition]
        while todo:
            node = todo.pop()
            yield node
            todo += children(node)


def children(node: ast.AST) -> Iterator[ast.AST]:
    """What stands directly in a node and may be changed: no annotation, decorator, default value, pattern, f-string."""
    for name in _FIELDS.get(type(node), node._fields):
        value = getattr(node, name, None)
        if isinstance(value, ast.AST):
            yield value
        elif isinstance(value, list):
            yield from (each for each in value if isinstance(each, ast.AST))


def is_same(first: object, second: object) -> bool:
    """Whether two trees are equal, wherever they stand in their sources."""
    todo = [(first, second)]
    while todo:
        one, other = todo.pop()
        if type(one) is not type(other):
            return False
        if isinstance(one, ast.AST):
            todo += [(getattr(one, name, None), getattr(other, name, None)) for name in one._fields]
        elif isinstance(one, list) and isinstance(other, list):
            if len(one) != len(other):
                return False
            todo += zip(one, other, strict=True)
        elif one != other:
            return False
    return True


def replaced(text: str, span: Span, new: str, expected: ast.AST) -> str | None:
    """Put `new` in the place of a span; None when the result does not parse as the tree that is expected of it."""
    result = text[: span[0]] + new + text[span[1] :]
    try:
        return result if is_same(parse_function(result), expected) else None
    except InputError:
        return None


def parsed_functions(functions: Iterable[Function]) -> Iterator[tuple[Function, Code]]:
    """The functions whose code parses and is not above `MAX_CHARACTERS`.

    Raises:
        InputError: `functions` holds something else.
    """
    for function in checked_functions(functions):
        if len(function.code) <= MAX_CHARACTERS:
            try:
                code = Code(function.code)
            except InputError:
                continue
            yield function, code


def checked_functions(functions: Iterable[Function]) -> Iterator[Function]:
    """The functions, each of them one.

    Raises:
        InputError: `functions` holds something else.
    """
    for function in functions if isinstance(functions, Iterable) else [functions]:
        if isinstance(functions, Function) or not isinstance(function, Function):
            message = (
                f"functions must be an iterable of Function; received a {type(function).__name__}: "
                "call find_functions on source, or read_functions on a corpus"
            )
            raise InputError(message)
        yield function


def random_of(seed: int, text: str) -> Random:
    """Chance that depends on the seed and one text, so that no other function changes what happens to this one."""
    return Random(f"{seed} {text}")  # noqa: S311 (no secret)
