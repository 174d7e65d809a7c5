"""Functions of Python source as data: found, separated from their docstrings, their names masked, paired for search."""

import ast
import os
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from inspect import cleandoc
from typing import TypeAlias

from embedkit.errors import InputError

__all__ = ["MASK", "Function", "find_functions", "first_paragraph", "mask_name", "parse_function", "search_pairs"]

Definition: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef

MASK = "function"
"""The neutral word that stands for a masked name."""

_MIN_WORDS = 3
_MIN_LINES = 2  # with the line of the docstring, 3

_HEADER = re.compile(r"(?:async[ \t\f\\\n]+)?def[ \t\f\\\n]+")
_LINE_END = re.compile(r"[ \t\f]*;?[ \t\f]*(?:#[^\n]*)?(?:\n|\Z)")
_SEMICOLON = re.compile(r"[ \t\f]*;?[ \t\f]*")
_SPANS_LINES = re.compile(r'"""|\'\'\'|\\\n')
_PARAGRAPH_END = re.compile(r"\n[ \t]*\n")


@dataclass(frozen=True, slots=True)
class Function:
    """A function as it stands in a file.

    Attributes:
        name: As after `def`.
        qualified_name: With the classes around it: "Decoder.decode".
        distribution: What the file came with; "stdlib/json" for the standard library's json.
        path: Of the file, relative to the distribution, with forward slashes.
        line: Of `def`, from 1.
        source: From `def` to the end of the last statement, without decorators, moved to the left margin.
        docstring: Without the indentation; None where there is none.
        code: `source` without the docstring.
    """

    name: str
    qualified_name: str
    distribution: str
    path: str
    line: int
    source: str
    docstring: str | None
    code: str


def find_functions(text: str, *, distribution: str = "", path: str = "") -> list[Function]:
    r"""Find the functions of a module and the methods of its classes; functions inside functions are left out.

    A function's lines move to the left margin; lines that begin inside a string stay as they are, so that the
    function means what it meant. A body of nothing but a docstring becomes `pass` in `code`.

    Args:
        text: Python source.
        distribution: Is recorded.
        path: Is recorded.

    Returns:
        The functions, in the order of the source.

    Raises:
        InputError: `text` is not Python of the version that runs.

    Example:
        >>> found = find_functions('class Box:\n    def size(self):\n        "Say how much fits."\n        return 3\n')
        >>> found[0].qualified_name, found[0].line, found[0].docstring
        ('Box.size', 2, 'Say how much fits.')
        >>> print(found[0].code)
        def size(self):
            return 3

    Reference:
        A. Kanade, P. Maniatis, G. Balakrishnan, K. Shi, "Learning and Evaluating Contextual Embedding of Source Code",
        ICML 2020, whose tasks are made of functions.

    Deviations:
        Decorators are not part of the source. Line ends become "\n"; half characters in docstrings become "?".
    """
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    tree = _parse(text)
    lines = text.split("\n")
    return [_function(node, name, lines, distribution, path) for node, name in _definitions(tree)]


def parse_function(code: str) -> Definition:
    """Parse the source of one function.

    Args:
        code: `source` or `code` of a `Function`.

    Raises:
        InputError: It is not one function, and nothing else.

    Example:
        >>> parse_function("def one(): return 1").name
        'one'
    """
    body = _parse(code).body
    if len(body) != 1 or not isinstance(body[0], Definition):
        kinds = ", ".join(type(node).__name__ for node in body[:3]) or "nothing"
        raise InputError(f"code must be the source of one function; received {kinds}")
    return body[0]


def mask_name(function: Function, *, everywhere: bool = False) -> Function:
    r"""Replace a function's own name in its source by the word "function".

    Masked are the name after `def` and the references to the function itself: of a function, its plain name,
    unless the function binds that name to something else; of a method, the attribute of that name of its first
    parameter, its class or `super()`. All else stays byte for byte, and so do `name` and `qualified_name`.

    Args:
        function: Is left as it is.
        everywhere: Whether the word is masked wherever it stands instead, in names of other things, strings and
            comments too: a method `close` that calls `self.socket.close()` says then nowhere that it closes.

    Returns:
        A copy with another `source` and `code`.

    Raises:
        InputError: The source is not that of one function.

    Example:
        >>> found = find_functions("def fact(n):\n    return n * fact(n - 1) if n else math.fact(0)\n")
        >>> print(mask_name(found[0]).source)
        def function(n):
            return n * function(n - 1) if n else math.fact(0)
        >>> print(mask_name(found[0], everywhere=True).source)
        def function(n):
            return n * function(n - 1) if n else math.function(0)

    Deviations:
        Python before 3.12 misplaces what stands in f-strings of several lines: a name there may stay. A static method
        cannot be told from others, and its first parameter counts as its object.
    """
    if everywhere:
        source, code = (_name_of(function).sub(MASK, text) for text in (function.source, function.code))
        return replace(function, source=source, code=code)
    owner = function.qualified_name.rpartition(".")[0].rpartition(".")[2]
    return replace(function, source=_masked(function.source, owner), code=_masked(function.code, owner))


