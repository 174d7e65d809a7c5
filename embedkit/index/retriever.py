"""`Retriever`: documents and the queries that find them."""

import os
import uuid
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from filelock import FileLock, Timeout

from embedkit.errors import (
    CorruptFileError,
    EmbedkitError,
    IncompatibleIndexError,
    InputError,
    LockedIndexError,
)
from embedkit.index.faiss_index import FaissIndex, Tuning
from embedkit.index.filters import Where
from embedkit.index.ids import as_ids, is_unicode
from embedkit.index.locks import SharedLock
from embedkit.index.store import LOCK, STORE, DocumentStore, StoredDocument, as_json
from embedkit.io import FORMAT_VERSION, MANIFEST, quarantine, raise_storage_error, replacing_folder, write_atomic
from embedkit.ops.vectors import as_real
from embedkit.types import Embeddings, Id, Metadata, SupportsEncode


@dataclass(frozen=True, slots=True)
class Hit:
    """One answer.

    Attributes:
        id: The document's id.
        score: Higher is nearer; the scale is the index's metric.
        document: Its text; None when the document was not text.
        metadata: What was stored with it.
    """

    id: Id
    score: float
    document: str | None
    metadata: dict[str, Any]


class Retriever:
    """Encodes documents, keeps them, and finds the nearest ones to a query.

    The documents, their metadata and their vectors live in SQLite, which is the truth; the `FaissIndex` is
    derived from it and is rebuilt when its files are damaged. With a folder, what `add` returned for
    survives a kill at any moment. One process writes at a time; any number may read.

    Args:
        encoder: What turns documents and queries into vectors; `encode_document` and `encode_query` are used
            where it has them. None gives a retriever that cannot encode.
        index: An empty index that says how to search; None is `FaissIndex()`.
        folder: Where everything is kept; None keeps it in memory. Must not hold an index yet: an existing
            one is opened with `Retriever.load`.

    Raises:
        InputError: The index is not empty, or the folder holds one already.
        LockedIndexError: Another process is writing the folder.
        StorageError: The disk refused.

    Example:
        >>> import embedkit as ek
        >>> retriever = ek.Retriever(ek.load(), ek.FaissIndex())
        >>> retriever.add(["rain", "cake"], ["It will pour down today.", "Whisk the eggs with sugar."])
        >>> retriever.search("weather forecast", k=1)[0].id
        'rain'
    """

    def __init__(
        self,
        encoder: SupportsEncode | None,
        index: FaissIndex | None = None,
        *,
        folder: str | os.PathLike[str] | None = None,
    ) -> None:
        self.encoder = encoder
        self.index = index if index is not None else FaissIndex()
        if len(self.index):
            message = f"index must be empty, since the retriever fills it; received one with {len(self.index)} vectors"
            raise InputError(message)
        if self.index.dim is None and encoder is not None:
            self.index.dim = encoder.get_embedding_dimension()
        self.folder = Path(folder).absolute() if folder is not None else None
        self._lock = SharedLock()
        self._file_lock: FileLock | None = None
        self._behind = False
        self._unsaved = False
        self._token = uuid.uuid4().hex
        if self.folder is None:
            self._store = DocumentStore(None, create=True)
            self._store.write_settings(self._settings())
        else:
            self._store = self._create(self.folder)

    # -- writing -------------------------------------------------------------------------------------

    def add(
        self,
        ids: Iterable[Id],
        documents: Sequence[Any],
        metadata: Sequence[Metadata] | None = None,
        *,
        show_progress_bar: bool | None = None,
    ) -> None:
        """Encode documents and keep them under new ids: all of them or, on an error, none.

        Args:
            ids: One new id for each document.
            documents: What the encoder reads.
            metadata: A JSON object for each document; None gives each an empty one.
            show_progress_bar: Handed to the encoder, unless None.

        Raises:
            InputError: An id is known or repeated, lengths differ, or a document is not what the encoder reads.
            StorageError: The disk refused; nothing of this call was kept.
        """
        documents = _as_list(documents, "documents")
        checked = as_ids(ids, count=len(documents))
        texts = _texts(documents)
        fields = _as_fields(metadata, [{} for _ in checked])
        self._check_writable()
        known = next((id for id in checked if id in self._store), None)
        if known is not None:
            message = f"ids must be new; {known!r} is stored already: use update to replace its document"
            raise InputError(message)
        if not checked:
            return
        vectors = self._encode_documents(documents, show_progress_bar)
        with self._lock.exclusive():
            self._behind = self._unsaved = True
            rows = self._store.add(checked, texts, fields, vectors)
            self.index.add(rows, vectors)
            self._behind = False

    def update(
        self,
        ids: Iterable[Id],
        documents: Sequence[Any],
        metadata: Sequence[Metadata] | None = None,
        *,
        show_progress_bar: bool | None = None,
    ) -> None:
        """Replace documents whose ids are known: all of them or, on an error, none.

        Args:
            ids: One known id for each document.
            documents: What the encoder reads.
            metadata: A JSON object for each document; None keeps what is stored.
            show_progress_bar: Handed to the encoder, unless None.

        Raises:
            InputError: An id is unknown or repeated, or the input is not valid (see `add`).
            StorageError: The disk refused; nothing of this call was kept.
        """
        documents = _as_list(documents, "documents")
        checked = as_ids(ids, count=len(documents))
        texts = _texts(documents)
        self._check_writable()
        fields = _as_fields(metadata, [stored.metadata for stored in self.get(checked)])
        if not checked:
            return
        vectors = self._encode_documents(documents, show_progress_bar)
        with self._lock.exclusive():
            self._behind = self._unsaved = True
            gone, rows = self._store.replace(checked, texts, fields, vectors)
            self.index.remove(gone)
            self.index.add(rows, vectors)
            self._behind = False

    def remove(self, ids: Iterable[Id]) -> None:
        """Forget documents: all of them or, on an error, none.

        Raises:
            InputError: An id is unknown or repeated.
            StorageError: The disk refused; nothing was forgotten.
        """
        checked = as_ids(ids)
        self._check_writable()
        with self._lock.exclusive():
            self._behind = self._unsaved = True
            self.index.remove(self._store.remove(checked))
            self._behind = False

    def write_notes(self, notes: Mapping[str, Any], *, forget: Iterable[str] = ()) -> None:
        """Keep JSON values by name beside the documents, durably; drop those named in `forget`."""
        self._check_writable()
        self._store.write_notes(notes, forget=forget)

    # -- reading -------------------------------------------------------------------------------------

    def search(self, queries: Any, k: int = 10, *, where: Where | None = None) -> Any:
        """The documents nearest to one query or to each of many.

        Args:
            queries: What the encoder reads: one query, or a batch.
            k: How many answers, at least 1; fewer come back when fewer documents qualify.
            where: Conditions on metadata, such as {"kind": "code"}; see `index.filters`.

        Returns:
            A list of `Hit`, best first; for a batch, a list of such lists.

        Raises:
            InputError: k < 1, an invalid condition, or a query that the encoder does not read.
        """
        self._store.check_usable()
        return self.nearest(self.encode_query(queries), k, where=where)

    def encode_query(self, queries: Any) -> Any:
        """Vectors of queries, as `search` makes them.

        Raises:
            InputError: There is no encoder, or a query that it does not read.
        """
        return self._encode("encode_query", queries)

    def nearest(self, vectors: Any, k: int = 10, *, where: Where | None = None) -> Any:
        """As `search`, by vectors of queries: (queries, dim), or (dim,) for one.

        Raises:
            InputError: k < 1, an invalid condition, or vectors of another width.
        """
        self._store.check_usable()
        asked = as_real(vectors, "vectors")
        self._catch_up()
        with self._lock.shared():
            among = None if where is None else self._store.rows(where).tolist()
            scores, rows = self.index.search(asked, k, among=among)
            found = self._hits(np.atleast_2d(scores), np.atleast_2d(rows))
        return found[0] if asked.ndim == 1 else found

    def tune(self, queries: Any, *, k: int = 10, recall: float = 0.95) -> Tuning:
        """Find how hard an approximate index must try for queries like these; see `FaissIndex.tune`.

        Args:
            queries: A batch of what will be asked, of the modality that will ask.
            k: Neighbours whose finding counts.
            recall: Share of the exact neighbours that must be found.

        Raises:
            InputError: As in `FaissIndex.tune`, or a query that the encoder does not read.
        """
        self._store.check_usable()
        vectors = np.atleast_2d(as_real(self.encode_query(queries), "the encoder's vectors"))
        self._catch_up()
        with self._lock.shared():
            found = self.index.tune(vectors, k=k, recall=recall)
            self._unsaved = True
        return found

    def get(self, ids: Iterable[Id]) -> list[StoredDocument]:
        """Stored documents in the order of `ids`.

        Raises:
            InputError: An id is unknown.
        """
        rows = self._store.rows_of(as_ids(ids))
        stored = self._store.documents(rows)
        return [stored[row] for row in rows]

    def find(self, where: Where | None = None) -> list[StoredDocument]:
        """All documents that satisfy `where`, in the order they were added."""
        return list(self._store.documents(self._store.rows(where)).values())

    def notes(self) -> dict[str, Any]:
        """The values kept by `write_notes`."""
        return self._store.notes()

    def __len__(self) -> int:
        return len(self._store)

    def __contains__(self, id: object) -> bool:
        return id in self._store

    def __repr__(self) -> str:
        return f"Retriever({len(self)} documents, index={self.index!r}, folder={str(self.folder)!r})"

    # -- saving --------------------------------------------------------------------------------------

    def save(self, folder: str | os.PathLike[str] | None = None) -> None:
        """Write the derived index files, so that the next start need not rebuild them; or a whole copy.

        Args:
            folder: None saves where this retriever lives. Another folder, new or empty, gets a copy.

        Raises:
            InputError: No folder is known, or the one given is not empty.
            StorageError: The disk refused; documents and the former index files are intact.
        """
        if folder is None or (self.folder is not None and Path(folder).resolve() == self.folder.resolve()):
            self._save_here()
            return
        self._store.check_usable()
        target = Path(folder)
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            message = f"folder must be new or empty; {target} is not"
            raise InputError(message)
        self._catch_up()
        with self._lock.shared(), replacing_folder(target) as temporary:
            self._store.copy_to(temporary / STORE)
            self.index.save(temporary, info=self._store.settings())

    def _save_here(self) -> None:
        if self.folder is None:
            message = "this retriever lives in memory: name a folder to save it to"
            raise InputError(message)
        self._check_writable()
        self._catch_up()
        with self._lock.shared():
            self._store.compact()
            if self._unsaved or not (self.folder / MANIFEST).exists():
                self.index.save(self.folder, info=self._store.settings())
                self._unsaved = False

    @classmethod
    def load(
        cls, folder: str | os.PathLike[str], encoder: SupportsEncode | None = None, *, read_only: bool = False
    ) -> Self:
        """Open a folder.

        Args:
            folder: Where a retriever was kept or saved.
            encoder: The one it was built with; None gives a retriever that can list and remove only.
            read_only: Do not take the right to write; works beside a writer and on a read-only disk.

        Raises:
            InputError: No index is there.
            IncompatibleIndexError: Built by another encoder, or by a newer format.
            CorruptFileError: The document store is damaged.
            LockedIndexError: Another process is writing (not with `read_only`).
        """
        path = Path(folder).absolute()
        if not (path / STORE).is_file():
            message = f"{path} holds no index: make one with Retriever(encoder, folder=…) or 'embedkit index'"
            raise InputError(message)
        retriever = cls.__new__(cls)
        retriever._open(path, encoder, read_only=read_only)
        return retriever

    def close(self) -> None:
        """Save what is unsaved and let go of the folder; closing twice is harmless.

        Raises:
            StorageError: The disk refused; the documents are safe, and the next start makes the index again.
        """
        if self._store.is_forked:
            return  # the parent's to close
        try:
            if self._file_lock is not None and self._unsaved:
                self._save_here()
        finally:
            self._store.close()
            self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # -- inside --------------------------------------------------------------------------------------

    def _create(self, folder: Path) -> DocumentStore:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise_storage_error(error, f"cannot make an index in {folder}")
        self._acquire(folder)
        try:
            _clear(folder)
            write_atomic(folder / STORE, self._write_empty_store)
            self._unsaved = (folder / MANIFEST).exists()  # of an index whose documents are gone
            return DocumentStore(folder / STORE)
        except BaseException:
            self._release()
            raise

    def _write_empty_store(self, path: Path) -> None:
        with closing(DocumentStore(None, create=True)) as store:
            store.write_settings(self._settings())
            store.copy_to(path)

    def _open(self, folder: Path, encoder: SupportsEncode | None, *, read_only: bool) -> None:
        self.folder, self.encoder = folder, encoder
        self._lock = SharedLock()
        self._file_lock = None
        self._behind = True
        self._unsaved = False
        if not read_only:
            self._acquire(folder)
        try:
            self._store = DocumentStore(folder / STORE, read_only=read_only)
            try:
                settings = self._store.settings()
                self._check_settings(settings)
                self._token = settings["store"]
                self._warn_of_damage(self._store.verify())
                self.index = self._load_index(settings)
                self._catch_up()
            except BaseException:
                self._store.close()
                raise
        except BaseException:
            self._release()
            raise

    def _warn_of_damage(self, ids: list[Id]) -> None:
        if ids:
            message = (
                f"{len(ids)} documents in {self.folder} are damaged, such as {ids[0]!r}: remove them and add them again"
            )
            warnings.warn(message, UserWarning, stacklevel=5)

    def _load_index(self, settings: Mapping[str, Any]) -> FaissIndex:
        """The saved index, or an empty one to be filled again when its files are gone or damaged."""
        folder = self.folder if self.folder is not None else Path()
        try:
            index = self._load_own_index(folder)
        except CorruptFileError as error:
            if (folder / MANIFEST).exists():
                warnings.warn(f"rebuilding the index from its documents: {error}", UserWarning, stacklevel=5)
            if self._file_lock is not None:
                quarantine(folder)
                self._unsaved = True
            return FaissIndex(settings["dim"], metric=settings["metric"], kind=settings["kind"])
        self._unsaved = not index.is_current
        return index

    def _load_own_index(self, folder: Path) -> FaissIndex:
        index = FaissIndex.load(folder)
        if index.info.get("store") != self._token:
            message = f"{folder / MANIFEST} was written for other documents"
            raise CorruptFileError(message)
        return index

    def _catch_up(self) -> None:
        """Make the index hold exactly the rows of the store."""
        if self._file_lock is None and self._store.changed_elsewhere():
            self._behind = True
        if not self._behind:
            return
        with self._lock.exclusive(), self._store.snapshot():
            stored, held = set(self._store.rows().tolist()), set(self.index.ids)
            if held - stored:
                self.index.remove(held - stored)
            for rows, vectors in self._store.vectors(sorted(stored - held)):
                self.index.add(rows, vectors)
            self._unsaved = self._unsaved or held != stored
            self._behind = False

    def _encode_documents(self, documents: list[Any], show_progress_bar: bool | None) -> Embeddings:
        """Vectors that the index will take, so that nothing is stored that it would refuse."""
        vectors = self.index.check(self._encode("encode_document", documents, show_progress_bar))
        if len(vectors) != len(documents):
            message = (
                f"the encoder must give one vector for each of the {len(documents)} documents; it gave {len(vectors)}"
            )
            raise InputError(message)
        return vectors

    def _encode(self, role: str, inputs: Any, show_progress_bar: bool | None = None) -> Any:
        if self.encoder is None:
            message = "this retriever was opened without an encoder: pass one to Retriever.load"
            raise InputError(message)
        options = {} if show_progress_bar is None else {"show_progress_bar": show_progress_bar}
        return getattr(self.encoder, role, self.encoder.encode)(inputs, **options)

    def _hits(self, scores: Any, rows: Any) -> list[list[Hit]]:
        stored = self._store.documents(set(rows.ravel().tolist()))
        return [
            [
                Hit(stored[row].id, float(score), *stored[row][2:])
                for score, row in zip(*pair, strict=True)
                if row in stored
            ]
            for pair in zip(scores, rows, strict=True)
        ]

    def _settings(self) -> dict[str, Any]:
        made_with = getattr(self.encoder, "fingerprint", None)
        width = self.index.dim or (self.encoder.get_embedding_dimension() if self.encoder is not None else None)
        return {
            "format": FORMAT_VERSION,
            "encoder": made_with,
            "dim": width,
            "metric": self.index.metric,
            "kind": self.index.kind,
            "store": self._token,
        }

    def _check_settings(self, settings: Mapping[str, Any]) -> None:
        if not {"format", "encoder", "dim", "metric", "kind", "store"} <= set(settings):
            message = f"{self.folder} was never finished or is damaged: index the sources again into a new folder"
            raise CorruptFileError(message)
        if settings["format"] > FORMAT_VERSION:
            message = (
                f"{self.folder} has format {settings['format']}; this embedkit reads up to {FORMAT_VERSION}: update it"
            )
            raise IncompatibleIndexError(message)
        if self.encoder is None:
            return
        own, width = getattr(self.encoder, "fingerprint", None), self.encoder.get_embedding_dimension()
        built_by = settings["encoder"]
        if (own and built_by and own != built_by) or (width and settings["dim"] and width != settings["dim"]):
            message = (
                f"{self.folder} was built by another encoder ({_named(built_by, settings['dim'])}; this one is "
                f"{_named(own, width)}): open it with that encoder, or index the sources again into a new folder"
            )
            raise IncompatibleIndexError(message)

    def _check_writable(self) -> None:
        self._store.check_usable()
        if self.folder is not None and self._file_lock is None:
            message = f"{self.folder} was opened read-only: open it with Retriever.load(folder, encoder)"
            raise EmbedkitError(message)

    def _acquire(self, folder: Path) -> None:
        lock = FileLock(folder / LOCK, thread_local=False)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            message = f"{folder} is being written by another process: wait for it, or open with read_only=True"
            raise LockedIndexError(message) from None
        except OSError as error:
            raise_storage_error(error, f"cannot write {folder}")
        self._file_lock = lock

    def _release(self) -> None:
        if self._file_lock is not None:
            self._file_lock.release()
            self._file_lock = None


