"""Where a prompt ends: the tokens that are left out where a pooling is to read the text alone.

Counting the tokens of the prompt by itself is not enough. Its last token may be joined to the text (byte-level BPE
joins a blank to the word behind it), or may be no token of its own without one. So tokens are told by the characters
they stand for, which a fast tokenizer knows.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from embedkit.errors import InputError
from embedkit.modules.pooling.masked import MaskedPooling


def excludes_prompt(encoder: Any) -> bool:
    """Whether a pooling of the encoder leaves the prompt's tokens out."""
    return any(not getattr(module, "include_prompt", True) for module in encoder)


def takes_one_length(encoder: Any) -> bool:
    """Whether such a pooling knows one number for all rows of a batch, as sentence-transformers' own does."""
    return any(
        not getattr(module, "include_prompt", True) and not isinstance(module, MaskedPooling) for module in encoder
    )


def gives_offsets(tokenizer: Any) -> bool:
    """Whether the tokenizer says which characters each token stands for."""
    return bool(getattr(tokenizer, "is_fast", False))


def prompt_lengths(
    tokenizer: Any, prompt: str, encoded: Any, max_length: int | None = None
) -> np.ndarray[Any, np.dtype[np.int64]]:
    """How many leading tokens of each text belong to the prompt before it.

    These are the special tokens in front, and the tokens that lie wholly within the prompt's characters; one that
    reaches into the text belongs to the text, as do the special tokens behind it.

    Args:
        tokenizer: What made the tokens.
        prompt: What stands before each text.
        encoded: Tokens of prompt and text together, with `offset_mapping` and `special_tokens_mask`.
        max_length: Where they were cut; None is the tokenizer's own window.

    Returns:
        One number a text.

    Raises:
        InputError: The prompt fills the window, so that nothing is left of a text.
    """
    window = max_length or tokenizer.model_max_length
    rows = zip(encoded["offset_mapping"], encoded["special_tokens_mask"], strict=True)
    return np.array([_length(len(prompt), offsets, special, window) for offsets, special in rows], dtype=np.int64)


def _length(end_of_prompt: int, offsets: Sequence[tuple[int, int]], special: Sequence[int], window: int) -> int:
    for position, (_, end) in enumerate(offsets):
        if end > end_of_prompt:
            return position
    if len(offsets) >= window:
        message = (
            f"a prompt must leave room for the text in the encoder's window of {window} tokens; received one of "
            f"{end_of_prompt} characters that fills it: shorten the prompt, or raise max_seq_length"
        )
        raise InputError(message)
    behind = next((count for count, is_special in enumerate(reversed(special)) if not is_special), len(special))
    return len(special) - behind
