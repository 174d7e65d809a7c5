"""How often misused variables are found and repaired."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from embedkit.encoders.code.repairer import Repair
from embedkit.encoders.code.tasks.example import Example
from embedkit.errors import InputError


@dataclass(frozen=True)
class RepairScores:
    """Shares of functions, 0 … 1; NaN where there is no function to count.

    Attributes:
        classification: Of all: rightly said to have a bug, or none.
        true_positive_rate: Of those without a bug: said to have none.
        localization: Of those with a bug: it is found where it is.
        repair: Of those with a bug: what is offered repairs it, wherever it is believed to be.
        joint: Of those with a bug: both.
        count: Functions.
        with_bug: Those with a bug.
        truncated: Those of which the encoder did not see all candidates. They count like the others, so a bug behind
            the window is one that was not found.
    """

    classification: float
    true_positive_rate: float
    localization: float
    repair: float
    joint: float
    count: int
    with_bug: int
    truncated: int


def repair_scores(examples: Sequence[Example], repairs: Sequence[Repair]) -> RepairScores:
    """Compare what was found with what is so.

    Args:
        examples: Functions with and without a bug.
        repairs: What `Repairer.predict` says of each.

    Returns:
        The shares. A repair is right when it is any of the targets.

    Raises:
        InputError: There is not one repair for each example.

    Example:
        >>> code = "def less(a, b): return b"
        >>> bug = Example(code, "variable misuse", 0, "", error=(23, 24), targets=((9, 10),))
        >>> scores = repair_scores([bug, Example(code, "correct", 0, "")], [Repair(None, (9, 10), 0.1, False)] * 2)
        >>> scores.classification, scores.true_positive_rate, scores.localization, scores.repair
        (0.5, 1.0, 0.0, 1.0)

    Reference:
        M. Vasic, A. Kanade, P. Maniatis, D. Bieber, R. Singh, "Neural Program Repair by Jointly Learning to Localize
        and Repair", ICLR 2019.

    Deviations:
        None.
    """
    if len(examples) != len(repairs):
        message = f"repairs must be one for each of the {len(examples)} examples; received {len(repairs)}"
        raise InputError(message)
    pairs = list(zip(examples, repairs, strict=True))
    bugs = [(example, found) for example, found in pairs if example.error is not None]
    located = [found.error == example.error for example, found in bugs]
    repaired = [found.repair in example.targets for example, found in bugs]
    return RepairScores(
        classification=_share((found.error is None) == (example.error is None) for example, found in pairs),
        true_positive_rate=_share(found.error is None for example, found in pairs if example.error is None),
        localization=_share(located),
        repair=_share(repaired),
        joint=_share(map(bool.__and__, located, repaired)),
        count=len(pairs),
        with_bug=len(bugs),
        truncated=sum(found.truncated for found in repairs),
    )


def _share(hits: Iterable[bool]) -> float:
    counted = list(hits)
    return sum(counted) / len(counted) if counted else float("nan")
