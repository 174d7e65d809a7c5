"""kill -9 at random moments, a disk that is really full, and folders that may not be written."""

import json
import random
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import pytest

from embedkit import FaissIndex, Retriever

TESTS = Path(__file__).parents[1]
PREAMBLE = """
import itertools, json, os, random, resource, signal, sys
sys.path.insert(0, sys.argv[1])
folder = sys.argv[2]
import numpy as np
from conftest import HashingEncoder
from embedkit import FaissIndex, Retriever
from embedkit.errors import CorruptFileError, EmbedkitError, LockedIndexError, StorageError
assert "torch" not in sys.modules

def say(*words):
    os.write(1, (json.dumps(words) + "\\n").encode())
"""

# Each line says what was begun or what was acknowledged; a line is one write, so it is there whole or not at all.
WORKER = """
seed, held = int(sys.argv[3]), json.loads(sys.argv[4])
choose = random.Random(seed)
retriever = Retriever.load(folder, HashingEncoder()) if held is not None else Retriever(HashingEncoder(), folder=folder)
held = held or {}
say("ready")
for step in itertools.count():
    action = choose.choice(["add", "add", "update", "remove", "save"])
    if action == "add":
        change = {f"d{seed}x{step}x{i}": f"text{seed}x{step}x{i} common" for i in range(choose.randint(1, 40))}
    elif action == "save":
        change = {}
    else:
        ids = choose.sample(sorted(held), min(len(held), choose.randint(1, 10)))
        change = {id: f"newer{seed}x{step}x{i} common" if action == "update" else None for i, id in enumerate(ids)}
    say("begin", action, change)
    if action == "add":
        retriever.add(list(change), list(change.values()), [{"text": text} for text in change.values()])
    elif action == "update":
        retriever.update(list(change), list(change.values()), [{"text": text} for text in change.values()])
    elif action == "remove":
        retriever.remove(list(change))
    else:
        retriever.save()
    say("done", action, change)
    held |= change
    held = {id: text for id, text in held.items() if text is not None}
"""


def child(script, *arguments, **options):
    command = [sys.executable, "-c", PREAMBLE + script, str(TESTS), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options)


def run(script, *arguments, seconds=60):
    """The JSON lines that a child printed; it must end well."""
    process = child(script, *arguments, stderr=subprocess.PIPE)
    out, errors = process.communicate(timeout=seconds)
    assert process.returncode == 0, errors
    return [json.loads(line) for line in out.splitlines()]


def apply(held, change):
    return {id: text for id, text in {**held, **change}.items() if text is not None}


def acknowledged(held, lines):
    """What must be there, and what the last call, which was not acknowledged, would have made of it."""
    pending = {}
    for word, *rest in lines:
        if word == "begin":
            pending = rest[1]
        elif word == "done":
            held, pending = apply(held, rest[1]), {}
    return held, apply(held, pending)


def check_survivors(folder, encoder, possible):
    """The folder opens and holds exactly one of the possible states, every document searchable; gives that state."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        retriever = Retriever.load(folder, encoder)
    with retriever:
        found = {stored.id: stored.document for stored in retriever.find()}
        assert found in possible
        assert len(retriever) == len(retriever.index) == len(found)
        assert all(stored.metadata == {"text": stored.document} for stored in retriever.find())
        ids, texts = list(found), list(found.values())
        for id, text in random.Random(len(ids)).sample(sorted(found.items()), min(len(ids), 20)):
            hits = retriever.search(text, k=len(ids))
            assert sorted(hit.id for hit in hits) == sorted(ids)
            own = next(hit for hit in hits if hit.id == id)
            assert (own.document, own.score) == (text, pytest.approx(1, abs=1e-4))
        expected = encoder.encode(texts)
        similarity = (retriever.index.vectors(retriever._store.rows_of(ids)) * expected).sum(1)
        assert similarity == pytest.approx((expected**2).sum(1) ** 0.5, abs=1e-3)  # each row has its own vector
    assert not [path.name for path in folder.iterdir() if path.name.endswith(".tmp")]
    return found


def survive_kills(folder, encoder, kills, *, seed):
    choose, held, during = random.Random(seed), None, []
    while len(during) < kills:
        process = child(WORKER, folder, seed * 1000 + len(during), json.dumps(held))
        lines = []
        while not lines:
            lines = [json.loads(process.stdout.readline())]
        target, moment = choose.choice(["begin", "save"]), choose.randint(1, 12)
        for line in process.stdout:
            lines.append(json.loads(line))
            moment -= lines[-1][0] == "begin" and (target == "begin" or lines[-1][1] == "save")
            if moment <= 0 or len(lines) > 60:
                break
        time.sleep(choose.random() * 0.006)
        process.send_signal(signal.SIGKILL)
        lines += [json.loads(line) for line in process.stdout if line.endswith("\n")]
        process.wait()
        during.append(lines[-1][1] if lines[-1][0] == "begin" else "between")
        held = check_survivors(folder, encoder, acknowledged(held or {}, lines))
    return during


def test_a_few_kills_lose_nothing_that_was_acknowledged(hashing_encoder, tmp_path):
    assert len(survive_kills(tmp_path / "index", hashing_encoder, 6, seed=1)) == 6


@pytest.mark.slow
def test_many_kills_lose_nothing_that_was_acknowledged(hashing_encoder, tmp_path):
    during = []
    for seed in range(2, 7):
        during += survive_kills(tmp_path / str(seed), hashing_encoder, 10, seed=seed)

    assert len(during) == 50
    assert {"add", "save"} <= set(during)  # a kill did fall into both


CREATOR = """
say("begin")
retriever = Retriever(HashingEncoder(), folder=folder)
say("made")
signal.pause()
"""


@pytest.mark.slow
def test_a_kill_during_the_creation_leaves_an_index_or_room_for_one(hashing_encoder, tmp_path):
    made = 0
    for attempt in range(12):
        folder = tmp_path / str(attempt)
        process = child(CREATOR, folder)
        process.stdout.readline()
        time.sleep(random.Random(attempt).random() * 0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        try:
            retriever = Retriever.load(folder, hashing_encoder)
            made += 1
        except ValueError:  # no index is there
            retriever = Retriever(hashing_encoder, folder=folder)
        with retriever:
            retriever.add(["a"], ["river"])
            assert retriever.search("river", k=1)[0].id == "a"
    assert made > 0


KILLED_AT_ONCE = """
retriever = Retriever(HashingEncoder(), folder=folder)
retriever.add(["a"], ["river"], [{"text": "river"}])
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_was_added_just_before_a_kill_is_not_wiped_by_making_the_index_again(hashing_encoder, tmp_path):
    child(KILLED_AT_ONCE, tmp_path / "index").wait(60)

    with pytest.raises(ValueError, match=r"holds an index already: open it with Retriever\.load"):
        Retriever(hashing_encoder, folder=tmp_path / "index")
    assert check_survivors(tmp_path / "index", hashing_encoder, [{"a": "river"}])


