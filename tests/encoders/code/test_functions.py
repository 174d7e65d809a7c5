import ast
import io
import sysconfig
import tokenize
import warnings
from pathlib import Path

import pytest

from embedkit.encoders.code import functions as module
from embedkit.encoders.code.functions import Function, find_functions, mask_name, parse_function, search_pairs
from embedkit.errors import InputError

NESTED = """
import os
if os.name:
    def first(): pass
else:
    async def second(): pass
try:
    def third(): pass
except ImportError:
    def fourth(): pass
with open("x") as file:
    class Outer:
        @property
        def fifth(self):
            def hidden(): pass
            class Local:
                def hidden(self): pass
        class Inner:
            def sixth(self): pass
match os.name:
    case "nt":
        def seventh(): pass
"""


def only(text):
    (function,) = find_functions(text)
    return function


def test_functions_and_methods_are_found_wherever_a_block_holds_them_and_none_inside_functions():
    assert [one.qualified_name for one in find_functions(NESTED)] == [
        "first",
        "second",
        "third",
        "fourth",
        "Outer.fifth",
        "Outer.Inner.sixth",
        "seventh",
    ]


def test_a_function_knows_its_place():
    function = find_functions("class A:\n    @property\n    def b(self): return 1\n", distribution="d", path="p/q.py")[
        0
    ]
    assert function == Function("b", "A.b", "d", "p/q.py", 3, "def b(self): return 1", None, "def b(self): return 1")


def test_lines_move_to_the_margin_except_those_inside_strings():
    text = 'class A:\n    def b(self):\n        s = """x\n        y"""\n  # less\n\n        return s\n'
    assert only(text).source == 'def b(self):\n    s = """x\n        y"""\n# less\n\n    return s'


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ('def f():\n    "doc"\n    return 1', "def f():\n    return 1"),
        ('def f():\n    """doc\n    more"""  # noqa\n\n    return 1', "def f():\n\n    return 1"),
        ('def f(): "doc"; return 1', "def f(): return 1"),
        ('def f():\n    "doc"; return 1', "def f():\n    return 1"),
        ('def f():\n    "doc";\n    return 1', "def f():\n    return 1"),
        ('def f(): "doc"', "def f(): pass"),
        ('def f():\n    """doc"""', "def f():\n    pass"),
        ('def f():\n    ("do"\n     "c")\n    return 1', "def f():\n    return 1"),
        ('def f(a="é"): "döc"; return "ü"', 'def f(a="é"): return "ü"'),
        ('def f():\n    b"bytes"\n    return 1', 'def f():\n    b"bytes"\n    return 1'),
    ],
)
def test_the_docstring_leaves_and_nothing_else(source, code):
    assert only(source).code == code
    indented = "class A:\n" + "".join(f"    {line}\n" for line in source.split("\n"))
    assert ast.dump(parse_function(only(indented).code)) == ast.dump(parse_function(code))


def test_docstrings_lose_their_indentation_and_half_characters():
    assert only('def f():\n    """a\n\n      b\\ud800\n    """\n    return 1').docstring == "a\n\nb?"


def test_line_ends_and_a_byte_order_mark_do_not_matter():
    assert only("\ufeffdef f():\r\n    return 1\r\n").source == "def f():\n    return 1"


@pytest.mark.parametrize("text", ["def f(:", 'print "old"', "x = '\0'", "(" * 5000])
def test_what_is_not_python_is_refused(text):
    with pytest.raises(InputError, match="must be Python that parses"):
        find_functions(text)


@pytest.mark.parametrize("text", ["", "x = 1", "def f(): pass\ndef g(): pass"])
def test_parse_function_takes_one_function(text):
    with pytest.raises(InputError, match="one function; received"):
        parse_function(text)


def test_an_empty_module_has_none():
    assert find_functions("") == []


@pytest.mark.parametrize(
    ("source", "masked"),
    [
        ("def f(n): return f(n - 1)", "def function(n): return function(n - 1)"),
        ("async  def  f(): return 'f' + o.f + g(f=1)  # f", "async  def  function(): return 'f' + o.f + g(f=1)"),
        ("def f(f): return f", "def function(f): return f"),
        ("def f():\n    f = 1\n    return f", "def function():\n    f = 1\n    return f"),
        ("def f():\n    from a import f\n    return f()", "def function():\n    from a import f\n    return f()"),
        ("def f():\n    return 'ä', f, ff", "def function():\n    return 'ä', function, ff"),
        ("def \\\n  f(a=1): return f(f(a))", "def \\\n  function(a=1): return function(function(a))"),
        ("def f(x): return f'{f(x)} f'", "def function(x): return f'{function(x)} f'"),
    ],
)
def test_a_function_masks_itself_and_nothing_else(source, masked):
    assert mask_name(only(source)).source == masked


