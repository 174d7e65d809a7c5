"""`DocumentStore`: ids, documents, metadata and vectors in SQLite, the truth an index is rebuilt from."""

import json
import os
import sqlite3
import threading
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from embedkit.errors import (
    CorruptFileError,
    EmbedkitError,
    ForkedProcessError,
    InputError,
    LockedIndexError,
    StorageError,
)
from embedkit.index.filters import Where, compile_where, path_of
from embedkit.index.ids import as_ids, shown
from embedkit.types import Embeddings, Id, Positions

STORE = "documents.sqlite"
LOCK = "lock"
"""Names of the store and of the writer's lock in the folder of an index."""

# Ids keep their type: the column has no affinity, so 1 and "1" are two ids. AUTOINCREMENT never gives a
# row number out twice, even after the last row was deleted.
_SCHEMA = """
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL, checksum INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE documents (
    row INTEGER PRIMARY KEY AUTOINCREMENT, id UNIQUE NOT NULL, metadata TEXT NOT NULL,
    checksum INTEGER NOT NULL, document TEXT);
CREATE TABLE vectors (row INTEGER PRIMARY KEY, checksum INTEGER NOT NULL, vector BLOB NOT NULL);
CREATE TABLE notes (name TEXT PRIMARY KEY, value TEXT NOT NULL, checksum INTEGER NOT NULL) WITHOUT ROWID;
"""
_CHUNK = 500
_FREE_SHARE = 0.25

_REMEDIES = {
    sqlite3.SQLITE_FULL: "the disk is full: free space and call again",
    sqlite3.SQLITE_READONLY: "the disk or the file is read-only",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened: check the folder and its permissions",
    sqlite3.SQLITE_IOERR: "the disk reports an error",
    sqlite3.SQLITE_PERM: "permission is denied",
    sqlite3.SQLITE_TOOBIG: "a document is larger than a gigabyte",
}


class StoredDocument(NamedTuple):
    """One document as it is stored."""

    row: int
    id: Id
    document: str | None
    metadata: dict[str, Any]


