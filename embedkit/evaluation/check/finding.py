"""A check and what it found."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from embedkit.evaluation.check.subject import Subject

Status: TypeAlias = Literal["pass", "fail", "skip"]
Verdict: TypeAlias = tuple[Status, str]
"""What came out, and the sentence that says so."""


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        name: Which check.
        status: Whether the encoder passed, failed, or the check does not apply to it.
        measured: One sentence with the number; empty where it was skipped.
        advice: What to do after a failure, or why it was skipped; empty where it passed.
    """

    name: str
    status: Status
    measured: str
    advice: str


class Check(NamedTuple):
    """One question to an encoder.

    Attributes:
        name: What it is called.
        run: Puts the question.
        advice: What to do where the encoder fails.
    """

    name: str
    run: Callable[["Subject"], Verdict]
    advice: str
