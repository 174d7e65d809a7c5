import json

import pytest
from typer.testing import CliRunner

from embedkit.cli import app

pytest.importorskip("mteb", reason="the extra mteb is not installed")

PAIRS = """sentence1,sentence2,score
a cat sat on the mat,the cat sat on a mat,4.8
the dog barks,a dog sings,2.5
red green blue,one two three,0.5
a bird sings,the bird sings,4.9
the cat and the dog,the dog and the cat,4.5
one two,three blue,0.4
if not true,def return,1.0
a mat,the dog barks and sings,0.2
"""


@pytest.fixture
def model(make_encoder, tmp_path):
    make_encoder("bert").save(tmp_path / "tiny")
    return tmp_path / "tiny"


@pytest.fixture
def run(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments):
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return invoke


@pytest.fixture
def pairs(tmp_path):
    (tmp_path / "my_pairs").mkdir()
    (tmp_path / "my_pairs" / "animals.csv").write_text(PAIRS)
    return tmp_path / "my_pairs"


def test_a_folder_of_csv_pairs_is_evaluated_with_one_command(run, model, pairs):
    result = run("evaluate", model, "--data", pairs)
    assert result.exit_code == 0, result.output
    kinds, names = zip(*(line.split("\t")[:2] for line in result.stdout.splitlines()), strict=True)
    assert kinds == ("kind", "model", "floor", "floor", "floor")
    assert set(names) == {"model", "local/tiny", "floor/random", "floor/tfidf", "floor/untrained-tiny"}
    assert "animals" in result.stdout
    assert "'embedkit report results' draws them" in result.stderr


def test_json_holds_scores_with_intervals(run, model, pairs):
    result = run("evaluate", model, "--data", pairs, "--floors", "random", "--json")
    entries = {entry["model"]: entry for entry in json.loads(result.stdout)["models"]}
    score = entries["local/tiny"]["tasks"]["animals"]
    assert score["low"] <= score["score"] <= score["high"]
    assert set(entries) == {"local/tiny", "floor/random"}


def test_depth_and_width_are_options_and_several_make_a_grid(run, model, pairs):
    run("evaluate", model, "--data", pairs, "--floors", "none", "--layers", "2", "--dim", "8")
    result = run("evaluate", model, "--data", pairs, "--layers", "1,4", "--dim", "8,32", "--json")
    assert result.exit_code == 0, result.output
    cells = [(cell["layer"], cell["dim"]) for cell in json.loads(result.stdout)]
    assert cells == [(1, 8), (1, 32), (4, 8), (4, 32)]
    labels = {entry["options"]["num_layers"] for entry in json.loads(run("report", "results", "--json").stdout)}
    assert labels == {1, 2, 4}


def test_columns_may_be_named(run, model, pairs):
    (pairs / "animals.csv").write_text(PAIRS.replace("sentence1,sentence2,score", "premise,hypothesis,alike"))
    refused = run("evaluate", model, "--data", pairs)
    assert refused.exit_code == 1
    assert "premise" in str(refused.exception)
    named = [f"--column={ours}" for ours in ("sentence1=premise", "sentence2=hypothesis", "score=alike")]
    assert run("evaluate", model, "--data", pairs, "--floors", "none", *named).exit_code == 0
    assert run("evaluate", model, "--data", pairs, "--column", "sentence1").exit_code == 2


def test_compare_says_in_words_what_differs(run, model, pairs):
    for width in (8, 32):
        run("evaluate", model, "--data", pairs, "--dim", width, "--floors", "none")
    result = run("compare", "local/tiny (truncate_dim=8)", "local/tiny (truncate_dim=32)")
    assert result.exit_code == 0, result.output
    assert "pairs" in result.stdout
    assert "points" in result.stdout
    unknown = run("compare", "local/tiny", "local/other")
    assert "truncate_dim=8" in str(unknown.exception)


def test_compare_runs_what_is_missing(run, model, pairs):
    assert run("compare", model, model, "--data", pairs).exit_code == 0


def test_a_report_is_written(run, model, pairs, tmp_path):
    run("evaluate", model, "--data", pairs, "--floors", "random")
    assert run("report", "results", "--out", "page.html").exit_code == 0
    assert "local/tiny" in (tmp_path / "page.html").read_text()
    empty = run("report", pairs)
    assert empty.exit_code == 1
    assert "holds no results" in str(empty.exception)


def test_check_lists_what_holds(run, model):
    result = run("check", model)
    assert result.exit_code == 0, result.output
    assert "all" in result.stdout.splitlines()[-1]
    assert len(json.loads(run("check", model, "--json").stdout)) >= 10


