"""How much the values of two columns overlap."""

from collections import Counter
from collections.abc import Iterable

from embedkit.errors import InputError

__all__ = ["containment", "jaccard", "multiset_jaccard"]


def containment(query: Iterable[str], candidate: Iterable[str]) -> float:
    """Share of the distinct values of `query` that are also in `candidate`: |query ∩ candidate| / |query|.

    Args:
        query: Cells of the column that is looked up; "" is missing and left out.
        candidate: Cells of the column that may hold them.

    Returns:
        Between 0 and 1; NaN when `query` has no value.

    Raises:
        InputError: A column is one string, or holds something else than strings.

    Example:
        >>> containment(["a", "b", "b", ""], ["b", "c"])
        0.5

    Reference:
        Cong, Hulsebos, Sun, Groth, Jagadish: "Observatory: Characterizing Embeddings of Relational Tables", PVLDB
        17(4), 2024, property 3.

    Deviations:
        None.
    """
    asked, held = set(_values(query, "query")), set(_values(candidate, "candidate"))
    return _share(len(asked & held), len(asked))


def jaccard(a: Iterable[str], b: Iterable[str]) -> float:
    """Share of the distinct values of both columns that the two have in common: |a ∩ b| / (|a| + |b| - |a ∩ b|).

    Args:
        a: Cells of a column; "" is missing and left out.
        b: Cells of another.

    Returns:
        Between 0 and 1; NaN when neither has a value.

    Raises:
        InputError: A column is one string, or holds something else than strings.

    Example:
        >>> jaccard(["a", "b", "b"], ["b", "b", "c", "d"])
        0.25
    """
    first, second = set(_values(a, "a")), set(_values(b, "b"))
    return _share(len(first & second), len(first | second))


def multiset_jaccard(a: Iterable[str], b: Iterable[str]) -> float:
    """Share of the cells of both columns that pair off with an equal cell of the other, each pair counted once.

    With m(v) how often v occurs in `a` and n(v) in `b`: sum of min(m, n) over the values / (|a| + |b|), where
    |a| + |b| = sum of min(m, n) + max(m, n). So its maximum, for equal columns, is 1/2.

    Args:
        a: Cells of a column; "" is missing and left out.
        b: Cells of another.

    Returns:
        Between 0 and 1/2; NaN when neither has a value.

    Raises:
        InputError: A column is one string, or holds something else than strings.

    Example:
        >>> multiset_jaccard(["a", "b", "b"], ["b", "b", "b", "c", "c"])
        0.25

    Reference:
        As for `containment`.

    Deviations:
        None.
    """
    first, second = Counter(_values(a, "a")), Counter(_values(b, "b"))
    return _share((first & second).total(), first.total() + second.total())


def _values(column: Iterable[str], name: str) -> list[str]:
    if isinstance(column, str):
        raise InputError(f"{name} must hold the cells of a column; received the one string {column[:40]!r}")
    cells = list(column)
    for position, cell in enumerate(cells):
        if not isinstance(cell, str):
            kind = type(cell).__name__
            raise InputError(f"{name} must hold strings, as as_table makes them; {name}[{position}] is of type {kind}")
    return [cell for cell in cells if cell]


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
