"""The elastic grid: every depth and width of one encoder, evaluated at about the price of one evaluation.

`elastic_grid` scores one view after the other; the views share the vectors of `GridEncoder`, which runs each
input through the backbone once. What a cell costs (bytes a vector, CPU time an input) stands beside its scores.
"""

import copy
import hashlib
import heapq
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from embedkit.errors import InputError
from embedkit.types import Embeddings, SupportsEncode

if TYPE_CHECKING:
    from embedkit.encoders.encoder import Encoder

Rows: TypeAlias = NDArray[np.int64]

BYTES_PER_NUMBER = 4
SAMPLE = 32
"""Inputs whose encoding is timed: as many as the default batch, few enough to cost little."""


@dataclass(frozen=True)
class GridCell:
    """One depth and width of an encoder.

    Attributes:
        layer: Depth: layers that were run; 0 is the embedding layer alone.
        dim: Width.
        scores: Task → main score.
        bytes_per_vector: Size of one float32 vector.
        cpu_ms: Milliseconds of CPU time, of all threads together, to encode one input at this depth; on an
            accelerator only what the CPU does. Measured at the shallowest and the deepest of the grid; between
            them on the line, since the layers of a backbone cost alike.
    """

    layer: int
    dim: int
    scores: Mapping[str, float]
    bytes_per_vector: int
    cpu_ms: float

    @property
    def quality(self) -> float:
        """Mean score over the tasks."""
        return sum(self.scores.values()) / len(self.scores)


@dataclass(frozen=True)
class Grid:
    """Every cell of an encoder that was evaluated.

    Attributes:
        cells: Layer by layer.
    """

    cells: tuple[GridCell, ...]

    def pareto(self) -> tuple[GridCell, ...]:
        """The cells for which no other is at least as good in quality, CPU time and bytes, and better in one."""
        return tuple(cell for cell in self.cells if not any(_dominates(other, cell) for other in self.cells))

    def best_within(self, *, bytes_per_vector: float = math.inf, cpu_ms: float = math.inf) -> GridCell:
        """The cell of highest quality within a budget; among equals the smallest, then the fastest.

        Args:
            bytes_per_vector: Largest size of a vector.
            cpu_ms: Most CPU time an input.

        Raises:
            InputError: No cell is within the budget.

        Example:
            >>> small = GridCell(2, 64, {"STS": 0.70}, 256, 1.0)
            >>> large = GridCell(6, 384, {"STS": 0.78}, 1536, 3.0)
            >>> Grid((small, large)).best_within(cpu_ms=2).layer
            2
        """
        within = [cell for cell in self.cells if cell.bytes_per_vector <= bytes_per_vector and cell.cpu_ms <= cpu_ms]
        if not within:
            least = min((cell.bytes_per_vector for cell in self.cells), default=0)
            fastest = min((cell.cpu_ms for cell in self.cells), default=0.0)
            message = (
                f"no cell takes at most {bytes_per_vector} bytes and {cpu_ms} ms; the smallest takes {least} bytes and "
                f"the fastest {fastest:.3g} ms: allow more, or evaluate narrower and shallower cells"
            )
            raise InputError(message)
        return min(within, key=lambda cell: (-cell.quality, cell.bytes_per_vector, cell.cpu_ms))


