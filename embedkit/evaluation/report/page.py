"""One HTML file that needs nothing beside it: sections in the order in which they are read."""

import base64
import datetime
import hashlib
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from importlib.resources import files
from typing import TYPE_CHECKING

from embedkit import __version__
from embedkit.evaluation.report import charts, summary, tables
from embedkit.evaluation.report.evidence import Evidence, Task, gather
from embedkit.evaluation.report.markup import isolated, text
from embedkit.evaluation.report.notes import example_lists, notes
from embedkit.evaluation.report.pairs import Lead, pairs_of
from embedkit.evaluation.results import ModelScores

if TYPE_CHECKING:
    from embedkit.evaluation.compare import Comparison


def page(models: Sequence[ModelScores], title: str, date: datetime.date) -> str:
    """The whole report as HTML.

    Args:
        models: What `read_results` gave.
        title: Its heading.
        date: Stands beneath the heading.

    Raises:
        InputError: There is nothing to report.
    """
    evidence = gather(models)
    pairs = pairs_of(evidence)
    lead = pairs.leads
    filters = tables.Filters(evidence.tasks)
    sections = {
        "Summary": _summary(evidence, lead),
        "Scores": _scores(evidence, lead, filters),
        "Intervals": _intervals(evidence, lead, filters),
        "Heat map": tables.heat_map(evidence, filters),
        "Comparison": _comparison(evidence, pairs.comparisons, filters),
        "Cost": _cost(evidence),
        "Depth and width": _elastic(evidence, filters),
        "Errors": example_lists(evidence, filters),
        "Notes": notes(evidence, filters),
    }
    return _document(title, date, evidence, filters, {name: body for name, body in sections.items() if body})


def _document(
    title: str, date: datetime.date, evidence: Evidence, filters: tables.Filters, sections: Mapping[str, str]
) -> str:
    here = files("embedkit.evaluation.report")
    script = (here / "sort.js").read_text("utf-8")
    style = (here / "style.css").read_text("utf-8") + _filter_rules(filters)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    keys = {name: name.lower().replace(" ", "-") for name in sections}
    links = "".join(f'<a href="#{key}">{name}</a>' for name, key in keys.items())
    bodies = "".join(f'<section id="{keys[name]}"><h2>{name}</h2>{body}</section>' for name, body in sections.items())
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><title>{text(title)}</title>\n'
        f"<style>\n{style}</style></head>\n"
        f"<body><header><h1>{isolated(title)}</h1>"
        f"<p>{date.isoformat()} · {_versions(evidence)}</p></header>"
        f'<nav aria-label="Sections">{links}</nav><main>{_filter_boxes(filters)}{bodies}</main>'
        f"<script>{script}</script></body></html>\n"
    )


def _versions(evidence: Evidence) -> str:
    written_by = {
        str(part["mteb_version"])
        for model in evidence.models
        for score in model.tasks.values()
        for part in score.parts.values()
        if part.get("mteb_version")
    }
    own = [f"embedkit {__version__}", f"Python {platform.python_version()}", f"numpy {metadata.version('numpy')}"]
    return text(" · ".join([*own, *(f"scored with mteb {version}" for version in sorted(written_by))]))


def _filter_rules(filters: tables.Filters) -> str:
    keys = [*filters.modalities.values(), *filters.types.values()]
    return "".join(f"body:has(#show-{key}:not(:checked)) .{key} {{ display: none; }}\n" for key in keys)


def _filter_boxes(filters: tables.Filters) -> str:
    """One box a modality and a kind of task; none where there is only one to choose from."""

    def boxes(legend: str, names: Mapping[str, str]) -> str:
        if len(names) < 2:
            return ""
        inputs = "".join(
            f'<label><input type="checkbox" id="show-{key}" checked> {text(name)}</label>'
            for name, key in names.items()
        )
        return f"<fieldset><legend>{legend}</legend>{inputs}</fieldset>"

    content = boxes("Inputs", filters.modalities) + boxes("Kinds of task", filters.types)
    return f'<form class="filters" autocomplete="off" aria-label="Tasks to show">{content}</form>' if content else ""


def _summary(evidence: Evidence, lead: Mapping[str, Lead]) -> str:
    found = "".join(f"<li>{sentence}</li>" for sentence in summary.findings(evidence, lead))
    unknown = "".join(f"<li>{sentence}</li>" for sentence in summary.limits(evidence, lead))
    doubts = f'<div class="card doubt"><h3>What cannot be told</h3><ul>{unknown}</ul></div>' if unknown else ""
    return f'<div class="pair"><div class="card"><h3>What was found</h3><ul>{found}</ul></div>{doubts}</div>'


def _scores(evidence: Evidence, lead: Mapping[str, Lead], filters: tables.Filters) -> str:
    mean = (
        f"The mean is over the {len(evidence.shared)} of {len(evidence.tasks)} tasks that all models share."
        if evidence.shared
        else "No task is shared by all models, so there is no mean."
    )
    marked = '<span class="swatch lead"></span> marks the best of a task where its difference to the second is real.'
    said = f"<p>Points, with the 95 % interval beneath. {mean} {marked} A click on a heading sorts by it.</p>"
    return said + tables.score_table(evidence, lead, filters)


