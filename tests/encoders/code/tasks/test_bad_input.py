"""What no task may trip over."""

import time

import pytest

from embedkit.encoders.code import tasks
from embedkit.encoders.code.functions import Function, find_functions
from embedkit.errors import InputError


def exception_type(functions, **options):
    return tasks.exception_type(functions, ["KeyError"], **options)


DRAWS = [tasks.variable_misuse, tasks.wrong_operator, tasks.swapped_operands]
MAKERS = [*DRAWS, tasks.function_docstring, exception_type]

GOOD = """
def f(a, b):
    "Alpha beta gamma."
    try: return a - b
    except KeyError: return b
def g(a, b):
    "Delta epsilon zeta."
    try: return b - a
    except KeyError: return a
"""


def function_of(code):
    return Function("f", "f", "d", "p", 1, code, "Eta theta iota.", code)


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize(
    "code",
    [
        "",
        "def f(:",
        "def f(a, b):\n    print a - b",  # Python 2
        "def f(a, b):\n    try: return a - b\n    except KeyError, e: return b",
        "def f(a, b):\n\tif a:\n        return a - b",  # tabs and spaces mixed
        "def f(a, b):\n    return a - b\x00",
        "def f(a, b):\n    return \udcff - a",  # half a character
        "class C: pass",
        "a - b",
        "def f(a, b): return a - b\ndef g(): pass",
        "def f(a, b): return " + "(" * 10_000 + "a - b" + ")" * 10_000,
        "def f(a, b): return " + "-" * 100_000 + "a",
    ],
)
def test_code_that_does_not_parse_gives_no_example_and_the_others_theirs(maker, code):
    good = find_functions(GOOD)
    found = maker([good[0], function_of(code), good[1]])
    assert found
    assert {each.distribution for each in found} == {""}


@pytest.mark.parametrize("maker", MAKERS)
def test_a_function_of_10_megabytes_gives_no_example_at_once(maker):
    huge = function_of("def f(a, b):\n" + "    a = a - b\n" * 800_000)
    start = time.process_time()
    found = maker([huge, *find_functions(GOOD)])
    assert time.process_time() - start < 1
    assert {each.distribution for each in found} == {""}


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("code", ["def f(): pass", "def f(): ...", "def f(): return 1", "async def f(): pass"])
def test_empty_functions_and_those_without_variables_give_none_of_code(maker, code):
    examples = maker([function_of(code)])
    assert examples == []


@pytest.mark.parametrize("maker", MAKERS)
def test_no_function_gives_no_example(maker):
    assert maker([]) == []


@pytest.mark.parametrize("maker", DRAWS)
def test_line_ends_of_other_systems(maker):
    code = GOOD.split('"Alpha beta gamma."\n', maxsplit=1)[0].strip() + "\n    é = 'ü'\n    return a - b if é else b"
    expected = maker([function_of(code)])
    assert expected
    for end in ("\r\n", "\r"):
        found = maker([function_of(code.replace("\n", end))])
        assert len(found) == len(expected)
        assert all(each.code.count(end) == code.count("\n") for each in found)
        assert all(each.code[slice(*each.error)].strip() == each.code[slice(*each.error)] for each in found[1::2])


@pytest.mark.parametrize("maker", DRAWS)
def test_deep_expressions(maker):
    code = "def f(a, b):\n    return " + " + ".join(["a"] * 900) + " - b"
    for each in maker([function_of(code)]):
        assert len(each.code) > 3000


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("functions", ["def f(): pass", ["def f(): pass"], [None], None, function_of("def f(): pass")])
def test_functions_are_functions(maker, functions):
    with pytest.raises(InputError, match=r"functions must be an iterable of Function; received a .*: call find_"):
        maker(functions)


@pytest.mark.parametrize("maker", DRAWS)
@pytest.mark.parametrize("options", [{"max_per_function": 0}, {"max_per_function": 1.5}, {"seed": -1}, {"seed": "a"}])
def test_numbers_are_in_range(maker, options):
    (name,) = options
    with pytest.raises(InputError, match=rf"{name} must be an integer of \d or more; received"):
        maker([], **options)
