import errno
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import warnings
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from embedkit import FaissIndex, Retriever
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
from embedkit.index.retriever import Hit
from embedkit.index.store import DocumentStore

WORDS = [
    "river",
    "stone",
    "maple",
    "falcon",
    "ember",
    "copper",
    "willow",
    "harbor",
    "thunder",
    "meadow",
    "saffron",
    "glacier",
]
TEXTS = {f"{word}-{i}": f"{word} number{i}" for i, word in enumerate(WORDS)}


class Encoder:
    """Tests bend it; otherwise it is the hashing encoder."""

    def __init__(self, encoder):
        self._encoder = encoder
        self.fingerprint, self.dim = encoder.fingerprint, encoder.dim
        self.calls = 0
        self.bend = lambda vectors: vectors

    def get_embedding_dimension(self):
        return self.dim

    def encode(self, inputs, **options):
        self.calls += 1
        return self.bend(self._encoder.encode(inputs, **options))


@pytest.fixture
def encoder(hashing_encoder):
    return Encoder(hashing_encoder)


@pytest.fixture(params=["memory", "folder"])
def retriever(request, encoder, tmp_path):
    with Retriever(encoder, folder=None if request.param == "memory" else tmp_path / "index") as made:
        fill(made)
        yield made


@pytest.fixture
def folder(encoder, tmp_path):
    """A closed folder with all texts, saved twice, so that there is a generation before."""
    with Retriever(encoder, folder=tmp_path / "index") as made:
        ids = list(TEXTS)
        made.add(ids[:6], [TEXTS[id] for id in ids[:6]], [{"n": i, "word": WORDS[i]} for i in range(6)])
        made.save()
        made.add(ids[6:], [TEXTS[id] for id in ids[6:]], [{"n": i, "word": WORDS[i]} for i in range(6, 12)])
    return tmp_path / "index"


def fill(retriever):
    retriever.add(list(TEXTS), list(TEXTS.values()), [{"n": i, "word": word} for i, word in enumerate(WORDS)])


