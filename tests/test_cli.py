import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from embedkit import cli
from embedkit.errors import ModelError


@pytest.fixture
def run(monkeypatch, make_encoder, checkpoint, tmp_path):
    """The command line with a tiny model on disk; gives (exit code, stdout, stderr)."""
    make_encoder(unit=True).save(tmp_path / "model")
    monkeypatch.setenv("EMBEDKIT_MODEL", str(tmp_path / "model"))

    def call(*arguments):
        return CliRunner().invoke(cli.app, list(map(str, arguments)))

    return call


@pytest.fixture
def tree(tmp_path):
    folder = tmp_path / "tree"
    folder.mkdir()
    (folder / "cats.md").write_text("# Cats\n\nthe cat sat on the mat\n")
    (folder / "dogs.py").write_text("def dog_barks(dog):\n    return dog + one\n")
    (folder / "birds.csv").write_text("bird,sings\nred,true\nblue,not\n")
    return folder


def test_index_search_info_add_remove(run, tree, tmp_path):
    index = tmp_path / "index"
    result = run("index", tree, "--out", index)
    assert result.exit_code == 0, result.output
    assert "from 3 files" in result.output
    found = json.loads(run("search", index, "the cat sat on the mat", "-k", 2, "--json").stdout)
    assert found[0]["path"] == str(tree / "cats.md")
    assert found[0]["line"] == 1
    facts = json.loads(run("info", index, "--json").stdout)
    assert facts["files"] == 3
    assert facts["kinds"]["code"] == 1
    assert json.loads(run("remove", index, tree / "dogs.py", "--json").stdout) == {"removed": 1}
    assert run("add", index, tree / "dogs.py").exit_code == 0
    assert json.loads(run("info", index, "--json").stdout)["files"] == 3


def test_search_gives_one_kind_on_request(run, tree, tmp_path):
    run("index", tree, "--out", tmp_path / "index")
    for kind in ("text", "code", "table"):
        found = json.loads(run("search", tmp_path / "index", "red bird", "--kind", kind, "--json").stdout)
        assert {hit["kind"] for hit in found} == {kind}


def test_piped_output_is_tab_separated_and_plain(run, tree, tmp_path):
    run("index", tree, "--out", tmp_path / "index")
    lines = run("search", tmp_path / "index", "red bird").stdout.splitlines()
    assert all(len(line.split("\t")) == 4 for line in lines)
    assert "\x1b" not in "".join(lines)


def test_on_a_terminal_the_title_gives_way_and_not_the_score_or_the_place(monkeypatch, capsys):
    from embedkit.console import print_hits
    from embedkit.index.retriever import Hit

    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "60")
    place = {"kind": "code", "path": "/somewhere/far/away.py", "line": 7, "name": "a.very.long.name" * 9}
    print_hits([Hit("id", 0.5, "text", place)], "/somewhere")
    (line,) = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    assert line.startswith("0.500  code  far/away.py:7  a.very.long")
    assert len(line) <= 60


def test_control_characters_of_documents_do_not_reach_the_terminal(run, tmp_path):
    source = tmp_path / "evil.md"
    source.write_text("a cat \x1b[31mred\x07 sat\n")
    run("index", source, "--out", tmp_path / "index")
    assert not {"\x1b", "\x07"} & set(run("search", tmp_path / "index", "cat").stdout)


def test_indexing_again_encodes_nothing(run, tree, tmp_path):
    run("index", tree, "--out", tmp_path / "index")
    report = json.loads(run("index", tree, "--out", tmp_path / "index", "--json").stdout)
    assert (report["added"], report["removed"], report["unchanged"]) == (0, 0, 3)


def test_the_model_of_an_index_is_remembered(run, tree, tmp_path, monkeypatch):
    run("index", tree, "--out", tmp_path / "index")
    monkeypatch.delenv("EMBEDKIT_MODEL")
    assert run("search", tmp_path / "index", "cat", "--json").exit_code == 0