def elastic_grid(
    encoder: "Encoder",
    score: Callable[[SupportsEncode], Mapping[str, float]],
    layers: Iterable[int],
    dims: Iterable[int],
    *,
    on_cell: Callable[[GridCell], None] | None = None,
) -> Grid:
    """Evaluate an encoder at every depth and width, running each input through the backbone once.

    Memory: see `GridEncoder`. Besides, up to `SAMPLE` of the inputs are encoded once more at two depths, to time them.

    Args:
        encoder: What is evaluated; one whose inputs are known by their content (text, code, tables).
        score: Evaluates one view, which is an encoder in itself: task → main score, higher is better. It must
            ask every view for the vectors of the same inputs.
        layers: Different depths, each 0 … depth; 0 is the embedding layer.
        dims: Different widths, each 1 … width.
        on_cell: Called with each cell once it is known.

    Returns:
        The cells, layer by layer in the order given.

    Raises:
        InputError: An argument is out of range, or `score` gave no finite numbers, other tasks than for the cell
            before, or encoded nothing.

    Example:
        >>> import embedkit as ek
        >>> def score(view):
        ...     cat, dog, tax = view.encode(["a cat", "a dog", "tax law"])
        ...     return {"pets": float(cat @ dog - cat @ tax)}
        >>> grid = elastic_grid(ek.load(), score, layers=[3, 6], dims=[64, 384])
        >>> [(cell.layer, cell.dim) for cell in grid.cells]
        [(3, 64), (3, 384), (6, 64), (6, 384)]
    """
    shared = GridEncoder(encoder, layers, dims)
    cells: list[GridCell] = []
    cpu_ms: dict[int, float] = {}
    for layer in shared.layers:
        for dim in shared.dims:
            scores = _checked(score(shared.view(layer, dim)), cells[0].scores if cells else None)
            cpu_ms = cpu_ms or _cpu_ms_by_layer(shared)  # only now is it known what is encoded
            cells.append(GridCell(layer, dim, scores, BYTES_PER_NUMBER * dim, cpu_ms[layer]))
            if on_cell is not None:
                on_cell(cells[-1])
    return Grid(tuple(cells))


