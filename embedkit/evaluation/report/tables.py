"""The tables of the report: scores, heat map, comparisons, elastic grids."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from embedkit.evaluation.report.charts import frontier
from embedkit.evaluation.report.evidence import Evidence, Task
from embedkit.evaluation.report.markup import MISSING, breakable, isolated, points, probability, seconds, signed, text
from embedkit.evaluation.report.pairs import Lead
from embedkit.evaluation.results import ModelScores

if TYPE_CHECKING:
    from embedkit.evaluation.compare import Comparison

HEAT = (1.0, 2.0, 5.0, 10.0, 20.0, 40.0)
"""Upper ends of the heat map's classes, in points below the best of the task; the last class has none."""

BYTES_PER_NUMBER = 4

_DEPTH, _WIDTH = "num_layers", "truncate_dim"


class Filters:
    """CSS classes of modalities and kinds of task, by which columns and figures are shown and hidden.

    Args:
        tasks: All tasks of the report.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        self.modalities = {name: f"m{i}" for i, name in enumerate(dict.fromkeys(task.modality for task in tasks))}
        self.types = {name: f"t{i}" for i, name in enumerate(sorted({task.task_type for task in tasks}))}

    def classes(self, task: Task) -> str:
        """The classes of all that belongs to a task."""
        return f"{self.modalities[task.modality]} {self.types[task.task_type]}"


def scroll(table: str, label: str) -> str:
    """A table in a box of its own, which scrolls sideways where it is too wide."""
    return f'<div class="scroll" role="region" tabindex="0" aria-label="{text(label)}">{table}</div>'


def row_name(evidence: Evidence, model: int) -> str:
    """The heading of a model's row: its name, and beneath it what tells it from others of that name."""
    name = evidence.models[model].name
    rest = evidence.labels[model].removeprefix(name).strip()
    return f'<th scope="row">{isolated(name)}{f" <small>{text(rest)}</small>" if rest else ""}</th>'


def score_table(evidence: Evidence, lead: Mapping[str, Lead], filters: Filters) -> str:
    """Models × tasks with intervals; floors in a group of their own at the bottom."""

    def cell(model: int, task: Task) -> str:
        held = evidence.cells.get((model, task.name))
        if held is None:
            return f'<td class="{filters.classes(task)} none">{MISSING}</td>'
        one = lead.get(task.name)
        leads = one is not None and one.is_real and one.best == model
        interval = (
            f"<small>{points(held.low, 1)} to {points(held.high, 1)}</small>"
            if held.low is not None
            else f'<small title="{text(held.reason)}">no interval</small>'
        )
        score = (
            f'<b>{points(held.score)}</b><span class="sr"> best, and shown to be</span>'
            if leads
            else points(held.score)
        )
        return f'<td class="{filters.classes(task)}{" lead" if leads else ""}">{score} {interval}</td>'

    def row(model: int) -> str:
        cells = "".join(cell(model, task) for task in evidence.tasks)
        mean = f'<td class="mean">{points(evidence.means[model])}</td>'
        return f"<tr>{row_name(evidence, model)}{mean}{cells}</tr>"

    head = _head(evidence.tasks, filters, first=("model", "mean"), sortable=True)
    body = _body(evidence, row, len(evidence.tasks) + 2)
    return scroll(f'<table class="scores">{head}{body}</table>', "Scores of all models on all tasks")


def heat_map(evidence: Evidence, filters: Filters) -> str:
    """Models × tasks, coloured by how far a score lies below the best of its task."""
    best = {
        task.name: _best(evidence.score(i, task.name) for i in range(len(evidence.models))) for task in evidence.tasks
    }

    def row(model: int) -> str:
        cells = "".join(
            _heat_cell(evidence.score(model, task.name), best[task.name], filters.classes(task))
            for task in evidence.tasks
        )
        return f"<tr>{row_name(evidence, model)}{cells}</tr>"

    head = _head(evidence.tasks, filters, first=("model",))
    body = _body(evidence, row, len(evidence.tasks) + 1)
    table = scroll(f'<table class="heat">{head}{body}</table>', "Heat map of scores")
    return heat_legend("task") + table