def _clear(folder: Path) -> None:
    """Remove what a killed creation left, and the log of a store that was deleted: a new one must not replay it."""
    if (folder / STORE).exists():
        message = f"{folder} holds an index already: open it with Retriever.load"
        raise InputError(message)
    for leftover in [*folder.glob(f"{STORE}-*"), *folder.glob(f".{STORE}.*")]:
        leftover.unlink(missing_ok=True)


def _as_list(value: Any, what: str) -> list[Any]:
    if isinstance(value, str | bytes | Mapping) or not hasattr(value, "__iter__"):
        message = f"{what} must be a list with one entry for each id; received {type(value).__name__}"
        raise InputError(message)
    return list(value)


def _as_fields(metadata: Sequence[Metadata] | None, default: list[Metadata]) -> list[Metadata]:
    if metadata is None:
        return default
    fields = _as_list(metadata, "metadata")
    if len(fields) != len(default):
        message = f"metadata must hold one object for each of the {len(default)} documents; received {len(fields)}"
        raise InputError(message)
    for value in fields:
        as_json(value)
    return fields


def _texts(documents: list[Any]) -> list[str | None]:
    bad = next(
        (i for i, document in enumerate(documents) if isinstance(document, str) and not is_unicode(document)), None
    )
    if bad is not None:
        message = f"documents[{bad}] must be text that UTF-8 can write; it holds a lone surrogate"
        raise InputError(message)
    return [document if isinstance(document, str) else None for document in documents]


def _named(fingerprint: str | None, width: int | None) -> str:
    return f"{(fingerprint or 'without fingerprint')[:12]}, {width} dimensions"