# -- a full disk, for real ---------------------------------------------------------------------------

FULL = """
retriever = Retriever(HashingEncoder(), folder=folder)
held = {}

def add(count):
    change = {f"d{len(held) + i}": f"text{len(held) + i} " + "filler" * 20 for i in range(count)}
    retriever.add(list(change), list(change.values()), [{"text": text} for text in change.values()])
    held.update(change)

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
add(100)
retriever.save()
for limit in (160_000, 220_000, 300_000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    refused = 0
    while refused < 3:
        try:
            add(37)
            retriever.save()
        except StorageError as error:
            assert "what was" in str(error) and "unchanged" in str(error), error
            refused += 1
            assert len(retriever) == len(held) and len(retriever.search("filler", k=10**6)) == len(held)
    try:
        retriever.save(folder + str(limit))
        say("copied")
    except StorageError:
        assert not os.path.exists(folder + str(limit))
        say("not copied")
    say("refused", limit, len(held))
try:
    retriever.close()
    say("closed")
except StorageError:
    say("close refused")
say("held", held)
"""


def test_a_full_disk_refuses_and_loses_nothing(hashing_encoder, tmp_path):
    lines = run(FULL, tmp_path / "index")
    sizes = [line[2] for line in lines if line[0] == "refused"]

    assert len(sizes) == 3
    assert 100 <= sizes[0] <= sizes[1] < sizes[2]  # with more room, more was taken
    check_survivors(tmp_path / "index", hashing_encoder, [lines[-1][1]])


FULL_INDEX = """
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
index = FaissIndex(kind=sys.argv[3])
index.add(range(200), np.random.default_rng(0).normal(size=(200, 64)))
index.save(folder)
index.add(range(200, 400), np.random.default_rng(1).normal(size=(200, 64)))
for limit in (0, 10, 1000, 60_000, 102_000, 102_500):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        index.save(folder)
        say("saved", limit)
    except StorageError as error:
        say("refused", limit, str(error))
    say(len(FaissIndex.load(folder)))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
index.save(folder)
"""


@pytest.mark.parametrize("kind", ["flat", "hnsw"])
def test_saving_to_a_full_disk_leaves_the_former_index(kind, tmp_path):
    lines = run(FULL_INDEX, tmp_path, kind)
    outcomes = list(zip(lines[::2], lines[1::2], strict=True))

    assert [said[0] for said, _ in outcomes[:4]] == ["refused"] * 4
    assert all(held == [200 if said[0] == "refused" else 400] for said, held in outcomes)
    assert all("unchanged" in said[2] for said, _ in outcomes[:4])
    assert len(FaissIndex.load(tmp_path)) == 400
    assert sorted(path.suffix for path in tmp_path.iterdir()).count(".faiss") == 2


# -- folders that may not be written -----------------------------------------------------------------

WITHOUT_RIGHTS = """
os.chdir("/")
Retriever, FaissIndex, HashingEncoder  # imported while everything may still be read
import faiss, filelock, sqlite3
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)

def outcome(call):
    try:
        return call()
    except EmbedkitError as error:
        return f"{type(error).__name__}: {error}"
"""

