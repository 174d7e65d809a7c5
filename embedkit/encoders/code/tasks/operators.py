"""Wrong binary operator and swapped operands."""

import ast
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from random import Random
from typing import Any, Literal, TypeAlias

from embedkit.encoders.code.functions import Function
from embedkit.encoders.code.tasks.arguments import check_draw, check_word
from embedkit.encoders.code.tasks.example import CORRECT, SWAPPED_OPERANDS, WRONG_OPERATOR, Example
from embedkit.encoders.code.tasks.tree import Code, checked_functions, is_same, parsed_functions, random_of, replaced
from embedkit.encoders.split import Span

__all__ = ["swapped_operands", "wrong_operator"]

_Operator: TypeAlias = type[ast.operator] | type[ast.cmpop] | type[ast.boolop]
_Operation: TypeAlias = ast.BinOp | ast.Compare | ast.BoolOp

_ARITHMETIC: dict[_Operator, str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.Pow: "**",
    ast.MatMult: "@",
    ast.LShift: "<<",
    ast.RShift: ">>",
    ast.BitAnd: "&",
    ast.BitOr: "|",
    ast.BitXor: "^",
}
_COMPARISON: dict[_Operator, str] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Is: "is",
    ast.IsNot: "is not",
    ast.In: "in",
    ast.NotIn: "not in",
}
_BOOLEAN: dict[_Operator, str] = {ast.And: "and", ast.Or: "or"}
_CLASSES = (_ARITHMETIC, _COMPARISON, _BOOLEAN)
_CLASS = {operator: spellings for spellings in _CLASSES for operator in spellings}
_PATTERNS = {
    operator: re.compile(re.escape(spelling).replace(r"\ ", r"(?:\s|\\\n)+"))
    for spellings in _CLASSES
    for operator, spelling in spellings.items()
}
_TRIES = 10  # places for each change: generated functions may have thousands where every other operator binds otherwise
_BETWEEN = re.compile(r"(?:[\s()\\]|#[^\n]*)*")

_ONE_SIDED = (
    *(ast.Sub, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow, ast.MatMult, ast.LShift, ast.RShift),
    *(ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn),
)
"""Operators that do not commute, not even on numbers alone."""


