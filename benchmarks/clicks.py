"""What the benchmarks of click models share: the Frappe log as ids, and runs on a core each."""

from functools import cache
from typing import Any, NamedTuple, TypeVar

from benchmarks.data import data_folder
from embedkit.encoders.record import Records, Vocabulary, read_clicks
from embedkit.training.click import ClickData, ClickMetrics, click_metrics, predict_clicks

T = TypeVar("T")
R = TypeVar("R")

FILES = {"train": "train_reconstructed.csv", "validation": "valid.csv", "test": "test.csv"}


class Log(NamedTuple):
    """The Frappe log.

    Validation and test rows are the official ones; training rows have the official positives and negatives drawn anew.

    Attributes:
        vocabulary: Of the training rows.
        train: 202,027 records.
        validation: 57,722 records.
        test: 28,860 records.
    """

    vocabulary: Vocabulary
    train: ClickData
    validation: ClickData
    test: ClickData


@cache
def frappe(rows: int | None = None) -> Log:
    """Read the log.

    Args:
        rows: How many of each part, for a smoke run; None for all.

    Raises:
        DataMissing: The data set is not there.
    """
    read = {part: read_clicks(data_folder("ctr", "frappe", name)) for part, name in FILES.items()}
    vocabulary = Vocabulary.fit(read["train"].columns)

    def part(name: str) -> ClickData:
        records: Records = vocabulary.records(read[name].columns)
        return ClickData(records.ids[:rows], read[name].labels[:rows])

    return Log(vocabulary, *map(part, FILES))


def scored(model: Any, data: ClickData) -> ClickMetrics:
    """AUC and logloss of a model on records with labels."""
    assert data.labels is not None
    return click_metrics(predict_clicks(model, data), data.labels)
