import copy
import os
import pickle
import signal
import sqlite3
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch
from sentence_transformers.sentence_transformer.modules import Pooling
from tokenizers import normalizers

from embedkit import Encoder, VectorCache
from embedkit.encoders.cache import _write_ahead
from embedkit.errors import CorruptFileError, StorageError

TEXTS = ["a cat sat on the mat", "the dog barks", "the bird sings", "one two three"]


@pytest.fixture
def cache(tmp_path):
    with_folder = VectorCache(tmp_path / "new folder" / "vectors.sqlite")
    yield with_folder
    with_folder.close()


@pytest.fixture
def encoder(make_encoder, cache):
    return make_encoder(cache=cache)


def rows_run_by(encoder):
    """A list that grows by the number of rows of every batch that the encoder runs."""
    rows = []
    encoder[0].register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0]["input_ids"])))
    return rows


def vectors_of(count, dim=3):
    return np.random.default_rng(0).standard_normal((count, dim)).astype(np.float32)


# -- what it stores ------------------------------------------------------------------------------------


def test_a_vector_comes_back_bit_equal(cache):
    vectors = vectors_of(1200)  # more than one query asks for
    keys = [f"key {number}".encode() for number in range(1200)]
    cache.put(keys, vectors)
    found = cache.get([*keys, b"unknown"])
    assert len(cache) == len(found) == 1200
    np.testing.assert_array_equal(np.stack([found[key] for key in keys]), vectors)


def test_found_vectors_may_be_written_to(cache):
    cache.put([b"key"], vectors_of(1))
    cache.get([b"key"])[b"key"][:] = 0
    np.testing.assert_array_equal(cache.get([b"key"])[b"key"], vectors_of(1)[0])


def test_a_key_put_again_is_replaced(cache):
    cache.put([b"key"], np.zeros((1, 3), dtype=np.float32))
    cache.put([b"key"], np.ones((1, 3), dtype=np.float32))
    assert cache.get([b"key"])[b"key"].tolist() == [1, 1, 1]
    assert len(cache) == 1


def test_nothing_is_asked_for_and_nothing_put(cache):
    cache.put([], np.empty((0, 3), dtype=np.float32))
    assert cache.get([]) == {}
    assert len(cache) == 0


def test_vectors_outlive_the_connection(cache):
    cache.put([b"key"], vectors_of(1))
    cache.close()
    assert cache.get([b"key"]).keys() == {b"key"}
    assert VectorCache(cache.path).get([b"key"]).keys() == {b"key"}


# -- what it saves -------------------------------------------------------------------------------------


def test_a_hit_avoids_the_forward_pass(encoder, make_encoder):
    plain = make_encoder().encode(TEXTS)
    rows = rows_run_by(encoder)
    np.testing.assert_allclose(encoder.encode(TEXTS), plain, rtol=0, atol=2e-6)
    first = encoder.encode(TEXTS)
    assert sum(rows) == len(TEXTS)
    np.testing.assert_array_equal(encoder.encode(TEXTS[::-1]), first[::-1])
    np.testing.assert_array_equal(encoder.encode(TEXTS[0]), first[0])
    assert sum(rows) == len(TEXTS)


def test_only_what_is_missing_is_run(encoder):
    encoder.encode(TEXTS[:2])
    rows = rows_run_by(encoder)
    vectors = encoder.encode(["new", *TEXTS, "new"])
    assert sum(rows) == 3
    np.testing.assert_array_equal(vectors[1:3], encoder.encode(TEXTS[:2]))
    np.testing.assert_array_equal(vectors[0], vectors[-1])


def test_widths_are_prefixes_of_one_stored_vector(encoder, make_encoder, cache):
    rows, plain = rows_run_by(encoder), make_encoder()
    for options in ({}, {"truncate_dim": 8}, {"truncate_dim": 3, "normalize_embeddings": True}, {}):
        np.testing.assert_allclose(encoder.encode(TEXTS, **options), plain.encode(TEXTS, **options), rtol=0, atol=2e-6)
    encoder.truncate_dim = 5
    assert encoder.encode(TEXTS).shape == (4, 5)
    encoder.truncate_dim = None
    assert encoder.encode(TEXTS).shape == (4, 32)
    assert sum(rows) == len(cache) == len(TEXTS)


def assert_not_served_from_the_cache(encoder, cache, **options):
    before = len(cache)
    found = encoder.encode(TEXTS, **options)
    encoder.cache = None
    np.testing.assert_allclose(found, encoder.encode(TEXTS, **options), rtol=0, atol=2e-6)
    assert len(cache) == before + len(TEXTS)


@pytest.mark.parametrize("options", [{"prompt": "the "}, {"num_layers": 2}, {"num_layers": 1, "prompt": "a "}])
def test_what_makes_other_vectors_makes_another_key(encoder, cache, options):
    encoder.encode(TEXTS)
    assert_not_served_from_the_cache(encoder, cache, **options)


