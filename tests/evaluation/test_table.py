"""Scores on a terminal: what the cells say, and that they fit."""

import io
import json
import math

import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console

from embedkit.errors import InputError
from embedkit.evaluation.items import Items, TaskItems, write_items
from embedkit.evaluation.results import read_results
from embedkit.evaluation.statistics import bootstrap_interval
from embedkit.evaluation.table import print_table, score_table


def put(root, model, scores, *, keep=True, options=None):
    """Results of one model as mteb writes them: task → percent of a hundred answers that are right."""
    place = root / "results" / model.replace("/", "__") / "r1"
    if options:
        place = place / "experiments" / "_".join(map(str, options.values()))
    (place / "items").mkdir(parents=True, exist_ok=True)
    meta = {"name": model, "revision": "r1", "experiment_kwargs": options}
    (place / "model_meta.json").write_text(json.dumps(meta))
    for task, percent in scores.items():
        file = "".join(filter(str.isalnum, task)) + ".json"
        entry = {"main_score": percent / 100, "hf_subset": "default", "languages": ["eng-Latn"]}
        stored = {"dataset_revision": "d", "task_name": task, "scores": {"test": [entry]}, "evaluation_time": 1.0}
        (place / file).write_text(json.dumps(stored))
        if keep and math.isfinite(percent):
            columns = {"score": (np.arange(100) < percent).astype(float)}
            part = Items("test", "default", "mean", "text", tuple(map(str, range(100))), columns)
            write_items(place / "items" / file, TaskItems("accuracy", "Classification", "text", "hub", (part,)))


def printed(models, width=80, *, terminal=True):
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system=None)
    print_table(models, console)
    return console.file.getvalue()


@pytest.fixture
def few(tmp_path):
    put(tmp_path, "a/one", {"First": 80, "Second": 60})
    put(tmp_path, "a/two", {"First": 70}, keep=False)
    put(tmp_path, "floor/random", {"First": 10, "Second": 20})
    return read_results(tmp_path)


@pytest.fixture
def many_tasks(tmp_path):
    tasks = {f"SomeRatherLongTask{i:02}": 50 + i for i in range(12)}
    for model in ("a/one", "a/two", "floor/random"):
        put(tmp_path, model, tasks)
    return read_results(tmp_path)


@pytest.fixture
def many_of_both(tmp_path):
    for model in range(12):
        put(
            tmp_path,
            f"organisation/model-{model}",
            {f"SomeRatherLongTask{i:02}": 50 + i for i in range(12)},
            keep=False,
        )
    return read_results(tmp_path)


def test_rows_are_scores_with_half_of_their_intervals(few):
    table = score_table(few)
    part = few[0].tasks["First"].items
    interval = bootstrap_interval(part)
    half = 100 * (interval.high - interval.low) / 2

    assert table.tasks == ("First", "Second")
    assert table.shared == 1  # all models but the floors were run on "First" only
    assert [row.label for row in table.rows] == ["a/one", "a/two", "floor/random"]
    assert table.rows[0].cells[0] == f"80.00 ±{half:.1f}"
    assert table.rows[1].cells == ("70.00", "–")
    assert [row.mean for row in table.rows] == ["80.00", "70.00", "10.00"]
    assert [row.is_floor for row in table.rows] == [False, False, True]


def test_what_fits_is_one_table_and_floors_a_second(few):
    lines = [line.split() for line in printed(few).splitlines()]

    assert lines[1] == ["model", "mean", "First", "Second"]
    assert lines[2][:3] == ["a/one", "80.00", "80.00"]
    assert lines[3] == ["a/two", "70.00", "70.00", "–"]
    assert lines[5][0] == "Floors:"
    assert lines[6] == ["model", "mean", "First", "Second"]
    assert lines[7][0] == "floor/random"


def test_many_tasks_become_rows(many_tasks):
    lines = [line.split() for line in printed(many_tasks).splitlines()]

    assert lines[1] == ["task", "a/one", "a/two"]
    assert lines[2][0] == "mean"
    assert [line[0] for line in lines[3:15]] == [f"SomeRatherLongTask{i:02}" for i in range(12)]
    assert ["task", "floor/random"] in lines


def test_many_of_both_follow_in_blocks_that_name_their_models(many_of_both):
    text = printed(many_of_both)
    blocks = text.split("\n\n")[:-1]

    assert len(blocks) > 2
    assert all(f"organisation/model-{i}\u0020" in block for block in blocks for i in range(12))
    assert sum(text.count(f"{50 + i}.00") for i in range(12)) >= 144


@pytest.mark.parametrize("width", [40, 80, 100, 200])
@pytest.mark.parametrize("results", ["few", "many_tasks", "many_of_both"])
def test_nothing_is_wider_than_the_terminal_and_no_score_is_lost(request, results, width):
    models = request.getfixturevalue(results)
    text = printed(models, width)

    assert max(map(cell_len, text.splitlines())) <= width
    assert "…" not in text
    for row in score_table(models).rows:
        assert all(cell in text for cell in row.cells)


def test_floors_are_missed_where_there_are_none(many_of_both):
    assert "No floor was run" in " ".join(printed(many_of_both).split())


def test_only_floors(tmp_path):
    put(tmp_path, "floor/random", {"T": 10})
    assert "Floors" in printed(read_results(tmp_path))


def test_elsewhere_than_on_a_terminal_lines_are_tab_separated(many_of_both, few):
    for models in (many_of_both, few):
        table = score_table(models)
        lines = [line.split("\t") for line in printed(models, terminal=False).splitlines()]
        assert lines[0] == ["kind", "model", "mean", *table.tasks]
        assert lines[1:] == [
            ["floor" if row.is_floor else "model", row.label, row.mean, *row.cells] for row in table.rows
        ]


def test_options_are_part_of_the_label(tmp_path):
    put(tmp_path, "a/one", {"T": 50}, options={"truncate_dim": 64})
    assert "truncate_dim=64" in printed(read_results(tmp_path))


def test_scores_that_are_no_numbers_are_shown_as_such(tmp_path):
    put(tmp_path, "a/one", {"T": math.nan})
    table = score_table(read_results(tmp_path))

    assert (table.rows[0].cells, table.rows[0].mean, table.shared) == (("NaN",), "–", 0)


@pytest.mark.parametrize("terminal", [True, False])
def test_a_terminal_is_never_commanded(tmp_path, terminal):
    put(tmp_path, "a/one[bold]", {"T\x1b[31m\t\n\u202e[red]x": 50})
    text = printed(read_results(tmp_path), 120, terminal=terminal)

    assert "[bold]" in text
    assert "[red]x" in text
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_nothing_to_show_is_an_error():
    with pytest.raises(InputError, match="at least one model"):
        score_table([])
