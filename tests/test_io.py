import errno
import json
import os
import shutil
import stat
import threading
from pathlib import Path

import numpy as np
import pytest

from embedkit import io as folders
from embedkit.errors import CorruptFileError, EmbedkitError, IncompatibleIndexError, LockedIndexError, StorageError
from embedkit.io import (
    commit_generation,
    open_generation,
    quarantine,
    raise_storage_error,
    read_info,
    replacing_folder,
    seal_folder,
    sha256_of,
    verify_folder,
    write_atomic,
    write_json,
)

STEPS = [
    (folders, "_fsync_file"),
    (folders, "fsync_folder"),
    (folders, "_record"),
    (folders, "_copy"),
    (folders, "_write_text"),
    (Path, "replace"),
    (Path, "rename"),
    (folders.tempfile, "mkdtemp"),
]


class Steps:
    """Counts the calls that touch the disk and, at one of them, does something else instead or afterwards."""

    def __init__(self, monkeypatch, at, happens, *, after=False):
        self.count, self._at, self._happens, self._after = 0, at, happens, after
        for owner, name in STEPS:
            monkeypatch.setattr(owner, name, self._wrapped(getattr(owner, name)))

    def _wrapped(self, real):
        def call(*arguments, **options):
            self.count += 1
            now = self.count - 1 == self._at
            if now and not self._after:
                self._happens()
            result = real(*arguments, **options)
            if now:
                self._happens()
            return result

        return call


def refuse():
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def refusals(prepare, work, check, *, at_least):
    """Let the disk refuse at each step of `work` in turn, checking after each, until a run meets no refusal."""
    for step in range(100):
        prepare()
        error = None
        with pytest.MonkeyPatch.context() as patch:
            steps = Steps(patch, step, refuse)
            try:
                work()
            except StorageError as caught:
                error = caught
        check(error)
        if steps.count <= step:
            assert error is None
            break
    assert at_least <= step < 99


def put(text):
    return lambda path: path.write_text(text)


def commit(folder, text):
    commit_generation(folder, {"text": text}, {"a.txt": put(text), "b.json": put(json.dumps(text))})


def content(folder):
    generation = open_generation(folder)
    texts = {generation.info["text"], generation.files["a.txt"].read_text()}
    assert texts == {json.loads(generation.files["b.json"].read_text())}
    return texts.pop()


def listing(folder):
    return sorted(path.name for path in folder.rglob("*"))


# -- one file ----------------------------------------------------------------------------------------


def test_a_file_is_written_whole_and_nothing_else_is_left(tmp_path):
    write_json(tmp_path / "a.json", {"ä": [1, None]})

    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"ä": [1, None]}
    assert listing(tmp_path) == ["a.json"]


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt(), OSError(errno.ENOSPC, "full")])
def test_when_writing_fails_the_former_file_stays(error, tmp_path):
    (tmp_path / "a").write_text("former")

    def write(path):
        path.write_text("half")
        raise error

    with pytest.raises(StorageError if isinstance(error, OSError) else type(error)):
        write_atomic(tmp_path / "a", write)
    assert (tmp_path / "a").read_text() == "former"
    assert listing(tmp_path) == ["a"]


def test_a_full_disk_at_any_step_of_a_file_leaves_the_former_or_the_new_one(tmp_path):
    path = tmp_path / "a.json"

    def check(error):
        assert listing(tmp_path) == ["a.json"]
        assert json.loads(path.read_text()) in (("former", "new") if error else ("new",))
        if error:
            assert error.errno == errno.ENOSPC
            assert "the disk is full: free space and call again" in str(error)

    refusals(lambda: path.write_text('"former"'), lambda: write_json(path, "new"), check, at_least=4)


def test_threads_that_write_one_file_do_not_disturb_each_other(tmp_path):
    failed = []

    def write(number):
        try:
            for _ in range(20):
                write_json(tmp_path / "a.json", [number] * 1000)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failed == []
    assert len(set(json.loads((tmp_path / "a.json").read_text()))) == 1
    assert listing(tmp_path) == ["a.json"]


