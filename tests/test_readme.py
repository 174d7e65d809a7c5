import re
import runpy
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


@pytest.mark.usefixtures("default_encoder")
def test_the_python_blocks_run_one_after_the_other_and_print_what_they_say(tmp_path, monkeypatch, capsys):
    block = "\n".join(blocks("python"))
    monkeypatch.chdir(tmp_path)
    script = tmp_path / "readme.py"
    script.write_text(block)
    names = runpy.run_path(str(script))
    (promised,) = re.findall(r"print\(.*\)  # (.*)$", block, flags=re.MULTILINE)
    assert capsys.readouterr().out.strip() == promised
    assert names["vectors"].shape == (2, 384)
    assert names["short"].shape == (64,)
    assert names["small"].shape == (1, 48)
    assert names["grid"][4, 192].shape == (1, 192)


def test_every_command_and_option_of_the_readme_exists():
    from typer.testing import CliRunner

    from embedkit.cli import app

    for command in re.findall(r"^embedkit (\w+)", README.read_text(encoding="utf-8"), flags=re.MULTILINE):
        assert CliRunner().invoke(app, [command, "--help"]).exit_code == 0
    for target in re.findall(r"^make (\w+)", README.read_text(encoding="utf-8"), flags=re.MULTILINE):
        assert re.search(rf"^{target}:", (README.parent / "Makefile").read_text(), flags=re.MULTILINE)
