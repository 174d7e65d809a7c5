"""A trained table, or a matrix of vectors, in fewer bytes, whatever the method."""

import copy
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, overload

import numpy as np
import torch
from torch import Tensor, nn

from embedkit.errors import InputError
from embedkit.modules.lookup.codebook import CodebookLookup, codebook_within, served_bytes
from embedkit.modules.lookup.dedup import DedupLookup, default_block_rows
from embedkit.modules.lookup.lookup import FieldEmbedding, Lookup, PlainLookup
from embedkit.modules.lookup.low_rank import LowRankLookup, rank_within
from embedkit.modules.lookup.packing import MOST_BITS, checked_counts, packed_width
from embedkit.modules.lookup.pruned import PrunedLookup, nonzeros_within
from embedkit.modules.lookup.quantized import QuantizedLookup
from embedkit.modules.lookup.tensor_train import TensorTrainLookup
from embedkit.ops.vectors import as_embeddings
from embedkit.types import Embeddings

Method = Literal["auto", "int8", "int4", "low_rank", "afm", "prune", "codebook", "tensor_train", "dedup"]
Matrix = np.ndarray[Any, np.dtype[Any]]


@overload
def compress(
    table: Matrix | Tensor | Lookup,
    budget: float,
    method: Method = "auto",
    *,
    counts: Tensor | Sequence[float] | None = None,
) -> Lookup: ...
@overload
def compress(
    table: nn.Module,
    budget: float,
    method: Method = "auto",
    *,
    counts: Tensor | Sequence[float] | None = None,
) -> nn.Module: ...
def compress(
    table: Matrix | Tensor | nn.Module,
    budget: float,
    method: Method = "auto",
    *,
    counts: Tensor | Sequence[float] | None = None,
) -> nn.Module:
    """The nearest to a table that a method finds within a budget of bytes; nothing is trained.

        int8, int4     `QuantizedLookup`: codes, a scale and a zero a row
        low_rank, afm  `LowRankLookup`: nearest to the weights, or to what comes out over the data
        prune          `PrunedLookup`: the greatest weights
        codebook       `CodebookLookup`: product quantisation by k-means
        tensor_train   `TensorTrainLookup`: singular value decompositions
        dedup          `DedupLookup`: nearly equal blocks of rows stored once, ever less equal ones until it fits
                       (of a table without such blocks it makes vectors of other rows)
        auto           of codes of the most bits, afm, prune and codebook the one of least mean square error; the last
                       is tried where codes of 8 bits do not fit, as k-means takes the longest and gains little above

    What `Lookup.save` writes `load_lookup` opens again, whatever the method was.

    Args:
        table: Vectors, (n, dim), an array or a tensor; or a lookup, read in evaluation mode; or a module that holds
            `FieldEmbedding`s, of which a copy is returned, with their lookups compressed.
        budget: Bytes, an int; or a share of those of `table`, a float in 0 … 1. Several lookups of a module share it in
            proportion to their bytes; those of width 1 count, and stay as they are. A smaller result is possible.
        method: One of those above.
        counts: How often each row occurs in the data, (n,), for afm, codebook, and the error that auto compares; None
            for equally often.

    Returns:
        A lookup of one field, whose ids are the rows, of vectors; of the fields of `table`, of a lookup; or a module.

    Raises:
        InputError: The budget is below what the method needs; the message names those bytes and the methods that need
            less. Or an argument is none that is described here.

    Example:
        >>> vectors = np.random.default_rng(0).normal(size=(1000, 64)).astype(np.float32)
        >>> compressed = compress(vectors, 0.3)
        >>> compressed.nbytes <= 0.3 * vectors.nbytes, bool(np.abs(decompress(compressed) - vectors).max() < 0.02)
        (True, True)
        >>> compressed(torch.tensor([[5], [7]])).shape
        torch.Size([2, 1, 64])

    Reference:
        The methods' classes name theirs. As a family: Hailin Zhang, Penghao Zhao, Xupeng Miao, Yingxia Shao, Zirui
        Liu, Tong Yang, Bin Cui: Experimental Analysis of Large-scale Learnable Vector Storage Compression. PVLDB 17(4),
        2023.

    Deviations:
        Bytes are those of all that is stored, indices, scales and codebooks included. Nothing is tuned after.
    """
    if method not in _METHODS:
        message = f"method must be one of {', '.join(_METHODS)}; received {method!r}"
        raise InputError(message)
    if isinstance(table, Lookup):
        nbytes = _budget(budget, table.nbytes)
        return _compressed(_Table(table.materialize(), table.sizes, table.names, counts), nbytes, method)
    if isinstance(table, nn.Module):
        return _with_compressed_lookups(table, budget, method, counts)
    weight = torch.from_numpy(as_embeddings(_as_array(table), what="table"))
    if not len(weight):
        message = "table must have at least one row; received none"
        raise InputError(message)
    original = len(weight) * weight.shape[1] * table.dtype.itemsize
    return _compressed(_Table(weight, (len(weight),), None, counts), _budget(budget, original), method)


