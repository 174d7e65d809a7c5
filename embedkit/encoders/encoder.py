"""`Encoder`: an ordered list of modules that turns inputs into vectors."""

import hashlib
import os
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeAlias, final

import numpy as np
import torch
from jaxtyping import Float32
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Normalize
from torch import nn
from tqdm import tqdm

from embedkit.encoders.batching import WINDOW, token_budget_batches
from embedkit.encoders.cache import VectorCache
from embedkit.encoders.depth import at_depths, num_layers_of
from embedkit.encoders.fingerprint import fingerprint, weights_version
from embedkit.encoders.forks import refuse_fork
from embedkit.encoders.inputs import (
    InputModule,
    PreparedInputs,
    Reader,
    described,
    text_problem,
    true_prompt_length,
)
from embedkit.encoders.lora import has_lora
from embedkit.encoders.model_folder import without_bars
from embedkit.encoders.towers import reader_of, towers_of
from embedkit.errors import EmbedkitError, InputError, ModelError
from embedkit.io import replacing_folder, seal_folder
from embedkit.ops.vectors import normalize, truncate
from embedkit.types import Embeddings

_PLAIN = {
    "output_value": ("sentence_embedding",),
    "precision": (None, "float32"),
    "pool": (None,),
    "chunk_size": (None,),
}
"""Values of sentence-transformers' options with which `encode` does the work itself."""

_ByDepth: TypeAlias = Float32[np.ndarray, "depths n dim"]


