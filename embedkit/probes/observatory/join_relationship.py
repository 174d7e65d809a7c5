"""Join relationship (P3): do vectors of columns follow how much their values overlap?"""

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from embedkit.encoders.encoder import Encoder
from embedkit.encoders.table.keys import ForeignKey
from embedkit.encoders.table.overlap import containment, jaccard, multiset_jaccard
from embedkit.encoders.table.table import Table
from embedkit.encoders.table.vectors import table_vectors
from embedkit.errors import InputError
from embedkit.probes.observatory.finding import Estimate, Finding, Line
from embedkit.probes.observatory.measures import cosine
from embedkit.types import Embeddings

__all__ = ["ColumnPair", "column_pairs", "graded_pairs", "join_relationship"]

_Floats: TypeAlias = NDArray[np.float64]

_OVERLAPS = {"containment": containment, "Jaccard": jaccard, "multiset Jaccard": multiset_jaccard}
_DECIMALS = 6
"""Cosines of float32 vectors are equal up to this: batches of other widths move the digits behind it."""
_RESAMPLES = 2000
_LEVEL = 0.95
_COLUMNS_AT_A_TIME = 64
_FEWEST_VALUES, _MOST_VALUES = 4, 20
"""Of each side of a graded pair; not more than `join_relationship` reads unless told to."""


@dataclass(frozen=True, slots=True)
class ColumnPair:
    """Two columns, each cut out of its table.

    Attributes:
        query: The column whose values are looked up, as a table of one column.
        candidate: The column that may hold them, likewise.
        joins: Whether the pair is a declared foreign key; None where nobody knows.
    """

    query: Table
    candidate: Table
    joins: bool | None = None

    def __post_init__(self) -> None:
        for side, column in (("query", self.query), ("candidate", self.candidate)):
            if not isinstance(column, Table) or len(column.columns) != 1:
                came = f"{len(column.columns)} columns" if isinstance(column, Table) else type(column).__name__
                message = f"{side} must be a Table of one column; received {came}: cut the column out of its table"
                raise InputError(message)


def join_relationship(
    encoder: Encoder, pairs: Sequence[ColumnPair], *, max_values: int | None = 20, seed: int = 0
) -> Finding:
    """Rank correlation between the cosine of two columns and how much their values overlap.

        rho = Spearman over pairs of (cos(E(query), E(candidate)), overlap(query, candidate))

    for overlap = containment, Jaccard and multiset Jaccard of the whole columns, whatever part of them is read. Where
    some pairs are declared keys and some are not, also the probability that a key has the higher cosine (AUC, ties
    count half). Each column is read alone, under its own name and no table's.

    Args:
        encoder: Of tables.
        pairs: At least two whose columns have values, such as `column_pairs` and `graded_pairs` give. Others are left
            out.
        max_values: How many of a column's distinct values are read, the first ones; 0 reads its name alone. None gives
            all to the encoder, which samples by its own rule.
        seed: Of the control and the intervals.

    Returns:
        Lines "Spearman with containment", "Spearman with Jaccard", "Spearman with multiset Jaccard" and, where it is
        defined, "AUC, declared key or not". Their control sets beside each overlap the cosine of the query with the
        candidate of another pair, drawn at random: 0, or 0.5 of the AUC, but for chance and for what the query alone
        gives away. A correlation is NaN where all cosines or all overlaps are equal. Intervals are
        bootstrap intervals (BCa) over pairs; pairs that share a column are not independent, so they are rather too
        narrow.

    Raises:
        InputError: `encoder` reads no tables, fewer than two pairs have values, or `max_values` is out of range.

    Example:
        >>> import embedkit as ek
        >>> from embedkit.encoders.table.parts import part_encoder
        >>> trees = Table("", ("tree",), [(name,) for name in "oak ash elm fir yew box bay fig".split()])
        >>> finding = join_relationship(part_encoder(ek.load()), graded_pairs([trees]))
        >>> finding["Spearman with Jaccard"].estimate.value > 0.5
        True

    Reference:
        T. Cong, M. Hulsebos, Z. Sun, P. Groth, H. V. Jagadish: "Observatory: Characterizing Embeddings of Relational
        Tables", PVLDB 17(4), 2024, property 3.

    Deviations:
        The paper draws candidates for joins between data sets (NextiaJD); here pairs are what the caller brings.
        Intervals, the control and the AUC of declared keys are added. Cosines that agree to six decimals are ties.
    """
    if max_values is not None and (type(max_values) is not int or max_values < 0):
        message = f"max_values must be None or a count from 0; received {max_values!r}"
        raise InputError(message)
    filled = _filled(pairs)
    columns, places = _distinct([side for pair in filled for side in (pair.query, pair.candidate)], max_values)
    vectors = _vectors(encoder, columns)
    # A zero vector has no cosine.
    there = np.logical_and.reduce((vectors != 0).any(axis=1)[places].reshape(-1, 2), axis=1)
    used = [pair for pair, has_cosine in zip(filled, there, strict=True) if has_cosine]
    _check_enough(len(used), len(pairs))
    queries, candidates = vectors[places[::2]][there], vectors[places[1::2]][there]
    near, by_chance = _cosines(queries, candidates), _cosines(queries, candidates[_others(len(used), seed)])
    lines = [_correlation(name, used, near, by_chance, seed) for name in _OVERLAPS]
    lines += _discrimination(used, near, by_chance, seed)
    left_out = len(pairs) - len(used)
    notes = (f"{left_out} of {len(pairs)} pairs left out: a column has no value or a zero vector",) if left_out else ()
    return Finding("join relationship", "Do columns lie nearer the more values they share?", tuple(lines), notes)


