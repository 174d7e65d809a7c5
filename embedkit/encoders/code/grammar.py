"""Source code of other languages cut into functions and classes, through tree-sitter's grammars."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from embedkit.encoders.chunk import Chunk
from embedkit.encoders.split import Budget, Cutter, Source, Span, Unit, subtract
from embedkit.errors import InputError
from embedkit.optional import require

__all__ = ["GRAMMARS", "Grammar", "chunk_grammar"]

SUBSTANTIAL = 8  # tokens that statements outside definitions must come to, to be a chunk
DEEPEST = 64  # nesting beyond which a cut is no better than between any two lines

_NONE: frozenset[str] = frozenset()
_IDENTIFIERS = frozenset({"identifier", "type_identifier"})


@dataclass(frozen=True, slots=True)
class Grammar:
    """What the node types of one grammar mean.

    Attributes:
        package: Module of the wheel.
        definitions: Functions, and types without methods inside.
        containers: What holds definitions and names them.
        imports: Import statements, and what else says nothing about a file.
        wrappers: Nodes around one definition, which then belong to it.
        groups: Nodes whose children stand for themselves.
        assigned: Fields of the name and the value where a definition is a value.
        values: Values that are definitions.
        attached: Siblings that belong to the definition behind them.
        identifiers: Nodes that can name an import.
        comments: Comments.
        required: Calls that import.
        entry: Function of the package that gives the language.
        mark: What begins a comment.
    """

    package: str
    definitions: frozenset[str]
    containers: frozenset[str] = _NONE
    imports: frozenset[str] = _NONE
    wrappers: frozenset[str] = _NONE
    groups: frozenset[str] = _NONE
    assigned: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    values: frozenset[str] = _NONE
    attached: frozenset[str] = _NONE
    identifiers: frozenset[str] = _IDENTIFIERS
    comments: frozenset[str] = frozenset({"comment"})
    required: frozenset[str] = _NONE
    entry: str = "language"
    mark: str = "//"

    def may_define(self, kind: str) -> bool:
        """Whether a node of this type can be or hold a definition."""
        return kind in self.definitions | self.containers | self.wrappers | self.values or kind in self.assigned


_JAVASCRIPT = Grammar(
    package="tree_sitter_javascript",
    definitions=frozenset({"function_declaration", "generator_function_declaration", "method_definition"}),
    containers=frozenset({"class_declaration", "class"}),
    imports=frozenset({"import_statement"}),
    wrappers=frozenset({"export_statement", "lexical_declaration", "variable_declaration", "expression_statement"}),
    assigned={
        "variable_declarator": ("name", "value"),
        "assignment_expression": ("left", "right"),
        "field_definition": ("property", "value"),
    },
    values=frozenset({"arrow_function", "function_expression", "generator_function", "class"}),
    attached=frozenset({"decorator"}),
    identifiers=frozenset({"identifier"}),
)


def _typescript(entry: str) -> Grammar:
    return Grammar(
        package="tree_sitter_typescript",
        entry=entry,
        definitions=_JAVASCRIPT.definitions
        | {"function_signature", "interface_declaration", "enum_declaration", "type_alias_declaration"},
        containers=_JAVASCRIPT.containers | {"abstract_class_declaration", "internal_module", "module"},
        imports=_JAVASCRIPT.imports,
        wrappers=_JAVASCRIPT.wrappers | {"ambient_declaration"},
        assigned={**_JAVASCRIPT.assigned, "public_field_definition": ("name", "value")},
        values=_JAVASCRIPT.values,
        attached=_JAVASCRIPT.attached,
    )


_C = Grammar(
    package="tree_sitter_c",
    definitions=frozenset(
        {"function_definition", "type_definition", "struct_specifier", "union_specifier", "enum_specifier"}
    ),
    imports=frozenset({"preproc_include"}),
    groups=frozenset({"preproc_ifdef", "preproc_if", "preproc_else", "preproc_elif", "preproc_elifdef"}),
)

GRAMMARS: Mapping[str, Grammar] = {
    "javascript": _JAVASCRIPT,
    "typescript": _typescript("language_typescript"),
    "tsx": _typescript("language_tsx"),
    "java": Grammar(
        package="tree_sitter_java",
        definitions=frozenset({"method_declaration", "constructor_declaration", "compact_constructor_declaration"}),
        containers=frozenset(
            {
                "class_declaration",
                "interface_declaration",
                "enum_declaration",
                "record_declaration",
                "annotation_type_declaration",
            }
        ),
        imports=frozenset({"import_declaration", "package_declaration"}),
        groups=frozenset({"enum_body_declarations"}),
        comments=frozenset({"line_comment", "block_comment"}),
    ),
    "go": Grammar(
        package="tree_sitter_go",
        definitions=frozenset({"function_declaration", "method_declaration", "type_spec", "type_alias"}),
        imports=frozenset({"import_declaration", "package_clause"}),
        wrappers=frozenset({"type_declaration"}),
        identifiers=frozenset({"identifier", "package_identifier"}),
    ),
    "rust": Grammar(
        package="tree_sitter_rust",
        definitions=frozenset(
            {"function_item", "struct_item", "enum_item", "union_item", "type_item", "macro_definition"}
        ),
        containers=frozenset({"impl_item", "trait_item", "mod_item"}),
        imports=frozenset({"use_declaration", "extern_crate_declaration"}),
        attached=frozenset({"attribute_item"}),
        comments=frozenset({"line_comment", "block_comment"}),
    ),
    "c": _C,
    "cpp": Grammar(
        package="tree_sitter_cpp",
        definitions=(_C.definitions - {"struct_specifier"}) | {"alias_declaration", "concept_definition"},
        containers=frozenset({"class_specifier", "struct_specifier", "namespace_definition"}),
        imports=_C.imports | {"using_declaration"},
        wrappers=frozenset({"template_declaration"}),
        groups=_C.groups | {"linkage_specification", "declaration_list"},
        identifiers=_IDENTIFIERS | {"namespace_identifier"},
    ),
    "ruby": Grammar(
        package="tree_sitter_ruby",
        definitions=frozenset({"method", "singleton_method"}),
        containers=frozenset({"class", "module"}),
        identifiers=frozenset({"identifier", "constant"}),
        required=frozenset({"require", "require_relative"}),
        mark="#",
    ),
}


@dataclass(slots=True)
class _Item:
    """A node among its siblings, with the comments before and behind it; offsets in bytes."""

    node: Any
    lead: int
    start: int
    end: int


@dataclass(slots=True)
class _Found:
    """A definition, or with `is_container` what holds some."""

    item: _Item
    name: str
    body: Any
    is_container: bool
    inner: list["_Found"] = field(default_factory=list)


def chunk_grammar(
    source: str, *, language: str, module: str, budget: Budget, comments: Literal["keep", "drop"]
) -> list[Chunk]:
    """Cut source code with the grammar of its language.

    Statements outside definitions become a chunk when they come to at least 8 tokens together. A source with syntax
    errors is cut as far as its grammar understands it.

    Args:
        source: Text of one file.
        language: A key of `GRAMMARS`.
        module: Dotted name of the module, or "".
        budget: What each chunk must fit.
        comments: Whether comments stay.

    Returns:
        Statements first, then definitions in the order of the source, containers before what they hold.

    Raises:
        InputError: The parser gave up.
        MissingExtraError: The grammar is not installed.

    Example:
        >>> budget = Budget(lambda text: len(text.split()), 16)
        >>> source = "class A { m() { return 1 } }"
        >>> for chunk in chunk_grammar(source, language="javascript", module="", budget=budget, comments="keep"):
        ...     print(chunk.text)
        // A
        class A { m()  }
        // A.m
        m() { return 1 }
    """
    text = source.removeprefix("\ufeff")
    # a lone surrogate becomes one "?", so the offsets of characters stay
    tree = parse_grammar(language, text.encode("utf-8", "replace"))
    return list(_File(Source(text), language, tree, budget, drop=comments == "drop").chunks(module))


@cache
def _language(name: str) -> Any:
    grammar = GRAMMARS[name]
    package = require(grammar.package, extra="code")
    return require("tree_sitter", extra="code").Language(getattr(package, grammar.entry)())


def parse_grammar(language: str, data: bytes) -> Any:
    """Tree of a source in UTF-8, from the grammar of a language that is a key of `GRAMMARS`.

    Raises:
        InputError: The parser gave up.
        MissingExtraError: The grammar is not installed.
    """
    known = _language(language)
    tree = require("tree_sitter", extra="code").Parser(known).parse(data)
    if tree is None:
        raise InputError(f"{language} source must parse; the parser gave up")
    return tree


class _File:
    """One parsed file: finds the definitions, and says which spans belong to which chunk."""

    def __init__(self, source: Source, language: str, tree: Any, budget: Budget, *, drop: bool) -> None:
        self._source = source
        self._grammar = GRAMMARS[language]
        self._language = language
        self._root = tree.root_node
        self._budget = budget
        self._found: list[_Found] = []
        self._rest: list[_Item] = []
        self._imports: list[Any] = []
        self._drop = drop

    def chunks(self, module: str) -> Iterator[Chunk]:
        self._walk(module)
        cutter = Cutter(
            self._source,
            self._budget,
            self._grammar.mark,
            self._levels(),
            sorted(self._uses()),
            sorted(self._comment(node) for node in self._nodes(self._grammar.comments)) if self._drop else [],
        )
        yield from self._statements(cutter, module)
        for found in self._found:
            yield from cutter.chunks(self._unit(found))

    def _walk(self, module: str) -> None:
        todo: list[tuple[_Item, str, _Found | None]] = []
        todo.extend((item, module, None) for item in reversed(self._items(self._root)))
        while todo:
            item, scope, owner = todo.pop()
            if self._is_group(item.node):
                todo.extend((inner, scope, owner) for inner in reversed(self._items(item.node)))
                continue
            found = self._define(item, scope, owner)
            if found is None:
                self._leave(item, owner)
                continue
            self._found.append(found)
            if owner is not None:
                owner.inner.append(found)
            if found.is_container and found.body is not None:
                todo.extend((inner, found.name, found) for inner in reversed(self._items(found.body)))

    def _leave(self, item: _Item, owner: _Found | None) -> None:
        if owner is None and self._is_import(item.node):
            self._imports.append(item.node)
        elif owner is None:
            self._rest.append(item)

    def _is_group(self, node: Any) -> bool:
        if node.type == "ERROR":
            return any(self._grammar.may_define(child.type) for child in node.named_children)
        return node.type in self._grammar.groups

    def _is_import(self, node: Any) -> bool:
        if node.type in self._grammar.imports:
            return True
        called = node.child_by_field_name("method") if self._grammar.required else None
        return called is not None and _text(called) in self._grammar.required

    def _items(self, parent: Any) -> list[_Item]:
        """Children with the comments and attributes directly above, and the comments behind on the same line."""
        items: list[_Item] = []
        lead: int | None = None
        start: int | None = None
        above = -2
        heads = {head.id for head in map(parent.child_by_field_name, ("name", "condition", "value")) if head}
        for node in parent.named_children:
            row = node.start_point[0]
            if row - above > 1:
                lead = start
            if node.type in self._grammar.comments:
                if items and lead is None and row == items[-1].node.end_point[0]:
                    items[-1].end = node.end_byte
                elif lead is None:
                    lead = node.start_byte
            elif node.type in self._grammar.attached:
                start = node.start_byte if start is None else start
                lead = start if lead is None else lead
            elif node.id not in heads:
                first = node.start_byte if start is None else start
                items.append(_Item(node, first if lead is None else lead, first, self._end(node)))
                lead = start = None
            above = node.end_point[0] - (node.end_point[1] == 0)
        return items

    def _end(self, node: Any) -> int:
        """End of a node, with the semicolon that C puts behind types."""
        end: int = node.end_byte
        at = self._source.at_byte(end)
        return end + self._source.text.startswith(";", at)

    def _define(self, item: _Item, scope: str, owner: _Found | None) -> _Found | None:
        node = self._unwrapped(item.node)
        if node is None:
            return None
        if node.type in self._grammar.assigned:
            name_field, value_field = self._grammar.assigned[node.type]
            value = node.child_by_field_name(value_field)
            if value is None or value.type not in self._grammar.values:
                return None
            name = _text(node.child_by_field_name(name_field))
            node = value
        else:
            name = self._name(node)
        body = node.child_by_field_name("body")
        if owner is not None and body is None:
            return None
        qualified = ".".join(part for part in (scope, name.replace("::", ".")) if part)
        return _Found(item, qualified, body, node.type in self._grammar.containers)

    def _unwrapped(self, node: Any) -> Any:
        """The one definition that a node is or is wrapped around."""
        while node.type in self._grammar.wrappers:
            inside = [child for child in node.named_children if self._grammar.may_define(child.type)]
            if len(inside) != 1:
                return None
            node = inside[0]
        return node if self._grammar.may_define(node.type) else None

    def _name(self, node: Any) -> str:
        if node.type == "impl_item":
            return _plain_type(node.child_by_field_name("type"))
        receiver = node.child_by_field_name("receiver")
        named = node.child_by_field_name("name")
        if named is None:
            named = _declared(node)
        name = "default" if named is None else _text(named)
        return name if receiver is None else f"{_receiver(receiver)}.{name}"

    def _unit(self, found: _Found) -> Unit:
        item = found.item
        holes: list[Span] = []
        for inner in found.inner:
            holes.append((self._at(inner.item.lead), self._source.indent(self._at(inner.item.node.start_byte))))
            holes.append((self._at(inner.body.start_byte), self._source.blank_rest(self._at(inner.item.end))))
        whole = self._source.indent(self._at(item.lead)), self._at(item.end)
        lines = self._source.line(self._at(item.start)), self._last_line(item.node)
        return Unit(found.name, subtract([whole], [hole for hole in holes if hole[0] < hole[1]]), *lines)

    def _statements(self, cutter: Cutter, module: str) -> Iterator[Chunk]:
        spans = [(self._at(item.node.start_byte), self._at(item.node.end_byte)) for item in self._rest]
        if not self._budget.reaches((self._source.text[start:end] for start, end in spans), SUBSTANTIAL):
            return
        whole = [(self._source.indent(self._at(item.lead)), self._at(item.end)) for item in self._rest]
        first, last = self._rest[0], self._rest[-1]
        unit = Unit(module, whole, self._source.line(self._at(first.start)), self._last_line(last.node))
        yield from cutter.chunks(unit)

    def _at(self, offset: int) -> int:
        return self._source.at_byte(offset)

    def _last_line(self, node: Any) -> int:
        return self._source.line(self._at(max(node.start_byte, node.end_byte - 1)))

    def _comment(self, node: Any) -> Span:
        """Span of a comment without the line ending that some grammars count to it."""
        start, end = self._at(node.start_byte), self._at(node.end_byte)
        return start, start + len(self._source.text[start:end].rstrip("\r\n"))

    def _levels(self) -> dict[int, int]:
        """Depth of the node that ends before a line; the least where several do."""
        levels: dict[int, int] = {}
        todo = [(self._root, 0)]
        while todo:
            node, depth = todo.pop()
            if depth > DEEPEST or node.start_point[0] == node.end_point[0]:
                continue
            for child in node.named_children:
                if child.type not in self._grammar.comments:
                    after = self._last_line(child) + 1
                    levels[after] = min(depth, levels.get(after, depth))
                    todo.append((child, depth + 1))
        return levels

    def _uses(self) -> Iterator[tuple[int, str]]:
        names = {name for node in self._imports for name in _bound(node, self._grammar.identifiers)}
        for node in self._nodes(self._grammar.identifiers) if names else ():
            name = _text(node)
            if name in names:
                yield self._at(node.start_byte), name

    def _nodes(self, kinds: Iterable[str]) -> list[Any]:
        tree_sitter = require("tree_sitter", extra="code")
        alternatives = " ".join(f"({kind})" for kind in sorted(kinds))
        query = tree_sitter.Query(_language(self._language), f"[{alternatives}] @found")
        found: list[Any] = tree_sitter.QueryCursor(query).captures(self._root).get("found", [])
        return found


def _text(node: Any) -> str:
    text: str = node.text.decode("utf-8", "replace")
    return text


def _declared(node: Any) -> Any:
    """What a C declarator declares, behind pointers, references and parameters."""
    node = node.child_by_field_name("declarator")
    while node is not None:
        inner = node.child_by_field_name("declarator")
        if inner is None and node.type in {"reference_declarator", "parenthesized_declarator"}:
            inner = next(iter(node.named_children), None)
        if inner is None:
            return node
        node = inner
    return None


def _plain_type(node: Any) -> str:
    """Name of a type without its arguments."""
    inner = node.child_by_field_name("type") if node.type == "generic_type" else None
    return _text(inner if inner is not None else node)


def _receiver(node: Any) -> str:
    """Type that a method of Go belongs to."""
    todo = [node]
    while todo:
        node = todo.pop()
        if node.type == "type_identifier":
            return _text(node)
        todo.extend(reversed(node.named_children))
    return _text(node)


def _bound(node: Any, identifiers: frozenset[str]) -> Iterator[str]:
    """Names that an import makes known: the alias, else the last part of the path."""
    todo = [node]
    while todo:
        node = todo.pop()
        if node.type in identifiers:
            yield _text(node)
            continue
        named = next((part for part in map(node.child_by_field_name, ("alias", "name", "list", "path")) if part), None)
        if named is not None and named.type.endswith("string_literal"):
            yield _text(named).strip('"`<>').rpartition("/")[2]
            continue
        source = node.child_by_field_name("source")
        children = node.named_children if named is None else [named]
        todo.extend(child for child in children if source is None or child.id != source.id)
