"""Identifiers taken apart into words, so that code and what is said of it share some."""

import re

from embedkit.errors import InputError

__all__ = ["split_identifiers"]

_NAME = re.compile(r"\b[^\W\d]\w*")
_JOINT = re.compile(r"_+|(?<=[^\W_A-Z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def split_identifiers(text: str) -> str:
    """Write the words of each snake_case and camelCase name apart.

    Underscores become blanks, and a blank comes before a capital behind a small letter or digit, and before the last
    of a run of capitals where a small letter follows. All else stays. The text need not be code that parses, nor
    code at all; words are left alone.

    Args:
        text: Code, or text that names parts of it.

    Returns:
        The text with its names split.

    Raises:
        InputError: `text` is not a string.

    Example:
        >>> split_identifiers("def readHTTPHeader(max_size=8): return self.__dict__")
        'def read HTTP Header(max size=8): return self.dict'

    Deviations:
        Of letters beyond A to Z none counts as a capital. Unlike `split_token` of CuBERT's tokenizer, no word is cut
        for its length.
    """
    if not isinstance(text, str):
        raise InputError(f"text must be a string; received {type(text).__name__}")
    return _NAME.sub(lambda found: _JOINT.sub(" ", found.group()).strip(), text)
