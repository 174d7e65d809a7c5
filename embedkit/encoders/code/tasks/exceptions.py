"""Exception type: which exception a handler catches."""

import ast
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from embedkit.encoders.code.functions import Function
from embedkit.encoders.code.tasks.example import HOLE, Example
from embedkit.encoders.code.tasks.tree import parsed_functions
from embedkit.errors import InputError

__all__ = ["exception_type"]

_ANYTHING = {"Exception", "BaseException"}


def exception_type(
    functions: Iterable[Function], classes: Sequence[str] | None = None, *, min_examples: int = 250
) -> list[Example]:
    r"""Hide which exception a handler catches.

    Each `except` with one plain name is an example, with `__HOLE__` in the place of the name, the name as its label,
    and `error` at the hole.

    Args:
        functions: Where to look. Those whose code does not parse or is longer than `MAX_CHARACTERS` give no examples.
        classes: Names of the exceptions to be told apart; for a validation or test split, the labels of the training
            split. Without them, all that `functions` catch often enough, other than Exception and BaseException.
        min_examples: What is often enough where `classes` are not given, 1 or more.

    Returns:
        The examples in the order of the functions, each with a twin number of its own.

    Raises:
        InputError: An argument is out of range, `functions` holds something else, or no exception is caught
            often enough.

    Example:
        >>> from embedkit.encoders.code.functions import find_functions
        >>> text = "def get(a, b):\n    try:\n        return a[b]\n    except KeyError:\n        return None\n"
        >>> (example,) = exception_type(find_functions(text), min_examples=1)
        >>> print(example.code)
        def get(a, b):
            try:
                return a[b]
            except __HOLE__:
                return None
        >>> example.label
        'KeyError'

    Reference:
        A. Kanade, P. Maniatis, G. Balakrishnan, K. Shi, "Learning and Evaluating Contextual Embedding of Source Code",
        ICML 2020.

    Deviations:
        The paper's 20 classes come from files of GitHub, many of them of one web framework; here the functions decide.
    """
    if not isinstance(min_examples, int) or min_examples < 1:
        raise InputError(f"min_examples must be an integer of 1 or more; received {min_examples!r}")
    if classes is not None and (isinstance(classes, str) or not classes or len(set(classes)) < len(classes)):
        raise InputError(f"classes must be one or more names, each once; received {classes!r}")
    examples: list[Example] = []
    for function, code in parsed_functions(functions):
        caught = [node.type for node in code.body() if isinstance(node, ast.ExceptHandler)]
        names = [node for node in caught if isinstance(node, ast.Name)]
        for start, end in sorted(map(code.span, names)):
            hidden = code.text[:start] + HOLE + code.text[end:]
            label, hole = code.text[start:end], (start, start + len(HOLE))
            examples.append(Example(hidden, label, len(examples), function.distribution, error=hole))
    kept = _frequent(examples, min_examples) if classes is None else set(classes)
    examples = [example for example in examples if example.label in kept]
    return [replace(example, twin=twin) for twin, example in enumerate(examples)]


def _frequent(examples: Sequence[Example], least: int) -> set[str]:
    counts = Counter(example.label for example in examples if example.label not in _ANYTHING)
    kept = {name for name, count in counts.items() if count >= least}
    if not kept:
        most = ", ".join(f"{name} {count}" for name, count in counts.most_common(3)) or "none at all"
        message = f"functions must catch some exception {least} times; the most frequent: {most}: lower min_examples"
        raise InputError(message)
    return kept
