"""`FaissIndex`: vectors by id, searched by faiss, with the bookkeeping faiss leaves to its caller."""

import errno
import json
import math
import os
import shutil
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import faiss
import numpy as np

from embedkit.errors import CorruptFileError, ForkedProcessError, InputError
from embedkit.index.ids import as_ids
from embedkit.index.locks import SharedLock
from embedkit.io import commit_generation, open_generation, raise_storage_error
from embedkit.ops.vectors import as_embeddings, as_real, normalize
from embedkit.types import Embeddings, Id, Mask, Positions

Metric: TypeAlias = Literal["cosine", "inner_product", "l2"]
Kind: TypeAlias = Literal["auto", "flat", "hnsw", "ivf"]

APPROXIMATE_FROM = 50_000
"""Vectors from which `kind="auto"` uses HNSW instead of exact search."""

_HNSW_NEIGHBOURS = 32
_HNSW_BUILD = 100
_HNSW_SEARCH = 128
_IVF_TRAINING = 10_000
_SUBSET_SHARE = 0.1
_DEAD_SHARE = 0.2

# The first four bytes faiss writes: nothing else is handed to its reader.
_KNOWN_FILES = {b"IxFI": "flat", b"IxF2": "flat", b"IxFl": "flat", b"IHNf": "hnsw", b"IwFl": "ivf"}
_LARGEST_ARRAY = 1 << 40
_LONGEST = 2.0**62  # the squared distance of two longer vectors may leave float32

# faiss' own default accepts a header that asks for a terabyte of lists; these bound what a file may claim.
faiss.set_deserialization_loop_limit(1 << 31)
faiss.set_deserialization_vector_byte_limit(_LARGEST_ARRAY)


class SearchResult(NamedTuple):
    """Nearest neighbours, best first.

    Attributes:
        scores: float32 (queries, k), or (k,) for one query; higher is nearer. Cosine and inner product
            are themselves, l2 is minus the Euclidean distance.
        ids: Object array of the same shape.
    """

    scores: np.ndarray[Any, np.dtype[np.float32]]
    ids: np.ndarray[Any, np.dtype[np.object_]]


@dataclass(frozen=True)
class Tuning:
    """What `FaissIndex.tune` measured.

    Attributes:
        effort: What was chosen: candidates of HNSW (efSearch), or lists of IVF that are searched (nprobe); None where
            search is exact.
        recall: Share of the exact neighbours that it finds, 0 … 1.
        tried: (effort, recall, milliseconds a query) of all efforts that were measured.
    """

    effort: int | None
    recall: float
    tried: tuple[tuple[int, float, float], ...] = ()


