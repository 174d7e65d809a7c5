"""Encoders of records, the vectors of single values, and whole arrays of records at once."""

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from embedkit.encoders.encoder import Encoder
from embedkit.encoders.inputs import Features, InputModule, PreparedInputs, described
from embedkit.encoders.record.fields import Vocabulary, key_of
from embedkit.encoders.record.records import Records
from embedkit.errors import InputError
from embedkit.modules.lookup import FieldEmbedding, Lookup, PlainLookup, load_lookup
from embedkit.types import Embeddings


class RecordInput(InputModule):
    """First module of a record encoder: one vector a field, one behind the other.

    Args:
        vocabulary: Turns records into ids.
        lookup: Turns ids into vectors.

    Raises:
        InputError: The lookup was made for other fields.
    """

    expects: ClassVar[str] = "a record (mapping of one value a field)"

    def __init__(self, vocabulary: Vocabulary, lookup: Lookup) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        if tuple(lookup.sizes) != vocabulary.sizes:
            message = f"the lookup must have the vocabulary's sizes {vocabulary.sizes}; it has {tuple(lookup.sizes)}"
            raise InputError(message)
        self.vocabulary = vocabulary
        self.embedding = FieldEmbedding(lookup, vocabulary.columns)

    @property
    def tokenizer(self) -> None:  # type: ignore[override]  # the base class declares an attribute
        """None: records have no tokens."""
        return None

    def is_single(self, inputs: Any) -> bool:
        """A mapping is one record; a frame or a list is a batch of them."""
        return isinstance(inputs, Mapping)

    def problem(self, value: Any) -> str | None:
        """What is no mapping, or lacks a field."""
        if not isinstance(value, Mapping):
            return f"received {described(value)}"
        lacking = [name for name in self.vocabulary.names if name not in value]
        return f"it lacks the field {lacking[0]!r}; it has {', '.join(map(str, value))}" if lacking else None

    def key(self, value: Any) -> bytes | None:
        """The values of the fields that are read."""
        return repr([key_of(value[name]) for name in self.vocabulary.names]).encode(errors="backslashreplace")

    def prepare(self, inputs: list[Any], prompt: str | None, task: str | None) -> PreparedInputs:
        """Look the values up in the vocabulary.

        Raises:
            InputError: A prompt is given, or a numeric field holds something else.
        """
        del task
        if prompt:
            message = f"records take no prompt; received {prompt!r}"
            raise InputError(message)
        columns = {name: [record[name] for record in inputs] for name in self.vocabulary.names}
        return _PreparedRecords(self.vocabulary.records(columns))

    def forward(self, features: Features, **_: Any) -> Features:
        """Add `sentence_embedding`, (n, fields · dim)."""
        vectors: Tensor = self.embedding(features["input_ids"], features.get("weights"))
        features["sentence_embedding"] = vectors.flatten(1)
        return features

    def get_embedding_dimension(self) -> int:
        """Fields times the width of the lookup."""
        return len(self.vocabulary.fields) * int(self.embedding.lookup.dim)

    def save(self, output_path: str, *args: Any, safe_serialization: bool = True, **kwargs: Any) -> None:
        """Write the vocabulary and, in a folder of its own, the lookup."""
        del args, kwargs
        if not safe_serialization:
            message = "safe_serialization must be True: embedkit writes safetensors only"
            raise InputError(message)
        self.vocabulary.save(Path(output_path, "vocabulary.json"))
        self.embedding.lookup.save(Path(output_path, "lookup"))

    @classmethod
    def load(  # type: ignore[override]  # from folders only
        cls, model_name_or_path: str, subfolder: str = "", **options: Any
    ) -> Self:
        """Read what `save` wrote."""
        del options
        folder = Path(model_name_or_path, subfolder)
        return cls(Vocabulary.load(folder / "vocabulary.json"), load_lookup(folder / "lookup"))


@dataclass
class _PreparedRecords:
    """Records that were looked up; each is as long as the others."""

    records: Records

    def __post_init__(self) -> None:
        self.lengths = np.full(len(self.records), self.records.ids.shape[1], dtype=np.int64)

    def batch(self, rows: Sequence[int]) -> Features:
        """Ids, and weights where there are any."""
        return _features(self.records, np.asarray(rows))


