"""Source code as trees whose leaves are its tokens, and such trees as rankings of the gaps between the leaves."""

import ast
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from embedkit.encoders.code.grammar import GRAMMARS, parse_grammar
from embedkit.encoders.code.lexer import ERROR, NL, Kind, lex_python
from embedkit.encoders.split import Source, Span
from embedkit.errors import InputError

__all__ = ["Constituent", "SyntaxTree", "TreeTuple", "constituents", "syntax_tree", "tree_tuple", "tuple_tree"]

CHAIN = "+"
"""Stands between the labels of a chain of nodes, the outermost first."""

_BETWEEN = {Kind.NEWLINE, Kind.INDENT, Kind.DEDENT, Kind.EOS}
_TOKENS = {"Name", "Constant", "JoinedStr", "TemplateStr", "arg", "arguments", "alias", "withitem"}
_LINE_END = re.compile(r"\r\n?")
_STRINGS = {
    *("string", "template_string", "regex", "string_literal", "raw_string_literal", "interpreted_string_literal"),
    *("char_literal", "character_literal", "rune_literal", "system_lib_string", "heredoc_body", "subshell"),
}


@dataclass(frozen=True, slots=True)
class SyntaxTree:
    """A node of a tree of source code.

    Attributes:
        label: What the grammar calls it.
        children: From left to right: nodes, and leaves, each the (start, end) of a token in characters of the source.
    """

    label: str
    children: tuple["SyntaxTree | Span", ...]


class Constituent(NamedTuple):
    """A node of a tree: its label, and its first and last leaf, counted from 0."""

    label: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class TreeTuple:
    """A tree of n leaves as what stands between and at its leaves: (d, c, u).

    Attributes:
        leaves: (start, end) of each token in characters of the source; n.
        distances: Height of the lowest common ancestor of each leaf but the first and the leaf before; n - 1. Only
            their order says something.
        labels: Labels of these ancestors; "" of one that binarising put in; n - 1.
        unary: Label of what holds that leaf and nothing else; "" where nothing does; n.
    """

    leaves: tuple[Span, ...]
    distances: tuple[int, ...]
    labels: tuple[str, ...]
    unary: tuple[str, ...]


def syntax_tree(source: str, *, language: str = "python") -> SyntaxTree:
    r"""Read source code as a tree whose leaves are its tokens.

    A string is one leaf, whatever stands in it. Comments, docstrings, line ends and indentation are left out.

    Args:
        source: Text of one file, or statements that parse by themselves.
        language: One of the values of `embedkit.encoders.code.LANGUAGES`.

    Returns:
        The root. Nodes of Python are called as in the standard library's `ast`, blocks as the fields that hold them
        ("body", "orelse", "finalbody"); nodes of other languages as in tree-sitter's grammars.

    Raises:
        InputError: `source` does not parse or has no token, or there is no such language.
        MissingExtraError: The grammar of `language` is not installed.

    Example:
        >>> source = "if ready:\n    return  # at last"
        >>> syntax_tree(source)
        SyntaxTree(label='Module', children=(SyntaxTree(label='If', children=((0, 2), (3, 8), (8, 9),
            SyntaxTree(label='body', children=(SyntaxTree(label='Return', children=((14, 20),)),)))),))

    Reference:
        J. A. Hernández López, M. Weyssow, J. S. Cuadrado, H. Sahraoui, "AST-Probe: Recovering Abstract Syntax Trees
        from Hidden Representations of Pre-Trained Language Models", ASE 2022.

    Deviations:
        The paper takes tree-sitter's trees. Of Python they are built from the standard library here: each token stands
        under the smallest node of `ast` that covers it, so parentheses around an expression belong to what is outside
        of them. A name, a constant, a parameter or an import of one token is that token and no node, as in
        tree-sitter's trees.
    """
    if language == "python":
        return _python_tree(source)
    if language not in GRAMMARS:
        raise InputError(f"language must be one of {sorted({'python', *GRAMMARS})}; received {language!r}")
    return _grammar_tree(source, language)


