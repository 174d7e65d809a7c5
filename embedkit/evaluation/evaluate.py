"""`evaluate`: one call from a model and names of tasks, or files, to scores beside their floors."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedkit.errors import InputError
from embedkit.evaluation.floors import FLOORS
from embedkit.evaluation.grid import Grid
from embedkit.evaluation.results import ModelScores, read_results
from embedkit.optional import require
from embedkit.types import SupportsEncode

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask

    from embedkit.evaluation.mteb.run import Evaluation


def evaluate(  # noqa: PLR0913  # each is one choice of the caller
    model: str | os.PathLike[str] | SupportsEncode | None = None,
    tasks: "str | Sequence[str | AbsTask]" = (),
    *,
    benchmark: str | None = None,
    data: str | os.PathLike[str] | None = None,
    results: str | os.PathLike[str] = "results",
    name: str | None = None,
    num_layers: int | None = None,
    truncate_dim: int | None = None,
    prompts: Mapping[str, str] | None = None,
    floors: str | Sequence[str] = FLOORS,
    batch_size: int = 32,
    overwrite: bool = False,
    on_task: Callable[[str, str, int, int], None] | None = None,
) -> "Evaluation":
    """Score a model on tasks, beside models that know nothing, and keep what the scores are made of.

    Tasks come from three places, which may be combined: names, a benchmark of mteb's, and your own files. Metrics and
    protocols are mteb's own, and so are the stored files. What has a result of the same data is not run again.

    Args:
        model: A folder or hub name, an encoder, or None for the bundled default.
        tasks: Names of embedkit's or mteb's tasks, or task objects; data on this machine goes before the hub's.
        benchmark: Name of a benchmark of mteb's, such as "MTEB(eng, v2)".
        data: A file or folder of your own: CSV, TSV, JSONL, Parquet, or a BEIR folder. Where the columns need
            naming, pass `evaluation.tasks.files.tasks_from(…)` as tasks instead.
        results: Where results are kept.
        name: What tables call the model; None takes the name it was loaded by.
        num_layers: Stop after this layer.
        truncate_dim: Keep this many leading dimensions.
        prompts: "query" and "document" → the prompt put before such inputs.
        floors: Which of "random", "tfidf" and "untrained" to run beside the model.
        batch_size: Handed to `encode`.
        overwrite: Run what has a result again.
        on_task: Called before each model on each task with (model, task, number done, number in all).

    Returns:
        The scores of the model and the floors, and which tasks could not be run and why.

    Raises:
        InputError: No task is named, one is unknown, a prompt is for no role, or a file is not what it should be.
        ModelError: The model cannot be opened.
        MissingExtraError: mteb is not installed.
        EmbedkitError: No task could be run.
    """
    require("mteb", extra="mteb")
    from embedkit.evaluation.mteb.model import EncoderModel
    from embedkit.evaluation.mteb.run import run

    chosen = _tasks(tasks, benchmark, data)
    encoder, known_as = _encoder(model)
    if unknown := set(prompts or ()) - {"query", "document"}:
        message = f"prompts must be for 'query' and 'document'; received {', '.join(map(repr, sorted(unknown)))}"
        raise InputError(message)
    options = {"num_layers": num_layers, "truncate_dim": truncate_dim, "prompts": prompts}
    bridged = EncoderModel(encoder, name or known_as, **options)  # type: ignore[arg-type]  # each goes to its own
    return run(
        bridged,
        chosen,
        Path(results),
        floors=[floors] if isinstance(floors, str) else floors,
        batch_size=batch_size,
        overwrite=overwrite,
        on_task=on_task,
    )


def evaluate_grid(
    model: str | os.PathLike[str] | SupportsEncode | None = None,
    tasks: "str | Sequence[str | AbsTask]" = (),
    *,
    layers: Sequence[int] | None = None,
    dims: Sequence[int] | None = None,
    results: str | os.PathLike[str] = "results",
    name: str | None = None,
    on_task: Callable[[str, str, int, int], None] | None = None,
) -> Grid:
    """Score an encoder at every depth and width on tasks; each text goes through its backbone once.

    Args:
        model: A folder or hub name, an `Encoder`, or None for the bundled default.
        tasks: As in `evaluate`.
        layers: Depths, each 0 … depth; None is the full depth alone.
        dims: Widths, each 1 … width; None is the full width alone.
        results: Where the scores of each cell are kept, as those of a run with these options.
        name: What tables call the model; None takes the name it was loaded by.
        on_task: As in `evaluate`.

    Returns:
        Scores, CPU time and bytes of every cell; `Grid.pareto` names those worth having.

    Raises:
        InputError: A depth, a width or a task is not one.
    """
    require("mteb", extra="mteb")
    from embedkit.evaluation.mteb.grid import grid

    chosen = _tasks(tasks, None, None)
    encoder, known_as = _encoder(model)
    depths = layers or [encoder.get_num_layers()]
    widths = dims or [encoder.get_embedding_dimension()]
    return grid(encoder, name or known_as, chosen, depths, widths, Path(results), on_task=on_task)


def scores_of(
    model: str,
    tasks: Sequence[str] = (),
    *,
    benchmark: str | None = None,
    data: str | os.PathLike[str] | None = None,
    results: str | os.PathLike[str] = "results",
    on_task: Callable[[str, str, int, int], None] | None = None,
) -> ModelScores:
    """The scores of a model: those in a folder of results, after running what is asked for and missing there.

    Args:
        model: As tables call it, such as "local/mine (truncate_dim=64)", its name or the first eight characters of
            its revision where one model has them, or "default"; or a folder or hub name to run.
        tasks: Names of tasks; none, and no benchmark or data, means whatever is stored.
        benchmark: Name of a benchmark of mteb's.
        data: A file or folder of your own.
        results: Where results are kept.
        on_task: As in `evaluate`.

    Raises:
        InputError: Nothing is asked for and nothing stored goes by this name.
    """
    if tasks or benchmark or data:
        source = None if model == "default" else model
        ran = evaluate(source, tasks, benchmark=benchmark, data=data, results=results, floors=(), on_task=on_task)
        return ran.models[0]
    from embedkit.encoders.loading import DEFAULT_MODEL

    stored = read_results(Path(results))
    called = DEFAULT_MODEL if model == "default" else model
    found = [scores for scores in stored if scores.label == called]  # which is also the name of those with options
    found = found or [scores for scores in stored if called in {scores.name, scores.revision[:8]}]
    if len(found) == 1:
        return found[0]
    labels = ", ".join(f"{scores.label} [{scores.revision[:8]}]" for scores in stored)
    message = f"{results} must hold one model called {model!r}; it holds {labels}: name one, or tasks to run it on"
    raise InputError(message)


def _tasks(asked: Any, benchmark: str | None, data: str | os.PathLike[str] | None) -> "list[AbsTask]":
    from embedkit.evaluation.tasks.files import tasks_from
    from embedkit.evaluation.tasks.find import find_benchmark, find_tasks

    chosen = [*(find_benchmark(benchmark) if benchmark else [])]
    for one in [asked] if isinstance(asked, str) else asked:
        chosen += find_tasks([one]) if isinstance(one, str) else [one]
    if data is not None:
        chosen += tasks_from(Path(data))
    if not chosen:
        message = "evaluate needs something to measure on: name tasks, a benchmark, or a folder of data"
        raise InputError(message)
    return chosen


def _encoder(model: Any) -> tuple[Any, str]:
    """The encoder and what it is called."""
    from embedkit.encoders.loading import DEFAULT_MODEL, load

    if model is None:
        return load(), DEFAULT_MODEL
    if not isinstance(model, str | os.PathLike):
        if not all(callable(getattr(model, name, None)) for name in ("encode", "get_embedding_dimension")):
            message = (
                "model must be a folder, a hub name, or an encoder with encode and get_embedding_dimension; "
                f"received {type(model).__name__}"
            )
            raise InputError(message)
        return model, type(model).__name__
    folder = Path(model)
    return load(model), folder.resolve().name if folder.is_dir() else os.fspath(model)
