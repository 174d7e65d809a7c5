"""Tables as text that fits an encoder, with the place of every cell in it."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from embedkit.encoders.chunk import Chunk, CountTokens
from embedkit.encoders.table.table import Table
from embedkit.errors import InputError

__all__ = ["Serialised", "Span", "chunk_table", "column_wise", "row_wise"]

Span: TypeAlias = tuple[int, int]
"""Start and end of characters in a text: `text[start:end]`."""

CELL_CHARACTERS = 200
"""Longer cells and names are clipped to this many characters, the ellipsis included."""

_CHUNK_CHARACTERS = 1000  # in documents for search, where a long cell is what is looked for
_SHORT = 50
_SHORTEST = (_SHORT, 12, 3)


@dataclass(frozen=True, slots=True)
class Serialised:
    """A table as text.

    Cells and rows are named by their positions in the table. Nothing that was left out has a span.

    Attributes:
        text: The text.
        columns: For each column of the table, its spans: a single one around header and values column-wise, one
            around header and value for each row row-wise.
        rows: For each of `kept_rows`, its spans: its cells column-wise, a single one row-wise.
        cells: Span of each cell that is written, by (row, column).
        header: For each column, the span of its name where it first occurs.
        kept_rows: Positions of the rows that were kept, ascending.
        dropped_rows: How many rows were left out.
        dropped_columns: Names of the columns that were left out.
    """

    text: str
    columns: tuple[tuple[Span, ...], ...]
    rows: tuple[tuple[Span, ...], ...]
    cells: Mapping[tuple[int, int], Span]
    header: tuple[Span | None, ...]
    kept_rows: tuple[int, ...]
    dropped_rows: int
    dropped_columns: tuple[str, ...]


def column_wise(
    table: Table, *, count_tokens: CountTokens, max_tokens: int | None = 256, header: bool = True
) -> Serialised:
    """Write a table column after column: "people. name: Ann, Bob. age: 31, 44.".

    Missing cells are left out, and white space becomes single spaces. Cells and names longer than 200 characters are
    clipped with an ellipsis. Of n rows, k are kept at positions floor(i n / k), i = 0 .. k - 1, so the first always is;
    k, at most `max_tokens`, is the largest that doubling and then bisection find to fit. Where not even one row fits,
    cells are clipped to 50 characters; where that is not enough, columns are dropped from the right; where not even
    one column fits, its cell is clipped to 12 and at last to 3 characters.

    Args:
        table: The table.
        count_tokens: Tokens of a string, special tokens not counted.
        max_tokens: The most tokens of the text; None for no limit, which keeps every row and column.
        header: Whether the names of the columns are written.

    Returns:
        The text, of at most `max_tokens` tokens, and the places in it.

    Raises:
        InputError: Nothing fits, or there is nothing to write.

    Example:
        >>> table = Table("people", ("name", "age"), [("Ann", "31"), ("Bob", ""), ("Cy", "27")])
        >>> written = column_wise(table, count_tokens=lambda text: len(text.split()))
        >>> written.text
        'people. name: Ann, Bob, Cy. age: 31, 27.'
        >>> [written.text[slice(*span)] for span in written.rows[2]]
        ['Cy', '27']
        >>> column_wise(table, count_tokens=lambda text: len(text.split()), max_tokens=5).text
        'people. name: Ann. age: 31.'
    """
    return _serialise(table, _Layout(_write_columns, _evenly, header), count_tokens, max_tokens)


def row_wise(
    table: Table, *, count_tokens: CountTokens, max_tokens: int | None = 256, header: bool = True
) -> Serialised:
    """Write a table row after row: "people. name: Ann, age: 31. name: Bob, age: 44.".

    Differs from `column_wise` in keeping the leading rows. A table without cells is written "people. name, age.".

    Args:
        table: The table.
        count_tokens: Tokens of a string, special tokens not counted.
        max_tokens: The most tokens of the text; None for no limit, which keeps every row and column.
        header: Whether each cell comes after the name of its column.

    Returns:
        The text, of at most `max_tokens` tokens, and the places in it.

    Raises:
        InputError: Nothing fits, or there is nothing to write.

    Example:
        >>> table = Table("people", ("name", "age"), [("Ann", "31"), ("Bob", ""), ("Cy", "27")])
        >>> row_wise(table, count_tokens=lambda text: len(text.split())).text
        'people. name: Ann, age: 31. name: Bob. name: Cy, age: 27.'
        >>> row_wise(table, count_tokens=lambda text: len(text.split()), header=False, max_tokens=4).text
        'people. Ann, 31. Bob.'
    """
    return _serialise(table, _Layout(_write_rows, _leading, header), count_tokens, max_tokens)


def chunk_table(
    table: Table, *, count_tokens: CountTokens, max_tokens: int = 256, max_chunks: int = 32, line: int = 1
) -> tuple[list[Chunk], int]:
    """Cut a table into documents for search.

    First comes the whole table column-wise, named after the table; then runs of rows, row-wise with the names of the
    columns, as many rows to a chunk as fit, named "people, rows 1-14" with rows counted from 1. Cells in runs of rows
    are clipped to 1,000 characters; a row that does not fit alone is clipped further, as `row_wise` does.

    Args:
        table: The table.
        count_tokens: Tokens of a string, special tokens not counted.
        max_tokens: The most tokens of a chunk.
        max_chunks: The most chunks, the first included.
        line: Line of the header in the source; each row is taken to be one line, the first on the next line.

    Returns:
        The chunks, and how many rows at the end stand in no run of rows.

    Raises:
        InputError: Not even a single clipped cell fits, there is nothing to write, or `max_chunks` is below 1.

    Example:
        >>> table = Table("people", ("name", "age"), [("Ann", "31"), ("Bob", ""), ("Cy", "27")])
        >>> chunks, uncovered = chunk_table(table, count_tokens=lambda text: len(text.split()), max_tokens=8)
        >>> for chunk in chunks:
        ...     print(f"{chunk.name} ({chunk.line}-{chunk.end_line}): {chunk.text}")
        people (1-4): people. name: Ann, Bob, Cy. age: 31, 27.
        people, rows 1-2 (2-3): people. name: Ann, age: 31. name: Bob.
        people, row 3 (4-4): people. name: Cy, age: 27.
    """
    if max_chunks < 1:
        raise InputError(f"max_chunks must be at least 1; received {max_chunks}")
    name = table.name or "table"
    whole = column_wise(table, count_tokens=count_tokens, max_tokens=max_tokens)
    chunks = [Chunk(whole.text, "table", name, max(1, line), max(1, line + len(table.rows)))]
    start = _next_filled(table, 0)
    while start < len(table.rows) and len(chunks) < max_chunks:
        text, end = _run_of_rows(table, start, count_tokens, max_tokens)
        place = f"row {end}" if end == start + 1 else f"rows {start + 1}-{end}"
        chunks.append(Chunk(text, "table", f"{name}, {place}", max(1, line + start + 1), max(1, line + end)))
        start = _next_filled(table, end)
    return chunks, len(table.rows) - start


def _next_filled(table: Table, start: int) -> int:
    """Position of the first row from `start` that holds anything."""
    filled = (row for row in range(start, len(table.rows)) if any(map(str.strip, table.rows[row])))
    return next(filled, len(table.rows))


def _run_of_rows(table: Table, start: int, count_tokens: CountTokens, max_tokens: int) -> tuple[str, int]:
    """Text of the rows from `start` that fit, and the position after the last of them."""
    layout = _Layout(_write_rows, _leading, header=True)
    window = Table(table.name, table.columns, table.rows[start : start + max_tokens])
    draft = _Draft(window, layout, count_tokens, max_tokens)
    count = _largest(len(window.rows), lambda rows: draft.fits(rows, len(table.columns), _CHUNK_CHARACTERS))
    if count:
        return draft.written(count, len(table.columns), _CHUNK_CHARACTERS).text, start + count
    alone = Table(table.name, table.columns, table.rows[start : start + 1])
    return row_wise(alone, count_tokens=count_tokens, max_tokens=max_tokens).text, start + 1


# Choosing what is kept

Picks: TypeAlias = Callable[[int, int], Sequence[int]]


def _evenly(count: int, total: int) -> Sequence[int]:
    return [step * total // count for step in range(count)]


def _leading(count: int, total: int) -> Sequence[int]:
    return range(min(count, total))


def _largest(most: int, fits: Callable[[int], bool]) -> int:
    """The largest number up to `most` that fits; numbers far above it are never tried."""
    least = 0
    while least < most:
        probe = min(most, max(1, 2 * least))
        if not fits(probe):
            most = probe - 1
            break
        least = probe
    while least < most:
        probe = (least + most + 1) // 2
        least, most = (probe, most) if fits(probe) else (least, probe - 1)
    return least


def _serialise(table: Table, layout: "_Layout", count_tokens: CountTokens, max_tokens: int | None) -> Serialised:
    if max_tokens is not None and max_tokens < 1:
        raise InputError(f"max_tokens must be None or at least 1; received {max_tokens}")
    draft = _Draft(table, layout, count_tokens, max_tokens)
    written = draft.written(*draft.chosen())
    if not written.text:
        raise InputError(f"there must be something to write; table {table.name!r} holds no text to show")
    return written


class _Draft:
    """One table in one layout, of which more or less is kept."""

    def __init__(self, table: Table, layout: "_Layout", count_tokens: CountTokens, max_tokens: int | None) -> None:
        self._table = table
        self._layout = layout
        self._count_tokens = count_tokens
        self._max_tokens = max_tokens

    def written(self, rows: int, columns: int, characters: int) -> Serialised:
        picked = self._layout.pick(rows, len(self._table.rows))
        return _Page(self._table, self._layout, picked, columns, characters).serialised()

    def fits(self, rows: int, columns: int, characters: int) -> bool:
        return self._max_tokens is None or self._count_tokens(self._text(rows, columns, characters)) <= self._max_tokens

    def _text(self, rows: int, columns: int, characters: int) -> str:
        return self.written(rows, columns, characters).text

    def chosen(self) -> tuple[int, int, int]:
        """How many rows and columns are kept, and how many characters of a cell."""
        total = len(self._table.rows)
        if self._max_tokens is None:
            return total, len(self._table.columns), CELL_CHARACTERS
        columns, characters = self._frame(min(1, total))
        rows = _largest(min(total, self._max_tokens), lambda rows: self.fits(rows, columns, characters))
        return rows, columns, characters

    def _frame(self, rows: int) -> tuple[int, int]:
        width = len(self._table.columns)
        for characters in (CELL_CHARACTERS, _SHORT):
            if self.fits(rows, width, characters):
                return width, characters
        for characters in _SHORTEST:
            if columns := self._widest(rows, characters):
                return columns, characters
        name = self._table.name
        raise InputError(f"max_tokens must hold one cell of table {name!r}; {self._max_tokens} is too few")

    def _widest(self, rows: int, characters: int) -> int:
        return _largest(len(self._table.columns), lambda columns: self.fits(rows, columns, characters))


# Writing

Row: TypeAlias = tuple[int, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class _Layout:
    """How a table becomes text, and which rows are kept when not all fit."""

    write: "Callable[[_Page], None]"
    pick: Picks
    header: bool


def clean(value: str, characters: int) -> str:
    """The value on one line, clipped; of a huge value only the beginning is looked at."""
    value = value.strip()
    line = " ".join(value[: 8 * characters].split())
    if len(line) <= characters and len(value) <= 8 * characters:
        return line
    return line[: characters - 1].rstrip() + "…"


class _Page:
    """Text under construction. Sentences end in a full stop, and spans never reach over one."""

    def __init__(self, table: Table, layout: _Layout, picked: Sequence[int], columns: int, characters: int) -> None:
        self._table = table
        self._layout = layout
        self._columns = columns
        self._characters = characters
        self._parts: list[str] = []
        self.end = 0
        self.picked = picked
        names = table.columns[:columns] if layout.header else ("",) * columns
        self.names = tuple(clean(name, characters) for name in names)
        self.column_spans: list[list[Span]] = [[] for _ in table.columns]
        self.row_spans: dict[int, list[Span]] = {row: [] for row in picked}
        self.cells: dict[tuple[int, int], Span] = {}
        self.header: list[Span | None] = [None] * len(table.columns)

    def rows(self) -> Iterator[Row]:
        """Each kept row, with its position and the text of its cells."""
        for row in self.picked:
            yield row, tuple(clean(cell, self._characters) for cell in self._table.rows[row][: self._columns])

    def write(self, text: str) -> Span:
        start = self.end
        self._parts.append(text)
        self.end += len(text)
        return start, self.end

    def begin(self) -> None:
        """Put a space before a sentence that is not the first."""
        if self._parts:
            self.write(" ")

    def write_name(self, column: int) -> None:
        if self.names[column]:
            span = self.write(self.names[column])
            self.header[column] = self.header[column] or span

    def write_cell(self, row: int, column: int, text: str) -> Span:
        span = self.cells[row, column] = self.write(text)
        return span

    def serialised(self) -> Serialised:
        if name := clean(self._table.name, self._characters):
            self.write(f"{name}.")
        self._layout.write(self)
        return Serialised(
            text="".join(self._parts),
            columns=_frozen(self.column_spans),
            rows=_frozen(self.row_spans.values()),
            cells=self.cells,
            header=tuple(self.header),
            kept_rows=tuple(self.picked),
            dropped_rows=len(self._table.rows) - len(self.picked),
            dropped_columns=self._table.columns[self._columns :],
        )


def _frozen(spans: Iterable[list[Span]]) -> tuple[tuple[Span, ...], ...]:
    return tuple(map(tuple, spans))


def _write_columns(page: _Page) -> None:
    kept = list(page.rows())
    for column, name in enumerate(page.names):
        filled = [(row, cells[column]) for row, cells in kept if cells[column]]
        if not (name or filled):
            continue
        page.begin()
        start = page.end
        page.write_name(column)
        before = ": " if name else ""
        for row, text in filled:
            page.write(before)
            page.row_spans[row].append(page.write_cell(row, column, text))
            before = ", "
        page.column_spans[column].append((start, page.end))
        page.write(".")


def _write_rows(page: _Page) -> None:
    for row, cells in page.rows():
        if any(cells):
            page.begin()
            start = page.end
            _write_row(page, row, cells)
            page.row_spans[row].append((start, page.end))
            page.write(".")
    if not page.cells and any(page.names):
        _write_names(page)


def _write_row(page: _Page, row: int, cells: Sequence[str]) -> None:
    before = ""
    for column, text in enumerate(cells):
        if text:
            page.write(before)
            start = page.end
            page.write_name(column)
            page.write(": " if page.names[column] else "")
            page.write_cell(row, column, text)
            page.column_spans[column].append((start, page.end))
            before = ", "


def _write_names(page: _Page) -> None:
    page.begin()
    before = ""
    for column, name in enumerate(page.names):
        if name:
            page.write(before)
            page.column_spans[column].append((page.end, page.end + len(name)))
            page.write_name(column)
            before = ", "
    page.write(".")
