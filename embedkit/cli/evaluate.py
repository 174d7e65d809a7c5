"""Commands about how good a model is: evaluate, tasks, compare, report, check."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from embedkit.cli.app import AsJson, Quiet, app
from embedkit.console import clean, print_json
from embedkit.errors import InputError

if TYPE_CHECKING:
    from embedkit.evaluation.results import ModelScores

DEFAULT = "default"

Model = Annotated[
    str, typer.Argument(metavar="MODEL", help="Folder or hub name; 'default' is the bundled all-MiniLM-L6-v2.")
]
Tasks = Annotated[
    str | None,
    typer.Option("--tasks", "-t", envvar="EMBEDKIT_TASKS", help="Names with commas between; see 'embedkit tasks'."),
]
Benchmark = Annotated[
    str | None,
    typer.Option("--benchmark", "-b", envvar="EMBEDKIT_BENCHMARK", help="A benchmark of mteb's: 'MTEB(eng, v2)'."),
]
Data = Annotated[
    Path | None,
    typer.Option("--data", "-d", exists=True, help="Your own file or folder: CSV, TSV, JSONL, Parquet, BEIR."),
]
Kind = Annotated[
    str | None, typer.Option("--kind", help="What the files are, such as sts, where their columns do not say it.")
]
Column = Annotated[
    list[str] | None, typer.Option("--column", help="A column of yours by our name: sentence1=premise. Repeatable.")
]
Results = Annotated[
    Path, typer.Option("--results", "-r", envvar="EMBEDKIT_RESULTS", help="Folder where results are kept.")
]
Floors = Annotated[
    str,
    typer.Option(envvar="EMBEDKIT_FLOORS", help="Which of random, tfidf, untrained to run beside; 'none' runs none."),
]


@app.command()
def evaluate(
    model: Model = DEFAULT,
    tasks: Tasks = None,
    benchmark: Benchmark = None,
    data: Data = None,
    kind: Kind = None,
    column: Column = None,
    drop_blank: Annotated[
        bool, typer.Option("--drop-blank", help="Leave out rows of --data without a text, score or label.")
    ] = False,
    results: Results = Path("results"),
    name: Annotated[str | None, typer.Option(help="What tables call the model.")] = None,
    layers: Annotated[
        str | None,
        typer.Option(help="Stop after this layer, 0 the embeddings; several, as 2,4,6, make a grid without floors."),
    ] = None,
    dim: Annotated[str | None, typer.Option(help="Keep this many leading dimensions; several make a grid.")] = None,
    query_prompt: Annotated[str | None, typer.Option(help="Put before each query.")] = None,
    document_prompt: Annotated[str | None, typer.Option(help="Put before each document.")] = None,
    floors: Floors = "random,tfidf,untrained",
    overwrite: Annotated[bool, typer.Option(help="Run again what has a result.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Score MODEL on tasks, a benchmark or your own files, beside models that know nothing.

    Run it again after an interruption: what has a result is not run twice.
    """
    from rich.console import Console

    from embedkit.console import task_bar
    from embedkit.evaluation.evaluate import evaluate as run
    from embedkit.evaluation.table import print_table

    depths, widths = _numbers(layers, "--layers", least=0), _numbers(dim, "--dim", least=1)
    roles = {"query": query_prompt, "document": document_prompt}
    is_grid = len(depths) > 1 or len(widths) > 1
    if is_grid and (benchmark or any(roles.values())):
        message = (
            "a grid is of --tasks or --data, without prompts: give one depth and width, or leave these options out"
        )
        raise typer.BadParameter(message, param_hint="--layers and --dim")
    chosen: list[Any] = _names(tasks)
    if data:
        chosen += _own_tasks(data, kind, _columns(column), drop_blank=drop_blank)
    if is_grid:
        _evaluate_grid(model, chosen, depths, widths, results, name, as_json=as_json, quiet=quiet)
        return
    with task_bar(quiet=quiet or as_json) as on_task:
        evaluation = run(
            None if model == DEFAULT else model,
            chosen,
            benchmark=benchmark,
            results=results,
            name=name,
            num_layers=depths[0] if depths else None,
            truncate_dim=widths[0] if widths else None,
            prompts={role: text for role, text in roles.items() if text} or None,
            floors=[] if floors == "none" else _names(floors),
            overwrite=overwrite,
            on_task=on_task,
        )
    if as_json:
        failed = {"failed": dict(evaluation.failed), "floors_failed": dict(evaluation.floors_failed)}
        print_json({"models": [_as_dict(m) for m in evaluation.models], **failed})
    elif not quiet:
        print_table(evaluation.models, Console())
        typer.echo(f"kept in {results}; 'embedkit report {results}' draws them", err=True)
    for floor, reasons in evaluation.floors_failed.items():
        for task, reason in reasons.items():
            typer.echo(f"floor not run: {floor} on {clean(task)}: {clean(reason)}", err=True)
    for task, reason in evaluation.failed.items():
        typer.echo(f"not run: {clean(task)}: {clean(reason)}", err=True)
    if evaluation.failed:
        raise typer.Exit(1)


@app.command()
def tasks() -> None:
    """List the tasks that run on this machine without the hub."""
    from embedkit.evaluation.tasks.find import task_names

    for name in task_names():
        typer.echo(name)