@dataclass(slots=True)
class _Branch:
    """A node under way: what it is called, where it ends, and what it holds so far."""

    label: str
    end: int
    children: list[SyntaxTree | Span] = field(default_factory=list)

    def close_into(self, parent: "_Branch") -> None:
        """Become a child of `parent`; of a node that is one token, the token does."""
        if len(self.children) == 1 and self.label in _TOKENS and not isinstance(self.children[0], SyntaxTree):
            parent.children += self.children
        elif self.children:
            parent.children.append(SyntaxTree(self.label, tuple(self.children)))


def _root(top: _Branch) -> SyntaxTree:
    if not top.children:
        raise InputError("source must hold a token that is no comment and no docstring; received none")
    return next(root for root in top.children if isinstance(root, SyntaxTree))


def _python_tree(source: str) -> SyntaxTree:
    tokens = lex_python(source, keep_comments=False)
    if tokens[0].text == ERROR:
        raise InputError("source must be Python that parses, in the version that runs; it does not")
    places, hidden = _python_places(source)
    top = _Branch("", len(source) + 1)
    path = [top]
    for token in tokens:
        while hidden and hidden[-1][1] <= token.start:
            hidden.pop()
        if token.kind in _BETWEEN or token.text == NL or (hidden and hidden[-1][0] <= token.start):
            continue
        while path[-1].end <= token.start:
            path.pop().close_into(path[-1])
        while places and places[-1][1] <= token.start:
            label, _, end = places.pop()
            if end > token.start:
                path.append(_Branch(label, end))
        path[-1].children.append((token.start, token.end))
    while len(path) > 1:
        path.pop().close_into(path[-1])
    return _root(top)


_Place: TypeAlias = tuple[str, int, int]
"""Label of a node, its first character, and the one behind its last."""


