"""What a source is cut into before it is encoded: text with a place it came from."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["text", "code", "table"]

CountTokens: TypeAlias = Callable[[str], int]
"""Number of tokens the encoder would see for a string, special tokens not counted."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """One document cut from a source.

    Attributes:
        text: What is encoded and shown; never blank.
        kind: The modality it was cut as.
        name: Qualified name, heading path or table name; unique names are not promised.
        line: First line in the source, counted from 1.
        end_line: Last line in the source, inclusive.
    """

    text: str
    kind: Kind
    name: str
    line: int
    end_line: int
