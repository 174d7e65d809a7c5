import json
import os
import sqlite3
import threading
import unicodedata
from contextlib import closing, suppress

import numpy as np
import pytest

from embedkit.errors import (
    CorruptFileError,
    EmbedkitError,
    ForkedProcessError,
    InputError,
    LockedIndexError,
    StorageError,
)
from embedkit.index.store import DocumentStore, as_json

DIM = 4


def vectors(count):
    return np.arange(count * DIM, dtype=np.float32).reshape(count, DIM)


def put(store, ids, *, text="text of {}"):
    return store.add(ids, [text.format(id) for id in ids], [{"n": i} for i in range(len(ids))], vectors(len(ids)))


@pytest.fixture(params=["memory", "disk"])
def store(request, tmp_path):
    with closing(DocumentStore(None if request.param == "memory" else tmp_path / "d.sqlite", create=True)) as made:
        yield made


@pytest.fixture
def path(tmp_path):
    """A closed store of 300 documents."""
    with closing(DocumentStore(tmp_path / "d.sqlite", create=True)) as store:
        store.write_settings({"dim": DIM})
        store.write_notes({"file:a": {"documents": 3}})
        put(store, list(range(300)), text="some longer text of document {}, so that pages are filled")
    return tmp_path / "d.sqlite"


def alter(path, *statements):
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def test_what_was_stored_comes_back_exactly(store):
    texts = ["", "a\0b", "🎉 \u202e x", "x" * 100_000, None]
    fields = [{}, {"a": [1, {"b": None}]}, {"": "empty", "🎉": True}, {"f": 0.1 + 0.2, "i": 2**70}, {"q": '"\\\n'}]
    rows = store.add(["a", "b", 3, "3", -1], texts, fields, vectors(5))

    found = store.documents(rows)
    assert [found[row][1:] for row in rows] == list(zip(["a", "b", 3, "3", -1], texts, fields, strict=True))
    assert [type(found[row].id) for row in rows] == [str, str, int, str, int]
    [(same_rows, same_vectors)] = list(store.vectors(rows))
    assert same_rows == rows
    np.testing.assert_array_equal(same_vectors, vectors(5))


def test_ids_that_look_alike_are_apart(store):
    ids = [1, "1", "a", "A", "a ", *(unicodedata.normalize(form, "é") for form in ("NFC", "NFD")), "../x", "x" * 10_000]
    put(store, ids)

    assert len(store) == len(ids)
    for id in ids:
        assert store.documents(store.rows_of([id])).popitem()[1].document == f"text of {id}"


def test_membership_never_raises(store):
    put(store, [5, "a"])

    assert 5 in store
    assert np.int64(5) in store
    assert "a" in store
    assert not any(id in store for id in ("5", "", 6, None, [1], 1.5, 10**30, "\ud800"))


def test_row_numbers_are_never_given_out_again(store):
    first = put(store, ["a", "b", "c"])
    store.remove(["c", "b", "a"])
    gone, second = store.replace([], [], [], vectors(0)), put(store, ["a"])

    assert gone == ([], [])
    assert min(second) > max(first)


def test_nothing_is_added_when_one_id_is_known(store):
    put(store, ["a"])

    with pytest.raises(InputError, match="'a' is stored already: use update"):
        put(store, ["b", "a", "c"])
    assert len(store) == 1


@pytest.mark.parametrize("call", ["remove", "replace", "rows_of"])
def test_nothing_changes_when_one_id_is_unknown(store, call):
    put(store, ["a", "b"])
    more = [["x", "y"], [{}, {}], vectors(2)] if call == "replace" else []

    with pytest.raises(InputError, match="'nobody' is not"):
        getattr(store, call)(["a", "nobody"], *more)
    assert [found.document for found in store.documents(store.rows()).values()] == ["text of a", "text of b"]


def test_an_error_in_the_middle_of_a_call_undoes_all_of_it(store):
    put(store, ["a"])

    with pytest.raises(InputError, match="metadata must hold JSON"):
        store.add(["b", "c"], ["", ""], [{}, {"x": {1}}], vectors(2))
    with pytest.raises(InputError, match="metadata must hold JSON"):
        store.replace(["a"], ["new"], [{"x": float("nan")}], vectors(1))
    assert [found.document for found in store.documents(store.rows()).values()] == ["text of a"]
    assert put(store, ["b"])


