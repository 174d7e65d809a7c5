"""What the command line draws: bars, tables of hits, reports; plain and quiet when nobody watches."""

import json
import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from embedkit.corpus.documents import Cutting
    from embedkit.corpus.sync import Report
    from embedkit.evaluation.check import Finding
    from embedkit.evaluation.grid import Grid
    from embedkit.index.retriever import Hit, Retriever

    OnTask = Callable[[str, str, int, int], None]

_COLOURS = {"pass": typer.colors.GREEN, "fail": typer.colors.RED, "skip": typer.colors.YELLOW}


def sync_with_bar(
    retriever: "Retriever",
    paths: list[str],
    cutting: "Cutting",
    *,
    exclude: tuple[str, ...] = (),
    keep_others: bool = False,
    quiet: bool = False,
) -> "Report":
    """Bring `paths` into the index, with a bar on a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    from embedkit.corpus.sync import Sync
    from embedkit.corpus.tokens import token_counter

    console = Console(stderr=True)
    columns = (TextColumn("indexing"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as bar:
        task = bar.add_task("indexing", total=None)
        sync = Sync(
            retriever,
            token_counter(retriever.encoder),
            cutting,
            lambda done, total: bar.update(task, completed=done, total=max(total, 1)),
        )
        try:
            report = sync.run(paths, keep_others=keep_others, exclude=exclude)
        except KeyboardInterrupt:
            typer.echo("interrupted: what was indexed is kept, and the next run goes on from there", err=True)
            raise
        retriever.save()
    return report


def print_hits(hits: "list[Hit]", *roots: str) -> None:
    """A table on a terminal, tab-separated lines elsewhere; paths below a root, or here, are shown from there."""
    rows = [(f"{hit.score:.3f}", str(hit.metadata.get("kind", "")), _place(hit, roots), _title(hit)) for hit in hits]
    if not sys.stdout.isatty():
        for row in rows:
            typer.echo("\t".join(row))
        return
    from rich.console import Console
    from rich.text import Text

    console = Console()
    widths = [max(len(row[position]) for row in rows) for position in range(3)]
    for score, kind, place, title in rows:
        # Where the line is too long, its end gives way: the title, not the score or the place.
        line = Text("  ").join(
            [
                Text(score.rjust(widths[0]), "bold"),
                Text(kind.ljust(widths[1]), "cyan"),
                Text(place.ljust(widths[2]), "green"),
                Text(title),
            ]
        )
        line.truncate(console.width, overflow="ellipsis")
        console.print(line)


def print_report(report: "Report", folder: Path, total: int) -> None:
    """What a sync did; skipped and mended files go to stderr, twenty of each."""
    typer.echo(
        f"{folder}: {total:,} documents ({report.added:,} new, {report.removed:,} dropped) from "
        f"{report.files + report.unchanged:,} files ({report.unchanged:,} unchanged)"
    )
    for title, entries in (("skipped", report.skipped), ("noted", report.notes)):
        for path, said in list(entries.items())[:20]:
            reason = said if isinstance(said, str) else "; ".join(said)
            typer.echo(f"{title}: {_shown_path(path)}: {clean(reason)}", err=True)
        if len(entries) > 20:
            typer.echo(f"{title}: {len(entries) - 20:,} more; --json lists all", err=True)


@contextmanager
def task_bar(*, quiet: bool = False) -> "Iterator[OnTask]":
    """A bar over models and tasks on a terminal; its call takes (model, task, number done, number in all)."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as bar:
        task = bar.add_task("evaluating", total=None)

        def on_task(model: str, name: str, done: int, total: int) -> None:
            bar.update(
                task, description=clean(f"{name}: {model.rsplit('/', maxsplit=1)[-1]}"), completed=done, total=total
            )

        try:
            yield on_task
        except KeyboardInterrupt:
            typer.echo("interrupted: finished tasks are kept, and the next run goes on from there", err=True)
            raise


def print_grid(grid: "Grid") -> None:
    """Each cell on a line: depth, width, quality, cost; a star on those that no other beats in all three."""
    best = set(map(id, grid.pareto()))
    typer.echo("layers\tdim\tquality\tCPU ms\tbytes\t")
    for cell in grid.cells:
        star = "*" if id(cell) in best else ""
        figures = f"{100 * cell.quality:.2f}\t{cell.cpu_ms:.2f}\t{cell.bytes_per_vector}"
        typer.echo(f"{cell.layer}\t{cell.dim}\t{figures}\t{star}")


def print_finding(finding: "Finding") -> None:
    """One line for what a check found, and one for what to do about it."""
    typer.secho(finding.status.rjust(4), nl=False, fg=_COLOURS[finding.status])
    typer.echo(f"  {finding.name}: {clean(finding.measured)}")
    if finding.advice:
        typer.echo(f"      {clean(finding.advice)}")


def as_dict(hit: "Hit") -> dict[str, Any]:
    """A hit as one JSON object."""
    return {"id": hit.id, "score": round(hit.score, 6), **hit.metadata, "document": hit.document}


def print_json(value: Any) -> None:
    """JSON on stdout."""
    typer.echo(json.dumps(value, ensure_ascii=False, indent=1))


def _place(hit: "Hit", roots: tuple[str, ...]) -> str:
    path, line = hit.metadata.get("path"), hit.metadata.get("line")
    return f"{_shown_path(str(path), *roots)}:{line}" if path else str(hit.id)


def _title(hit: "Hit") -> str:
    name = str(hit.metadata.get("name") or "")
    lines = [line.strip() for line in (hit.document or "").splitlines()]
    first = next((line for line in lines if line and not line.startswith("#")), "")
    return clean(f"{name}  {first}" if name and name not in first else first)


def _shown_path(path: str, *roots: str) -> str:
    """Relative to the first root that it lies below; the working folder is the last."""
    for root in (*roots, "."):
        relative = os.path.relpath(path, root)
        if not relative.startswith(".."):
            return clean(relative)
    return clean(path)


def clean(text: str) -> str:
    """Text without control characters, which a terminal would obey."""
    return "".join(character if character.isprintable() else " " for character in text)
