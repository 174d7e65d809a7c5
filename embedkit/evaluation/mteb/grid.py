"""Every depth and width of one encoder on tasks of mteb, at about the price of one evaluation."""

import copy
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset
from mteb.abstasks import AbsTask

from embedkit.evaluation.grid import Grid, elastic_grid
from embedkit.evaluation.mteb.kept import without_items
from embedkit.evaluation.mteb.model import EncoderModel, revision_of
from embedkit.evaluation.mteb.run import OnTask, score
from embedkit.evaluation.mteb.stored import has_items, is_done, place_of, store


def grid(
    encoder: Any,
    name: str,
    tasks: Sequence[AbsTask],
    layers: Iterable[int],
    dims: Iterable[int],
    folder: Path,
    *,
    batch_size: int = 32,
    on_task: OnTask | None = None,
) -> Grid:
    """Run an encoder at every depth and width on tasks; each text goes through the backbone once.

    Each cell's scores are kept in the place of a run with these options, so that reports find them.

    Args:
        encoder: An `Encoder`.
        name: What tables call it.
        tasks: On what.
        layers: Different depths, each 0 … depth; 0 is the embedding layer.
        dims: Different widths, each 1 … width.
        folder: Where results are kept.
        batch_size: Handed to the encoder.
        on_task: Called before each cell on each task with (cell, task, number done, number in all).

    Returns:
        Scores and cost of every cell.

    Raises:
        InputError: A depth or width is out of range.
        ModelError: A score is not a number.
    """
    layers, dims = list(layers), list(dims)
    revision, done = revision_of(encoder), 0
    for task in tasks:
        if not task.data_loaded:  # once for all cells
            task.load_data()
        task.dataset = _listed(task.dataset)

    def score_cell(view: Any) -> Mapping[str, float]:
        nonlocal done
        model = EncoderModel(view, name, revision=revision, num_layers=view.layer, truncate_dim=view.dim)
        scores = {}
        for task in tasks:
            if on_task:
                place = f"layer {view.layer}, dim {view.dim}"
                on_task(place, task.metadata.name, done, len(layers) * len(dims) * len(tasks))
            scores[task.metadata.name] = _scored(model, task, folder, batch_size)
            done += 1
        return scores

    return elastic_grid(encoder, score_cell, layers, dims)


class _ListedDataset(Dataset):  # type: ignore[misc]  # datasets ships no types
    """A data set whose columns are lists: for each cell mteb walks them row by row, which `datasets` is slow at."""

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        return found[:] if isinstance(key, str) else found


def _listed(data: Any) -> Any:
    """The splits of a task, at whatever depth of dictionaries they are."""
    if isinstance(data, dict):
        for name, inner in data.items():
            data[name] = _listed(inner)
    elif type(data) is Dataset:
        data = copy.copy(data)
        data.__class__ = _ListedDataset
    return data


def _scored(model: EncoderModel, task: AbsTask, folder: Path, batch_size: int) -> float:
    """The main score, kept without items; a result of a run of its own, which has items, stays."""
    found = score(model, task, batch_size, cache=None)
    meta = model.mteb_model_meta
    place = place_of(folder, task.metadata.name, meta)
    if not (is_done(place, task) and has_items(place)):
        store(json.loads(found.model_dump_json()), without_items(task), task, meta, place)
    return float(found.get_score())
