"""Counting tokens as an encoder will, for cutting documents to its window."""

from typing import Any

from embedkit.encoders.chunk import CountTokens
from embedkit.errors import InputError


def token_counter(encoder: Any) -> CountTokens:
    """A function that counts the tokens of a string, special tokens not counted.

    Args:
        encoder: A text encoder with a Hugging Face tokenizer.

    Raises:
        InputError: The encoder has no such tokenizer.
    """
    tokenizer = getattr(encoder, "tokenizer", None)
    if not callable(tokenizer):
        message = f"cutting files needs a text encoder with a tokenizer; {type(encoder).__name__} has none"
        raise InputError(message)

    def count(text: str) -> int:
        encoded = tokenizer(
            text, add_special_tokens=False, truncation=False, return_attention_mask=False, verbose=False
        )
        return len(encoded["input_ids"])

    return count