def load_quietly(folder, encoder):
    """Load, where any warning is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return Retriever.load(folder, encoder)


def state(retriever):
    """All that can be asked of it."""
    hits = retriever.search([*TEXTS.values(), "number3"], k=4)
    where = [retriever.search("number3", k=20, where=one) for one in ({"n": {"gte": 4}}, {"word": ["river", "ember"]})]
    return retriever.find(), hits, where, len(retriever), retriever.notes()


def has_all(retriever):
    assert len(retriever) == len(retriever.index) == len(TEXTS)
    for i, (id, text) in enumerate(TEXTS.items()):
        [hit] = retriever.search(text, k=1)
        assert (hit.id, hit.document, hit.metadata) == (id, text, {"n": i, "word": WORDS[i]})


# -- adding, updating, removing ----------------------------------------------------------------------


def test_every_document_is_found_by_its_own_words(retriever):
    has_all(retriever)


def test_a_batch_gives_a_list_of_hits_for_each_query(retriever):
    batch = retriever.search(list(TEXTS.values()), k=3)

    assert [len(hits) for hits in batch] == [3] * 12
    assert [hits[0].id for hits in batch] == list(TEXTS)
    assert isinstance(batch[0][0], Hit)
    assert batch[2] == retriever.search(TEXTS["maple-2"], k=3)
    assert retriever.search([], k=3) == []


def test_nothing_is_found_in_an_empty_one(encoder, tmp_path):
    for place in (None, tmp_path / "index"):
        with Retriever(encoder, folder=place) as retriever:
            assert retriever.search("river") == []
            assert retriever.search(["river", "stone"]) == [[], []]
            assert retriever.search("river", where={"n": 1}) == []
            assert retriever.find() == []
            assert len(retriever) == 0
            fill(retriever)
            retriever.remove(list(TEXTS))
            assert retriever.search(["river"]) == [[]]


@pytest.mark.parametrize("k", [0, -1, True, 1.5, "3", None])
@pytest.mark.parametrize("emptied", [False, True])
def test_k_must_be_positive_also_where_nothing_is_there(retriever, k, emptied):
    if emptied:
        retriever.remove(list(TEXTS))
    with pytest.raises(InputError, match="k must be a positive integer"):
        retriever.search("river", k)


def test_more_answers_than_documents_are_all_documents(retriever):
    assert {hit.id for hit in retriever.search("river", k=1000)} == set(TEXTS)


def test_equal_documents_come_in_the_order_they_were_added(retriever):
    retriever.add(range(50), ["twin"] * 50)

    assert [hit.id for hit in retriever.search("twin", k=7)] == list(range(7))


def test_one_and_the_string_one_are_two_documents(retriever):
    retriever.add([1, "1"], ["integer", "string"])

    assert retriever.search("integer", k=1)[0].id == 1
    assert retriever.search("string", k=1)[0].id == "1"
    retriever.remove(["1"])
    assert [found.document for found in retriever.get([1])] == ["integer"]
    assert "1" not in retriever


@pytest.mark.parametrize(
    "id", ["../../etc/x", "x" * 10_000, "a\0b", "🎉", "'; DROP TABLE documents; --", -5, 2**63 - 1]
)
def test_strange_ids_and_texts_are_kept_as_they_are(retriever, id, tmp_path):
    text = "zebra \0 \u202e 🎉 'quoted\" \\ \n end"
    retriever.add([id], [text], [{"t": "'\"\\\n🎉"}])

    [hit] = retriever.search("zebra", k=1)
    assert (hit.id, hit.document, hit.metadata) == (id, text, {"t": "'\"\\\n🎉"})
    retriever.save(tmp_path / "copy")
    with Retriever.load(tmp_path / "copy", retriever.encoder) as copy:
        assert copy.search("zebra", k=1) == [hit]
        copy.remove([id])
        assert id not in copy


def test_an_update_replaces_the_text_and_keeps_metadata_unless_told(retriever):
    retriever.update(["river-0"], ["zebra number0"])
    retriever.update(["stone-1"], ["walrus"], [{"new": True}])

    [hit] = retriever.search("zebra", k=1)
    assert (hit.id, hit.document, hit.metadata) == ("river-0", "zebra number0", {"n": 0, "word": "river"})
    assert retriever.search("walrus", k=1)[0].metadata == {"new": True}
    assert len(retriever) == 12
    assert "river" not in retriever.search("river", k=1)[0].document


def test_a_removed_document_can_come_back_with_another_text(retriever):
    retriever.remove(["river-0"])
    assert all(hit.id != "river-0" for hit in retriever.search("river number0", k=20))
    retriever.add(["river-0"], ["zebra"])

    assert retriever.search("zebra", k=1)[0].id == "river-0"


def test_adding_or_removing_nothing_is_fine(retriever, encoder):
    calls = encoder.calls
    retriever.add([], [])
    retriever.update([], [])
    retriever.remove([])

    assert encoder.calls == calls
    has_all(retriever)


def test_generators_are_read_once(retriever):
    retriever.add((f"g{i}" for i in range(3)), (f"generated{i}" for i in range(3)), ({"g": i} for i in range(3)))

    assert retriever.search("generated1", k=1)[0].metadata == {"g": 1}


BAD_CALLS = {
    "known id": lambda r: r.add(["new", "river-0"], ["a", "b"]),
    "id twice": lambda r: r.add(["new", "new"], ["a", "b"]),
    "empty id": lambda r: r.add(["new", ""], ["a", "b"]),
    "boolean id": lambda r: r.add([True], ["a"]),
    "surrogate id": lambda r: r.add(["\ud800"], ["a"]),
    "id too large": lambda r: r.add([2**63], ["a"]),
    "one string as ids": lambda r: r.add("ab", ["a", "b"]),
    "set of ids": lambda r: r.add({"x", "y"}, ["a", "b"]),
    "one string as documents": lambda r: r.add(["a", "b"], "ab"),
    "no documents": lambda r: r.add(["a"], None),
    "fewer documents": lambda r: r.add(["a", "b"], ["a"]),
    "more documents": lambda r: r.add(["a"], ["a", "b"]),
    "surrogate in a document": lambda r: r.add(["a", "b"], ["fine", "\ud800"]),
    "fewer metadata": lambda r: r.add(["a", "b"], ["a", "b"], [{}]),
    "more metadata": lambda r: r.add(["a"], ["a"], [{}, {}]),
    "metadata no list": lambda r: r.add(["a"], ["a"], {"n": 1}),
    "metadata no mapping": lambda r: r.add(["a"], ["a"], ["n"]),
    "metadata of objects": lambda r: r.add(["a", "b"], ["a", "b"], [{}, {"x": object()}]),
    "metadata NaN": lambda r: r.add(["a", "b"], ["a", "b"], [{}, {"x": float("nan")}]),
    "metadata with a number as key": lambda r: r.add(["a"], ["a"], [{1: 2}]),
    "metadata with a NUL": lambda r: r.add(["a"], ["a"], [{"x": "a\0"}]),
    "update unknown": lambda r: r.update(["river-0", "new"], ["a", "b"]),
    "update twice": lambda r: r.update(["river-0", "river-0"], ["a", "b"]),
    "update with too few": lambda r: r.update(["river-0", "stone-1"], ["a"]),
    "update metadata NaN": lambda r: r.update(["river-0"], ["a"], [{"x": float("inf")}]),
    "update surrogate": lambda r: r.update(["river-0"], ["\udfff"]),
    "remove unknown": lambda r: r.remove(["river-0", "new"]),
    "remove twice": lambda r: r.remove(["river-0", "river-0"]),
    "get unknown": lambda r: r.get(["river-0", "new"]),
    "where is no mapping": lambda r: r.search("a", where=["n"]),
    "where with an injection": lambda r: r.search("a", where={'n") OR 1=1 --': 1}),
    "where with an unknown operator": lambda r: r.find({"n": {"regex": "."}}),
    "notes that are no JSON": lambda r: r.write_notes({"a": object()}),
}


@pytest.mark.parametrize("call", BAD_CALLS.values(), ids=BAD_CALLS)
def test_a_bad_call_is_an_input_error_encodes_no_document_and_changes_nothing(retriever, encoder, call):
    before = state(retriever)
    encoder.encode_document = lambda *_: pytest.fail("encoded for nothing")

    with pytest.raises(InputError):
        call(retriever)

    assert state(retriever) == before


BENT = {
    "raises": lambda vectors: 1 / 0,
    "NaN": lambda vectors: vectors * np.nan,
    "infinite": lambda vectors: vectors * np.inf,
    "zero": lambda vectors: vectors * 0,
    "one zero row": lambda vectors: vectors * np.array([[1.0], [0.0]]),
    "wider": lambda vectors: np.concatenate([vectors, vectors], axis=1),
    "narrower": lambda vectors: vectors[:, 1:],
    "too few rows": lambda vectors: vectors[:-1],
    "too many rows": lambda vectors: np.concatenate([vectors, vectors]),
    "one vector": lambda vectors: vectors[0],
    "no numbers": lambda vectors: vectors.astype(str),
    "nothing": lambda vectors: None,
}


@pytest.mark.parametrize("bend", BENT.values(), ids=BENT)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_an_encoder_that_fails_leaves_everything_as_it_was(retriever, encoder, bend, tmp_path):
    before = state(retriever)
    encoder.bend = bend
    for call in (
        lambda: retriever.add(["a", "b"], ["new one", "new two"]),
        lambda: retriever.update(["river-0", "stone-1"], ["new one", "new two"]),
    ):
        with pytest.raises((InputError, ZeroDivisionError)):
            call()
    encoder.bend = lambda vectors: vectors

    assert state(retriever) == before
    retriever.save(tmp_path / "copy")
    with Retriever.load(tmp_path / "copy", encoder) as copy:
        assert state(copy) == before
    retriever.add(["a", "b"], ["new one", "new two"])
    assert len(retriever) == 14


@pytest.mark.parametrize("bend", ["wider", "narrower"])
def test_the_first_vectors_must_have_the_width_that_the_encoder_names(encoder, bend):
    encoder.bend = BENT[bend]
    retriever = Retriever(encoder)

    with pytest.raises(InputError, match="64 dimensions"):
        retriever.add(["a", "b"], ["a", "b"])
    assert len(retriever) == 0


@pytest.mark.parametrize("value", [np.nan, 0.0])
def test_a_query_without_a_direction_is_an_input_error(retriever, encoder, value):
    encoder.bend = lambda vectors: np.full_like(vectors, value)

    with pytest.raises(InputError, match="queries must"):
        retriever.search("river")


def test_an_index_that_is_not_empty_is_refused(encoder):
    index = FaissIndex()
    index.add(["a"], np.ones((1, 64)))

    with pytest.raises(InputError, match="index must be empty"):
        Retriever(encoder, index)


def test_the_index_that_is_given_says_how_to_search(encoder, tmp_path):
    with Retriever(encoder, FaissIndex(metric="l2", kind="hnsw"), folder=tmp_path / "index") as retriever:
        fill(retriever)
        [hit] = retriever.search("river number0", k=1)
    assert hit.score == pytest.approx(0, abs=1e-3)
    with Retriever.load(tmp_path / "index", encoder) as retriever:
        assert (retriever.index.metric, retriever.index.kind) == ("l2", "hnsw")
        assert retriever.search("river number0", k=1) == [hit]


def test_without_an_encoder_it_lists_and_removes_only(folder):
    with Retriever.load(folder) as retriever:
        assert len(retriever.find({"n": {"lt": 3}})) == 3
        retriever.remove(["river-0"])
        for call in (lambda: retriever.search("river"), lambda: retriever.add(["a"], ["a"])):
            with pytest.raises(InputError, match=r"without an encoder: pass one to Retriever\.load"):
                call()
        assert len(retriever) == len(retriever.index) == 11


def test_encoders_with_two_roles_are_asked_for_each(encoder):
    roles = []
    for role in ("encode_query", "encode_document"):

        def call(inputs, role=role, **options):
            roles.append(role)
            return encoder.encode(inputs)

        setattr(encoder, role, call)
    retriever = Retriever(encoder)
    retriever.add(["a"], ["a"])
    retriever.search("a")

    assert roles == ["encode_document", "encode_query"]


# -- conditions --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({}, range(12)),
        ({"n": 3}, [3]),
        ({"n": 3.0}, [3]),
        ({"n": "3"}, []),
        ({"n": {"gte": 3, "lt": 6}}, [3, 4, 5]),
        ({"n": [1, 2, "x"], "word": {"ne": "stone"}}, [2]),
        ({"word": {"gt": "s"}}, [1, 6, 8, 10]),
        ({"missing": 1}, []),
        ({"missing": {"exists": False}}, range(12)),
        ({"missing": {"ne": 1}}, range(12)),
        ({"word": {"gt": 5}}, []),
        ({"n": []}, []),
    ],
)
def test_conditions_choose_among_documents(retriever, where, expected):
    assert [found.metadata["n"] for found in retriever.find(where)] == list(expected)
    assert sorted(hit.metadata["n"] for hit in retriever.search("river", k=20, where=where)) == list(expected)
    batch = retriever.search(["river", "stone"], k=20, where=where)
    assert [sorted(hit.metadata["n"] for hit in hits) for hits in batch] == [list(expected)] * 2


# -- closing, saving, copying ------------------------------------------------------------------------


def test_a_closed_one_says_so(encoder, tmp_path):
    for place in (None, tmp_path / "index"):
        retriever = Retriever(encoder, folder=place)
        fill(retriever)
        retriever.close()
        retriever.close()
        for call in (
            lambda r: r.search("river"),
            lambda r: r.add(["a"], ["a"]),
            lambda r: r.update(["river-0"], ["a"]),
            lambda r: r.remove(["river-0"]),
            lambda r: r.get(["river-0"]),
            lambda r: r.find(),
            lambda r: r.save(tmp_path / "copy"),
            len,
        ):
            with pytest.raises(EmbedkitError, match="is closed: open the index again"):
                call(retriever)
    assert not (tmp_path / "copy").exists()


def test_leaving_the_block_saves_and_frees_even_after_an_error(encoder, tmp_path):
    with pytest.raises(ZeroDivisionError), Retriever(encoder, folder=tmp_path / "index") as retriever:
        fill(retriever)
        1 / 0  # noqa: B018

    with load_quietly(tmp_path / "index", encoder) as again:
        has_all(again)
        assert FaissIndex.load(tmp_path / "index").ids == again.index.ids


def test_one_in_memory_is_saved_to_a_folder_and_goes_on_there(encoder, tmp_path):
    memory = Retriever(encoder)
    fill(memory)
    memory.remove(["river-0"])
    memory.write_notes({"a": 1})
    memory.save(tmp_path / "deep" / "copy")

    with Retriever.load(tmp_path / "deep" / "copy", encoder) as copy:
        assert state(copy) == state(memory)
        copy.add(["x"], ["zebra"])
        assert copy.search("zebra", k=1)[0].id == "x"
    assert "x" not in memory
    with pytest.raises(InputError, match="name a folder to save it to"):
        memory.save()


def test_a_copy_lives_its_own_life(folder, encoder, tmp_path):
    with Retriever.load(folder, encoder) as retriever:
        retriever.save(tmp_path / "copy")
        retriever.remove(["river-0"])
        with Retriever.load(tmp_path / "copy", encoder) as copy:
            has_all(copy)


@pytest.mark.parametrize("inside", ["file", "index", "is a file"])
def test_a_folder_in_use_is_not_saved_over(retriever, encoder, inside, tmp_path):
    target = tmp_path / "target"
    if inside == "is a file":
        target.write_text("mine")
    elif inside == "file":
        target.mkdir()
        (target / "mine").write_text("mine")
    else:
        Retriever(encoder, folder=target).close()
    before = target.read_text() if target.is_file() else sorted(path.name for path in target.iterdir())

    with pytest.raises(InputError, match="folder must be new or empty"):
        retriever.save(target)
    assert before == (target.read_text() if target.is_file() else sorted(path.name for path in target.iterdir()))


def test_an_empty_folder_and_a_link_to_one_are_saved_into(retriever, encoder, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "link").symlink_to("other")
    for name in ("empty", "link"):
        retriever.save(tmp_path / name)
        with Retriever.load(tmp_path / name, encoder) as copy:
            has_all(copy)
    assert (tmp_path / "link").is_symlink()


def test_its_own_folder_by_another_name_is_its_own_folder(folder, encoder, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    with Retriever.load(folder, encoder) as retriever:
        retriever.add(["x"], ["zebra"])
        retriever.save(tmp_path / "link")
        retriever.save(folder / "." / ".." / "index")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index", "link"]


def test_a_relative_folder_stays_where_it_was_when_the_working_folder_changes(encoder, tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    with Retriever(encoder, folder="index") as retriever:
        fill(retriever)
        monkeypatch.chdir(tmp_path / "b")
        retriever.save()
    assert list((tmp_path / "b").iterdir()) == []
    monkeypatch.chdir(tmp_path / "a")
    retriever = Retriever.load("index", encoder)
    monkeypatch.chdir(tmp_path / "b")
    retriever.remove(["river-0"])
    retriever.close()
    assert list((tmp_path / "b").iterdir()) == []


def test_a_folder_with_an_index_is_opened_with_load(folder, encoder):
    with pytest.raises(InputError, match=r"holds an index already: open it with Retriever\.load"):
        Retriever(encoder, folder=folder)
    with Retriever.load(folder, encoder) as retriever:
        has_all(retriever)


def test_a_folder_without_an_index_cannot_be_loaded(encoder, tmp_path):
    for place in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(InputError, match="holds no index"):
            Retriever.load(place, encoder)
    assert list(tmp_path.iterdir()) == []


def test_the_log_of_a_deleted_store_is_not_replayed_into_a_new_one(encoder, tmp_path):
    folder = tmp_path / "index"
    with closing(Retriever(encoder, folder=folder)) as retriever:
        fill(retriever)
        log = (folder / "documents.sqlite-wal").read_bytes()
        assert log
    (folder / "documents.sqlite").unlink()
    (folder / "documents.sqlite-wal").write_bytes(log)

    with Retriever(encoder, folder=folder) as retriever:
        assert len(retriever) == 0
    with load_quietly(folder, encoder) as retriever:
        assert len(retriever) == 0


def test_loading_and_closing_changes_no_file(folder, encoder):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for read_only in (False, True):
        with Retriever.load(folder, encoder, read_only=read_only) as retriever:
            has_all(retriever)
    after = {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.endswith(("-shm", "-wal"))}
    assert after == before


# -- damage ------------------------------------------------------------------------------------------


def damaged(folder, name, cut):
    content = (folder / name).read_bytes()
    if cut is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content[: cut if cut in (0, -1) else len(content) // 2])


INDEX_FILES = ("manifest.json", "index-000002.faiss", "ids-000002.json")


@pytest.mark.parametrize("cut", [0, 0.5, -1, None])
@pytest.mark.parametrize("name", INDEX_FILES)
def test_a_damaged_index_gives_way_to_the_one_before_and_catches_up(folder, encoder, name, cut):
    damaged(folder, name, cut)

    with pytest.warns(UserWarning, match="the generation before the current one, which is damaged"):
        retriever = Retriever.load(folder, encoder)
    has_all(retriever)
    retriever.close()

    with load_quietly(folder, encoder) as again:
        has_all(again)


def test_a_damaged_index_is_mended_also_when_the_one_before_lacks_nothing(folder, encoder, tmp_path):
    with Retriever.load(folder, encoder) as retriever:
        retriever.add(["x"], ["zebra"])
        retriever.save()
        retriever.remove(["x"])
        copy = shutil.copytree(folder, tmp_path / "as a kill leaves it")
    damaged(copy, "manifest.json", 0.5)

    with (
        pytest.warns(UserWarning, match="the generation before the current one"),
        Retriever.load(copy, encoder) as retriever,
    ):
        has_all(retriever)
    with load_quietly(copy, encoder) as retriever:
        has_all(retriever)


@pytest.mark.parametrize("cut", [0, 0.5, -1])
@pytest.mark.parametrize("name", INDEX_FILES)
def test_an_index_damaged_twice_is_rebuilt_with_a_warning_and_put_aside(folder, encoder, name, cut):
    damaged(folder, "manifest.previous.json", 0)
    damaged(folder, name, cut)

    with pytest.warns(UserWarning, match="rebuilding the index from its documents: .*" + name.replace(".", r"\.")):
        retriever = Retriever.load(folder, encoder)
    has_all(retriever)
    assert (folder / "manifest.json.corrupt").exists()
    assert not (folder / "manifest.json").exists()
    retriever.close()

    with load_quietly(folder, encoder) as again:
        has_all(again)


def test_a_reader_rebuilds_in_memory_and_touches_nothing(folder, encoder):
    damaged(folder, "manifest.previous.json", 0)
    damaged(folder, "manifest.json", 0.5)
    before = sorted(path.name for path in folder.iterdir())

    with pytest.warns(UserWarning, match="rebuilding"):
        retriever = Retriever.load(folder, encoder, read_only=True)
    has_all(retriever)
    retriever.close()
    assert [
        name for name in sorted(path.name for path in folder.iterdir()) if "-shm" not in name and "-wal" not in name
    ] == before


def test_an_index_without_its_files_is_rebuilt_without_a_word(folder, encoder):
    for path in [*folder.glob("manifest*"), *folder.glob("index-*"), *folder.glob("ids-*")]:
        path.unlink()

    with load_quietly(folder, encoder) as retriever:
        has_all(retriever)
    assert len(FaissIndex.load(folder)) == 12


def test_the_index_of_other_documents_is_not_taken_for_ones_own(folder, encoder, tmp_path):
    with Retriever(encoder, folder=tmp_path / "other") as other:
        other.add(list(TEXTS), list(TEXTS.values())[::-1])
    for path in [*folder.glob("manifest*"), *folder.glob("index-*"), *folder.glob("ids-*")]:
        path.unlink()
    for path in [*(tmp_path / "other").glob("manifest.json"), *(tmp_path / "other").glob("i*-*")]:
        shutil.copy(path, folder)

    with pytest.warns(UserWarning, match="written for other documents"), Retriever.load(folder, encoder) as retriever:
        has_all(retriever)


def test_a_plain_index_saved_into_the_folder_is_not_taken_for_ones_own(folder, encoder):
    index = FaissIndex()
    index.add(range(1, 13), np.random.default_rng(0).normal(size=(12, 64)))
    index.save(folder)

    with pytest.warns(UserWarning, match="written for other documents"), Retriever.load(folder, encoder) as retriever:
        has_all(retriever)


@pytest.mark.parametrize("cut", [0, 0.5])
def test_a_truncated_store_is_told_and_frees_the_lock(folder, encoder, cut):
    whole = (folder / "documents.sqlite").read_bytes()
    damaged(folder, "documents.sqlite", cut)

    for read_only in (False, True):
        with pytest.raises(
            CorruptFileError, match=r"documents\.sqlite is damaged.*: restore it or index the sources again"
        ):
            Retriever.load(folder, encoder, read_only=read_only)
    for path in folder.glob("documents.sqlite-*"):
        path.unlink()
    (folder / "documents.sqlite").write_bytes(whole)
    with Retriever.load(folder, encoder) as retriever:
        has_all(retriever)


def alter(folder, statement):
    with closing(sqlite3.connect(folder / "documents.sqlite")) as connection, connection:
        connection.execute(statement)


def test_a_damaged_document_is_told_at_once_and_can_be_replaced(folder, encoder):
    alter(folder, "UPDATE documents SET document = 'river number9' WHERE id = 'river-0'")

    with pytest.warns(UserWarning, match="1 documents in .* are damaged, such as 'river-0'"):
        retriever = Retriever.load(folder, encoder)
    with pytest.raises(CorruptFileError, match=r"'river-0' .* differs from its checksum"):
        retriever.search("river number0", k=1)
    assert retriever.search("stone", k=1)[0].id == "stone-1"
    retriever.remove(["river-0"])
    retriever.add(["river-0"], [TEXTS["river-0"]], [{"n": 0, "word": "river"}])
    has_all(retriever)
    retriever.close()


def test_damaged_vectors_are_told_where_they_are_needed(folder, encoder):
    alter(folder, "UPDATE vectors SET vector = zeroblob(256)")
    with Retriever.load(folder, encoder) as retriever:
        has_all(retriever)  # the saved index is whole
    for path in folder.glob("manifest*"):
        path.unlink()

    with pytest.raises(CorruptFileError, match="differ from their checksums: make the index again"):
        Retriever.load(folder, encoder)


def outcome(folder, encoder, expected):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            with Retriever.load(folder, encoder, read_only=True) as retriever:
                found = state(retriever)
        except EmbedkitError:
            return "error"
    if found == expected:
        return "same"
    return "warning" if told else "DIFFERENT"


@pytest.mark.parametrize("count", [12, pytest.param(130, marks=pytest.mark.slow)])
def test_a_flipped_bit_in_any_file_is_told_or_harmless(folder, encoder, count, tmp_path):
    with Retriever.load(folder, encoder, read_only=True) as retriever:
        expected = state(retriever)
    for path in [*folder.glob("*-shm"), *folder.glob("*-wal")]:
        path.unlink()
    random, found = np.random.default_rng(count), {}
    names = sorted(path.name for path in folder.iterdir() if path.stat().st_size)
    assert len(names) == 7
    for name in names:
        whole = (folder / name).read_bytes()
        for place in random.integers(0, len(whole), count * (3 if "sqlite" in name else 1)):
            copy = shutil.copytree(folder, tmp_path / "copy")
            content = bytearray(whole)
            content[place] ^= 1 << int(random.integers(8))
            (copy / name).write_bytes(content)
            found[name, int(place)] = outcome(copy, encoder, expected)
            shutil.rmtree(copy)

    assert "DIFFERENT" not in found.values(), [where for where, result in found.items() if result == "DIFFERENT"]
    assert "error" in found.values()
    assert "same" in found.values()


def test_a_newer_format_of_the_index_files_is_refused_and_kept(folder, encoder, monkeypatch):
    index = FaissIndex.load(folder)
    monkeypatch.setattr(folders, "FORMAT_VERSION", 2)
    index.save(folder, info=index.info)
    monkeypatch.undo()
    before = sorted(path.name for path in folder.iterdir())

    with pytest.raises(IncompatibleIndexError, match="update embedkit"):
        Retriever.load(folder, encoder)
    assert [name for name in sorted(path.name for path in folder.iterdir()) if "sqlite-" not in name] == before


def test_a_newer_format_of_the_store_is_refused(encoder, tmp_path, monkeypatch):
    monkeypatch.setattr("embedkit.index.retriever.FORMAT_VERSION", 2)
    Retriever(encoder, folder=tmp_path / "index").close()
    monkeypatch.undo()

    with pytest.raises(IncompatibleIndexError, match="has format 2; this embedkit reads up to 1: update it"):
        Retriever.load(tmp_path / "index", encoder)


def test_the_index_of_another_encoder_is_refused(folder, encoder):
    for change in ({"fingerprint": "another"}, {"dim": 32}, {"dim": 32, "fingerprint": None}):
        other = Encoder(encoder._encoder)
        vars(other).update(change)
        with pytest.raises(IncompatibleIndexError, match="was built by another encoder"):
            Retriever.load(folder, other)
    with Retriever.load(folder, encoder) as retriever:
        has_all(retriever)


def test_an_encoder_without_a_fingerprint_is_believed(folder, encoder):
    encoder.fingerprint = None
    with Retriever.load(folder, encoder) as retriever:
        has_all(retriever)


def test_a_moved_folder_and_a_linked_one_open(folder, encoder, tmp_path):
    folder.rename(tmp_path / "moved")
    (tmp_path / "link").symlink_to("moved")
    for name in ("moved", "link"):
        with Retriever.load(tmp_path / name, encoder) as retriever:
            has_all(retriever)
            retriever.add(["x"], ["zebra"])
            retriever.remove(["x"])


# -- a disk that refuses -----------------------------------------------------------------------------


def test_a_full_disk_keeps_nothing_of_the_call_and_all_from_before(folder, encoder):
    with Retriever.load(folder, encoder) as retriever:
        before = state(retriever)
        retriever._store._connection.execute(f"PRAGMA max_page_count = {retriever._store._pragma('page_count')}")
        ids = [f"new{i}" for i in range(300)]
        for call in (
            lambda: retriever.add(ids, ["zebra " * 50] * 300),
            lambda: retriever.update(["river-0"], ["zebra " * 100_000]),
            lambda: retriever.write_notes({"a": "x" * 10**6}),
        ):
            with pytest.raises(StorageError, match="the disk is full"):
                call()
        assert state(retriever) == before
        retriever._store._connection.execute("PRAGMA max_page_count = 1000000")
        retriever.add(ids, ["zebra"] * 300)
        retriever.remove(ids)
        assert state(retriever) == before


def test_a_full_disk_while_closing_is_told_and_still_lets_go(folder, encoder, monkeypatch):
    retriever = Retriever.load(folder, encoder)
    retriever.add(["x"], ["zebra"])

    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(folders, "_fsync_file", refuse)
    with pytest.raises(StorageError, match="the disk is full: free space and call again"):
        retriever.close()
    monkeypatch.undo()

    with Retriever.load(folder, encoder) as again:
        assert again.search("zebra", k=1)[0].id == "x"
        again.remove(["x"])
        has_all(again)


def test_a_full_disk_while_copying_leaves_no_folder(folder, encoder, tmp_path, monkeypatch):
    with Retriever.load(folder, encoder) as retriever:

        def refuse(*_):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(folders, "_fsync_tree", refuse)
        with pytest.raises(StorageError, match="the disk is full"):
            retriever.save(tmp_path / "copy")
        monkeypatch.undo()
        assert sorted(path.name for path in tmp_path.iterdir()) == ["index"]
        retriever.save(tmp_path / "copy")


def test_a_creation_that_fails_frees_the_folder(encoder, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(folders, "_fsync_file", refuse)
    with pytest.raises(StorageError, match="the disk is full"):
        Retriever(encoder, folder=tmp_path / "index")
    monkeypatch.undo()

    with Retriever(encoder, folder=tmp_path / "index") as retriever:
        fill(retriever)
        has_all(retriever)


def test_a_file_in_the_place_of_the_folder_is_a_storage_error(encoder, tmp_path):
    (tmp_path / "file").write_text("mine")

    for place in (tmp_path / "file", tmp_path / "file" / "index"):
        with pytest.raises(StorageError, match="cannot make an index"):
            Retriever(encoder, folder=place)
    assert (tmp_path / "file").read_text() == "mine"


# -- several at once ---------------------------------------------------------------------------------


def test_a_second_writer_is_refused_at_once_and_a_reader_sees_what_is_new(folder, encoder):
    with Retriever.load(folder, encoder) as writer:
        with pytest.raises(LockedIndexError, match=r"is being written by another process: .* read_only=True"):
            Retriever.load(folder, encoder)
        with pytest.raises(LockedIndexError):
            Retriever(encoder, folder=folder)
        with Retriever.load(folder, encoder, read_only=True) as reader:
            writer.add(["x"], ["zebra"])
            assert reader.search("zebra", k=1)[0].id == "x"
            writer.update(["x"], ["walrus"])
            assert reader.search("walrus", k=1)[0].document == "walrus"
            writer.remove(["x"])
            assert all(hit.id != "x" for hit in reader.search("walrus", k=20))
            writer.save()
            has_all(reader)
            for call in (
                lambda: reader.add(["y"], ["y"]),
                lambda: reader.update(["river-0"], ["y"]),
                lambda: reader.remove(["river-0"]),
                lambda: reader.write_notes({"a": 1}),
                reader.save,
            ):
                with pytest.raises(EmbedkitError, match="was opened read-only"):
                    call()
    Retriever.load(folder, encoder).close()


def test_a_reader_that_fails_to_catch_up_tries_again(folder, encoder, monkeypatch):
    with Retriever.load(folder, encoder) as writer, Retriever.load(folder, encoder, read_only=True) as reader:
        writer.add(["x"], ["zebra"])
        monkeypatch.setattr(DocumentStore, "vectors", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            reader.search("zebra")
        monkeypatch.undo()
        assert reader.search("zebra", k=1)[0].id == "x"


OTHER = """
import sys, time, warnings
warnings.simplefilter("error")
sys.path.insert(0, sys.argv[1])
from conftest import HashingEncoder
from embedkit import Retriever
from embedkit.errors import LockedIndexError
assert "torch" not in sys.modules
folder, todo = sys.argv[2:4]
if todo == "write":
    retriever = Retriever.load(folder, HashingEncoder())
    retriever.add(["other"], ["walrus"])
    print("written", flush=True)
    time.sleep(60)