class GridEncoder:
    """One encoder seen at many depths and widths, which share their vectors.

    The first view that meets an input has it encoded at every depth in one pass; all others look it up by its
    content, prompt and role. Memory: 4 bytes × layers × different inputs × the largest of `dims`, until `clear`.

    Args:
        encoder: Its inputs must be known by their content, as text, code and tables are.
        layers: Different depths, each 0 … depth; 0 is the embedding layer.
        dims: Different widths, each 1 … width.

    Raises:
        InputError: `layers` or `dims` is empty, out of range or not whole numbers, or repeats itself; or the
            encoder is no `embedkit.Encoder`.

    Example:
        >>> import embedkit as ek
        >>> shared = GridEncoder(ek.load(), layers=[3, 6], dims=[64, 384])
        >>> shared.view(3, 64).encode(["a cat", "a dog"]).shape  # encodes
        (2, 64)
        >>> shared.view(6, 384).encode("a dog").shape  # looks up
        (384,)
    """

    def __init__(self, encoder: "Encoder", layers: Iterable[int], dims: Iterable[int]) -> None:
        if not hasattr(encoder, "encode_grid"):
            message = f"a grid is made of an embedkit.Encoder; received {type(encoder).__name__}: open it with load"
            raise InputError(message)
        cells = encoder.encode_grid([], layers, dims)  # checks both
        self.encoder = encoder
        self.layers = tuple(dict.fromkeys(layer for layer, _ in cells))
        self.dims = tuple(dict.fromkeys(dim for _, dim in cells))
        self.clear()

    def __len__(self) -> int:
        """Number of different inputs whose vectors are held."""
        return len(self._row_of)

    def view(self, layer: int, dim: int) -> "GridView":
        """The encoder at one depth and width.

        Raises:
            InputError: It is none of the grid's.
        """
        if layer not in self.layers or dim not in self.dims:
            message = f"a view must be one of layers {self.layers} and dims {self.dims}; received {(layer, dim)}"
            raise InputError(message)
        return GridView(self, layer, dim)

    def clear(self) -> None:
        """Forget all vectors."""
        self._row_of: dict[bytes, int] = {}
        self._inputs: list[_Input] = []
        self._by_layer: dict[int, list[Embeddings]] = {layer: [] for layer in self.layers}
        self._asked: dict[tuple[Any, ...], Rows] = {}

    def vectors(
        self,
        layer: int,
        dim: int,
        inputs: Any,
        *,
        prompt_name: str | None = None,
        prompt: str | None = None,
        task: str | None = None,
        normalize_embeddings: bool = False,
        **options: Any,
    ) -> Any:
        """What `encode(inputs, num_layers=layer, truncate_dim=dim)` gives; what is new is encoded at every depth.

        Raises:
            InputError: As `Encoder.encode` does, or an input is not known by its content.
        """
        how = {"prompt_name": prompt_name, "prompt": prompt, "task": task}
        rows, is_single = self._rows(inputs, how, options)
        vectors = self._of_layer(layer)[rows, :dim]
        vectors = self.encoder.narrowed(vectors, dim, normalize_embeddings=normalize_embeddings)
        return vectors[0] if is_single else vectors

    def cpu_ms(self, layer: int) -> float:
        """CPU time to encode one input at a depth: milliseconds, all threads together.

        Measured on up to `SAMPLE` of the inputs that were met, drawn evenly, with their prompts and without the
        encoder's cache; having encoded them all before is the warm-up.

        Raises:
            InputError: No input was met yet.
        """
        if not self._row_of:
            message = "CPU time is measured on inputs that were encoded; there are none: score must encode its view"
            raise InputError(message)
        # Keys are hashes, so the smallest are an even sample, and the same one at each depth.
        sample = [self._inputs[self._row_of[key]] for key in heapq.nsmallest(SAMPLE, self._row_of)]
        encoder = copy.copy(self.encoder)
        encoder.cache, encoder.forward_lock = None, self.encoder.forward_lock
        return _cpu_seconds(encoder, sample, layer) * 1000 / len(sample)

    def _rows(self, inputs: Any, how: dict[str, Any], options: dict[str, Any]) -> tuple["Rows", bool]:
        """Where the vectors of inputs are, what is new being encoded; and whether it is one input alone.

        Who evaluates a grid asks for the same texts in each cell: they are looked up once, as a whole.
        """
        asked = self._call_of(inputs, how)
        if asked is not None and asked in self._asked:
            return self._asked[asked], False
        values, keys, is_single = self.encoder.identified(inputs, **how)
        if None in keys:
            message = (
                "the inputs of a grid must be known by their content, as text, code and tables are; "
                f"received {type(values[keys.index(None)]).__name__}: use encode_grid"
            )
            raise InputError(message)
        known = {key: value for key, value in zip(keys, values, strict=True) if key is not None}
        self._encode_new({key: value for key, value in known.items() if key not in self._row_of}, how, options)
        rows = np.array([self._row_of[key] for key in keys if key is not None], dtype=np.int64)
        if asked is not None:
            self._asked[asked] = rows
        return rows, is_single

    def _call_of(self, inputs: Any, how: dict[str, Any]) -> tuple[Any, ...] | None:
        """What tells a call with many texts from others; None for other inputs."""
        if not isinstance(inputs, list) or not all(type(value) is str for value in inputs):
            return None
        return (self.encoder.fingerprint, *how.values(), *inputs)

    def _encode_new(self, new: dict[bytes, Any], how: dict[str, Any], options: dict[str, Any]) -> None:
        if not new:
            return
        widest = max(self.dims)
        grid = self.encoder.encode_grid(list(new.values()), self.layers, [widest], **how, **options)
        for layer in self.layers:
            self._by_layer[layer].append(grid[layer, widest])
        for key, value in new.items():
            self._row_of[key] = len(self._inputs)
            self._inputs.append(_Input(value, how))

    def _of_layer(self, layer: int) -> Embeddings:
        parts = self._by_layer[layer]
        if len(parts) != 1:
            whole = np.concatenate(parts) if parts else np.empty((0, max(self.dims)), dtype=np.float32)
            self._by_layer[layer] = parts = [whole]
        return parts[0]


