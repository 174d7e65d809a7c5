"""Variable misuse: one use of a variable reads another variable of the same function."""

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from embedkit.encoders.code.functions import Definition, Function
from embedkit.encoders.code.tasks.arguments import check_draw
from embedkit.encoders.code.tasks.example import CORRECT, MISUSE, Example
from embedkit.encoders.code.tasks.tree import Code, children, parsed_functions, random_of, replaced
from embedkit.encoders.split import Span

__all__ = ["variable_misuse", "variable_places"]


def variable_misuse(functions: Iterable[Function], *, seed: int = 0, max_per_function: int = 3) -> list[Example]:
    r"""Make functions read a wrong variable: the tasks variable misuse, and misuse localisation and repair.

    The variables of a function are its parameters and what it assigns: names bound by assignments, loops, `with`,
    `except` and patterns; no imports, inner functions and classes, and nothing that it declares global or nonlocal.
    At a place that reads one, chosen at random, another one is written, each as likely as any; the place must see both,
    and the right variable must stand somewhere else too. Places in comprehensions, lambdas and inner functions count
    where they mean the variable of the function. Beside each changed function stands the unchanged one.

    For classification take `code` and `label`. For localisation and repair take the places: `error`, of all `uses`,
    and `targets`, of all `candidates`; a correct example has `uses` and `candidates` too.

    Args:
        functions: What to change. Those whose code does not parse, is longer than `MAX_CHARACTERS`, or offers no
            place give no examples.
        seed: Of the choice of places and variables, 0 or more.
        max_per_function: The most changes of a function, each in an example of its own.

    Returns:
        Pairs, a correct example and then the changed one, in the order of the functions.

    Raises:
        InputError: An argument is out of range, or `functions` holds something else.

    Example:
        >>> from embedkit.encoders.code.functions import find_functions
        >>> correct, wrong = variable_misuse(find_functions("def less(a, b):\n    return a\n"))
        >>> print(wrong.code)
        def less(a, b):
            return b
        >>> wrong.error, wrong.uses, wrong.candidates, wrong.targets
        ((27, 28), ((27, 28),), ((9, 10), (12, 13), (27, 28)), ((9, 10),))
        >>> correct.error, correct.twin == wrong.twin
        (None, True)

    Reference:
        A. Kanade, P. Maniatis, G. Balakrishnan, K. Shi, "Learning and Evaluating Contextual Embedding of Source Code",
        ICML 2020; M. Vasic, A. Kanade, P. Maniatis, D. Bieber, R. Singh, "Neural Program Repair by Jointly Learning to
        Localize and Repair", ICLR 2019, for the places.

    Deviations:
        The paper makes many bugs of a function; here they are limited, so that long functions do not rule. Variables
        of comprehensions, lambdas and inner functions, and what stands in f-strings, are no candidates.
    """
    check_draw(seed, max_per_function)
    examples: list[Example] = []
    for function, code in parsed_functions(functions):
        names = _Names(code)
        for wrong in _misused(code, names, seed, max_per_function):
            twin = len(examples) // 2
            uses, candidates = names.spans(use=True), names.spans()
            examples += [
                Example(code.text, CORRECT, twin, function.distribution, uses=uses, candidates=candidates),
                wrong.example(names, twin, function.distribution),
            ]
    return examples


