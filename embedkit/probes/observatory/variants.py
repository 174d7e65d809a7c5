"""Variants of tables, and how far the vectors of their parts move from those of the original."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from embedkit.encoders.encoder import Encoder
from embedkit.encoders.table.table import Table, as_table, counted
from embedkit.encoders.table.vectors import MOST_ROWS, Part, TableVectors, table_vectors
from embedkit.errors import InputError
from embedkit.probes.observatory.finding import Estimate, Finding, Line, estimate
from embedkit.probes.observatory.measures import cosine, dispersion
from embedkit.types import Embeddings

Level: TypeAlias = Literal["column", "row", "table"]

_PARTS: dict[Level, tuple[Part, ...]] = {"column": ("columns",), "row": ("rows",), "table": ()}
_LOW = 0.05


@dataclass(frozen=True)
class Variant:
    """A table made of rows and columns of another.

    Attributes:
        rows: Which row of the original each row is.
        columns: Likewise the columns.
    """

    rows: Sequence[int]
    columns: Sequence[int]

    def of(self, table: Table) -> Table:
        """The variant of `table`."""
        names = tuple(table.columns[column] for column in self.columns)
        rows = [tuple(table.rows[row][column] for column in self.columns) for row in self.rows]
        return Table(table.name, names, rows)


@dataclass(frozen=True)
class Property:
    """What is changed in a table, and where vectors should stay as they are.

    Attributes:
        name: Such as "row order".
        question: What is asked, in one sentence.
        levels: Whose vectors are compared.
        variants: Gives the variants of a table; none where it has none.
        lacking: What a table without variants has, such as "fewer than two rows".
    """

    name: str
    question: str
    levels: tuple[Level, ...]
    variants: Callable[[Table], list[Variant]]
    lacking: str


@dataclass
class _Moves:
    """Of one level: one entry a table, but for the cosines, which are all of them."""

    cosine: list[float] = field(default_factory=list)
    control: list[float] = field(default_factory=list)
    dispersion: list[float] = field(default_factory=list)
    cosines: list[NDArray[np.float64]] = field(default_factory=list)


def permutations(length: int, most: int, random: np.random.Generator) -> list[tuple[int, ...]]:
    """Different random orders of 0 … length − 1, never the one that is sorted.

    Args:
        length: Of what is put in order.
        most: How many orders; fewer where there are no more.
        random: Draws them.

    Returns:
        The orders, each of all `length` positions.
    """
    there_are = math.factorial(min(length, 20))
    drawn = {tuple(range(length)): None}
    while len(drawn) < min(most + 1, there_are):
        drawn[tuple(random.permutation(length).tolist())] = None
    return list(drawn)[1:]


def check_variants(variants: int) -> None:
    """Refuse what is no count from 1."""
    if type(variants) is not int or variants < 1:
        message = f"variants must be a count from 1; received {variants!r}"
        raise InputError(message)


def as_tables(tables: Sequence[Any]) -> list[Table]:
    """A list of what `as_table` reads, as tables; of long ones evenly spaced rows.

    Raises:
        InputError: `tables` is no list, or something in it, named by its place, is no table.
    """
    if not isinstance(tables, list | tuple):
        message = f"tables must be a list of tables; received {type(tables).__name__}: put one table into a list"
        raise InputError(message)
    read = []
    for place, table in enumerate(tables):
        try:
            read.append(as_table(table, max_rows=MOST_ROWS))
        except InputError as error:
            message = f"tables[{place}]: {error}"
            raise InputError(message) from None
    return read


def compare(encoder: Encoder, tables: Sequence[Any], asked: Property, *, seed: int) -> Finding:
    """Compare the vectors of tables and their parts with those of the same parts in variants.

    Args:
        encoder: Of tables.
        tables: What `as_table` reads, at least one.
        asked: What is changed.
        seed: Of the intervals.

    Returns:
        For each level three lines. "cosine" is the mean over the parts of a table and its variants, then over tables;
        its control the mean over pairs of different parts of the unchanged table or, for whole tables, over the other
        tables. "cosine 5 % quantile" is over all parts and variants, counted by n. "dispersion" is that of the vectors
        of a part in the original and its variants, averaged likewise.

    Raises:
        InputError: The encoder reads no tables, or `tables` are none.
    """
    table_vectors(encoder, [])
    read = as_tables(tables)
    if not read:
        message = "tables must be a list of at least one table; received none"
        raise InputError(message)
    parts: list[Part] = [part for level in asked.levels for part in _PARTS[level]]
    moves: dict[Level, _Moves] = {level: _Moves() for level in asked.levels}
    wholes: list[Embeddings] = []
    lacking, clipped = 0, 0
    unread: list[str] = []
    for table in tqdm(read, desc=asked.name, unit="table", disable=None):
        variants = asked.variants(table)
        if not variants:
            lacking += 1
            continue
        try:
            found = table_vectors(encoder, [table, *(variant.of(table) for variant in variants)], parts=parts)
        except InputError as error:
            unread.append(str(error))
            continue
        clipped += any(each.notes for each in found)
        wholes.append(found[0].table)
        same = Variant(range(len(table.rows)), range(len(table.columns)))
        for level, moved in moves.items():
            _add(moved, [_vectors(level, *pair) for pair in zip([same, *variants], found, strict=True)])
    if "table" in moves and wholes:
        moves["table"].control = _with_others(np.stack(wholes)).tolist()
    lines = tuple(line for level, moved in moves.items() for line in _lines(level, moved, seed))
    of_all = f"of {counted(len(read), 'table')}"
    notes = {
        f"{lacking:,} {of_all} left out: {asked.lacking}": lacking,
        f"{len(unread):,} {of_all} left out, not to be read: {''.join(unread[:1])}": len(unread),
        f"{clipped:,} {of_all} did not fit the encoder's window: variants may show it other rows or columns than the "
        "original, and only parts that both show are compared": clipped,
    }
    return Finding(asked.name, asked.question, lines, tuple(note for note, number in notes.items() if number))


def _vectors(level: Level, variant: Variant, found: TableVectors) -> tuple[list[int], Embeddings]:
    """Vectors at a level, and which parts of the original they belong to."""
    if level == "column":
        return [variant.columns[number] for number in found.column_numbers], found.columns
    if level == "row":
        return [variant.rows[number] for number in found.row_numbers], found.rows
    return [0], found.table[None]


def _add(moved: _Moves, found: Sequence[tuple[list[int], Embeddings]]) -> None:
    """Count in one table: `found` holds the parts of the original and their vectors, then those of each variant."""
    parts, original = found[0]
    places = {part: place for place, part in enumerate(parts)}
    stacked = np.full((len(found), *original.shape), np.nan, dtype=np.float32)  # NaN: not there
    for target, (others, vectors) in zip(stacked, found, strict=True):
        both = [at for at, part in enumerate(others) if part in places]
        target[[places[others[at]] for at in both]] = vectors[both]
    cosines = np.stack([cosine(original, each) for each in stacked[1:]])
    there: NDArray[np.bool_] = np.logical_not(np.isnan(stacked).any(axis=2))
    dispersions = [dispersion(stacked[there[:, at], at]) for at in range(len(parts))]
    moved.cosine.append(_mean(cosines))
    moved.control.append(_mean(_with_others(original)))
    moved.dispersion.append(_mean(np.asarray(dispersions)))
    moved.cosines.append(cosines[~np.isnan(cosines)])


def _mean(values: NDArray[np.float64]) -> float:
    """Of what is no NaN; NaN where there is nothing else."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else math.nan


def _with_others(vectors: Embeddings) -> NDArray[np.float64]:
    """For each vector that is not zero, its mean cosine with all others; none where there are no two."""
    wide = vectors.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    units = wide[lengths[:, 0] > 0] / lengths[lengths[:, 0] > 0]
    if len(units) < 2:
        return np.empty(0)
    means: NDArray[np.float64] = (units * (units.sum(axis=0) - units)).sum(axis=1) / (len(units) - 1)
    return means


def _lines(level: Level, moved: _Moves, seed: int) -> list[Line]:
    cosines = np.concatenate(moved.cosines) if moved.cosines else np.empty(0)
    low = float(np.quantile(cosines, _LOW)) if cosines.size else math.nan
    return [
        Line(f"{level}, cosine", estimate(moved.cosine, seed=seed), estimate(moved.control, seed=seed), 1.0),
        Line(f"{level}, cosine 5 % quantile", Estimate(low, low, low, cosines.size), None, 1.0),
        Line(f"{level}, dispersion", estimate(moved.dispersion, seed=seed), None, 0.0),
    ]
