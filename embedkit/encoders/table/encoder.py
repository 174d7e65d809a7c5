"""Encoders that write a whole table as one text and read it at once."""

from collections.abc import Collection, Sequence
from typing import Any, Literal, TypeAlias, get_args

from sentence_transformers.base.modules import Transformer

from embedkit.encoders.encoder import Encoder
from embedkit.encoders.inputs import PreparedInputs, TransformerInput, tokenize
from embedkit.encoders.readout import TokenReadout, read_tokens, text_transformer
from embedkit.encoders.table.numbers import checked_digits, with_digits
from embedkit.encoders.table.serialise import Serialised, column_wise, row_wise
from embedkit.encoders.table.table import Table, as_table, counted, some
from embedkit.encoders.table.vectors import MOST_ROWS, Part, TableModule, TableVectors
from embedkit.errors import InputError

Layout: TypeAlias = Literal["columns", "rows"]


class TableInput(TransformerInput, TableModule):
    """First module of a table encoder: serialises a table, then runs a text transformer over it.

    Args:
        transformer: The text transformer.
        layout: "columns" writes column by column, "rows" row by row.
        header: Whether column names are written.
        digits: Significant digits of numbers with a decimal point; None writes them as they are.
    """

    config_keys: list[str] = ["layout", "header", "digits"]  # noqa: RUF012 (declared so by the base class)
    config_file_name = "table_config.json"

    def __init__(
        self,
        transformer: Transformer,
        *,
        layout: Layout = "columns",
        header: bool = True,
        digits: int | None = None,
    ) -> None:
        super().__init__(transformer)
        if layout not in get_args(Layout):
            message = f"layout must be one of {', '.join(get_args(Layout))}; received {layout!r}"
            raise InputError(message)
        self.layout = layout
        self.header = header
        self.digits = checked_digits(digits)

    def prepare(self, inputs: list[Any], prompt: str | None, task: str | None) -> PreparedInputs:
        """Serialise each table to the window, then tokenise."""
        del task
        tables = [as_table(value, max_rows=MOST_ROWS) for value in inputs]
        return tokenize(self.transformer, [(prompt or "") + self.serialise(table).text for table in tables])

    def serialise(self, table: Table) -> Serialised:
        """The text this encoder reads for `table`, with the places of its columns, rows and cells."""
        write = column_wise if self.layout == "columns" else row_wise
        return write(
            with_digits(table, self.digits),
            count_tokens=self._count_tokens,
            max_tokens=self._budget(),
            header=self.header,
        )

    def vectors(
        self, encoder: Encoder, tables: Sequence[Table], parts: Collection[Part], num_layers: int | None
    ) -> list[TableVectors]:
        """Means over the tokens that stand for each part, from one forward pass a table."""
        written = [self.serialise(table) for table in tables]
        readouts = read_tokens(encoder, [each.text for each in written], num_layers=num_layers)
        return [_pooled(readout, each, parts) for readout, each in zip(readouts, written, strict=True)]

    def _budget(self) -> int:
        return int(self.max_seq_length or 512) - int(self.tokenizer.num_special_tokens_to_add())

    def _count_tokens(self, text: str) -> int:
        encoded = self.tokenizer(text, add_special_tokens=False, truncation=False, verbose=False)
        return len(encoded["input_ids"])


def _pooled(readout: TokenReadout, written: Serialised, parts: Collection[Part]) -> TableVectors:
    asked: dict[Part, dict[Any, Any]] = {
        "columns": dict(enumerate(written.columns)),
        "rows": dict(zip(written.kept_rows, written.rows, strict=True)),
        "cells": dict(written.cells),
    }
    spans = {
        part: {place: each for place, each in found.items() if each} if part in parts else {}
        for part, found in asked.items()
    }
    pooled = {part: readout.pool(list(found.values())) for part, found in spans.items()}
    return TableVectors(
        table=readout.embeddings.mean(axis=0),
        columns=pooled["columns"],
        rows=pooled["rows"],
        cells=pooled["cells"],
        column_numbers=tuple(spans["columns"]),
        row_numbers=tuple(spans["rows"]),
        cell_places=tuple(spans["cells"]),
        notes=_left_out(written),
    )


def _left_out(written: Serialised) -> tuple[str, ...]:
    notes = []
    if written.dropped_rows:
        total = written.dropped_rows + len(written.kept_rows)
        notes.append(f"{written.dropped_rows:,} of {counted(total, 'row')} left out to fit the window")
    if written.dropped_columns:
        left = counted(len(written.dropped_columns), "column")
        notes.append(f"{left} left out to fit the window: {some(written.dropped_columns)}")
    return tuple(notes)


def table_encoder(
    text_encoder: Encoder, *, layout: Layout = "columns", header: bool = True, digits: int | None = None
) -> Encoder:
    """An encoder of whole tables that shares the modules of a text encoder, and so its vector space.

    Args:
        text_encoder: Begins with a text transformer.
        layout: "columns" writes column by column, "rows" row by row.
        header: Whether column names are written.
        digits: Significant digits of numbers with a decimal point; None writes them as they are.

    Returns:
        An encoder whose inputs are tables.

    Raises:
        InputError: `text_encoder` does not begin with a text transformer, or an option is out of range.

    Example:
        >>> import embedkit as ek
        >>> encoder = table_encoder(ek.load())
        >>> encoder.encode({"city": ["Paris", "Rome"], "country": ["France", "Italy"]}).shape
        (384,)
    """
    reader = TableInput(text_transformer(text_encoder), layout=layout, header=header, digits=digits)
    return Encoder([reader, *list(text_encoder)[1:]], device=str(text_encoder.device))
