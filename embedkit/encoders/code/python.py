"""Python source cut into functions, classes and docstrings, through the standard library's `ast`."""

import ast
import io
import re
import tokenize
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import cleandoc
from typing import Literal, TypeAlias

from embedkit.encoders.chunk import Chunk
from embedkit.encoders.split import Budget, Cutter, Source, Span, Unit, prose, subtract
from embedkit.errors import InputError

__all__ = ["chunk_python"]

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef

SUBSTANTIAL = 8  # tokens that statements outside definitions must come to, to be a chunk

_NEWLINE = re.compile(r"\r\n?|\n")
_COLON = re.compile(r"(?:[^#:]|#[^\r\n]*+)*+:")
_LINE_REST = re.compile(r"[ \t\f]*+;?[ \t\f]*+(?:#[^\r\n]*+)?")
_SEMICOLON = re.compile(r"[ \t\f]*+(?:;[ \t\f]*+)?")
_CONTINUED = re.compile(r"(?<!\\)(?:\\\\)*\\\Z")


@dataclass(slots=True)
class _Definition:
    """A function or class and its places: comments before it, decorators, `def` line, colon, end."""

    node: Function | ast.ClassDef
    name: str
    start: int
    line: int
    head: int
    colon: int
    end: int
    doc: ast.Expr | None
    inner: list["_Definition"] = field(default_factory=list)


def chunk_python(source: str, *, module: str, budget: Budget, comments: Literal["keep", "drop"]) -> list[Chunk]:
    r"""Cut Python source.

    Statements outside functions and classes become a chunk when they come to at least 8 tokens together; imports,
    and `if`, `try` or `with` blocks of nothing but imports and definitions, are not counted and not kept.

    Args:
        source: Text of one file.
        module: Dotted name of the module, or "".
        budget: What each chunk must fit.
        comments: Whether comments stay.

    Returns:
        The module's docstring and statements, then definitions in the order of the source, each with its docstring.

    Raises:
        InputError: `source` is not Python.

    Example:
        >>> budget = Budget(lambda text: len(text.split()), 16)
        >>> source = 'def f():\n    "Say one."\n    return 1\n'
        >>> [chunk.text for chunk in chunk_python(source, module="m", budget=budget, comments="keep")]
        ['# m.f\ndef f():\n    return 1', 'Say one.']
    """
    text = source.removeprefix("\ufeff")
    tree = _parse(text)
    try:
        return list(_File(Source(text), tree, budget, _comments(text) if comments == "drop" else []).chunks(module))
    except RecursionError:
        raise InputError("Python source must not nest this deeply; split it before chunking") from None


def _parse(text: str) -> ast.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        known = error.lineno if isinstance(error, SyntaxError) else None
        line = known or Source(text).line(max(text.find("\0"), 0))
        reason = (error.msg if isinstance(error, SyntaxError) else str(error)) or "too deeply nested"
        raise InputError(f"Python source must parse; line {line}: {reason}") from None


def _comments(text: str) -> list[Span]:
    lines = Source(text)
    unified = io.StringIO(_NEWLINE.sub("\n", text))
    try:
        tokens = [token for token in tokenize.generate_tokens(unified.readline) if token.type == tokenize.COMMENT]
    except (tokenize.TokenError, SyntaxError) as error:
        raise InputError(f"Python source must split into tokens to drop its comments: {error}") from None
    starts = (lines.start(token.start[0]) + token.start[1] for token in tokens)
    return [(start, start + len(token.string)) for start, token in zip(starts, tokens, strict=True)]