def test_thousands_of_ids_at_once(store):
    ids = list(range(3000))
    rows = put(store, ids)

    assert store.rows_of(ids[::-1]) == rows[::-1]
    assert sum(len(part) for part, _ in store.vectors(rows)) == 3000
    assert len(store.remove(ids)) == 3000


def test_settings_and_notes_are_json_by_name(store):
    store.write_settings({"dim": 3, "encoder": None})
    store.write_notes({"file:a": {"x": [1.5, None]}, "b": "ü"})
    store.write_notes({"b": 2, "c": 3}, forget=["file:a", "nothing"])

    assert store.settings() == {"dim": 3, "encoder": None}
    assert store.notes() == {"b": 2, "c": 3}


@pytest.mark.parametrize("notes", [{"a": {1}}, {"a": float("nan")}, {1: 2}, ["a"], {"a": "\ud800"}])
def test_notes_that_json_cannot_hold_are_refused_whole(store, notes):
    store.write_notes({"before": 1})

    with pytest.raises(InputError, match="must"):
        store.write_notes(notes, forget=["before"])
    assert store.notes() == {"before": 1}


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        "text",
        {1: "x"},
        {"a": {1: "x"}},
        {"a": [{None: 1}]},
        {"a": float("nan")},
        {"a": [float("inf")]},
        {"a": {1, 2}},
        {"a": b"x"},
        {"a": np.float32(1)},
        {"a": object()},
        {"a": "\ud800"},
        {"\ud800": 1},
        {"a": "x\0y"},
        {"x\0y": 1},
        {"a": 10**5000},
    ],
)
def test_metadata_that_json_would_change_is_refused(value):
    with pytest.raises(InputError, match="metadata must"):
        as_json(value)


def test_metadata_that_holds_itself_or_is_too_deep_is_refused():
    around, deep = {}, []
    around["a"] = around
    for _ in range(100_000):
        deep = [deep]

    for value in (around, {"a": deep}):
        with pytest.raises(InputError, match="metadata must"):
            as_json(value)


def test_metadata_keeps_its_values():
    value = {"a": [1, 2.5, True, None, "ü\n", {"b": {}}], "n": np.float64(0.1), "i": 2**80}

    assert json.loads(as_json(value)) == value


def test_counting_by_a_field(store):
    store.add([1, 2, 3], [None] * 3, [{"kind": "a"}, {"kind": "a"}, {}], vectors(3))

    assert store.count_by("kind") == {"a": 2, None: 1}
    with pytest.raises(InputError, match="fields of where"):
        store.count_by('a"')


def test_closed_says_so_and_closing_twice_is_harmless(store):
    store.close()
    store.close()

    for call in (lambda: len(store), store.notes, lambda: put(store, ["a"]), lambda: store.remove(["a"]), store.verify):
        with pytest.raises(EmbedkitError, match="is closed: open the index again"):
            call()


def test_threads_share_a_store(store):
    failed = []

    def work(number):
        try:
            for i in range(20):
                put(store, [f"{number}-{i}"])
                assert store.documents(store.rows_of([f"{number}-{i}"]))
                if i % 2:
                    store.remove([f"{number}-{i}"])
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failed == []
    assert len(store) == 60


# -- on disk -----------------------------------------------------------------------------------------


def test_what_was_added_is_there_after_opening_again(path):
    with closing(DocumentStore(path)) as store:
        assert len(store) == 300
        assert store.verify() == []
        assert store.settings() == {"dim": DIM}


def test_a_store_that_is_not_there_is_a_storage_error(tmp_path):
    for options in ({}, {"read_only": True}):
        with pytest.raises(StorageError, match="cannot be opened"):
            DocumentStore(tmp_path / "nothing", **options)
    assert list(tmp_path.iterdir()) == []


