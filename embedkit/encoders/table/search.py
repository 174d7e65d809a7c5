"""Search among the columns of many tables, such as for columns to join on.

Whole tables need no class of their own: encoders from `table_encoder` and `part_encoder` share the vector space of
their text encoder, so that a `FaissIndex` of tables answers questions in words.

Example:
    >>> import embedkit as ek
    >>> from embedkit.encoders.table.encoder import table_encoder
    >>> text_encoder, index = ek.load(), ek.FaissIndex()
    >>> tables = {"towns": {"city": ["Paris", "Rome"]}, "zoo": {"animal": ["lion", "bear"], "age": [3, 7]}}
    >>> index.add(tables, table_encoder(text_encoder).encode(list(tables.values())))
    >>> index.search(text_encoder.encode("How old are the animals?"), k=1).ids.tolist()
    ['zoo']
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from embedkit.encoders.encoder import Encoder
from embedkit.encoders.inputs import described
from embedkit.encoders.table.table import Table, as_table
from embedkit.encoders.table.vectors import MOST_ROWS, table_vectors
from embedkit.errors import CorruptFileError, IncompatibleIndexError, InputError
from embedkit.index.faiss_index import FaissIndex
from embedkit.types import Embeddings

__all__ = ["ColumnHit", "ColumnIndex"]

_COLUMNS_AT_A_TIME = 1024
_HOLDS = "columns"


@dataclass(frozen=True, slots=True)
class ColumnHit:
    """One answer.

    Attributes:
        table: Name of the table.
        column: Name of the column in it.
        score: Cosine of the two columns' vectors; higher is nearer.
    """

    table: str
    column: str
    score: float


class ColumnIndex:
    """Columns of many tables, found by their likeness to another column.

    Each column is read alone, as a table of one column without a name, so that no column depends on its neighbours;
    `part_encoder(text_encoder)` is made for it. Blank columns are not kept: there is nothing to join them on.

    Args:
        encoder: Of tables.

    Example:
        >>> import embedkit as ek
        >>> from embedkit.encoders.table.parts import part_encoder
        >>> index = ColumnIndex(part_encoder(ek.load()))
        >>> towns = {"city": ["Paris", "Rome", "Oslo"], "people": [2100000, 2800000, 700000]}
        >>> index.add({"towns": towns, "trips": {"to": ["Oslo", "Rome"], "price": [99.5, 120]}})
        []
        >>> [(hit.table, hit.column) for hit in index.search(("trips", "to"), k=1)]
        [('towns', 'city')]
        >>> [hit.column for hit in index.search({"destination": ["Rome", "Paris"]}, k=2)]
        ['city', 'to']
    """

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self._index = FaissIndex(encoder.get_embedding_dimension())
        self._ids: dict[str, list[str]] = {}

    @property
    def tables(self) -> list[str]:
        """Names of the tables that have a column here, in the order of adding."""
        return list(self._ids)

    def __len__(self) -> int:
        """How many columns there are."""
        return len(self._index)

    def __repr__(self) -> str:
        return f"ColumnIndex({len(self)} columns of {len(self._ids)} tables)"

    def add(self, tables: Mapping[str, Any] | Iterable[Table]) -> list[tuple[str, str]]:
        """Add all columns of new tables; all of them or, on an error, none.

        Args:
            tables: What `as_table` reads, by name; or tables of type `Table`, which have one. Tables of several
                databases want names such as "school.Student".

        Returns:
            (table, column) of each column that was left out: it is blank, or the encoder knows nothing in it.

        Raises:
            InputError: A name is empty, known or repeated, or something is no table.
        """
        named = self._named(tables)
        names = [(name, column) for name, table in named.items() for column in table.columns]
        vectors = self._vectors([column for table in named.values() for column in _columns(table)])
        kept = np.flatnonzero(vectors.any(axis=1)).tolist()
        ids = {place: _id(*names[place]) for place in kept}
        self._index.add(ids.values(), vectors[kept])
        for place, id in ids.items():
            self._ids.setdefault(names[place][0], []).append(id)
        return [pair for place, pair in enumerate(names) if place not in ids]

    def remove(self, table: str) -> None:
        """Remove all columns of a table.

        Raises:
            InputError: The table has no column here.
        """
        self._index.remove(self._ids_of(table))
        del self._ids[table]

    def search(self, columns: Any, k: int = 10, *, exclude_own_table: bool = True) -> Any:
        """The columns most like one column, or like each of many.

        Args:
            columns: One column, or a list of them; each is (table, column), the names of a column that is here, or a
                table of one column, of any kind that `as_table` reads.
            k: How many answers, at least 1; fewer come back when there are fewer columns.
            exclude_own_table: Whether columns of the same table are passed over: of the one that is named, or that has
                the name of a `Table` that is given. A named column itself is always its own nearest otherwise.

        Returns:
            A list of `ColumnHit`, best first, equal scores in the order of adding; for a list, a list of such lists.

        Raises:
            InputError: A column is unknown or blank, a table has several columns, or k < 1.
        """
        if not isinstance(k, int | np.integer) or isinstance(k, bool) or k < 1:
            message = f"k must be a positive integer; received {k!r}"
            raise InputError(message)
        single = not isinstance(columns, list)
        queries = [columns] if single else columns
        own, vectors = self._queries(queries)
        passed_over = [set(self._ids.get(name, ())) if exclude_own_table else set() for name in own]
        # As many more as may be passed over; the index itself would gather all others for each query.
        scores, ids = self._index.search(vectors, k + max(map(len, passed_over), default=0))
        found = [
            [(id, float(score)) for id, score in zip(*row, strict=True) if id not in without][:k]
            for *row, without in zip(ids, scores, passed_over, strict=True)
        ]
        hits = [[ColumnHit(*_names(id), score) for id, score in each] for each in found]
        return hits[0] if single else hits

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the index into `folder`, as `FaissIndex.save` does; the encoder is saved by itself.

        Raises:
            IncompatibleIndexError: The folder holds an index of a newer format.
            LockedIndexError: Another process is saving into the folder.
            StorageError: The disk refused; what was there before is still the current one.
        """
        self._index.save(folder, info={"holds": _HOLDS, "encoder": self.encoder.fingerprint})

    @classmethod
    def load(cls, folder: str | os.PathLike[str], encoder: Encoder) -> Self:
        """Open a saved index.

        Args:
            folder: Where `save` wrote.
            encoder: The one it was built with.

        Raises:
            CorruptFileError: A file is missing or damaged, or the folder holds another kind of index.
            IncompatibleIndexError: Built by another encoder, or by a newer format.
        """
        stored = FaissIndex.load(folder)
        if stored.info.get("holds") != _HOLDS:
            message = f"{folder} holds a FaissIndex that no ColumnIndex wrote"
            raise CorruptFileError(message)
        if stored.info["encoder"] != encoder.fingerprint:
            message = f"{folder} was built by another encoder: open it with that one, or add the tables to a new index"
            raise IncompatibleIndexError(message)
        index = cls(encoder)
        index._index = stored
        for id in map(str, stored.ids):
            index._ids.setdefault(_names(id)[0], []).append(id)
        return index

    def _named(self, tables: Mapping[str, Any] | Iterable[Table]) -> dict[str, Table]:
        named = {}
        for name, value in tables.items() if isinstance(tables, Mapping) else _with_names(tables):
            if not isinstance(name, str) or not name:
                message = f"a table must have a name: text that is not empty; received {name!r}"
                raise InputError(message)
            if name in self._ids or name in named:
                what = "is in the index: remove it first" if name in self._ids else "comes twice"
                message = f"names of tables must be new; {name!r} {what}"
                raise InputError(message)
            named[name] = _checked(as_table(value, name=name, max_rows=MOST_ROWS))
        return named

    def _queries(self, queries: Sequence[Any]) -> tuple[list[str], Embeddings]:
        """The table of each query, or "", and its vector."""
        own: list[str] = []
        vectors = np.zeros((len(queries), self.encoder.get_embedding_dimension() or 0), dtype=np.float32)
        given: dict[int, Table] = {}
        for position, query in enumerate(queries):
            if isinstance(query, tuple):
                own.append(_pair(query)[0])
                vectors[position] = self._index.vectors([self._id_of(*query)])[0]
                continue
            table = as_table(query, max_rows=MOST_ROWS)
            if len(table.columns) != 1:
                message = f"a table to search with must have one column; it has {len(table.columns)}: pick one of them"
                raise InputError(message)
            own.append(table.name)
            (given[position],) = _columns(table)
        vectors[list(given)] = self._vectors(list(given.values()))
        if (blank := np.flatnonzero(~vectors.any(axis=1))).size:
            name = given[int(blank[0])].columns[0]
            message = f"a column to search with must have a cell that the encoder reads; {name!r} has none"
            raise InputError(message)
        return own, vectors

    def _vectors(self, columns: Sequence[Table]) -> Embeddings:
        """One for each column; zeros where there is nothing to read."""
        vectors = np.zeros((len(columns), self.encoder.get_embedding_dimension() or 0), dtype=np.float32)
        filled = [place for place, column in enumerate(columns) if any(cell.strip() for (cell,) in column.rows)]
        for start in range(0, len(filled), _COLUMNS_AT_A_TIME):
            places: NDArray[np.int64] = np.array(filled[start : start + _COLUMNS_AT_A_TIME])
            read = table_vectors(self.encoder, [columns[place] for place in places], parts=["columns"])
            vectors[places] = np.concatenate([each.columns for each in read])
        return vectors

    def _ids_of(self, table: str) -> list[str]:
        if table not in self._ids:
            message = f"table must be in the index; {table!r} is not"
            raise InputError(message)
        return self._ids[table]

    def _id_of(self, table: str, column: str) -> str:
        id = _id(table, column)
        if id not in self._ids_of(table):
            message = f"column must be in the index; {column!r} of table {table!r} is not"
            raise InputError(message)
        return id


def _id(table: str, column: str) -> str:
    return json.dumps([table, column])


def _names(id: str) -> tuple[str, str]:
    table, column = json.loads(id)
    return table, column


def _pair(query: tuple[Any, ...]) -> tuple[str, str]:
    if len(query) != 2 or not all(isinstance(name, str) for name in query):
        message = f"a column of the index must be named by (table, column); received {described(query)}"
        raise InputError(message)
    return query


def _with_names(tables: Any) -> Iterable[tuple[str, Table]]:
    if not isinstance(tables, Iterable) or isinstance(tables, Table):
        message = f"tables must be a dict of them by name, or a list of type Table; received {type(tables).__name__}"
        raise InputError(message)
    for table in tables:
        if not isinstance(table, Table):
            message = f"tables without type Table must come in a dict by name; received {described(table)}"
            raise InputError(message)
        yield table.name, table


def _checked(table: Table) -> Table:
    if len(set(table.columns)) < len(table.columns):
        message = f"columns of a table must have different names; table {table.name!r} repeats one"
        raise InputError(message)
    return table


def _columns(table: Table) -> list[Table]:
    """Each column alone, with no name of a table."""
    return [Table("", (name,), [(row[place],) for row in table.rows]) for place, name in enumerate(table.columns)]