@final
class Encoder(SentenceTransformer):
    """Turns inputs into vectors; a `SentenceTransformer` wherever one is asked for.

    Trainers, evaluators, PEFT and hub folders work as they do there. What differs is `encode`: inputs are
    tokenised once, sorted by token count, batched by token budget and encoded once each; one input gives
    (dim,), a batch (n, dim), no input (0, dim), always float32 on the CPU in input order; depth and width
    are arguments; concurrent callers get bit-equal results. Get one from `embedkit.load`, or pass modules.

    Args:
        modules: The modules in order. The first reads inputs, the last writes `sentence_embedding`.
        cache: Where vectors are kept between calls; None keeps none.
        **options: sentence-transformers' own: prompts, default_prompt_name, similarity_fn_name,
            truncate_dim, device.

    Attributes:
        cache: May be set and cleared at any time.
        forward_lock: Held during each forward pass; whoever runs modules directly beside `encode` holds it too.

    Example:
        >>> import embedkit as ek
        >>> encoder = ek.load()
        >>> encoder.encode(["a sentence", "another"]).shape
        (2, 384)
    """

    def __init__(self, modules: Sequence[nn.Module], *, cache: VectorCache | None = None, **options: Any) -> None:
        if isinstance(modules, str | os.PathLike):
            message = f"Encoder takes modules; to open the model {str(modules)!r} use embedkit.load"
            raise InputError(message)
        super().__init__(modules=list(modules), **options)
        self.cache = cache
        self.forward_lock = threading.Lock()
        self._fingerprint: tuple[tuple[Any, ...], str] | None = None

    # -- encoding ------------------------------------------------------------------------------------

    def encode(  # type: ignore[override]  # one return type instead of sentence-transformers' six
        self,
        inputs: Any,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        *,
        num_layers: int | None = None,
        truncate_dim: int | None = None,
        normalize_embeddings: bool = False,
        **options: Any,
    ) -> Any:
        """Vectors of one input or of a batch.

        Args:
            inputs: One input or a batch (list, tuple, array, series, iterator) of what this encoder reads.
            prompt_name: Which of the encoder's `prompts` to put before each input.
            prompt: A prompt itself; wins over `prompt_name`.
            batch_size: Rows of 32 tokens in one batch (the token budget is 32 × batch_size), at least 1.
                It bounds memory and does not change the vectors beyond float rounding.
            show_progress_bar: None shows one on a terminal when the work takes over two seconds.
            num_layers: Stop after this layer, 0 … depth: a real early exit. 0 runs none of them and pools what
                the backbone's embedding layer gives. None runs all.
            truncate_dim: Keep this many leading dimensions, then restore length 1 if the encoder ends in
                a `Normalize` module. None uses the encoder's own `truncate_dim`.
            normalize_embeddings: Scale each vector to length 1 (after truncation).
            **options: sentence-transformers' other keywords, so that its evaluators and mteb can call:
                `convert_to_tensor` gives a tensor; `task` names a tower where there are several; `output_value`,
                `precision`, `device`, `pool` and `chunk_size` are carried out by sentence-transformers.

        Returns:
            float32 numpy array: (dim,) for one input, (n, dim) for a batch, in input order.

        Raises:
            InputError: An input of the wrong type, or an argument out of range.
            ForkedProcessError: torch was used before this process was forked.

        Example:
            >>> import embedkit as ek
            >>> encoder = ek.load()
            >>> encoder.encode("one sentence", num_layers=3, truncate_dim=64).shape
            (64,)
            >>> encoder.encode([]).shape
            (0, 384)
        """
        refuse_fork()
        as_tensor, task = options.pop("convert_to_tensor", False), options.pop("task", None)
        as_list = not options.pop("convert_to_numpy", True) and not as_tensor
        text = self._checked_prompt(prompt, prompt_name)
        batch_size = _as_integer("batch_size", batch_size)
        dim = self.truncate_dim if truncate_dim is None else _as_integer("truncate_dim", truncate_dim)
        depth = None if num_layers is None else _as_integer("num_layers", num_layers, least=0)
        if self._is_for_sentence_transformers(options):
            if depth is not None:
                message = f"num_layers goes with float32 vectors only; it came with {', '.join(options)}"
                raise InputError(message)
            with self.forward_lock:
                return super().encode(
                    inputs,
                    prompt=text,
                    batch_size=batch_size,
                    show_progress_bar=show_progress_bar,
                    truncate_dim=dim,
                    normalize_embeddings=normalize_embeddings,
                    convert_to_tensor=as_tensor,
                    convert_to_numpy=not (as_tensor or as_list),
                    **({"task": task} if task else {}),
                    **options,
                )
        reader = reader_of(self, text, task)
        rows, is_single = self._as_rows(inputs, reader)
        work = _Work(reader, text, task, batch_size, [depth], show_progress_bar)
        (full,) = self._encode_distinct(rows, work)
        vectors = self.narrowed(full, dim, normalize_embeddings=normalize_embeddings)
        result = vectors[0] if is_single else vectors
        if as_tensor:
            return torch.from_numpy(result)
        return list(torch.from_numpy(result)) if as_list else result

    def encode_query(self, inputs: Any, **options: Any) -> Any:  # type: ignore[override]  # as in encode
        """`encode` in the role of a query: with the prompt named "query", if the encoder has one."""
        return super().encode_query(inputs, **options)

    def encode_document(self, inputs: Any, **options: Any) -> Any:  # type: ignore[override]  # as in encode
        """`encode` in the role of a document: with the prompt named "document", if the encoder has one."""
        return super().encode_document(inputs, **options)

    def encode_grid(  # noqa: PLR0913 (the words of encode)
        self,
        inputs: Any,
        layers: Iterable[int],
        dims: Iterable[int],
        *,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        normalize_embeddings: bool = False,
        task: str | None = None,
    ) -> dict[tuple[int, int], Any]:
        """Vectors at several depths and widths for the price of the deepest: each layer runs once an input.

        Every cell is what `encode(inputs, num_layers=layer, truncate_dim=dim)` gives, and shares its cache.
        Memory: 4 bytes × inputs × the encoder's width × layers, and 4 bytes × inputs × dim for each cell.

        Args:
            inputs: As in `encode`.
            layers: Different depths, each 0 … depth.
            dims: Different widths, each 1 … width of the encoder.
            prompt_name: As in `encode`.
            prompt: As in `encode`.
            batch_size: As in `encode`.
            show_progress_bar: As in `encode`.
            normalize_embeddings: As in `encode`.
            task: "query" and "document" route two-tower encoders.

        Returns:
            (layer, dim) → float32 numpy array: (dim,) for one input, (n, dim) for a batch; layer by layer in the
            order given.

        Raises:
            InputError: An input of the wrong type, or an argument out of range.
            ForkedProcessError: torch was used before this process was forked.

        Example:
            >>> import embedkit as ek
            >>> grid = ek.load().encode_grid(["a sentence", "another"], layers=[2, 6], dims=[64, 384])
            >>> {cell: vectors.shape for cell, vectors in grid.items()}
            {(2, 64): (2, 64), (2, 384): (2, 384), (6, 64): (2, 64), (6, 384): (2, 384)}
        """
        refuse_fork()
        depths = _different_integers("layers", layers, self.get_num_layers(), least=0)
        widths = _different_integers("dims", dims, self._full_dim())
        text = self._checked_prompt(prompt, prompt_name)
        reader = reader_of(self, text, task)
        rows, is_single = self._as_rows(inputs, reader)
        ascending = sorted(depths)
        work = _Work(reader, text, task, _as_integer("batch_size", batch_size), ascending, show_progress_bar)
        full = dict(zip(ascending, self._encode_distinct(rows, work), strict=True))
        cells = {
            (depth, dim): self.narrowed(full[depth], dim, normalize_embeddings=normalize_embeddings)
            for depth in depths
            for dim in widths
        }
        return {cell: vectors[0] for cell, vectors in cells.items()} if is_single else cells

    def narrowed(self, vectors: Embeddings, dim: int | None, *, normalize_embeddings: bool = False) -> Embeddings:
        """What `encode` makes of wider vectors of this encoder: truncate, then normalise.

        Args:
            vectors: As `encode` gives them at any width from `dim` up, (n, width).
            dim: Leading dimensions to keep; length 1 is then restored if the encoder ends in a `Normalize`
                module. None keeps all, and leaves their lengths.
            normalize_embeddings: Scale each vector to length 1 in any case.

        Returns:
            (n, dim).

        Raises:
            InputError: `dim` is out of range.
        """
        if dim is not None:
            vectors = truncate(vectors, dim)
            normalize_embeddings = normalize_embeddings or isinstance(self[-1], Normalize)
        return normalize(vectors) if normalize_embeddings else vectors

    def identified(
        self, inputs: Any, *, prompt_name: str | None = None, prompt: str | None = None, task: str | None = None
    ) -> "Identified":
        """The checked inputs of an `encode` call, each with a hash of what decides its vector.

        Raises:
            InputError: An input of the wrong type, or a prompt that is no text.
        """
        text = self._checked_prompt(prompt, prompt_name)
        reader = reader_of(self, text, task)
        rows, is_single = self._as_rows(inputs, reader)
        made_by = (self.fingerprint, text, task, reader.expects)
        return Identified(rows, _hashes([reader.key(row) for row in rows], made_by), is_single)

    def preprocess(self, inputs: Sequence[Any], prompt: str | None = None, **options: Any) -> dict[str, Any]:
        """Tensors of one batch, as sentence-transformers' trainer asks for them.

        Where a pooling leaves the prompt's tokens out, `prompt_length` says how many there are: by the characters
        that tokens stand for, and not by the length of the prompt alone. sentence-transformers' own `Pooling` knows
        one number for a batch; where rows differ it gets the smallest, so that no token of a text is lost.

        Args:
            inputs: A batch of what this encoder reads.
            prompt: Put before each text.
            **options: The first module's own.

        Raises:
            InputError: A prompt that is left out fills the window, or an input is not what this encoder reads.
        """
        if isinstance(self[0], InputModule) and inputs:  # which knows its inputs; super() would guess what they are
            return self[0].preprocess(inputs, prompt=prompt, **options)
        if inputs and towers_of(self):
            return self._preprocess_for_tower(list(inputs), prompt, options.get("task"))
        features: dict[str, Any] = super().preprocess(inputs, prompt=prompt, **options)
        if prompt and "prompt_length" in features:
            length = true_prompt_length(self, inputs, prompt, options.get("max_length"))
            features["prompt_length"] = features["prompt_length"] if length is None else length
        return features

    def _preprocess_for_tower(self, inputs: list[Any], prompt: str | None, task: str | None) -> dict[str, Any]:
        """Tensors of inputs that one tower reads; data sets hold arrays as lists of lists."""
        reader = reader_of(self, prompt, task)
        rows, _ = self._as_rows([np.asarray(each) if isinstance(each, list) else each for each in inputs], reader)
        features: dict[str, Any] = reader.prepare(rows, prompt, task).batch(range(len(rows)))
        return features

    def get_num_layers(self) -> int:
        """Depth of the backbone: the largest `num_layers`.

        Raises:
            InputError: The encoder has no single stack of layers.
        """
        return num_layers_of(self)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of weights, tokenizer and settings: equal exactly when two encoders give equal vectors.

        It is remembered until a weight changes (writes through `tensor.data` go unnoticed).
        """
        version = weights_version(self)
        if self._fingerprint is None or self._fingerprint[0] != version:
            self._fingerprint = (version, fingerprint(self))
        return self._fingerprint[1]

    def _is_for_sentence_transformers(self, options: dict[str, Any]) -> bool:
        """Whether an option asks for something other than float32 vectors from this process and device."""
        plain = {**_PLAIN, "device": (None, self.device, str(self.device))}
        return any(value not in plain.get(name, ()) for name, value in options.items())

    def _checked_prompt(self, prompt: str | None, prompt_name: str | None) -> str | None:
        if prompt is not None and (problem := text_problem(prompt)):
            message = f"prompt must be text (str); {problem}"
            raise InputError(message)
        return self._resolve_prompt(prompt, prompt_name)

    def _as_rows(self, inputs: Any, reader: Reader) -> tuple[list[Any], bool]:
        if reader.is_single(inputs):
            rows, is_single = [inputs], True
        else:
            rows, is_single = _list_of(inputs, reader), False
        for position, value in enumerate(rows):
            if problem := reader.problem(value):
                message = f"inputs[{position}] must be {reader.expects}; {problem}"
                raise InputError(message)
        return rows, is_single

    # -- the engine ----------------------------------------------------------------------------------

    def _encode_distinct(self, rows: list[Any], work: "_Work") -> _ByDepth:
        """Encode equal inputs once and hand each its copy."""
        keys = [work.reader.key(value) for value in rows]
        first: dict[bytes, int] = {}
        distinct: list[int] = []
        source = np.empty(len(rows), dtype=np.int64)
        for position, key in enumerate(keys):
            if key is not None and key in first:
                source[position] = first[key]
                continue
            source[position] = len(distinct)
            if key is not None:
                first[key] = len(distinct)
            distinct.append(position)
        with _progress(len(distinct), work.show_progress_bar) as bar:
            vectors = self._encode_windows([rows[i] for i in distinct], [keys[i] for i in distinct], work, bar)
        return vectors if len(distinct) == len(rows) else np.take(vectors, source, axis=1)

    def _encode_windows(self, rows: list[Any], keys: list[bytes | None], work: "_Work", bar: "tqdm[Any]") -> _ByDepth:
        """Window by window, so that memory is bounded and a cache keeps what an interruption finished."""
        views = at_depths(self, work.num_layers)
        if not rows:
            return np.empty((len(views), 0, self._full_dim()), dtype=np.float32)
        parts = []
        for start in range(0, len(rows), WINDOW):
            window = slice(start, start + WINDOW)
            parts.append(self._encode_window(views, rows[window], keys[window], work, bar))
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

    def _encode_window(
        self, views: list[Self], rows: list[Any], keys: list[bytes | None], work: "_Work", bar: "tqdm[Any]"
    ) -> _ByDepth:
        cache = self.cache
        if cache is None or None in keys:
            return self._compute(views, rows, work, bar)
        by_depth = self._cache_keys(keys, work)
        known = cache.get([key for hashes in by_depth for key in hashes])
        missing = [row for row in range(len(rows)) if any(hashes[row] not in known for hashes in by_depth)]
        bar.update(len(rows) - len(missing))
        if missing:
            computed = self._compute(views, [rows[row] for row in missing], work, bar)
            for hashes, vectors in zip(by_depth, computed, strict=True):
                new = {hashes[row]: i for i, row in enumerate(missing) if hashes[row] not in known}
                cache.put(list(new), vectors[list(new.values())])
                known.update((key, vectors[i]) for key, i in new.items())
        return np.stack([[known[key] for key in hashes] for hashes in by_depth])

    def _cache_keys(self, keys: list[bytes | None], work: "_Work") -> list[list[bytes]]:
        """One list for each depth."""
        depths = [None if n is None or n == self.get_num_layers() else n for n in work.num_layers]
        encoder = self.fingerprint
        made_by = ((encoder, work.prompt, work.task, depth, work.reader.expects) for depth in depths)
        return [[key for key in _hashes(keys, values) if key is not None] for values in made_by]

    def _compute(self, views: list[Self], rows: list[Any], work: "_Work", bar: "tqdm[Any]") -> _ByDepth:
        vectors: _ByDepth | None = None
        with self.forward_lock:
            prepared = work.reader.prepare(rows, work.prompt, work.task)
            views = [view.eval() for view in views]
        groups = getattr(prepared, "groups", None)
        for batch in token_budget_batches(prepared.lengths, work.batch_size, groups):
            computed = self._forward_batch(views, prepared, batch, work)
            if vectors is None:
                vectors = np.empty((len(views), len(rows), computed.shape[-1]), dtype=np.float32)
            vectors[:, batch] = computed
            bar.update(len(batch))
        return vectors if vectors is not None else np.empty((len(views), 0, self._full_dim()), dtype=np.float32)

    def _forward_batch(self, views: list[Self], prepared: PreparedInputs, batch: Any, work: "_Work") -> _ByDepth:
        """One forward pass; a batch that does not fit in memory is halved."""
        try:
            # One batch at a time: the backbone's mask code and the tokenizer are not safe to share, and one
            # batch already uses every core.
            with self.forward_lock, torch.inference_mode():
                features = _to_device(prepared.batch(batch), self.device)
                routing = {"task": work.task} if work.task else {}
                # Modules write their results into the features, so each depth gets its own dictionary.
                return np.stack([_vectors_of(view.forward({**features}, **routing)) for view in views])
        except (RuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise
            if len(batch) == 1:
                message = f"one input of {int(prepared.lengths[batch[0]])} tokens does not fit in memory"
                raise EmbedkitError(message) from error
        half = len(batch) // 2
        parts = [self._forward_batch(views, prepared, part, work) for part in (batch[:half], batch[half:])]
        return np.concatenate(parts, axis=1)

    def _full_dim(self) -> int:
        """Width of the vectors before truncation: what the last module that knows it says."""
        for module in reversed(list(self.children())):
            say: Any = getattr(module, "get_embedding_dimension", None)
            dim = say() if callable(say) else None
            if dim is not None:
                return int(dim)
        message = "no module of the encoder says how many dimensions it gives"
        raise ModelError(message)

    # -- saving --------------------------------------------------------------------------------------

    def save(
        self,
        path: str | os.PathLike[str],
        model_name: str | None = None,
        create_model_card: bool = True,
        train_datasets: list[str] | None = None,
        safe_serialization: bool = True,
    ) -> None:
        """Write an ordinary sentence-transformers folder with checksums; whole or not at all.

        Args:
            path: The folder; the model that is there is replaced once the new one is complete.
            model_name: For the model card.
            create_model_card: Whether to write a README.md.
            train_datasets: For the model card.
            safe_serialization: Must be True: weights are always safetensors.

        Raises:
            InputError: Pickled weights are asked for.
            StorageError: The disk refused; a folder that was there is unchanged.
        """
        with self._writing(path, safe_serialization) as folder:
            super().save(folder, model_name, create_model_card, train_datasets)
            seal_folder(Path(folder))

    def save_pretrained(
        self,
        path: str | os.PathLike[str],
        model_name: str | None = None,
        create_model_card: bool = True,
        train_datasets: list[str] | None = None,
        safe_serialization: bool = True,
    ) -> None:
        """`save` without checksums: trainers write more files into their checkpoints afterwards."""
        with self._writing(path, safe_serialization) as folder:
            super().save(folder, model_name, create_model_card, train_datasets)

    @contextmanager
    def _writing(self, path: str | os.PathLike[str], safe_serialization: bool) -> Iterator[str]:
        if not safe_serialization:
            message = "safe_serialization must be True: embedkit writes safetensors only"
            raise InputError(message)
        if has_lora(self):
            message = "low-rank adapters must be part of the weights they adapt to be saved: merge_lora(encoder) first"
            raise InputError(message)
        with replacing_folder(Path(path)) as folder, without_bars():
            yield str(folder)

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], *, device: str | None = None, cache: VectorCache | None = None
    ) -> "Encoder":
        """Open a saved folder; `embedkit.load` also knows the default model and hub names.

        Raises:
            ModelError: No model there, a damaged file, or a module class that is not embedkit's or
                sentence-transformers' own.
        """
        from embedkit.encoders.loading import load

        return load(path, device=device, cache=cache)

    @classmethod
    def _load_with_module_classes(cls, model_name_or_path: str, module_classes: Any, **options: Any) -> "Encoder":
        """How sentence-transformers' trainer reopens its checkpoints."""
        del module_classes, options
        return cls.load(model_name_or_path)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "forward_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.forward_lock = threading.Lock()


