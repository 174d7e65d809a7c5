"""Several vectors from one input: hidden states with the characters they came from, and spans of them.

Column, row and cell vectors of tables, leaves of syntax trees and mask tokens of prompts are all spans.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float32, Int64
from sentence_transformers.base.modules import Transformer

from embedkit.encoders.batching import token_budget_batches
from embedkit.encoders.depth import at_depth
from embedkit.encoders.encoder import Encoder
from embedkit.encoders.forks import refuse_fork
from embedkit.encoders.inputs import TokenizedInputs, checked_texts, tokenize
from embedkit.errors import InputError
from embedkit.types import Embeddings

Span: TypeAlias = tuple[int, int]
"""Characters of a text, from the first to behind the last."""


@dataclass(frozen=True)
class TokenReadout:
    """Hidden states of one text at one depth, special tokens left out.

    Attributes:
        embeddings: One state for each token.
        offsets: First character of each token, and the one behind its last.
    """

    embeddings: Float32[np.ndarray, "tokens dim"]
    offsets: Int64[np.ndarray, "tokens 2"]

    def pool(self, spans: Sequence[Span | Sequence[Span]]) -> Embeddings:
        """Mean state of the tokens in each span.

        Args:
            spans: Each a (start, end), or several of these that are read as one.

        Returns:
            (len(spans), dim). A token counts for a span when they share a character.

        Raises:
            InputError: A span has no token: it is blank, or the text was truncated before it; or it is no span.
        """
        pooled = np.empty((len(spans), self.embeddings.shape[1]), dtype=np.float32)
        for target, span in zip(pooled, spans, strict=True):
            target[:] = self.embeddings[self._tokens_in(span)].mean(axis=0)
        return pooled

    def _tokens_in(self, span: Any) -> Any:
        try:
            first, last = np.array(span, dtype=np.int64).reshape(-1, 2).T
        except (TypeError, ValueError):
            message = f"a span must be (start, end) or a list of these, in characters; received {span!r}"
            raise InputError(message) from None
        starts, ends = self.offsets[:, :1], self.offsets[:, 1:]
        inside = (np.maximum(starts, first) < np.minimum(ends, last)).any(axis=1)
        if not inside.any():
            message = f"span {span} has no token: it is blank, or the text was truncated before it"
            raise InputError(message)
        return inside


@runtime_checkable
class RewritesText(Protocol):
    """A first module whose transformer reads another text than was given, and that knows what came from where."""

    def prepare(self, inputs: list[Any], prompt: str | None, task: str | None) -> TokenizedInputs:
        """Tokens of each text."""
        ...

    def places(self, sources: list[str]) -> list[tuple[Any, Any]]:
        """For each text: which tokens stand for its own characters, and which characters."""
        ...


def read_tokens(
    encoder: Encoder, texts: Iterable[str], *, num_layers: int | None = None, batch_size: int = 32
) -> list[TokenReadout]:
    """Hidden states of each text after layer `num_layers`: the very states that `encode` pools.

    Args:
        encoder: Its first module must be, or hold, a text transformer with a fast tokenizer.
        texts: What to read.
        num_layers: 0 … depth, where 0 is the embedding layer; None reads the last layer.
        batch_size: As in `Encoder.encode`.

    Returns:
        One read-out for each text, in order.

    Raises:
        InputError: The encoder reads no text, `texts` holds something else, or a number is out of range.

    Example:
        >>> import embedkit as ek
        >>> (readout,) = read_tokens(ek.load(), ["red green"], num_layers=2)
        >>> readout.offsets.tolist(), readout.pool([(0, 3)]).shape
        ([[0, 3], [4, 9]], (1, 384))
    """
    refuse_fork()
    view = at_depth(encoder, num_layers)
    transformer = text_transformer(view)
    texts = checked_texts(texts)
    if not texts:
        return []
    first: Any = encoder[0]
    rewrites = isinstance(first, RewritesText)
    with encoder.forward_lock:
        prepared = first.prepare(texts, None, None) if rewrites else tokenize(transformer, texts)
        places = token_places(encoder, texts)
    readouts: list[TokenReadout | None] = [None] * len(texts)
    for batch in token_budget_batches(prepared.lengths, batch_size):
        states = _states(encoder, transformer, prepared, batch)
        for row, position in enumerate(batch):
            kept, offsets = places[position]
            length = int(prepared.lengths[position])
            start = states.shape[1] - length if prepared.left else 0
            readouts[position] = TokenReadout(states[row, start : start + length][kept], offsets[kept])
    return [readout for readout in readouts if readout is not None]


def text_transformer(encoder: Encoder) -> Any:
    """The transformer that reads an encoder's text.

    Raises:
        InputError: There is none with a fast tokenizer.
    """
    first: Any = encoder[0]
    transformer = getattr(first, "transformer", first)
    if not isinstance(transformer, Transformer) or not getattr(transformer.tokenizer, "is_fast", False):
        message = (
            "this needs an encoder that begins with a text transformer and has a fast tokenizer; "
            f"received one that begins with {type(first).__name__}"
        )
        raise InputError(message)
    return transformer


def token_places(encoder: Encoder, texts: list[str]) -> list[tuple[Any, Any]]:
    """Where in each text its tokens come from. Whoever calls this holds the encoder's `forward_lock`.

    Args:
        encoder: As in `read_tokens`.
        texts: What to read.

    Returns:
        For each text, up to the window, which tokens are none that the encoder adds, (tokens,) bool, and the characters
        that each stands for, (tokens, 2).

    Raises:
        InputError: The encoder reads no text.
    """
    transformer = text_transformer(encoder)
    first = encoder[0]
    if isinstance(first, RewritesText):
        return first.places(texts)
    tokenizer: Any = transformer.tokenizer
    encoded = tokenizer(
        texts,
        truncation="longest_first",
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
        return_attention_mask=False,
    )
    return [
        (np.array(special) == 0, np.array(offsets, dtype=np.int64).reshape(-1, 2))
        for special, offsets in zip(encoded["special_tokens_mask"], encoded["offset_mapping"], strict=True)
    ]


def _states(encoder: Encoder, transformer: Transformer, prepared: TokenizedInputs, batch: Any) -> Any:
    with encoder.forward_lock, torch.inference_mode():
        transformer.eval()
        features = {
            name: value.to(encoder.device) if torch.is_tensor(value) else value
            for name, value in prepared.batch(batch).items()
        }
        return transformer(features)["token_embeddings"].float().cpu().numpy()
