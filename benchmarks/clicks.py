"""What the benchmarks of click models share: the Frappe log as ids, and the network that compressed tables serve."""

from functools import cache
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray

from benchmarks.data import data_folder
from embedkit.encoders.record import Vocabulary, read_clicks
from embedkit.modules.interaction import ClickModel, dnn
from embedkit.modules.lookup import Lookup
from embedkit.training.click import ClickData, ClickMetrics, click_metrics, fit_clicks, predict_clicks

DIM, EPOCHS = 16, 8

FILES = ("train_reconstructed.csv", "valid.csv", "test.csv")


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


def frappe(rows: int | None = None) -> Log:
    """Read the log.

    Args:
        rows: How many of each part, for a smoke run; None for all.

    Raises:
        DataMissing: The data set is not there.
    """
    vocabulary, parts = _whole()
    return Log(vocabulary, *(ClickData(ids[:rows], labels[:rows]) for ids, labels in parts))


@cache
def _whole() -> tuple[Vocabulary, list[tuple[NDArray[Any], NDArray[Any]]]]:
    """The vocabulary, then ids and labels of each part."""
    read = [read_clicks(data_folder("ctr", "frappe", name)) for name in FILES]
    vocabulary = Vocabulary.fit(read[0].columns)
    return vocabulary, [(vocabulary.records(part.columns).ids, part.labels) for part in read]


def scored(model: Any, data: ClickData) -> ClickMetrics:
    """AUC and logloss of a model on records with labels."""
    assert data.labels is not None
    return click_metrics(predict_clicks(model, data), data.labels)


def click_network(lookup: Lookup, log: Log, seed: int) -> ClickModel:
    """The network that all compressed tables serve: of a seed, the same first weights whatever the table is."""
    torch.manual_seed(seed)  # lookups draw more or less than each other
    return dnn(log.vocabulary.sizes, DIM, (128, 64), lookup=lookup, batch_norm=True, dropout=0.2)


def fitted(model: ClickModel, log: Log, seed: int, smoke: bool, *, epochs: int = EPOCHS, rate: float = 2e-3) -> Any:
    """The model, trained on the one schedule that all compressed tables get."""
    fit_clicks(
        model,
        log.train,
        log.validation,
        epochs=1 if smoke else epochs,
        batch_size=1024,
        learning_rate=rate,
        patience=None,
        plateau_factor=1.0,
        seed=seed,
        show_progress_bar=False,
    )
    return model