def heat_legend(among: str) -> str:
    """What the colours of a heat map mean: how far below the best of what."""
    ends = [
        f"up to {HEAT[0]:g}",
        *(f"{a:g} to {b:g}" for a, b in pairwise(HEAT)),
        f"over {HEAT[-1]:g}",
    ]
    keys = "".join(f'<li class="h{i}">{end}</li>' for i, end in enumerate(ends))
    return f'<p class="key">Points below the best score of the {among}:</p><ol class="legend">{keys}</ol>'


def comparison_table(evidence: Evidence, compared: Mapping[int, "Comparison"], filters: Filters) -> str:
    """Difference of the first model to each other on every task, with its p-value."""

    def cell(comparison: "Comparison", task: Task) -> str:
        found = next((one for one in comparison.tasks if one.task == task.name), None)
        if found is None or found.difference is None:
            return f'<td class="{filters.classes(task)} none">{MISSING}</td>'
        real = found.verdict in {"better", "worse"}
        value = signed(found.difference.difference)
        return (
            f'<td class="{filters.classes(task)}">{f"<b>{value}</b>" if real else value} '
            f"<small>p {probability(found.p_holm)}</small></td>"
        )

    rows = "".join(
        f"<tr>{row_name(evidence, other)}{''.join(cell(comparison, task) for task in evidence.tasks)}</tr>"
        for other, comparison in compared.items()
    )
    head = _head(evidence.tasks, filters, first=("against",))
    return scroll(f"<table>{head}<tbody>{rows}</tbody></table>", "Differences and p-values")


def cost_table(evidence: Evidence, numbers: Mapping[int, int], best: Mapping[str, set[int]]) -> str:
    """Mean, seconds and bytes a vector of every model in the Pareto plots, by the number it has there."""
    rows = []
    for model, number in numbers.items():
        dim = evidence.dim(model)
        where = " and ".join(cost for cost, members in best.items() if model in members)
        rows.append(
            f"<tr>{row_name(evidence, model)}<td>{number}</td>"
            f"<td>{points(evidence.means[model])}</td><td>{seconds(evidence.seconds(model))}</td>"
            f"<td>{_bytes(dim or math.inf)}</td>"
            f'<td class="words">{where or MISSING}</td></tr>'
        )
    head = _simple_head("model", "mark", "mean", "seconds", "bytes a vector", "on the frontier of")
    return scroll(f'<table class="costs">{head}<tbody>{"".join(rows)}</tbody></table>', "Quality and cost")


def elastic_grids(evidence: Evidence, filters: Filters) -> str:
    """For each model run at several depths and widths: a heat map a task, and what no other setting beats."""
    said = []
    for name, members in _grids(evidence).items():
        maps = "".join(_grid_map(evidence, members, task, filters) for task in evidence.tasks)
        said.append(f'<h3>{isolated(name)}</h3><div class="cards">{maps}</div>{_grid_frontier(evidence, members)}')
    return "".join(said)


def _grids(evidence: Evidence) -> dict[str, list[int]]:
    """Positions of the runs that differ in depth and width only, by model, where there are at least two of them."""
    grids: dict[tuple[object, ...], list[int]] = {}
    for i in evidence.contenders:
        model = evidence.models[i]
        if {_DEPTH, _WIDTH} <= set(model.options):
            others = sorted((key, str(value)) for key, value in model.options.items() if key not in {_DEPTH, _WIDTH})
            grids.setdefault((model.name, model.revision, *others), []).append(i)
    return {str(key[0]): members for key, members in grids.items() if len(members) > 1}


def _setting(model: ModelScores, option: str) -> float:
    value = model.options[option]
    return value if isinstance(value, int | float) else math.inf


