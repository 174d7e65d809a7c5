"""Pairs of models, tested: who leads a task for certain, and how the first model compares with the next."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from embedkit.evaluation.report.evidence import Evidence

if TYPE_CHECKING:
    from embedkit.evaluation.compare import Comparison, Question

LEVEL = 0.05
"""Probability of calling a difference real when there is none, over all tasks together."""

_COMPARED = (3, 10)
_PAIRED_TESTS = 120  # of all comparisons together, which bounds the time that a large report takes
_RESAMPLES = 2000


@dataclass(frozen=True)
class Lead:
    """The best model of a task, floors left out, against the second.

    Attributes:
        best: Position of the model in `Evidence.models`.
        second: Likewise; None where only one model was run.
        p_value: Of the paired difference, by Holm over the tasks; None where it cannot be told.
        reason: Why it cannot be told; empty where it can.
    """

    best: int
    second: int | None
    p_value: float | None
    reason: str

    @property
    def is_real(self) -> bool:
        """Whether the difference is shown not to be chance."""
        return self.p_value is not None and self.p_value < LEVEL


@dataclass(frozen=True, eq=False)
class Pairs:
    """Every paired test of a report.

    Attributes:
        leads: Task → who is best and whether that is real; tasks of floors only are absent.
        comparisons: Position of a model → the first model against it; the best means only, where there are many.
    """

    leads: Mapping[str, Lead]
    comparisons: Mapping[int, "Comparison"]


def pairs_of(evidence: Evidence) -> Pairs:
    """Test the best two of each task, and the first model against the next, all at once: they share resamples."""
    from embedkit.evaluation.compare import Question, compare_all

    ranked = {task.name: evidence.ranked(task.name, evidence.contenders)[:2] for task in evidence.tasks}
    best_two = {task: (models[0], models[1]) for task, models in ranked.items() if len(models) == 2}
    others = _compared(evidence)
    asked = [_who_leads(evidence, task, *models) for task, models in best_two.items()]
    found = compare_all([*asked, *(Question(evidence.models[0], evidence.models[other]) for other in others)])
    leads = dict(zip(best_two, found[: len(asked)], strict=True))
    return Pairs(
        _corrected({task: _lead(models, leads.get(task)) for task, models in ranked.items() if models}),
        dict(zip(others, found[len(asked) :], strict=True)),
    )


def _compared(evidence: Evidence) -> Sequence[int]:
    most = min(max(_COMPARED[0], _PAIRED_TESTS // len(evidence.tasks)), _COMPARED[1])
    return evidence.contenders[1 : most + 1]


def _who_leads(evidence: Evidence, task: str, best: int, second: int) -> "Question":
    from embedkit.evaluation.compare import Question

    resamples = max(_RESAMPLES, math.ceil(2 * len(evidence.tasks) / LEVEL))  # fewer could not pass Holm's correction
    return Question(evidence.models[best], evidence.models[second], [task], resamples)


def _lead(ranked: Sequence[int], compared: "Comparison | None") -> Lead:
    if compared is None:
        return Lead(ranked[0], None, None, "only one model was run")
    task = compared.tasks[0]
    return Lead(ranked[0], ranked[1], task.difference.p_value if task.difference else None, task.reason)


def _corrected(leads: Mapping[str, Lead]) -> dict[str, Lead]:
    from embedkit.evaluation.statistics import holm

    told = {task: lead.p_value for task, lead in leads.items() if lead.p_value is not None}
    corrected = dict(zip(told, holm(list(told.values())), strict=True))
    return {task: replace(lead, p_value=corrected.get(task)) for task, lead in leads.items()}