class DocumentStore:
    """Documents under unique ids, each with a row number that is never given out again.

    Every change is one transaction, durable when the call returns (write-ahead log, full sync). Each row
    carries a checksum that is verified when it is read. Safe to share between threads.

    Args:
        path: The file; None keeps everything in memory.
        create: Make the file; otherwise it must exist.
        read_only: Open without the right to write; works on read-only disks.

    Raises:
        CorruptFileError: The file is damaged or no document store.
        StorageError: The disk refused.
    """

    def __init__(self, path: Path | None, *, create: bool = False, read_only: bool = False) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._process = os.getpid()
        self._closed = False
        self._frozen: tuple[int, ...] | None = None
        with self._translated():
            if read_only and path is not None:
                self._connection, self._frozen = _open_read_only(path)
            else:
                self._connection = _open(path, create=create)
            if create:
                self._create()
            self._connection.execute("SELECT count(*) FROM settings").fetchone()
            self._version = self._pragma("data_version")

    def close(self) -> None:
        """Close the file; closing twice is harmless."""
        if not self.is_forked:
            with self._lock, suppress(sqlite3.Error):
                self._connection.close()
            self._closed = True

    # -- writing -------------------------------------------------------------------------------------

    def add(
        self,
        ids: Sequence[Id],
        documents: Sequence[str | None],
        metadata: Sequence[Mapping[str, Any]],
        vectors: Embeddings,
    ) -> list[int]:
        """Store documents under new ids, all or none.

        Returns:
            Their row numbers.

        Raises:
            InputError: An id is stored already.
        """
        with self._transaction():
            return self._insert(ids, documents, metadata, vectors)

    def replace(
        self,
        ids: Sequence[Id],
        documents: Sequence[str | None],
        metadata: Sequence[Mapping[str, Any]],
        vectors: Embeddings,
    ) -> tuple[list[int], list[int]]:
        """Store documents under ids that exist, all or none.

        Returns:
            The row numbers that are gone, and those that took their place.

        Raises:
            InputError: An id is not stored.
        """
        with self._transaction():
            return self._delete(ids), self._insert(ids, documents, metadata, vectors)

    def remove(self, ids: Sequence[Id]) -> list[int]:
        """Delete documents, all or none.

        Returns:
            The row numbers that are gone.

        Raises:
            InputError: An id is not stored.
        """
        with self._transaction():
            return self._delete(ids)

    def write_settings(self, settings: Mapping[str, Any]) -> None:
        """Record what the store was made with."""
        with self._transaction():
            self._connection.executemany("INSERT OR REPLACE INTO settings VALUES (?, ?, ?)", _as_pairs(settings))

    def write_notes(self, notes: Mapping[str, Any], *, forget: Iterable[str] = ()) -> None:
        """Keep JSON values by name beside the documents; drop those named in `forget`.

        Raises:
            InputError: Not strings mapped to JSON values.
        """
        rows = _as_pairs(notes)
        with self._transaction():
            self._connection.executemany("DELETE FROM notes WHERE name = ?", [(name,) for name in forget])
            self._connection.executemany("INSERT OR REPLACE INTO notes VALUES (?, ?, ?)", rows)

    def copy_to(self, path: Path) -> None:
        """Write a complete copy of the store to a new file."""
        with self._translated(), self._lock:
            target = sqlite3.connect(path)
            with closing(target):
                self._connection.backup(target)

    def verify(self) -> list[Id]:
        """Check the structure of the file and every document; searches then cannot miss one unnoticed.

        Returns:
            The ids of documents that differ from their checksums.

        Raises:
            CorruptFileError: The file itself is damaged.
        """
        columns = "row, id, metadata, checksum, document"
        with self._translated(), self._lock:
            if (found := self._connection.execute("PRAGMA integrity_check(1)").fetchone()) != ("ok",):
                message = f"{self.path} is damaged ({found[0]}): restore it or index the sources again"
                raise CorruptFileError(message)
            stored = self._connection.execute(f"SELECT {columns} FROM documents")  # noqa: S608 (our own names)
            return [
                id
                for row, id, metadata, checksum, document in stored
                if _checksum(row, id, metadata, document) != checksum
            ]

    def changed_elsewhere(self) -> bool:
        """Whether another process has written since the last call."""
        with self._translated(), self._lock:
            if self._frozen is not None and self.path is not None:
                return self._reopen(self.path)
            before, self._version = self._version, self._pragma("data_version")
            return before != self._version

    def _reopen(self, path: Path) -> bool:
        """Open a store anew that was taken for immutable, when it has changed after all."""
        if changed := self._frozen != _look_of(path):
            self._connection.close()
            self._connection, self._frozen = _open_read_only(path)
        return changed

    def compact(self) -> None:
        """Give back the space of deleted documents, when it is worth rewriting the file."""
        with self._translated(), self._lock:
            free, total = (self._pragma(name) for name in ("freelist_count", "page_count"))
            if free > _FREE_SHARE * total and self.path is not None:
                self._connection.execute("VACUUM")

    def _insert(
        self,
        ids: Sequence[Id],
        documents: Sequence[str | None],
        metadata: Sequence[Mapping[str, Any]],
        vectors: Embeddings,
    ) -> list[int]:
        known = next(iter(self._known(ids)), None)
        if known is not None:
            message = f"ids must be new; {known!r} is stored already: use update to replace its document"
            raise InputError(message)
        query = "SELECT max(coalesce(max(row), 0), coalesce((SELECT max(seq) FROM sqlite_sequence), 0)) FROM documents"
        first = int(self._connection.execute(query).fetchone()[0]) + 1
        rows = range(first, first + len(ids))
        for row, id, document, fields, vector in zip(rows, ids, documents, metadata, vectors, strict=True):
            text, blob = as_json(fields), vector.astype("<f4").tobytes()
            checksum = _checksum(row, id, text, document)
            self._connection.execute(
                "INSERT INTO documents VALUES (?, ?, ?, ?, ?)", (row, id, text, checksum, document)
            )
            self._connection.execute("INSERT INTO vectors VALUES (?, ?, ?)", (row, _vector_checksum(row, blob), blob))
        return list(rows)

    def _delete(self, ids: Sequence[Id]) -> list[int]:
        rows = self.rows_of(ids)
        marks = [(row,) for row in rows]
        self._connection.executemany("DELETE FROM documents WHERE row = ?", marks)
        self._connection.executemany("DELETE FROM vectors WHERE row = ?", marks)
        return rows

    # -- reading -------------------------------------------------------------------------------------

    def __len__(self) -> int:
        with self._translated(), self._lock:
            return int(self._connection.execute("SELECT count(*) FROM documents").fetchone()[0])

    def __contains__(self, id: object) -> bool:
        try:
            return bool(self._known(as_ids([id])))
        except InputError:
            return False

    def rows_of(self, ids: Sequence[Id]) -> list[int]:
        """Row numbers of `ids`, in their order.

        Raises:
            InputError: An id is not stored.
        """
        known = self._known(ids)
        unknown = next((id for id in ids if id not in known), None)
        if unknown is not None:
            message = f"ids must be stored; {unknown!r} is not"
            raise InputError(message)
        return [known[id] for id in ids]

    def rows(self, where: Where | None = None) -> Positions:
        """Row numbers of the documents that satisfy `where`, ascending.

        Raises:
            InputError: `where` is not a valid condition.
        """
        condition, parameters = compile_where(where or {})
        query = f"SELECT row FROM documents WHERE {condition} ORDER BY row"  # noqa: S608 (values are parameters)
        with self._translated(), self._lock:
            return np.array([row for (row,) in self._connection.execute(query, parameters)], dtype=np.int64)

    def documents(self, rows: Iterable[int]) -> dict[int, StoredDocument]:
        """The stored documents by row number; rows that are gone are left out.

        Raises:
            CorruptFileError: A document differs from its checksum.
        """
        columns = "row, id, metadata, checksum, document"
        found = {}
        for row, id, metadata, checksum, document in self._select("documents", columns, rows):
            if _checksum(row, id, metadata, document) != checksum:
                message = f"document {id!r} in {self.path} differs from its checksum: index its source again"
                raise CorruptFileError(message)
            found[row] = StoredDocument(row, id, document, json.loads(metadata))
        return found

    def vectors(self, rows: Iterable[int]) -> Iterator[tuple[list[int], Embeddings]]:
        """Stored vectors in chunks: row numbers and their vectors, (n, dim).

        Raises:
            CorruptFileError: A vector is missing or differs from its checksum.
        """
        for chunk in _chunks(rows, 20 * _CHUNK):
            found = self._select("vectors", "row, checksum, vector", chunk)
            intact = all(_vector_checksum(row, blob) == checksum for row, checksum, blob in found)
            if len(found) != len(chunk) or not intact:
                message = f"vectors in {self.path} are missing or differ from their checksums: make the index again"
                raise CorruptFileError(message)
            stacked = np.frombuffer(b"".join(blob for _, _, blob in found), dtype="<f4").astype(np.float32)
            yield [row for row, _, _ in found], stacked.reshape(len(found), -1)

    def settings(self) -> dict[str, Any]:
        """What the store was made with."""
        return self._read_pairs("settings")

    def notes(self) -> dict[str, Any]:
        """JSON values kept beside the documents."""
        return self._read_pairs("notes")

    def count_by(self, field: str) -> dict[Any, int]:
        """How many documents have each value of a metadata field.

        Raises:
            InputError: `field` is not a name that a metadata field may be looked up by.
        """
        query = "SELECT json_extract(metadata, ?), count(*) FROM documents GROUP BY 1 ORDER BY 2 DESC"
        with self._translated(), self._lock:
            return dict(self._connection.execute(query, [path_of(field)]).fetchall())

    def _known(self, ids: Sequence[Id]) -> dict[Id, int]:
        found: dict[Id, int] = {}
        with self._translated(), self._lock:
            for chunk in _chunks(ids, _CHUNK):
                marks = ",".join("?" * len(chunk))
                query = f"SELECT id, row FROM documents WHERE id IN ({marks})"  # noqa: S608 (only question marks)
                found.update(self._connection.execute(query, chunk).fetchall())
        return found

    def _select(self, table: str, columns: str, rows: Iterable[int]) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = []
        with self._translated(), self._lock:
            for chunk in _chunks(rows, _CHUNK):
                marks = ",".join("?" * len(chunk))
                query = f"SELECT {columns} FROM {table} WHERE row IN ({marks})"  # noqa: S608 (our own names)
                found += self._connection.execute(query, [int(row) for row in chunk]).fetchall()
        return found

    def _read_pairs(self, table: str) -> dict[str, Any]:
        query = f"SELECT name, value, checksum FROM {table}"  # noqa: S608 (our own names)
        with self._translated(), self._lock:
            pairs = self._connection.execute(query).fetchall()
        damaged = [name for name, value, checksum in pairs if _checksum(name, value) != checksum]
        if damaged:
            message = f"{table} {damaged[0]!r} in {self.path} differ from their checksum: index the sources again"
            raise CorruptFileError(message)
        return {name: json.loads(value) for name, value, _ in pairs}

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """What is read inside is of one moment, whatever another process writes meanwhile."""
        with self._translated(), self._lock:
            self._connection.execute("BEGIN")
            try:
                yield
            finally:
                with suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")

    @property
    def is_forked(self) -> bool:
        """Whether this is a child of the process that opened the store: the locks and logs are the parent's."""
        return self._process != os.getpid()

    def check_usable(self) -> None:
        """Refuse to go on when the store is closed, or in a forked child.

        Raises:
            ForkedProcessError: This process is not the one that opened the store.
            EmbedkitError: The store is closed.
        """
        if self._closed:
            message = f"{self.path or 'this index in memory'} is closed: open the index again"
            raise EmbedkitError(message)
        if self.is_forked:
            message = (
                "this index was opened before the process was forked: open it again in the child, or start "
                "workers with multiprocessing.get_context('spawn')"
            )
            raise ForkedProcessError(message)

    # -- inside --------------------------------------------------------------------------------------

    def _create(self) -> None:
        with self._transaction():
            for statement in _SCHEMA.split(";"):
                self._connection.execute(statement)

    def _pragma(self, name: str) -> int:
        return int(self._connection.execute(f"PRAGMA {name}").fetchone()[0])

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._translated(), self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _translated(self) -> Iterator[None]:
        self.check_usable()
        try:
            yield
        except (sqlite3.Error, UnicodeDecodeError) as error:  # sqlite3 decodes what it quotes from a damaged file
            raise _translate(error, self.path) from error