class _File:
    """One parsed file: finds the definitions, and says which spans belong to which chunk."""

    def __init__(self, source: Source, tree: ast.Module, budget: Budget, drop: Sequence[Span]) -> None:
        self._source = source
        self._text = source.text
        self._tree = tree
        self._budget = budget
        uses = sorted(self._uses(_imported(tree)))
        self._cutter = Cutter(source, budget, "#", _levels(tree), uses, drop)

    def chunks(self, module: str) -> Iterator[Chunk]:
        doc = _docstring(self._tree)
        definitions = list(self._definitions(module))
        if doc is not None:
            yield from self._prose(doc, module)
        yield from self._statements(doc, module, {id(found.node): found for found in definitions})
        for found in definitions:
            yield from self._cutter.chunks(self._unit(found))
            if found.doc is not None:
                yield from self._prose(found.doc, found.name)

    def _definitions(self, module: str) -> Iterator[_Definition]:
        scope = [module] if module else []
        todo: list[tuple[ast.stmt, int, list[str], _Definition | None]] = []
        todo.extend((*item, scope, None) for item in reversed([*_siblings(self._tree.body, 0)]))
        while todo:
            node, floor, scope, owner = todo.pop()
            if isinstance(node, Function | ast.ClassDef):
                found = self._definition(node, floor, scope)
                if owner is not None:
                    owner.inner.append(found)
                yield found
                if isinstance(node, Function):
                    continue
                scope, owner = [*scope, node.name], found
            inner = [item for block in _blocks(node) for item in _siblings(block, node.lineno)]
            todo.extend((*item, scope, owner) for item in reversed(inner))

    def _definition(self, node: Function | ast.ClassDef, floor: int, scope: Sequence[str]) -> _Definition:
        start = at = self._at(node)
        if node.decorator_list:
            start = self._text.rfind("@", 0, self._at(node.decorator_list[0]))
        line = self._source.line(start)
        return _Definition(
            node=node,
            name=".".join([*scope, node.name]),
            start=self._with_comments(start, line, floor),
            line=line,
            head=self._source.indent(at),
            colon=self._colon(node, at),
            end=self._line_rest(self._end(node)),
            doc=_docstring(node),
        )

    def _at(self, node: ast.expr | ast.stmt) -> int:
        return self._source.at_column(node.lineno, node.col_offset)

    def _end(self, node: ast.expr | ast.stmt | ast.arg) -> int:
        return self._source.at_column(node.end_lineno or node.lineno, node.end_col_offset or 0)

    def _with_comments(self, start: int, line: int, floor: int) -> int:
        """Where the comment lines directly above `line` begin; nothing at or above line `floor` is one."""
        start = self._source.indent(start)
        while line - 1 > floor and self._is_comment(line - 1):
            line -= 1
            start = self._source.start(line)
        return start

    def _is_comment(self, line: int) -> bool:
        return self._text[self._source.start(line) : self._source.start(line + 1)].lstrip().startswith("#")

    def _colon(self, node: Function | ast.ClassDef, at: int) -> int:
        after = max((self._end(part) for part in _header_parts(node)), default=at)
        found = _COLON.match(self._text, after)
        return found.end() if found else after

    def _line_rest(self, end: int) -> int:
        found = _LINE_REST.match(self._text, end)
        return found.end() if found else end

    def _unit(self, found: _Definition) -> Unit:
        holes = [] if found.doc is None else [self._doc_hole(found.doc)]
        for inner in found.inner:
            if inner.start < inner.head:
                holes.append((inner.start, inner.head))
            holes.append((inner.colon, max(inner.colon, self._source.blank_rest(inner.end))))
        spans = subtract([(found.start, found.end)], holes)
        return Unit(found.name, spans, found.line, found.node.end_lineno or found.line)

    def _doc_hole(self, doc: ast.Expr) -> Span:
        found = _SEMICOLON.match(self._text, self._end(doc))
        return self._at(doc), self._source.blank_rest(found.end() if found else self._end(doc))

    def _statements(self, doc: ast.Expr | None, module: str, found: Mapping[int, _Definition]) -> Iterator[Chunk]:
        """The chunks of what is left of a module without its docstring, imports and definitions."""
        kept = [
            (node, floor)
            for node, floor in _siblings(self._tree.body, 0)
            if node is not doc and not _only_defines(node)
        ]
        spans = [(self._at(node), self._end(node)) for node, _ in kept]
        if not self._budget.reaches((self._text[start:end] for start, end in spans), SUBSTANTIAL):
            return
        whole = [
            (self._with_comments(start, node.lineno, floor), self._line_rest(end))
            for (start, end), (node, floor) in zip(spans, kept, strict=True)
        ]
        holes = [(one.colon, one.end) for node, _ in kept for one in _within(node, found)]
        last = kept[-1][0]
        unit = Unit(module, subtract(whole, holes), kept[0][0].lineno, last.end_lineno or last.lineno)
        yield from self._cutter.chunks(unit)

    def _prose(self, doc: ast.Expr, name: str) -> Iterator[Chunk]:
        raw = doc.value.value if isinstance(doc.value, ast.Constant) else ""
        lines = cleandoc(str(raw)).split("\n")
        places = self._places(doc, str(raw))
        first, last = doc.lineno, doc.end_lineno or doc.lineno
        pieces = list(prose((places[min(at, len(places) - 1)], line + "\n") for at, line in enumerate(lines)))
        parts = list(self._budget.pack(pieces))
        for index, part in enumerate(parts):
            line = part.line if index else first
            yield Chunk(part.text, "text", name, line, part.end_line if index < len(parts) - 1 else last)

    def _places(self, doc: ast.Expr, raw: str) -> list[int]:
        """Source line of each line that `cleandoc` leaves: exact unless escapes in the string hide line ends."""
        first, last = doc.lineno, doc.end_lineno or doc.lineno
        lines = raw.split("\n")
        starts = [first]
        for line in range(first, last):
            text = self._text[self._source.start(line) : self._source.start(line + 1)].rstrip("\r\n")
            if not _CONTINUED.search(text):
                starts.append(line + 1)
        if len(starts) != len(lines):
            starts = [min(first + index, last) for index in range(len(lines))]
        blank = next((index for index, line in enumerate(lines) if line.strip()), 0)
        return starts[blank:]

    def _uses(self, names: Mapping[str, str]) -> Iterator[tuple[int, str]]:
        for node in _loads(self._tree, names.keys()) if names else ():
            yield self._at(node), names[node.id]


