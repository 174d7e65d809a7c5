"""TAPAS: a transformer that knows of each token which column and row of a table it stands in."""

import math
import os
import tempfile
import warnings
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers.base.modules import Transformer
from torch import Tensor
from transformers import TapasModel

from embedkit.encoders.batching import token_budget_batches
from embedkit.encoders.depth import at_depth
from embedkit.encoders.encoder import Encoder
from embedkit.encoders.forks import refuse_fork
from embedkit.encoders.inputs import Features, PreparedInputs
from embedkit.encoders.loading import load
from embedkit.encoders.table.serialise import CELL_CHARACTERS, clean
from embedkit.encoders.table.table import Table, as_table, counted, some
from embedkit.encoders.table.vectors import MOST_ROWS, Part, TableModule, TableVectors
from embedkit.errors import InputError
from embedkit.optional import require
from embedkit.types import Embeddings

_SEGMENT, _COLUMN, _ROW, _RANK, _INVERSE_RANK = 0, 1, 2, 4, 5  # 3 is the previous label, 6 the numeric relation
_KINDS = 7
_BATCH = 32
_LEAST_SHARE = 0.7  # of the cells of a column are numbers, as in the authors' code


@dataclass(frozen=True)
class TableTokens:
    """One table as TAPAS reads it.

    Attributes:
        input_ids: (tokens,).
        token_type_ids: (tokens, 7): segment, column, row, previous label, rank in the column, inverse rank, relation to
            numbers of the question.
        rows: How many rows were kept.
        columns: How many columns were kept.
        notes: What was left out, in plain sentences.
    """

    input_ids: NDArray[np.int64]
    token_type_ids: NDArray[np.int64]
    rows: int
    columns: int
    notes: tuple[str, ...]