def first_paragraph(function: Function) -> str:
    r"""First paragraph of a function's docstring, on one line; empty where there is none.

    Args:
        function: Any.

    Example:
        >>> text = "def mean(a):\n    'Mean of\\\n numbers.\\n\\nMore.'\n"
        >>> first_paragraph(find_functions(text)[0])
        'Mean of numbers.'
    """
    return " ".join(_PARAGRAPH_END.split(function.docstring or "", maxsplit=1)[0].split())


def search_pairs(functions: Iterable[Function]) -> list[tuple[str, str]]:
    r"""Pair what a function is said to do with how it does it: queries and documents of code search.

    A pair is the first paragraph of the docstring, on one line, and the code without the docstring. Left out are
    paragraphs of fewer than 3 words, functions of fewer than 3 lines (the docstring counted, blank ones not), names
    with two underscores on both sides, and any pair whose paragraph or whose code, whatever the function is called,
    came before. Masked functions give the same pairs as plain ones, only masked.

    Args:
        functions: In an order that decides which one of equals stays.

    Returns:
        (query, code) of each.

    Example:
        >>> text = 'def mean(a):\n    "Mean of all numbers."\n    total = sum(a)\n    return total / len(a)\n'
        >>> pairs = search_pairs(find_functions(text))
        >>> pairs[0][0]
        'Mean of all numbers.'
        >>> print(search_pairs([mask_name(each) for each in find_functions(text)])[0][1])
        def function(a):
            total = sum(a)
            return total / len(a)

    Reference:
        H. Husain, H.-H. Wu, T. Gazit, M. Allamanis, M. Brockschmidt, "CodeSearchNet Challenge: Evaluating the State of
        Semantic Code Search", 2019, for the form of the pairs and the filters.

    Deviations:
        Equal docstrings are removed as well as equal code, since with either the right answer is not one.
    """
    pairs: list[tuple[str, str]] = []
    queries: set[str] = set()
    bodies: set[str] = set()
    for function in functions:
        query = first_paragraph(function)
        body = _name_of(function).sub(MASK, function.code)
        if not _is_eligible(function, query) or query in queries or body in bodies:
            continue
        queries.add(query)
        bodies.add(body)
        pairs.append((query, function.code))
    return pairs


def _name_of(function: Function) -> re.Pattern[str]:
    """Its name as a word of a text."""
    return re.compile(rf"\b{re.escape(function.name)}\b")


def _is_eligible(function: Function, query: str) -> bool:
    is_dunder = function.name.startswith("__") and function.name.endswith("__")
    lines = sum(not line.isspace() for line in function.code.split("\n") if line)
    return not is_dunder and len(query.split()) >= _MIN_WORDS and lines >= _MIN_LINES


def _parse(text: str) -> ast.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = f"line {error.lineno}: {error.msg}" if isinstance(error, SyntaxError) else str(error)
        raise InputError(f"source must be Python that parses; {reason or 'it is too deeply nested'}") from None


def _definitions(tree: ast.Module) -> Iterator[tuple[Definition, str]]:
    """Functions with their qualified names, also those inside `if`, `try` and `with`, none inside functions."""
    todo: list[tuple[ast.AST, str]] = [(tree, "")]
    while todo:
        node, scope = todo.pop()
        if isinstance(node, Definition):
            yield node, scope + node.name
            continue
        scope = f"{scope}{node.name}." if isinstance(node, ast.ClassDef) else scope
        inner = [each for each in ast.iter_child_nodes(node) if isinstance(each, _BLOCKS)]
        todo.extend((each, scope) for each in reversed(inner))


_BLOCKS = (ast.stmt, ast.excepthandler, ast.match_case)


