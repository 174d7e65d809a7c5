"""Encoders that read the columns or cells of a table one by one, so that their order cannot matter."""

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cached_property
from hashlib import blake2b
from heapq import nsmallest
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers.base.modules import Transformer
from torch import Tensor, nn

from embedkit.encoders.batching import token_budget_batches
from embedkit.encoders.encoder import Encoder
from embedkit.encoders.inputs import Features, PreparedInputs, reader_for
from embedkit.encoders.model_folder import read_modules, read_options
from embedkit.encoders.table.numbers import checked_digits, with_digits
from embedkit.encoders.table.serialise import CELL_CHARACTERS, clean, column_wise, row_wise
from embedkit.encoders.table.table import Table, as_table
from embedkit.encoders.table.vectors import MOST_ROWS, Part, TableModule, TableVectors
from embedkit.errors import InputError
from embedkit.types import Embeddings

Unit: TypeAlias = Literal["columns", "cells"]
Weighted: TypeAlias = Mapping[str, int]
"""Texts with how often each counts; their mean stands for a part."""

_TEXT_FOLDER = "text"
_PARTS_AT_A_TIME = 256


class PartsInput(TableModule):
    """First module of an encoder that reads the parts of a table by themselves and averages.

    Args:
        text_encoder: Reads each part.
        unit: "columns": a table is the mean of its columns, each read as its name and a sample of its values. "cells":
            it is the mean of its cells, and so are its columns and rows.
        header: Whether each value is read after the name of its column.
        digits: Significant digits of numbers with a decimal point; None reads them as they are.
        max_values: How many different values of a column are read; None reads all. The sample is that of smallest
            hash: it depends on neither order nor frequency, and columns that share values share most of it.
    """

    config_keys: list[str] = ["unit", "header", "digits", "max_values"]  # noqa: RUF012 (declared so by the base class)
    config_file_name = "parts_config.json"

    def __init__(
        self,
        text_encoder: Encoder,
        *,
        unit: Unit = "columns",
        header: bool = True,
        digits: int | None = None,
        max_values: int | None = 20,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        if not isinstance(text_encoder, Encoder) or isinstance(text_encoder[0], TableModule):
            message = f"a part encoder needs an encoder of text; received {type(text_encoder).__name__}"
            raise InputError(message)
        if unit not in get_args(Unit):
            message = f"unit must be one of {', '.join(get_args(Unit))}; received {unit!r}"
            raise InputError(message)
        if max_values is not None and (type(max_values) is not int or max_values < 1):
            message = f"max_values must be None or a count from 1; received {max_values!r}"
            raise InputError(message)
        self.text_encoder = text_encoder
        self.unit = unit
        self.header = header
        self.digits = checked_digits(digits)
        self.max_values = max_values

    def prepare(self, inputs: list[Any], prompt: str | None, task: str | None) -> PreparedInputs:
        """Tokenise the parts of all tables, each once."""
        tables = [self._plan(as_table(value, max_rows=MOST_ROWS)).table() for value in inputs]
        return _PreparedParts(self.text_encoder, tables, prompt, task)

    def vectors(
        self, encoder: Encoder, tables: Sequence[Table], parts: Collection[Part], num_layers: int | None
    ) -> list[TableVectors]:
        """Means of the vectors of parts, each different text of all tables read once."""
        del encoder
        plans = [self._plan(table) for table in tables]
        wanted = [{part: plan.of(part) if part in parts else {} for part in get_args(Part)} for plan in plans]
        whole = [plan.table() for plan in plans]
        texts = {text for each in whole for text in each}
        texts |= {text for each in wanted for found in each.values() for mean in found.values() for text in mean}
        order = sorted(texts)
        read = self.text_encoder.encode(order, num_layers=num_layers).astype(np.float64)
        places = {text: place for place, text in enumerate(order)}

        def means(groups: Iterable[Weighted]) -> Embeddings:
            rows = [_mean(read, places, group) for group in groups]
            return np.asarray(rows, dtype=np.float32).reshape(len(rows), read.shape[1])

        return [
            TableVectors(
                table=means([table])[0],
                columns=means(each["columns"].values()),
                rows=means(each["rows"].values()),
                cells=means(each["cells"].values()),
                column_numbers=tuple(each["columns"]),
                row_numbers=tuple(each["rows"]),
                cell_places=tuple(each["cells"]),
            )
            for table, each in zip(whole, wanted, strict=True)
        ]

    def forward(self, features: Features, **kwargs: Any) -> Features:
        """Run the text encoder over the parts, and average those of each table."""
        del kwargs
        read = []
        batches: list[Features] = features["parts"]
        for batch in batches:
            part = {name: _moved(value, self.text_encoder.device) for name, value in batch.items()}
            for module in self.text_encoder:
                part = module(part)
            read.append(part["sentence_embedding"])
        weights = features["weights"].to(read[0].device)
        features["sentence_embedding"] = weights @ torch.cat(read).float()
        return features

    def get_embedding_dimension(self) -> int:
        """Width of the vectors."""
        return int(self.text_encoder.get_embedding_dimension())  # type: ignore[arg-type]  # an encoder of text has one

    def save(self, output_path: str, *args: Any, safe_serialization: bool = True, **kwargs: Any) -> None:
        """Write the text encoder into a folder of its own and, beside it, how tables are read."""
        del args, safe_serialization, kwargs
        self.text_encoder.save(str(Path(output_path, _TEXT_FOLDER)))
        self.save_config(output_path)

    @classmethod
    def load(  # type: ignore[override]  # from folders only
        cls, model_name_or_path: str, subfolder: str = "", **options: Any
    ) -> Self:
        """Read what `save` wrote."""
        del options
        folder = Path(model_name_or_path, subfolder)
        config = json.loads((folder / cls.config_file_name).read_bytes())
        text = folder / _TEXT_FOLDER
        return cls(Encoder(read_modules(text), **read_options(text)).eval(), **config)

    def _plan(self, table: Table) -> "_Plan":
        return _Plan(self, with_digits(table, self.digits))

    def window(self) -> tuple[Callable[[str], int], int | None]:
        """How to count the tokens of a part, and how many fit."""
        first: Any = self.text_encoder[0]
        if not isinstance(first, Transformer) or not first.max_seq_length:
            return str.__len__, None
        special = int(first.tokenizer.num_special_tokens_to_add())

        def count(text: str) -> int:
            encoded = first.tokenizer(text, add_special_tokens=False, truncation=False, verbose=False)
            return len(encoded["input_ids"])

        return count, int(first.max_seq_length) - special


def _moved(value: Any, device: torch.device) -> Any:
    return value.to(device) if isinstance(value, Tensor) else value


def _mean(read: NDArray[np.float64], places: Mapping[str, int], group: Weighted) -> NDArray[np.float64]:
    """Mean of some vectors, summed in the order of their texts: no order of a table changes a bit of it."""
    texts = sorted(group)
    weights = np.array([group[text] for text in texts], dtype=np.float64)
    vectors: NDArray[np.float64] = read[[places[text] for text in texts]]
    total: NDArray[np.float64] = (weights[:, None] * vectors).sum(axis=0) / weights.sum()
    return total


class _Plan:
    """Which texts stand for a table and for each of its parts."""

    def __init__(self, module: PartsInput, table: Table) -> None:
        self._module = module
        self._table = table
        self._names = [clean(name, CELL_CHARACTERS) if module.header else "" for name in table.columns]

    def of(self, part: Part) -> dict[Any, Weighted]:
        """Texts of each part that has something to read."""
        found: dict[Any, Weighted]
        found = self._columns if part == "columns" else self._rows() if part == "rows" else self._cells()
        return {place: mean for place, mean in found.items() if mean}

    def table(self) -> Weighted:
        """Texts of the whole table.

        Raises:
            InputError: There is nothing to read in it.
        """
        total: Counter[str] = Counter()
        for mean in self._columns.values():
            total.update(mean)
        if not total:
            message = f"a table must have a cell or a name to read; table {self._table.name!r} has none"
            raise InputError(message)
        return total

    @cached_property  # the table is made of them too, and to fit one to the window costs tokenising
    def _columns(self) -> dict[Any, Weighted]:
        values = [self._values(column) for column in range(len(self._names))]
        if self._module.unit == "cells":
            return {
                column: {self._cell(column, value): count for value, count in found.items()} or self._bare(column)
                for column, found in enumerate(values)
            }
        count_tokens, most = self._module.window()

        def text(column: int) -> Weighted:
            name, sample = self._names[column], sorted(values[column])
            if not (name or sample):
                return {}
            alone = Table("", (name,), [(value,) for value in sample])
            written = column_wise(alone, count_tokens=count_tokens, max_tokens=most, header=self._module.header)
            return {written.text: 1}

        return {column: text(column) for column in range(len(self._names))}

    def _values(self, column: int) -> Counter[str]:
        """Different values with how often each occurs; of many, those of smallest hash."""
        values = Counter(text for row in self._table.rows if (text := clean(row[column], CELL_CHARACTERS)))
        if self._module.max_values is None or len(values) <= self._module.max_values:
            return values
        return Counter({value: values[value] for value in nsmallest(self._module.max_values, values, key=_hash)})

    def _rows(self) -> dict[int, Weighted]:
        cells = (self._row_of_cells, self._row_as_text)[self._module.unit == "columns"]
        return {row: cells(row) for row in range(len(self._table.rows))}

    def _row_of_cells(self, row: int) -> Weighted:
        return Counter(text for column in range(len(self._names)) if (text := self._cell_at(row, column)))

    def _row_as_text(self, row: int) -> Weighted:
        cells = self._table.rows[row]
        filled = sorted((self._names[column], cells[column]) for column in range(len(cells)) if cells[column].strip())
        if not filled:
            return {}
        names, values = zip(*filled, strict=True)
        count_tokens, most = self._module.window()
        alone = Table("", names, [values])
        written = row_wise(alone, count_tokens=count_tokens, max_tokens=most, header=self._module.header)
        return {written.text: 1}

    def _cells(self) -> dict[tuple[int, int], Weighted]:
        places = ((row, column) for row in range(len(self._table.rows)) for column in range(len(self._names)))
        return {place: {text: 1} for place in places if (text := self._cell_at(*place))}

    def _cell_at(self, row: int, column: int) -> str:
        value = clean(self._table.rows[row][column], CELL_CHARACTERS)
        return self._cell(column, value) if value else ""

    def _cell(self, column: int, value: str) -> str:
        return f"{self._names[column]}: {value}" if self._names[column] else value

    def _bare(self, column: int) -> Weighted:
        return {self._names[column]: 1} if self._names[column] else {}


def _hash(value: str) -> bytes:
    return blake2b(value.encode(), digest_size=16).digest()


class _PreparedParts:
    """Parts of many tables, tokenised once; a batch holds the parts of its tables, each once, and their weights."""

    def __init__(self, text_encoder: Encoder, tables: Sequence[Weighted], prompt: str | None, task: str | None) -> None:
        self._tables = tables
        order = sorted({text for table in tables for text in table})
        self._places = {text: place for place, text in enumerate(order)}
        self._parts = reader_for(text_encoder, prompt).prepare(order, prompt, task)
        lengths = [sum(int(self._parts.lengths[self._places[text]]) for text in table) for table in tables]
        self.lengths: NDArray[np.int64] = np.asarray(lengths, dtype=np.int64)

    def batch(self, rows: Sequence[int]) -> Features:
        """Features of the parts, in batches of like length, and (tables, parts) weights that sum to 1."""
        tables = [self._tables[row] for row in rows]
        used = np.unique([self._places[text] for table in tables for text in table])
        batches = list(token_budget_batches(self._parts.lengths[used], _PARTS_AT_A_TIME))
        order = used[np.concatenate(batches)]
        column = {int(place): position for position, place in enumerate(order)}
        weights = torch.zeros(len(tables), len(order))
        for target, table in zip(weights, tables, strict=True):
            for text, weight in table.items():
                target[column[self._places[text]]] = weight
        return {
            "parts": [self._parts.batch(used[batch].tolist()) for batch in batches],
            "weights": nn.functional.normalize(weights, p=1, dim=1),
            "modality": "text",
        }


def part_encoder(
    text_encoder: Encoder,
    *,
    unit: Unit = "columns",
    header: bool = True,
    digits: int | None = None,
    max_values: int | None = 20,
) -> Encoder:
    """An encoder of tables that reads columns or cells by themselves: no order of rows or columns changes its vectors.

    With "columns" the vector of a column says nothing of its neighbours, which is what joins want; with "cells" it is
    the set encoder, the reference point of the Observatory's order properties.

    Args:
        text_encoder: Any encoder of text.
        unit: "columns": a table is the mean of its columns, each read as its name and a sample of its values. "cells":
            it is the mean of its cells, and so are its columns and rows.
        header: Whether each value is read after the name of its column.
        digits: Significant digits of numbers with a decimal point; None reads them as they are.
        max_values: How many different values of a column are read; None reads all. The sample is that of smallest
            hash: it depends on neither order nor frequency, and columns that share values share most of it.

    Returns:
        An encoder whose inputs are tables.

    Raises:
        InputError: `text_encoder` reads no text, or an option is out of range.

    Example:
        >>> import embedkit as ek
        >>> encoder = part_encoder(ek.load())
        >>> one = encoder.encode({"city": ["Paris", "Rome"], "country": ["France", "Italy"]})
        >>> other = encoder.encode({"country": ["Italy", "France"], "city": ["Rome", "Paris"]})
        >>> bool((one == other).all())
        True
    """
    reader = PartsInput(text_encoder, unit=unit, header=header, digits=digits, max_values=max_values)
    return Encoder([reader], device=str(text_encoder.device)).eval()
