"""The tasks of CuBERT as examples made of functions: five of telling bugs and exceptions, one of repair."""

from embedkit.encoders.code.tasks.docstrings import function_docstring
from embedkit.encoders.code.tasks.example import (
    CORRECT,
    HOLE,
    INCORRECT_DOCSTRING,
    MISUSE,
    SWAPPED_OPERANDS,
    WRONG_OPERATOR,
    Example,
)
from embedkit.encoders.code.tasks.exceptions import exception_type
from embedkit.encoders.code.tasks.operators import swapped_operands, wrong_operator
from embedkit.encoders.code.tasks.tree import MAX_CHARACTERS
from embedkit.encoders.code.tasks.variables import variable_misuse, variable_places

__all__ = [
    "CORRECT",
    "HOLE",
    "INCORRECT_DOCSTRING",
    "MAX_CHARACTERS",
    "MISUSE",
    "SWAPPED_OPERANDS",
    "WRONG_OPERATOR",
    "Example",
    "exception_type",
    "function_docstring",
    "swapped_operands",
    "variable_misuse",
    "variable_places",
    "wrong_operator",
]
