"""Whether the vector of a column stays when its header is written another way."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from embedkit.encoders.encoder import Encoder
from embedkit.encoders.table.names import abbreviate, shared_names
from embedkit.encoders.table.table import Table, as_table
from embedkit.encoders.table.vectors import MOST_ROWS, table_vectors
from embedkit.errors import InputError
from embedkit.probes.observatory.finding import Finding, Line, estimate
from embedkit.probes.observatory.measures import cosine
from embedkit.types import Embeddings

__all__ = ["Renamed", "perturbation_robustness", "renamed_columns"]

_QUESTION = "Does the vector of a column stay when its header is abbreviated or replaced by a synonym?"
_AT_A_TIME = 192  # tables read in one call, which bounds memory; a multiple of the 3 of a pair


@dataclass(frozen=True)
class Renamed:
    """A column under its own header, and another way to write that header.

    Attributes:
        column: A table of one column that has a header; kept as a `Table`.
        header: The other header: an abbreviation, an expansion, a synonym, a translation.

    Raises:
        InputError: There is not exactly one column, a header is blank, or the two are the same.

    Example:
        >>> Renamed({"country": ["France", "Italy"]}, "nation").column.columns
        ('country',)
    """

    column: Table
    header: str

    def __post_init__(self) -> None:
        column = as_table(self.column, max_rows=MOST_ROWS)
        object.__setattr__(self, "column", column)
        if len(column.columns) != 1:
            message = (
                f"column must be a table of one column; received one of {len(column.columns)}: pass each by itself"
            )
            raise InputError(message)
        [own] = column.columns
        if not (isinstance(self.header, str) and own.strip() and self.header.strip() and own != self.header):
            message = f"the two headers must be different texts, neither blank; received {own!r} and {self.header!r}"
            raise InputError(message)


def perturbation_robustness(
    encoder: Encoder, renamed: Iterable[Renamed], *, max_values: int = 10, seed: int = 0
) -> Finding:
    """P7: cosine between the vectors of a column under two headers.

    For each pair i with the values v_i, the header h_i and the other way to write it r_i, the figure is

        cos(E(h_i, v_i), E(r_i, v_i)),

    where E(h, v) is the vector of the column in a table of this one column, without a name of the table. "header only"
    leaves v empty. The control puts in the place of r_i the header r_j of another pair, drawn at random among those
    that differ from h_i and r_i: cos(E(h_i, v_i), E(r_j, v_i)). Only what is above the control says that the encoder
    knows the two headers to mean the same.

    Args:
        encoder: Of tables, and one that reads headers.
        renamed: The pairs, such as `renamed_columns` gives.
        max_values: Of how many different values, the first ones, "header + values" shows the encoder; 1 or more.
        seed: Of the other pair's header and of the intervals.

    Returns:
        The lines "header only, cosine" and "header + values, cosine", each a mean over pairs.

    Raises:
        InputError: The encoder reads no tables or no headers, there is no pair, no other pair has another header, or
            `max_values` is out of range.

    Example:
        >>> import embedkit as ek
        >>> from embedkit.encoders.table.encoder import table_encoder
        >>> pairs = [Renamed({"country": ["France", "Italy"]}, "nation"), Renamed({"price": [3, 5]}, "cost")]
        >>> finding = perturbation_robustness(table_encoder(ek.load()), pairs)
        >>> finding["header only, cosine"].estimate.n
        2

    Reference:
        T. Cong, M. Hulsebos, Z. Sun, P. Groth, H. V. Jagadish, "Observatory: Characterizing Embeddings of Relational
        Tables", PVLDB 17(4), 2024, property 7.

    Deviations:
        The paper replaces the headers of whole tables; here a column is read by itself, so that the figure is about its
        own header. The header alone and the control are added.
    """
    pairs = list(renamed)
    _check(encoder, pairs, max_values)
    others = _other_headers(pairs, np.random.default_rng(seed))
    values = [_first_values(pair.column, max_values) for pair in pairs]
    filled = [place for place, found in enumerate(values) if found]
    lines = [
        _line("header only, cosine", encoder, [_versions(*each, ()) for each in zip(pairs, others, strict=True)], seed)
    ]
    if filled:
        shown = [_versions(pairs[place], others[place], values[place]) for place in filled]
        lines.append(_line("header + values, cosine", encoder, shown, seed))
    empty = len(pairs) - len(filled)
    notes = (f"{empty:,} of {len(pairs):,} columns hold no value and count for the header only",) if empty else ()
    return Finding("perturbation robustness", _QUESTION, tuple(lines), notes)


def renamed_columns(tables: Iterable[Any], renames: Mapping[str, str] | None = None) -> list[Renamed]:
    """The columns of some tables whose header can be written another way.

    Args:
        tables: Each what `as_table` reads.
        renames: From a header, spelled as in the tables, to the other one; headers that it lacks are left as they are.
            None abbreviates every header by `abbreviate`, and takes those that it changes in more than case and
            separators.

    Returns:
        One for each column that gets another header, in the order of the tables.

    Example:
        >>> tables = [{"Student": ["Ann", "Bob"], "id": [1, 2]}]
        >>> [(pair.column.columns, pair.header) for pair in renamed_columns(tables)]
        [(('Student',), 'stdnt')]
        >>> renamed_columns(tables, {"id": "identifier"})[0].column.rows
        (('1',), ('2',))
    """
    read = [as_table(table, max_rows=MOST_ROWS) for table in tables]
    named = sorted(place for places in shared_names(read, min_tables=1).values() for place in places)
    found = []
    for place, column in named:
        table = read[place]
        own = table.columns[column]
        other = _abbreviated(own) if renames is None else renames.get(own, own)
        if other != own:
            found.append(Renamed(Table(table.name, (own,), [(row[column],) for row in table.rows]), other))
    return found


def _abbreviated(name: str) -> str:
    """The abbreviation; the name itself where only case and separators would change."""
    short = abbreviate(name)
    return name if _bare(short) == _bare(name) else short


def _bare(name: str) -> str:
    return "".join(filter(str.isalnum, name.casefold()))


def _check(encoder: Encoder, pairs: Sequence[Renamed], max_values: int) -> None:
    table_vectors(encoder, [])  # refuses what reads no tables
    if not getattr(encoder[0], "header", True):
        message = "perturbation_robustness needs an encoder that reads headers; this one was made with header=False"
        raise InputError(message)
    if wrong := [pair for pair in pairs if not isinstance(pair, Renamed)]:
        message = f"renamed must hold Renamed only; it holds {type(wrong[0]).__name__}: make them with renamed_columns"
        raise InputError(message)
    if type(max_values) is not int or max_values < 1:
        message = f"max_values must be a count from 1; received {max_values!r}"
        raise InputError(message)
    if not pairs:
        message = "renamed must hold at least 2 pairs of headers; received none: pass renames that name the columns"
        raise InputError(message)


def _other_headers(pairs: Sequence[Renamed], draw: np.random.Generator) -> list[str]:
    """For each pair the new header of another one, never its own nor one that reads the same but for case."""
    headers = list(dict.fromkeys(pair.header for pair in pairs))
    found = []
    for pair in pairs:
        own = {pair.column.columns[0].casefold(), pair.header.casefold()}
        strange = [header for header in headers if header.casefold() not in own]
        if not strange:
            message = (
                "each pair needs another pair with a different header for its control; "
                f"{pair.column.columns[0]!r} → {pair.header!r} has none: pass pairs of more columns"
            )
            raise InputError(message)
        found.append(strange[draw.integers(len(strange))])
    return found


def _first_values(column: Table, most: int) -> tuple[str, ...]:
    values = dict.fromkeys(row[0] for row in column.rows if row[0].strip())
    return tuple(values)[:most]


def _versions(pair: Renamed, other: str, values: Sequence[str]) -> list[Table]:
    """The column under its own header, under the new one, and under that of another pair."""
    headers = (pair.column.columns[0], pair.header, other)
    return [Table("", (header,), [(value,) for value in values]) for header in headers]


def _line(name: str, encoder: Encoder, versions: Sequence[Sequence[Table]], seed: int) -> Line:
    own, new, other = _read(encoder, [table for each in versions for table in each])
    return Line(name, estimate(cosine(own, new), seed=seed), estimate(cosine(own, other), seed=seed), ideal=1.0)


def _read(encoder: Encoder, tables: Sequence[Table]) -> Embeddings:
    """Vectors of tables of one column, as (3, pairs, dim)."""
    found = []
    for start in range(0, len(tables), _AT_A_TIME):
        read = table_vectors(encoder, tables[start : start + _AT_A_TIME], parts=["columns"])
        found += [each.columns[0] for each in read]
    vectors: Embeddings = np.stack(found).reshape(-1, 3, len(found[0])).swapaxes(0, 1)
    return vectors
