"""What one input is, and how a batch of inputs becomes tensors.

A reader answers four questions for `Encoder.encode`: is this one input or many, is each of them
something this encoder reads, how long is each, and which tensors does a batch make. Modalities are
never guessed: the first module of the encoder decides which reader it gets.
"""

import json
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import torch
from sentence_transformers.base.modules import InputModule as STInputModule
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from torch import Tensor

from embedkit.encoders.bags import BagInputs
from embedkit.encoders.prompts import excludes_prompt, gives_offsets, prompt_lengths, takes_one_length
from embedkit.errors import InputError

Features = dict[str, Any]


class PreparedInputs(Protocol):
    """Inputs that were read once: their lengths are known, and any subset becomes a padded batch."""

    lengths: np.ndarray[Any, np.dtype[np.int64]]

    def batch(self, rows: Sequence[int]) -> Features:
        """Tensors of the inputs at `rows`, in that order."""
        ...


class Reader(Protocol):
    """Turns inputs of one modality into features."""

    @property
    def expects(self) -> str:
        """What one input is, in words, for messages."""
        ...

    def is_single(self, inputs: Any) -> bool:
        """Whether `inputs` is one input rather than a batch."""
        ...

    def problem(self, value: Any) -> str | None:
        """Why `value` is not one input of this modality; None when it is."""
        ...

    def key(self, value: Any) -> bytes | None:
        """Content that two inputs share exactly when their vectors must be equal; None if unknown."""
        ...

    def prepare(self, inputs: list[Any], prompt: str | None, task: str | None) -> PreparedInputs:
        """Read checked inputs, for instance by tokenising them."""
        ...


@dataclass
class TokenizedInputs:
    """Token ids of many inputs, unpadded.

    Attributes:
        columns: The tokenizer's outputs, each a list of integers for every input.
        padding: The value that fills each column.
        left: Whether padding goes to the left.
        prompt_lengths: How many leading tokens of each input the pooling leaves out; None if it leaves out none.
        groups: A number for each input, where only those with equal numbers may share a batch.
    """

    columns: dict[str, list[list[int]]]
    padding: dict[str, int]
    left: bool
    prompt_lengths: np.ndarray[Any, np.dtype[np.int64]] | None = None
    groups: np.ndarray[Any, np.dtype[np.int64]] | None = None

    def __post_init__(self) -> None:
        ids = self.columns["input_ids"]
        self.lengths = np.fromiter(map(len, ids), dtype=np.int64, count=len(ids))

    def batch(self, rows: Sequence[int]) -> Features:
        """Pad the inputs at `rows` to the longest of them."""
        width = max(1, *(int(self.lengths[row]) for row in rows))  # a text may have no token at all
        features: Features = {name: self._pad(name, rows, width) for name in self.columns}
        features["modality"] = "text"
        if self.prompt_lengths is not None:
            features["prompt_length"] = _one_or_all(self.prompt_lengths[np.asarray(rows)])
        return features

    def _pad(self, name: str, rows: Sequence[int], width: int) -> Tensor:
        padded = np.full((len(rows), width), self.padding[name], dtype=np.int64)
        for target, row in zip(padded, rows, strict=True):
            values = self.columns[name][row]
            start = width - len(values) if self.left else 0
            target[start : start + len(values)] = values
        return torch.from_numpy(padded)


def _one_or_all(lengths: np.ndarray[Any, np.dtype[np.int64]]) -> int | Tensor:
    """One number where all are equal, which is how sentence-transformers writes it; else one for each row."""
    return int(lengths[0]) if len(lengths) and (lengths == lengths[0]).all() else torch.from_numpy(lengths)


def tokenize(transformer: Transformer, texts: list[str], *, left_out: str = "") -> TokenizedInputs:
    """Tokenise `texts` once, truncated to the model's window and unpadded.

    Args:
        transformer: Whose tokenizer, fast if a prompt is left out.
        texts: What to read.
        left_out: The prompt that each of `texts` begins with, if the pooling is to leave its tokens out.

    Raises:
        InputError: That prompt fills the window.
    """
    tokenizer: Any = transformer.tokenizer
    places = {"return_offsets_mapping": True, "return_special_tokens_mask": True} if left_out else {}
    encoded = tokenizer(texts, padding=False, truncation="longest_first", return_attention_mask=True, **places)
    padding = {
        "input_ids": tokenizer.pad_token_id or 0,
        "attention_mask": 0,
        "token_type_ids": tokenizer.pad_token_type_id,
    }
    columns = {name: encoded[name] for name in padding if name in encoded}
    lengths = prompt_lengths(tokenizer, left_out, encoded) if left_out else None
    return TokenizedInputs(columns, padding, left=tokenizer.padding_side == "left", prompt_lengths=lengths)