def decompress(compressed: Lookup) -> Embeddings:
    """All vectors of a lookup, the fields below each other; `compressed(ids)` gives some.

    Returns:
        float32 (num_rows, dim).

    Raises:
        InputError: It is no lookup.
    """
    if not isinstance(compressed, Lookup):
        message = f"compressed must be a lookup; received {type(compressed).__name__}"
        raise InputError(message)
    vectors: Embeddings = np.ascontiguousarray(compressed.materialize().float().cpu().numpy())
    return vectors


class _Table:
    """What is compressed."""

    def __init__(
        self,
        weight: Tensor,
        sizes: tuple[int, ...],
        names: tuple[str, ...] | None,
        counts: Tensor | Sequence[float] | None,
    ) -> None:
        self.weight, self.sizes, self.names = weight.float(), sizes, names
        self.counts = None if counts is None else checked_counts(counts, len(weight))

    @property
    def dim(self) -> int:
        return self.weight.shape[1]

    def error_of(self, lookup: Lookup) -> float:
        """Mean square error of a row, over the data."""
        errors = (lookup.materialize() - self.weight).double().square().sum(1)
        shares = torch.ones_like(errors) if self.counts is None else self.counts.to(errors.device)
        return float((errors * shares).sum() / shares.sum().clamp(min=1e-300))


@dataclass(frozen=True)
class _Way:
    """The least bytes of a method, and how it spends more."""

    least: Callable[[_Table], int]
    make: Callable[[_Table, int], Lookup]


def _compressed(table: _Table, nbytes: int, method: str) -> Lookup:
    least = _METHODS[method].least(table)
    if nbytes >= least:
        return _METHODS[method].make(table, nbytes)
    needs = {name: way.least(table) for name, way in _METHODS.items() if name != "auto"}
    able = [name for name, need in needs.items() if need <= nbytes]
    smallest = min(needs, key=lambda name: needs[name])
    other = f"choose {' or '.join(able)}" if able else f"the smallest is {smallest}, of {needs[smallest]} bytes"
    message = f"budget must be at least {least} bytes for {method}; received {nbytes}: raise it, or {other}"
    raise InputError(message)


def _with_compressed_lookups(
    module: nn.Module, budget: float, method: str, counts: Tensor | Sequence[float] | None
) -> nn.Module:
    module = copy.deepcopy(module)
    holders = [part for part in module.modules() if isinstance(part, FieldEmbedding)]
    lookups = {id(holder.lookup): holder.lookup for holder in holders}
    if not lookups:
        message = f"table must hold a FieldEmbedding; {type(module).__name__} holds none: pass its vectors or lookup"
        raise InputError(message)
    # A table of width 1, such as first-order weights, is as small as its codes and scales would be.
    wide = {key: lookup for key, lookup in lookups.items() if lookup.dim > 1} or lookups
    kept = sum(lookup.nbytes for key, lookup in lookups.items() if key not in wide)
    total = sum(lookup.nbytes for lookup in wide.values())
    given = _budget(budget, total + kept)
    if given <= kept:
        message = f"budget must be above {kept} bytes, which tables of width 1 take and keep; received {given}"
        raise InputError(message)
    nbytes = given - kept
    rows = {lookup.num_rows for lookup in wide.values()}
    # Tables of some fields alone have fewer rows than counts; if none has as many, the first one says so.
    without = rows - {len(counts)} if counts is not None and len(counts) in rows else set()
    found = {
        key: _compressed(
            _Table(lookup.materialize(), lookup.sizes, lookup.names, None if lookup.num_rows in without else counts),
            nbytes * lookup.nbytes // total,
            method,
        ).train(lookup.training)
        for key, lookup in wide.items()
    }
    for holder in holders:
        holder.lookup = found.get(id(holder.lookup), holder.lookup)
    return module


def _budget(budget: float, original: int) -> int:
    """Bytes of a budget.

    Raises:
        InputError: It is neither bytes nor a share.
    """
    if isinstance(budget, float):
        if not 0 < budget <= 1:
            message = f"budget must be a share above 0 and at most 1, or an int, bytes; received {budget}"
            raise InputError(message)
        return int(budget * original)
    try:
        return operator.index(budget)
    except TypeError:
        message = f"budget must be an int, bytes, or a float, a share; received {type(budget).__name__}"
        raise InputError(message) from None


def _as_array(table: Any) -> Matrix:
    if isinstance(table, Tensor):
        return table.detach().float().cpu().numpy()
    if isinstance(table, np.ndarray):
        return table
    message = f"table must be an array, a tensor, a lookup or a module that holds one; received {type(table).__name__}"
    raise InputError(message)


# -- the methods ---------------------------------------------------------------------------------------


