"""What one input is, and how a batch of inputs becomes tensors.

A reader answers four questions for `Encoder.encode`: is this one input or many, is each of them
something this encoder reads, how long is each, and which tensors does a batch make. Modalities are
never guessed: the first module of the encoder decides which reader it gets.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from sentence_transformers.base.modules import InputModule as STInputModule
from sentence_transformers.base.modules import Transformer
from torch import Tensor

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

    def accepts(self, value: Any) -> bool:
        """Whether `value` is one input of this modality."""
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
    """

    columns: dict[str, list[list[int]]]
    padding: dict[str, int]
    left: bool

    def __post_init__(self) -> None:
        ids = self.columns["input_ids"]
        self.lengths = np.fromiter(map(len, ids), dtype=np.int64, count=len(ids))

    def batch(self, rows: Sequence[int]) -> Features:
        """Pad the inputs at `rows` to the longest of them."""
        width = max(int(self.lengths[row]) for row in rows)
        features: Features = {name: self._pad(name, rows, width) for name in self.columns}
        features["modality"] = "text"
        return features

    def _pad(self, name: str, rows: Sequence[int], width: int) -> Tensor:
        padded = np.full((len(rows), width), self.padding[name], dtype=np.int64)
        for target, row in zip(padded, rows, strict=True):
            values = self.columns[name][row]
            start = width - len(values) if self.left else 0
            target[start : start + len(values)] = values
        return torch.from_numpy(padded)


def tokenize(transformer: Transformer, texts: list[str]) -> TokenizedInputs:
    """Tokenise `texts` once, truncated to the model's window and unpadded.

    Raises:
        InputError: A text holds characters that have no UTF-8 form (lone surrogates).
    """
    tokenizer: Any = transformer.tokenizer
    for position, text in enumerate(texts):
        if not text.isascii():
            _check_unicode(text, position)
    encoded = tokenizer(texts, padding=False, truncation="longest_first", return_attention_mask=True)
    padding = {
        "input_ids": tokenizer.pad_token_id or 0,
        "attention_mask": 0,
        "token_type_ids": tokenizer.pad_token_type_id,
    }
    columns = {name: encoded[name] for name in padding if name in encoded}
    return TokenizedInputs(columns, padding, left=tokenizer.padding_side == "left")


def _check_unicode(text: str, position: int) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        message = (
            f"inputs[{position}] must be text that UTF-8 can write; it holds the lone surrogate "
            f"{text[error.start]!a} at character {error.start}: decode the bytes with errors='replace'"
        )
        raise InputError(message) from None


class InputModule(STInputModule):
    """First module of an encoder whose inputs sentence-transformers does not know.

    A subclass says what one input is (`expects`, `is_single`, `accepts`, `key`) and how inputs become
    tensors (`prepare`); it is its own reader.
    """

    expects: ClassVar[str]

    @abstractmethod
    def is_single(self, inputs: Any) -> bool:
        """Whether `inputs` is one input rather than a batch."""

    @abstractmethod
    def accepts(self, value: Any) -> bool:
        """Whether `value` is one input of this modality."""

    @abstractmethod
    def key(self, value: Any) -> bytes | None:
        """Content that two inputs share exactly when their vectors must be equal; None if unknown."""

    @abstractmethod
    def prepare(self, inputs: list[Any], prompt: str | None, task: str | None) -> PreparedInputs:
        """Read checked inputs."""

    def preprocess(self, inputs: Sequence[Any], prompt: str | None = None, **kwargs: Any) -> Features:
        """Tensors of one batch: what sentence-transformers' trainer and tools call."""
        return self.prepare(list(inputs), prompt, kwargs.get("task")).batch(range(len(inputs)))


class TextReader:
    """Reads strings for a text transformer: tokenise once, pad late."""

    expects = "text (str)"

    def __init__(self, transformer: Transformer) -> None:
        self._transformer = transformer

    def is_single(self, inputs: Any) -> bool:
        """Whether `inputs` is one input rather than a batch."""
        return isinstance(inputs, str)

    def accepts(self, value: Any) -> bool:
        """Whether `value` is one input."""
        return isinstance(value, str)

    def key(self, value: Any) -> bytes | None:
        """The text itself."""
        return str(value).encode("utf-8", "surrogatepass")

    def prepare(self, inputs: list[Any], prompt: str | None, task: str | None) -> PreparedInputs:
        """Tokenise."""
        del task  # one tower reads queries and documents alike
        return tokenize(self._transformer, [prompt + text for text in inputs] if prompt else inputs)


class PreprocessReader:
    """Reads whatever the first module's own `preprocess` reads (images, audio, two towers, …)."""

    def __init__(self, encoder: Any) -> None:
        self._encoder = encoder
        self.expects = " or ".join(str(modality) for modality in encoder.modalities)

    def is_single(self, inputs: Any) -> bool:
        """Whether `inputs` is one input rather than a batch."""
        return bool(self._encoder.is_singular_input(inputs))

    def accepts(self, value: Any) -> bool:
        """Whether `value` is one input."""
        if isinstance(value, str):
            return bool(self._encoder.supports("text"))
        return value is not None and not isinstance(value, float | bytes)

    def key(self, value: Any) -> bytes | None:
        """The text itself; None for what is not text."""
        return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else None

    def prepare(self, inputs: list[Any], prompt: str | None, task: str | None) -> PreparedInputs:
        """Measure; tensors are made batch by batch."""
        return _UnreadInputs(self._encoder, inputs, prompt, task)


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

    Plain text transformers are tokenised here; every option of sentence-transformers' `Transformer` that
    changes how text is read (own processing arguments, chat templates, query expansion, a prompt that is
    kept out of the pooling) goes through its own `preprocess`.
    """
    first = encoder[0]
    if isinstance(first, InputModule):
        return first
    if isinstance(first, Transformer) and _is_plain_text(first) and not (prompt and _excludes_prompt(encoder)):
        return TextReader(first)
    return PreprocessReader(encoder)


def _is_plain_text(transformer: Transformer) -> bool:
    lengths = (transformer.query_length, transformer.document_length, transformer.query_expansion)
    return (
        list(transformer.modality_config) == ["text"]
        and not transformer.processing_kwargs
        and lengths == (None, None, None)
        and transformer.transformer_task == "feature-extraction"
        and not transformer._can_flatten_inputs()
    )


def _excludes_prompt(encoder: Any) -> bool:
    return any(not getattr(module, "include_prompt", True) for module in encoder)