READ_ONLY = """
with Retriever.load(folder, HashingEncoder(), read_only=True) as reader:
    say("found", reader.search("river", k=1)[0].id, len(reader))
    say("add", outcome(lambda: reader.add(["x"], ["x"])))
say("load", outcome(lambda: Retriever.load(folder, HashingEncoder())))
say("make", outcome(lambda: Retriever(HashingEncoder(), folder=folder + "/inner")))
index = FaissIndex.load(folder)
say("index", len(index))
say("save", outcome(lambda: index.save(folder)))
say("save elsewhere", outcome(lambda: index.save(folder + "/inner")))
"""

READ_AFTER_KILL = """
say("search", outcome(lambda: Retriever.load(folder, HashingEncoder(), read_only=True).search("river", k=1)[0].id))
"""

READ_ON_REQUEST = """
reader = Retriever.load(folder, HashingEncoder(), read_only=True)
while True:
    say(*sorted(hit.id for hit in reader.search("river")))
    sys.stdin.readline()
"""


@pytest.fixture
def open_place():
    """A folder that other users reach; those of tmp_path are closed to them."""
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        yield Path(place)


def frozen(folder, script):
    """What a child without rights prints while nothing in the folder may be written, and nothing is."""
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for path in folder.iterdir():
        path.chmod(0o444)
    folder.chmod(0o555)
    try:
        lines = run(script, folder)
    finally:
        folder.chmod(0o755)
        for path in folder.iterdir():
            path.chmod(0o644)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    return {word: rest if len(rest) > 1 else rest[0] for word, *rest in lines}


def test_a_read_only_folder_is_read_and_says_that_it_cannot_be_written(hashing_encoder, open_place):
    folder = open_place / "index"
    with Retriever(hashing_encoder, folder=folder) as retriever:
        retriever.add(["a", "b"], ["river", "stone"])
    said = frozen(folder, WITHOUT_RIGHTS + READ_ONLY)

    assert said["found"] == ["a", 2]
    assert said["index"] == 2
    assert said["add"].startswith("EmbedkitError")
    assert "read-only" in said["add"]
    for call in ("load", "make", "save", "save elsewhere"):
        assert said[call].startswith("StorageError")
        assert "permission is denied" in said[call]
    Retriever.load(folder, hashing_encoder).close()


def test_a_read_only_folder_whose_writer_was_killed_is_read_or_clearly_refused(hashing_encoder, open_place):
    folder = open_place / "index"
    child(KILLED_AT_ONCE, folder).wait(60)
    said = frozen(folder, WITHOUT_RIGHTS + READ_AFTER_KILL)["search"]

    assert said == "a" or said.startswith("StorageError")
    assert check_survivors(folder, hashing_encoder, [{"a": "river"}])


def test_a_reader_without_rights_sees_what_a_later_writer_adds(hashing_encoder, open_place):
    folder = open_place / "index"
    with Retriever(hashing_encoder, folder=folder) as retriever:
        retriever.add(["a"], ["river"])
    reader = child(WITHOUT_RIGHTS + READ_ON_REQUEST, folder, stdin=subprocess.PIPE)
    assert json.loads(reader.stdout.readline()) == ["a"]
    with Retriever.load(folder, hashing_encoder) as writer:
        writer.add(["b"], ["stone"])
        assert ask(reader) == ["a", "b"]
        writer.update(["a"], ["river river"])
    assert ask(reader) == ["a", "b"]
    reader.kill()


def ask(reader):
    reader.stdin.write("\n")
    reader.stdin.flush()
    return json.loads(reader.stdout.readline())


# -- readers beside a writer -------------------------------------------------------------------------

READER = """
import time
reader = Retriever.load(folder, HashingEncoder(), read_only=True)
say("ready")
end, seen, rounds = time.monotonic() + float(sys.argv[3]), 0, 0
while time.monotonic() < end:
    hits = reader.search("common", k=10**6)
    assert all(hit.metadata == {"text": hit.document} for hit in hits)
    assert len({hit.id for hit in hits}) == len(hits)
    assert all(hit.score > 0.5 for hit in hits), hits
    seen, rounds = max(seen, len(hits)), rounds + 1
say("ended", seen, rounds)
"""


def test_readers_beside_a_busy_writer_never_see_half_of_anything(hashing_encoder, tmp_path):
    writer = child(WORKER, tmp_path / "index", 5, "null")
    assert writer.stdout.readline()
    readers = [child(READER, tmp_path / "index", 0.8, stderr=subprocess.PIPE) for _ in range(2)]
    lines = []
    while any(reader.poll() is None for reader in readers):
        lines.append(json.loads(writer.stdout.readline()))
    writer.send_signal(signal.SIGKILL)
    lines += [json.loads(line) for line in writer.stdout if line.endswith("\n")]
    for reader in readers:
        out, errors = reader.communicate()
        assert reader.returncode == 0, errors
        _, seen, rounds = json.loads(out.splitlines()[-1])
        assert seen > 10
        assert rounds > 3
    check_survivors(tmp_path / "index", hashing_encoder, acknowledged({}, lines))