def change_weight(encoder):
    with torch.no_grad():
        encoder[0].model.embeddings.word_embeddings.weight.mul_(2)


def change_window(encoder):
    encoder.max_seq_length = 4


def change_pooling(encoder):
    encoder[1] = Pooling(32, "max")


def change_dtype(encoder):
    encoder.to(torch.bfloat16)


def leave_out_normalisation(encoder):
    del encoder[2]


def read_other_letters(encoder):
    encoder[0].tokenizer.backend_tokenizer.normalizer = normalizers.Replace("a", "b")


@pytest.mark.parametrize(
    "change",
    [change_weight, change_window, change_pooling, change_dtype, leave_out_normalisation, read_other_letters],
)
def test_a_changed_encoder_finds_none_of_its_old_vectors(encoder, cache, change):
    encoder.encode(TEXTS)
    change(encoder)
    assert_not_served_from_the_cache(encoder, cache)


@pytest.mark.parametrize("fused", [True, False])
def test_training_steps_make_other_keys(encoder, cache, fused):
    encoder.encode(TEXTS)
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=0.01, fused=fused)
    encoder(encoder.preprocess(TEXTS))["sentence_embedding"].sum().backward()
    optimizer.step()
    assert_not_served_from_the_cache(encoder, cache)


def test_two_encoders_share_a_cache(make_encoder, cache):
    bert, llama = make_encoder("bert", cache=cache), make_encoder("llama", cache=cache)
    first, second = bert.encode(TEXTS), llama.encode(TEXTS)
    assert np.abs(first - second).max() > 1e-3
    np.testing.assert_array_equal(bert.encode(TEXTS), first)
    np.testing.assert_array_equal(llama.encode(TEXTS), second)
    assert len(cache) == 2 * len(TEXTS)


def test_a_reloaded_encoder_finds_its_vectors(encoder, cache, tmp_path):
    expected = encoder.encode(TEXTS)
    encoder.save(tmp_path / "model")
    again = Encoder.load(tmp_path / "model", device="cpu", cache=cache)
    rows = rows_run_by(again)
    np.testing.assert_array_equal(again.encode(TEXTS), expected)
    assert rows == []


def test_texts_that_look_alike_have_their_own_keys(encoder, cache):
    encoder.encode(["café", "cafe\u0301", "cafe", "cafe ", "", "\0", "Cafe"])
    assert len(cache) == 7


# -- what goes wrong -----------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["zeroblob(128)", "substr(vector, 1, 64)", "NULL", "'text'"])
def test_damaged_rows_are_computed_again(encoder, cache, damage):
    expected = encoder.encode(TEXTS)
    cache.close()
    connection = sqlite3.connect(cache.path)
    connection.execute(f"UPDATE vectors SET vector = {damage} WHERE key = (SELECT min(key) FROM vectors)")
    connection.commit()
    connection.close()
    rows = rows_run_by(encoder)
    np.testing.assert_allclose(encoder.encode(TEXTS), expected, rtol=0, atol=2e-6)
    assert sum(rows) == 1
    encoder.encode(TEXTS)
    assert sum(rows) == 1


@pytest.mark.parametrize("content", [b"no database " * 100, b"SQLite format 3\0" + b"\xff" * 4096])
def test_a_file_that_is_no_cache_says_so(tmp_path, content):
    path = tmp_path / "vectors.sqlite"
    path.write_bytes(content)
    with pytest.raises(CorruptFileError, match=r"vectors\.sqlite.*delete it"):
        VectorCache(path)
    assert path.read_bytes() == content


def test_a_damaged_page_says_so(tmp_path):
    cache = VectorCache(tmp_path / "vectors.sqlite")
    keys = [number.to_bytes(32, "big") for number in range(500)]
    cache.put(keys, vectors_of(500, 384))
    cache.close()
    content = bytearray(cache.path.read_bytes())
    for page in range(1, len(content) // 4096):
        content[page * 4096 : page * 4096 + 64] = b"\xff" * 64
    cache.path.write_bytes(content)
    with pytest.raises(CorruptFileError, match="delete it"):
        cache.get(keys)


def test_a_folder_in_its_place_says_so(tmp_path):
    with pytest.raises(StorageError, match="cannot use the vector cache"):
        VectorCache(tmp_path)


def test_a_file_in_the_place_of_its_folder_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot create the folder"):
        VectorCache(tmp_path / "file" / "vectors.sqlite")


def test_a_full_disk_says_so_and_keeps_what_was_there(cache):
    cache.put([b"old"], vectors_of(1))
    with cache._connected() as connection:
        connection.execute("PRAGMA max_page_count = 8")
    with pytest.raises(StorageError, match="full"):
        cache.put([f"new {number}".encode() for number in range(500)], vectors_of(500, 384))
    assert cache.get([b"old", b"new 0"]).keys() == {b"old"}


def test_an_interrupted_encode_keeps_the_finished_windows(encoder, cache, monkeypatch):
    monkeypatch.setattr("embedkit.encoders.encoder.WINDOW", 2)
    texts = [f"text {number}" for number in range(7)]
    seen = []

    def interrupt(_, inputs):
        seen.append(len(inputs[0]["input_ids"]))
        if sum(seen) > 4:
            raise KeyboardInterrupt

    hook = encoder[0].register_forward_pre_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        encoder.encode(texts)
    hook.remove()
    assert len(cache) == 4
    rows = rows_run_by(encoder)
    vectors = encoder.encode(texts)
    assert sum(rows) == 3
    encoder.cache = None
    np.testing.assert_allclose(vectors, encoder.encode(texts), rtol=0, atol=2e-6)


# -- copies, threads and processes ---------------------------------------------------------------------


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda encoder: pickle.loads(pickle.dumps(encoder))])
def test_a_copied_encoder_uses_the_same_file(encoder, cache, copied):
    expected = encoder.encode(TEXTS)
    twin = copied(encoder)
    rows = rows_run_by(twin)
    np.testing.assert_array_equal(twin.encode(TEXTS), expected)
    assert rows == []
    twin.encode("new")
    assert len(cache) == len(TEXTS) + 1