def _intervals(evidence: Evidence, lead: Mapping[str, Lead], filters: tables.Filters) -> str:
    figures = [_interval_figure(evidence, lead.get(task.name), task, i) for i, task in enumerate(evidence.tasks)]
    drawn = "".join(
        f'<figure class="{filters.classes(task)}">{figure}</figure>'
        for task, figure in zip(evidence.tasks, figures, strict=True)
        if figure
    )
    said = "<p>Score and 95 % interval in points. Hollow marks are floors; an arrow is a floor left of the axis.</p>"
    return f'{said}<div class="cards">{drawn}</div>' if drawn else ""


def _interval_figure(evidence: Evidence, lead: Lead | None, task: Task, position: int) -> str:
    ranked = [*evidence.ranked(task.name, evidence.contenders), *evidence.ranked(task.name, evidence.floors)]
    if not ranked:
        return ""
    dots = []
    for model in ranked:
        cell = evidence.cells[model, task.name]
        leads_it = lead is not None and lead.is_real and lead.best == model
        kind = "floor" if model in evidence.floors else "lead" if leads_it else "model"
        dots.append(charts.Dot(evidence.names[model], cell.score, cell.low, cell.high, kind))
    names = "".join(f'<li title="{text(evidence.labels[i])}">{text(evidence.names[i])}</li>' for i in ranked)
    values = "".join(f"<li>{100 * dot.score:.2f}</li>" for dot in dots)
    chart = charts.intervals(dots, key=f"interval-{position}", title=f"{task.name}: scores with 95 % intervals")
    return (
        f"<figcaption>{isolated(task.name)} <small>{text(task.metric)}</small></figcaption>"
        f'<div class="dots"><ul aria-hidden="true">{names}</ul><div>{chart}</div>'
        f'<ul class="values" aria-hidden="true">{values}</ul></div>'
    )


def _comparison(evidence: Evidence, compared: Mapping[int, "Comparison"], filters: tables.Filters) -> str:
    if not compared:
        return ""
    said = []
    for comparison in compared.values():
        *of_tasks, over_all = comparison.words()
        sentences = "".join(f"<li>{text(words, 500)}</li>" for words in of_tasks)
        said.append(f"<details><summary>{text(over_all, 800)}</summary><ul>{sentences}</ul></details>")
    left_out = len(evidence.contenders) - 1 - len(compared)
    note = f" The other {left_out} are left out." if left_out else ""
    place = "which has the best mean" if evidence.shared else "the first in the table"
    first = f"{isolated(evidence.labels[0])}, {place}"
    intro = f"<p>{first}, against the others, item by item where both have the same items.{note}</p>"
    legend = (
        "<p>Difference in points, positive where the first model is better; p-value by Holm over the tasks of a row; "
        "bold where it is below 0.05.</p>"
    )
    return intro + "".join(said) + legend + tables.comparison_table(evidence, compared, filters)


def _cost(evidence: Evidence) -> str:
    with_mean = [model for model in evidence.contenders if evidence.means[model] is not None]
    numbers = {model: i + 1 for i, model in enumerate(with_mean)}
    priced = {
        "seconds": {model: evidence.seconds(model) for model in numbers},
        "bytes": {model: float(tables.BYTES_PER_NUMBER * (evidence.dim(model) or 0)) for model in numbers},
    }
    units = {
        "seconds": lambda cost: f"{cost:,.3g} s" if cost < 1000 else f"{cost:,.0f} s",
        "bytes": lambda cost: f"{cost:,.0f} B",
    }
    titles = {
        "seconds": f"Mean against seconds of evaluation over {len(evidence.shared)} shared tasks",
        "bytes": "Mean against bytes a vector (float32)",
    }
    drawn, best = [], {}
    for cost, by_model in priced.items():
        marks = [
            charts.Point(numbers[model], evidence.names[model], value, evidence.means[model] or 0.0)
            for model, value in by_model.items()
            if value > 0
        ]
        if len({mark.cost for mark in marks}) < 2:
            continue
        at = {mark.number for mark in (marks[i] for i in charts.frontier([(m.cost, -m.quality) for m in marks]))}
        best[cost] = {model for model, number in numbers.items() if number in at}
        chart = charts.pareto(marks, key=f"cost-{cost}", title=titles[cost], unit=units[cost])
        drawn.append(f'<figure><figcaption>{titles[cost]}</figcaption><div class="plot">{chart}</div></figure>')
    if not drawn:
        return ""
    said = (
        "<p>Filled marks are on the frontier: no other model is both cheaper and better. Floors are left out. "
        "Seconds are those that the evaluation took, on the machine and in the company it ran in.</p>"
    )
    return f'{said}<div class="cards wide">{"".join(drawn)}</div>{tables.cost_table(evidence, numbers, best)}'


def _elastic(evidence: Evidence, filters: tables.Filters) -> str:
    grids = tables.elastic_grids(evidence, filters)
    return f"{tables.heat_legend('grid')}{grids}" if grids else ""