def _codes(bits: int | None) -> _Way:
    """Codes of this many bits, or of the most that fit."""

    def nbytes_of(table: _Table, width: int) -> int:
        return len(table.weight) * (packed_width(table.dim, width) + 8)

    def make(table: _Table, nbytes: int) -> Lookup:
        widths = range(1, MOST_BITS + 1) if bits is None else [bits]
        most = max(width for width in widths if nbytes_of(table, width) <= nbytes)
        return QuantizedLookup.from_weight(table.weight, table.sizes, most, names=table.names)

    return _Way(lambda table: nbytes_of(table, bits or 1), make)


def _low_rank(method: Literal["svd", "afm"]) -> _Way:
    def make(table: _Table, nbytes: int) -> Lookup:
        rank = rank_within(table.sizes, table.dim, nbytes)
        return LowRankLookup.from_weight(
            table.weight, table.sizes, rank, counts=table.counts, method=method, names=table.names
        )

    return _Way(lambda table: 4 * (len(table.weight) + table.dim + len(table.sizes) * table.dim), make)


def _least_of_pruning(table: _Table) -> int:
    return len(table.weight) * (4 + packed_width(table.dim, 1))


def _prune(table: _Table, nbytes: int) -> Lookup:
    keep = nonzeros_within(table.sizes, table.dim, nbytes) / table.weight.numel()
    return PrunedLookup.from_weight(table.weight, table.sizes, keep, names=table.names)


def _least_of_codebooks(table: _Table) -> int:
    return served_bytes(len(table.weight), table.dim, 1, 2)


def _codebook(table: _Table, nbytes: int) -> Lookup:
    parts, num_codes, _ = codebook_within(len(table.weight), table.dim, nbytes)
    return CodebookLookup.from_weight(
        table.weight, table.sizes, parts=parts, num_codes=num_codes, counts=table.counts, names=table.names
    )


def _least_of_trains(table: _Table) -> int:
    """Of each field the cores of rank 1, or its rows where those are fewer numbers."""
    return sum(
        min(4 * size * table.dim, TensorTrainLookup([size], table.dim, ranks=[1]).nbytes) for size in table.sizes
    )


def _tensor_train(table: _Table, nbytes: int) -> Lookup:
    ranks = TensorTrainLookup.for_budget(table.sizes, table.dim, nbytes).ranks
    return TensorTrainLookup.from_weight(table.weight, table.sizes, names=table.names, ranks=ranks)


def _least_of_blocks(table: _Table) -> int:
    rows = default_block_rows(len(table.weight))
    return 4 * rows * table.dim + 4 * -(-len(table.weight) // rows)


def _dedup(table: _Table, nbytes: int) -> Lookup:
    least, most = float(table.weight.min()), float(table.weight.max())
    if len(table.weight) % default_block_rows(len(table.weight)):  # zeros fill the last block up
        least, most = min(least, 0.0), max(most, 0.0)
    spread = most - least
    # The last is a hair more than the whole spread: it merges all there is, and so fits.
    for tolerance in [0.0, *(1.001 * spread * 2.0**-power for power in range(10, -1, -1))]:
        lookup = DedupLookup.from_weight(table.weight, table.sizes, tolerance=tolerance, names=table.names)
        if lookup.nbytes <= nbytes:
            break
    return DedupLookup.from_weight(table.weight, table.sizes, tolerance=tolerance, nbytes=nbytes, names=table.names)


def _plain(table: _Table, nbytes: int) -> Lookup:
    return PlainLookup.from_weight(table.weight, table.sizes, names=table.names)


def _automatic() -> _Way:
    def ways() -> list[_Way]:
        plain = _Way(lambda table: 4 * table.weight.numel(), _plain)
        return [plain, _codes(None), *(_METHODS[name] for name in ("afm", "prune", "codebook"))]

    def worthwhile(way: _Way, table: _Table, nbytes: int) -> bool:
        if way is _METHODS["codebook"] and _METHODS["int8"].least(table) <= nbytes:
            return False
        return way.least(table) <= nbytes

    def make(table: _Table, nbytes: int) -> Lookup:
        found: list[tuple[float, Lookup]] = []
        for way in ways():
            if worthwhile(way, table, nbytes):
                lookup = way.make(table, nbytes)
                found.append((table.error_of(lookup), lookup))
                if found[-1][0] == 0:
                    break
        return min(found, key=lambda pair: pair[0])[1]

    return _Way(lambda table: min(way.least(table) for way in ways()), make)


_METHODS: dict[str, _Way] = {
    "auto": _automatic(),
    "int8": _codes(8),
    "int4": _codes(4),
    "low_rank": _low_rank("svd"),
    "afm": _low_rank("afm"),
    "prune": _Way(_least_of_pruning, _prune),
    "codebook": _Way(_least_of_codebooks, _codebook),
    "tensor_train": _Way(_least_of_trains, _tensor_train),
    "dedup": _Way(_least_of_blocks, _dedup),
}