def test_threads_share_one_cache(encoder, cache):
    expected = {text: encoder.encode(text) for text in TEXTS}
    results = []

    def work(number):
        texts = [*TEXTS, f"own text {number}"]
        results.append(encoder.encode(texts))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(results) == 8
    for vectors in results:
        np.testing.assert_array_equal(vectors[:4], np.stack([expected[text] for text in TEXTS]))
    assert len(cache) == len(TEXTS) + 8


WRITER = """
import sys
import numpy as np
from embedkit.encoders.cache import VectorCache
cache, name = VectorCache(sys.argv[1]), sys.argv[2]
print("ready", flush=True)
for number in range(int(sys.argv[3])):
    cache.put([f"{name} {number}".encode(), f"shared {number}".encode()], np.full((2, 64), number, dtype=np.float32))
"""


def writer(path, name, count):
    command = [sys.executable, "-c", WRITER, str(path), name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


class Refusing:
    """A connection that SQLite refuses a few times."""

    def __init__(self, times, code):
        self.left, self.code = times, code

    def execute(self, _):
        if self.left:
            self.left -= 1
            error = sqlite3.OperationalError("database is locked")
            error.sqlite_errorcode = self.code
            raise error


def test_the_switch_to_the_log_is_tried_again_while_another_process_makes_it():
    connection = Refusing(3, sqlite3.SQLITE_BUSY)
    _write_ahead(connection)
    assert connection.left == 0
    with pytest.raises(sqlite3.OperationalError):
        _write_ahead(Refusing(1, sqlite3.SQLITE_READONLY))


def test_two_processes_write_one_cache(tmp_path):
    processes = [writer(tmp_path / "vectors.sqlite", name, 200) for name in ("one", "two")]
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    cache = VectorCache(tmp_path / "vectors.sqlite")
    assert len(cache) == 600
    for name in ("one", "two", "shared"):
        found = cache.get([f"{name} {number}".encode() for number in range(200)])
        assert all((found[f"{name} {number}".encode()] == number).all() for number in range(200))


def test_a_killed_writer_leaves_a_readable_cache(tmp_path):
    process = writer(tmp_path / "vectors.sqlite", "killed", 1_000_000)
    assert process.stdout.readline() == "ready\n"
    cache, deadline = VectorCache(tmp_path / "vectors.sqlite"), time.monotonic() + 20
    while len(cache) < 100 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=20)
    count = len(cache)
    assert count >= 100
    assert count % 2 == 0  # both rows of a call or neither
    found = cache.get([f"killed {number}".encode() for number in range(count // 2)])
    assert [vector[0] for vector in found.values()] == sorted(range(count // 2), key=lambda n: f"killed {n}".encode())
    cache.put([b"after"], vectors_of(1))
    assert cache.get([b"after"]).keys() == {b"after"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_gets_a_connection_and_a_lock_of_its_own(cache):
    cache.put([b"parent"], vectors_of(1))
    with cache._connected():  # as if another thread were at work while this one forks
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            cache.put([b"child"], vectors_of(1))
            os._exit(0 if cache.get([b"parent", b"child"]).keys() == {b"parent", b"child"} else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert cache.get([b"parent", b"child"]).keys() == {b"parent", b"child"}


def test_a_cache_may_be_set_and_cleared_at_any_time(make_encoder, cache):
    encoder = make_encoder()
    expected = encoder.encode(TEXTS)
    assert len(cache) == 0
    encoder.cache = cache
    np.testing.assert_array_equal(encoder.encode(TEXTS), expected)
    assert len(cache) == len(TEXTS)
    encoder.cache = None
    encoder.encode("new")
    assert len(cache) == len(TEXTS)