def _siblings(body: Iterable[ast.stmt], floor: int) -> Iterator[tuple[ast.stmt, int]]:
    """Each statement with the last line of what stands before it."""
    for node in body:
        yield node, floor
        floor = node.end_lineno or node.lineno


def _blocks(node: ast.AST) -> Iterator[list[ast.stmt]]:
    """The blocks of a compound statement in the order of the source."""
    for name in ("body", "handlers", "cases", "orelse", "finalbody"):
        block = getattr(node, name, [])
        if name in {"handlers", "cases"}:
            yield from (clause.body for clause in block)
        elif isinstance(block, list) and block:
            yield block


def _docstring(node: ast.Module | Function | ast.ClassDef) -> ast.Expr | None:
    first = node.body[0] if node.body else None
    return first if isinstance(first, ast.Expr) and _is_string(first) else None


def _is_string(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _header_parts(node: Function | ast.ClassDef) -> Iterator[ast.expr | ast.arg]:
    """What may hold a colon between `def` and the colon that ends the header, except annotations of parts."""
    parameters: list[ast.expr] = getattr(node, "type_params", [])
    yield from parameters
    if isinstance(node, ast.ClassDef):
        yield from node.bases
        yield from (keyword.value for keyword in node.keywords)
        return
    given = node.args
    yield from [*given.posonlyargs, *given.args, *given.kwonlyargs]
    yield from given.defaults
    rest: list[ast.expr | ast.arg | None] = [given.vararg, given.kwarg, *given.kw_defaults, node.returns]
    yield from (part for part in rest if part is not None)


def _only_defines(node: ast.stmt) -> bool:
    """Whether a statement holds nothing but imports and definitions."""
    todo: list[ast.stmt] = [node]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Import | ast.ImportFrom | ast.Pass | Function | ast.ClassDef):
            continue
        blocks = list(_blocks(node))
        if not blocks:
            return False
        todo.extend(statement for block in blocks for statement in block)
    return True