def _filled(pairs: Sequence[ColumnPair]) -> list[ColumnPair]:
    """Pairs whose columns have values."""
    if not isinstance(pairs, list | tuple) or not all(isinstance(pair, ColumnPair) for pair in pairs):
        message = "pairs must be a list of ColumnPairs: column_pairs makes them from keys, graded_pairs from tables"
        raise InputError(message)
    filled = [pair for pair in pairs if _values(pair.query) and _values(pair.candidate)]
    _check_enough(len(filled), len(pairs))
    return filled


def _check_enough(left: int, total: int) -> None:
    if left < 2:
        message = (
            "a correlation needs at least two pairs of columns that have values, and vectors that are not zero; "
            f"{left} of {total} pairs have them: bring more pairs"
        )
        raise InputError(message)


def _values(column: Table) -> dict[str, None]:
    """Distinct values, in the order in which they first occur."""
    return dict.fromkeys(cell for (cell,) in column.rows if cell.strip())


def _distinct(columns: Iterable[Table], max_values: int | None) -> tuple[list[Table], list[int]]:
    """What is read: each different column once; and the place of each of `columns` among them."""
    read = [Table("", column.columns, [(value,) for value in list(_values(column))[:max_values]]) for column in columns]
    places = {column: place for place, column in enumerate(dict.fromkeys(read))}
    return list(places), [places[column] for column in read]


def _vectors(encoder: Encoder, columns: Sequence[Table]) -> Embeddings:
    starts = range(0, len(columns), _COLUMNS_AT_A_TIME)
    batches = [columns[start : start + _COLUMNS_AT_A_TIME] for start in starts]
    shown = tqdm(batches, desc="columns", disable=None, delay=2)
    read = [each for batch in shown for each in table_vectors(encoder, batch, parts=["columns"])]
    return np.concatenate([each.columns for each in read])


def _cosines(queries: Embeddings, candidates: Embeddings) -> _Floats:
    rounded: _Floats = np.round(cosine(queries, candidates), _DECIMALS)
    return rounded


def _others(count: int, seed: int) -> NDArray[np.int64]:
    """For each position another one; each is drawn once."""
    order = np.random.default_rng(seed).permutation(count)
    others = np.empty(count, dtype=np.int64)
    others[order] = np.roll(order, 1)
    return others


# Lines


def _correlation(name: str, pairs: Sequence[ColumnPair], near: _Floats, by_chance: _Floats, seed: int) -> Line:
    overlap = np.array([_OVERLAPS[name](_cells(pair.query), _cells(pair.candidate)) for pair in pairs])
    measured, control = (
        _bootstrapped([cosines, overlap], _spearman, paired=True, seed=seed) for cosines in (near, by_chance)
    )
    return Line(f"Spearman with {name}", measured, control, ideal=1.0)