class TapasInput(TableModule):
    """First and only module of a TAPAS encoder; a table is the mean over its tokens, the prompt is the question.

    Args:
        transformer: Whose model is a `TapasModel`, with its tokenizer.

    Raises:
        InputError: The model is another one, or its tokenizer is.
    """

    config_keys: list[str] = []  # noqa: RUF012 (declared so by the base class)

    def __init__(self, transformer: Transformer) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        model, tokenizer = getattr(transformer, "model", None), getattr(transformer, "tokenizer", None)
        if not isinstance(model, TapasModel) or not hasattr(tokenizer, "empty_token"):
            message = (
                "a TAPAS encoder needs a TapasModel and a TapasTokenizer; "
                f"received {type(model).__name__} and {type(tokenizer).__name__}"
            )
            raise InputError(message)
        self.transformer = transformer

    @property
    def tokenizer(self) -> Any:  # type: ignore[override]  # the base class declares an attribute
        """The transformer's tokenizer."""
        return self.transformer.tokenizer

    @property
    def max_seq_length(self) -> int:
        """The transformer's window, in tokens."""
        return int(self.transformer.max_seq_length or 512)

    def prepare(self, inputs: list[Any], prompt: str | None, task: str | None) -> PreparedInputs:
        """Read each table, cut to the window."""
        del task
        tables = [as_table(value, max_rows=MOST_ROWS) for value in inputs]
        return _PreparedTables([self.read(table, prompt or "") for table in tables], self.tokenizer.pad_token_id)

    def read(self, table: Table, question: str = "") -> TableTokens:
        """Tokens of a table, with the column and the row of each.

        Raises:
            InputError: There is nothing to read in the table, or the question leaves no room for it.
        """
        if not any(cell.strip() for line in (table.columns, *table.rows) for cell in line):
            message = f"a table must have a cell or a name to read; table {table.name!r} has none"
            raise InputError(message)
        tokenizer = self.tokenizer
        before = [tokenizer.cls_token, *(tokenizer.tokenize(question) if question else []), tokenizer.sep_token]
        budget = self.max_seq_length - len(before)
        if budget < 2:
            message = f"the prompt must leave room for a table in {self.max_seq_length} tokens; it takes {len(before)}"
            raise InputError(message)
        lines, notes = self._cut(table, budget)
        tokens = [*before, *(token for line in lines for cell in line for token in cell)]
        types = np.zeros((len(tokens), _KINDS), dtype=np.int64)
        places = [
            (1, column, row) for row, line in enumerate(lines) for column, cell in enumerate(line, 1) for _ in cell
        ]
        types[len(before) :, : len(places[0])] = places
        kept = table.rows[: len(lines) - 1]
        for column in range(len(lines[0])):
            for row, (rank, inverse) in _ranks([cells[column] for cells in kept]).items():
                here = (types[:, _COLUMN] == column + 1) & (types[:, _ROW] == row + 1)
                types[np.ix_(here, [_RANK, _INVERSE_RANK])] = rank, inverse
        ids = np.array(tokenizer.convert_tokens_to_ids(tokens), dtype=np.int64)
        return TableTokens(ids, types, len(kept), len(lines[0]), notes)

    def vectors(
        self, encoder: Encoder, tables: Sequence[Table], parts: Collection[Part], num_layers: int | None
    ) -> list[TableVectors]:
        """Means over the tokens of each part, the name of a column among its own, from one forward pass a table."""
        refuse_fork()
        module: Any = at_depth(encoder, num_layers)[0]
        read = [self.read(table) for table in tables]
        prepared = _PreparedTables(read, self.tokenizer.pad_token_id)
        found: dict[int, TableVectors] = {}
        for batch in token_budget_batches(prepared.lengths, _BATCH):
            with encoder.forward_lock, torch.inference_mode():
                features = prepared.batch(batch.tolist())
                moved = {
                    name: each.to(encoder.device) if torch.is_tensor(each) else each for name, each in features.items()
                }
                states = module.eval()(moved)["token_embeddings"].float().cpu().numpy()
            for place, each in zip(batch, states, strict=True):
                found[int(place)] = _pooled(each[: prepared.lengths[place]], tables[place], read[place], parts)
        return [found[place] for place in range(len(tables))]

    def forward(self, features: Features, **kwargs: Any) -> Features:
        """Run the transformer, and average the tokens of each table."""
        inside: Tensor = features["token_type_ids"][..., _SEGMENT, None]  # 0 in the question and in padding
        features = self.transformer(features, **kwargs)
        states = features["token_embeddings"]
        features["sentence_embedding"] = (states * inside).sum(dim=1) / inside.sum(dim=1)
        return features

    def get_embedding_dimension(self) -> int:
        """Width of the token states."""
        return int(self.transformer.get_embedding_dimension())

    def save(self, output_path: str, *args: Any, safe_serialization: bool = True, **kwargs: Any) -> None:
        """Write the transformer."""
        self.transformer.save(output_path, *args, safe_serialization=safe_serialization, **kwargs)

    @classmethod
    def load(  # type: ignore[override]  # the options go to the transformer as they are
        cls, model_name_or_path: str, subfolder: str = "", **options: Any
    ) -> Self:
        """Read what `save` wrote."""
        return cls(Transformer.load(model_name_or_path, subfolder=subfolder, **options))

    def _cut(self, table: Table, budget: int) -> tuple[list[list[list[str]]], tuple[str, ...]]:
        """Tokens of each cell that is kept, line by line from the names on, and notes on the rest."""
        sizes = self.transformer.model.config.type_vocab_sizes
        most_columns = sizes[_COLUMN] - 1
        most_rows = min(sizes[_ROW], sizes[_RANK], sizes[_INVERSE_RANK]) - 1
        frame = min(2, 1 + len(table.rows))  # the names and the first row must fit
        width = min(len(table.columns), most_columns, budget // frame)
        lines = [[self._tokens(cell) for cell in line[:width]] for line in (table.columns, *table.rows[:1])]
        length = CELL_CHARACTERS  # as many tokens at most
        while _cost(lines, length) > budget:
            length -= 1
        used = _cost(lines, length)
        for row in table.rows[1:most_rows]:
            line = [self._tokens(cell) for cell in row[:width]]
            used += _cost([line], length)
            if used > budget:
                break
            lines.append(line)
        kept, notes = len(lines) - 1, []
        if kept < len(table.rows):
            notes.append(f"{len(table.rows) - kept:,} of {counted(len(table.rows), 'row')} left out to fit the model")
        if left_out := table.columns[width:]:
            notes.append(f"{counted(len(left_out), 'column')} left out to fit the model: {some(left_out)}")
        if any(len(cell) > length for line in lines for cell in line):
            notes.append(f"cells cut to {counted(length, 'token')} to fit the model")
        return [[cell[:length] for cell in line] for line in lines], tuple(notes)

    def _tokens(self, cell: str) -> list[str]:
        tokens: list[str] = self.tokenizer.tokenize(clean(cell, CELL_CHARACTERS))
        return tokens or [self.tokenizer.empty_token]


def _cost(lines: Sequence[Sequence[Sequence[str]]], length: int) -> int:
    return sum(min(len(cell), length) for line in lines for cell in line)


def _ranks(cells: Sequence[str]) -> dict[int, tuple[int, int]]:
    """Rank and inverse rank, from 1, of the numbers, or else of the dates, where enough cells are such."""
    parsers: tuple[Callable[[str], Any], ...] = (_number, _date)
    for parse in parsers:
        values = {row: value for row, cell in enumerate(cells) if (value := parse(cell.strip())) is not None}
        if values and len(values) >= _LEAST_SHARE * len(cells):
            order = {value: rank for rank, value in enumerate(sorted(set(values.values())), 1)}
            return {row: (order[value], len(order) + 1 - order[value]) for row, value in values.items()}
    return {}


def _number(text: str) -> float | None:
    try:
        value = float(text.replace(",", ""))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _date(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text).replace(tzinfo=None)  # only then do all have an order
    except ValueError:
        return None


class _PreparedTables:
    """Tokens of many tables; a batch pads them to the longest."""

    def __init__(self, read: Sequence[TableTokens], padding: int) -> None:
        self._read = read
        self._padding = padding
        self.lengths: NDArray[np.int64] = np.array([len(each.input_ids) for each in read], dtype=np.int64)

    def batch(self, rows: Sequence[int]) -> Features:
        """Tensors of the tables at `rows`, in that order."""
        width = int(max(self.lengths[row] for row in rows))
        ids = np.full((len(rows), width), self._padding, dtype=np.int64)
        mask = np.zeros((len(rows), width), dtype=np.int64)
        types = np.zeros((len(rows), width, _KINDS), dtype=np.int64)
        for place, row in enumerate(rows):
            length = self.lengths[row]
            ids[place, :length] = self._read[row].input_ids
            types[place, :length] = self._read[row].token_type_ids
            mask[place, :length] = 1
        arrays = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
        return {**{name: torch.from_numpy(each) for name, each in arrays.items()}, "modality": "text"}


def _pooled(states: Embeddings, table: Table, read: TableTokens, parts: Collection[Part]) -> TableVectors:
    types = read.token_type_ids
    in_column = types[:, _COLUMN] == np.arange(1, read.columns + 1)[:, None]
    in_row = types[:, _ROW] == np.arange(1, read.rows + 1)[:, None]
    is_filled = [[bool(cell.strip()) for cell in line[: read.columns]] for line in table.rows[: read.rows]]
    tokens: dict[Part, dict[Any, NDArray[np.bool_]]] = {
        "columns": {
            column: in_column[column]
            for column, cells in enumerate(zip(*is_filled, strict=True) if is_filled else [()] * read.columns)
            if table.columns[column].strip() or any(cells)
        },
        "rows": {row: in_row[row] for row, cells in enumerate(is_filled) if any(cells)},
        "cells": {
            (row, column): in_row[row] & in_column[column]
            for row, cells in enumerate(is_filled)
            for column, filled in enumerate(cells)
            if filled
        },
    }
    asked = {part: found if part in parts else {} for part, found in tokens.items()}
    pooled = {
        part: np.array([states[here].mean(axis=0) for here in found.values()], dtype=np.float32).reshape(
            len(found), states.shape[1]
        )
        for part, found in asked.items()
    }
    return TableVectors(
        table=states[types[:, _SEGMENT] == 1].mean(axis=0),
        columns=pooled["columns"],
        rows=pooled["rows"],
        cells=pooled["cells"],
        column_numbers=tuple(asked["columns"]),
        row_numbers=tuple(asked["rows"]),
        cell_places=tuple(asked["cells"]),
        notes=read.notes,
    )


def tapas_encoder(
    source: str | os.PathLike[str] | TapasModel, tokenizer: Any = None, *, device: str | None = None
) -> Encoder:
    r"""An encoder of whole tables out of a TAPAS checkpoint: each token knows its column, its row and its rank.

    A table is read as "[CLS] question [SEP] names of columns, row after row", where the question is the prompt, if any.
    Its vector is the mean over the tokens of the table, and that of a column, row or cell the mean over its own: the
    name is part of the column. Blank cells are read as [EMPTY]. The name of a table is not read.

    Rows are dropped from the end until the sequence fits the window and no id is one that the model lacks; where not
    even the first row fits, cells are cut to as few tokens as need be, and then columns dropped from the right. What
    was dropped stands in the notes of `TableVectors`.

    Args:
        source: A name on the hub or the folder of a checkpoint (safetensors), or a transformers model, which is copied
            by way of a temporary folder. What `save` wrote is opened by `embedkit.load`.
        tokenizer: Of a transformers model.
        device: Such as "cpu" or "cuda"; None takes the best there is.

    Returns:
        An encoder whose inputs are tables.

    Raises:
        InputError: The checkpoint is of another kind, or a model comes without its tokenizer.
        ModelError: There is no such checkpoint, or its weights are pickled.
        MissingExtraError: The tokenizer needs pandas.

    Example:
        >>> from pathlib import Path
        >>> from transformers import TapasConfig, TapasTokenizer
        >>> words = "[PAD] [UNK] [CLS] [SEP] [MASK] [EMPTY] city people paris rome 2 1 0".split()
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "vocab.txt").write_text("\n".join(words))
        ...     tokenizer = TapasTokenizer(Path(folder, "vocab.txt"))
        >>> config = TapasConfig(
        ...     vocab_size=len(words), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64
        ... )
        >>> encoder = tapas_encoder(TapasModel(config), tokenizer, device="cpu")
        >>> encoder.encode({"city": ["Paris", "Rome"], "people": [2, 1]}).shape
        (32,)

    Reference:
        J. Herzig, P. K. Nowak, T. Müller, F. Piccinno, J. M. Eisenschlos, "TaPas: Weakly Supervised Table Parsing via
        Pre-training", ACL 2020, section 2 for what is read.

    Deviations:
        Vectors of tables and of their parts are means of token states; the paper has none. Ranks are given to the rows
        that were read, to numbers or ISO dates in columns where they are 70 % of the cells; the authors' code
        finds more kinds of both, also inside longer text. Relations of cells to numbers of the question, and previous
        answers, are 0. Cells are clipped to 200 characters.
    """
    require("pandas", extra="tables")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is a plain transformer", category=UserWarning)
        first: Any = _from_model(source, tokenizer) if isinstance(source, TapasModel) else load(source, device="cpu")[0]
    return Encoder([TapasInput(first)], device=device).eval()


def _from_model(model: TapasModel, tokenizer: Any) -> Any:
    if tokenizer is None:
        message = "a transformers model needs its tokenizer: tapas_encoder(model, tokenizer)"
        raise InputError(message)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return load(folder, device="cpu")[0]
