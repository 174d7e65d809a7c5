"""Numbers of a table with as many digits as say something."""

import re
from typing import Any

from embedkit.encoders.table.table import Table
from embedkit.errors import InputError

_DECIMAL = re.compile(r"[+-]?\d*\.\d+(?:[eE][+-]?\d+)?")
_MOST_DIGITS = 17  # what tells any two floats apart


def checked_digits(digits: Any) -> int | None:
    """`digits`, if it is None or a count of significant digits.

    Raises:
        InputError: It is neither.
    """
    if digits is None or (type(digits) is int and 1 <= digits <= _MOST_DIGITS):
        return digits
    message = f"digits must be None or between 1 and {_MOST_DIGITS}; received {digits!r}"
    raise InputError(message)


def with_digits(table: Table, digits: int | None) -> Table:
    """The table with its decimal numbers rounded to so many significant digits; whole numbers stay as they are.

    Example:
        >>> with_digits(Table("", ("x", "id"), [("3.14159", "314159")]), 3).rows
        (('3.14', '314159'),)
    """
    if digits is None:
        return table
    return Table(table.name, table.columns, [tuple(_rounded(cell, digits) for cell in row) for row in table.rows])


def _rounded(cell: str, digits: int) -> str:
    return f"{float(cell):.{digits}g}" if _DECIMAL.fullmatch(cell) else cell