class FaissIndex:
    """Vectors by id. Exact below 50,000 vectors, HNSW above, unless `kind` says otherwise.

    Ids are unique strings or integers. Every search returns min(k, number of candidates) neighbours for
    each query: what an approximate index misses (after removals, under a filter) is filled in exactly.
    Searches may run concurrently, with each other and with `add`.

    Args:
        dim: Number of dimensions; None takes that of the first vectors added.
        metric: "cosine" (vectors are normalised on the way in), "inner_product", or "l2".
        kind: "flat" is exact. "hnsw" is a graph of 32 neighbours a node, searched with 128 candidates.
            "ivf" lays 4·√n lists when it first holds 10,000 vectors and searches a sixteenth of them; it is
            exact below. "auto" is flat below 50,000 vectors and hnsw from there on.

    Attributes:
        info: What `save` recorded beside the index that was loaded; empty for a new one.
        is_current: False when `load` opened the generation before the current one, which is damaged.
        effort: How hard an approximate search tries, as `tune` found it; None takes what `kind` says.

    Example:
        >>> index = FaissIndex()
        >>> index.add(["east", "north"], np.eye(2, dtype=np.float32))
        >>> index.search(np.array([1.0, 0.2], dtype=np.float32), k=1).ids.tolist()
        ['east']
    """

    def __init__(self, dim: int | None = None, *, metric: Metric = "cosine", kind: Kind = "auto") -> None:
        if dim is not None and (not isinstance(dim, int) or isinstance(dim, bool) or dim < 1):
            message = f"dim must be a positive integer or None; received {dim!r}"
            raise InputError(message)
        for name, value, allowed in (("metric", metric, get_args(Metric)), ("kind", kind, get_args(Kind))):
            if value not in allowed:
                message = f"{name} must be one of {', '.join(allowed)}; received {value!r}"
                raise InputError(message)
        self.dim = dim
        self.metric = metric
        self.kind = kind
        self.info: dict[str, Any] = {}
        self.is_current = True
        self.effort: int | None = None
        self._index: Any = None
        self._ids = np.empty(0, dtype=object)
        self._alive: Mask = np.empty(0, dtype=bool)
        self._positions: dict[Id, int] = {}
        self._lock = SharedLock()
        self._saving = threading.Lock()
        self._used_in: int | None = None

    # -- contents ------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._positions)

    def __contains__(self, id: object) -> bool:
        return id in self._positions

    def __repr__(self) -> str:
        return f"FaissIndex({len(self)} vectors, dim={self.dim}, metric={self.metric!r}, kind={self.built_as!r})"

    @property
    def ids(self) -> list[Id]:
        """The ids in the order they were added."""
        with self._lock.shared():
            return [id for id, alive in zip(self._ids, self._alive, strict=True) if alive]

    @property
    def built_as(self) -> str:
        """How the vectors are searched at present: "flat", "hnsw" or "ivf"."""
        return _kind_of(self._index) if self._index is not None else "flat"

    def vectors(self, ids: Iterable[Id]) -> Embeddings:
        """Stored vectors, (n, dim), in the order of `ids`; under the cosine metric they have length 1.

        Raises:
            InputError: An id is not here.
        """
        checked = as_ids(ids)
        with self._lock.shared():
            return self._vectors_at(self._positions_of(checked))

    def add(self, ids: Iterable[Id], vectors: Any) -> None:
        """Add vectors under new ids; all of them or, on an error, none.

        Args:
            ids: n ids that are not in the index.
            vectors: (n, dim) real numbers.

        Raises:
            InputError: An id is known or repeated; vectors of another width, not finite, of length zero
                under the cosine metric, or longer than 2**62 under another.
        """
        array = as_embeddings(vectors, dim=self.dim, what="vectors")
        checked = as_ids(ids, count=len(array))
        prepared = self._prepared(array, "vectors")
        with self._changing(prepared):
            known = next((id for id in checked if id in self._positions), None)
            if known is not None:
                message = f"ids must be new; {known!r} is in the index: use update to replace its vector"
                raise InputError(message)
            self._append(checked, prepared)

    def update(self, ids: Iterable[Id], vectors: Any) -> None:
        """Replace the vectors of ids that are in the index; all of them or, on an error, none.

        Raises:
            InputError: An id is unknown or repeated, or the vectors are not valid (see `add`).
        """
        array = as_embeddings(vectors, dim=self.dim, what="vectors")
        checked = as_ids(ids, count=len(array))
        prepared = self._prepared(array, "vectors")
        with self._changing(prepared):
            positions = self._positions_of(checked)
            former = self._vectors_at(positions)
            self._delete(positions)
            try:
                self._append(checked, prepared)
            except BaseException:
                self._mend()
                self._append(checked, former)
                raise

    def remove(self, ids: Iterable[Id]) -> None:
        """Remove ids; all of them or, on an error, none.

        Raises:
            InputError: An id is unknown or repeated.
        """
        checked = as_ids(ids)
        with self._changing():
            self._delete(self._positions_of(checked))

    def check(self, vectors: Any) -> Embeddings:
        """Vectors as `add` would take them: float32 (n, dim); raises what `add` would raise."""
        array = as_embeddings(vectors, dim=self.dim, what="vectors")
        self._prepared(array, "vectors")
        return array

    # -- search --------------------------------------------------------------------------------------

    def search(self, queries: Any, k: int = 10, *, among: Iterable[Id] | None = None) -> SearchResult:
        """The nearest vectors of each query.

        Args:
            queries: (queries, dim), or (dim,) for one query.
            k: How many neighbours, at least 1; fewer come back when there are fewer candidates.
            among: Only these ids are candidates; ids that are not in the index are passed over.

        Returns:
            Scores and ids, best first; equal scores in the order of adding.

        Raises:
            InputError: Wrong width, not finite, zero length under the cosine metric, or k < 1.
        """
        if not isinstance(k, int | np.integer) or isinstance(k, bool) or k < 1:
            message = f"k must be a positive integer; received {k!r}"
            raise InputError(message)
        real = as_real(queries, "queries")
        single = real.ndim == 1
        array = as_embeddings(real[None] if single else real, dim=self.dim, what="queries")
        prepared = self._prepared(array, "queries")
        with self._using(), self._lock.shared():
            self._check_width(prepared)
            allowed = None if among is None else self._known_positions(among)
            distances, positions = self._nearest(prepared, int(k), allowed)
            scores = -np.sqrt(np.maximum(distances, 0)) if self.metric == "l2" else distances
            ids = self._ids[positions]
        return SearchResult(scores[0], ids[0]) if single else SearchResult(scores, ids)

    def tune(self, queries: Any, *, k: int = 10, recall: float = 0.95) -> Tuning:
        """Find how hard an approximate search must try, and search so from now on.

        The queries must be like those to come, of their modality above all: vectors of texts lie elsewhere than those
        of pictures, and lists that suffice where pictures are asked for by pictures miss half of what texts ask for.
        Efforts are doubled until enough is found. Call it again when the contents have changed much.

        Args:
            queries: (queries, dim), such as a thousand.
            k: Neighbours whose finding counts.
            recall: Share of the exact neighbours that must be found, above 0, at most 1.

        Returns:
            The effort and what was measured; an exact index has none to choose.

        Raises:
            InputError: As in `search`; there is no query, or `recall` is out of range.

        Example:
            >>> index = FaissIndex(kind="hnsw")
            >>> index.add(range(500), np.random.default_rng(0).normal(size=(500, 8)))
            >>> index.tune(np.random.default_rng(1).normal(size=(50, 8)), recall=0.9).recall >= 0.9
            True
        """
        if isinstance(recall, bool) or not isinstance(recall, int | float) or not 0 < recall <= 1:
            message = f"recall must be a share above 0, at most 1; received {recall!r}"
            raise InputError(message)
        array = as_embeddings(queries, dim=self.dim, what="queries")
        if not len(array):
            message = "queries must be those that the search is tuned for; received none"
            raise InputError(message)
        self.search(array[:1], k)  # which checks k and the width
        prepared = self._prepared(array, "queries")
        with self._using(), self._lock.shared():
            if self.built_as == "flat":
                return Tuning(None, 1.0)
            k = min(k, len(self))
            _, wanted = self._exact(prepared, k, np.flatnonzero(self._alive))
            tried: list[tuple[int, float, float]] = []
            for effort in self._efforts(k):
                started = time.perf_counter()
                _, found = self._approximate(prepared, k, None, effort)
                milliseconds = 1000 * (time.perf_counter() - started) / len(prepared)
                share = float(np.mean([np.isin(row, right).mean() for row, right in zip(found, wanted, strict=True)]))
                tried.append((effort, share, milliseconds))
                if share >= recall:
                    break
            self.effort = tried[-1][0]
        return Tuning(self.effort, tried[-1][1], tuple(tried))

    def _efforts(self, k: int) -> list[int]:
        """Doubled, up to all there is."""
        first, last = (k, len(self)) if self.built_as == "hnsw" else (1, self._index.nlist)
        steps = range(math.ceil(math.log2(max(last / first, 1))))
        return [*(first * 2**step for step in steps), last]

    def _nearest(self, queries: Embeddings, k: int, allowed: Positions | None) -> tuple[Embeddings, Positions]:
        candidates = len(self) if allowed is None else len(allowed)
        k = min(k, candidates)
        if k == 0 or len(queries) == 0:
            return np.empty((len(queries), k), dtype=np.float32), np.empty((len(queries), k), dtype=np.int64)
        if allowed is not None and (self.built_as == "flat" or candidates <= _SUBSET_SHARE * len(self._ids)):
            return self._exact(queries, k, allowed)
        if allowed is None and self.built_as == "flat":
            return self._first_of_ties(self._index.search, queries, k, candidates)
        return self._in_order(*self._approximate(queries, k, allowed, self.effort))

    def _exact(self, queries: Embeddings, k: int, allowed: Positions) -> tuple[Embeddings, Positions]:
        """Brute force over the gathered candidates: faster than faiss' selector at every share."""
        vectors = self._vectors_at(allowed)

        def search(queries: Embeddings, k: int) -> tuple[Embeddings, Positions]:
            distances, rows = faiss.knn(queries, vectors, k, metric=self._faiss_metric)
            return distances, allowed[rows]

        return self._first_of_ties(search, queries, k, len(allowed))

    def _first_of_ties(
        self,
        search: Callable[[Embeddings, int], tuple[Embeddings, Positions]],
        queries: Embeddings,
        k: int,
        candidates: int,
    ) -> tuple[Embeddings, Positions]:
        """An exact search that keeps those added first where equal scores do not all fit into k.

        Which ones of them faiss returns is up to its heap, so where a tie reaches past the end, more are fetched.
        """
        reach = min(k + 1, candidates)
        distances, positions = self._in_order(*search(queries, reach))
        tied = np.flatnonzero((distances[:, k - 1] == distances[:, -1]) & (reach > k))
        distances, positions = distances[:, :k], positions[:, :k]
        while len(tied):
            reach = min(4 * reach, candidates)
            wider, fetched = self._in_order(*search(queries[tied], reach))
            distances[tied], positions[tied] = wider[:, :k], fetched[:, :k]
            tied = tied[wider[:, k - 1] == wider[:, -1]] if reach < candidates else tied[:0]
        return distances, positions

    def _in_order(self, distances: Embeddings, positions: Positions) -> tuple[Embeddings, Positions]:
        """Sort by score, equal scores by position: faiss leaves their order to its heap."""
        keys = distances if self.metric == "l2" else -distances
        order = np.lexsort((positions, keys), axis=1)
        return np.take_along_axis(distances, order, axis=1), np.take_along_axis(positions, order, axis=1)

    def _approximate(
        self, queries: Embeddings, k: int, allowed: Positions | None, effort: int | None
    ) -> tuple[Embeddings, Positions]:
        mask = self._alive if allowed is None else _mask(allowed, len(self._ids))
        share = mask.mean()
        parameters = self._search_parameters(k, effort, share, None if share == 1 else mask)
        # Importing faiss.contrib.torch_utils, as pytorch-metric-learning's testers do, puts a search that knows no
        # params into all indexes, and keeps faiss's own under this name.
        search = getattr(self._index, "search_numpy", self._index.search)
        distances, positions = search(queries, k, params=parameters)
        short = np.flatnonzero((positions < 0).any(axis=1))
        if len(short):
            exact = self._exact(queries[short], k, np.flatnonzero(mask))
            distances[short], positions[short] = exact
        return distances, positions

    def _search_parameters(self, k: int, effort: int | None, share: float, mask: Mask | None) -> Any:
        selector = None if mask is None else faiss.IDSelectorBitmap(np.packbits(mask, bitorder="little"))
        if self.built_as == "hnsw":
            # A walk over the graph meets only `share` of its nodes among the candidates.
            candidates = math.ceil(max(effort or max(_HNSW_SEARCH, 2 * k), k) / share)
            return faiss.SearchParametersHNSW(efSearch=candidates, sel=selector)
        return faiss.SearchParametersIVF(nprobe=effort or max(self._index.nlist // 16, 1), sel=selector)

    # -- inside --------------------------------------------------------------------------------------

    @property
    def _faiss_metric(self) -> int:
        return int(faiss.METRIC_L2 if self.metric == "l2" else faiss.METRIC_INNER_PRODUCT)

    def _prepared(self, array: Embeddings, what: str) -> Embeddings:
        if self.metric != "cosine":
            with np.errstate(over="ignore"):
                long = np.flatnonzero(~(np.linalg.norm(array, axis=1) <= _LONGEST))
            if len(long):
                message = f"{what} must not be longer than 2**62; row {long[0]} is ({len(long)} such rows)"
                raise InputError(message)
            return array
        zero = np.flatnonzero(~array.any(axis=1))
        if len(zero):
            message = f"{what} must not be zero under the cosine metric; row {zero[0]} is ({len(zero)} such rows)"
            raise InputError(message)
        return normalize(array)

    @contextmanager
    def _using(self) -> Iterator[None]:
        if self._used_in is None:
            self._used_in = os.getpid()
        if self._used_in != os.getpid():
            message = (
                "this index was used before the process was forked, and faiss would hang in the child: "
                "start workers with multiprocessing.get_context('spawn')"
            )
            raise ForkedProcessError(message)
        yield

    @contextmanager
    def _changing(self, vectors: Embeddings | None = None) -> Iterator[None]:
        """Hold the index alone; whatever breaks a change off, the index is whole afterwards."""
        with self._using(), self._lock.exclusive():
            if vectors is not None:
                self._check_width(vectors)
            try:
                yield
            except BaseException:
                self._mend()
                raise

    def _mend(self) -> None:
        """Bring faiss and the bookkeeping together after a change that was broken off half-way.

        Vectors that faiss took and nobody names are dropped. A removal from flat storage is done or undone.
        """
        extra = range(len(self._ids), self._index.ntotal if self._index is not None else 0)
        if self.built_as != "flat":
            self._ids = np.concatenate([self._ids, np.full(len(extra), None)])
            self._alive = np.concatenate([self._alive, np.zeros(len(extra), dtype=bool)])
        elif extra:
            self._index.remove_ids(np.array(extra))
        elif not self._alive.all():
            removed = self._index.ntotal == self._alive.sum()
            self._ids = self._ids[self._alive] if removed else self._ids
            self._alive = np.ones(len(self._ids), dtype=bool)
        alive = np.flatnonzero(self._alive)
        self._positions = dict(zip(self._ids[alive].tolist(), alive.tolist(), strict=True))

    def _check_width(self, vectors: Embeddings) -> None:
        """Once more under the lock: the first `add`, of another thread, may have decided it meanwhile."""
        if self.dim is not None and vectors.shape[1] != self.dim:
            message = f"vectors must have {self.dim} dimensions; received {vectors.shape[1]}"
            raise InputError(message)

    def _positions_of(self, ids: list[Id]) -> Positions:
        unknown = next((id for id in ids if id not in self._positions), None)
        if unknown is not None:
            message = f"ids must be in the index; {unknown!r} is not"
            raise InputError(message)
        return np.fromiter((self._positions[id] for id in ids), dtype=np.int64, count=len(ids))

    def _known_positions(self, ids: Iterable[Id]) -> Positions:
        if isinstance(ids, str | bytes) or not isinstance(ids, Iterable):
            message = f"among must be a list of ids or None; received {type(ids).__name__} {ids!r:.100}"
            raise InputError(message)
        found = {self._positions[id] for id in ids if isinstance(id, Hashable) and id in self._positions}
        return np.fromiter(sorted(found), dtype=np.int64, count=len(found))

    def _append(self, ids: list[Id], vectors: Embeddings) -> None:
        """Add checked, prepared vectors; rebuild first when the kind changes at this size."""
        if len(ids) == 0:
            return
        if self._wanted_kind(len(self) + len(ids)) != self.built_as or self._index is None:
            kept = self._vectors_at(np.flatnonzero(self._alive)) if len(self) else vectors[:0]
            self._rebuild(self._ids[self._alive].tolist() + ids, np.concatenate([kept, vectors]))
            return
        start = len(self._ids)
        objects = np.concatenate([self._ids, _objects(ids)])
        alive = np.concatenate([self._alive, np.ones(len(ids), dtype=bool)])
        self._index.add(vectors)
        self._ids = objects
        self._alive = alive
        self._positions.update(zip(ids, range(start, start + len(ids)), strict=True))

    def _delete(self, positions: Positions) -> None:
        """Flat storage closes the gap at once; graphs and lists get tombstones until a fifth is dead."""
        if len(positions) == 0:
            return
        alive = self._alive.copy()
        alive[positions] = False
        self._alive = alive
        for id in self._ids[positions]:
            del self._positions[id]
        if self.built_as == "flat":
            self._index.remove_ids(positions)
            self._keep_alive_only()
        elif len(self) < (1 - _DEAD_SHARE) * len(self._ids):
            alive = np.flatnonzero(self._alive)
            self._rebuild(self._ids[alive].tolist(), self._vectors_at(alive))

    def _keep_alive_only(self) -> None:
        self._ids = self._ids[self._alive]
        self._alive = np.ones(len(self._ids), dtype=bool)
        self._positions = {id: position for position, id in enumerate(self._ids)}

    def _rebuild(self, ids: list[Id], vectors: Embeddings) -> None:
        """Build afresh for exactly these vectors; the old index stays until the new one stands."""
        index = self._new_index(self._wanted_kind(len(ids)), vectors)
        index.add(vectors)
        objects, alive, positions = _objects(ids), np.ones(len(ids), dtype=bool), {id: i for i, id in enumerate(ids)}
        effort = self.effort if self.built_as == _kind_of(index) else None  # another kind counts in other units
        # Nothing is called from here on, so that Ctrl-C cannot come in between.
        self.effort = effort
        self.dim = vectors.shape[1]
        self._index = index
        self._ids = objects
        self._alive = alive
        self._positions = positions

    def _wanted_kind(self, count: int) -> str:
        if self.kind == "auto":
            return "hnsw" if count >= APPROXIMATE_FROM else "flat"
        if self.kind == "ivf" and count < _IVF_TRAINING:
            return "flat"
        return self.kind

    def _new_index(self, kind: str, vectors: Embeddings) -> Any:
        dim, metric = vectors.shape[1], self._faiss_metric
        if kind == "hnsw":
            index = faiss.IndexHNSWFlat(dim, _HNSW_NEIGHBOURS, metric)
            index.hnsw.efConstruction = _HNSW_BUILD
            return index
        if kind == "ivf":
            return _trained_ivf(dim, metric, vectors)
        return faiss.IndexFlat(dim, metric)

    def _vectors_at(self, positions: Positions) -> Embeddings:
        if self._index is None or len(positions) == 0:
            return np.empty((len(positions), self.dim or 0), dtype=np.float32)
        if self.built_as == "ivf":
            gathered: Embeddings = self._index.reconstruct_batch(positions)
            return gathered
        storage = faiss.downcast_index(self._index.storage) if self.built_as == "hnsw" else self._index
        every = faiss.rev_swig_ptr(storage.get_xb(), storage.ntotal * storage.d).reshape(storage.ntotal, storage.d)
        picked: Embeddings = every[positions]
        return picked

    # -- saving --------------------------------------------------------------------------------------

    def save(self, folder: str | os.PathLike[str], *, info: Mapping[str, Any] | None = None) -> None:
        """Write the index into `folder` as a new generation; the one before it is kept.

        The generation before is opened, with a warning, should the new one be damaged later.

        Args:
            folder: Is made when absent.
            info: More JSON values to record in the manifest.

        Raises:
            IncompatibleIndexError: The folder holds an index of a newer format.
            LockedIndexError: Another process is saving into the folder.
            StorageError: The disk refused; the generation before is still the current one.
        """
        target = Path(folder)
        try:
            target.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise_storage_error(error, f"cannot write {target}")
        with self._using(), self._saving, self._lock.shared():
            made_as = {"class": "FaissIndex", "dim": self.dim, "metric": self.metric, "kind": self.kind}
            counts = {"built_as": self.built_as, "total": len(self._ids), "live": len(self)}
            record = {**(info or {}), **made_as, **counts, "effort": self.effort}
            commit_generation(target, record, {"index.faiss": self._write_index, "ids.json": self._write_ids})

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> "FaissIndex":
        """Open a saved index; checksums are verified before faiss reads a byte.

        Raises:
            CorruptFileError: A file is missing, truncated or changed, and so is the generation before it.
            IncompatibleIndexError: Written by a newer format.
        """
        generation = open_generation(Path(folder))
        info = generation.info
        if info.get("class") != "FaissIndex":
            message = f"{folder} holds a {info.get('class')}, not a FaissIndex"
            raise CorruptFileError(message)
        index = cls(info["dim"], metric=info["metric"], kind=info["kind"])
        index._restore(generation.files["index.faiss"], generation.files["ids.json"], info)
        index.info, index.is_current, index.effort = info, generation.is_current, info.get("effort")
        return index

    def _write_index(self, path: Path) -> None:
        index = self._index if self._index is not None else faiss.IndexFlat(self.dim or 1, self._faiss_metric)
        try:
            faiss.write_index(index, str(path))
        except RuntimeError as error:
            # faiss reports a full disk as its own error; the write that failed left errno behind.
            message = f"faiss cannot write {path}: {str(error).splitlines()[-1]}"
            raise OSError(_errno_of(path), message) from error

    def _write_ids(self, path: Path) -> None:
        ids = [id if alive else None for id, alive in zip(self._ids, self._alive, strict=True)]
        path.write_text(json.dumps(ids, ensure_ascii=False), encoding="utf-8")

    def _restore(self, index_file: Path, ids_file: Path, info: dict[str, Any]) -> None:
        ids = json.loads(ids_file.read_bytes())
        index = _read_index(index_file, info["built_as"])
        expected = (info["dim"] or 1, info["total"], self._faiss_metric)
        found = (index.d, index.ntotal, index.metric_type)
        if found != expected or len(ids) != info["total"] or not _is_plain(index):
            message = f"{index_file} does not hold what its manifest says; rebuild the index from its vectors"
            raise CorruptFileError(message)
        self._index = index if info["dim"] else None
        self._ids = _objects(ids)
        self._alive = np.array([id is not None for id in ids], dtype=bool)
        self._positions = {id: position for position, id in enumerate(ids) if id is not None}


def _kind_of(index: Any) -> str:
    kinds = {"IndexHNSWFlat": "hnsw", "IndexIVFFlat": "ivf"}
    return kinds.get(type(index).__name__, "flat")


def _trained_ivf(dim: int, metric: int, vectors: Embeddings) -> Any:
    index = faiss.IndexIVFFlat(faiss.IndexFlat(dim, metric), dim, round(4 * math.sqrt(len(vectors))), metric)
    index.cp.seed = 1
    index.cp.min_points_per_centroid = 1  # else faiss writes to stderr what it would like better
    index.train(vectors)
    index.make_direct_map()
    return index


def _read_index(path: Path, kind: str) -> Any:
    with path.open("rb") as file:
        head = file.read(4)
    if _KNOWN_FILES.get(head) != kind:
        message = f"{path} begins with {head!r}, which is no {kind} index"
        raise CorruptFileError(message)
    try:
        index = faiss.read_index(str(path))
    except (RuntimeError, MemoryError) as error:
        message = f"faiss cannot read {path}: {str(error).splitlines()[-1]}"
        raise CorruptFileError(message) from None
    if kind == "ivf":
        index.make_direct_map()
    return index


def _is_plain(index: Any) -> bool:
    """Whether an index is built of the parts that are written here; faiss reads any part in any place."""
    if isinstance(index, faiss.IndexHNSW):
        storage = faiss.downcast_index(index.storage)
        return isinstance(storage, faiss.IndexFlat) and (storage.d, storage.ntotal) == (index.d, index.ntotal)
    if isinstance(index, faiss.IndexIVFFlat):
        lists = faiss.downcast_InvertedLists(index.invlists)
        return type(lists) is faiss.ArrayInvertedLists and isinstance(
            faiss.downcast_index(index.quantizer), faiss.IndexFlat
        )
    return isinstance(index, faiss.IndexFlat)


def _mask(positions: Positions, count: int) -> Mask:
    mask = np.zeros(count, dtype=bool)
    mask[positions] = True
    return mask


def _objects(ids: list[Id]) -> np.ndarray[Any, np.dtype[np.object_]]:
    array = np.empty(len(ids), dtype=object)
    array[:] = ids
    return array


def _errno_of(path: Path) -> int:
    return errno.ENOSPC if shutil.disk_usage(path.parent).free < 1 << 20 else errno.EIO