class GridView:
    """One cell of a `GridEncoder`: an encoder for whoever evaluates encoders.

    Attributes:
        layer: Depth: layers that were run; 0 is the embedding layer alone.
        dim: Width.
    """

    def __init__(self, shared: GridEncoder, layer: int, dim: int) -> None:
        self._shared, self.layer, self.dim = shared, layer, dim

    def encode(self, inputs: Any, prompt_name: str | None = None, prompt: str | None = None, **options: Any) -> Any:
        """Vectors of one input or of a batch, as `Encoder.encode` gives them at this depth and width.

        Args:
            inputs: As in `Encoder.encode`.
            prompt_name: As there.
            prompt: As there.
            **options: As there: `task`, `normalize_embeddings`, `batch_size`, `show_progress_bar`; and `num_layers`
                and `truncate_dim`, which must be the cell's own.

        Returns:
            float32 numpy array: (dim,) for one input, (n, dim) for a batch.

        Raises:
            InputError: As there, or another option came.
        """
        own = {"num_layers": self.layer, "truncate_dim": self.dim}
        options = {name: value for name, value in options.items() if own.get(name) != value}
        if unknown := sorted(set(options) - {"task", "normalize_embeddings", "batch_size", "show_progress_bar"}):
            message = (
                f"a view of a grid encodes at layer {self.layer} and width {self.dim} into float32 numpy arrays; "
                f"received {', '.join(unknown)}: leave out, or use the encoder itself"
            )
            raise InputError(message)
        return self._shared.vectors(self.layer, self.dim, inputs, prompt_name=prompt_name, prompt=prompt, **options)

    def encode_query(self, inputs: Any, **options: Any) -> Any:
        """`encode` in the role of a query: with the prompt named "query", if the encoder has one."""
        return self._encode_as("query", inputs, options)

    def encode_document(self, inputs: Any, **options: Any) -> Any:
        """`encode` in the role of a document: with the prompt named "document", if the encoder has one."""
        return self._encode_as("document", inputs, options)

    def get_embedding_dimension(self) -> int:
        """Number of dimensions of the vectors."""
        return self.dim

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the encoder's fingerprint and the cell."""
        made_by = (self._shared.encoder.fingerprint, self.layer, self.dim)
        return hashlib.sha256(repr(made_by).encode()).hexdigest()

    @property
    def similarity_fn_name(self) -> str:
        """How the encoder compares vectors."""
        return str(self._shared.encoder.similarity_fn_name)

    @property
    def prompts(self) -> dict[str, str | None]:
        """The encoder's prompts by name."""
        return dict(self._shared.encoder.prompts)

    @property
    def modalities(self) -> list[Any]:
        """What the encoder reads."""
        return list(self._shared.encoder.modalities)

    def _encode_as(self, role: str, inputs: Any, options: dict[str, Any]) -> Any:
        if options.get("prompt_name") is None and options.get("prompt") is None and role in self.prompts:
            options["prompt_name"] = role
        return self.encode(inputs, **{"task": role, **options})


class _Input(NamedTuple):
    """An input that was encoded, and the prompt and role it came with."""

    value: Any
    how: dict[str, Any]


def _cpu_seconds(encoder: "Encoder", sample: list[_Input], layer: int) -> float:
    def prompt_and_role(each: _Input) -> str:
        return repr(each.how)

    seconds = 0.0
    for _, group in groupby(sorted(sample, key=prompt_and_role), key=prompt_and_role):
        same = list(group)
        values, how = [each.value for each in same], same[0].how
        start = time.process_time()
        encoder.encode(values, num_layers=layer, show_progress_bar=False, **how)
        seconds += time.process_time() - start
    return seconds


def _cpu_ms_by_layer(shared: GridEncoder) -> dict[int, float]:
    ends = sorted({min(shared.layers), max(shared.layers)})
    line = np.interp(shared.layers, ends, [shared.cpu_ms(layer) for layer in ends])
    return dict(zip(shared.layers, line.tolist(), strict=True))


def _dominates(one: GridCell, other: GridCell) -> bool:
    ours = (-one.quality, one.cpu_ms, one.bytes_per_vector)
    theirs = (-other.quality, other.cpu_ms, other.bytes_per_vector)
    return ours != theirs and all(mine <= yours for mine, yours in zip(ours, theirs, strict=True))


def _checked(scores: Mapping[str, float], before: Mapping[str, float] | None) -> dict[str, float]:
    numbers = scores.values() if isinstance(scores, Mapping) else []
    if not numbers or not all(isinstance(n, int | float | np.number) and math.isfinite(n) for n in numbers):
        message = f"score must give task → finite number for one task or more; it gave {scores!r}"
        raise InputError(message)
    found = {task: float(number) for task, number in scores.items()}
    if before is not None and found.keys() != before.keys():
        message = f"score must give the same tasks for every cell; it gave {sorted(found)} after {sorted(before)}"
        raise InputError(message)
    return found