def _cells(column: Table) -> list[str]:
    return [cell for (cell,) in column.rows if cell.strip()]


def _discrimination(pairs: Sequence[ColumnPair], near: _Floats, by_chance: _Floats, seed: int) -> Iterator[Line]:
    keys, others = (np.array([pair.joins is joins for pair in pairs]) for joins in (True, False))
    if keys.any() and others.any():
        measured, control = (
            _bootstrapped([cosines[keys], cosines[others]], _auc, paired=False, seed=seed)
            for cosines in (near, by_chance)
        )
        yield Line("AUC, declared key or not", measured, control, ideal=1.0)


def _spearman(a: Any, b: Any, axis: int = -1) -> Any:
    """Pearson's correlation of the ranks; NaN where either is constant."""
    from scipy.stats import rankdata

    first, second = (rankdata(values, axis=axis) for values in (a, b))
    first, second = (ranks - ranks.mean(axis=axis, keepdims=True) for ranks in (first, second))
    with np.errstate(invalid="ignore"):
        return (first * second).sum(axis=axis) / np.sqrt((first**2).sum(axis=axis) * (second**2).sum(axis=axis))


def _auc(keys: Any, others: Any, axis: int = -1) -> Any:
    """How often one of `keys` is above one of `others`; a tie is half a time."""
    from scipy.stats import rankdata

    number, other_number = keys.shape[axis], others.shape[axis]
    ranks = rankdata(np.concatenate([keys, others], axis=axis), axis=axis)
    total = np.take(ranks, range(number), axis=axis).sum(axis=axis)
    return (total - number * (number + 1) / 2) / (number * other_number)


