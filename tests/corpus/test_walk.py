import os

import pytest

from embedkit.corpus.walk import Skip, SourceFile, kind_of, walk
from embedkit.errors import InputError


def names(found):
    return [one.path.name for one in found if isinstance(one, SourceFile)]


def make(folder, *files):
    for name in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("content")
    return folder


def test_kinds_follow_the_suffix(tmp_path):
    assert [
        kind_of(tmp_path / name) for name in ("a.py", "a.MD", "a.rst", "a.csv", "a.sqlite", "a.png", "Makefile")
    ] == [
        "code",
        "text",
        "text",
        "table",
        "table",
        None,
        None,
    ]


def test_files_come_sorted_and_once_even_when_named_twice(tmp_path):
    make(tmp_path, "b.py", "a.md", "sub/c.csv")
    assert names(walk([tmp_path, tmp_path / "b.py", tmp_path / "sub"])) == ["a.md", "b.py", "c.csv"]


def test_hidden_caches_installed_packages_and_other_suffixes_are_left_out(tmp_path):
    make(
        tmp_path,
        ".git/x.py",
        "__pycache__/x.py",
        "site-packages/x.py",
        "node_modules/x.js",
        ".hidden.py",
        "x.png",
        "y.py",
    )
    assert names(walk([tmp_path])) == ["y.py"]


def test_exclude_takes_patterns_of_names(tmp_path):
    make(tmp_path, "test/x.py", "deep/test/x.py", "a.min.js", "a.js")
    assert names(walk([tmp_path], exclude=["test", "*.min.js"])) == ["a.js"]


def test_a_named_file_is_read_whatever_folder_it_is_in(tmp_path):
    make(tmp_path, ".git/x.py")
    assert names(walk([tmp_path / ".git/x.py"])) == ["x.py"]


def test_a_loop_of_folder_links_ends(tmp_path):
    make(tmp_path, "a/x.py")
    (tmp_path / "a/loop").symlink_to(tmp_path, target_is_directory=True)
    assert names(walk([tmp_path])) == ["x.py"]


def test_a_loop_of_file_links_is_a_named_skip(tmp_path):
    (tmp_path / "a.py").symlink_to(tmp_path / "b.py")
    (tmp_path / "b.py").symlink_to(tmp_path / "a.py")
    found = list(walk([tmp_path]))
    assert all(isinstance(one, Skip) for one in found)
    assert len(found) == 2


def test_a_dangling_link_is_a_named_skip(tmp_path):
    (tmp_path / "a.py").symlink_to(tmp_path / "gone.py")
    (found,) = walk([tmp_path])
    assert isinstance(found, Skip)
    assert "cannot be opened" in found.reason


def test_a_link_to_a_file_is_followed_and_counts_once(tmp_path):
    make(tmp_path, "a.py")
    (tmp_path / "b.py").symlink_to(tmp_path / "a.py")
    assert names(walk([tmp_path])) == ["a.py"]


def test_a_fifo_is_a_named_skip(tmp_path):
    os.mkfifo(tmp_path / "pipe.py")
    (found,) = walk([tmp_path])
    assert found.reason == "is no regular file"


def test_a_path_that_does_not_exist_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"nowhere does not exist"):
        list(walk([tmp_path / "nowhere"]))


def test_a_named_file_of_unknown_kind_is_an_error_that_lists_kinds(tmp_path):
    make(tmp_path, "a.png")
    with pytest.raises(InputError, match=r"\.csv.*\.py"):
        list(walk([tmp_path / "a.png"]))
