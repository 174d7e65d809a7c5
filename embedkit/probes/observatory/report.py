"""All eight properties of one encoder on one set of tables: as a table to print, a figure, and numbers on disk."""

import math
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

from tqdm import tqdm

from embedkit.encoders.depth import at_depth
from embedkit.encoders.encoder import Encoder
from embedkit.encoders.table.keys import ForeignKey
from embedkit.encoders.table.table import Table, as_table, counted
from embedkit.encoders.table.vectors import MOST_ROWS, table_vectors
from embedkit.errors import InputError
from embedkit.io import write_atomic, write_json
from embedkit.optional import require
from embedkit.probes.observatory.column_order import column_order
from embedkit.probes.observatory.entity_stability import entity_stability
from embedkit.probes.observatory.finding import Finding
from embedkit.probes.observatory.functional_dependencies import dependency_translation
from embedkit.probes.observatory.heterogeneous_context import heterogeneous_context
from embedkit.probes.observatory.join_relationship import ColumnPair, column_pairs, graded_pairs, join_relationship
from embedkit.probes.observatory.perturbation import perturbation_robustness, renamed_columns
from embedkit.probes.observatory.row_order import row_order
from embedkit.probes.observatory.sample_fidelity import sample_fidelity

__all__ = ["Report", "report"]

_WIDTH = 100
_HEAD = ("property", "line", "measured", "control", "n")
_ACROSS = 2