if todo == "try":
    start = time.monotonic()
    try:
        Retriever.load(folder, HashingEncoder())
    except LockedIndexError:
        print("locked" if time.monotonic() - start < 2 else "slow", flush=True)
"""


def other(folder, todo):
    tests = str(Path(__file__).parents[1])
    return subprocess.Popen([sys.executable, "-c", OTHER, tests, str(folder), todo], stdout=subprocess.PIPE, text=True)


def test_the_lock_holds_between_processes_and_a_kill_frees_it(folder, encoder):
    writer = other(folder, "write")
    assert writer.stdout.readline() == "written\n"
    with pytest.raises(LockedIndexError):
        Retriever.load(folder, encoder)
    with Retriever.load(folder, encoder, read_only=True) as reader:
        assert reader.search("walrus", k=1)[0].id == "other"
    writer.send_signal(signal.SIGKILL)
    writer.wait()

    with Retriever.load(folder, encoder) as retriever:
        assert retriever.search("walrus", k=1)[0].id == "other"
        late = other(folder, "try")
        assert late.communicate(timeout=30)[0] == "locked\n"
        retriever.remove(["other"])
        has_all(retriever)


def test_eight_threads_search_while_one_writes(retriever):
    stop, failed, counts = threading.Event(), [], [0] * 8

    def search(number):
        try:
            while not stop.is_set():
                for id, text in list(TEXTS.items())[:4]:
                    [hit] = retriever.search(text, k=1)
                    assert (hit.id, hit.document) == (id, text)
                assert len(retriever.search("river", k=3, where={"n": {"lt": 4}})) == 3
                counts[number] += 1
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=search, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for i in range(15):
        retriever.add([i], [f"zebra{i}"])
        retriever.update(["glacier-11"], [f"walrus{i}"])
        retriever.remove([i])
    stop.set()
    for thread in threads:
        thread.join(20)

    assert failed == []
    assert min(counts) > 0
    assert retriever.search("walrus14", k=1)[0].id == "glacier-11"
    assert len(retriever) == len(retriever.index) == 12


def test_threads_that_add_the_same_id_leave_one_document(retriever):
    refused, start = [], threading.Barrier(8)

    def add(number):
        start.wait()
        try:
            retriever.add(["same"], [f"zebra number{number}"])
        except InputError:
            refused.append(number)

    threads = [threading.Thread(target=add, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert len(refused) == 7
    assert len(retriever.search("zebra", k=20)) == len(retriever) == len(retriever.index) == 13


def test_what_the_index_missed_is_caught_up_before_the_next_search(retriever, monkeypatch):
    def broken(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(retriever.index, "add", broken)
    with pytest.raises(KeyboardInterrupt):
        retriever.add(["x"], ["zebra"])
    monkeypatch.undo()

    assert ("x" in retriever) == (retriever.search("zebra", k=1)[0].id == "x")
    assert len(retriever.index) == len(retriever)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_is_told_and_neither_hangs_nor_frees_the_lock(folder, encoder):
    with Retriever.load(folder, encoder) as retriever:
        has_all(retriever)
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            told = 0
            for call in (
                lambda: retriever.search("river"),
                lambda: retriever.add(["x"], ["x"]),
                lambda: retriever.update(["river-0"], ["x"]),
                lambda: retriever.remove(["river-0"]),
                lambda: retriever.get(["river-0"]),
                retriever.save,
                lambda: retriever.save(folder.parent / "copy"),
            ):
                try:
                    call()
                except ForkedProcessError:
                    told += 1
            retriever.close()
            os._exit(told)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        with pytest.raises(LockedIndexError):
            Retriever.load(folder, encoder)
        retriever.add(["x"], ["zebra"])
        retriever.remove(["x"])
        has_all(retriever)


def test_optimised_python_gives_the_same_errors():
    script = """
import sys
sys.path.insert(0, sys.argv[1])
from conftest import HashingEncoder
from embedkit import Retriever
from embedkit.errors import InputError
assert False  # -O removes this
retriever = Retriever(HashingEncoder())
retriever.add(["a"], ["river"])
for call in (
    lambda: retriever.add(["a"], ["stone"]),
    lambda: retriever.add(["b"], ["stone"], [{"x": float("nan")}]),
    lambda: retriever.search("river", 0),
    lambda: retriever.search("river", where={'"': 1}),
    lambda: retriever.remove(["b"]),
):
    try:
        call()
    except InputError:
        print("refused")
"""
    arguments = [sys.executable, "-O", "-c", script, str(Path(__file__).parents[1])]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=60)

    assert (done.returncode, done.stdout.split()) == (0, ["refused"] * 5), done.stderr