def _bootstrapped(samples: list[_Floats], statistic: Callable[..., Any], *, paired: bool, seed: int) -> Estimate:
    """A statistic with its BCa interval; with that of the percentiles where BCa is not defined.

    Resamples that do not define the statistic are left out.
    """
    from scipy.stats import bootstrap

    value = float(statistic(*samples))
    number = len(samples[0]) if paired else sum(map(len, samples))
    if math.isnan(value) or min(map(len, samples)) < 2:
        return Estimate(value, value, value, number)
    with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
        warnings.simplefilter("ignore")  # that the interval is degenerate, which is mended below
        found = bootstrap(
            samples,
            statistic,
            n_resamples=_RESAMPLES,
            batch=100,
            paired=paired,
            confidence_level=_LEVEL,
            random_state=np.random.default_rng(seed),
        )
    low, high = found.confidence_interval
    if math.isnan(low + high):
        low, high = np.nanquantile(found.bootstrap_distribution, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return Estimate(value, min(float(low), value), max(float(high), value), number)


# Pairs


def column_pairs(
    tables: Mapping[tuple[str, str], Table], keys: Iterable[ForeignKey], *, seed: int = 0
) -> list[ColumnPair]:
    """Declared foreign keys, and as many pairs of columns of the same databases that are none.

    Args:
        tables: By names of database and table. Names are compared without regard to case.
        keys: Those that lead from or to another table or column are left out.
        seed: Which other pairs are drawn.

    Returns:
        First the keys, the column that refers being the query. Then, database by database, as many pairs as it has
        keys, or as there are: columns of different tables, drawn at random, that no key joins in either direction.
        Columns without a value are in no pair.

    Raises:
        InputError: The names of two tables of a database differ in nothing but case.

    Example:
        >>> people = Table("", ("name", "home"), [("Ann", "1"), ("Bob", "2")])
        >>> cities = Table("", ("id", "city"), [("1", "Bonn"), ("2", "Metz")])
        >>> key = ForeignKey("people", "home", "cities", "ID", "world")
        >>> pairs = column_pairs({("world", "people"): people, ("world", "cities"): cities}, [key])
        >>> [(pair.query.columns[0], pair.candidate.columns[0], pair.joins) for pair in pairs][0]
        ('home', 'id', True)
        >>> len(pairs)
        2

    Deviations:
        The Observatory has no such negatives. Two columns that refer to the same third are joined by no declared key,
        and may be drawn.
    """
    columns = _columns_by_name(tables)
    declared: dict[tuple[_Name, _Name], None] = {}
    for key in keys:
        ends = (
            _folded(key.database, key.table, key.column),
            _folded(key.database, key.parent_table, key.parent_column),
        )
        if all(end in columns for end in ends):
            declared[ends] = None
    pairs = [ColumnPair(columns[query], columns[candidate], joins=True) for query, candidate in declared]
    joined = declared.keys() | {(candidate, query) for query, candidate in declared}
    random = np.random.default_rng(seed)
    for database in dict.fromkeys(query[0] for query, _ in declared):
        names = [name for name in columns if name[0] == database]
        free = [(a, b) for a in names for b in names if a[1] != b[1] and (a, b) not in joined]
        wanted = sum(query[0] == database for query, _ in declared)
        drawn = random.permutation(len(free))[:wanted]
        pairs += [ColumnPair(columns[free[place][0]], columns[free[place][1]], joins=False) for place in drawn]
    return pairs


_Name: TypeAlias = tuple[str, ...]
"""Database, table and column, in lower case."""


def _folded(*names: str) -> _Name:
    return tuple(map(str.lower, names))


def _columns_by_name(tables: Mapping[tuple[str, str], Table]) -> dict[_Name, Table]:
    """Each column that has a value."""
    seen: set[_Name] = set()
    columns: dict[_Name, Table] = {}
    for (database, name), table in tables.items():
        place = _folded(database, name)
        if place in seen:
            message = f"tables of a database must differ in more than case; there are two of {database!r}, {name!r}"
            raise InputError(message)
        seen.add(place)
        for at in range(len(table.columns)):
            column = _column(table, at)
            if _values(column):
                columns[_folded(database, name, column.columns[0])] = column
    return columns


def _column(table: Table, at: int) -> Table:
    return Table("", table.columns[at : at + 1], [row[at : at + 1] for row in table.rows])


def graded_pairs(
    tables: Iterable[Table], *, steps: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0), seed: int = 0
) -> list[ColumnPair]:
    """Pairs that share just so much: the finer test, where keys share all of their values and other columns none.

    Of each column with 8 distinct values or more, two equally large sets are drawn, of at most 20 values: the query,
    and what the candidates take where they do not take values of the query. The candidate of a step s holds a share s
    of the query, rounded to whole values. So the containment is s and the Jaccard index s / (2 − s), sizes and names
    are the same on both sides, and nothing but values can tell the pairs of a column apart.

    Args:
        tables: Whose columns are taken.
        steps: Shares, each from 0 to 1.
        seed: Which values are drawn, and in which order they stand.

    Returns:
        One pair for each column and step.

    Raises:
        InputError: A step is out of range.

    Example:
        >>> trees = Table("", ("tree",), [(name,) for name in "oak ash elm fir yew box bay fig".split()])
        >>> [containment(_cells(pair.query), _cells(pair.candidate)) for pair in graded_pairs([trees])]
        [0.0, 0.25, 0.5, 0.75, 1.0]

    Deviations:
        Not in the paper, whose pairs have whatever overlap their columns happen to have.
    """
    if wrong := [step for step in steps if not 0 <= step <= 1]:
        message = f"steps must be shares between 0 and 1; received {wrong[0]!r}"
        raise InputError(message)
    random = np.random.default_rng(seed)
    pairs = []
    for table in tables:
        for column in (_column(table, at) for at in range(len(table.columns))):
            values = list(_values(column))
            size = min(len(values) // 2, _MOST_VALUES)
            if size < _FEWEST_VALUES:
                continue
            drawn = random.permutation(len(values))[: 2 * size]
            query = _of(column, values, drawn[:size])
            for step in steps:
                shared = round(step * size)
                mixed = random.permutation([*drawn[:shared], *drawn[size : 2 * size - shared]])
                pairs.append(ColumnPair(query, _of(column, values, mixed)))
    return pairs


def _of(column: Table, values: Sequence[str], places: Iterable[int]) -> Table:
    return Table("", column.columns, [(values[place],) for place in places])
