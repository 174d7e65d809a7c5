"""Function-docstring mismatch: code beside its own docstring, and beside that of another function."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from random import Random
from typing import Literal

from embedkit.encoders.code.functions import Function, first_paragraph, mask_name
from embedkit.encoders.code.tasks.arguments import check_draw, check_word
from embedkit.encoders.code.tasks.example import CORRECT, INCORRECT_DOCSTRING, Example
from embedkit.encoders.code.tasks.tree import parsed_functions, random_of

__all__ = ["function_docstring"]

_MIN_WORDS = 3


def function_docstring(
    functions: Iterable[Function],
    *,
    seed: int = 0,
    negatives: Literal["mixed", "random", "same file"] = "mixed",
    mask_names: bool = False,
) -> list[Example]:
    r"""Put functions beside their own docstring, and beside that of another function.

    Docstrings are first paragraphs of 3 words or more, and the code is without its docstring. An encoder of texts
    solves the task nearly as it stands where the other function is any, so take those of the same file and mask names
    for a hard one.

    Args:
        functions: What to take. Those whose code does not parse, is longer than `MAX_CHARACTERS`, or has no such
            docstring give no examples.
        seed: Of the choice of the other docstrings, 0 or more.
        negatives: Whose docstring a wrong one is: "random", any function's; "same file", one of the same file,
            whereby functions alone in their file give no examples; "mixed", half of each, or as near to that as there
            are functions that share a file. Never one of the same words.
        mask_names: Whether the function's own name is masked in the code, as by `mask_name`.

    Returns:
        Pairs, a correct example and then one with another docstring, in the order of the functions.

    Raises:
        InputError: An argument is out of range, or `functions` holds something else.

    Example:
        >>> from embedkit.encoders.code.functions import find_functions
        >>> text = '''
        ... def least(a):
        ...     "Least of all numbers."
        ...     return min(a)
        ... def most(a):
        ...     "Greatest of all numbers."
        ...     return max(a)
        ... '''
        >>> correct, wrong = function_docstring(find_functions(text), mask_names=True)[:2]
        >>> print(wrong.code)
        def function(a):
            return min(a)
        >>> correct.docstring, wrong.docstring
        ('Least of all numbers.', 'Greatest of all numbers.')

    Reference:
        A. Kanade, P. Maniatis, G. Balakrishnan, K. Shi, "Learning and Evaluating Contextual Embedding of Source Code",
        ICML 2020.

    Deviations:
        The paper takes whole docstrings, any function's for a wrong one, and never masks names.
    """
    check_draw(seed)
    check_word("negatives", negatives, ("mixed", "random", "same file"))
    described = [function for function, _ in parsed_functions(functions) if _is_described(function)]
    claims = [first_paragraph(function) for function in described]
    files: dict[tuple[str, str], list[str]] = defaultdict(list)
    for function, claim in zip(described, claims, strict=True):
        files[function.distribution, function.path].append(claim)
    pools = [files[function.distribution, function.path] for function in described]
    near = [at for at, claim in enumerate(claims) if _has_other(pools[at], claim)]
    if negatives == "mixed":
        near = random_of(seed, negatives).sample(near, min(len(near), len(claims) // 2))
    if negatives != "same file":
        far = set(range(len(claims))) - (set(near) if negatives == "mixed" else set())
        pools = [claims if at in far else pool for at, pool in enumerate(pools)]
    examples: list[Example] = []
    for function, claim, pool in zip(described, claims, pools, strict=True):
        if _has_other(pool, claim):
            code = mask_name(replace(function, source=function.code)).code if mask_names else function.code
            wrong = _other(pool, claim, random_of(seed, function.code))
            twin = len(examples) // 2
            examples += [
                Example(code, CORRECT, twin, function.distribution, claim),
                Example(code, INCORRECT_DOCSTRING, twin, function.distribution, wrong),
            ]
    return examples


def _is_described(function: Function) -> bool:
    return len(first_paragraph(function).split()) >= _MIN_WORDS


def _has_other(pool: Sequence[str], claim: str) -> bool:
    return any(other.casefold() != claim.casefold() for other in pool)


def _other(pool: Sequence[str], claim: str, random: Random) -> str:
    """One of the pool that says something else; the pool holds one."""
    while True:
        other = random.choice(pool)
        if other.casefold() != claim.casefold():
            return other
