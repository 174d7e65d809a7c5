"""Scores on a terminal: models and tasks in whichever arrangement fits its width, floors in a section of their own."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from embedkit.evaluation.report.evidence import Cell, gather
from embedkit.evaluation.report.markup import MISSING, plain, points
from embedkit.evaluation.results import ModelScores

if TYPE_CHECKING:
    from rich.console import Console

_LABEL = 32  # characters of a row's label before it goes on in the next line
_HEADING = 14  # likewise of a column's
_GAP = 2
_FLOORS = "Floors: what knowing nothing reaches"
_NO_FLOORS = "No floor was run, so what a model that knows nothing would reach is not known."


@dataclass(frozen=True)
class Row:
    """One model.

    Attributes:
        label: Name and options.
        mean: Mean over the tasks that all models share, as 82.03; "–" where it lacks one.
        cells: One a task, as "82.03 ±0.9"; no ± where the score has no interval, "–" where it was not run.
        is_floor: Whether it is a model that knows nothing.
    """

    label: str
    mean: str
    cells: tuple[str, ...]
    is_floor: bool


@dataclass(frozen=True)
class Table:
    """Scores as text.

    Attributes:
        tasks: Names of the columns.
        shared: How many of them the mean is over.
        rows: Best mean first, floors after all others.
    """

    tasks: tuple[str, ...]
    shared: int
    rows: tuple[Row, ...]


def score_table(models: Sequence[ModelScores]) -> Table:
    """Scores in points with half the width of their 95 % intervals.

    Args:
        models: What `read_results` gave.

    Raises:
        InputError: There are no models, or none has a task.
        CorruptFileError: The items behind a score are damaged; the file is named.
    """
    evidence = gather(models)
    rows = tuple(
        Row(
            _line(evidence.labels[i]),
            points(evidence.means[i]),
            tuple(_shown(evidence.cells.get((i, task.name))) for task in evidence.tasks),
            model.is_floor,
        )
        for i, model in enumerate(evidence.models)
    )
    return Table(tuple(_line(task.name) for task in evidence.tasks), len(evidence.shared), rows)


def print_table(models: Sequence[ModelScores], console: "Console") -> None:
    """Print the scores: a table on a terminal, tab-separated lines elsewhere.

    Where the tasks do not fit beside each other, they become the rows; where the models do not fit either, the
    tasks follow in blocks.

    Args:
        models: What `read_results` gave.
        console: Where to; its width decides the arrangement.

    Raises:
        InputError: There are no models, or none has a task.
        CorruptFileError: The items behind a score are damaged; the file is named.
    """
    table = score_table(models)
    if not console.is_terminal:
        kinds = ["floor" if row.is_floor else "model" for row in table.rows]
        _print_plain(console, [("kind", "model", "mean", *table.tasks)])
        _print_plain(
            console, [(kind, row.label, row.mean, *row.cells) for kind, row in zip(kinds, table.rows, strict=True)]
        )
        return
    mean = f"; mean over {table.shared} of {len(table.tasks)} tasks" if table.shared else ""
    console.print(f"Points ± half of the 95 % interval{mean}", style="dim", highlight=False)
    contenders = [row for row in table.rows if not row.is_floor]
    floors = [row for row in table.rows if row.is_floor]
    if contenders:
        _print_fitting(console, table.tasks, contenders)
    console.print(_FLOORS if floors else _NO_FLOORS, style="dim", highlight=False)
    if floors:
        _print_fitting(console, table.tasks, floors)


def _shown(cell: Cell | None) -> str:
    if cell is None:
        return MISSING
    if cell.low is None or cell.high is None:
        return points(cell.score)
    return f"{points(cell.score)} ±{points((cell.high - cell.low) / 2, 1)}"


def _line(text: str) -> str:
    return " ".join(plain(text).split())


def _print_plain(console: "Console", rows: Sequence[Sequence[str]]) -> None:
    for row in rows:
        console.file.write("\t".join(row) + "\n")


def _print_fitting(console: "Console", tasks: Sequence[str], rows: Sequence[Row]) -> None:
    labels = [row.label for row in rows]
    by_task = [("mean", [row.mean for row in rows])]
    by_task += [(task, [row.cells[i] for row in rows]) for i, task in enumerate(tasks)]
    by_model = [(row.label, [row.mean, *row.cells]) for row in rows]
    if not _fits(console, labels, by_task) and _fits(console, ["mean", *tasks], by_model):
        _print_block(console, "task", ["mean", *tasks], by_model)
        return
    while by_task:
        count = next(n for n in range(len(by_task), 0, -1) if n == 1 or _fits(console, labels, by_task[:n]))
        _print_block(console, "model", labels, by_task[:count])
        by_task = by_task[count:]


def _fits(console: "Console", labels: Sequence[str], columns: Sequence[tuple[str, Sequence[str]]]) -> bool:
    widths = [_width(labels, _LABEL), *(max(_width([name], _HEADING), _width(cells)) for name, cells in columns)]
    return sum(widths) + _GAP * len(columns) <= console.width


def _width(texts: Sequence[str], most: int = 1000) -> int:
    from rich.cells import cell_len

    return min(max(cell_len(text) for text in texts), most)


def _folded(name: str) -> str:
    """A heading in several lines, broken where its words meet."""
    lines = [""]
    for word in re.split(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[/_ -])", name):
        if lines[-1] and _width([lines[-1] + word.rstrip()]) > _HEADING:
            lines.append(word)
        else:
            lines[-1] += word
    return "\n".join(line.strip() for line in lines)


def _print_block(
    console: "Console", corner: str, labels: Sequence[str], columns: Sequence[tuple[str, Sequence[str]]]
) -> None:
    from rich.table import Table as Drawn
    from rich.text import Text

    drawn = Drawn(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, header_style="bold")
    drawn.add_column(corner, max_width=_LABEL, overflow="fold")
    for name, cells in columns:
        drawn.add_column(
            Text(_folded(name)),
            justify="right",
            overflow="fold",
            min_width=_width(cells),
            max_width=max(_HEADING, _width(cells)),
        )
    for i, label in enumerate(labels):
        drawn.add_row(Text(label), *(Text(cells[i], no_wrap=True) for _, cells in columns))
    console.print(drawn)
    console.print()
