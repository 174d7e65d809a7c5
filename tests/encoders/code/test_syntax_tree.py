import inspect
import json
import random
import sysconfig
import textwrap
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from embedkit.encoders.code.functions import find_functions
from embedkit.encoders.code.syntax_tree import (
    Constituent,
    SyntaxTree,
    TreeTuple,
    constituents,
    syntax_tree,
    tree_tuple,
    tuple_tree,
)
from embedkit.errors import InputError


def nodes(tree, first=0):
    """All nodes of a tree with first and last leaf, outer ones first, straight from its definition."""
    found, at = [], first
    for child in tree.children:
        inner = nodes(child, at) if isinstance(child, SyntaxTree) else []
        found += inner
        at = inner[0].last + 1 if inner else at + 1
    return [Constituent(tree.label, first, at - 1), *found]


def binary(tree):
    """The binary form of a tree: (label, left, right), or (label,) for a leaf."""
    names = []
    while isinstance(tree, SyntaxTree) and len(tree.children) == 1:
        names.append(tree.label)
        tree = tree.children[0]
    if not isinstance(tree, SyntaxTree):
        return ("+".join(names),)
    *before, last = map(binary, tree.children)
    for child in reversed(before):
        last = ("", child, last)
    return ("+".join([*names, tree.label]), *last[1:])


def naive_tuple(node):
    """(d, c, u, height) of a binary tree by its definition."""
    if len(node) == 1:
        return [], [], [node[0]], 0
    label, left, right = node
    (d, c, u, height), (e, f, v, other) = naive_tuple(left), naive_tuple(right)
    top = 1 + max(height, other)
    return [*d, top, *e], [*c, label, *f], [*u, *v], top


def naive_constituents(d, c, u, first=0):
    label = c[int(np.argmax(d))] if len(d) else u[0]
    own = [Constituent(name, first, first + len(d)) for name in label.split("+") if name]
    if not len(d):
        return own
    at = int(np.argmax(d))
    left = naive_constituents(d[:at], c[:at], u[: at + 1], first)
    return [*own, *left, *naive_constituents(d[at + 1 :], c[at + 1 :], u[at + 1 :], first + at + 1)]


def check_round_trip(tree):
    found = tree_tuple(tree)
    assert tuple_tree(found) == tree
    assert constituents(found.distances, found.labels, found.unary) == nodes(tree)
    d, c, u, _ = naive_tuple(binary(tree))
    assert (found.distances, found.labels, found.unary) == (tuple(d), tuple(c), tuple(u))
    return found


def texts(source, tree):
    return [source[start:end] for start, end in tree_tuple(tree).leaves]


MODULES = ["json.decoder", "textwrap", "ast", "dataclasses"]


@pytest.fixture(scope="module")
def codes():
    found = [each for name in MODULES for each in find_functions(inspect.getsource(import_module(name)))]
    return [each.code for each in found]


def test_functions_come_back_from_their_tuples(codes):
    assert len(codes) > 100
    for code in codes:
        check_round_trip(syntax_tree(code))


@pytest.mark.slow
def test_every_function_of_the_standard_library_comes_back_from_its_tuple():
    root = Path(sysconfig.get_path("stdlib"))
    count = 0
    for path in sorted(root.rglob("*.py")):
        if {"site-packages", "test"} & set(path.relative_to(root).parts):
            continue
        try:
            functions = find_functions(path.read_text("utf-8"))
        except (InputError, UnicodeDecodeError):
            continue
        for function in functions:
            tree = syntax_tree(function.code)
            found = tree_tuple(tree)
            assert tuple_tree(found) == tree
            assert constituents(found.distances, found.labels, found.unary) == nodes(tree)
            count += 1
    assert count > 10_000


def test_the_largest_distance_of_any_span_is_one_alone(codes):
    for code in codes[:60]:
        d = tree_tuple(syntax_tree(code)).distances
        for first in range(len(d)):
            most, times = 0, 0
            for distance in d[first:]:
                most, times = (distance, 1) if distance > most else (most, times + (distance == most))
                assert times == 1


def test_any_increasing_map_of_the_distances_gives_the_same_tree(codes):
    for code in codes[:40]:
        tree = syntax_tree(code)
        found = tree_tuple(tree)
        for grow in (np.sqrt, np.exp, lambda d: 3 * d - 100):
            mapped = TreeTuple(found.leaves, tuple(grow(np.array(found.distances))), found.labels, found.unary)
            assert tuple_tree(mapped) == tree


def test_the_papers_example():
    source = "for element in l:\n  if element > 0:\n    c+=1\n  else:\n    selected = element\n    break"
    tree = syntax_tree(source)
    alternative = tree.children[0].children[-1].children[0].children[-1]
    assert alternative.label == "orelse"
    found = tree_tuple(alternative)
    assert texts(source, alternative) == ["selected", "=", "element", "break"]
    assert found.distances == (2, 1, 3)
    assert found.labels == ("Assign", "", "orelse")
    assert found.unary == ("", "", "", "Break")


def test_a_tree_by_hand():
    source = "def f(a, *b):\n    return a.c[-1]"
    tree = syntax_tree(source)
    subscript = ("Subscript", [("Attribute", ["a", ".", "c"]), "[", ("UnaryOp", ["-", "1"]), "]"])
    body = ("body", [("Return", ["return", subscript])])
    arguments = ("arguments", ["a", ",", "*", "b"])
    wanted = ("Module", [("FunctionDef", ["def", "f", "(", arguments, ")", ":", body])])

    def plain(node):
        return source[slice(*node)] if isinstance(node, tuple) else (node.label, [*map(plain, node.children)])

    assert plain(tree) == wanted


