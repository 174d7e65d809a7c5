import os

import pytest

from embedkit.corpus.documents import Cutting, cut_file
from embedkit.corpus.walk import walk


def count(text):
    return len(text.split())


def cut(folder, name, content, **cutting):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    (source,) = walk([path])
    return cut_file(source, Cutting(**cutting), count)


def test_python_gives_code_and_text_with_places(tmp_path):
    source = '"""Module words."""\n\ndef first(x):\n    """Says first."""\n    return x + 1\n'
    chunks = cut(tmp_path, "mod.py", source).chunks
    assert {(chunk.kind, chunk.name, chunk.line) for chunk in chunks} == {
        ("text", "mod", 1),
        ("code", "mod.first", 3),
        ("text", "mod.first", 4),
    }


def test_packages_around_a_file_make_its_module_name(tmp_path):
    package = tmp_path / "outer" / "inner"
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").touch()
    chunks = cut(package, "mod.py", "def first(x):\n    return x + 1\n").chunks
    assert [chunk.name for chunk in chunks] == ["outer.inner.mod.first"]


def test_all_three_kinds_are_cut(tmp_path):
    assert cut(tmp_path, "a.md", "# Title\n\nSome words.\n").chunks[0].kind == "text"
    assert cut(tmp_path, "a.csv", "name,age\nAnn,31\n").chunks[0].kind == "table"
    assert cut(tmp_path, "a.py", "def first(x):\n    return x + 1\n").chunks[0].kind == "code"


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.py", "", "nothing to index"),
        ("empty.md", "", "nothing to index"),
        ("empty.csv", "", "nothing to index"),
        ("blank.txt", " \n\t\n", "nothing to index"),
        ("binary.py", b"\x7fELF\0\0\1\2", "is binary"),
        ("broken.py", "def (:\n", "line 1"),
        ("undecodable.md", b"good \xff\xfe bad", "is not utf-8 text: byte 0xff at offset 5"),
        ("undecodable.py", b"x = '\xff'\n", "encoding"),
        ("cookie.py", b"# -*- coding: nonsense -*-\n", "unknown encoding"),
        ("binary.sqlite", b"not a database at all", "SQLite"),
        ("binary.parquet", b"PAR1 but no more", "arquet"),
    ],
)
def test_what_cannot_be_read_is_a_named_skip(tmp_path, name, content, reason):
    documents = cut(tmp_path, name, content)
    assert documents.chunks == ()
    assert reason in documents.skipped


def test_a_large_file_is_a_named_skip_and_is_not_read(tmp_path):
    path = tmp_path / "large.py"
    with path.open("wb") as file:
        file.truncate(50_000_000)
    (source,) = walk([path])
    assert cut_file(source, Cutting(), count).skipped == "has 50,000,000 bytes, more than 10,000,000"


def test_a_long_single_line_below_the_limit_is_cut(tmp_path):
    documents = cut(tmp_path, "line.txt", "word " * 20_000, max_tokens=100)
    sizes = [count(chunk.text) for chunk in documents.chunks]
    assert sum(sizes) == 20_000
    assert max(sizes) <= 100


def test_a_file_that_vanishes_after_the_walk_is_a_named_skip(tmp_path):
    path = tmp_path / "a.py"
    path.write_text("x = 1")
    (source,) = walk([path])
    path.unlink()
    assert cut_file(source, Cutting(), count).skipped == "vanished while the tree was read"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_a_named_skip(tmp_path):
    path = tmp_path / "a.py"
    path.write_text("x = 1")
    path.chmod(0)
    (source,) = walk([path])
    assert "cannot be read" in cut_file(source, Cutting(), count).skipped


def test_python_says_its_own_encoding(tmp_path):
    source = "# -*- coding: latin-1 -*-\ndef first(x):\n    return 'é' + x\n".encode("latin-1")
    assert "'é'" in cut(tmp_path, "a.py", source).chunks[0].text


def test_utf_16_with_a_mark_is_text(tmp_path):
    assert cut(tmp_path, "a.txt", "words of é".encode("utf-16")).chunks[0].text == "words of é"


def test_ragged_and_repeated_headers_are_mended_and_noted(tmp_path):
    documents = cut(tmp_path, "a.csv", "id,id,\n1,2\n1,2,3,4\n")
    assert documents.skipped is None
    assert len(documents.notes) >= 3


def test_comments_can_be_dropped(tmp_path):
    source = "def first(x):\n    # a secret remark\n    return x + 1\n"
    (kept,) = cut(tmp_path, "a.py", source).chunks
    (dropped,) = cut(tmp_path, "a.py", source, comments="drop").chunks
    assert "secret" in kept.text
    assert "secret" not in dropped.text
