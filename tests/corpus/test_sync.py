import os

import pytest

from embedkit import Retriever
from embedkit.corpus.documents import Cutting
from embedkit.corpus.sync import Sync
from embedkit.errors import InputError


def count(text):
    return len(text.split())


@pytest.fixture
def tree(tmp_path):
    folder = tmp_path / "tree"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.md").write_text("# Apples\n\nApples grow on trees.\n")
    (folder / "b.py").write_text("def pears(x):\n    return x + 1\n")
    (folder / "sub" / "c.csv").write_text("fruit,count\nplum,3\n")
    return folder


class CountingEncoder:
    def __init__(self, encoder):
        self._encoder = encoder
        self.encoded = 0
        self.fingerprint = encoder.fingerprint

    def get_embedding_dimension(self):
        return self._encoder.get_embedding_dimension()

    def encode(self, inputs, **options):
        self.encoded += len(inputs) if not isinstance(inputs, str) else 0
        return self._encoder.encode(inputs, **options)


@pytest.fixture
def encoder(hashing_encoder):
    return CountingEncoder(hashing_encoder)


def run(retriever, *paths, keep_others=False, **options):
    return Sync(retriever, count, **options).run(paths, keep_others=keep_others)


def test_documents_of_every_kind_can_be_found_and_say_where_they_stand(tree, encoder):
    retriever = Retriever(encoder)
    report = run(retriever, tree)
    assert (report.files, report.unchanged, report.removed) == (3, 0, 0)
    assert report.added == len(retriever)
    hit = retriever.search("pears", k=1, where={"kind": "code"})[0]
    assert (hit.metadata["path"], hit.metadata["line"], hit.metadata["name"]) == (str(tree / "b.py"), 1, "b.pears")


def test_an_unchanged_tree_encodes_nothing(tree, encoder, tmp_path):
    with Retriever(encoder, folder=tmp_path / "index") as retriever:
        run(retriever, tree)
    before = encoder.encoded
    with Retriever.load(tmp_path / "index", encoder) as retriever:
        report = run(retriever, tree)
    assert (report.files, report.unchanged, report.added, report.removed) == (0, 3, 0, 0)
    assert encoder.encoded == before


def test_a_touched_file_with_the_same_content_encodes_nothing(tree, encoder):
    retriever = Retriever(encoder)
    run(retriever, tree)
    before = encoder.encoded
    os.utime(tree / "a.md", ns=(1, 1))
    assert run(retriever, tree).unchanged == 3
    assert encoder.encoded == before


def test_only_a_changed_file_is_encoded_again(tree, encoder):
    retriever = Retriever(encoder)
    run(retriever, tree)
    (tree / "a.md").write_text("# Quinces\n\nQuinces are sour.\n")
    report = run(retriever, tree)
    assert (report.files, report.unchanged, report.added, report.removed) == (1, 2, 1, 1)
    assert retriever.search("quinces", k=1)[0].document.startswith("Quinces")
    assert not any("Apples" in hit.document for hit in retriever.search("apples", k=10))


def test_a_file_that_is_gone_is_dropped(tree, encoder):
    retriever = Retriever(encoder)
    run(retriever, tree)
    (tree / "b.py").unlink()
    assert run(retriever, tree).removed == 1
    assert retriever.search("pears", where={"kind": "code"}) == []


def test_keep_others_keeps_what_lies_elsewhere(tree, encoder, tmp_path):
    retriever = Retriever(encoder)
    run(retriever, tree)
    other = tmp_path / "other.md"
    other.write_text("Kiwis are green.\n")
    run(retriever, other, keep_others=True)
    assert retriever.search("pears", where={"kind": "code"})
    assert run(retriever, other).removed > 0
    assert len(retriever) == 1


def test_another_cutting_makes_every_file_new(tree, encoder):
    retriever = Retriever(encoder)
    run(retriever, tree)
    assert run(retriever, tree, cutting=Cutting(comments="drop")).files == 3


def test_removing_a_folder_drops_what_is_below_it(tree, encoder):
    retriever = Retriever(encoder)
    run(retriever, tree)
    assert Sync(retriever, count).remove(tree / "sub").removed > 0
    assert retriever.search("plum", where={"kind": "table"}) == []
    assert run(retriever, tree).files == 1


def test_removing_what_is_not_there_is_an_error(tree, encoder):
    retriever = Retriever(encoder)
    with pytest.raises(InputError, match="neither a document nor a file"):
        Sync(retriever, count).remove(tree)


def test_skipped_files_are_named_each_time_and_read_once(tree, encoder):
    (tree / "bad.py").write_text("def (:\n")
    retriever = Retriever(encoder)
    first, second = run(retriever, tree), run(retriever, tree)
    assert first.skipped == second.skipped
    assert list(first.skipped) == [str(tree / "bad.py")]
    assert second.files == 0


def test_an_interruption_while_encoding_costs_nothing_that_was_done(tree, encoder, monkeypatch):
    monkeypatch.setattr("embedkit.corpus.sync._GROUP", 1)
    retriever = Retriever(encoder)
    calls = []

    def interrupted(ids, *rest, **options):
        calls.append(ids)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return Retriever.add(retriever, ids, *rest, **options)

    monkeypatch.setattr(retriever, "add", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(retriever, tree)
    kept = len(retriever)
    assert kept > 0
    report = run(retriever, tree)
    assert report.unchanged == 1
    assert len(retriever) == kept + report.added


def test_an_interruption_between_documents_and_ledger_leaves_no_double(tree, encoder, monkeypatch):
    retriever = Retriever(encoder)
    write = retriever.write_notes

    def interrupted(notes, **options):
        if any("sha256" in note for note in notes.values()):
            raise KeyboardInterrupt
        write(notes, **options)

    monkeypatch.setattr(retriever, "write_notes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(retriever, tree)
    count_before = len(retriever)
    monkeypatch.undo()
    report = run(retriever, tree)
    assert report.removed == report.added == count_before == len(retriever)


def test_progress_goes_up_to_the_whole(tree, encoder):
    told = []
    run(Retriever(encoder), tree, progress=lambda done, total: told.append((done, total)))
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1][0] == told[-1][1] > 0
