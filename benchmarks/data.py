"""Readers of the data sets that benchmarks measure on; none of them is part of the project."""

import csv
import os
from pathlib import Path
from typing import Literal

from benchmarks.results import DataMissing

_PROJECT = Path(__file__).resolve().parent.parent


def data_folder(*parts: str) -> Path:
    """A folder or file below EMBEDKIT_DATA, which is `../shared/data` beside the project unless set.

    Raises:
        DataMissing: It is not there.
    """
    named = os.environ.get("EMBEDKIT_DATA")
    root = Path(named).expanduser() if named else _PROJECT.parent / "shared" / "data"
    path = root.joinpath(*parts)
    if not path.exists():
        raise DataMissing(path)
    return path


def stsb(split: Literal["train", "dev", "test"]) -> tuple[list[str], list[str], list[float]]:
    """English STS benchmark: first sentences, second sentences, and how alike people found them, 0 to 5.

    Raises:
        DataMissing: The data set is not there.
    """
    path = data_folder("text", "stsb", f"stsb-en-{split}.csv")
    with path.open(encoding="utf-8", newline="") as file:
        rows = [(first, second, float(score)) for first, second, score in csv.reader(file)]
    return [row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows]