def _grid_map(evidence: Evidence, members: Sequence[int], task: Task, filters: Filters) -> str:
    place = {(_setting(evidence.models[i], _DEPTH), _setting(evidence.models[i], _WIDTH)): i for i in members}
    depths, widths = (sorted({key[axis] for key in place}, reverse=axis == 0) for axis in (0, 1))
    scores = {key: evidence.score(i, task.name) for key, i in place.items()}
    best = _best(scores.values())
    if best is None:
        return ""
    head = "".join(f'<th scope="col">{_number(width)}</th>' for width in widths)
    rows = "".join(
        f'<tr><th scope="row">{_number(depth)}</th>'
        f"{''.join(_heat_cell(scores.get((depth, width), math.nan), best, '') for width in widths)}</tr>"
        for depth in depths
    )
    corner = '<th scope="col">layers \\ dims</th>'
    table = f'<table class="heat grid"><thead><tr>{corner}{head}</tr></thead><tbody>{rows}</tbody></table>'
    return (
        f'<figure class="{filters.classes(task)}"><figcaption>{isolated(task.name)}</figcaption>'
        f"{scroll(table, f'{task.name} by layers and dimensions')}</figure>"
    )


def _grid_frontier(evidence: Evidence, members: Sequence[int]) -> str:
    told = [(i, mean) for i in members if (mean := evidence.means[i]) is not None]
    costs = [(_setting(evidence.models[i], _DEPTH), _setting(evidence.models[i], _WIDTH), -mean) for i, mean in told]
    rows = "".join(
        f'<tr><th scope="row">{_number(costs[at][0])}</th><td>{_number(costs[at][1])}</td>'
        f"<td>{_bytes(costs[at][1])}</td><td>{points(-costs[at][2])}</td><td>{seconds(evidence.seconds(told[at][0]))}</td></tr>"
        for at in sorted(frontier(costs), key=lambda at: costs[at])
    )
    if not rows:
        return ""
    head = _simple_head("layers", "dims", "bytes a vector", "mean", "seconds")
    said = "<p>Settings that no other beats: each other one has more layers, more dimensions or a lower mean.</p>"
    return said + scroll(f'<table class="grid">{head}<tbody>{rows}</tbody></table>', "Settings that no other beats")


def _number(value: float) -> str:
    return "all" if math.isinf(value) else f"{value:g}"


def _bytes(width: float) -> str:
    return MISSING if math.isinf(width) else f"{BYTES_PER_NUMBER * width:,.0f}"


def _head(tasks: Sequence[Task], filters: Filters, *, first: Sequence[str], sortable: bool = False) -> str:
    """Two rows: modality and kind over the tasks that have them, then the tasks."""

    def named(label: str) -> str:
        return f'<button type="button">{label}</button>' if sortable else label

    corner = "".join(f'<th scope="col" rowspan="2" class="c{i}">{named(label)}</th>' for i, label in enumerate(first))
    groups: dict[tuple[str, str], list[Task]] = {}
    for task in tasks:
        groups.setdefault((task.modality, task.task_type), []).append(task)
    over = "".join(
        f'<th scope="colgroup" colspan="{len(members)}" class="group {filters.classes(members[0])}">'
        f"{text(modality)} · <wbr>{breakable(task_type)}</th>"
        for (modality, task_type), members in groups.items()
    )
    under = "".join(
        f'<th scope="col" class="{filters.classes(task)}">{named(isolated(task.name))}</th>' for task in tasks
    )
    return f"<thead><tr>{corner}{over}</tr><tr>{under}</tr></thead>"


def _body(evidence: Evidence, row: Callable[[int], str], columns: int) -> str:
    parts = []
    if evidence.contenders:
        parts.append(f"<tbody>{''.join(row(i) for i in evidence.contenders)}</tbody>")
    if evidence.floors:
        title = "<span>Floors: what knowing nothing reaches</span>"
        heading = f'<tr class="heading"><th scope="rowgroup" colspan="{columns}">{title}</th></tr>'
        parts.append(f'<tbody class="floors">{heading}{"".join(row(i) for i in evidence.floors)}</tbody>')
    return "".join(parts)


def _simple_head(*names: str) -> str:
    cells = "".join(f'<th scope="col">{name}</th>' for name in names)
    return f"<thead><tr>{cells}</tr></thead>"


def _heat_cell(score: float, best: float | None, classes: str) -> str:
    if best is None or not math.isfinite(score):
        return f'<td class="{classes} none">{MISSING}</td>'
    below = round(100 * (best - score), 6)
    return f'<td class="{classes} h{sum(below > end for end in HEAT)}">{points(score, 1)}</td>'


def _best(scores: Iterable[float]) -> float | None:
    return max((score for score in scores if math.isfinite(score)), default=None)
