"""What lies behind the scores: examples of errors, data, models, and why an interval is missing."""

from collections.abc import Mapping, Sequence

from embedkit.evaluation.items import Items
from embedkit.evaluation.report.evidence import Evidence, Task
from embedkit.evaluation.report.markup import MISSING, isolated, seconds, text
from embedkit.evaluation.report.tables import Filters, scroll

_EXAMPLES = 5
_FIELD = 400  # characters shown of one field
_ROOM = 800_000  # characters of all examples together, so that the file stays small
_MOST_REASONS = 200


def example_lists(evidence: Evidence, filters: Filters) -> str:
    """The worst items of every task and model, closed until somebody looks; floors are left out."""
    with_examples = {
        (model, task.name): parts
        for task in evidence.tasks
        for model in evidence.contenders
        if (parts := _parts_with_examples(evidence, model, task))
    }
    if not with_examples:
        return ""
    room = _ROOM // len(with_examples)
    said = []
    for task in evidence.tasks:
        models = "".join(
            f"<details><summary>{isolated(evidence.labels[model])}</summary>{_examples(parts, room)}</details>"
            for (model, name), parts in with_examples.items()
            if name == task.name
        )
        if models:
            summary = f"<summary>{isolated(task.name)} <small>{text(task.task_type)}</small></summary>"
            said.append(f'<details class="{filters.classes(task)}">{summary}{models}</details>')
    return "<p>The items that a model gets most wrong, worst first.</p>" + "".join(said)


def notes(evidence: Evidence, filters: Filters) -> str:
    """Data, models, method, and scores without an interval."""
    return _method(evidence) + _data(evidence, filters) + _models(evidence) + _without_interval(evidence)


def _parts_with_examples(evidence: Evidence, model: int, task: Task) -> list[Items]:
    score = evidence.models[model].tasks.get(task.name)
    return [part for part in score.items if part.examples] if score else []


def _examples(parts: Sequence[Items], room: int) -> str:
    """From each split and subset in turn, as many as there is room for, and one at least."""
    shown: list[str] = []
    used = 0
    for example, part in _worst_in_turn(parts):
        limit = max(20, min(_FIELD, room // (2 * len(example) or 1)))
        block = _example(example, part, limit)
        if shown and (used + len(block) > room or len(shown) == _EXAMPLES):
            break
        shown.append(block)
        used += len(block)
    return f"<ol>{''.join(shown)}</ol>"


def _worst_in_turn(parts: Sequence[Items]) -> list[tuple[Mapping[str, str], Items]]:
    most = max(len(part.examples) for part in parts)
    return [(part.examples[rank], part) for rank in range(most) for part in parts if rank < len(part.examples)]


def _example(example: Mapping[str, str], part: Items, limit: int) -> str:
    where = "" if part.subset == "default" else f"<dt>subset</dt><dd>{text(part.subset)}</dd>"
    fields = "".join(
        f'<dt>{text(name, 40)}</dt><dd dir="auto">{text(value, limit)}</dd>'
        for name, value in list(example.items())[:12]
    )
    return f"<li><dl>{where}{fields}</dl></li>"


def _method(evidence: Evidence) -> str:
    return (
        "<h3>How the numbers were made</h3><ul>"
        "<li>Scores are those that mteb reported, times 100; of several splits or subsets, their mean.</li>"
        f"<li>Intervals are 95 % bootstrap intervals over the items of a task, {evidence.resamples:,} resamples. They "
        "say how far the score could move with other items; other seeds or training runs are not in them.</li>"
        "<li>Two models are compared item by item. Overlapping intervals do not mean that there is no difference.</li>"
        "</ul>"
    )


def _data(evidence: Evidence, filters: Filters) -> str:
    rows = []
    for task in evidence.tasks:
        counts = sorted({cell.count for (_, name), cell in evidence.cells.items() if name == task.name and cell.count})
        columns = (
            text(task.metric),
            text(task.task_type),
            text(task.modality),
            text(", ".join(task.subsets)),
            " or ".join(f"{count:,}" for count in counts) or MISSING,
            text("; ".join(task.sources)),
            f"<code>{text('; '.join(task.revisions))}</code>",
        )
        cells = "".join(f"<td>{column}</td>" for column in columns)
        rows.append(f'<tr class="{filters.classes(task)}"><th scope="row">{isolated(task.name)}</th>{cells}</tr>')
    head = ("task", "metric", "kind", "inputs", "splits", "items", "source", "revision")
    return "<h3>Data</h3>" + _table(head, rows, "Data of every task")


def _models(evidence: Evidence) -> str:
    rows = []
    for i, model in enumerate(evidence.models):
        options = ", ".join(f"{name}={value}" for name, value in sorted(model.options.items()))
        parameters = model.meta.get("n_parameters")
        columns = (
            f"<code>{text(model.revision)}</code>",
            text(options) or "its own",
            f"{evidence.dim(i):,}" if evidence.dim(i) else MISSING,
            f"{parameters:,}" if isinstance(parameters, int) else MISSING,
            str(len(model.tasks)),
            seconds(sum(score.seconds for score in model.tasks.values())),
        )
        cells = "".join(f"<td>{column}</td>" for column in columns)
        rows.append(f'<tr><th scope="row">{isolated(model.name)}</th>{cells}</tr>')
    head = ("model", "revision", "options", "dims", "parameters", "tasks", "evaluation")
    return "<h3>Models</h3>" + _table(head, rows, "Models, revisions and options")


def _without_interval(evidence: Evidence) -> str:
    affected: dict[tuple[str, str], list[str]] = {}
    for task in evidence.tasks:
        for model in range(len(evidence.models)):
            cell = evidence.cells.get((model, task.name))
            if cell and cell.reason:
                affected.setdefault((task.name, cell.reason), []).append(evidence.names[model])
    if not affected:
        return ""
    rows = [
        f'<tr><th scope="row">{isolated(task)}</th><td>{text(reason, 500)}</td>'
        f"<td>{text(', '.join(names), 500)}</td></tr>"
        for (task, reason), names in list(affected.items())[:_MOST_REASONS]
    ]
    return "<h3>Scores without an interval</h3>" + _table(("task", "why", "models"), rows, "Scores without an interval")


def _table(head: Sequence[str], rows: Sequence[str], label: str) -> str:
    cells = "".join(f'<th scope="col">{name}</th>' for name in head)
    table = f'<table class="notes"><thead><tr>{cells}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
    return scroll(table, label)
