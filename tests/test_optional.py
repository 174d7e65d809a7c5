import pytest

from embedkit.errors import MissingExtraError
from embedkit.optional import require


def test_an_installed_module_is_given():
    assert require("json.decoder", extra="none").JSONDecoder


def test_a_missing_package_names_the_extra():
    with pytest.raises(MissingExtraError, match=r"pip install 'embedkit\[tables\]'"):
        require("no_such_package.part", extra="tables")


def test_a_package_that_fails_inside_says_so_itself(tmp_path, monkeypatch):
    (tmp_path / "broken_inside.py").write_text("import no_such_package\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_package") as raised:
        require("broken_inside", extra="tables")
    assert not isinstance(raised.value, MissingExtraError)