class Identified(NamedTuple):
    """Inputs of one call.

    Attributes:
        rows: The inputs, checked.
        keys: For each a hash of its content, the prompt, the task and the encoder; None if its content is unknown.
        is_single: Whether it came alone and not in a batch.
    """

    rows: list[Any]
    keys: list[bytes | None]
    is_single: bool


class _Work:
    """What stays the same for every batch of one `encode` call."""

    def __init__(
        self,
        reader: Reader,
        prompt: str | None,
        task: str | None,
        batch_size: int,
        num_layers: Sequence[int | None],
        show_progress_bar: bool | None,
    ) -> None:
        self.reader, self.prompt, self.task = reader, prompt, task
        self.batch_size, self.num_layers, self.show_progress_bar = batch_size, num_layers, show_progress_bar


def _list_of(inputs: Any, reader: Reader) -> list[Any]:
    """A batch as a list: sequences, arrays whose entries are inputs, series, iterators, the rows of a frame."""
    if hasattr(inputs, "columns") and hasattr(inputs, "to_dict"):
        return list(inputs.to_dicts() if hasattr(inputs, "to_dicts") else inputs.to_dict("records"))  # polars, pandas
    is_iterable = hasattr(inputs, "__iter__") and not isinstance(inputs, str | bytes | Mapping)
    if is_iterable and getattr(inputs, "ndim", 1) == 1:
        return list(inputs.tolist() if isinstance(inputs, np.ndarray) else inputs)
    if isinstance(inputs, np.ndarray) and inputs.ndim > 1 and not any(map(reader.problem, inputs)):
        return list(inputs)
    message = f"inputs must be {reader.expects} or a batch of it; received {described(inputs)}"
    raise InputError(message)


