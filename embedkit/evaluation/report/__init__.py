"""Reports: one HTML file that needs nothing beside it."""

import datetime
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from embedkit.evaluation.results import ModelScores
from embedkit.io import write_atomic

__all__ = ["write_report"]


def write_report(
    models: Sequence[ModelScores], path: Path, *, title: str = "Evaluation", date: datetime.date | None = None
) -> None:
    """Write what a set of results says as one HTML file, whole or not at all.

    The file loads nothing: style, plots and the script that sorts a table are inside it. The same results give the
    same file on the same day.

    Args:
        models: What `read_results` gave.
        path: The file, replaced if it is there.
        title: Its heading.
        date: Stands beneath the heading; today where it is None.

    Raises:
        InputError: There are no models, or none has a task.
        CorruptFileError: The items behind a score are damaged; the file is named.
        StorageError: The disk refused.
    """
    from embedkit.evaluation.report.page import page

    day = date or datetime.datetime.now(datetime.UTC).astimezone().date()
    write_atomic(path, partial(_write, written=page(models, title, day)))


def _write(path: Path, written: str) -> None:
    path.write_bytes(written.encode())
