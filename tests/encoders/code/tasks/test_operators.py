import ast
import random
from collections import Counter

import pytest

from embedkit.encoders.code.functions import find_functions
from embedkit.encoders.code.lexer import lex_python
from embedkit.encoders.code.tasks import (
    CORRECT,
    SWAPPED_OPERANDS,
    WRONG_OPERATOR,
    operators,
    swapped_operands,
    wrong_operator,
)
from embedkit.encoders.code.tasks.tree import Code
from embedkit.errors import InputError

ARITHMETIC = {"+", "-", "*", "/", "//", "%", "**", "@", "<<", ">>", "&", "|", "^"}
COMPARISON = {"==", "!=", "<", "<=", ">", ">=", "is", "is not", "in", "not in"}
BOOLEAN = {"and", "or"}


def twins(examples):
    return list(zip(examples[::2], examples[1::2], strict=True))


def found(maker, body, **options):
    """The changed functions, `def f(): ` left out."""
    text = f"def f(a, b, c): {body}"
    return {wrong.code.removeprefix("def f(a, b, c): ") for _, wrong in twins(maker(find_functions(text), **options))}


def over_seeds(body, seeds=120):
    options = {"max_per_function": 1, "replacement": "uniform"}
    return set().union(*(found(wrong_operator, body, seed=seed, **options) for seed in range(seeds)))


def test_wrong_operator_worked_by_hand():
    correct, wrong = wrong_operator(find_functions("def f(a, b):\n    return a and b\n", distribution="d"))
    assert correct.code == "def f(a, b):\n    return a and b"
    assert wrong.code == "def f(a, b):\n    return a or b"
    assert (correct.label, wrong.label, correct.error, wrong.error) == (CORRECT, WRONG_OPERATOR, None, (26, 28))
    assert (correct.twin, wrong.twin, wrong.distribution, wrong.candidates) == (0, 0, "d", ())


@pytest.mark.parametrize(("operator", "group"), [("+", ARITHMETIC), ("<", COMPARISON), ("not  in", COMPARISON)])
def test_an_operator_is_replaced_by_all_others_of_its_class(operator, group):
    others = group - {" ".join(operator.split())}
    assert over_seeds(f"return a {operator} b", 200) == {f"return a {other} b" for other in others}


@pytest.mark.parametrize(
    ("body", "changed"),
    [
        ("return a<b", {"return a is b", "return a in b", "return a<=b", "return a not in b"}),
        ("return(a)<(b)", {"return(a)is(b)", "return(a)>=(b)"}),
        ('return "x"in a', {'return "x"== a', 'return "x" is a'}),
        ("return (a or b)", {"return (a and b)"}),
        ("return ((a) # or\n or b)", {"return ((a) # or\n and b)"}),
        ("return a is \\\n not b", {"return a == b", "return a in b"}),
        ("return (a not\n in b)", {"return (a in b)"}),
        ("return 'ü' + a * 'é'", {"return 'ü' - a * 'é'", "return 'ü' + a // 'é'"}),
        ("return a < b < c", {"return a >= b < c", "return a < b >= c"}),
    ],
)
def test_the_operator_alone_is_replaced(body, changed):
    assert changed <= over_seeds(body)


@pytest.mark.parametrize(
    ("body", "never"),
    [
        ("return a + b * c", "return a * b * c"),  # (a * b) * c
        ("return a * b + c", "return a * b ** c"),
        ("return -a * b", "return -a ** b"),
        ("return a and b and c", "return a or b and c"),
        ("return a or b and c", "return a and b and c"),
        ("return not a == b or c", "return not a == b and c or c"),
    ],
)
def test_a_place_where_more_would_change_is_left_alone(body, never):
    assert never not in over_seeds(body, 200)


