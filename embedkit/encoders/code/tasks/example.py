"""One example of a task on code."""

from dataclasses import dataclass

from embedkit.encoders.split import Span

__all__ = ["CORRECT", "HOLE", "INCORRECT_DOCSTRING", "MISUSE", "SWAPPED_OPERANDS", "WRONG_OPERATOR", "Example"]

CORRECT = "correct"
"""Label of code without the bug that a task is about."""
MISUSE = "variable misuse"
"""Label of code that reads the wrong variable."""
WRONG_OPERATOR = "wrong operator"
"""Label of code with another binary operator than was written."""
SWAPPED_OPERANDS = "swapped operands"
"""Label of code in which two operands changed places."""
INCORRECT_DOCSTRING = "incorrect docstring"
"""Label of code beside the docstring of another function."""
HOLE = "__HOLE__"
"""What stands in the place of the exception that is to be told."""


@dataclass(frozen=True, slots=True)
class Example:
    """Code and what is to be told of it.

    Places are spans `(start, end)` in characters of `code`.

    Attributes:
        code: Source of one function, without docstring.
        label: "correct", the name of the bug, or the name of an exception.
        twin: Number that the two forms of a function share, the one without the bug and the one with it. An example of
            a task without bugs has a number of its own.
        distribution: What the function came with.
        docstring: What is claimed of the code, where the task is about that.
        error: Where the bug is; None without one, and where it has no place.
        uses: Where a variable is read, that is wherever a variable misuse may be; in the order of the code.
        candidates: Where a variable of the function stands, read or bound: all that could stand in place of a misused
            one; in the order of the code, with all of `uses`.
        targets: Those of the candidates that hold the variable which should stand at `error`; none without a bug.
    """

    code: str
    label: str
    twin: int
    distribution: str
    docstring: str = ""
    error: Span | None = None
    uses: tuple[Span, ...] = ()
    candidates: tuple[Span, ...] = ()
    targets: tuple[Span, ...] = ()