def as_json(value: Any) -> str:
    """JSON text of one document's metadata.

    Raises:
        InputError: Not a mapping with string keys, or a value that JSON cannot hold exactly.
    """
    if not isinstance(value, Mapping):
        message = f"metadata must map strings to JSON values; received {shown(value)}"
        raise InputError(message)
    try:
        text = json.dumps(dict(value), allow_nan=False, ensure_ascii=False)
        text.encode()
        _check_exact(value)
    except (TypeError, ValueError, RecursionError) as error:
        message = f"metadata must hold JSON values (strings, finite numbers, booleans, None, lists, objects): {error}"
        raise InputError(message) from None
    return text


def _check_exact(value: Any) -> None:
    """Refuse what `json.dumps` takes but changes, and NUL, at which SQLite's JSON functions stop reading."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if not isinstance(key, str):
                message = f"the key {key!r:.100} is no string"
                raise TypeError(message)
            _check_exact(key)
            _check_exact(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            _check_exact(inner)
    elif isinstance(value, str) and "\0" in value:
        message = f"{value!r:.100} holds a NUL"
        raise ValueError(message)


def _as_pairs(values: Mapping[str, Any]) -> list[tuple[str, str, int]]:
    """Names, their values as JSON, and checksums."""
    as_json(values)
    texts = {name: json.dumps(value) for name, value in values.items()}
    return [(name, text, _checksum(name, text)) for name, text in texts.items()]


def _open(path: Path | None, *, create: bool) -> sqlite3.Connection:
    if path is None:
        return sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    mode = "rwc" if create else "rw"
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    return connection


def _open_read_only(path: Path) -> tuple[sqlite3.Connection, tuple[int, ...] | None]:
    """Plain read-only first; `immutable` where a read-only disk leaves no place for the shared memory file.

    SQLite does not look for changes of what is immutable: its looks are given too, to be compared later.
    """
    try:
        return _connect_read_only(path, "mode=ro"), None
    except sqlite3.OperationalError as error:
        refused = error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)
        if not refused or not path.is_file() or _has_log(path):
            raise
        looks = _look_of(path)
        return _connect_read_only(path, "mode=ro&immutable=1"), looks


def _look_of(path: Path) -> tuple[int, ...]:
    stat = path.stat()
    return stat.st_ino, stat.st_size, stat.st_mtime_ns, _has_log(path)


def _connect_read_only(path: Path, query: str) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?{query}"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
    connection.execute("SELECT count(*) FROM sqlite_master")
    return connection


def _has_log(path: Path) -> bool:
    log = path.with_name(path.name + "-wal")
    return log.exists() and log.stat().st_size > 0


def _translate(error: sqlite3.Error | UnicodeDecodeError, path: Path | None) -> EmbedkitError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return LockedIndexError(f"{path} is being written by another process: try again when it has finished")
    if code in _REMEDIES:
        return StorageError(f"cannot use {path}: {_REMEDIES[code]}; what was stored before is unchanged")
    return CorruptFileError(f"{path} is damaged or no document store ({error}): restore it or index the sources again")


def _checksum(*values: Id | None) -> int:
    return zlib.crc32(repr(values).encode("utf-8", "surrogatepass"))


def _vector_checksum(row: int, blob: Any) -> int:
    return zlib.crc32(blob, row) if isinstance(blob, bytes) else -1  # which no checksum is


def _chunks(values: Iterable[Any], size: int) -> Iterator[list[Any]]:
    listed = list(values)
    for start in range(0, len(listed), size):
        yield listed[start : start + size]