UNTOUCHED = [
    "def f(a: int | None = 1 + 2, *, b: 'x' = 3 < 4) -> int | str: return a",
    "def f(a):\n    x: int | None = a",
    "def f(a):\n    x: int | None",
    "def f(a):\n    @g(1 - 2)\n    def h(b: int | None = 1 - 2, *, c=1 < 2) -> int | str: return b",
    "def f(a):\n    return lambda b=1 - 2, *, c=1 < 2: b",
    "def f(a):\n    @g(1 < 2)\n    class C: x: int | None = a",
    "def f(a): return f'{a - 1} {a < 1:{a // 2}}'",
    "def f(a):\n    match a:\n        case 1 - 2j: return a",
    "def f(a): a -= 1",
    "def f(a): return -a, not a, ~a",
    "def f(a): pass",
    "def f(a): return (yield)",
    "@g(1 - 2)\ndef f(a): return a",
]


@pytest.mark.parametrize("text", UNTOUCHED)
@pytest.mark.parametrize("maker", [wrong_operator, swapped_operands])
def test_nothing_but_binary_operators_of_the_body_is_touched(maker, text):
    assert maker(find_functions(text)) == []


def test_new_operators_are_as_frequent_as_in_the_functions():
    signs = ["|"] * 400 + ["+"] * 300 + ["%"] * 100
    functions = find_functions("\n".join(f"def f{at}(a): return a {sign} {at}" for at, sign in enumerate(signs)))
    drawn = Counter(each.code[slice(*each.error)] for each in wrong_operator(functions)[1:800:2])
    assert set(drawn) == {"+", "%"}
    assert 260 < drawn["+"] < 340  # 300 expected, standard deviation 8.7


def test_without_another_operator_of_the_class_each_is_as_likely():
    functions = find_functions("def f(a): return a + 1\n")
    assert len({wrong_operator(functions, seed=seed)[1].code for seed in range(100)}) > 8


def test_uniform_replacement_shows_rare_operators(library):
    def share_of_rare(replacement):
        examples = wrong_operator(library[:120], replacement=replacement)[1::2]
        return sum(each.code[slice(*each.error)] in {"@", "<<", ">>", "^", "&"} for each in examples) / len(examples)

    assert share_of_rare("corpus") < 0.02 < share_of_rare("uniform")


def test_swapped_operands_worked_by_hand():
    correct, swapped = swapped_operands(find_functions("def f(é, b):\n    return 'ü', é.x  -  b(1)\n"))
    assert correct.code == "def f(é, b):\n    return 'ü', é.x  -  b(1)"
    assert swapped.code == "def f(é, b):\n    return 'ü', b(1)  -  é.x"
    assert (correct.label, swapped.label) == (CORRECT, SWAPPED_OPERANDS)
    assert (correct.error, swapped.code[slice(*swapped.error)]) == (None, "b(1)  -  é.x")


@pytest.mark.parametrize("operator", ["-", "/", "//", "%", "**", "@", "<<", ">>", "<", "<=", ">", ">=", "in", "not in"])
def test_operands_of_what_does_not_commute_are_swapped(operator):
    assert found(swapped_operands, f"return a {operator} b") == {f"return b {operator} a"}


@pytest.mark.parametrize("operator", ["+", "*", "|", "&", "^", "==", "!=", "is", "is not", "and", "or"])
def test_operands_of_what_commutes_stay(operator):
    assert found(swapped_operands, f"return a {operator} b") == set()


@pytest.mark.parametrize(
    "body",
    [
        "return a - a",
        "return a.b[0] < a . b [0]",
        "return (a) - b",
        "return a - (b)",
        "return (a + 1) / b",
        "return (a -\n b)",
        "return a[\n0] - b",
        "return a < b < c",
        "return a < b == c",
    ],
)
def test_operations_that_are_not_swapped(body):
    assert found(swapped_operands, body) == set()