def test_tasks_that_run_offline_are_listed(run):
    assert "PythonCodeSearch" in run("tasks").stdout.splitlines()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--tasks", "STSBenchmrk"], "did you mean STSBenchmark or STSBenchmark.v2"),
        (["--benchmark", "MTEB(eng, v3)"], "did you mean MTEB(eng, v"),
        ([], "name tasks, a benchmark, or a folder of data"),
    ],
)
def test_what_is_unknown_is_told_with_the_nearest(run, model, arguments, said):
    result = run("evaluate", model, *arguments)
    assert result.exit_code == 1
    assert said in str(result.exception)


def test_a_task_that_cannot_run_is_named_and_the_exit_code_says_so(run, model, pairs, monkeypatch):
    import mteb

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def unreachable(*arguments, **options):
        raise ConnectionError

    monkeypatch.setattr(mteb.get_task("STS22").__class__, "load_data", unreachable)
    result = run("evaluate", model, "--data", pairs, "--tasks", "STS22", "--floors", "none")
    assert result.exit_code == 1
    assert "not run: STS22: its data is on the hub, which cannot be reached" in result.stderr
    assert "animals" in result.stdout


def test_rows_with_blanks_are_left_out_where_asked_and_counted(run, model, pairs):
    (pairs / "animals.csv").write_text(PAIRS + "a cat,a dog,\n")
    refused = run("evaluate", model, "--data", pairs, "--floors", "none")
    assert "--drop-blank" in str(refused.exception)
    result = run("evaluate", model, "--data", pairs, "--floors", "none", "--drop-blank")
    assert result.exit_code == 0, result.output
    assert "noted: " in result.stderr
    assert "left out 1 rows with blanks (line 10)" in result.stderr


def test_a_grid_refuses_what_it_would_not_heed(run, model, pairs):
    for option in (["--benchmark", "MTEB(eng, v2)"], ["--query-prompt", "q: "]):
        result = run("evaluate", model, "--data", pairs, "--layers", "1,2", *option)
        assert result.exit_code == 2
        assert "a grid is of --tasks or --data" in " ".join(result.stderr.replace("│", "").split())


def test_a_floor_that_fails_is_named(run, model, pairs, monkeypatch):
    def broken(texts):
        raise ValueError

    monkeypatch.setattr("embedkit.evaluation.mteb.floor.TfidfEncoder", broken)
    result = run("evaluate", model, "--data", pairs, "--floors", "tfidf")
    assert result.exit_code == 0
    assert "floor not run: tfidf on animals: ValueError" in result.stderr


def test_a_report_names_tasks_whose_data_changed(run, model, pairs):
    run("evaluate", model, "--data", pairs, "--floors", "none")
    assert "different data" not in run("report", "results").stderr
    (pairs / "animals.csv").write_text(PAIRS.replace("4.8", "0.1"))
    run("evaluate", model, "--data", pairs, "--dim", "8", "--floors", "none")
    assert "animals: the models met different data" in run("report", "results").stderr


def test_a_label_goes_before_the_name_that_others_share(run, model, pairs):
    run("evaluate", model, "--data", pairs, "--floors", "none")
    run("evaluate", model, "--data", pairs, "--dim", "8", "--floors", "none")
    assert run("compare", "local/tiny", "local/tiny (truncate_dim=8)").exit_code == 0


def test_data_that_is_not_on_this_machine_is_named(run, model, tmp_path, monkeypatch):
    monkeypatch.setenv("EMBEDKIT_DATA", str(tmp_path))
    result = run("evaluate", model, "--tasks", "AGNewsTopics")
    assert "AGNewsTopics is not on the hub" in str(result.exception)
    assert "EMBEDKIT_DATA" in str(result.exception)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"model": 3}, "model must be a folder"),
        ({"prompts": {"qery": "q: "}}, "received 'qery'"),
        ({"floors": "chance"}, "received chance"),
    ],
)
def test_arguments_in_python_are_checked(model, pairs, options, said):
    import embedkit as ek

    with pytest.raises(ek.EmbedkitError, match=said):
        ek.evaluate(**{"model": model, "data": pairs, **options})


@pytest.mark.parametrize(("option", "value", "code"), [("--layers", "0", 0), ("--dim", "0", 2), ("--layers", "a,1", 2)])
def test_depths_begin_at_0_and_widths_at_1(run, model, pairs, option, value, code):
    assert run("evaluate", model, "--data", pairs, "--floors", "none", option, value).exit_code == code