def _different_integers(name: str, values: Any, limit: int, *, least: int = 1) -> list[int]:
    """`values` as plain integers of `least` … `limit`, each once."""
    found: list[Any] = list(values) if isinstance(values, Iterable) else [None]
    are_integers = all(isinstance(value, int | np.integer) and not isinstance(value, bool) for value in found)
    if not found or not are_integers or len(set(found)) < len(found) or not all(least <= v <= limit for v in found):
        message = f"{name} must be one or more different integers between {least} and {limit}; received {values!r}"
        raise InputError(message)
    return [int(value) for value in found]


def _as_integer(name: str, value: Any, *, least: int = 1) -> int:
    """`value` as a plain integer of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        kind = "a positive integer" if least == 1 else f"an integer from {least}"
        message = f"{name} must be {kind}; received {value!r}"
        raise InputError(message)
    return int(value)


def _hashes(keys: list[bytes | None], made_by: tuple[Any, ...]) -> list[bytes | None]:
    """Content and what it was made by in one hash; None where the content is unknown."""
    prefix = hashlib.sha256(repr(made_by).encode("utf-8", "surrogatepass"))
    hashes: list[bytes | None] = []
    for key in keys:
        digest = prefix.copy()
        digest.update(key or b"")
        hashes.append(None if key is None else digest.digest())
    return hashes


def _progress(total: int, show: bool | None) -> "tqdm[Any]":
    hidden = not show if show is not None else not sys.stderr.isatty()
    return tqdm(total=total, desc="encoding", unit=" inputs", delay=0 if show else 2, disable=hidden, leave=False)


def _to_device(features: dict[str, Any], device: torch.device) -> dict[str, Any]:
    if device.type == "cpu":
        return features
    return {name: value.to(device) if torch.is_tensor(value) else value for name, value in features.items()}


def _vectors_of(features: dict[str, Any]) -> Embeddings:
    vectors = features.get("sentence_embedding")
    if vectors is None:
        message = f"the last module must write 'sentence_embedding'; this one left {sorted(features)}: add a pooling"
        raise ModelError(message)
    array: Embeddings = vectors.float().cpu().numpy()
    return array


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)
