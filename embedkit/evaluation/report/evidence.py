"""What a report says, before it is drawn: scores with intervals, and means."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from embedkit.errors import InputError
from embedkit.evaluation.items import TaskItems
from embedkit.evaluation.results import ModelScores, TaskScore, tasks_of

if TYPE_CHECKING:
    from embedkit.evaluation.statistics import Interval

_RESAMPLES = (200, 2000)
_DRAWS = 200_000  # resamples of all scores together, which bounds the time that a large report takes
_AGREES = 5e-4  # the items and the score are rounded apart from each other


@dataclass(frozen=True)
class Cell:
    """One model on one task.

    Attributes:
        score: The main score, 0 … 1 where the metric is; NaN where the evaluation gave none.
        low: Lower end of its 95 % interval; None where there is none.
        high: Upper end.
        count: How many items the score is made of; 0 where they were not kept.
        reason: Why there is no interval; empty where there is one.
    """

    score: float
    low: float | None = None
    high: float | None = None
    count: int = 0
    reason: str = ""


@dataclass(frozen=True)
class Task:
    """What the results say about a task; every tuple has one entry for each different answer.

    Attributes:
        name: Its name.
        metric: The main metric.
        task_type: Kind of task, such as "STS".
        modality: What the inputs are.
        sources: Where the data came from.
        revisions: Versions of the data.
        subsets: Splits and subsets, as "test" or "test/en".
    """

    name: str
    metric: str
    task_type: str
    modality: str
    sources: tuple[str, ...]
    revisions: tuple[str, ...]
    subsets: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Evidence:
    """Everything that is computed from the results.

    Attributes:
        models: Best mean first; floors after all others.
        labels: One a model, each different.
        names: Likewise, shorter, for plots.
        tasks: By modality, kind and name.
        cells: (position of the model, name of the task) → score; absent where it was not run.
        shared: Names of the tasks on which every model has a score; floors count where there is nothing else.
        means: Mean over `shared`, one a model; None where it lacks one of them.
        resamples: How often each score was resampled.
    """

    models: tuple[ModelScores, ...]
    labels: tuple[str, ...]
    names: tuple[str, ...]
    tasks: tuple[Task, ...]
    cells: Mapping[tuple[int, str], Cell]
    shared: tuple[str, ...]
    means: tuple[float | None, ...]
    resamples: int

    @property
    def contenders(self) -> range:
        """Positions of the models that are no floors."""
        return range(sum(not model.is_floor for model in self.models))

    @property
    def floors(self) -> range:
        """Positions of the floors."""
        return range(len(self.contenders), len(self.models))

    def ranked(self, task: str, among: Sequence[int]) -> list[int]:
        """Those of some models that have a score on a task, best first."""
        there = [i for i in among if math.isfinite(self.score(i, task))]
        return sorted(there, key=lambda i: -self.score(i, task))

    def score(self, model: int, task: str) -> float:
        """The score, NaN where there is none."""
        cell = self.cells.get((model, task))
        return cell.score if cell else math.nan

    def seconds(self, model: int) -> float:
        """How long the tasks took that all models share."""
        return sum(self.models[model].tasks[task].seconds for task in self.shared if task in self.models[model].tasks)

    def dim(self, model: int) -> int | None:
        """Length of the model's vectors, where its options or its description say it."""
        return dim_of(self.models[model])


def dim_of(model: ModelScores) -> int | None:
    """Length of a model's vectors, where its options or its description say it."""
    found = model.options.get("truncate_dim") or model.meta.get("embed_dim")
    return found if isinstance(found, int) and found > 0 else None


