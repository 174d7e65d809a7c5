"""Encoders that read whole tables, and the vectors of their columns and rows."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, TypeAlias, get_args

from sentence_transformers.base.modules import Transformer

from embedkit.encoders.encoder import Encoder
from embedkit.encoders.inputs import Features, InputModule, PreparedInputs, described, tokenize
from embedkit.encoders.readout import read_tokens, text_transformer
from embedkit.encoders.table.serialise import Serialised, column_wise, row_wise
from embedkit.encoders.table.table import Table, as_table
from embedkit.errors import InputError
from embedkit.types import Embeddings, Vector

Layout: TypeAlias = Literal["columns", "rows"]


class TableInput(InputModule):
    """First module of a table encoder: serialises a table, then runs a text transformer over it.

    Args:
        transformer: The text transformer.
        layout: "columns" writes column by column, "rows" row by row.
        header: Whether column names are written.
    """

    expects: ClassVar[str] = "a table (DataFrame, Table, or dict of columns)"
    config_keys: list[str] = ["layout", "header"]  # noqa: RUF012 (declared so by the base class)
    config_file_name = "table_config.json"

    def __init__(self, transformer: Transformer, *, layout: Layout = "columns", header: bool = True) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        if layout not in get_args(Layout):
            message = f"layout must be one of {', '.join(get_args(Layout))}; received {layout!r}"
            raise InputError(message)
        self.transformer = transformer
        self.layout = layout
        self.header = header

    @property
    def tokenizer(self) -> Any:  # type: ignore[override]  # the base class declares an attribute
        """The transformer's tokenizer."""
        return self.transformer.tokenizer

    @property
    def max_seq_length(self) -> int | None:
        """The transformer's window, in tokens."""
        return self.transformer.max_seq_length

    def is_single(self, inputs: Any) -> bool:
        """A frame, a `Table` or a dict of columns is one table; a list is a batch of them."""
        return not isinstance(inputs, list | tuple)

    def problem(self, value: Any) -> str | None:
        """Why `value` cannot be read as a table."""
        if isinstance(value, list | tuple):
            return f"received {described(value)}"
        try:
            as_table(value)
        except InputError as error:
            return str(error)
        return None

    def key(self, value: Any) -> bytes | None:
        """Name, columns and cells."""
        table = as_table(value)
        return json.dumps([table.name, table.columns, [list(row) for row in table.rows]]).encode()

    def prepare(self, inputs: list[Any], prompt: str | None, task: str | None) -> PreparedInputs:
        """Serialise each table to the window, then tokenise."""
        del task
        return tokenize(self.transformer, [(prompt or "") + self.serialise(as_table(value)).text for value in inputs])

    def serialise(self, table: Table) -> Serialised:
        """The text this encoder reads for `table`, with the places of its columns and rows."""
        write = column_wise if self.layout == "columns" else row_wise
        return write(table, count_tokens=self._count_tokens, max_tokens=self._budget(), header=self.header)

    def forward(self, features: Features, **kwargs: Any) -> Features:
        """Run the transformer."""
        return self.transformer(features, **kwargs)  # type: ignore[no-any-return]

    def get_embedding_dimension(self) -> int:
        """Width of the token states."""
        return int(self.transformer.get_embedding_dimension())

    def save(self, output_path: str, *args: Any, safe_serialization: bool = True, **kwargs: Any) -> None:
        """Write the transformer and, beside it, how tables are serialised."""
        self.transformer.save(output_path, *args, safe_serialization=safe_serialization, **kwargs)
        self.save_config(output_path)

    @classmethod
    def load(  # type: ignore[override]  # the options go to the transformer as they are
        cls, model_name_or_path: str, subfolder: str = "", **options: Any
    ) -> Self:
        """Read what `save` wrote."""
        config = json.loads(Path(model_name_or_path, subfolder, cls.config_file_name).read_bytes())
        return cls(Transformer.load(model_name_or_path, subfolder=subfolder, **options), **config)

    def _budget(self) -> int:
        return int(self.max_seq_length or 512) - int(self.tokenizer.num_special_tokens_to_add())

    def _count_tokens(self, text: str) -> int:
        encoded = self.tokenizer(text, add_special_tokens=False, truncation=False, verbose=False)
        return len(encoded["input_ids"])


def table_encoder(text_encoder: Encoder, *, layout: Layout = "columns", header: bool = True) -> Encoder:
    """An encoder of whole tables that shares the modules of a text encoder, and so its vector space.

    Args:
        text_encoder: Begins with a text transformer.
        layout: "columns" writes column by column, "rows" row by row.
        header: Whether column names are written.

    Returns:
        An encoder whose inputs are tables.

    Raises:
        InputError: `text_encoder` does not begin with a text transformer.

    Example:
        >>> import embedkit as ek
        >>> encoder = table_encoder(ek.load())
        >>> encoder.encode({"city": ["Paris", "Rome"], "country": ["France", "Italy"]}).shape
        (384,)
    """
    reader = TableInput(text_transformer(text_encoder), layout=layout, header=header)
    return Encoder([reader, *list(text_encoder)[1:]], device=str(text_encoder.device))


@dataclass(frozen=True)
class TableVectors:
    """Vectors of one table and its parts, read from one forward pass; not normalised.

    Attributes:
        table: Mean over all its tokens, (dim,).
        columns: One for each name in `column_names`, (columns, dim).
        rows: One for each number in `row_numbers`, (rows, dim).
        column_names: The columns that have something to read in the window.
        row_numbers: The rows that have, counted from 0.
        serialised: The text they were read from, and what was dropped to fit the window.
    """

    table: Vector
    columns: Embeddings
    rows: Embeddings
    column_names: tuple[str, ...]
    row_numbers: tuple[int, ...]
    serialised: Serialised


def read_table(encoder: Encoder, table: Any, *, num_layers: int | None = None) -> TableVectors:
    """Vectors of a table, its columns and its rows: means over the tokens that stand for each.

    Args:
        encoder: From `table_encoder`.
        table: What `as_table` reads.
        num_layers: Read after this layer, 0 … depth; None reads the last.

    Raises:
        InputError: The encoder is no table encoder, or the table is none.

    Example:
        >>> import embedkit as ek
        >>> read_table(table_encoder(ek.load()), {"city": ["Paris", "Rome"]}).rows.shape
        (2, 384)
    """
    reader: Any = encoder[0]
    if not isinstance(reader, TableInput):
        message = "read_table needs a table encoder: make one with table_encoder(text_encoder)"
        raise InputError(message)
    read = as_table(table)
    serialised = reader.serialise(read)
    (readout,) = read_tokens(encoder, [serialised.text], num_layers=num_layers)
    columns = {name: spans for name, spans in zip(read.columns, serialised.columns, strict=True) if spans}
    rows = {number: spans for number, spans in zip(serialised.kept_rows, serialised.rows, strict=True) if spans}
    return TableVectors(
        table=readout.embeddings.mean(axis=0),
        columns=readout.pool(list(columns.values())),
        rows=readout.pool(list(rows.values())),
        column_names=tuple(columns),
        row_numbers=tuple(rows),
        serialised=serialised,
    )
