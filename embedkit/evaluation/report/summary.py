"""The report in words: what was found, and what cannot be told."""

from collections import Counter
from collections.abc import Mapping, Sequence

from embedkit.evaluation.report.evidence import Evidence
from embedkit.evaluation.report.markup import isolated, points, text
from embedkit.evaluation.report.pairs import Lead

_MOST = 8  # names in one sentence


def findings(evidence: Evidence, lead: Mapping[str, Lead]) -> list[str]:
    """Sentences, as HTML, about what the results show."""
    said = [_extent(evidence), *_best_mean(evidence)]
    if not evidence.contenders:
        return said
    real = [task for task, one in lead.items() if one.is_real]
    compared = sum(one.p_value is not None for one in lead.values())
    if compared:
        said.append(
            f"The best model of a task differs from the second by more than chance on <b>{len(real)}</b> of the "
            f"{_count(compared, 'task')} where it can be told (paired test, Holm over the tasks, 5 %)."
        )
    said += _some(
        [
            f"{isolated(evidence.labels[model])} has a real lead on {_names(tasks)}."
            for model, tasks in _led(lead, real).items()
        ]
    )
    return said


def limits(evidence: Evidence, lead: Mapping[str, Lead]) -> list[str]:
    """Sentences, as HTML, about what the results cannot show, and what makes them doubtful."""
    said = _differing_data(evidence)
    close = [task for task, one in lead.items() if one.p_value is not None and not one.is_real]
    if close:
        said.append(f"Who is best cannot be told on {_names(close)}: the best two differ by no more than chance.")
    unknown = Counter(one.reason for one in lead.values() if one.reason)
    for reason, count in unknown.most_common(_MOST):
        said.append(
            f"Whether the best is better than the second is not known on {_count(count, 'task')}: {text(reason)}."
        )
    said += _against_floors(evidence)
    if not evidence.shared:
        said.append("No task was run on all models, so there is no mean.")
    grid = len(evidence.models) * len(evidence.tasks)
    if len(evidence.cells) < grid:
        said.append(
            f"Not run, and shown as “–”: {grid - len(evidence.cells):,} of {grid:,} pairs of a model and a task."
        )
    return said


def _extent(evidence: Evidence) -> str:
    kinds = Counter(task.modality for task in evidence.tasks)
    by_kind = ", ".join(f"{count} {text(kind)}" for kind, count in kinds.most_common())
    floors = f" and {_count(len(evidence.floors), 'floor')}" if evidence.floors else ""
    models = _count(len(evidence.contenders), "model") if evidence.contenders else "no model"
    return f"<b>{models}</b>{floors} on <b>{_count(len(evidence.tasks), 'task')}</b> ({by_kind})."


def _best_mean(evidence: Evidence) -> list[str]:
    ranked = [i for i in evidence.contenders if evidence.means[i] is not None]
    if not ranked:
        return []
    over = "the only task" if len(evidence.shared) == 1 else f"the {len(evidence.shared)} tasks that all models share"
    first = (
        f"Best mean over {over}: {isolated(evidence.labels[ranked[0]])} with <b>{points(evidence.means[ranked[0]])}</b>"
    )
    if len(ranked) == 1:
        return [f"{first}."]
    return [f"{first}, before {isolated(evidence.labels[ranked[1]])} with {points(evidence.means[ranked[1]])}."]


def _led(lead: Mapping[str, Lead], real: Sequence[str]) -> dict[int, list[str]]:
    led: dict[int, list[str]] = {}
    for task in real:
        led.setdefault(lead[task].best, []).append(task)
    return dict(sorted(led.items(), key=lambda pair: -len(pair[1])))


def _differing_data(evidence: Evidence) -> list[str]:
    differing = [task.name for task in evidence.tasks if len(task.revisions) > 1]
    if not differing:
        return []
    return [f"Models were run on different revisions of the data, and cannot be compared, on {_names(differing)}."]


def _against_floors(evidence: Evidence) -> list[str]:
    if not evidence.floors:
        return ["No floor was run, so what a model that knows nothing would reach is not known."]
    below: dict[int, list[str]] = {}
    for task in evidence.tasks:
        floors = evidence.ranked(task.name, evidence.floors)
        for model in evidence.ranked(task.name, evidence.contenders):
            if floors and evidence.score(model, task.name) <= evidence.score(floors[0], task.name):
                below.setdefault(model, []).append(task.name)
    alike: dict[tuple[str, ...], list[str]] = {}
    for model, tasks in below.items():
        alike.setdefault(tuple(tasks), []).append(evidence.labels[model])
    said = [f"<b>Not above the best floor</b> on {_names(tasks)}: {_names(labels)}." for tasks, labels in alike.items()]
    return _some(said)


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(isolated(name) for name in names[:_MOST])
    return f"{shown} and {len(names) - _MOST} more" if len(names) > _MOST else shown


def _some(sentences: list[str]) -> list[str]:
    left_out = len(sentences) - _MOST
    return [*sentences[:_MOST], *([f"{left_out} more like this."] if left_out > 0 else [])]


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' if number != 1 else ''}"