@app.command()
def compare(
    first: Annotated[str, typer.Argument(metavar="A", help="A model: as for evaluate, or as the results call it.")],
    second: Annotated[str, typer.Argument(metavar="B", help="The model to compare it with.")],
    tasks: Tasks = None,
    benchmark: Benchmark = None,
    data: Data = None,
    results: Results = Path("results"),
    as_json: AsJson = False,
) -> None:
    """Say in words on which tasks A and B really differ; tasks without a result are run first."""
    from embedkit.console import task_bar
    from embedkit.evaluation.compare import compare as run
    from embedkit.evaluation.evaluate import scores_of

    with task_bar(quiet=as_json) as on_task:
        a, b = (
            scores_of(model, _names(tasks), benchmark=benchmark, data=data, results=results, on_task=on_task)
            for model in (first, second)
        )
    comparison = run(a, b)
    if as_json:
        print_json({"words": comparison.words()})
        return
    for line in comparison.words():
        typer.echo(clean(line))


@app.command()
def report(
    results: Annotated[Path, typer.Argument(metavar="RESULTS", exists=True, help="Folder where results are kept.")],
    out: Annotated[Path, typer.Option("--out", "-o", envvar="EMBEDKIT_OUT", help="The HTML file.")] = Path(
        "report.html"
    ),
    as_json: AsJson = False,
) -> None:
    """Print all results as a table and write a report with plots, comparisons and examples of errors."""
    from rich.console import Console

    from embedkit.evaluation.report import write_report
    from embedkit.evaluation.results import read_results, tasks_of
    from embedkit.evaluation.table import print_table

    models = read_results(results)
    if as_json:
        print_json([_as_dict(model) for model in models])
        return
    print_table(models, Console())
    for task in tasks_of(models):
        if len({model.tasks[task].dataset_revision for model in models if task in model.tasks}) > 1:
            typer.echo(f"{clean(task)}: the models met different data; evaluate them again to compare them", err=True)
    write_report(models, out)
    typer.echo(f"wrote {out}: open it in a browser", err=True)


@app.command()
def check(model: Model = DEFAULT, as_json: AsJson = False) -> None:
    """Test whether MODEL can be trusted: batches, padding, order, prompts, truncation, saving, bad input."""
    from embedkit.console import print_finding
    from embedkit.encoders.loading import load
    from embedkit.evaluation.check import check as run

    findings = run(load(None if model == DEFAULT else model), on_finding=None if as_json else print_finding)
    failed = sum(finding.status == "fail" for finding in findings)
    if as_json:
        print_json([vars(finding) for finding in findings])
    else:
        typer.echo(f"{failed} of {len(findings)} failed" if failed else f"all {len(findings)} hold or do not apply")
    if failed:
        raise typer.Exit(1)


# -- what the commands share ---------------------------------------------------------------------------


def _evaluate_grid(
    model: str,
    tasks: list[Any],
    layers: list[int],
    dims: list[int],
    results: Path,
    name: str | None,
    *,
    as_json: bool,
    quiet: bool,
) -> None:
    from embedkit.console import print_grid, task_bar
    from embedkit.evaluation.evaluate import evaluate_grid

    with task_bar(quiet=quiet or as_json) as on_task:
        grid = evaluate_grid(
            None if model == DEFAULT else model,
            tasks,
            layers=layers or None,
            dims=dims or None,
            results=results,
            name=name,
            on_task=on_task,
        )
    if as_json:
        print_json([vars(cell) for cell in grid.cells])
    elif not quiet:
        print_grid(grid)


def _own_tasks(data: Path, kind: str | None, columns: dict[str, str], *, drop_blank: bool) -> list[Any]:
    """The tasks in the user's files; what was left out of them goes to stderr."""
    from embedkit.evaluation.tasks.files import tasks_from

    with warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("always", UserWarning)
        found = tasks_from(data, kind=kind, columns=columns, drop_blank=drop_blank)
    for note in noted:
        if note.category is UserWarning:
            typer.echo(f"noted: {clean(str(note.message))}", err=True)
    return list(found)


def _numbers(value: str | None, option: str, *, least: int) -> list[int]:
    """Integers with commas between them."""
    names = _names(value)
    if not all(name.isdecimal() and int(name) >= least for name in names):
        raise typer.BadParameter(
            f"must be integers from {least} with commas between; received {value!r}", param_hint=option
        )
    return [int(name) for name in names]


def _names(value: str | None) -> list[str]:
    """What stands between commas."""
    return [name.strip() for name in (value or "").split(",") if name.strip()]


def _columns(pairs: list[str] | None) -> dict[str, str]:
    for pair in pairs or []:
        if "=" not in pair:
            raise typer.BadParameter(
                f"must be ours=yours, as sentence1=premise; received {pair!r}", param_hint="--column"
            )
    return dict(pair.split("=", 1) for pair in pairs or [])


def _as_dict(model: "ModelScores") -> dict[str, Any]:
    from embedkit.evaluation.statistics import bootstrap_interval

    scores: dict[str, Any] = {}
    for name, task in model.tasks.items():
        try:
            interval = bootstrap_interval(task.items)
        except InputError:  # it cannot be resampled
            scores[name] = {"score": task.score, "low": None, "high": None}
        else:
            scores[name] = {"score": task.score, "low": interval.low, "high": interval.high}
    return {"model": model.name, "options": dict(model.options), "revision": model.revision, "tasks": scores}