@pytest.mark.parametrize("value", [float("nan"), {"a": float("inf")}, {1, 2}])
def test_what_json_cannot_hold_is_not_written(value, tmp_path):
    with pytest.raises((ValueError, TypeError)):
        write_json(tmp_path / "a.json", value)
    assert listing(tmp_path) == []


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "disk is full"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "permission"),
        (errno.EIO, "Input/output"),
    ],
)
def test_a_refusal_says_what_to_do_and_is_still_an_os_error(number, said):
    with pytest.raises(OSError, match=f"cannot write x: .*{said}.*; what was there before is unchanged") as caught:
        raise_storage_error(OSError(number, os.strerror(number)), "cannot write x")
    assert isinstance(caught.value, StorageError)
    assert caught.value.errno == number


def test_the_checksum_is_that_of_the_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")

    assert sha256_of(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


# -- a folder put in place of another ----------------------------------------------------------------


def replace(folder, text):
    with replacing_folder(folder) as temporary:
        (temporary / "sub").mkdir()
        (temporary / "sub" / "a").write_text(text)
        (temporary / "b").write_text(text)
        seal_folder(temporary)


def text_in(folder):
    verify_folder(folder)
    assert listing(folder) == ["a", "b", "embedkit.json", "sub"]
    assert (folder / "b").read_text() == (folder / "sub" / "a").read_text()
    return (folder / "b").read_text()


def test_a_folder_is_made_and_replaced_with_its_parents(tmp_path):
    folder = tmp_path / "x" / "y"
    replace(folder, "one")
    replace(folder, "two")

    assert text_in(folder) == "two"
    assert [path.name for path in folder.parent.iterdir()] == ["y"]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755


def test_an_error_inside_leaves_the_former_folder(tmp_path):
    replace(tmp_path / "x", "former")

    with pytest.raises(ZeroDivisionError), replacing_folder(tmp_path / "x") as temporary:
        (temporary / "half").write_text("half")
        1 / 0  # noqa: B018
    assert text_in(tmp_path / "x") == "former"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_full_disk_at_any_step_leaves_the_former_or_the_new_folder(tmp_path):
    folder = tmp_path / "x"

    def check(error):
        assert text_in(folder) in (("former", "new") if error else ("new",))
        assert [path.name for path in tmp_path.iterdir()] == ["x"]

    refusals(lambda: replace(folder, "former"), lambda: replace(folder, "new"), check, at_least=8)


def test_a_link_stays_a_link_and_its_target_is_replaced(tmp_path):
    replace(tmp_path / "real", "one")
    (tmp_path / "link").symlink_to("real")
    replace(tmp_path / "link", "two")

    assert (tmp_path / "link").is_symlink()
    assert text_in(tmp_path / "real") == "two"
    assert listing(tmp_path).count("b") == 1


def test_what_an_earlier_kill_left_aside_is_not_in_the_way(tmp_path):
    left = tmp_path / f".x.{os.getpid()}.old"
    left.mkdir()
    (left / "a").write_text("from a process with our number")
    replace(tmp_path / "x", "one")
    replace(tmp_path / "x", "two")

    assert text_in(tmp_path / "x") == "two"


def test_a_file_in_the_place_of_the_parent_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(StorageError, match="cannot write"), replacing_folder(tmp_path / "file" / "x"):
        pass


# -- sealed folders ----------------------------------------------------------------------------------


def test_a_folder_without_a_seal_passes(tmp_path):
    (tmp_path / "a").write_text("anything")

    verify_folder(tmp_path)


def test_files_that_came_later_do_not_break_a_seal(tmp_path):
    replace(tmp_path / "x", "text")
    (tmp_path / "x" / "later").write_text("")

    verify_folder(tmp_path / "x")


@pytest.mark.parametrize("cut", [0, 0.5, -1, None])
def test_a_seal_tells_every_file_that_is_cut_or_gone(cut, tmp_path):
    replace(tmp_path / "x", "some text of which a part can go missing")
    for name in ("sub/a", "b", "embedkit.json"):
        folder = shutil.copytree(tmp_path / "x", tmp_path / "copy")
        whole = (folder / name).read_bytes()
        if cut is None:
            (folder / name).unlink()
        else:
            (folder / name).write_bytes(whole[: cut if cut in (0, -1) else len(whole) // 2])
        if (name, cut) == ("embedkit.json", None):
            verify_folder(folder)  # a folder that was never sealed looks the same
        else:
            with pytest.raises(CorruptFileError):
                verify_folder(folder)
        shutil.rmtree(folder)


def test_a_seal_tells_every_flipped_bit_even_its_own(tmp_path):
    replace(tmp_path / "x", "text")
    random, outcomes = np.random.default_rng(0), []
    for name in ("sub/a", "b", "embedkit.json"):
        path = tmp_path / "x" / name
        whole = path.read_bytes()
        for place in range(len(whole)):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << int(random.integers(8))
            path.write_bytes(damaged)
            try:
                verify_folder(tmp_path / "x")
            except CorruptFileError:
                outcomes.append("told")
            else:
                assert json.loads(damaged) == json.loads(whole)  # white space, or the case of an escape
                outcomes.append("harmless")
        path.write_bytes(whole)

    assert outcomes.count("told") > 0.9 * len(outcomes)
    assert text_in(tmp_path / "x") == "text"


def test_a_seal_of_a_newer_format_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "FORMAT_VERSION", 9)
    replace(tmp_path / "x", "text")
    monkeypatch.undo()

    with pytest.raises(IncompatibleIndexError, match="format 9; this embedkit reads up to 1"):
        verify_folder(tmp_path / "x")


# -- generations -------------------------------------------------------------------------------------


def test_the_last_commit_is_read_and_the_one_before_is_kept(tmp_path):
    for text in ("one", "two", "three"):
        commit(tmp_path, text)

    assert content(tmp_path) == "three"
    assert open_generation(tmp_path).number == 3
    assert read_info(tmp_path) == {"text": "three"}
    assert [name for name in listing(tmp_path) if name.startswith("a")] == ["a-000002.txt", "a-000003.txt"]


def test_nothing_there_is_said_to_be_missing(tmp_path):
    for read in (open_generation, read_info):
        with pytest.raises(CorruptFileError, match=r"manifest\.json is missing"):
            read(tmp_path)


@pytest.mark.parametrize("damage", ["a-000002.txt", "b-000002.json", "manifest.json"])
def test_a_damaged_generation_gives_way_to_the_one_before_with_a_warning(damage, tmp_path):
    commit(tmp_path, "one")
    commit(tmp_path, "two")
    (tmp_path / damage).write_bytes(b"x")

    with pytest.warns(UserWarning, match="the generation before the current one, which is damaged"):
        assert content(tmp_path) == "one"
    commit(tmp_path, "three")
    assert content(tmp_path) == "three"
    (tmp_path / "manifest.json").unlink()
    with pytest.warns(UserWarning, match="which is damaged"):
        assert content(tmp_path) == "one"


def test_two_damaged_generations_are_an_error_about_the_current_one(tmp_path):
    commit(tmp_path, "one")
    commit(tmp_path, "two")
    (tmp_path / "a-000001.txt").unlink()
    (tmp_path / "a-000002.txt").unlink()

    with pytest.raises(CorruptFileError, match=r"a-000002\.txt is missing"):
        open_generation(tmp_path)


@pytest.mark.parametrize(
    "garbage", ["", "[]", "5", "{}", "{", "[" * 100_000, "\xff", '{"format": 1}', '{"format": "1"}']
)
def test_a_manifest_that_is_none_is_corrupt(garbage, tmp_path):
    (tmp_path / "manifest.json").write_bytes(garbage.encode("latin-1"))

    with pytest.raises(CorruptFileError):
        open_generation(tmp_path)


@pytest.mark.parametrize("version", [None, "1", [], True])
def test_a_manifest_without_a_version_is_corrupt(version, tmp_path):
    folders._write_manifest(tmp_path / "manifest.json", {"format": version, "info": {}, "files": {}, "generation": 1})

    if version is not True:  # which is 1
        with pytest.raises(CorruptFileError, match="names no format version"):
            open_generation(tmp_path)


def test_a_name_in_a_manifest_cannot_lead_out_of_the_folder(tmp_path):
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "x").mkdir()
    files = {"a.txt": {"file": "../secret.txt", **folders._record(tmp_path / "secret.txt")}}
    manifest = {"format": 1, "generation": 1, "info": {}, "files": files}
    folders._write_manifest(tmp_path / "x" / "manifest.json", manifest)

    with pytest.raises(CorruptFileError, match="missing"):
        open_generation(tmp_path / "x")


def test_a_full_disk_at_any_step_of_a_commit_leaves_a_whole_generation(tmp_path):
    folder = tmp_path / "x"

    def prepare():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        commit(folder, "one")
        commit(folder, "two")

    def check(error):
        assert content(folder) in (("two", "three") if error else ("three",))
        assert not [name for name in listing(folder) if name.endswith(".tmp")]
        assert len(listing(folder)) <= 7  # two generations of two files, two manifests, the lock
        commit(folder, "four")
        assert content(folder) == "four"

    refusals(prepare, lambda: commit(folder, "three"), check, at_least=15)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_kill_at_any_step_of_a_commit_leaves_a_whole_generation(tmp_path, after):
    killed = 0
    for step in range(100):
        folder = tmp_path / str(step)
        folder.mkdir()
        commit(folder, "one")
        commit(folder, "two")
        child = os.fork()
        if child == 0:
            with pytest.MonkeyPatch.context() as patch:
                Steps(patch, step, lambda: os._exit(9), after=after)
                commit(folder, "three")
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert content(folder) == "three" if status == 0 else content(folder) in ("two", "three")
        commit(folder, "four")
        assert content(folder) == "four"
        assert not [name for name in listing(folder) if name.endswith(".tmp")]
        if status == 0:
            break
        killed += 1
    assert killed > 10


def test_one_writer_at_a_time(tmp_path):
    commit(tmp_path, "one")

    def write(path):
        path.write_text('"two"')
        with pytest.raises(LockedIndexError, match="being saved by another process or thread"):
            commit(tmp_path, "meanwhile")

    commit_generation(tmp_path, {"text": "two"}, {"a.txt": put("two"), "b.json": write})

    assert content(tmp_path) == "two"


def test_an_error_of_the_writer_comes_through_and_the_lock_is_free_again(tmp_path):
    def write(path):
        path.write_text("half")
        message = "mine"
        raise ValueError(message)

    with pytest.raises(ValueError, match="mine"):
        commit_generation(tmp_path, {}, {"a.txt": write})
    assert listing(tmp_path) == ["manifest.lock"]
    commit(tmp_path, "one")
    assert content(tmp_path) == "one"


def test_a_newer_format_is_neither_read_nor_overwritten_nor_cleared(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "FORMAT_VERSION", 2)
    commit(tmp_path, "new")
    monkeypatch.undo()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    for call in (open_generation, read_info, lambda folder: commit(folder, "old")):
        with pytest.raises(IncompatibleIndexError, match="format 2"):
            call(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_file_that_may_not_be_read_is_not_called_corrupt(tmp_path, monkeypatch):
    commit(tmp_path, "one")
    real = Path.open

    def refuse_text(path, *arguments, **options):
        if path.suffix == ".txt":
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse_text)
    with pytest.raises(StorageError, match="permission is denied"):
        open_generation(tmp_path)


def test_quarantine_puts_the_current_generation_aside(tmp_path):
    commit(tmp_path, "one")
    quarantine(tmp_path)
    quarantine(tmp_path)

    with pytest.raises(EmbedkitError, match="missing"):
        open_generation(tmp_path)
    assert [name for name in listing(tmp_path) if "corrupt" in name] == [
        "a-000001.txt.corrupt",
        "b-000001.json.corrupt",
        "manifest.json.corrupt",
    ]
