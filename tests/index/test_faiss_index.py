import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import warnings

import faiss
import numpy as np
import pytest

from embedkit import FaissIndex
from embedkit import io as folders
from embedkit.errors import (
    CorruptFileError,
    EmbedkitError,
    ForkedProcessError,
    IncompatibleIndexError,
    InputError,
    LockedIndexError,
    StorageError,
)
from embedkit.index import faiss_index

DIM = 8
RANDOM = np.random.default_rng(0)
VECTORS = RANDOM.normal(size=(400, DIM)).astype(np.float32)
QUERIES = RANDOM.normal(size=(5, DIM)).astype(np.float32)
KINDS = ("flat", "hnsw", "ivf")


@pytest.fixture(autouse=True)
def small_lists(monkeypatch):
    monkeypatch.setattr(faiss_index, "_IVF_TRAINING", 100)


def filled(kind="flat", count=60, **options):
    index = FaissIndex(kind=kind, **options)
    index.add([f"v{i}" for i in range(count)], VECTORS[:count])
    return index


def answers(index):
    scores, ids = index.search(QUERIES, 5)
    return scores.tolist(), ids.tolist()


def outcome(folder, expected):
    """What comes of opening a folder: "error", "warning", "same", or "DIFFERENT" without a word."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            found = answers(FaissIndex.load(folder))
        except EmbedkitError:
            return "error"
    if found == expected:
        return "same"
    return "warning" if told else "DIFFERENT"


# -- construction ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"dim": 0},
        {"dim": -1},
        {"dim": 1.5},
        {"dim": "3"},
        {"dim": True},
        {"metric": "dot"},
        {"kind": "pq"},
        {"kind": None},
    ],
)
def test_what_an_index_cannot_be_is_refused(options):
    with pytest.raises(InputError, match=f"{next(iter(options))} must be"):
        FaissIndex(**options)


def test_a_given_width_holds_from_the_start_and_an_open_one_from_the_first_add():
    given, opened = FaissIndex(4), FaissIndex()
    with pytest.raises(InputError, match="4 dimensions; received 3"):
        given.add(["a"], np.ones((1, 3)))
    with pytest.raises(InputError, match="4 dimensions; received 3"):
        given.search(np.ones(3))
    opened.add(["a"], np.ones((1, 3)))
    opened.remove(["a"])

    assert (given.dim, opened.dim) == (4, 3)
    with pytest.raises(InputError, match="3 dimensions; received 4"):
        opened.add(["a"], np.ones((1, 4)))


def test_auto_becomes_a_graph_at_its_threshold_and_flat_again_below(monkeypatch):
    monkeypatch.setattr(faiss_index, "APPROXIMATE_FROM", 50)
    index = FaissIndex()
    index.add(range(49), VECTORS[:49])
    assert index.built_as == "flat"
    index.add([49], VECTORS[49:50])
    assert index.built_as == "hnsw"
    index.remove(range(30))
    index.add(["new"], VECTORS[50:51])

    assert index.built_as == "flat"
    assert index.ids == [*range(30, 50), "new"]


def test_tombstones_are_cleared_away_when_a_fifth_is_dead():
    index = filled("hnsw", 100)
    index.remove([f"v{i}" for i in range(20)])
    assert index._index.ntotal == 100
    index.remove(["v20"])

    assert index._index.ntotal == len(index) == 79


def test_training_lists_says_nothing_on_the_console(capfd):
    filled("ivf", 400)

    assert capfd.readouterr() == ("", "")


def test_repr_says_what_is_there():
    assert repr(filled("hnsw")) == "FaissIndex(60 vectors, dim=8, metric='cosine', kind='hnsw')"


def test_membership_never_raises_for_an_id_that_cannot_be():
    index = filled()

    assert "v1" in index
    assert not any(id in index for id in ("nothing", "", 1, None, 10**30, "\ud800", 1.5))


@pytest.mark.parametrize("k", [np.int64(3), np.uint8(3), 3])
def test_numpy_integers_count(k):
    assert filled().search(QUERIES[0], k).ids.shape == (3,)


def test_input_is_never_changed_and_never_shared():
    for metric in ("cosine", "inner_product", "l2"):
        vectors = VECTORS[:10].copy()
        index = FaissIndex(metric=metric)
        index.add(range(10), vectors)
        np.testing.assert_array_equal(vectors, VECTORS[:10])
        before = index.vectors(range(10))
        vectors[:] = 0
        before_copy = before.copy()
        before[:] = 0
        np.testing.assert_array_equal(index.vectors(range(10)), before_copy)


def test_torch_queries_are_taken_or_clearly_refused():
    torch = pytest.importorskip("torch")
    index = filled()

    assert index.search(torch.ones(DIM), 3).ids.shape == (3,)
    for bad in (torch.ones(DIM, requires_grad=True), torch.ones(2, DIM, dtype=torch.bfloat16)):
        with pytest.raises(InputError, match="queries must be an array of numbers"):
            index.search(bad, 3)


def test_optimised_python_gives_the_same_errors():
    script = """