def wrong_operator(
    functions: Iterable[Function],
    *,
    seed: int = 0,
    max_per_function: int = 3,
    replacement: Literal["corpus", "uniform"] = "corpus",
) -> list[Example]:
    r"""Write another binary operator in functions.

    An operator is replaced by one of its own class: arithmetic and bitwise, comparison, or boolean. Places are chosen
    at random; left out are those where the new operator binds otherwise, so that more would change than the operator,
    and so are two or more `and` or `or` in a row. Beside each changed function stands the unchanged one.

    Args:
        functions: What to change. Those whose code does not parse, is longer than `MAX_CHARACTERS`, or offers no
            place give no examples.
        seed: Of the choice of places and operators, 0 or more.
        max_per_function: The most changes of a function, each in an example of its own.
        replacement: How the new operator is drawn: "corpus", as often as it stands in `functions`, or "uniform", each
            as likely, which puts rare ones such as `@` everywhere and so betrays the bug by the operator alone. Where
            `functions` hold no other operator of a class, each is as likely too.

    Returns:
        Pairs, a correct example and then the changed one, in the order of the functions; `error` is the operator.

    Raises:
        InputError: An argument is out of range, or `functions` holds something else.

    Example:
        >>> from embedkit.encoders.code.functions import find_functions
        >>> correct, wrong = wrong_operator(find_functions("def either(a, b):\n    return a or b\n"))
        >>> print(wrong.code)
        def either(a, b):
            return a and b
        >>> wrong.code[slice(*wrong.error)]
        'and'

    Reference:
        A. Kanade, P. Maniatis, G. Balakrishnan, K. Shi, "Learning and Evaluating Contextual Embedding of Source Code",
        ICML 2020.

    Deviations:
        The paper leaves open how the new operator is drawn. Operators of augmented assignments, and those in f-strings,
        stay. Of each function at most 10 places are tried for each change allowed.
    """
    check_draw(seed, max_per_function)
    check_word("replacement", replacement, ("corpus", "uniform"))
    functions = list(checked_functions(functions))
    counts = _operator_counts(functions) if replacement == "corpus" else Counter()
    examples: list[Example] = []
    for function, code in parsed_functions(functions):
        random = random_of(seed, code.text)
        sites = [site for site in _sites(code) if len(site.operands) == 2 or isinstance(site.node, ast.Compare)]
        random.shuffle(sites)
        changes = _changes(sites, partial(_with_other, code, counts, random), max_per_function)
        examples += _pairs(function, WRONG_OPERATOR, changes, len(examples) // 2)
    return examples


def swapped_operands(functions: Iterable[Function], *, seed: int = 0, max_per_function: int = 3) -> list[Example]:
    r"""Exchange the two operands of a binary operator in functions.

    Only of operators that do not commute, not even on numbers: `- / // % ** @ << >> < <= > >= in` and `not in`. Left
    out are equal operands, operands in parentheses, operations on several lines, chains of comparisons, and places
    where the exchanged operands would bind otherwise. Beside each changed function stands the unchanged one.

    Args:
        functions: What to change. Those whose code does not parse, is longer than `MAX_CHARACTERS`, or offers no
            place give no examples.
        seed: Of the choice of places, 0 or more.
        max_per_function: The most changes of a function, each in an example of its own.

    Returns:
        Pairs, a correct example and then the changed one, in the order of the functions; `error` is the operation.

    Raises:
        InputError: An argument is out of range, or `functions` holds something else.

    Example:
        >>> from embedkit.encoders.code.functions import find_functions
        >>> correct, swapped = swapped_operands(find_functions("def lacks(key, keys):\n    return key not in keys\n"))
        >>> print(swapped.code)
        def lacks(key, keys):
            return keys not in key

    Reference:
        A. Kanade, P. Maniatis, G. Balakrishnan, K. Shi, "Learning and Evaluating Contextual Embedding of Source Code",
        ICML 2020.

    Deviations:
        `+` and `*`, which do not commute on sequences, stay, since most of theirs are numbers. Of each function at most
        10 places are tried for each change allowed.
    """
    check_draw(seed, max_per_function)
    examples: list[Example] = []
    for function, code in parsed_functions(functions):
        sites = [site for site in _sites(code) if _is_swappable(code, site)]
        random_of(seed, code.text).shuffle(sites)
        changes = _changes(sites, partial(_with_swapped, code), max_per_function)
        examples += _pairs(function, SWAPPED_OPERANDS, changes, len(examples) // 2)
    return examples


@dataclass(frozen=True, slots=True)
class _Site:
    """One binary operator: in a chain of comparisons the one at `index`."""

    node: _Operation
    index: int
    operands: list[ast.expr]  # of all operators of the node

    @property
    def operator(self) -> _Operator:
        node = self.node
        return type(node.ops[self.index] if isinstance(node, ast.Compare) else node.op)

    def put(self, operator: _Operator) -> None:
        """Write another operator into the tree."""
        new: Any = operator()  # of the node's own class
        if isinstance(self.node, ast.Compare):
            self.node.ops[self.index] = new
        else:
            self.node.op = new

    def span(self, code: Code) -> Span | None:
        """Where the operator stands; None where comments or the like stand inside."""
        left, right = self.operands[self.index : self.index + 2]
        end = code.start(right)
        between = _BETWEEN.match(code.text, code.span(left)[1], end)
        found = _PATTERNS[self.operator].match(code.text, between.end(), end) if between else None
        return found.span() if found else None


def _sites(code: Code) -> list[_Site]:
    """Every binary operator of the body, in the order of the code."""
    sites: list[tuple[int, _Site]] = []
    for node in code.body():
        if isinstance(node, _OPERATIONS):
            operands = _operands(node)
            sites += [(code.start(right), _Site(node, at, operands)) for at, right in enumerate(operands[1:])]
    return [site for _, site in sorted(sites, key=lambda each: each[0])]


_OPERATIONS = (ast.BinOp, ast.Compare, ast.BoolOp)


def _operands(node: _Operation) -> list[ast.expr]:
    if isinstance(node, ast.BinOp):
        return [node.left, node.right]
    return [node.left, *node.comparators] if isinstance(node, ast.Compare) else node.values


def _operator_counts(functions: Iterable[Function]) -> Counter[_Operator]:
    counts: Counter[_Operator] = Counter()
    for _, code in parsed_functions(functions):
        counts.update(site.operator for site in _sites(code))
    return counts


@dataclass(frozen=True, slots=True)
class _Change:
    correct: str
    code: str
    error: Span


def _with_other(code: Code, counts: Mapping[_Operator, int], random: Random, site: _Site) -> _Change | None:
    """The code with another operator at a site; None where more than that would change."""
    old, span = site.operator, site.span(code)
    if span is None:
        return None
    spellings = _CLASS[old]
    others = [operator for operator in spellings if operator is not old]
    weights = [counts.get(operator, 0) for operator in others]
    (new,) = random.choices(others, weights if any(weights) else None)
    spelling = spellings[new]
    if spelling[0].isalpha():  # a word needs room that a sign does without
        spelling = " " * _touches(code.text, span[0] - 1) + spelling + " " * _touches(code.text, span[1])
    site.put(new)
    changed = replaced(code.text, span, spelling, code.definition)
    site.put(old)
    start = span[0] + len(spelling) - len(spelling.lstrip())
    return None if changed is None else _Change(code.text, changed, (start, start + len(spellings[new])))


def _touches(text: str, at: int) -> bool:
    return not text[at].isspace() and text[at] not in "()"


def _is_swappable(code: Code, site: _Site) -> bool:
    if site.operator not in _ONE_SIDED or len(site.operands) != 2:
        return False
    left, right = site.operands
    if site.node.lineno != site.node.end_lineno:
        return False
    between = code.text[code.span(left)[1] : code.start(right)]
    return not set(between) & set("()") and not is_same(left, right)


def _with_swapped(code: Code, site: _Site) -> _Change | None:
    """The code with the operands at a site exchanged; None where they then bind otherwise."""
    left, right = site.operands
    (start, middle), (after, end) = code.span(left), code.span(right)
    text = code.text
    swapped = text[after:end] + text[middle:after] + text[start:middle]
    _set_operands(site.node, right, left)
    changed = replaced(text, (start, end), swapped, code.definition)
    _set_operands(site.node, left, right)
    return None if changed is None else _Change(text, changed, (start, end))


def _set_operands(node: _Operation, left: ast.expr, right: ast.expr) -> None:
    if isinstance(node, ast.BinOp):
        node.left, node.right = left, right
    elif isinstance(node, ast.Compare):
        node.left, node.comparators = left, [right]


def _changes(sites: Sequence[_Site], change: Callable[[_Site], _Change | None], most: int) -> Iterator[_Change]:
    """The first changes that succeed."""
    tried = (change(site) for site in sites[: _TRIES * most])
    return islice((one for one in tried if one is not None), most)


def _pairs(function: Function, label: str, changes: Iterable[_Change], twin: int) -> Iterator[Example]:
    for number, change in enumerate(changes, start=twin):
        yield Example(change.correct, CORRECT, number, function.distribution)
        yield Example(change.code, label, number, function.distribution, error=change.error)