def test_another_writer_in_the_middle_of_a_change_is_named(path):
    with closing(sqlite3.connect(path)) as other, closing(DocumentStore(path)) as store:
        other.execute("BEGIN IMMEDIATE")
        store._connection.execute("PRAGMA busy_timeout = 10")
        with pytest.raises(LockedIndexError, match="being written by another process"):
            store.remove([1])
        other.rollback()
        store.remove([1])


def test_a_reader_sees_what_a_writer_adds_and_cannot_write(path):
    with closing(DocumentStore(path)) as writer, closing(DocumentStore(path, read_only=True)) as reader:
        assert not reader.changed_elsewhere()
        put(writer, ["new"])
        assert reader.changed_elsewhere()
        assert not reader.changed_elsewhere()
        assert "new" in reader
        with pytest.raises(StorageError, match="read-only"):
            put(reader, ["mine"])
        assert len(reader) == 301


def test_a_snapshot_is_of_one_moment(path):
    with closing(DocumentStore(path)) as writer, closing(DocumentStore(path, read_only=True)) as reader:
        with reader.snapshot():
            rows = reader.rows()
            writer.remove([0, 1, 2])
            assert sum(len(part) for part, _ in reader.vectors(rows)) == 300
        assert len(reader) == 297


def test_a_copy_is_whole(path, tmp_path):
    with closing(DocumentStore(path)) as store:
        store.copy_to(tmp_path / "copy.sqlite")
        store.remove(list(range(300)))

    with closing(DocumentStore(tmp_path / "copy.sqlite")) as copy:
        assert len(copy) == 300
        assert copy.verify() == []


def test_space_of_many_removed_documents_is_given_back(path):
    before = path.stat().st_size
    with closing(DocumentStore(path)) as store:
        store.remove(list(range(290)))
        store.compact()

    assert path.stat().st_size < before / 2
    with closing(DocumentStore(path)) as store:
        assert store.verify() == []
        assert len(store) == 10


def test_a_full_disk_undoes_the_call_and_says_so(path):
    with closing(DocumentStore(path)) as store:
        store._connection.execute(f"PRAGMA max_page_count = {store._pragma('page_count')}")
        for call in (
            lambda: put(store, [f"n{i}" for i in range(500)]),
            lambda: store.replace([1], ["x" * 10**6], [{}], vectors(1)),
            lambda: store.write_notes({"long": "x" * 10**6}),
        ):
            with pytest.raises(StorageError, match="the disk is full: free space and call again"):
                call()
        assert len(store) == 300
        assert store.verify() == []
        store._connection.execute("PRAGMA max_page_count = 100000")
        put(store, [f"n{i}" for i in range(500)])
        assert len(store) == 800


@pytest.mark.parametrize("keep", [0, 1, 100, 4096, 0.5, -4096])
def test_a_truncated_file_is_told_in_clear_text(path, keep):
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])

    for options in ({}, {"read_only": True}):
        with pytest.raises(CorruptFileError, match=r"d\.sqlite is damaged"):
            DocumentStore(path, **options).verify()


def everything(path):
    with closing(DocumentStore(path, read_only=True)) as store:
        rows = store.rows().tolist()
        stored = [part.tolist() for _, part in store.vectors(rows)]
        return store.verify(), store.documents(rows), stored, store.settings(), store.notes()


def test_one_byte_less_is_told_or_harmless(path):
    expected = everything(path)
    path.write_bytes(path.read_bytes()[:-1])  # SQLite reads the byte as zero, which it may have been

    with suppress(CorruptFileError):
        assert everything(path) == expected


def test_a_flipped_bit_anywhere_is_told_or_harmless(path):
    expected, whole, told = everything(path), path.read_bytes(), 0
    random = np.random.default_rng(3)
    for place in [*range(0, 100, 4), *random.integers(100, len(whole), 120)]:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(random.integers(8))
        path.write_bytes(damaged)
        try:
            found = everything(path)
        except (CorruptFileError, StorageError):  # a header that asks for a log in another place cannot be opened
            told += 1
        else:
            assert found[0] or found == expected, place
            told += bool(found[0])
    assert told > 60