def _within(node: ast.stmt, found: Mapping[int, _Definition]) -> Iterator[_Definition]:
    """Definitions inside a module-level statement, without those inside classes."""
    todo = [node]
    while todo:
        node = todo.pop()
        if id(node) in found:
            yield found[id(node)]
        else:
            todo.extend(reversed([statement for block in _blocks(node) for statement in block]))


def _levels(tree: ast.Module) -> dict[int, int]:
    """Depth of the statement that ends before a line; the least where several do."""
    levels: dict[int, int] = {}
    todo: list[tuple[ast.stmt, int]] = [(node, 0) for node in tree.body]
    while todo:
        node, depth = todo.pop()
        after = (node.end_lineno or node.lineno) + 1
        if not _is_string(node):  # a docstring is left out, and its header stays with what comes behind
            levels[after] = min(depth, levels.get(after, depth))
        for block in _blocks(node):
            chained = isinstance(node, ast.If) and len(block) == 1 and isinstance(block[0], ast.If)
            todo.extend((statement, depth if chained else depth + 1) for statement in block)
    return levels


def _imported(tree: ast.Module) -> dict[str, str]:
    """What the names that a module imports stand for, outside functions and classes."""
    names: dict[str, str] = {}
    todo: list[ast.stmt] = [*tree.body]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Import):
            for alias in node.names:
                names[alias.asname or alias.name.partition(".")[0]] = _spelled(alias.name, alias.asname)
        elif isinstance(node, ast.ImportFrom):
            origin = "." * node.level + (node.module or "")
            for alias in node.names:
                full = f"{origin}{'' if origin.endswith('.') else '.'}{alias.name}"
                names[alias.asname or alias.name] = _spelled(full, alias.asname)
        elif not isinstance(node, Function | ast.ClassDef):
            todo.extend(statement for block in _blocks(node) for statement in block)
    return names


def _spelled(name: str, local: str | None) -> str:
    return name if local is None or local == name.rpartition(".")[2] else f"{name} as {local}"


def _loads(tree: ast.Module, names: Iterable[str]) -> Iterator[ast.Name]:
    """Places that read one of `names` where no enclosing function binds it otherwise."""
    wanted = frozenset(names)
    scopes: list[tuple[Sequence[ast.AST], frozenset[str], bool]] = [(tree.body, frozenset(), False)]
    while scopes:
        nodes, hidden, is_function = scopes.pop()
        read, bound, inner = _scan(nodes, wanted)
        if is_function:
            hidden |= bound
        yield from (node for node in read if node.id not in hidden)
        scopes.extend((body, hidden, not isinstance(scope, ast.ClassDef)) for scope, body in inner)


def _scan(
    nodes: Sequence[ast.AST], wanted: frozenset[str]
) -> tuple[list[ast.Name], set[str], list[tuple[ast.AST, Sequence[ast.AST]]]]:
    """What one scope reads of `wanted`, what it binds of it, and the scopes inside it."""
    read: list[ast.Name] = []
    bound: set[str] = set()
    inner: list[tuple[ast.AST, Sequence[ast.AST]]] = []
    todo = [*nodes]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Name):
            if node.id in wanted:
                read.append(node) if isinstance(node.ctx, ast.Load) else bound.add(node.id)
        elif isinstance(node, Function | ast.Lambda | ast.ClassDef):
            outer, body = _scope(node)
            todo.extend(outer)
            inner.append((node, body))
        else:
            if isinstance(node, ast.arg):
                bound.add(node.arg)
            elif isinstance(node, ast.alias):
                bound.add(node.asname or node.name.partition(".")[0])
            todo.extend(ast.iter_child_nodes(node))
    return read, bound, inner


def _scope(node: Function | ast.Lambda | ast.ClassDef) -> tuple[list[ast.AST], Sequence[ast.AST]]:
    """What a definition evaluates outside its scope, and inside."""
    if isinstance(node, ast.Lambda):
        return [], [node.args, node.body]
    if isinstance(node, ast.ClassDef):
        return [*node.decorator_list, *node.bases, *node.keywords], node.body
    return [*node.decorator_list, *([node.returns] if node.returns else [])], [node.args, *node.body]