def test_an_index_inside_its_tree_is_not_indexed_itself(run, tree):
    run("index", tree, "--out", tree / "index")
    report = json.loads(run("index", tree, "--out", tree / "index", "--json").stdout)
    assert (report["files"], report["unchanged"], report["added"], report["skipped"]) == (0, 3, 0, {})


def test_quiet_prints_nothing(run, tree, tmp_path):
    assert run("index", tree, "--out", tmp_path / "index", "--quiet").output == ""


def test_options_come_from_the_environment(run, tree, tmp_path, monkeypatch):
    run("index", tree, "--out", tmp_path / "index")
    monkeypatch.setenv("EMBEDKIT_K", "1")
    monkeypatch.setenv("EMBEDKIT_JSON", "1")
    assert len(json.loads(run("search", tmp_path / "index", "cat").stdout)) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("search", "{index}", "  "),
        ("search", "{index}", "cat", "-k", "0"),
        ("search", "{index}", "cat", "--kind", "image"),
        ("index", "{nowhere}", "--out", "{index}"),
        ("index",),
        ("nonsense",),
    ],
)
def test_wrong_usage_exits_with_2(run, tree, tmp_path, arguments):
    run("index", tree, "--out", tmp_path / "index")
    filled = [argument.format(index=tmp_path / "index", nowhere=tmp_path / "nowhere") for argument in arguments]
    assert run(*filled).exit_code == 2


def command(*arguments, env=None):
    """The installed command in a process of its own, which has no terminal."""
    executable = Path(sys.executable).with_name("embedkit")
    environment = {**os.environ, **(env or {})}
    return subprocess.run(
        [executable, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False, env=environment
    )


def test_errors_are_one_line_on_stderr_and_exit_with_1(tmp_path):
    done = command("info", tmp_path / "nowhere")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert "embedkit index PATH" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_help_names_every_command_without_importing_what_is_heavy():
    done = command("--help", env={"PYTHONPROFILEIMPORTTIME": "1"})
    assert done.returncode == 0
    for name in ("index", "search", "add", "remove", "info", "demo"):
        assert name in done.stdout
    assert not {"torch", "numpy", "faiss", "transformers"} & {
        line.split("|")[-1].strip() for line in done.stderr.splitlines()
    }


def test_info_imports_neither_torch_nor_faiss(run, tree, tmp_path):
    run("index", tree, "--out", tmp_path / "index")
    done = command("info", tmp_path / "index", env={"PYTHONPROFILEIMPORTTIME": "1"})
    assert "documents" in done.stdout
    assert not {"torch", "faiss", "transformers"} & {line.split("|")[-1].strip() for line in done.stderr.splitlines()}


def test_a_reader_that_goes_away_is_no_error(run, tree, tmp_path):
    run("index", tree, "--out", tmp_path / "index")
    executable = Path(sys.executable).with_name("embedkit")
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; '{executable}' info '{tmp_path / 'index'}' | true"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr


def test_an_embedkit_error_reaches_main_as_exit_code_1(monkeypatch, capsys):
    def fail():
        raise ModelError("no such model")

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 1
    assert capsys.readouterr().err == "error: no such model\n"


def test_an_interruption_exits_with_130_and_keeps_what_was_indexed(run, tmp_path, monkeypatch):
    from embedkit import Retriever

    folder = tmp_path / "tree"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.md").write_text(f"the cat sat on mat {number}\n")
    monkeypatch.setattr("embedkit.corpus.sync._GROUP", 1)
    add = Retriever.add

    def interrupt_at_the_second(retriever, *arguments, **options):
        if len(retriever):
            raise KeyboardInterrupt
        add(retriever, *arguments, **options)

    monkeypatch.setattr(Retriever, "add", interrupt_at_the_second)
    done = run("index", folder, "--out", tmp_path / "index")
    assert done.exit_code == 130
    assert "what was indexed is kept" in done.stderr
    monkeypatch.setattr(Retriever, "add", add)
    report = json.loads(run("index", folder, "--out", tmp_path / "index", "--json").stdout)
    assert (report["unchanged"], report["added"]) == (1, 2)