@pytest.mark.parametrize("content", [b"", b"not a database, but long enough to be looked at" * 100])
def test_a_file_that_is_no_store_is_told(tmp_path, content):
    (tmp_path / "d.sqlite").write_bytes(content)

    with pytest.raises(CorruptFileError, match="damaged or no document store"):
        DocumentStore(tmp_path / "d.sqlite")


def test_a_database_of_somebody_else_is_told(tmp_path):
    alter(tmp_path / "d.sqlite", "CREATE TABLE other (x)")

    with pytest.raises(CorruptFileError, match="no document store"):
        DocumentStore(tmp_path / "d.sqlite")


@pytest.mark.parametrize(
    "change",
    [
        "document = 'another text'",
        "document = NULL",
        "metadata = '{}'",
        "metadata = '{\"n\": 8}'",
        "id = 'another'",
        "id = '7'",
        "checksum = checksum + 1",
        "row = 5000",
    ],
)
def test_a_changed_document_is_told_and_the_others_are_read(path, change):
    alter(path, f"UPDATE documents SET {change} WHERE id = 7")
    with closing(DocumentStore(path)) as store:
        rows = store.rows().tolist()
        assert len(store.verify()) == 1
        with pytest.raises(CorruptFileError, match="differs from its checksum: index its source again"):
            store.documents(rows)
        assert len(store.documents(rows[:5])) == 5


@pytest.mark.parametrize(
    "change",
    [
        ["UPDATE vectors SET vector = zeroblob(16) WHERE row = 7"],
        ["UPDATE vectors SET vector = x'00' WHERE row = 7"],
        ["DELETE FROM vectors WHERE row = 7"],
        [f"UPDATE vectors SET row = {new} WHERE row = {old}" for new, old in ((999, 7), (7, 8), (8, 999))],
    ],
    ids=["zeroed", "cut", "missing", "two swapped"],
)
def test_a_changed_vector_is_told(path, change):
    alter(path, *change)
    with closing(DocumentStore(path)) as store, pytest.raises(CorruptFileError, match="make the index again"):
        list(store.vectors(range(1, 301)))


@pytest.mark.parametrize("table", ["settings", "notes"])
def test_a_changed_setting_or_note_is_told(path, table):
    alter(path, f"UPDATE {table} SET value = '5'")
    with closing(DocumentStore(path)) as store, pytest.raises(CorruptFileError, match="differ from their checksum"):
        getattr(store, table)()


def test_a_damaged_order_of_ids_is_told_before_an_id_is_taken_for_another(tmp_path):
    path = tmp_path / "d.sqlite"
    with closing(DocumentStore(path, create=True)) as store:
        put(store, ["unique-name-a", "unique-name-b"], text="text")
    whole = path.read_bytes()
    places = [place for place in range(len(whole)) if whole.startswith(b"unique-name-a", place)]
    assert len(places) == 2  # in the table, and in the order that ids are looked up by
    for place in places:
        path.write_bytes(whole[: place + 12] + b"c" + whole[place + 13 :])
        with closing(DocumentStore(path)) as store, pytest.raises(CorruptFileError, match=r"d\.sqlite is damaged"):
            store.verify()


def test_a_change_is_on_the_disk_before_it_is_acknowledged(path):
    with closing(DocumentStore(path)) as store:
        assert store._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert store._pragma("synchronous") == 2  # FULL: the log is synced at every commit


def test_a_setting_whose_name_is_gone_is_told(path):
    with closing(DocumentStore(path)) as store:
        real, store._connection = store._connection, Forgetful()
        with pytest.raises(CorruptFileError, match="differ from their checksum"):
            store.settings()
        store._connection = real


class Forgetful:
    """A connection to a file whose record headers say NULL."""

    def execute(self, *_):
        return self

    def fetchall(self):
        return [(None, None, None)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_cannot_touch_the_store_of_its_parent(path):
    with closing(DocumentStore(path)) as store:
        child = os.fork()
        if child == 0:
            told = 0
            for call in (lambda: len(store), lambda: put(store, ["x"]), lambda: store.remove([1]), store.verify):
                try:
                    call()
                except ForkedProcessError:
                    told += 1
            store.close()
            os._exit(told)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 4
        put(store, ["new"])
        assert len(store) == 301
        assert store.verify() == []
