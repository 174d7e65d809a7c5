"""The benchmark harness: what it refuses, what it stores, the table it makes of that; and that each benchmark runs."""

import json
import subprocess
from dataclasses import asdict, fields, replace
from pathlib import Path

import pytest
import torch

from benchmarks import run
from benchmarks.data import data_folder, stsb
from benchmarks.results import (
    TABLE_BEGIN,
    TABLE_END,
    TABLE_WIDTH,
    DataMissing,
    ResultError,
    Row,
    insert_table,
    method_table,
    store,
    stored,
    validate,
)

KEYS = (
    "shelf method variant dataset metric value low high seeds baseline floor paper seconds commit machine".split()  # noqa: SIM905
)
ROW = Row(
    shelf="spine",
    method="encode",
    variant="batch 32",
    dataset="made up",
    metric="Spearman",
    value=0.82,
    low=0.81,
    high=0.84,
    seeds=3,
    baseline=0.7,
    floor=0.0,
    paper=0.823,
    seconds=1.5,
    commit="abc1234",
    machine="2 cores",
)

GOOD = """
from benchmarks.results import Row

def run(smoke):
    yield Row(method="good", dataset="none", metric="size", value=1.0 if smoke else 2.0)
"""
MISSING = """
from pathlib import Path
from benchmarks.results import DataMissing

def run(smoke):
    raise DataMissing(Path("nowhere"))
"""
ENDLESS = """
import time

def run(smoke):
    try:
        time.sleep(30)
    finally:
        print("interrupted")
    return []
"""
BROKEN = """
def run(smoke):
    raise RuntimeError("out of luck")
"""
NAN = """
from benchmarks.results import Row

def run(smoke):
    return [Row(method="nan", dataset="none", metric="size", value=float("nan"))]
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for shelf, name, source in [("first", "good", GOOD), ("second", "missing", MISSING)]:
        add(tmp_path, shelf, name, source)
    return tmp_path


def add(root: Path, shelf: str, name: str, source: str) -> None:
    path = root / shelf / f"{name}.py"
    path.parent.mkdir(exist_ok=True)
    path.write_text(source, encoding="utf-8")


def test_row_has_the_documented_keys_in_order() -> None:
    assert [field.name for field in fields(Row)] == KEYS


def test_validate_accepts_a_complete_row_and_one_without_comparisons() -> None:
    bare = replace(ROW, method="bare", variant="", low=None, high=None, baseline=None, floor=None, paper=None, seeds=1)
    validate([ROW, bare])


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"value": float("nan")}, "value"),
        ({"value": None}, "value"),
        ({"value": True}, "value"),
        ({"paper": float("inf")}, "paper"),
        ({"baseline": "0.7"}, "baseline"),
        ({"low": None}, "low <= value <= high"),
        ({"high": None}, "low <= value <= high"),
        ({"low": 0.83}, "low <= value <= high"),
        ({"high": 0.81}, "low <= value <= high"),
        ({"seeds": 0}, "seeds"),
        ({"seeds": 1.0}, "seeds"),
        ({"method": " "}, "method"),
        ({"metric": "a|b"}, "metric"),
        ({"commit": ""}, "commit"),
        ({"dataset": "d" * 100}, "columns"),
    ],
)
def test_validate_names_the_field_that_is_wrong(change: dict, named: str) -> None:
    with pytest.raises(ResultError, match=named):
        validate([replace(ROW, **change)])


def test_validate_refuses_no_rows_and_the_same_measurement_twice() -> None:
    with pytest.raises(ResultError, match="none"):
        validate([])
    with pytest.raises(ResultError, match="twice"):
        validate([ROW, replace(ROW, value=0.83)])


def test_stored_rows_come_back_equal_and_by_shelf(tmp_path: Path) -> None:
    store(tmp_path / "spine" / "encode.json", [ROW])
    store(tmp_path / "losses" / "circle.json", [replace(ROW, shelf="losses")])
    assert stored(tmp_path) == [replace(ROW, shelf="losses"), ROW]
    assert list(json.loads((tmp_path / "spine" / "encode.json").read_text(encoding="utf-8"))[0]) == KEYS


def test_a_refused_row_leaves_the_stored_ones(tmp_path: Path) -> None:
    path = tmp_path / "spine" / "encode.json"
    store(path, [ROW])
    with pytest.raises(ResultError):
        store(path, [replace(ROW, value=float("nan"))])
    assert stored(tmp_path) == [ROW]
    assert [file.name for file in path.parent.iterdir()] == ["encode.json"]


@pytest.mark.parametrize("change", [{"extra": 1}, {"seeds": None}])
def test_a_stored_file_of_another_shape_is_named(tmp_path: Path, change: dict) -> None:
    path = tmp_path / "spine" / "encode.json"
    path.parent.mkdir()
    path.write_text(json.dumps([{**asdict(ROW), **change}]), encoding="utf-8")
    with pytest.raises(ResultError, match=r"encode\.json"):
        stored(tmp_path)


def test_table_shows_the_first_variant_with_the_larger_half_of_its_interval() -> None:
    speed = replace(ROW, metric="texts/s", value=12345.6, low=None, high=None, baseline=999.0, floor=None, paper=None)
    lines = method_table([ROW, replace(ROW, variant="batch 1", value=0.815), speed]).splitlines()
    assert lines[2:] == [
        "| spine | encode | made up | Spearman | 0.8200 ± 0.020 | 0.7000 | 0.000 | 0.8230 |",
        "| spine | encode | made up | texts/s | 12,346 | 999.0 |  |  |",
    ]
    assert all(len(line) <= TABLE_WIDTH for line in lines)


def test_insert_table_replaces_only_what_stands_between_the_marks() -> None:
    text = f"# Title\n{TABLE_BEGIN}\nold\n{TABLE_END}\nrest\n"
    once = insert_table(text, "new")
    assert once == f"# Title\n{TABLE_BEGIN}\nnew\n{TABLE_END}\nrest\n"
    assert insert_table(once, "new") == once


@pytest.mark.parametrize(
    "text",
    [
        "",
        TABLE_BEGIN,
        f"{TABLE_END}\n{TABLE_BEGIN}",
        f"{TABLE_BEGIN}\n{TABLE_END}\n{TABLE_BEGIN}\n{TABLE_END}",
        f"{TABLE_BEGIN}\n{TABLE_BEGIN}\n{TABLE_END}",
    ],
)
def test_insert_table_refuses_a_file_without_one_place_for_it(text: str) -> None:
    with pytest.raises(ResultError, match="once"):
        insert_table(text, "new")


def test_full_run_stores_completed_rows_and_smoke_stores_nothing(root: Path) -> None:
    assert run.main(["good", "--smoke"], root) == 0
    assert not (root / "results").exists()
    assert run.main(["first/good"], root) == 0
    (row,) = stored(root / "results")
    assert (row.shelf, row.method, row.value) == ("first", "good", 2.0)
    assert row.commit
    assert "Python" in row.machine
    assert "torch" in row.machine


def test_table_is_written_then_fresh_then_stale(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    readme = root / "README.md"
    readme.write_text(f"{TABLE_BEGIN}\n{TABLE_END}\n", encoding="utf-8")
    assert run.main(["good"], root) == 0
    assert run.main(["--table", "--check", str(readme)], root) == 1
    assert run.main(["--table", "--write", str(readme)], root) == 0
    assert "| first | good | none | size | 2.000 |" in readme.read_text(encoding="utf-8")
    assert run.main(["--table", "--check", str(readme)], root) == 0
    store(root / "results" / "first" / "good.json", [replace(ROW, shelf="first", method="good")])
    assert run.main(["--table", "--check", str(readme)], root) == 1
    assert "--write" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("benchmark", run.discover(Path(run.__file__).parent), ids=str)
def test_every_benchmark_runs_at_smoke_size(benchmark: run.Benchmark, monkeypatch: pytest.MonkeyPatch) -> None:
    # The limit is that of a quiet machine; here another test takes its share.
    monkeypatch.setattr(run, "SMOKE_SECONDS", 1.5 * run.SMOKE_SECONDS)
    threads = torch.get_num_threads()
    try:
        assert benchmark.run(smoke=True)
    except DataMissing as error:
        pytest.skip(str(error))
    finally:
        torch.set_num_threads(threads)


def test_missing_data_skips_and_passes(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["--all", "--smoke"], root) == 0
    out = capsys.readouterr().out
    assert "second/missing: skipped: nowhere" in out
    assert "first/good: 1 rows" in out


@pytest.mark.parametrize(("source", "said"), [(BROKEN, "out of luck"), (NAN, "finite"), ("", "run")])
def test_a_failure_fails_the_whole_and_the_others_still_run(
    root: Path, capsys: pytest.CaptureFixture[str], source: str, said: str
) -> None:
    add(root, "early", "bad", source)
    assert run.main(["--all"], root) == 1
    streams = capsys.readouterr()
    assert "early/bad: failed" in streams.err
    assert said in streams.err
    assert "first/good: 1 rows" in streams.out
    assert not (root / "results" / "early").exists()


def test_what_was_measured_is_told_where_it_cannot_be_stored(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add(root, "early", "wide", GOOD.replace('"size"', repr("size" * 40)))
    assert run.main(["wide"], root) == 1
    said = capsys.readouterr().err
    assert "Nothing is stored. This was measured:" in said
    assert '"value": 2.0' in said


def test_a_smoke_run_over_its_time_is_interrupted_and_fails(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "SMOKE_SECONDS", 0.05)
    add(root, "slow", "endless", ENDLESS)
    assert run.main(["endless", "--smoke"], root) == 1
    streams = capsys.readouterr()
    assert "interrupted" in streams.out
    assert "must end within 0.05 s" in streams.err


@pytest.mark.parametrize(("name", "hint"), [("godo", "did you mean first/good"), ("zzz", "There are: first/good")])
def test_unknown_name_lists_the_known_ones(
    root: Path, capsys: pytest.CaptureFixture[str], name: str, hint: str
) -> None:
    assert run.main([name], root) == 2
    said = capsys.readouterr().err
    assert hint in said
    assert "first/good, second/missing" in said


def test_a_name_on_two_shelves_asks_for_the_shelf(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add(root, "third", "good", GOOD)
    assert run.main(["good", "--smoke"], root) == 2
    assert "first/good, third/good" in capsys.readouterr().err
    assert run.main(["third/good", "--smoke"], root) == 0


def test_the_name_of_a_shelf_runs_all_of_it(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add(root, "third", "good", GOOD)
    add(root, "third", "missing", MISSING)
    assert run.main(["third", "--smoke"], root) == 0
    assert [line for line in capsys.readouterr().out.splitlines() if line.startswith("third/")] == [
        "third/good: 1 rows in 0 s (smoke, not stored)",
        "third/missing: skipped: nowhere is not there; EMBEDKIT_DATA names the folder that holds the data sets",
    ]


def test_list_and_misused_options(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["--list"], root) == 0
    assert capsys.readouterr().out.split() == ["first/good", "second/missing"]
    for arguments in ([], ["good", "--all"], ["good", "--check", "README.md"]):
        with pytest.raises(SystemExit):
            run.main(arguments, root)


def test_commit_is_dirty_only_for_more_than_results(root: Path) -> None:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
        return subprocess.run(
            ["git", *identity, *arguments], cwd=root, capture_output=True, text=True, check=True
        ).stdout

    assert run._commit(root) == "unknown"
    run._commit.cache_clear()
    git("init", "-q")
    (root / "benchmarks" / "results").mkdir(parents=True)
    git("add", ".")
    git("commit", "-qm", "a")
    (root / "benchmarks" / "results" / "a.json").write_text("[]", encoding="utf-8")
    head = git("rev-parse", "--short", "HEAD").strip()
    assert run._commit(root / "first") == head
    add(root, "first", "good", MISSING)
    assert run._commit(root / "second") == f"{head}-dirty"


def test_data_folder_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBEDKIT_DATA", str(tmp_path))
    (tmp_path / "text" / "stsb").mkdir(parents=True)
    assert data_folder("text") == tmp_path / "text"
    with pytest.raises(DataMissing, match="EMBEDKIT_DATA"):
        stsb("dev")
    (tmp_path / "text" / "stsb" / "stsb-en-dev.csv").write_text('"a, b",c,5.0\n', encoding="utf-8")
    assert stsb("dev") == (["a, b"], ["c"], [5.0])


@pytest.mark.data
def test_stsb_has_its_published_size() -> None:
    try:
        first, second, scores = stsb("test")
    except DataMissing as error:
        pytest.skip(str(error))
    assert len(first) == len(second) == len(scores) == 1379
    assert (min(scores), max(scores)) == (0.0, 5.0)
