"""Functional dependencies between two columns of a table, and pairs of columns without one."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from embedkit.encoders.table.table import Table
from embedkit.errors import InputError

if TYPE_CHECKING:  # reading tables does not need numpy, and so does not wait for it
    from embedkit.types import Positions

__all__ = ["FunctionalDependency", "functional_dependencies", "non_dependencies"]


@dataclass(frozen=True, slots=True)
class FunctionalDependency:
    """Rows that agree in one column agree in another.

    Attributes:
        determinant: Position of the column that determines.
        dependent: Position of the column that is determined.
        groups: Distinct values of the determinant that occur in two rows or more.
    """

    determinant: int
    dependent: int
    groups: int


def functional_dependencies(table: Table, *, min_rows: int = 10, min_repeated: int = 1) -> list[FunctionalDependency]:
    """Every dependency X → Y of one column on another that holds exactly and says something.

    Only rows in which neither cell is missing are looked at, pair by pair: "" is no value, neither one that repeats
    nor one that differs. Among these rows some value of X must repeat, so X is no key; Y must have two values or
    more; and each value of X must stand beside a single value of Y.

    Args:
        table: The table; values are equal when their strings are.
        min_rows: Fewest rows in which neither cell is missing.
        min_repeated: Fewest values of X that occur in two of these rows or more.

    Returns:
        The dependencies, ordered by determinant, then dependent.

    Raises:
        InputError: `min_rows` or `min_repeated` is below 1.

    Example:
        >>> rows = [("Bonn", "DE", "1"), ("Paris", "FR", "2"), ("Bonn", "DE", "3"), ("Metz", "FR", "4")]
        >>> functional_dependencies(Table("", ("city", "country", "id"), rows), min_rows=4)
        [FunctionalDependency(determinant=0, dependent=1, groups=1)]

    Reference:
        Cong, Hulsebos, Sun, Groth, Jagadish: "Observatory: Characterizing Embeddings of Relational Tables", PVLDB
        17(4), 2024, property 4.

    Deviations:
        The paper mines with HyFD; determinants of one column need no search. Columns that are not text are kept.
    """
    return [
        FunctionalDependency(determinant, dependent, groups)
        for determinant, dependent, groups, holds in _pairs(table, min_rows, min_repeated)
        if holds
    ]


def non_dependencies(table: Table, *, min_rows: int = 10, min_repeated: int = 1) -> list[tuple[int, int]]:
    """Every pair of columns (X, Y) whose rows show that X does not determine Y.

    Some value of X stands beside two values of Y. A column without repetition determines every other one, and so is
    never an X here. Rows with a missing cell are left out as in `functional_dependencies`.

    Args:
        table: The table; values are equal when their strings are.
        min_rows: Fewest rows in which neither cell is missing.
        min_repeated: Fewest values of X that occur in two of these rows or more.

    Returns:
        Positions of X and Y, in order.

    Raises:
        InputError: `min_rows` or `min_repeated` is below 1.

    Example:
        >>> rows = [("Bonn", "DE", "1"), ("Paris", "FR", "2"), ("Bonn", "DE", "3"), ("Metz", "FR", "4")]
        >>> non_dependencies(Table("", ("city", "country", "id"), rows), min_rows=4)
        [(0, 2), (1, 0), (1, 2)]
    """
    return [
        (determinant, dependent)
        for determinant, dependent, _, holds in _pairs(table, min_rows, min_repeated)
        if not holds
    ]


def _pairs(table: Table, min_rows: int, min_repeated: int) -> Iterator[tuple[int, int, int, bool]]:
    """Pairs (X, Y) that qualify: X, Y, the repeated values of X, and whether X determines Y."""
    for name, least in (("min_rows", min_rows), ("min_repeated", min_repeated)):
        if least < 1:
            raise InputError(f"{name} must be at least 1; received {least}")
    if len(table.rows) < min_rows:
        return
    columns = [_codes(column) for column in zip(*table.rows, strict=True)]
    for determinant, x in enumerate(columns):
        if _repeated(x[x >= 0]) < min_repeated:
            continue
        for dependent, y in enumerate(columns):
            both = (x >= 0) & (y >= 0)
            if dependent == determinant or both.sum() < min_rows:
                continue
            these, those = (x, y) if both.all() else (x[both], y[both])
            groups, holds = _repeated(these), _determines(these, those)
            if groups >= min_repeated and not (holds and those.min() == those.max()):
                yield determinant, dependent, groups, holds


def _codes(column: Iterable[str]) -> "Positions":
    """A number for each cell, equal where the cells are; -1 where one is missing."""
    import numpy as np

    numbers = {"": -1}
    return np.array([numbers.setdefault(cell, len(numbers) - 1) for cell in column], dtype=np.int64)


def _repeated(codes: "Positions") -> int:
    """How many codes occur twice or more."""
    import numpy as np

    return int((np.bincount(codes) > 1).sum())


def _determines(x: "Positions", y: "Positions") -> bool:
    """Whether one y stands beside each x."""
    import numpy as np

    beside = np.zeros(x.max() + 1, dtype=np.int64)
    beside[x] = y  # of several, one stays, and the others differ from it
    return bool((beside[x] == y).all())