def variable_places(function: Function) -> Example:
    r"""Say where the variables of a function stand, as `variable_misuse` does, and change nothing.

    What `embedkit.encoders.code.repairer.Repairer` is asked about code that was written and not made.

    Args:
        function: Of any length; its code must parse.

    Returns:
        An example without a bug, with its `uses` and `candidates`.

    Raises:
        InputError: The code is not the source of one function.

    Example:
        >>> from embedkit.encoders.code.functions import find_functions
        >>> (less,) = find_functions("def less(a, b):\n    return a\n")
        >>> example = variable_places(less)
        >>> example.uses, example.candidates
        (((27, 28),), ((9, 10), (12, 13), (27, 28)))
    """
    code = Code(function.code)
    names = _Names(code)
    uses, candidates = names.spans(use=True), names.spans()
    return Example(code.text, CORRECT, 0, function.distribution, uses=uses, candidates=candidates)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a variable of the function stands; `hidden` are its variables that another scope hides there."""

    name: str
    span: Span
    node: ast.Name | None  # where it is read
    hidden: frozenset[str] = frozenset()


class _Names:
    """The variables of a function and where they stand, in the order of the code."""

    def __init__(self, code: Code) -> None:
        self.variables = _variables(code.definition)
        self.places = sorted(_places(code, self.variables), key=lambda place: place.span)

    def spans(self, *, use: bool = False) -> tuple[Span, ...]:
        """Spans of all places, or of those that read."""
        return tuple(place.span for place in self.places if place.node or not use)


@dataclass(frozen=True, slots=True)
class _Misuse:
    code: str
    place: _Place
    name: str

    def example(self, names: _Names, twin: int, distribution: str) -> Example:
        moved = {place.span: self._moved(place.span) for place in names.places}
        return Example(
            self.code,
            MISUSE,
            twin,
            distribution,
            error=moved[self.place.span],
            uses=tuple(moved[span] for span in names.spans(use=True)),
            candidates=tuple(moved.values()),
            targets=tuple(
                moved[place.span] for place in names.places if place.name == self.place.name and place != self.place
            ),
        )

    def _moved(self, span: Span) -> Span:
        """A span of the correct code in the changed one."""
        start, end = self.place.span
        by = len(self.name) - (end - start)
        return span[0] + by * (span[0] > start), span[1] + by * (span[0] >= start)


def _misused(code: Code, names: _Names, seed: int, most: int) -> Iterator[_Misuse]:
    times: dict[str, int] = defaultdict(int)
    for place in names.places:
        times[place.name] += 1
    sites = [place for place in names.places if place.node and times[place.name] > 1]
    random = random_of(seed, code.text)
    random.shuffle(sites)
    for place in sites:
        if most == 0:
            return
        others = sorted(names.variables - place.hidden - {place.name})
        if not others or place.node is None:
            continue
        name = random.choice(others)
        place.node.id = name
        changed = replaced(code.text, place.span, name, code.definition)
        place.node.id = place.name
        if changed is not None:
            most -= 1
            yield _Misuse(changed, place, name)


def _places(code: Code, variables: set[str]) -> Iterator[_Place]:
    arguments = code.definition.args
    for argument in _arguments(arguments):
        start = code.start(argument)
        end = start + len(argument.arg)
        if code.text[start:end] == argument.arg:  # anything else is spelled in another form
            yield _Place(argument.arg, (start, end), None)
    for node, hidden in _visible(code.definition):
        if node.id in variables and node.id not in hidden:
            span = code.span(node)
            if code.text[slice(*span)] == node.id:
                yield _Place(node.id, span, node if isinstance(node.ctx, ast.Load) else None, hidden)


def _visible(definition: Definition) -> Iterator[tuple[ast.Name, frozenset[str]]]:
    """Every name of the body that may be changed, with the names that scopes inside the function hide there."""
    nothing: frozenset[str] = frozenset()
    todo: list[tuple[ast.AST, frozenset[str]]] = [(node, nothing) for node in definition.body]
    while todo:
        node, hidden = todo.pop()
        if isinstance(node, ast.Name):
            yield node, hidden
        elif isinstance(node, _COMPREHENSIONS):
            first = node.generators[0].iter  # the scope outside is where it is looked up
            inner = hidden | _targets(node)
            todo += [(each, inner) for each in _parts(node) if each is not first]
            todo.append((first, hidden))
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            bound = {argument.arg for argument in _arguments(node.args)}
            inner = hidden | _Scope.of(list(children(node))).hidden | bound
            todo += [(each, inner) for each in children(node)]
        elif isinstance(node, ast.ClassDef):
            inner = hidden | _Scope.of(node.body).hidden
            todo += [(each, hidden) for each in (*node.bases, *node.keywords)]
            todo += [(each, inner) for each in node.body]
        else:
            todo += [(each, hidden) for each in children(node)]


_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def _parts(comprehension: ast.expr) -> Iterator[ast.AST]:
    for each in children(comprehension):
        yield from children(each) if isinstance(each, ast.comprehension) else (each,)


def _targets(comprehension: ast.AST) -> set[str]:
    generators = [each for each in children(comprehension) if isinstance(each, ast.comprehension)]
    names = [each for generator in generators for each in ast.walk(generator.target) if isinstance(each, ast.Name)]
    return {each.id for each in names if isinstance(each.ctx, ast.Store)}


def _arguments(arguments: ast.arguments) -> list[ast.arg]:
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return named + [each for each in (arguments.vararg, arguments.kwarg) if each is not None]


def _variables(definition: Definition) -> set[str]:
    scope = _Scope.of(definition.body)
    return ({argument.arg for argument in _arguments(definition.args)} | scope.stored) - scope.elsewhere - scope.outer


@dataclass(slots=True)
class _Scope:
    """What the statements of one scope do to names: bind variables and other things, or declare them of elsewhere."""

    stored: set[str] = field(default_factory=set)
    defined: set[str] = field(default_factory=set)  # imports, functions, classes
    elsewhere: set[str] = field(default_factory=set)  # global
    outer: set[str] = field(default_factory=set)  # nonlocal

    @property
    def hidden(self) -> set[str]:
        """Names that mean something else inside than outside."""
        return (self.stored | self.defined | self.elsewhere) - self.outer

    @classmethod
    def of(cls, nodes: Sequence[ast.AST]) -> "_Scope":
        scope = cls()
        todo = [(node, False) for node in nodes]
        while todo:
            node, in_comprehension = todo.pop()
            if isinstance(node, ast.NamedExpr):  # binds in the scope around comprehensions
                scope.stored.add(node.target.id)
            if not in_comprehension:
                scope.note(node)
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
                inside = in_comprehension or isinstance(node, _COMPREHENSIONS)
                todo += [(each, inside) for each in ast.iter_child_nodes(node)]
        return scope

    def note(self, node: ast.AST) -> None:
        """Take in what one node binds or declares."""
        match node:
            case ast.Name(ctx=ast.Store() | ast.Del()):
                self.stored.add(node.id)
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                self.stored.add(name)
            case ast.MatchMapping(rest=str(name)):
                self.stored.add(name)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                self.defined.add(node.name)
            case ast.alias():
                self.defined.add((node.asname or node.name).partition(".")[0])
            case ast.Global():
                self.elsewhere.update(node.names)
            case ast.Nonlocal():
                self.outer.update(node.names)
