from collections import Counter

import pytest

from embedkit.encoders.code.functions import find_functions
from embedkit.encoders.code.tasks import HOLE, exception_type
from embedkit.errors import InputError

TEXT = """
def f(é):
    try:
        return "ü", é[0]
    except KeyError as error:
        raise KeyError from error
    except (TypeError, ValueError):
        pass
    except os.error:
        pass
    except Exception:
        pass
    except:
        def g():
            try: é()
            except  IndexError : pass
"""


def test_worked_by_hand():
    first, second = exception_type(find_functions(TEXT, distribution="d"), min_examples=1)
    assert (first.label, first.twin, first.distribution) == ("KeyError", 0, "d")
    assert (second.label, second.twin) == ("IndexError", 1)
    (function,) = find_functions(TEXT)
    assert first.code == function.code.replace("except KeyError", f"except {HOLE}")
    assert second.code == function.code.replace("IndexError", HOLE)
    assert [each.code[slice(*each.error)] for each in (first, second)] == [HOLE, HOLE]


def test_classes_are_those_caught_often_enough():
    text = "def f():\n" + "".join(
        f"    try: pass\n    except {name}: pass\n" for name in ["Exception"] * 4 + ["KeyError"] * 3 + ["OSError"] * 2
    )
    functions = find_functions(text)
    assert Counter(each.label for each in exception_type(functions, min_examples=2)) == {"KeyError": 3, "OSError": 2}
    assert Counter(each.label for each in exception_type(functions, min_examples=3)) == {"KeyError": 3}


def test_given_classes_decide():
    functions = find_functions(TEXT)
    classes = ["Exception", "IndexError"]
    assert [each.label for each in exception_type(functions, classes)] == classes
    assert exception_type(functions, ["MemoryError"]) == []


def test_a_groups_handlers_count():
    (example,) = exception_type(find_functions("def f():\n    try: pass\n    except* OSError: pass"), ["OSError"])
    assert example.code.endswith(f"except* {HOLE}: pass")


def test_the_library(library):
    examples = exception_type(library, min_examples=5)
    assert [each.twin for each in examples] == list(range(len(examples)))
    codes = {function.code for function in library}
    for each in examples:
        assert each.code[: each.error[0]] + each.label + each.code[each.error[1] :] in codes
    assert exception_type(library, sorted({each.label for each in examples})) == examples


@pytest.mark.parametrize("classes", ["KeyError", [], ["KeyError", "KeyError"]])
def test_classes_are_names(classes):
    with pytest.raises(InputError, match="classes must be one or more names, each once; received"):
        exception_type([], classes)


def test_no_class_is_caught_often_enough():
    with pytest.raises(InputError, match="exception 250 times; the most frequent: KeyError 1, IndexError 1: lower"):
        exception_type(find_functions(TEXT))
    with pytest.raises(InputError, match="none at all"):
        exception_type([])


@pytest.mark.parametrize("least", [0, -1, 1.5])
def test_min_examples_is_a_count(least):
    with pytest.raises(InputError, match="min_examples must be an integer of 1 or more; received"):
        exception_type([], min_examples=least)
