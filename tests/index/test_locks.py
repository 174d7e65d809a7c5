import threading
import time

import pytest

from embedkit.index.locks import SharedLock

WAIT = 2.0


def start(function):
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    return thread


def test_readers_hold_it_together():
    lock, meeting = SharedLock(), threading.Barrier(3, timeout=WAIT)

    def read():
        with lock.shared():
            meeting.wait()

    threads = [start(read) for _ in range(2)]
    with lock.shared():
        meeting.wait()  # breaks unless all three are inside at once
    for thread in threads:
        thread.join(WAIT)


@pytest.mark.parametrize(
    ("first", "second"), [("exclusive", "exclusive"), ("exclusive", "shared"), ("shared", "exclusive")]
)
def test_a_writer_is_alone(first, second):
    lock, entered = SharedLock(), threading.Event()

    def enter():
        with getattr(lock, second)():
            entered.set()

    with getattr(lock, first)():
        thread = start(enter)
        assert not entered.wait(0.05)
    assert entered.wait(WAIT)
    thread.join(WAIT)


def test_readers_without_a_pause_do_not_keep_a_writer_out():
    lock, stop = SharedLock(), threading.Event()

    def read_on_and_on():
        while not stop.is_set():
            with lock.shared():
                time.sleep(0.002)

    readers = [start(read_on_and_on) for _ in range(8)]
    written = threading.Event()

    def write():
        for _ in range(5):
            with lock.exclusive():
                pass
        written.set()

    writer = start(write)
    arrived = written.wait(WAIT)
    stop.set()
    for thread in [*readers, writer]:
        thread.join(WAIT)
    assert arrived


@pytest.mark.parametrize("kind", ["shared", "exclusive"])
def test_an_error_inside_lets_go(kind):
    lock = SharedLock()

    with pytest.raises(ZeroDivisionError), getattr(lock, kind)():
        1 / 0  # noqa: B018
    entered = threading.Event()

    def enter():
        with lock.exclusive():
            entered.set()

    start(enter)
    assert entered.wait(WAIT)


def test_many_writers_and_readers_never_meet():
    lock, inside, met = SharedLock(), [], []

    def work(kind):
        for _ in range(100):
            with getattr(lock, kind)():
                inside.append(kind)
                met.extend([kind] * ("exclusive" in inside and len(inside) > 1))
                inside.remove(kind)

    threads = [start(lambda kind=kind: work(kind)) for kind in ("shared", "exclusive") * 4]
    for thread in threads:
        thread.join(5)
    assert not any(thread.is_alive() for thread in threads)
    assert not met