def _python_places(source: str) -> tuple[list[_Place], list[Span]]:
    """Nodes with their places, inner ones before what holds them, and where the docstrings stand; the last first."""
    given = Source(source)
    given.starts[0] = len(source) - len(source.removeprefix("\ufeff"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tree = ast.parse(_LINE_END.sub("\n", source.removeprefix("\ufeff")))
    hidden: list[Span] = []
    found: list[tuple[str, int, int | None, int | None]] = []
    todo: list[tuple[str, ast.AST | list[ast.stmt], int]] = [("Module", tree, -1)]
    while todo:
        label, node, parent = todo.pop()
        start = end = None
        if node is tree:
            start, end = 0, len(source)
        elif hasattr(node, "lineno"):
            start, end = _span(given, node)
        found.append((label, parent, start, end))
        todo.extend((*inner, len(found) - 1) for inner in _inner(node))
        if (doc := _docstring(node)) is not None:
            hidden.append(_span(given, doc))
    # what has no place of its own spans what it holds
    spans: list[Span | None] = [None] * len(found)
    for index in range(len(found) - 1, -1, -1):
        _, parent, start, end = found[index]
        inner = spans[index]
        if start is not None and end is not None:
            spans[index] = inner = start, end
        if inner is not None and parent >= 0:
            outer = spans[parent] or inner
            spans[parent] = min(outer[0], inner[0]), max(outer[1], inner[1])
    kept = [(label, *span) for (label, *_), span in zip(found, spans, strict=True) if span is not None]
    kept.sort(key=lambda place: (place[1], -place[2]))  # stable: of two with one place, the outer comes first
    return kept[::-1], sorted(hidden, reverse=True)


def _span(given: Source, node: Any) -> Span:
    start = given.at_column(node.lineno, node.col_offset)
    for decorator in getattr(node, "decorator_list", [])[:1]:
        start = given.text.rfind("@", 0, given.at_column(decorator.lineno, decorator.col_offset))
    return start, given.at_column(node.end_lineno, node.end_col_offset)


def _inner(node: ast.AST | list[ast.stmt]) -> Iterator[tuple[str, ast.AST | list[ast.stmt]]]:
    """What a node holds; blocks of statements are nodes as well. Nothing of what stands inside a string."""
    if isinstance(node, list):
        yield from ((type(each).__name__, each) for each in node)
        return
    if type(node).__name__ in {"JoinedStr", "TemplateStr"}:
        return
    for name, value in ast.iter_fields(node):
        if isinstance(value, ast.AST):
            yield type(value).__name__, value
        elif isinstance(value, list) and value and isinstance(value[0], ast.stmt) and not isinstance(node, ast.Module):
            yield name, value
        elif isinstance(value, list):
            yield from ((type(each).__name__, each) for each in value if isinstance(each, ast.AST))


def _docstring(node: Any) -> ast.stmt | None:
    if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return None
    return node.body[0] if ast.get_docstring(node, clean=False) is not None else None


def _grammar_tree(source: str, language: str) -> SyntaxTree:
    text = source.removeprefix("\ufeff")
    skipped = len(source) - len(text)
    given = Source(text)
    root = parse_grammar(language, text.encode("utf-8", "replace")).root_node
    if root.has_error:
        raise InputError(f"source must be {language} that parses; it does not")
    comments = GRAMMARS[language].comments
    top = _Branch("", 0)
    path: list[tuple[_Branch, Iterator[Any]]] = [(top, iter([root]))]
    while path:
        branch, rest = path[-1]
        node = next(rest, None)
        if node is None:
            path.pop()
            if path:
                branch.close_into(path[-1][0])
        elif node.children and node.type not in _STRINGS:
            path.append((_Branch(node.type, 0), iter(node.children)))
        elif node.type not in comments:
            start, end = given.at_byte(node.start_byte), given.at_byte(node.end_byte)
            if text[start:end].strip():
                branch.children.append((start + skipped, end + skipped))
    return _root(top)


@dataclass(slots=True)
class _Part:
    """A node with two children or more: its label, and the [first leaf, height] of itself and of each child."""

    label: str
    place: list[int]
    children: list[list[int]]


def tree_tuple(tree: SyntaxTree) -> TreeTuple:
    r"""Write a tree as the tuple (d, c, u) of its binary form.

    A chain of nodes with one child each becomes one node, whose label joins theirs by "+"; where it ends in a leaf, its
    label goes to that leaf. A node with children A, B, C becomes (A, (B, C)), and the node put in has the label "".

    Args:
        tree: From `syntax_tree`, or any other in which every node has a child.

    Returns:
        The tuple, from which `tuple_tree` makes the tree again.

    Example:
        >>> found = tree_tuple(syntax_tree("selected = element\nbreak"))
        >>> found.distances, found.labels, found.unary
        ((2, 1, 3), ('Assign', '', 'Module'), ('', '', '', 'Break'))

    Reference:
        J. A. Hernández López, M. Weyssow, J. S. Cuadrado, H. Sahraoui, "AST-Probe: Recovering Abstract Syntax Trees
        from Hidden Representations of Pre-Trained Language Models", ASE 2022, Section 4, whose example this is.

    Deviations:
        none.
    """
    leaves: list[Span] = []
    unary: list[str] = []
    parts: list[_Part] = []
    todo: list[tuple[SyntaxTree | Span, list[list[int]]]] = [(tree, [])]
    while todo:
        node, siblings = todo.pop()
        label, children = _chain(node)
        place = [len(leaves), 0]
        siblings.append(place)
        if len(children) == 1:
            leaves += children
            unary.append(label)
            continue
        parts.append(_Part(label, place, []))
        todo.extend((child, parts[-1].children) for child in reversed(children))
    distances = [0] * (len(leaves) - 1)
    labels = [""] * (len(leaves) - 1)
    for part in reversed(parts):
        height = part.children[-1][1]
        for at in range(len(part.children) - 1, 0, -1):
            height = 1 + max(part.children[at - 1][1], height)
            gap = part.children[at][0] - 1
            distances[gap] = height
            labels[gap] = part.label if at == 1 else ""
        part.place[1] = height
    return TreeTuple(tuple(leaves), tuple(distances), tuple(labels), tuple(unary))


def _chain(node: SyntaxTree | Span) -> tuple[str, tuple[Any, ...]]:
    """Joined label of a chain of nodes with one child each, and what is below: several children, or one leaf."""
    names: list[str] = []
    children: tuple[Any, ...] = (node,)
    while len(children) == 1 and isinstance(children[0], SyntaxTree):
        names.append(children[0].label)
        children = children[0].children
    return CHAIN.join(names), children


def constituents(distances: Sequence[float], labels: Sequence[str], unary: Sequence[str]) -> list[Constituent]:
    """Read the nodes of a tree out of its tuple: leaves part where the distance is largest, and so on on both sides.

    Args:
        distances: Of the n - 1 gaps between leaves; any numbers. Of equal ones, the first parts first.
        labels: Of the n - 1 gaps; "" is no node; one with "+" is several.
        unary: Of the n leaves; "" is no node.

    Returns:
        The nodes, outer ones before what they hold and left before right.

    Raises:
        InputError: There is no leaf, or the lengths do not fit.

    Example:
        >>> constituents([2, 1, 3], ["Assign", "", "Module"], ["", "", "", "Break"])
        [Constituent(label='Module', first=0, last=3), Constituent(label='Assign', first=0, last=2),
         Constituent(label='Break', first=3, last=3)]
    """
    if not len(distances) == len(labels) == len(unary) - 1:
        message = "n leaves must have n unary labels, n - 1 distances and n - 1 labels, n at least 1; received "
        raise InputError(f"{message}{len(unary)}, {len(distances)} and {len(labels)}")
    left, right, top = _splits(distances)
    found: list[Constituent] = []
    todo = [(top, 0, len(unary) - 1)]
    while todo:
        gap, first, last = todo.pop()
        if gap < 0:
            found.extend(Constituent(name, first, first) for name in _names(unary[first]))
            continue
        found.extend(Constituent(name, first, last) for name in _names(labels[gap]))
        todo += [(right[gap], gap + 1, last), (left[gap], first, gap)]
    return found


def _names(label: str) -> Iterable[str]:
    return label.split(CHAIN) if label else ()


def _splits(distances: Sequence[float]) -> tuple[list[int], list[int], int]:
    """For each gap the largest gap on its left and on its right, inside the span that it parts; -1 where none is."""
    left, right = [-1] * len(distances), [-1] * len(distances)
    path: list[int] = []
    for gap, distance in enumerate(distances):
        while path and distances[path[-1]] < distance:
            left[gap] = path.pop()
        if path:
            right[path[-1]] = gap
        path.append(gap)
    return left, right, path[0] if path else -1


def tuple_tree(given: TreeTuple) -> SyntaxTree:
    """Make the tree again of which `tree_tuple` made a tuple: chains and nodes of many children are restored.

    Args:
        given: The tuple; its distances may be replaced by any numbers in the same order.

    Returns:
        The tree. Where the tuple gives its root no label, the root's label is "".

    Raises:
        InputError: There is no leaf, or the lengths do not fit.

    Example:
        >>> tree = syntax_tree("print(a + b * c)")
        >>> tuple_tree(tree_tuple(tree)) == tree
        True
    """
    nodes = constituents(given.distances, given.labels, given.unary)[::-1]
    top = _Branch("", len(given.leaves))
    path = [top]
    for index, leaf in enumerate(given.leaves):
        while nodes and nodes[-1].first == index:
            node = nodes.pop()
            path.append(_Branch(node.label, node.last))
        path[-1].children.append(leaf)
        while path[-1].end == index:
            done = path.pop()
            path[-1].children.append(SyntaxTree(done.label, tuple(done.children)))
    root = top.children[0]
    return root if len(top.children) == 1 and isinstance(root, SyntaxTree) else SyntaxTree("", tuple(top.children))
