"""The encoder that is checked, and what several checks need to know about it."""

import inspect
import tempfile
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embedkit.errors import InputError, ModelError
from embedkit.evaluation.check.distances import FLOAT32_ROUNDING
from embedkit.evaluation.check.finding import Verdict
from embedkit.evaluation.check.texts import LONG_TEXT, TEXTS
from embedkit.types import SupportsEncode

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from embedkit.encoders.encoder import Encoder

_ROUNDING = {"torch.float16": 1e-2, "torch.bfloat16": 5e-2}


class Subject:
    """An encoder, the inputs it is checked with, and what several checks need to know about it."""

    def __init__(self, encoder: Any, inputs: Sequence[Any] | None, seed: int) -> None:
        if isinstance(encoder, type) or not isinstance(encoder, SupportsEncode):
            message = (
                "check needs an encoder, with encode and get_embedding_dimension; "
                f"received {type(encoder).__name__}: open a model with embedkit.load"
            )
            raise InputError(message)
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            message = f"seed must be an integer of at least 0; received {seed!r}"
            raise InputError(message)
        self.encoder = encoder
        self.seed = seed
        reads_text = self.model is None or _reads_text(self.model)
        self.inputs = _inputs_of(inputs, reads_text)
        self.reads_text = reads_text and all(isinstance(value, str) for value in self.inputs)

    @cached_property
    def model(self) -> "SentenceTransformer | None":
        """The encoder, if its modules can be looked at."""
        from sentence_transformers import SentenceTransformer

        return self.encoder if isinstance(self.encoder, SentenceTransformer) else None

    @cached_property
    def own(self) -> "Encoder | None":
        """The encoder, if it is embedkit's and so promises more than others do."""
        from embedkit.encoders.encoder import Encoder

        return self.encoder if isinstance(self.encoder, Encoder) else None

    @cached_property
    def vectors(self) -> NDArray[Any]:
        """Vectors of the inputs, as a plain call gives them."""
        return self.encode(self.inputs)

    @cached_property
    def reloaded(self) -> "Encoder":
        """The encoder after a round through the disk."""
        from embedkit.encoders.loading import load

        if self.own is None:
            message = "only embedkit's encoders are saved and loaded"
            raise InputError(message)
        with tempfile.TemporaryDirectory() as folder:
            self.own.save(Path(folder, "model"), create_model_card=False)
            return load(Path(folder, "model"), device=str(self.own.device))

    @property
    def with_long(self) -> list[Any]:
        """The inputs, and where text is read one that fills most windows."""
        return [*self.inputs, LONG_TEXT] if self.reads_text else self.inputs

    @property
    def rounding(self) -> float:
        """By how much a vector may differ in another batch."""
        return _ROUNDING.get(str(getattr(self.model, "dtype", None)), FLOAT32_ROUNDING)

    def encode(self, inputs: Sequence[Any], **options: Any) -> NDArray[Any]:
        """Vectors of a batch; an option that is None is left to the encoder."""
        given = {name: value for name, value in options.items() if value is not None}
        vectors = np.asarray(self.encoder.encode(list(inputs), **given))
        if vectors.ndim != 2 or len(vectors) != len(inputs):
            message = f"{len(inputs)} inputs gave vectors of shape {vectors.shape}"
            raise ModelError(message)
        return vectors

    def encode_together(self, inputs: Sequence[Any]) -> NDArray[Any]:
        """Vectors of inputs that share one padded batch."""
        return self.encode(inputs, batch_size=1024 if self.takes("batch_size") else None)

    def encode_bare(self, text: str) -> NDArray[Any]:
        """Vectors of one text without the encoder's default prompt."""
        return self.encode([text], prompt="" if self.takes("prompt") else None)

    def takes(self, option: str) -> bool:
        """Whether `encode` has this argument by name."""
        return option in inspect.signature(self.encoder.encode).parameters

    def judge(self, differences: Iterable[float], over: str, limit: float | None = None) -> Verdict:
        """Whether all differences, of which NaN is none, are within the limit."""
        limit = self.rounding if limit is None else limit
        largest = float(np.max(list(differences)))
        measured = f"largest relative difference {largest:.2g} {over} (allowed: {limit:g})"
        return "pass" if largest <= limit else "fail", measured


def _reads_text(model: Any) -> bool:
    from embedkit.encoders.inputs import InputModule

    first = model[0]
    return first.problem("text") is None if isinstance(first, InputModule) else "text" in model.modalities


def _inputs_of(inputs: Sequence[Any] | None, reads_text: bool) -> list[Any]:
    if inputs is None and not reads_text:
        message = "this encoder reads no text: give inputs, at least two different ones of what it reads"
        raise InputError(message)
    read = list(TEXTS if inputs is None else inputs)
    if isinstance(inputs, str) or len(read) < 2:
        message = f"inputs must be at least two different inputs; received {inputs!r:.60}"
        raise InputError(message)
    return read
