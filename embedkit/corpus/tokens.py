"""Counting tokens as an encoder will, for cutting documents to its window."""

from typing import Any

from tokenizers import Tokenizer

from embedkit.encoders.chunk import CountTokens
from embedkit.errors import InputError


def token_counter(encoder: Any) -> CountTokens:
    """A function that counts the tokens of a string, special tokens not counted.

    It owns a copy of the tokenizer, so that counting neither truncates nor disturbs an encoder at work.

    Args:
        encoder: A text encoder with a fast Hugging Face tokenizer.

    Raises:
        InputError: The encoder has no such tokenizer.
    """
    backend = getattr(getattr(encoder, "tokenizer", None), "backend_tokenizer", None)
    if not isinstance(backend, Tokenizer):
        message = f"cutting files needs a text encoder with a fast tokenizer; {type(encoder).__name__} has none"
        raise InputError(message)
    own = Tokenizer.from_str(backend.to_str())
    own.no_truncation()
    own.no_padding()
    return lambda text: len(own.encode(text, add_special_tokens=False))