def test_a_method_masks_itself_on_its_object_its_class_and_its_parents():
    text = (
        "class A:\n"
        "    def get(this, key):\n"
        "        return this.get(1), A.get(key), super().get(2), get(3), key.get(4), super(A, this).get\n"
    )
    masked = mask_name(only(text))
    assert masked.code == (
        "def function(this, key):\n"
        "    return this.function(1), A.function(key), super().function(2), get(3), key.get(4), super(A, this).function"
    )
    assert (masked.name, masked.qualified_name) == ("get", "A.get")


def documented(name, docstring, body="    a = 1\n    return a"):
    return f'def {name}():\n    """{docstring}"""\n{body}\n'


def test_pairs_are_the_first_paragraph_and_the_code():
    assert search_pairs(find_functions(documented("f", "One two\n    three.\n    \n    More."))) == [
        ("One two three.", "def f():\n    a = 1\n    return a")
    ]


def test_three_lines_are_enough_the_docstring_counted_and_blank_ones_not():
    text = documented("f", "A short function.", "\n    return 1")
    assert search_pairs(find_functions(text)) == [("A short function.", "def f():\n\n    return 1")]


@pytest.mark.parametrize(
    "text",
    [
        documented("f", "Two words"),
        documented("f", "Two words.\n\n    And more in the second."),
        "def f(): 'A short function.'; return 1",
        documented("__init__", "Set everything up."),
        "def f():\n    a = 1\n    return a",
    ],
)
def test_pairs_that_say_too_little_are_left_out(text):
    assert search_pairs(find_functions(text)) == []


def test_pairs_with_an_equal_docstring_or_equal_code_are_left_out_plain_and_masked_alike():
    text = (
        documented("f", "Gives one back.", "    a = 1\n    return f(a)")
        + documented("g", "Gives one back.", "    a = 2\n    return a")
        + documented("h", "Gives it back.", "    a = 1\n    return h(a)")
        + documented("i", "Gives three back.", "    a = 3\n    return a")
    )
    functions = find_functions(text)
    plain, masked = search_pairs(functions), search_pairs(map(mask_name, functions))
    assert [query for query, _ in plain] == ["Gives one back.", "Gives three back."]
    assert [query for query, _ in masked] == [query for query, _ in plain]
    assert all(code.startswith("def function()") for _, code in masked)


def same_as_in_the_file(path):
    """Number of functions of a file, after comparing each with the tree of the whole file."""
    data = path.read_bytes()
    text = data.decode(tokenize.detect_encoding(io.BytesIO(data).readline)[0]).replace("\r\n", "\n")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tree = ast.parse(text)
    functions = find_functions(text)
    for function, (node, name) in zip(functions, module._definitions(tree), strict=True):
        node.decorator_list = []
        assert function.qualified_name == name
        assert ast.dump(parse_function(function.source)) == ast.dump(node)
        if function.docstring is not None:
            node.body = node.body[1:] or [ast.Pass()]
        assert ast.dump(parse_function(function.code)) == ast.dump(node)
        assert parse_function(mask_name(function).source).name == module.MASK
    return len(functions)


@pytest.mark.parametrize("name", ["json/decoder.py", "inspect.py", "textwrap.py"])
def test_functions_mean_apart_what_they_meant_in_their_file(name):
    assert same_as_in_the_file(Path(sysconfig.get_path("stdlib"), name)) > 4


@pytest.mark.slow
def test_functions_of_every_third_file_of_the_standard_library_mean_apart_what_they_meant():
    root = Path(sysconfig.get_path("stdlib"))
    paths = [path for path in root.rglob("*.py") if not {"site-packages", "test", "tests"} & {*path.parts}]
    assert sum(same_as_in_the_file(path) for path in sorted(paths)[::3]) > 3_000


def test_masked_everywhere_the_name_stands_nowhere_as_a_word():
    text = (
        "class A:\n    def close(self, closed):\n        'Close it.'\n        # close first\n"
        "        self.socket.close()\n        return closed or disclose('close')\n"
    )
    masked = mask_name(find_functions(text)[0], everywhere=True)
    assert masked.code.splitlines() == [
        "def function(self, closed):",
        "    # function first",
        "    self.socket.function()",
        "    return closed or disclose('function')",
    ]
    assert masked.name == "close"