def _features(records: Records, rows: Any) -> Features:
    features: Features = {"input_ids": torch.from_numpy(np.ascontiguousarray(records.ids[rows]).astype(np.int64))}
    if records.weights is not None:
        features["weights"] = torch.from_numpy(np.ascontiguousarray(records.weights[rows]))
    return features


def record_encoder(vocabulary: Vocabulary, lookup: Lookup | None = None, *, dim: int = 16) -> Encoder:
    """An encoder of records: the vectors of their fields, one behind the other.

    Args:
        vocabulary: Turns records into ids.
        lookup: Turns ids into vectors, such as that of a trained click model; None takes an untrained table.
        dim: Width of the untrained table.

    Returns:
        An encoder whose inputs are mappings; a frame is a batch of them. Vectors are (n, fields · dim).

    Raises:
        InputError: The lookup was made for other fields.

    Example:
        >>> vocabulary = Vocabulary.fit({"user": ["ann", "bob"], "item": ["tea", "jam"]})
        >>> encoder = record_encoder(vocabulary, dim=4)
        >>> encoder.encode([{"user": "ann", "item": "jam"}, {"user": "eve", "item": "tea"}]).shape
        (2, 8)
    """
    made = lookup if lookup is not None else PlainLookup(vocabulary.sizes, dim, names=vocabulary.names)
    return Encoder([RecordInput(vocabulary, made)], device=str(made.offsets.device))


def encode_field(encoder: Encoder, field: str, values: Sequence[Any] | None = None) -> Embeddings:
    """Vectors of values of one field, such as go into an index.

    Args:
        encoder: From `record_encoder`.
        field: A field that is not numeric.
        values: Which; None takes all that the vocabulary knows, in the order of `vocabulary.values`. One that is not
            known has the vector all unknown values share.

    Returns:
        float32 (n, dim).

    Raises:
        InputError: The encoder reads no records, there is no such field, or `values` is a text.

    Example:
        >>> encoder = record_encoder(Vocabulary.fit({"user": ["ann", "bob"], "item": ["tea", "jam"]}), dim=4)
        >>> encode_field(encoder, "item", ["tea", "jam"]).shape
        (2, 4)
    """
    reader = _reader(encoder)
    place = reader.vocabulary.place_of(field)
    if isinstance(values, str | bytes):
        message = f"values must be a list of values; received {described(values)}: put one value in a list"
        raise InputError(message)
    known = reader.vocabulary.values[place]
    ids = np.array([reader.vocabulary.id_of(field, value) for value in (known if values is None else values)])
    column = torch.tensor([place], device=encoder.device)
    with torch.inference_mode():
        rows = torch.from_numpy(ids.astype(np.int64)[:, None]).to(encoder.device)
        vectors = reader.embedding.lookup.eval()(rows, column)[:, 0]
    return vectors.float().cpu().numpy()  # type: ignore[no-any-return]


def encode_records(
    encoder: Encoder, records: Records, *, batch_size: int = 65536, show_progress_bar: bool | None = None
) -> Embeddings:
    """Vectors of records that are ids already: what `encode` gives, without a look at each.

    Args:
        encoder: From `record_encoder`.
        records: From the encoder's vocabulary; may be mapped from disk.
        batch_size: Records a batch, at least 1.
        show_progress_bar: None shows one on a terminal.

    Returns:
        float32 (n, fields · dim).

    Raises:
        InputError: The encoder reads no records, or an id or `batch_size` is out of range.
    """
    reader = _reader(encoder)
    if operator.index(batch_size) < 1:
        message = f"batch_size must be at least 1; received {batch_size}"
        raise InputError(message)
    found = np.empty((len(records), reader.get_embedding_dimension()), dtype=np.float32)
    hidden = None if show_progress_bar is None else not show_progress_bar
    with encoder.forward_lock, torch.inference_mode():
        reader.eval()
        for start in tqdm(range(0, len(records), batch_size), desc="encode", disable=hidden, delay=2):
            rows = slice(start, start + batch_size)
            features = {name: value.to(encoder.device) for name, value in _features(records, rows).items()}
            found[rows] = reader(features)["sentence_embedding"].float().cpu().numpy()
    return found


def _reader(encoder: Encoder) -> RecordInput:
    reader: Any = encoder[0]
    if not isinstance(reader, RecordInput):
        message = "the encoder must read records: make one with record_encoder(vocabulary)"
        raise InputError(message)
    return reader