@pytest.mark.parametrize(
    ("body", "swapped"),
    [
        ("return a - b - c", {"return b - a - c"}),  # c - a - b would be (c - a) - b
        ("return a - b * c", {"return b * c - a"}),
        ("return a ** -b", set()),  # -b ** a would be -(b ** a)
        ("return -a ** b", {"return -b ** a"}),
        ("return (a - b) + c", {"return (b - a) + c"}),
        ("return a - f(b,\n c) / 2", set()),
        (
            "return a < b, [x / y\n for x in c]",
            {"return b < a, [x / y\n for x in c]", "return a < b, [y / x\n for x in c]"},
        ),
        ("return a in (1, 2)", {"return (1, 2) in a"}),
    ],
)
def test_operands_are_swapped_where_they_bind_as_before(body, swapped):
    assert found(swapped_operands, body) == swapped


def test_pairs_of_the_library_with_a_wrong_operator_differ_in_it_alone(library):
    examples = wrong_operator(library[::2])
    assert len(examples) > 200
    assert Counter(each.label for each in examples) == dict.fromkeys((CORRECT, WRONG_OPERATOR), len(examples) // 2)
    for correct, wrong in twins(examples)[::2]:
        new = wrong.code[slice(*wrong.error)]
        (group,) = [group for group in (ARITHMETIC, COMPARISON, BOOLEAN) if new in group]
        before, after = texts(correct), texts(wrong)
        at = [token.start for token in lex_python(wrong.code)].index(wrong.error[0])
        rest = after[at + len(new.split()) :]
        assert (before[:at], before[-len(rest) :]) == (after[:at], rest)
        assert " ".join(before[at : -len(rest)]) in group - {new}
        assert kinds(correct) == kinds(wrong)


def test_pairs_of_the_library_with_swapped_operands_are_undone_by_swapping_again(library):
    examples = swapped_operands(library)
    assert len(examples) > 100
    assert Counter(each.label for each in examples) == dict.fromkeys((CORRECT, SWAPPED_OPERANDS), len(examples) // 2)
    for correct, wrong in twins(examples)[::2]:
        start, end = wrong.error
        operation = ast.parse(wrong.code[start:end], mode="eval").body
        before = ast.parse(correct.code[start:end], mode="eval").body
        assert sides(operation) == sides(before)[::-1]
        assert Counter(texts(correct)) == Counter(texts(wrong))
        assert (correct.code[:start], correct.code[end:]) == (wrong.code[:start], wrong.code[end:])
        assert kinds(correct) == kinds(wrong)


def texts(example):
    return [token.text for token in lex_python(example.code)]


def kinds(example):
    """How often each kind of node stands in the tree, operators left out."""
    operators = (ast.operator, ast.cmpop, ast.boolop)
    return Counter(type(node) for node in ast.walk(Code(example.code).definition) if not isinstance(node, operators))


def sides(operation):
    if isinstance(operation, ast.BinOp):
        return [ast.dump(operation.left), ast.dump(operation.right)]
    return [ast.dump(operation.left), *map(ast.dump, operation.comparators)]


@pytest.mark.parametrize("maker", [wrong_operator, swapped_operands])
def test_seed_and_limit_decide(maker, library):
    few = library[:100]
    assert maker(few, seed=1) == maker(iter(few), seed=1)
    assert maker(few, seed=1) != maker(few, seed=2)
    counts = Counter(each.code for each in maker(few, max_per_function=2)[::2])
    assert max(counts.values()) == 2


def test_swaps_do_not_depend_on_the_other_functions(library):
    few = library[:60]
    random.Random(0).shuffle(few)
    assert {each.code for each in swapped_operands(few)} == {each.code for each in swapped_operands(library[:60])}


def test_a_long_function_whose_operators_all_bind_otherwise_is_given_up(monkeypatch):
    tried = []
    monkeypatch.setattr(operators, "replaced", lambda *place: tried.append(place))
    assert wrong_operator(find_functions("def f(a, b):\n" + "    a = a - b\n" * 200)) == []
    assert len(tried) == 30


def test_replacement_is_one_of_two_words():
    with pytest.raises(InputError, match="replacement must be one of 'corpus', 'uniform'; received 'any'"):
        wrong_operator([], replacement="any")
