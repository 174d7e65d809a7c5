"""Vectors of a table and of its parts, whichever encoder read it."""

import json
from abc import abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias, get_args

from embedkit.encoders.encoder import Encoder
from embedkit.encoders.inputs import InputModule, described
from embedkit.encoders.table.table import Table, as_table
from embedkit.errors import InputError
from embedkit.types import Embeddings, Vector

Part: TypeAlias = Literal["columns", "rows", "cells"]
PARTS: tuple[Part, ...] = get_args(Part)

MOST_ROWS = 100_000
"""Tables of more rows are read at this many evenly spaced ones, so that memory stays bounded."""


@dataclass(frozen=True)
class TableVectors:
    """Vectors of one table and its parts; not normalised.

    Attributes:
        table: Of the whole table, (dim,).
        columns: One for each of `column_numbers`, (columns, dim).
        rows: One for each of `row_numbers`, (rows, dim).
        cells: One for each of `cell_places`, (cells, dim).
        column_numbers: The columns that have something to read, counted from 0; () where none were asked for.
        row_numbers: Likewise the rows.
        cell_places: (row, column) of each cell that is not empty and was read.
        notes: What was left out to fit, in plain sentences.
    """

    table: Vector
    columns: Embeddings
    rows: Embeddings
    cells: Embeddings
    column_numbers: tuple[int, ...]
    row_numbers: tuple[int, ...]
    cell_places: tuple[tuple[int, int], ...]
    notes: tuple[str, ...] = ()


class TableModule(InputModule):
    """First module of an encoder of tables: what one input is. A subclass says how it is read."""

    expects: ClassVar[str] = "a table (DataFrame, Table, or dict of columns)"

    def is_single(self, inputs: Any) -> bool:
        """A frame, a `Table` or a dict of columns is one table; a list is a batch of them."""
        return not isinstance(inputs, list | tuple)

    def problem(self, value: Any) -> str | None:
        """Why `value` cannot be read as a table."""
        if isinstance(value, list | tuple):
            return f"received {described(value)}"
        try:
            as_table(value, max_rows=1)
        except InputError as error:
            return str(error)
        return None

    def key(self, value: Any) -> bytes | None:
        """Name, columns and cells."""
        table = as_table(value, max_rows=MOST_ROWS)
        return json.dumps([table.name, table.columns, [list(row) for row in table.rows]]).encode()

    @abstractmethod
    def vectors(
        self, encoder: Encoder, tables: Sequence[Table], parts: Collection[Part], num_layers: int | None
    ) -> list[TableVectors]:
        """Vectors of each table and of the parts asked for; `encoder` is the one that this module begins."""


def table_vectors(
    encoder: Encoder, tables: Any, *, parts: Collection[Part] = PARTS, num_layers: int | None = None
) -> Any:
    """Vectors of tables, their columns, rows and cells.

    An encoder from `table_encoder` reads a table once: each vector is the mean over the tokens that stand for the part,
    in the context of all others. One from `part_encoder` reads parts by themselves.

    Args:
        encoder: Of tables.
        tables: One table, or a list of them; each what `as_table` reads.
        parts: Which parts are wanted beside the table: any of "columns", "rows", "cells".
        num_layers: Read after this layer, 0 … depth; None reads the last.

    Returns:
        `TableVectors` for one table, a list of them for a list.

    Raises:
        InputError: The encoder reads no tables, something is no table, or a part is unknown.

    Example:
        >>> import embedkit as ek
        >>> from embedkit.encoders.table.encoder import table_encoder
        >>> read = table_vectors(table_encoder(ek.load()), {"city": ["Paris", "Rome"]})
        >>> read.rows.shape, read.cell_places
        ((2, 384), ((0, 0), (1, 0)))
    """
    module: Any = encoder[0] if isinstance(encoder, Encoder) else None
    if not isinstance(module, TableModule):
        message = (
            f"table_vectors needs an encoder of tables; received {type(module or encoder).__name__}: make one with "
            "table_encoder(text_encoder) or part_encoder(text_encoder)"
        )
        raise InputError(message)
    if unknown := [part for part in parts if part not in PARTS]:
        message = f"parts must be of {', '.join(PARTS)}; received {', '.join(map(repr, unknown))}"
        raise InputError(message)
    single = module.is_single(tables)
    read = [as_table(table, max_rows=MOST_ROWS) for table in ([tables] if single else tables)]
    found = module.vectors(encoder, read, parts, num_layers) if read else []
    return found[0] if single else found