@dataclass(frozen=True)
class Report:
    """What was measured of all properties. Printed it is one table; `report["row order"]` is one of its findings.

    Attributes:
        findings: One a property, in the order of the paper. One that could not be measured has no lines, and a note
            that says why.
    """

    findings: tuple[Finding, ...]

    def __getitem__(self, name: str) -> Finding:
        """The finding of the property of that name.

        Raises:
            InputError: There is none.
        """
        for finding in self.findings:
            if finding.property == name:
                return finding
        message = f"a report is asked for one of {', '.join(each.property for each in self.findings)}"
        raise InputError(f"{message}; received {name!r}")

    def plot(self) -> Any:
        """Draw each property in a panel of its own.

        Returns:
            A matplotlib figure.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        rows = math.ceil(len(self.findings) / _ACROSS)
        figure = require("matplotlib.figure", extra="plots").Figure(figsize=(14, 3.5 * rows), layout="constrained")
        panels = figure.subplots(rows, _ACROSS, squeeze=False).flat
        marks: dict[str, Any] = {}
        for axis, finding in zip_longest(panels, self.findings):
            if finding is not None and finding.lines:
                finding.plot(axis)
                handles, labels = axis.get_legend_handles_labels()
                marks.update(zip(labels, handles, strict=True))
                axis.get_legend().remove()  # one for all is enough
                continue
            axis.set_axis_off()
            if finding is not None:
                axis.set_title(finding.property)
                axis.text(0.5, 0.5, textwrap.fill(" ".join(finding.notes), 60), ha="center", va="center")
        if marks:
            figure.legend(marks.values(), marks.keys(), loc="outside lower center", ncols=len(marks))
        return figure

    def save(self, folder: Path) -> None:
        """Write the numbers as observatory.json and the figure as observatory.png; what is undefined is null.

        Args:
            folder: Made where it is not there.

        Raises:
            MissingExtraError: matplotlib is not installed; the numbers are written.
            StorageError: The disk refused.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "observatory.json", _plain(asdict(self)))
        figure = self.plot()
        write_atomic(folder / "observatory.png", lambda path: figure.savefig(path, format="png"))

    def __str__(self) -> str:
        rows = [_HEAD, *(row for finding in self.findings for row in _rows(finding))]
        widths = [max(len(row[at]) for row in rows) for at in range(len(_HEAD))]
        widths[1] = min(widths[1], _WIDTH - sum(widths) + widths[1] - 2 * (len(_HEAD) - 1))
        written: list[str] = []
        for row in rows:
            first, *more = textwrap.wrap(row[1], widths[1]) or [""]
            cells = (row[0], first, *row[2:])
            written.append("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())
            written += [" " * (widths[0] + 2) + rest for rest in more]
        for finding in self.findings:
            for note in finding.notes:
                written += textwrap.wrap(f"- {finding.property}: {note}", _WIDTH, subsequent_indent="  ")
        return "\n".join(written)


def report(
    encoder: Encoder,
    tables: Iterable[Any] | Mapping[tuple[str, str], Any],
    *,
    keys: Iterable[ForeignKey] = (),
    renames: Mapping[str, str] | None = None,
    reference: Encoder | None = None,
    variants: int = 6,
    seed: int = 0,
) -> Report:
    """Measure all eight properties of an encoder of tables.

    A property that cannot be measured on these tables leaves the others alone: its finding has no lines and a note.

    Args:
        encoder: Of tables.
        tables: A list of what `as_table` reads, taken to be one database; or such tables by (database, table).
        keys: Foreign keys among the tables, for the join relationship: how well cosines tell them from other pairs.
            The database of a key counts only where tables are given by database.
        renames: As in `renamed_columns`, for the perturbation robustness; None abbreviates headers by rule.
        reference: The other encoder of tables of the entity stability. None takes the embedding layer of `encoder`
            itself, which knows words but no context.
        variants: Of each table, in row order, column order and sample fidelity.
        seed: Of everything random.

    Returns:
        The eight findings.

    Raises:
        InputError: The encoder reads no tables, there are none, one is no table, or two of a list have one name and
            there are keys.

    Example:
        >>> import embedkit as ek
        >>> from embedkit.encoders.table.parts import part_encoder
        >>> cities = {"city": ["Paris", "Rome", "Oslo"], "country": ["France", "Italy", "Norway"]}
        >>> found = report(part_encoder(ek.load(), unit="cells"), [cities], variants=2)
        >>> found["row order"]["column, cosine"].estimate.value
        1.0

    Reference:
        T. Cong, M. Hulsebos, Z. Sun, P. Groth, H. V. Jagadish, "Observatory: Characterizing Embeddings of Relational
        Tables", PVLDB 17(4), 2024.

    Deviations:
        Those of each property. Correlations of the join relationship are measured on `graded_pairs` of the columns,
        which share from none to all of their values; where no column has values enough, on the keys.
    """
    table_vectors(encoder, [])  # refuses what reads no tables
    read, by_name = _named(tables)
    keys = list(keys)
    if not isinstance(tables, Mapping):
        keys = [replace(key, database="") for key in keys]
        if keys and len(by_name) < len(read):
            message = "tables that keys refer to must differ in their names: give them by (database, table)"
            raise InputError(message)
    measures: dict[str, Callable[[], Finding]] = {
        "row order": lambda: row_order(encoder, read, variants=variants, seed=seed),
        "column order": lambda: column_order(encoder, read, variants=variants, seed=seed),
        "join relationship": lambda: _joins(
            encoder, read, column_pairs(by_name, keys, seed=seed) if keys else [], seed
        ),
        "functional dependencies": lambda: dependency_translation(encoder, read, seed=seed),
        "sample fidelity": lambda: sample_fidelity(encoder, read, variants=variants, seed=seed),
        "entity stability": lambda: _stability(encoder, reference, read, seed),
        "perturbation robustness": lambda: perturbation_robustness(encoder, renamed_columns(read, renames), seed=seed),
        "heterogeneous context": lambda: heterogeneous_context(encoder, read, seed=seed),
    }
    shown = tqdm(measures.items(), desc="observatory", unit="property", disable=None)
    return Report(tuple(_measured(name, measure) for name, measure in shown))


def _measured(name: str, measure: Callable[[], Finding]) -> Finding:
    try:
        return measure()
    except Exception as error:  # the other properties may have taken an hour
        why = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
        return Finding(name, "Could not be measured on these tables.", (), (f"left out: {why}",))


def _joins(encoder: Encoder, tables: Sequence[Table], declared: list[ColumnPair], seed: int) -> Finding:
    graded = graded_pairs(tables, seed=seed)
    asked = [pairs for pairs in (declared, graded) if len(pairs) > 1] or [graded]
    findings = [join_relationship(encoder, pairs, seed=seed) for pairs in asked]
    lines = {line.name: line for finding in findings for line in finding.lines}  # graded pairs write over declared ones
    notes = [note for finding in findings for note in finding.notes]
    if graded:
        notes.append(f"correlations are over {counted(len(graded), 'pair')} that share 0 … 100 % of their values")
    if not any(name.startswith("AUC") for name in lines):
        notes.append("too few declared keys join columns here to say how they are told from other pairs")
    return replace(findings[-1], lines=tuple(lines.values()), notes=tuple(notes))


def _stability(encoder: Encoder, reference: Encoder | None, tables: Sequence[Table], seed: int) -> Finding:
    if reference is not None:
        return entity_stability(encoder, reference, tables, seed=seed)
    try:
        words = at_depth(encoder, 0)
    except InputError as error:
        message = f"no reference was given, and the encoder has no embedding layer to take: {error}"
        raise InputError(message) from None
    found = entity_stability(encoder, words, tables, seed=seed)
    return replace(found, notes=(*found.notes, "the reference is the embedding layer of the same encoder"))


def _named(tables: Any) -> tuple[list[Table], dict[tuple[str, str], Table]]:
    """The tables, and the same by database and name; those of a list are all in one database without a name."""
    if isinstance(tables, Mapping):
        if wrong := [name for name in tables if not (isinstance(name, tuple) and len(name) == 2)]:
            message = f"a mapping must give tables by (database, table); it has {wrong[0]!r}: put tables into a list"
            raise InputError(message)
        by_name = {name: _read(table, f"tables[{name!r}]", name[1]) for name, table in tables.items()}
        read = list(by_name.values())
    elif isinstance(tables, list | tuple):
        read = [_read(table, f"tables[{place}]", "") for place, table in enumerate(tables)]
        by_name = {("", table.name): table for table in read}
    else:
        message = f"tables must be a list of tables, or tables by (database, table); received {type(tables).__name__}"
        raise InputError(message)
    if not read:
        message = "there must be at least one table; received none"
        raise InputError(message)
    return read, by_name


def _read(table: Any, place: str, name: str) -> Table:
    try:
        return as_table(table, name=name, max_rows=MOST_ROWS)
    except InputError as error:
        message = f"{place}: {error}"
        raise InputError(message) from None


def _rows(finding: Finding) -> list[tuple[str, ...]]:
    if not finding.lines:
        return [(finding.property, "not measured: see below", "", "", "")]
    names = [finding.property, *[""] * (len(finding.lines) - 1)]
    return [
        (name, line.name, str(line.estimate), _value(line.control), f"{line.estimate.n:,}")
        for name, line in zip(names, finding.lines, strict=True)
    ]


def _value(control: Any) -> str:
    return "" if control is None else str(replace(control, low=control.value, high=control.value))


def _plain(value: Any) -> Any:
    """For JSON, which has no NaN."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