import numpy as np
from embedkit import FaissIndex
from embedkit.errors import InputError
assert False  # -O removes this
index = FaissIndex()
index.add(range(5), np.eye(5))
calls = [
    lambda: index.search(np.ones(3)),
    lambda: index.search(np.ones((1, 7)), 2),
    lambda: index.search(np.full(5, np.nan)),
    lambda: index.add(["a"], np.ones((1, 4))),
    lambda: index.add(["a"], np.zeros((1, 5))),
    lambda: index.add([1], np.ones((1, 5))),
    lambda: index.search(np.ones(5), 0),
    lambda: index.remove(["b"]),
]
for call in calls:
    try:
        call()
    except InputError:
        print("refused")
    else:
        raise SystemExit("taken")
"""
    done = subprocess.run([sys.executable, "-O", "-c", script], capture_output=True, text=True, check=False, timeout=60)

    assert (done.returncode, done.stdout.split()) == (0, ["refused"] * 8), done.stderr


# -- a change that breaks off ------------------------------------------------------------------------


class Interrupted(BaseException):
    """Ctrl-C, or faiss giving up."""


def break_off(index, name, *, after):
    """Make the next faiss call of that name raise, before or after it has done its work."""
    real = getattr(index._index, name)

    def broken(*arguments):
        delattr(index._index, name)
        if after:
            real(*arguments)
        raise Interrupted

    setattr(index._index, name, broken)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_an_interrupted_add_leaves_no_trace(kind, after):
    index = filled(kind, 150)
    before = answers(index)
    break_off(index, "add", after=after)

    with pytest.raises(Interrupted):
        index.add(["x", "y"], QUERIES[:2])

    assert answers(index) == before
    assert len(index) == 150
    index.add(["x", "y"], QUERIES[:2])
    assert [row[0] for row in index.search(QUERIES[:2], 1).ids] == ["x", "y"]
    np.testing.assert_allclose(index.vectors(["v149", "x"])[0], filled(kind, 150).vectors(["v149"])[0])


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_an_interrupted_update_leaves_the_former_vectors(kind, after):
    index = filled(kind, 150)
    former = index.vectors(["v3", "v7"])
    break_off(index, "add", after=after)

    with pytest.raises(Interrupted):
        index.update(["v3", "v7"], QUERIES[:2])

    assert sorted(index.ids) == sorted(f"v{i}" for i in range(150))
    np.testing.assert_array_equal(index.vectors(["v3", "v7"]), former)
    assert set(index.search(former, 1).ids.ravel()) == {"v3", "v7"}


@pytest.mark.parametrize("after", [False, True])
def test_an_interrupted_removal_is_done_or_not_done(after):
    index, oracle = filled(), filled()
    break_off(index, "remove_ids", after=after)

    with pytest.raises(Interrupted):
        index.remove(["v3", "v7"])

    if after:
        oracle.remove(["v3", "v7"])
    assert index.ids == oracle.ids
    assert answers(index) == answers(oracle)


def test_an_interrupted_rebuild_leaves_what_was(monkeypatch):
    index = filled("hnsw", 100)
    before = answers(index)

    def broken(*_):
        raise Interrupted

    monkeypatch.setattr(index, "_new_index", broken)
    with pytest.raises(Interrupted):
        index.remove([f"v{i}" for i in range(30)])
    monkeypatch.undo()

    assert len(index) == 70
    oracle = FaissIndex(kind="flat")
    oracle.add(index.ids, index.vectors(index.ids))
    assert answers(index)[1] == answers(oracle)[1]
    assert before != answers(index)


# -- saving and loading ------------------------------------------------------------------------------


def test_loading_what_is_not_there_says_so(tmp_path):
    with pytest.raises(CorruptFileError, match=r"manifest\.json is missing"):
        FaissIndex.load(tmp_path / "nowhere")


def test_what_was_recorded_beside_the_index_comes_back(tmp_path):
    filled().save(tmp_path, info={"encoder": "mine"})

    index = FaissIndex.load(tmp_path)

    assert index.info["encoder"] == "mine"
    assert index.is_current
    assert filled().info == {}


def test_saving_again_and_again_keeps_two_generations_and_no_rubbish(tmp_path):
    index = filled()
    for i in range(5):
        index.add([i], VECTORS[300 + i : 301 + i])
        index.save(tmp_path)

    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "ids-000004.json",
        "ids-000005.json",
        "index-000004.faiss",
        "index-000005.faiss",
        "manifest.json",
        "manifest.lock",
        "manifest.previous.json",
    ]


def test_a_folder_that_was_moved_or_is_a_link_opens(tmp_path):
    index = filled()
    index.save(tmp_path / "here")
    (tmp_path / "here").rename(tmp_path / "there")
    (tmp_path / "link").symlink_to(tmp_path / "there")

    assert answers(FaissIndex.load(tmp_path / "there")) == answers(index)
    assert answers(FaissIndex.load(tmp_path / "link")) == answers(index)
    index.save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert answers(FaissIndex.load(tmp_path / "there")) == answers(index)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cut", ["0 bytes", "half", "minus 1 byte", "missing", "one more"])
def test_damage_to_any_file_is_told(kind, cut, tmp_path):
    index = filled(kind, 120)
    index.save(tmp_path / "whole")
    expected = answers(index)
    names = [path.name for path in (tmp_path / "whole").iterdir() if path.stat().st_size]
    assert len(names) == 3
    for name in names:
        folder = shutil.copytree(tmp_path / "whole", tmp_path / f"damaged-{name}")
        content = (folder / name).read_bytes()
        cuts = {
            "0 bytes": b"",
            "half": content[: len(content) // 2],
            "minus 1 byte": content[:-1],
            "one more": content + b"x",
        }
        if cut == "missing":
            (folder / name).unlink()
        else:
            (folder / name).write_bytes(cuts[cut])
        with pytest.raises(CorruptFileError):
            FaissIndex.load(folder)
        assert expected == answers(FaissIndex.load(tmp_path / "whole"))


def flips(folder, count, seed):
    """Flip one random bit of one random place of each file in turn, and put it back."""
    random = np.random.default_rng(seed)
    for path in sorted(folder.iterdir()):
        whole = path.read_bytes()
        for place in random.integers(0, len(whole), count) if whole else ():
            damaged = bytearray(whole)
            damaged[place] ^= 1 << int(random.integers(8))
            path.write_bytes(damaged)
            yield path.name, int(place)
        path.write_bytes(whole)


@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_bit_anywhere_is_told_or_harmless(kind, tmp_path):
    index = filled(kind, 120)
    index.save(tmp_path)
    found = {where: outcome(tmp_path, answers(index)) for where in flips(tmp_path, 60, seed=1)}

    assert len(found) > 150
    assert {where for where, result in found.items() if result not in ("error", "same")} == set()
    assert list(found.values()).count("error") > 0.9 * len(found)


def test_with_a_generation_before_a_flipped_bit_is_told_or_harmless_too(tmp_path):
    index = filled()
    index.save(tmp_path)
    index.update(["v1"], QUERIES[:1])
    index.save(tmp_path)
    found = {where: outcome(tmp_path, answers(index)) for where in flips(tmp_path, 40, seed=2)}

    assert "DIFFERENT" not in found.values()
    assert "warning" in found.values()  # the generation before was opened instead


def test_the_generation_before_is_opened_with_a_warning_and_saved_over(tmp_path):
    index = filled()
    index.save(tmp_path)
    expected = answers(index)
    index.update(["v1"], QUERIES[:1])
    index.save(tmp_path)
    (tmp_path / "index-000002.faiss").write_bytes(b"")

    with pytest.warns(UserWarning, match="opening the generation before the current one, which is damaged"):
        loaded = FaissIndex.load(tmp_path)
    assert answers(loaded) == expected
    assert not loaded.is_current

    loaded.save(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert answers(FaissIndex.load(tmp_path)) == expected


def test_a_newer_format_is_refused_and_not_overwritten(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "FORMAT_VERSION", 2)
    filled().save(tmp_path)
    monkeypatch.undo()
    content = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    with pytest.raises(IncompatibleIndexError, match="format 2; this embedkit reads up to 1: update embedkit"):
        FaissIndex.load(tmp_path)
    with pytest.raises(IncompatibleIndexError, match="update embedkit"):
        filled().save(tmp_path)
    assert content == {path.name: path.read_bytes() for path in tmp_path.iterdir()}


def forge(folder, write):
    """Replace the faiss file and make every checksum fit, as somebody who means harm would."""
    manifest = json.loads((folder / "manifest.json").read_text())
    path = folder / manifest["files"]["index.faiss"]["file"]
    write(path)
    manifest["files"]["index.faiss"] |= folders._record(path)
    manifest.pop("checksum")
    folders._write_manifest(folder / "manifest.json", manifest)


def hnsw_over_codes():
    index = faiss.IndexHNSWSQ(DIM, faiss.ScalarQuantizer.QT_8bit, 16, faiss.METRIC_INNER_PRODUCT)
    index.train(VECTORS)
    index.add(VECTORS[:60])
    return index


def hnsw_over_other_storage():
    codes = faiss.IndexScalarQuantizer(DIM, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)
    codes.train(VECTORS)
    codes.add(VECTORS[:60])
    index = faiss.IndexHNSWFlat(DIM, 32, faiss.METRIC_INNER_PRODUCT)
    index.add(VECTORS[:60])
    index.storage = codes
    codes.this.disown()
    return index


def transformed():
    index = faiss.IndexPreTransform(faiss.RandomRotationMatrix(DIM, DIM), faiss.IndexFlatIP(DIM))
    index.train(VECTORS)
    index.add(VECTORS[:60])
    return index


def flat(dim=DIM, count=60, make=faiss.IndexFlatIP):
    index = make(dim)
    index.add(np.ones((count, dim), dtype=np.float32))
    return index


FORGERIES = {
    "hnsw over codes": hnsw_over_codes,
    "hnsw over other storage": hnsw_over_other_storage,
    "a transform": transformed,
    "ids mapped": lambda: faiss.IndexIDMap(faiss.IndexFlatIP(DIM)),
    "another width": lambda: flat(dim=DIM + 1),
    "fewer vectors": lambda: flat(count=59),
    "another metric": lambda: flat(make=faiss.IndexFlatL2),
}


@pytest.mark.parametrize("make", FORGERIES.values(), ids=FORGERIES)
@pytest.mark.parametrize("kind", ["flat", "hnsw"])
def test_another_type_of_faiss_index_is_never_searched(make, kind, tmp_path):
    filled(kind).save(tmp_path)
    forge(tmp_path, lambda path: faiss.write_index(make(), str(path)))

    with pytest.raises(CorruptFileError):
        FaissIndex.load(tmp_path)


def test_inverted_lists_that_name_another_file_are_refused(tmp_path):
    index = filled("ivf", 120)
    index.save(tmp_path)
    on_disk = faiss.read_index(str(tmp_path / "index-000001.faiss"))
    lists = faiss.OnDiskInvertedLists(on_disk.nlist, on_disk.code_size, str(tmp_path / "elsewhere"))
    lists.merge_from(faiss.downcast_InvertedLists(on_disk.invlists), 0)
    on_disk.replace_invlists(lists, False)
    assert (tmp_path / "elsewhere").exists()
    forge(tmp_path, lambda path: faiss.write_index(on_disk, str(path)))

    with pytest.raises(CorruptFileError):
        FaissIndex.load(tmp_path)


def test_a_pickle_in_place_of_an_index_is_never_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "boom"),)

    filled().save(tmp_path)
    for name in ("index-000001.faiss", "ids-000001.json"):
        (tmp_path / name).write_bytes(pickle.dumps(Bomb()))
    forge(tmp_path, lambda path: path.write_bytes(pickle.dumps(Bomb())))

    with pytest.raises(CorruptFileError):
        FaissIndex.load(tmp_path)
    assert not (tmp_path / "boom").exists()


def test_a_folder_of_something_else_is_refused(tmp_path):
    folders.commit_generation(tmp_path, {"class": "Recipe"}, {})

    with pytest.raises(CorruptFileError, match="holds a Recipe, not a FaissIndex"):
        FaissIndex.load(tmp_path)


def test_while_one_saves_into_a_folder_another_is_refused_at_once(tmp_path, monkeypatch):
    index, other = filled(), filled()
    refused = []

    def write_ids(path, real=index._write_ids):
        with pytest.raises(LockedIndexError, match="being saved by another"):
            other.save(tmp_path)
        refused.append(True)
        real(path)

    monkeypatch.setattr(index, "_write_ids", write_ids)
    index.save(tmp_path)

    assert refused
    assert answers(FaissIndex.load(tmp_path)) == answers(index)


def test_threads_that_save_one_index_take_turns(tmp_path):
    index, failed = filled(), []

    def save():
        try:
            for _ in range(5):
                index.save(tmp_path)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=save) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failed == []
    assert answers(FaissIndex.load(tmp_path)) == answers(index)


def test_faiss_on_a_full_disk_is_a_storage_error_and_the_former_index_stays(tmp_path, monkeypatch):
    index = filled()
    index.save(tmp_path)
    expected = answers(index)
    index.update(["v1"], QUERIES[:1])

    def refuse(*_):
        message = "Error in void faiss::write_index: write error"
        raise RuntimeError(message)

    monkeypatch.setattr(faiss, "write_index", refuse)
    with pytest.raises(StorageError, match="what was there before is unchanged"):
        index.save(tmp_path)
    monkeypatch.undo()

    assert answers(FaissIndex.load(tmp_path)) == expected
    index.save(tmp_path)
    assert answers(FaissIndex.load(tmp_path)) == answers(index)


# -- threads and processes ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["flat", "hnsw"])
def test_eight_threads_search_while_one_adds_updates_and_removes(kind):
    index = filled(kind, 100)
    stop, failed, counts = threading.Event(), [], [0] * 8

    def search(number):
        try:
            while not stop.is_set():
                scores, ids = index.search(QUERIES, 5)
                assert (np.diff(scores) <= 0).all()
                assert all(len(set(row)) == 5 for row in ids)
                # Ids of the first half never change, so their scores must not either.
                for query, row, values in zip(QUERIES, ids, scores, strict=True):
                    for id, score in zip(row, values, strict=True):
                        if id.startswith("v") and int(id[1:]) < 50:
                            v = VECTORS[int(id[1:])]
                            truth = v @ query / np.linalg.norm(v) / np.linalg.norm(query)
                            assert score == pytest.approx(truth, abs=1e-5)
                counts[number] += 1
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=search, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for i in range(60):
        index.add([f"x{i}", f"y{i}"], VECTORS[200 + i : 202 + i])
        index.update([f"v{50 + i % 50}"], VECTORS[300 + i : 301 + i])
        index.remove([f"y{i}"])
    stop.set()
    for thread in threads:
        thread.join(10)

    assert failed == []
    assert min(counts) > 0
    assert len(index) == 160


def test_threads_that_add_to_an_empty_index_agree_on_the_width():
    index, refused = FaissIndex(), []
    start = threading.Barrier(8)

    def add(number):
        start.wait()
        try:
            index.add([number], np.ones((1, 2 + number % 2)))
        except InputError:
            refused.append(number)

    threads = [threading.Thread(target=add, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)

    assert len(index) == len(refused) == 4
    assert {id % 2 for id in index.ids} == {index.dim - 2}


@pytest.mark.parametrize("call", ["add", "search"])
def test_a_width_that_another_thread_decides_meanwhile_holds(call, monkeypatch):
    index = FaissIndex()
    real = index._prepared

    def overtaken(array, what):
        monkeypatch.undo()
        index.add(["first"], np.ones((1, 3)))
        return real(array, what)

    monkeypatch.setattr(index, "_prepared", overtaken)
    with pytest.raises(InputError, match="3 dimensions; received 5"):
        index.add(["second"], np.ones((1, 5))) if call == "add" else index.search(np.ones(5))
    assert index.ids == ["first"]


def in_child(work, seconds=20):
    """Fork, run `work` in the child, and give its exit status; a child that hangs is killed."""
    child = os.fork()
    if child == 0:
        signal.alarm(seconds)
        try:
            os._exit(work())
        except BaseException:
            os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_is_told_and_does_not_hang(tmp_path):
    index = filled("hnsw", 400)
    index.search(QUERIES, 5)
    calls = [
        lambda: index.search(QUERIES, 5),
        lambda: index.add(["x"], VECTORS[:1]),
        lambda: index.update(["v1"], VECTORS[:1]),
        lambda: index.remove(["v1"]),
        lambda: index.save(tmp_path),
    ]

    def child():
        told = 0
        for call in calls:
            try:
                call()
            except ForkedProcessError:
                told += 1
        return told

    assert in_child(child) == len(calls)
    assert len(index.search(QUERIES, 5).ids) == 5


@pytest.mark.parametrize("kind", ["flat", "ivf", "hnsw"])
def test_what_others_put_into_faiss_does_not_matter(kind):
    """In a process of its own, since it cannot be taken out again."""
    script = f"""
import faiss.contrib.torch_utils, numpy, embedkit
vectors = numpy.random.default_rng(0).normal(size=(400, 8)).astype("float32")
index = embedkit.FaissIndex(kind="{kind}")
index.add(range(400), vectors)
index.remove([0])
assert index.search(vectors[1:9], k=3).ids[:, 0].tolist() == list(range(1, 9))
if "{kind}" != "flat":
    index.tune(vectors, k=3, recall=0.9)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
