"""What a comparison of two models holds."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from embedkit.evaluation.compare.words import sentences
from embedkit.evaluation.statistics import Difference

Verdict: TypeAlias = Literal["better", "worse", "no difference shown", "not testable"]


@dataclass(frozen=True)
class TaskComparison:
    """Two models on one task.

    Attributes:
        task: Name of the task.
        metric: Name of its main metric.
        a_score: Main score of the first model, 0 … 1 where the metric is.
        b_score: Main score of the second.
        difference: a − b with interval and unadjusted p-value; None where it is not testable.
        p_holm: The p-value adjusted for the number of tested tasks; None where it is not testable.
        verdict: On the first model.
        unit: What one item is, such as "query".
        reason: Why it is not testable and what to do; empty where it is.
    """

    task: str
    metric: str
    a_score: float
    b_score: float
    difference: Difference | None
    p_holm: float | None
    verdict: Verdict
    unit: str = "item"
    reason: str = ""


@dataclass(frozen=True)
class Comparison:
    """Two models on all tasks that both were run on.

    Attributes:
        a: Label of the first model.
        b: Label of the second.
        level: Of the intervals; a verdict needs an adjusted p-value below 1 − level.
        tasks: One entry a common task, sorted by name.
        differences: Task → a − b, where both have a score by one metric on one revision of the data; items are not
            needed.
        p_value: Wilcoxon's signed-rank test of `differences`; None where there are none.
        only_a: Tasks that only the first was run on.
        only_b: Tasks that only the second was run on.
    """

    a: str
    b: str
    level: float
    tasks: tuple[TaskComparison, ...]
    differences: Mapping[str, float]
    p_value: float | None
    only_a: tuple[str, ...] = ()
    only_b: tuple[str, ...] = ()

    @property
    def wins(self) -> int:
        """On how many tasks the first is better."""
        return self._count("better")

    @property
    def losses(self) -> int:
        """On how many tasks the first is worse."""
        return self._count("worse")

    @property
    def undecided(self) -> int:
        """On how many tasks the test shows no difference."""
        return self._count("no difference shown")

    @property
    def untested(self) -> int:
        """On how many tasks no test is possible."""
        return self._count("not testable")

    def words(self) -> list[str]:
        """Sentences to act on: one a task, what only one model has, and all tasks together. Points are 100 × score."""
        return sentences(self)

    def _count(self, verdict: Verdict) -> int:
        return sum(task.verdict == verdict for task in self.tasks)
