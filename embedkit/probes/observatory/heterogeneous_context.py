"""What the rest of its table does to the vector of a column."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from embedkit.encoders.encoder import Encoder
from embedkit.encoders.table.names import shared_names
from embedkit.encoders.table.table import Table, as_table, counted
from embedkit.encoders.table.vectors import MOST_ROWS, table_vectors
from embedkit.errors import InputError
from embedkit.probes.observatory.finding import Estimate, Finding, Line, estimate
from embedkit.probes.observatory.measures import cosine
from embedkit.probes.observatory.variants import Variant
from embedkit.types import Embeddings

__all__ = ["heterogeneous_context"]

_QUESTION = "Does a column's vector tell its semantic type, and stay, when the rest of its table is read with it?"
_CONTEXTS = ("alone", "with subject column", "with neighbours", "whole table")
_SHUFFLES = 200


@dataclass(frozen=True)
class _Target:
    """A column of some type: its vector in each context, (contexts, dim), and those of the rest of the whole table."""

    kind: str
    vectors: Embeddings
    others: Embeddings


def heterogeneous_context(
    encoder: Encoder, tables: Iterable[Any], *, min_tables: int = 3, num_types: int = 10, seed: int = 0
) -> Finding:
    """P8: how vectors of columns cluster by semantic type, alone and in the context of their tables.

    A semantic type is a header that many tables share, such as "city". The headers are then blanked in every table, so
    that types can be told by values only. Each such column is read in four contexts: "alone"; "with subject column",
    the first other column of text in its table; "with neighbours", the column on its left and that on its right;
    "whole table". In each, k-means makes as many clusters C_1 … C_k as there are types T_1 … T_k, and

        purity = (1 / n) Σ_i max_j |C_i ∩ T_j|.

    Its control is the mean purity of the same clusters when the types are dealt out to the columns at random, with an
    interval that holds 95 % of the deals. "alone in context, cosine" is cos(alone, whole table) of the same column, its
    control the mean of cos(alone, other) over the other columns of the whole table.

    Args:
        encoder: Of tables.
        tables: Each what `as_table` reads; those with fewer than 2 columns that hold something say nothing of context.
        min_tables: Fewest tables that share a header for it to be a type.
        num_types: Most types, those of most columns; 2 or more.
        seed: Of k-means, shuffles and intervals.

    Returns:
        The lines "<context>, purity" of the four contexts, and "alone in context, cosine"; each a mean over columns.

    Raises:
        InputError: The encoder reads no tables, a number is out of range, or fewer than 2 types are there.

    Example:
        >>> import embedkit as ek
        >>> from embedkit.encoders.table.parts import part_encoder
        >>> tables = [
        ...     {"city": ["Paris", "Rome"], "year": [1990, 1995]},
        ...     {"year": [2001, 2002], "city": ["Oslo", "Bonn"]},
        ... ]
        >>> finding = heterogeneous_context(part_encoder(ek.load()), tables, min_tables=2)
        >>> finding["whole table, purity"].estimate.value
        1.0

    Reference:
        T. Cong, M. Hulsebos, Z. Sun, P. Groth, H. V. Jagadish, "Observatory: Characterizing Embeddings of Relational
        Tables", PVLDB 17(4), 2024, property 8.

    Deviations:
        The paper takes its types from the labels of SOTAB; shared headers stand for them here. Where a table does not
        fit the encoder's window, every context reads only the rows and columns that are kept of the whole table, so
        that contexts differ in nothing else. Names of tables are blanked too, and columns without values left out. A
        column is one of text when more than half of its values have more letters than digits; where there is no other
        one, "with subject column" reads the column alone. Intervals of purity take the clusters as given. The controls
        are added.
    """
    table_vectors(encoder, [])  # refuses what reads no tables
    if num_types < 2:
        message = f"num_types must be at least 2; received {num_types}"
        raise InputError(message)
    read = [_without_empty_columns(as_table(table, max_rows=MOST_ROWS)) for table in tables]
    wide = [table for table in read if table is not None]
    shared = shared_names(wide, min_tables=min_tables)
    types = sorted(shared, key=lambda name: -len(shared[name]))[:num_types]
    found, notes = _read_all(encoder, wide, {place: name for name in types for place in shared[name]})
    kinds, labels = np.unique([each.kind for each in found], return_inverse=True)
    if len(kinds) < 2:
        message = (
            f"at least 2 headers must each be shared by {counted(min_tables, 'table')} of 2 columns or more; received "
            f"{counted(len(read), 'table')} with {len(kinds)}: pass more tables of like content, or lower min_tables"
        )
        raise InputError(message)
    vectors = np.stack([each.vectors for each in found], axis=1)
    lines = [
        _purity_line(f"{context}, purity", each, labels, seed) for context, each in zip(_CONTEXTS, vectors, strict=True)
    ]
    lines.append(_cosine_line(found, seed))
    notes = [f"{len(kinds)} types: {', '.join(kinds)}", *notes]
    return Finding("heterogeneous context", _QUESTION, tuple(lines), tuple(notes))


def _without_empty_columns(table: Table) -> Table | None:
    """None where fewer than two columns are left."""
    filled = [column for column in range(len(table.columns)) if any(row[column].strip() for row in table.rows)]
    return Variant(range(len(table.rows)), filled).of(table) if len(filled) >= 2 else None


# Reading


def _read_all(
    encoder: Encoder, tables: Sequence[Table], kinds: Mapping[tuple[int, int], str]
) -> tuple[list[_Target], list[str]]:
    """The columns of which `kinds` gives the type, and notes on what was not read."""
    targets: dict[int, dict[int, str]] = {}
    for (place, column), kind in sorted(kinds.items()):
        targets.setdefault(place, {})[column] = kind
    found: list[_Target] = []
    clipped, unread = 0, list[str]()
    for place, columns in tqdm(targets.items(), desc="heterogeneous context", unit="table", disable=None):
        table = tables[place]
        blank = Table("", ("",) * len(table.columns), table.rows)
        try:
            whole = _whole(encoder, blank)
            clipped += (len(whole.rows), len(whole.columns)) < (len(table.rows), len(table.columns))
            kept = {whole.columns.index(column): kind for column, kind in columns.items() if column in whole.columns}
            found += _read(encoder, whole.of(blank), kept)
        except InputError as error:
            unread.append(str(error))
    notes = []
    if clipped:
        notes.append(
            f"{clipped:,} of {counted(len(targets), 'table')} did not fit the encoder's window: every context reads "
            "the rows and columns that are kept of the whole table"
        )
    if len(found) < len(kinds):
        why = f"; {unread[0]}" if unread else ""
        lost = len(kinds) - len(found)
        notes.append(f"{lost:,} of {counted(len(kinds), 'column')} left out, not to be read in every context{why}")
    return found, notes


def _whole(encoder: Encoder, table: Table) -> Variant:
    """What the encoder reads of a table."""
    read = table_vectors(encoder, table, parts=["columns"])
    rows: Sequence[int] = range(len(table.rows))
    if read.notes:  # something was left out: rows cost much with encoders that read parts, which leave out nothing
        rows = table_vectors(encoder, table, parts=["rows"]).row_numbers
    return Variant(rows, read.column_numbers)


def _read(encoder: Encoder, table: Table, kinds: Mapping[int, str]) -> list[_Target]:
    """Columns in their contexts, all from one call: what is the same text gives the same bits."""
    if len(table.columns) < 2:
        return []
    contexts = {target: _contexts(table, target) for target in kinds}
    asked = list(dict.fromkeys(context for each in contexts.values() for context in each))
    rows = range(len(table.rows))
    read = table_vectors(encoder, [Variant(rows, context).of(table) for context in asked], parts=["columns"])
    vectors = {
        context: {context[number]: vector for number, vector in zip(each.column_numbers, each.columns, strict=True)}
        for context, each in zip(asked, read, strict=True)
    }
    return [
        _Target(
            kind,
            np.stack([vectors[context][target] for context in contexts[target]]),
            np.stack([vector for column, vector in vectors[contexts[target][-1]].items() if column != target]),
        )
        for target, kind in kinds.items()
        if all(target in vectors[context] for context in contexts[target])
    ]


def _contexts(table: Table, target: int) -> list[tuple[int, ...]]:
    """Columns of each of the contexts of a column, in the order of the table."""
    width = len(table.columns)
    subject = next((column for column in range(width) if column != target and _is_text(table, column)), target)
    neighbours = range(max(0, target - 1), min(width, target + 2))
    return [(target,), tuple(sorted({subject, target})), tuple(neighbours), tuple(range(width))]


def _is_text(table: Table, column: int) -> bool:
    values = [value for row in table.rows if (value := row[column].strip())]
    return 2 * sum(sum(map(str.isalpha, value)) > sum(map(str.isdigit, value)) for value in values) > len(values)


# Measuring


def _purity_line(name: str, vectors: Embeddings, types: NDArray[np.int64], seed: int) -> Line:
    clusters = _clusters(vectors, int(types.max()) + 1, seed)
    draw = np.random.default_rng(seed)
    chance = [_hits(clusters, draw.permutation(types)).mean() for _ in range(_SHUFFLES)]
    low, high = np.quantile(chance, [0.025, 0.975])
    control = Estimate(float(np.mean(chance)), float(low), float(high), len(types))
    return Line(name, estimate(_hits(clusters, types), seed=seed), control, ideal=1.0)


def _clusters(vectors: Embeddings, number: int, seed: int) -> NDArray[np.int64]:
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different vectors than clusters: purity says it
        found = KMeans(number, n_init=10, random_state=seed).fit_predict(vectors.astype(np.float64))
    clusters: NDArray[np.int64] = found.astype(np.int64)
    return clusters


def _hits(clusters: NDArray[np.int64], types: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each column is of the type that most of its cluster are; the mean is the purity."""
    counts = np.zeros((clusters.max() + 1, types.max() + 1), dtype=np.int64)
    np.add.at(counts, (clusters, types), 1)
    hits: NDArray[np.bool_] = counts.argmax(axis=1)[clusters] == types
    return hits


def _cosine_line(found: Sequence[_Target], seed: int) -> Line:
    alone, whole = (np.stack([each.vectors[at] for each in found]) for at in (0, -1))
    others = [cosine(np.broadcast_to(each.vectors[0], each.others.shape), each.others).mean() for each in found]
    return Line("alone in context, cosine", estimate(cosine(alone, whole), seed=seed), estimate(others, seed=seed), 1.0)