def gather(models: Sequence[ModelScores]) -> Evidence:
    """Scores with their intervals, in the order in which they are shown.

    Args:
        models: What `read_results` gave.

    Raises:
        InputError: There are no models, or none has a task.
        CorruptFileError: The items behind a score are damaged; the file is named.
    """
    names = tasks_of(models)
    if not names:
        message = "a report needs at least one model with a result; run 'embedkit evaluate' first"
        raise InputError(message)
    measured = [model for model in models if not model.is_floor] or list(models)
    shared = tuple(task for task in names if all(_has_score(model, task) for model in measured))
    ordered = sorted(models, key=lambda model: _order(model, shared))
    resamples = min(max(_RESAMPLES[0], _DRAWS // (len(models) * len(names))), _RESAMPLES[1])
    return Evidence(
        models=tuple(ordered),
        labels=_different(ordered, [model.label for model in ordered]),
        names=_different(ordered, [_short(model) for model in ordered]),
        tasks=tuple(
            sorted(
                (_about(name, ordered) for name in names), key=lambda task: (task.modality, task.task_type, task.name)
            )
        ),
        cells=_cells(ordered, resamples),
        shared=shared,
        means=tuple(_mean(model, shared) for model in ordered),
        resamples=resamples,
    )


def _cells(models: Sequence[ModelScores], resamples: int) -> dict[tuple[int, str], Cell]:
    from embedkit.evaluation.statistics import bootstrap_intervals

    scores = {(i, task): score for i, model in enumerate(models) for task, score in model.tasks.items()}
    reasons = {place: _why_not(score) for place, score in scores.items()}
    counted = [place for place, reason in reasons.items() if not reason]
    intervals = bootstrap_intervals([scores[place].items for place in counted], resamples=resamples)
    found = dict(zip(counted, intervals, strict=True))
    return {
        place: _cell(score, found[place]) if place in found else Cell(score.score, reason=reasons[place])
        for place, score in scores.items()
    }


def _cell(score: TaskScore, interval: "Interval | InputError") -> Cell:
    count = sum(len(part) for part in score.items)
    if isinstance(interval, InputError):
        return Cell(score.score, count=count, reason=str(interval))
    if not abs(interval.value - score.score) < _AGREES:
        reason = f"the items that were kept give {100 * interval.value:.2f}, which is not the score"
        return Cell(score.score, count=count, reason=reason)
    return Cell(score.score, interval.low, interval.high, count)


def _why_not(score: TaskScore) -> str:
    """Why there can be no interval; empty where there can."""
    if not math.isfinite(score.score):
        return "the score is not a number"
    if score.kept is None:
        return "the items behind the score were not kept"
    return "" if score.items else f"{score.kept.metric} cannot be resampled"


def _about(name: str, models: Sequence[ModelScores]) -> Task:
    scores = [model.tasks[name] for model in models if name in model.tasks]
    kept = [score.kept for score in scores if score.kept]
    first = kept[0] if kept else TaskItems("main score", "other", "other", "not recorded", ())
    parts = {split if subset == "default" else f"{split}/{subset}" for score in scores for split, subset in score.parts}
    return Task(
        name,
        first.metric,
        first.task_type,
        first.modality,
        sources=tuple(sorted({one.source for one in kept})) or (first.source,),
        revisions=tuple(sorted({str(score.dataset_revision) for score in scores})),
        subsets=tuple(sorted(parts)),
    )


def _has_score(model: ModelScores, task: str) -> bool:
    return task in model.tasks and math.isfinite(model.tasks[task].score)


def _mean(model: ModelScores, shared: tuple[str, ...]) -> float | None:
    if not shared or not all(_has_score(model, task) for task in shared):
        return None
    return math.fsum(model.tasks[task].score for task in shared) / len(shared)


def _order(model: ModelScores, shared: tuple[str, ...]) -> tuple[Any, ...]:
    mean = _mean(model, shared)
    return model.is_floor, mean is None, -(mean or 0.0), model.label, model.revision


def _short(model: ModelScores) -> str:
    """The name without its owner, and depth and width without theirs."""
    words = {"num_layers": "{}L", "truncate_dim": "{}d"}
    options = [words.get(name, f"{name}={{}}").format(value) for name, value in sorted(model.options.items())]
    name = model.name if model.is_floor else model.name.rsplit("/", 1)[-1]
    return " ".join([name, *options])


def _different(models: Sequence[ModelScores], labels: Sequence[str]) -> tuple[str, ...]:
    """Labels that several models share get the revision; where that is the same too, a number."""
    counts = Counter(labels)
    with_revision = [
        label if counts[label] == 1 else f"{label} @{model.revision[:8]}"
        for model, label in zip(models, labels, strict=True)
    ]
    again = Counter(with_revision)
    return tuple(label if again[label] == 1 else f"{label} #{i + 1}" for i, label in enumerate(with_revision))
