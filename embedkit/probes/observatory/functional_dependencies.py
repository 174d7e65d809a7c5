"""Functional dependencies (P4): is the step from a value to what it determines the same in every row?"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from embedkit.encoders.encoder import Encoder
from embedkit.encoders.table.dependencies import functional_dependencies, non_dependencies
from embedkit.encoders.table.table import Table
from embedkit.encoders.table.vectors import table_vectors
from embedkit.errors import InputError
from embedkit.probes.observatory.finding import Finding, Line, estimate
from embedkit.probes.observatory.variants import as_tables

__all__ = ["dependency_translation"]

_Floats: TypeAlias = NDArray[np.float64]
_Place: TypeAlias = tuple[int, int]
"""Row and column."""
_Cells: TypeAlias = Mapping[_Place, _Floats]
_Rows: TypeAlias = list[int]

_MOST_GROUPS, _MOST_ROWS = 10, 10
"""Of each determinant, and of each group of it: what bounds how much is read of long tables."""

_SCALES: dict[str, Callable[[_Floats], _Floats]] = {
    "raw": lambda vector: vector,
    "unit length": lambda vector: vector / max(float(np.linalg.norm(vector)), np.finfo(np.float64).tiny),
}


def dependency_translation(
    encoder: Encoder, tables: Sequence[Any], *, window: int = 2, min_groups: int = 5, seed: int = 0
) -> Finding:
    """How much the distance between the cells of a dependency X → Y varies among rows of the same (x, y).

        variance = mean over groups of Var over the rows r of a group of ||E(r, X) − E(r, Y)||

    E(r, X) is the vector of a cell, read in a table of the rows r − window … r + window. If a dependency is a
    translation, as relations are in TransE, its distance is the same wherever (x, y) stands. A group is of two rows or
    more, for one has no variance; Var divides by rows − 1, so that groups of all sizes are comparable.

    All dependencies of a table between columns of text are measured, because they share the rows that are read; a
    table counts once, with its mean. Of a determinant at most 10 values are drawn, and of each at most 10 rows. A
    column is text where most of its cells hold a letter.

    Args:
        encoder: Of tables.
        tables: A list of what `as_table` reads.
        window: How many rows before and behind a row are read with it.
        min_groups: Fewest values of X that repeat.
        seed: Which values and rows are drawn, and the intervals.

    Returns:
        Lines "variance, raw" and "variance, unit length" (each cell's vector scaled to length 1 first), and the same
        two with ", same values". All measure the dependencies; what differs is the control, from columns Z that the
        same X does not determine. That of the first two groups rows by X alone: other strings stand in Z from row to
        row, which moves their vectors whatever an encoder knows of dependencies. That of the last two groups rows by
        (x, z), so strings are the same in each row of a group, and only context is left: the honest comparison. An
        encoder that reads cells by themselves has 0 exactly on both sides of it. In each line both sides are of the
        same determinants; where no table offers such a Z the control is None. Units are tables.

    Raises:
        InputError: `encoder` reads no tables, something is no table, no table has such a dependency, or a number is
            out of range.

    Example:
        >>> import embedkit as ek
        >>> from embedkit.encoders.table.parts import part_encoder
        >>> cities = {"city": ["Bonn", "Metz"] * 5, "country": ["Germany", "France"] * 5}
        >>> cells = part_encoder(ek.load(), unit="cells")
        >>> dependency_translation(cells, [cities], min_groups=2)["variance, raw"].estimate.value
        0.0

    Reference:
        T. Cong, M. Hulsebos, Z. Sun, P. Groth, H. V. Jagadish: "Observatory: Characterizing Embeddings of Relational
        Tables", PVLDB 17(4), 2024, property 4.

    Deviations:
        Pairs without a dependency have the determinant of a dependency, and their rows show that it determines nothing;
        the authors' code draws them from all pairs that its list of dependencies does not hold. Groups of one row are
        left out, which there count as 0. The variance divides by rows − 1. Unit length and the control of the same
        values are added.
    """
    _check(window, min_groups)
    read = as_tables(tables)
    random = np.random.default_rng(seed)
    measured: list[_Measured] = []
    asked = unread = 0
    for number, table in enumerate(tqdm(read, desc="dependencies", disable=None, delay=2)):
        plans = _plans(table, min_groups, random)
        cells = _cells(encoder, table, plans, window)
        wanted = {place for plan in plans for place in plan.places(table)}
        asked, unread = asked + len(wanted), unread + len(wanted - cells.keys())
        measured += [_Measured(number, scale, *plan.measure(cells, scale)) for plan in plans for scale in _SCALES]
    notes = [_found(measured, len(read), min_groups)]
    if unread:
        notes.append(f"{unread:,} of {asked:,} cells left out: the encoder did not read them, for want of room")
    notes.append("the control without “same values” has other strings from row to row, which alone makes it larger")
    lines = [
        _line(f"variance, {scale}{name}", [each for each in measured if each.scale == scale], control, seed)
        for name, control in (("", "by_determinant"), (", same values", "same_values"))
        for scale in _SCALES
    ]
    question = "Is the distance from a value to what it determines the same in every row?"
    return Finding("functional dependencies", question, tuple(lines), tuple(notes))


def _check(window: int, min_groups: int) -> None:
    for name, value, least in (("window", window, 0), ("min_groups", min_groups, 1)):
        if type(value) is not int or value < least:
            message = f"{name} must be a count from {least}; received {value!r}"
            raise InputError(message)


# What is measured


@dataclass(frozen=True)
class _Plan:
    """One determinant, the columns it determines, those it does not, and the rows that are looked at."""

    determinant: int
    dependents: list[int]
    others: list[int]
    groups: list[_Rows]
    cells: tuple[tuple[str, ...], ...]

    def places(self, table: Table) -> set[_Place]:
        """The cells whose vectors are wanted."""
        columns = [self.determinant, *self.dependents, *self.others]
        return {
            (row, column)
            for rows in self.groups
            for row in rows
            for column in columns
            if table.rows[row][column].strip()
        }

    def measure(self, cells: _Cells, scale: str) -> tuple[float, float, float]:
        """Mean variance of the dependents; of the others by determinant; of the others by determinant and value."""
        scaled = {place: _SCALES[scale](vector) for place, vector in cells.items()}

        def mean(columns: Iterable[int], *, same: bool) -> float:
            return _mean(self._variance(scaled, column, same=same) for column in columns)

        return mean(self.dependents, same=True), mean(self.others, same=False), mean(self.others, same=True)

    def _variance(self, vectors: _Cells, column: int, *, same: bool) -> float:
        variances = []
        for rows in self.groups:
            both = [row for row in rows if (row, self.determinant) in vectors and (row, column) in vectors]
            parts = _alike(both, lambda row: self.cells[row][column]) if same else [both]
            for part in parts:
                if len(part) > 1:
                    steps = [vectors[row, self.determinant] - vectors[row, column] for row in part]
                    distances = np.array([np.linalg.norm(step) for step in steps])
                    variances.append(float((distances - distances[0]).var(ddof=1)))  # equal ones give 0 to the last bit
        return _mean(variances)


def _plans(table: Table, min_groups: int, random: np.random.Generator) -> list[_Plan]:
    text = {column for column, cells in enumerate(zip(*table.rows, strict=True)) if _is_text(cells)}
    found = functional_dependencies(table, min_repeated=min_groups)
    free = non_dependencies(table)
    plans = []
    for determinant in sorted({each.determinant for each in found} & text):
        dependents = [each.dependent for each in found if each.determinant == determinant and each.dependent in text]
        others = [column for first, column in free if first == determinant and column in text]
        if dependents:
            groups = _drawn(table, determinant, random)
            plans.append(_Plan(determinant, dependents, others, groups, tuple(table.rows)))
    return plans


def _is_text(cells: Sequence[str]) -> bool:
    filled = [cell for cell in cells if cell.strip()]
    return 2 * sum(any(map(str.isalpha, cell)) for cell in filled) > len(filled)


def _drawn(table: Table, determinant: int, random: np.random.Generator) -> list[_Rows]:
    """Some of the values that repeat, and some rows of each, in order."""
    filled = [row for row, cells in enumerate(table.rows) if cells[determinant].strip()]
    repeated = [rows for rows in _alike(filled, lambda row: table.rows[row][determinant]) if len(rows) > 1]
    chosen = sorted(random.permutation(len(repeated))[:_MOST_GROUPS])
    return [sorted(random.permutation(repeated[place])[:_MOST_ROWS].tolist()) for place in chosen]


def _alike(rows: Iterable[int], value: Callable[[int], str]) -> list[_Rows]:
    """Rows grouped by a value."""
    groups: dict[str, _Rows] = {}
    for row in rows:
        groups.setdefault(value(row), []).append(row)
    return list(groups.values())


def _cells(encoder: Encoder, table: Table, plans: Iterable[_Plan], window: int) -> dict[_Place, _Floats]:
    """Vector of each cell that was read, each row in the middle of its own window."""
    rows = sorted({row for plan in plans for group in plan.groups for row in group})
    starts = [max(0, row - window) for row in rows]
    windows = [
        Table(table.name, table.columns, table.rows[start : row + window + 1])
        for row, start in zip(rows, starts, strict=True)
    ]
    # All windows of a table at once: an encoder without context then reads equal cells once, to the last bit.
    read = table_vectors(encoder, windows, parts=["cells"])
    return {
        (row, column): vector.astype(np.float64)
        for row, start, each in zip(rows, starts, read, strict=True)
        for (at, column), vector in zip(each.cell_places, each.cells, strict=True)
        if start + at == row
    }


# What is reported


@dataclass(frozen=True)
class _Measured:
    """Of one determinant of a table; NaN where there is no group."""

    table: int
    scale: str
    dependents: float
    by_determinant: float
    same_values: float


def _mean(values: Iterable[float]) -> float:
    """Mean of what is defined; NaN where nothing is."""
    defined = [value for value in values if not np.isnan(value)]
    return sum(defined) / len(defined) if defined else float("nan")


def _found(measured: Sequence[_Measured], total: int, min_groups: int) -> str:
    number = len({each.table for each in measured})
    if not number:
        message = (
            f"some table must have a dependency between columns of text in which {min_groups} values repeat; none of "
            f"the {total} tables has one: lower min_groups, or bring longer tables"
        )
        raise InputError(message)
    return f"{number} of {total} tables have a dependency between columns of text in which {min_groups} values repeat"


def _line(name: str, measured: Sequence[_Measured], control: str, seed: int) -> Line:
    """Dependencies and control over the determinants that have both; without a control, over all."""
    beside = [each for each in measured if not np.isnan([each.dependents, getattr(each, control)]).any()]

    def over_tables(which: str, of: Sequence[_Measured]) -> Any:
        tables = {each.table: [getattr(one, which) for one in of if one.table == each.table] for each in of}
        return estimate(map(_mean, tables.values()), seed=seed)

    against = over_tables(control, beside) if beside else None
    return Line(name, over_tables("dependents", beside or measured), against, ideal=0.0)
