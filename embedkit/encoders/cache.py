"""A content-addressed store of vectors on disk, so that nothing is encoded twice."""

import os
import sqlite3
import threading
import time
import weakref
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from embedkit.errors import CorruptFileError, StorageError
from embedkit.types import Embeddings, Vector

_SCHEMA = "CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, checksum INTEGER, vector BLOB) WITHOUT ROWID"
_QUERY_SIZE = 500
_WIDTH = 4  # bytes of one float32
_PATIENCE = 30.0  # seconds to wait for another process


class VectorCache:
    """Vectors by the hash of what made them. Crash-safe; shared by threads and processes.

    The key covers the input, the prompt, the encoder's weights and settings and the depth, so a cache
    can serve any number of encoders; narrower `truncate_dim`s are prefixes of one stored vector.

    Args:
        path: The file; it is created when absent, its folder too.

    Raises:
        CorruptFileError: The file is not a vector cache, or is damaged.
        StorageError: It cannot be created or written.

    Example:
        >>> import tempfile
        >>> cache = VectorCache(Path(tempfile.mkdtemp()) / "vectors.sqlite")
        >>> cache.put([b"key"], np.ones((1, 3), dtype=np.float32))
        >>> cache.get([b"key", b"other"])
        {b'key': array([1., 1., 1.], dtype=float32)}
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        _CACHES.add(self)
        with self._connected():
            pass

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Vector]:
        """Stored vectors of those `keys` that are known; damaged entries count as unknown."""
        found: dict[bytes, Vector] = {}
        with self._connected() as connection:
            for start in range(0, len(keys), _QUERY_SIZE):
                part = keys[start : start + _QUERY_SIZE]
                marks = ",".join("?" * len(part))
                rows = connection.execute(f"SELECT key, checksum, vector FROM vectors WHERE key IN ({marks})", part)  # noqa: S608 (only question marks are inserted)
                for key, checksum, blob in rows:
                    if isinstance(blob, bytes) and zlib.crc32(blob) == checksum and len(blob) % _WIDTH == 0:
                        found[key] = np.frombuffer(blob, dtype="<f4").astype(np.float32)
        return found

    def put(self, keys: Sequence[bytes], vectors: Embeddings) -> None:
        """Store vectors (n, dim) under `keys`: kept when the process is killed, perhaps lost in a power cut."""
        blobs = [vector.astype("<f4").tobytes() for vector in vectors]
        rows = [(key, zlib.crc32(blob), blob) for key, blob in zip(keys, blobs, strict=True)]
        with self._connected() as connection, connection:
            connection.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?)", rows)

    def __len__(self) -> int:
        with self._connected() as connection:
            return int(connection.execute("SELECT count(*) FROM vectors").fetchone()[0])

    def close(self) -> None:
        """Close the file; the next call opens it again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = self._open()
                yield self._connection
            except sqlite3.OperationalError as error:
                message = f"cannot use the vector cache {self.path}: {error}"
                raise StorageError(message) from error
            except sqlite3.DatabaseError as error:
                message = f"{self.path} is not a vector cache or is damaged ({error}): delete it, it only saves time"
                raise CorruptFileError(message) from error

    def _open(self) -> sqlite3.Connection:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            message = f"cannot create the folder of the vector cache {self.path}: {error.strerror}"
            raise StorageError(message) from error
        connection = sqlite3.connect(self.path, timeout=_PATIENCE, check_same_thread=False)
        try:
            _write_ahead(connection)
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute(_SCHEMA)
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _leave_to_parent(self) -> None:
        """SQLite forbids a forked child the connection of its parent, even to close it."""
        if self._connection is not None:
            _LEFT.append(self._connection)
        self._connection, self._lock = None, threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.path = state["path"]
        self._lock = threading.Lock()
        self._connection = None
        _CACHES.add(self)


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Switch to the log that readers and a writer share.

    Where two processes open a new file at once, SQLite refuses one of them at once, without the patience it has
    elsewhere.
    """
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


_CACHES: weakref.WeakSet[VectorCache] = weakref.WeakSet()
_LEFT: list[sqlite3.Connection] = []


def _after_fork() -> None:
    for cache in _CACHES:
        cache._leave_to_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