class InputModule(STInputModule):
    """First module of an encoder whose inputs sentence-transformers does not know.

    A subclass says what one input is (`expects`, `is_single`, `problem`, `key`) and how inputs become
    tensors (`prepare`); it is its own reader.
    """

    expects: ClassVar[str]

    @abstractmethod
    def is_single(self, inputs: Any) -> bool:
        """Whether `inputs` is one input rather than a batch."""

    @abstractmethod
    def problem(self, value: Any) -> str | None:
        """Why `value` is not one input of this modality; None when it is."""

    @abstractmethod
    def key(self, value: Any) -> bytes | None:
        """Content that two inputs share exactly when their vectors must be equal; None if unknown."""

    @abstractmethod
    def prepare(self, inputs: list[Any], prompt: str | None, task: str | None) -> PreparedInputs:
        """Read checked inputs."""

    def preprocess(self, inputs: Sequence[Any], prompt: str | None = None, **kwargs: Any) -> Features:
        """Tensors of one batch: what sentence-transformers' trainer and tools call."""
        return self.prepare(list(inputs), prompt, kwargs.get("task")).batch(range(len(inputs)))


class TransformerInput(InputModule):
    """First module that writes its inputs for a transformer, and keeps its settings beside it.

    Args:
        transformer: Reads what the subclass writes.
    """

    def __init__(self, transformer: Transformer) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.transformer = transformer

    @property
    def tokenizer(self) -> Any:  # type: ignore[override]  # the base class declares an attribute
        """The transformer's tokenizer."""
        return self.transformer.tokenizer

    @property
    def max_seq_length(self) -> int | None:
        """The transformer's window, in tokens."""
        return self.transformer.max_seq_length

    def forward(self, features: Features, **kwargs: Any) -> Features:
        """Run the transformer."""
        return self.transformer(features, **kwargs)  # type: ignore[no-any-return]

    def get_embedding_dimension(self) -> int:
        """Width of the token states."""
        return int(self.transformer.get_embedding_dimension())

    def save(self, output_path: str, *args: Any, safe_serialization: bool = True, **kwargs: Any) -> None:
        """Write the transformer and, beside it, the settings of this module."""
        self.transformer.save(output_path, *args, safe_serialization=safe_serialization, **kwargs)
        self.save_config(output_path)

    @classmethod
    def load(  # type: ignore[override]  # the options go to the transformer as they are
        cls, model_name_or_path: str, subfolder: str = "", **options: Any
    ) -> Self:
        """Read what `save` wrote."""
        config = json.loads(Path(model_name_or_path, subfolder, cls.config_file_name).read_bytes())
        return cls(Transformer.load(model_name_or_path, subfolder=subfolder, **options), **config)


class ReadsText:
    """One input is a string: what all readers of text have in common."""

    expects: ClassVar[str] = "text (str)"

    def is_single(self, inputs: Any) -> bool:
        """A string is one input."""
        return isinstance(inputs, str)

    def problem(self, value: Any) -> str | None:
        """Whatever is not a string, or cannot be written as UTF-8."""
        return text_problem(value)

    def key(self, value: Any) -> bytes | None:
        """The text itself."""
        return str(value).encode()


class TextReader(ReadsText):
    """Reads strings for a text transformer: tokenise once, pad late.

    Args:
        transformer: Reads the text.
        leaves_out_prompt: Whether the pooling leaves out the tokens of a prompt.
        alike: Whether all inputs of a batch must then have as many of them.
    """

    def __init__(self, transformer: Transformer, *, leaves_out_prompt: bool = False, alike: bool = False) -> None:
        self._transformer, self._leaves_out_prompt, self._alike = transformer, leaves_out_prompt, alike

    def prepare(self, inputs: list[Any], prompt: str | None, task: str | None) -> PreparedInputs:
        """Tokenise."""
        del task  # one tower reads queries and documents alike
        if not prompt:
            return tokenize(self._transformer, inputs)
        left_out = prompt if self._leaves_out_prompt else ""
        prepared = tokenize(self._transformer, [prompt + text for text in inputs], left_out=left_out)
        prepared.groups = prepared.prompt_lengths if self._alike else None
        return prepared


class StaticReader(ReadsText):
    """Reads strings for a table of word vectors: tokenise once, never pad."""

    def __init__(self, table: StaticEmbedding) -> None:
        self._table = table

    def prepare(self, inputs: list[Any], prompt: str | None, task: str | None) -> PreparedInputs:
        """Tokenise, without special tokens."""
        del task
        texts = [(prompt or "") + text for text in inputs]
        encodings = self._table.tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return BagInputs.of(encoding.ids for encoding in encodings)


class PreprocessReader:
    """Reads whatever the first module's own `preprocess` reads (images, audio, two towers, …)."""

    def __init__(self, encoder: Any) -> None:
        self._encoder = encoder
        self._is_text = list(encoder.modalities) == ["text"]
        modalities = " or ".join(str(modality) for modality in encoder.modalities)
        self.expects = ReadsText.expects if self._is_text else modalities

    def is_single(self, inputs: Any) -> bool:
        """A string is one input where only text is read; elsewhere sentence-transformers' rule holds."""
        return isinstance(inputs, str) if self._is_text else bool(self._encoder.is_singular_input(inputs))

    def problem(self, value: Any) -> str | None:
        """What no modality is made of; the rest is judged by the first module."""
        if isinstance(value, str) or self._is_text:
            return text_problem(value)
        return f"received {described(value)}" if value is None or isinstance(value, float | bytes) else None

    def key(self, value: Any) -> bytes | None:
        """The text itself; None for what is not text."""
        return value.encode() if isinstance(value, str) else None

    def prepare(self, inputs: list[Any], prompt: str | None, task: str | None) -> PreparedInputs:
        """Measure; tensors are made batch by batch."""
        return _UnreadInputs(self._encoder, inputs, prompt, task)


