import ast
import dis
import symtable
import sys
from collections import Counter

import pytest

from embedkit.encoders.code.functions import find_functions
from embedkit.encoders.code.lexer import lex_python
from embedkit.encoders.code.tasks import CORRECT, MISUSE, variable_misuse
from embedkit.encoders.code.tasks.tree import Code, is_same
from embedkit.encoders.code.tasks.variables import _Names


def misuses(text, **options):
    return variable_misuse(find_functions(text), **options)


def names_at(example, spans):
    return [example.code[start:end] for start, end in spans]


def twins(examples):
    return list(zip(examples[::2], examples[1::2], strict=True))


def test_worked_by_hand():
    correct, wrong = misuses(
        "def scale(value, by):\n    total = value * 2\n    return total\n", max_per_function=1, seed=3
    )
    assert correct.code == "def scale(value, by):\n    total = value * 2\n    return total"
    assert (correct.label, wrong.label) == (CORRECT, MISUSE)
    assert correct.uses == ((34, 39), (55, 60))
    assert correct.candidates == ((10, 15), (17, 19), (26, 31), (34, 39), (55, 60))
    assert (correct.error, correct.targets, correct.docstring) == (None, (), "")
    assert names_at(correct, correct.candidates) == ["value", "by", "total", "value", "total"]


def test_what_stands_behind_the_error_moves_with_the_length_of_the_wrong_name():
    text = "def f(a, long_name):\n    a.x(a)\n    return a"
    for seed in range(6):
        correct, wrong = misuses(text, max_per_function=1, seed=seed)
        assert names_at(wrong, [wrong.error]) == ["long_name"]
        assert Counter(names_at(wrong, wrong.candidates)) == Counter({"a": 3, "long_name": 2})
        assert names_at(wrong, wrong.targets) == ["a", "a", "a"]
        assert set(wrong.targets) | {wrong.error} <= set(wrong.candidates)
        assert len(wrong.uses) == len(correct.uses) == 3


def test_every_other_variable_is_as_likely():
    text = "def f(a, b, c, d):\n    return a"
    drawn = Counter(misuses(text, seed=seed)[1].code[-1] for seed in range(600))
    assert set(drawn) == {"b", "c", "d"}
    assert min(drawn.values()) > 160  # 200 expected, standard deviation 11.5


@pytest.mark.parametrize(
    ("body", "uses"),
    [
        ("return a + b", "ab"),
        ("c = a\nreturn c", "ac"),
        ("for c in a: print(c, b)", "acb"),
        ("with a as c: c.x", "ac"),
        ("try: a\nexcept E as c: print(c)", "ac"),
        ("import c\nreturn c.x(a)", "a"),
        ("def c(): pass\nreturn c(a)", "a"),
        ("class c: pass\nreturn c(a)", "a"),
        ("global c\nc = a\nreturn c", "a"),
        ("return [a for a in a]", "a"),
        ("return [c for c in a if c == b]", "ab"),
        ("return [c for d in a for c in d + b]", "ab"),
        ("return {a: b for b in b}", "ab"),
        ("if any((c := d) for d in a): return c", "ac"),
        ("return lambda a: a + b", "b"),
        ("return lambda x=a: a + b", "ab"),
        ("def g(x=a, *, y: a = a) -> a: return b", "b"),
        ("@a\ndef g(): return b", "b"),
        ("def g():\n    a = 1\n    return a + b", "b"),
        ("def g():\n    nonlocal a\n    a = b\nreturn a", "ba"),
        ("def g():\n    global a\n    return a + b", "b"),
        ("def g():\n    import a\n    return a + b", "b"),
        ("class C(a):\n    b = 1\n    c = b\n    def g(self): return a", "aa"),
        ("x: a = b\nreturn x", "bx"),
        ("x: a\nreturn b", "b"),
        ("a += b\nreturn a", "ba"),
        ("del a\nreturn b", "b"),
        ("return f'{a}' + b", "b"),
        ("return f'{a:{b}}', a", "a"),
        ("return g(a=b, **a)", "ba"),
        ("a.b.c[a] = b", "aab"),
        ("match a:\n    case {'k': [c, *d], **e}: return c, d, e, b", "acdeb"),
        ("match a:\n    case a.X | b.Y(c): return c", "ac"),
        ("return ñ, a", "a"),
        ("ñ = 'ü'; c = a; return ñ, c", "añc"),
        ("return (yield a), b", "ab"),
        ("print(a, # a\n  b)", "ab"),
    ],
)
def test_uses_are_where_a_variable_of_the_function_is_read(body, uses):
    body = "\n".join(f"    {line}" for line in body.split("\n"))
    (function,) = find_functions(f"def f(a, b):\n{body}")
    names = _Names(Code(function.code))
    assert "".join(function.code[start:end] for start, end in names.spans(use=True)) == uses


def test_a_variable_that_another_scope_hides_is_not_written_there():
    text = "def f(a, b, c):\n    return lambda c: a.x + b.y"
    for seed in range(20):
        for _, wrong in twins(misuses(text, seed=seed)):
            assert wrong.code[slice(*wrong.error)] in {"a", "b"}