def test_comments_docstrings_and_layout_are_no_leaves():
    source = '# a\nclass A:\n  "Doc."; x = 1  # b\n  def f(self):\n    """Doc\n    more."""\n\n    return "no"\n'
    assert " ".join(texts(source, syntax_tree(source))) == 'class A : ; x = 1 def f ( self ) : return "no"'


def test_a_string_is_one_leaf_whatever_stands_in_it():
    source = "x = f'{a + f(b)} c' \"d\"\n"
    tree = syntax_tree(source)
    assert texts(source, tree) == ["x", "=", "f'{a + f(b)} c'", '"d"']
    assert tree_tuple(tree).labels == ("Module+Assign", "", "JoinedStr")


def test_leaves_are_places_of_the_source_as_it_came():
    source = "\ufeffgrüße = 'ß€𝄞'; b = 'é' # x\r\nif b:\r\n  c()\r\n"
    assert " ".join(texts(source, syntax_tree(source))) == "grüße = 'ß€𝄞' ; b = 'é' if b : c ( )"


def test_decorators_belong_to_their_function_and_parentheses_to_what_is_outside():
    tree = syntax_tree("@one\n@two(3)\ndef f(): return (a + b) * c\n")
    assert [child.label for child in tree.children] == ["FunctionDef"]
    assert nodes(syntax_tree("(a + b) * c"))[2:] == [Constituent("BinOp", 0, 6), Constituent("BinOp", 1, 3)]


def test_trees_of_one_and_two_leaves():
    one = check_round_trip(syntax_tree("ready"))
    assert (one.distances, one.unary) == ((), ("Module+Expr",))
    assert check_round_trip(syntax_tree("-a")).distances == (1,)


def test_a_tuple_of_chance_gives_the_tree_of_its_definition():
    draw = random.Random(0)
    for size in (1, 2, 3, 10, 40):
        d = [draw.randrange(5) for _ in range(size - 1)]  # with equal ones
        c = [draw.choice(["", "A", "B+C"]) for _ in d]
        u = [draw.choice(["", "D"]) for _ in range(size)]
        assert constituents(d, c, u) == naive_constituents(d, c, u)


def test_a_root_without_label():
    found = tuple_tree(TreeTuple(((0, 1), (1, 2)), (1,), ("",), ("", "A")))
    assert found == SyntaxTree("", ((0, 1), SyntaxTree("A", ((1, 2),))))


def test_very_deep_and_very_wide_sources():
    wide = syntax_tree("x = [" + "1, " * 5000 + "]")
    assert len(tree_tuple(wide).leaves) == 10_004
    deep = SyntaxTree("A", ((0, 1), (1, 2)))
    for _ in range(20_000):
        deep = SyntaxTree("A", ((0, 1), deep))
    found = tree_tuple(deep)
    assert max(found.distances) == 20_001
    assert len(constituents(found.distances, found.labels, found.unary)) == 20_001


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("print 'two'", "must be Python that parses"),
        ("def f(:", "must be Python that parses"),
        ("", "must hold a token"),
        ("# nothing\n", "must hold a token"),
        ('"""Doc."""\n', "must hold a token"),
    ],
)
def test_bad_sources_are_refused(source, said):
    with pytest.raises(InputError, match=said):
        syntax_tree(source)


def test_bad_arguments_are_refused():
    with pytest.raises(InputError, match="language must be one of"):
        syntax_tree("x", language="cobol")
    with pytest.raises(InputError, match="n leaves must have"):
        constituents([], [], [])
    with pytest.raises(InputError, match="received 2, 1 and 0"):
        constituents([1], [], ["", ""])


def test_a_function_of_empty_body_and_a_long_one():
    assert texts("def f(): ...", syntax_tree("def f(): ...")) == ["def", "f", "(", ")", ":", "..."]
    source = "def f():\n" + "    x = 1\n" * 4000
    assert len(tree_tuple(syntax_tree(source)).leaves) == 12_005


class TestOtherLanguages:
    """Trees of tree-sitter, as in the paper."""

    def test_javascript(self):
        pytest.importorskip("tree_sitter_javascript")
        source = "/* é */ function f(a) { if (a) { return `x${a}` + 'b' } else { break } } // c"
        tree = syntax_tree(source, language="javascript")
        found = check_round_trip(tree)
        names = "function f ( a ) { if ( a ) { return `x${a}` + 'b' } else { break } }"
        assert [source[start:end] for start, end in found.leaves] == names.split()
        assert found.unary[-3] == "break_statement"
        assert {"program", "function_declaration", "binary_expression"} <= {node.label for node in nodes(tree)}

    def test_go(self):
        pytest.importorskip("tree_sitter_go")
        source = 'package a\n\nfunc f(x int) string {\n\t// c\n\treturn "ü" + g(x)\n}\n'
        tree = syntax_tree(source, language="go")
        found = check_round_trip(tree)
        names = " ".join(source[start:end] for start, end in found.leaves)
        assert names == 'package a func f ( x int ) string { return "ü" + g ( x ) }'

    def test_what_does_not_parse_is_refused(self):
        pytest.importorskip("tree_sitter_javascript")
        with pytest.raises(InputError, match="javascript that parses"):
            syntax_tree("function (", language="javascript")


def test_the_code_of_a_method_is_read_at_the_margin():
    (function,) = find_functions(textwrap.dedent(inspect.getsource(json.JSONEncoder.encode)))
    assert syntax_tree(function.code).children[0].label == "FunctionDef"