def text_problem(value: Any) -> str | None:
    """Why `value` is not text that a tokenizer reads; None when it is."""
    if not isinstance(value, str):
        return f"received {described(value)}"
    if value.isascii():
        return None
    try:
        value.encode()
    except UnicodeEncodeError as error:
        return (
            f"it holds the lone surrogate {value[error.start]!a} at character {error.start}, which UTF-8 cannot write: "
            "decode the bytes with errors='replace'"
        )
    return None


def checked_texts(texts: Any, name: str = "texts") -> list[str]:
    """`texts` as a list, each a text that a tokenizer reads; `name` is what the caller calls them.

    Raises:
        InputError: `texts` is no collection, or holds something else.
    """
    if isinstance(texts, str) or not isinstance(texts, Iterable):
        message = f"{name} must be a list of str; received {type(texts).__name__}"
        raise InputError(message)
    read = list(texts)
    for position, text in enumerate(read):
        if problem := text_problem(text):
            message = f"{name}[{position}] must be str; {problem}"
            raise InputError(message)
    return read


def described(value: Any) -> str:
    """Type and beginning of a value, for messages, in one line."""
    text = " ".join(map(str.strip, repr(value).splitlines()))
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"


class _UnreadInputs:
    """Inputs whose tensors are made batch by batch; lengths are sentence-transformers' estimate."""

    def __init__(self, encoder: Any, inputs: list[Any], prompt: str | None, task: str | None) -> None:
        self._encoder, self._inputs, self._prompt, self._task = encoder, inputs, prompt, task
        lengths = [encoder._input_length(value) for value in inputs]
        self.lengths = np.asarray(lengths, dtype=np.int64)

    def batch(self, rows: Sequence[int]) -> Features:
        options = {"task": self._task} if self._task else {}
        features: Features = self._encoder.preprocess(
            [self._inputs[row] for row in rows], prompt=self._prompt, **options
        )
        return features


def reader_for(encoder: Any, prompt: str | None) -> Reader:
    """The reader of an encoder's first module.

    Plain text transformers and tables of word vectors are tokenised here; every option of
    sentence-transformers' `Transformer` that changes how text is read (own processing arguments, chat
    templates, query expansion) goes through its own `preprocess`, and so does a prompt that is kept out of the
    pooling where the tokenizer does not say which characters a token stands for.
    """
    first = encoder[0]
    if isinstance(first, InputModule):
        return first
    leaves_out = bool(prompt) and excludes_prompt(encoder)
    if _is_plain_transformer(first) and (not leaves_out or gives_offsets(first.tokenizer)):
        return TextReader(first, leaves_out_prompt=leaves_out, alike=takes_one_length(encoder))
    if type(first) is StaticEmbedding:
        return StaticReader(first)
    return PreprocessReader(encoder)


def true_prompt_length(encoder: Any, inputs: Sequence[Any], prompt: str, max_length: int | None) -> Any:
    """What `prompt_length` must be in a batch that sentence-transformers' `preprocess` made of prompted texts.

    Returns:
        One number where all rows agree; else one for each row, or the smallest where the pooling knows only one: then
        no token of a text is left out. None where it cannot be told.

    Raises:
        InputError: The prompt fills the window.
    """
    first = encoder[0]
    is_text = _is_plain_transformer(first) and all(isinstance(value, str) for value in inputs)
    if not is_text or not excludes_prompt(encoder) or not gives_offsets(first.tokenizer):
        return None
    cut = {"max_length": max_length} if max_length else {}
    encoded = first.tokenizer(
        [prompt + text for text in inputs],
        truncation="longest_first",
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
        **cut,
    )
    lengths = prompt_lengths(first.tokenizer, prompt, encoded, max_length)
    return int(lengths.min()) if takes_one_length(encoder) else _one_or_all(lengths)


def reads_plain_text(module: Any) -> bool:
    """Whether a first module is one whose texts are tokenised here."""
    return type(module) is StaticEmbedding or _is_plain_transformer(module)


def _is_plain_transformer(transformer: Any) -> bool:
    if not isinstance(transformer, Transformer):
        return False
    lengths = (transformer.query_length, transformer.document_length, transformer.query_expansion)
    return (
        list(transformer.modality_config) == ["text"]
        and not transformer.processing_kwargs
        and lengths == (None, None, None)
        and transformer.transformer_task == "feature-extraction"
        and not transformer._can_flatten_inputs()
    )