def test_a_variable_that_stands_nowhere_else_is_not_misused():
    text = "def f(a):\n    try: a()\n    except E as error: raise error"
    for seed in range(10):
        for _, wrong in twins(misuses(text, seed=seed)):
            assert names_at(wrong, wrong.targets) == ["a"]


@pytest.mark.parametrize(
    "text",
    [
        "def f(): pass",
        "def f(a): return a",
        "def f(a, b): pass",
        "def f(a, b=c): return c",
        "def f(): return a + b",
        "def f(a, b) -> a:\n    x: a",
        "def f(a, b): return f'{a}{b}'",
    ],
)
def test_functions_without_a_place_give_none(text):
    assert misuses(text) == []


def test_names_spelled_in_another_form_are_left_alone():
    (function,) = find_functions("def f(ﬁ, a): return fi, a, ﬁ")
    for _, wrong in twins(variable_misuse([function] * 3)):
        assert wrong.code[slice(*wrong.error)] in {"a", "fi"}


def test_pairs_of_the_library_differ_in_one_name(library):
    examples = variable_misuse(library)
    assert len(examples) > 1000
    assert Counter(example.label for example in examples) == {CORRECT: len(examples) // 2, MISUSE: len(examples) // 2}
    assert [example.twin for example in examples] == [at // 2 for at in range(len(examples))]
    for correct, wrong in twins(examples)[::5]:
        start, end = wrong.error
        right = {names_at(wrong, [span])[0] for span in wrong.targets}
        assert len(right) == 1
        assert wrong.code[:start] + right.pop() + wrong.code[end:] == correct.code
        before, after = lex_python(correct.code), lex_python(wrong.code)
        changed = [(one.text, other.text) for one, other in zip(before, after, strict=True) if one.text != other.text]
        assert len(changed) == 1
        assert len(wrong.candidates) == len(correct.candidates)
        assert wrong.error in wrong.uses
        assert set(wrong.uses) <= set(wrong.candidates)
        assert list(wrong.candidates) == sorted(wrong.candidates)
        assert all(text.isidentifier() for text in names_at(wrong, wrong.candidates))


def test_no_function_is_changed_more_often_than_allowed(library):
    for most in (1, 2):
        counts = Counter(example.code for example in variable_misuse(library[:60], max_per_function=most)[::2])
        assert max(counts.values()) == most


def test_the_seed_decides_and_nothing_else(library):
    few = library[:60]
    first = variable_misuse(few, seed=1)
    assert variable_misuse(iter(few), seed=1) == first
    assert variable_misuse(few, seed=2) != first
    pairs = {(wrong.code, wrong.error) for wrong in variable_misuse(few[::-1], seed=1)}
    assert pairs == {(wrong.code, wrong.error) for wrong in first}


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="its symbol tables hold the variables of comprehensions too")
def test_variables_are_those_of_the_symbol_table(library):
    for function in library:
        code = Code(function.code)
        table = symtable.symtable(function.code, "", "exec").get_children()[0]
        known = {
            symbol.get_name()
            for symbol in table.get_symbols()
            if (symbol.is_local() or symbol.is_parameter()) and not symbol.is_imported() and not symbol.is_namespace()
        }
        assert _Names(code).variables == known, function.qualified_name


def test_renaming_a_variable_at_all_its_places_changes_nothing_else(library):
    renamed = 0
    for function in library[::5]:
        code = Code(function.code)
        names = _Names(code)
        for name in sorted(names.variables):
            if not is_everywhere_in_reach(code.definition, name):
                continue
            text = function.code
            for place in reversed([place for place in names.places if place.name == name]):
                text = text[: place.span[0]] + "renamed" + text[place.span[1] :]
            assert instructions(text, "renamed", name) == instructions(function.code, name, name)
            renamed += 1
    assert renamed > 200


def is_everywhere_in_reach(definition, name):
    """Whether no f-string, default value or the like, whose names stay, reads the variable."""
    everywhere = [node for node in ast.walk(definition) if isinstance(node, ast.Name) and node.id == name]
    reached = [node for node in Code(ast.unparse(definition)).body() if isinstance(node, ast.Name) and node.id == name]
    words = [[getattr(node, "name", ""), *getattr(node, "names", [])] for node in ast.walk(definition)]
    return len(everywhere) == len(reached) and not any(name in some for some in words)


def instructions(text, name, back):
    """What the compiled function does, how often, with `name` called `back`."""
    found = Counter()
    todo = [compile(text, "", "exec")]
    while todo:
        code = todo.pop()
        todo += [each for each in code.co_consts if hasattr(each, "co_code")]
        for each in dis.get_instructions(code):
            value = each.argval if each.opcode not in (*dis.hasjrel, *dis.hasjabs) else None
            value = getattr(value, "co_name", value)
            value = tuple(back if part == name else part for part in value) if isinstance(value, tuple) else value
            found[each.opname, repr(back if value == name else value)] += 1
    return found


def test_trees_differ_in_the_name_only(library):
    for correct, wrong in twins(variable_misuse(library[:80])):
        first, second = Code(correct.code).definition, Code(wrong.code).definition
        assert not is_same(first, second)
        names = [[node.id for node in ast.walk(tree) if isinstance(node, ast.Name)] for tree in (first, second)]
        assert sum(one != other for one, other in zip(*names, strict=True)) == 1