def _function(node: Definition, name: str, lines: Sequence[str], distribution: str, path: str) -> Function:
    own, removed = _own_lines(node, lines)
    first = node.body[0]
    docstring = ast.get_docstring(node, clean=False)
    source = "\n".join(own)
    code = source
    if docstring is not None:
        docstring = cleandoc(docstring).encode("utf-8", "replace").decode()
        rows = (first.lineno - node.lineno, (first.end_lineno or first.lineno) - node.lineno)
        start = _offset(own, rows[0], first.col_offset - removed[rows[0]])
        end = _offset(own, rows[1], (first.end_col_offset or 0) - removed[rows[1]])
        code = _without(source, start, end, alone=len(node.body) == 1)
    return Function(node.name, name, distribution, path, node.lineno, source, docstring, code)


def _own_lines(node: Definition, lines: Sequence[str]) -> tuple[list[str], list[int]]:
    """The function's lines at the left margin, and how many characters each lost."""
    last = node.end_lineno or node.lineno
    own = list(lines[node.lineno - 1 : last])
    own[-1] = own[-1].encode()[: node.end_col_offset].decode()
    indent = own[0][: node.col_offset]
    if not indent:
        return own, [0] * len(own)
    inside = _lines_inside_strings(node) if _SPANS_LINES.search("\n".join(own)) else set()
    removed = [
        0 if line in inside else len(os.path.commonprefix([indent, text]))  # noqa: RUF071 (of characters, as is meant)
        for line, text in enumerate(own, start=node.lineno)
    ]
    return [text[count:] for text, count in zip(own, removed, strict=True)], removed


def _lines_inside_strings(node: Definition) -> set[int]:
    inside: set[int] = set()
    for each in ast.walk(node):
        is_text = isinstance(each, ast.JoinedStr) or (
            isinstance(each, ast.Constant) and isinstance(each.value, str | bytes)
        )
        if is_text and isinstance(each, ast.expr):
            inside.update(range(each.lineno + 1, (each.end_lineno or each.lineno) + 1))
    return inside


def _offset(lines: Sequence[str], row: int, column: int) -> int:
    """Where a line's byte stands among the characters of all lines joined."""
    return sum(len(line) + 1 for line in lines[:row]) + len(lines[row].encode()[:column].decode())


def _without(source: str, start: int, end: int, *, alone: bool) -> str:
    """Source without the statement from `start` to `end`, and without its line when nothing else stands there."""
    if alone:
        return f"{source[:start]}pass{source[end:]}"
    begin = source.rfind("\n", 0, start) + 1
    rest = _LINE_END.match(source, end)
    if rest is not None and not source[begin:start].strip():
        return source[:begin] + source[rest.end() :]
    rest = _SEMICOLON.match(source, end)
    return source[:start] + source[rest.end() if rest is not None else end :]


def _masked(source: str, owner: str) -> str:
    node = parse_function(source)
    name = node.name.encode()
    lines = [line.encode() for line in source.split("\n")]
    header = _HEADER.match(source)
    before = source[: header.end()] if header is not None else ""
    places = {(before.count("\n") + 1, len(before.rpartition("\n")[2].encode())), *_references(node, owner)}
    for line, column in sorted(places, reverse=True):
        text = lines[line - 1]
        if text[column : column + len(name)] == name:  # anything else is misplaced, or spelled in another form
            lines[line - 1] = text[:column] + MASK.encode() + text[column + len(name) :]
    return b"\n".join(lines).decode()


def _references(node: Definition, owner: str) -> Iterator[tuple[int, int]]:
    """Line and column (bytes) of each reference of a function to itself."""
    inner = [each for part in (node.args, *node.body) for each in ast.walk(part)]
    if not owner:
        uses = [each for each in inner if isinstance(each, ast.Name) and each.id == node.name]
        if not any(_binds(each, node.name) for each in inner):
            yield from ((each.lineno, each.col_offset) for each in uses)
        return
    arguments = [*node.args.posonlyargs, *node.args.args]
    holders = {owner, *(argument.arg for argument in arguments[:1])}
    for each in inner:
        if isinstance(each, ast.Attribute) and each.attr == node.name and _is_own(each.value, holders):
            yield each.end_lineno or each.lineno, (each.end_col_offset or 0) - len(node.name.encode())


def _is_own(value: ast.expr, holders: set[str]) -> bool:
    if isinstance(value, ast.Call):
        return isinstance(value.func, ast.Name) and value.func.id == "super"
    return isinstance(value, ast.Name) and value.id in holders


def _binds(node: ast.AST, name: str) -> bool:
    if isinstance(node, ast.Name):
        return node.id == name and not isinstance(node.ctx, ast.Load)
    if isinstance(node, ast.alias):
        return (node.asname or node.name.partition(".")[0]) == name
    names = (getattr(node, "name", None), node.arg if isinstance(node, ast.arg) else None)  # handlers, patterns, parts
    return name in names
