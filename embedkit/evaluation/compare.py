"""Which of two models is better, on which tasks, and what cannot be told: in numbers and in words."""

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from embedkit.errors import InputError
from embedkit.evaluation.results import ModelScores, TaskScore
from embedkit.evaluation.statistics import Difference, check_settings, holm, paired_difference, wilcoxon

Verdict: TypeAlias = Literal["better", "worse", "no difference shown", "not testable"]

_AGREES = 5e-4  # the items and the score are rounded apart from each other


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
        alone = [
            f"Only {model} was run on {', '.join(tasks)}; run {other} on the same to compare them there."
            for model, other, tasks in ((self.a, self.b, self.only_a), (self.b, self.a, self.only_b))
            if tasks
        ]
        together = [self._over_tasks()] if len(self.tasks) != 1 else []
        return [*map(self._on_task, self.tasks), *alone, *together]

    def _count(self, verdict: Verdict) -> int:
        return sum(task.verdict == verdict for task in self.tasks)

    def _on_task(self, task: TaskComparison) -> str:
        found = task.difference
        if found is None or task.p_holm is None:
            scores = f"{100 * task.a_score:.2f} against {100 * task.b_score:.2f}"
            return f"{task.task} cannot be tested ({scores} points): {task.reason}."
        half = (found.high - found.low) / 2
        digits = 2 if half < 0.01 else 1
        low, high, least = (_points(value, digits) for value in (found.low, found.high, half))
        apart = f"{_points(found.difference, digits, '+')} points"
        p_value = _p("adjusted p", task.p_holm)
        if task.verdict == "no difference shown":
            return (
                f"No difference shown on {task.task}: {apart} ({low} to {high}, {p_value}); "
                f"{_counted(task.unit, found.n)} cannot tell less than about {least} points apart."
            )
        return (
            f"{self.a} is {task.verdict} than {self.b} on {task.task}: {apart} ({100 * self.level:g} % interval "
            f"{low} to {high}, {p_value})."
        )

    def _over_tasks(self) -> str:
        if not self.tasks:
            return f"{self.a} and {self.b} have no task in common; run both on the same tasks to compare them."
        untested = f", {self.untested} cannot be tested" if self.untested else ""
        return (
            f"Over {_counted('task', len(self.tasks))}, {self.a} is better than {self.b} on {self.wins}, worse on "
            f"{self.losses}, no difference is shown on {self.undecided}{untested}; {self._mean_difference()}."
        )

    def _mean_difference(self) -> str:
        count = len(self.differences)
        if self.p_value is None:
            return "no task can be averaged over"
        mean = f"the mean difference over {_counted('task', count)} is "
        mean += f"{_points(math.fsum(self.differences.values()) / count, 2, '+')} points"
        alpha = 1 - self.level
        needed = math.floor(math.log2(2 / alpha)) + 1
        if count < needed:
            return f"{mean}, and a test over tasks needs {needed} to reach p < {alpha:.2g}"
        return f"{mean} (Wilcoxon's signed-rank test: {_p('p', self.p_value)})"


def compare(
    a: ModelScores,
    b: ModelScores,
    tasks: Sequence[str] | None = None,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Comparison:
    """Test two models on every task that both were run on, and over tasks.

    On a task, `paired_difference` tests item by item; its p-values are adjusted by Holm over the tested tasks, so that
    the chance of any false "better" or "worse" stays below 1 − level. A task is not testable where the two ran on
    different revisions of its data, or their items were not kept or do not agree.

    Args:
        a: The first model.
        b: The second.
        tasks: Names of tasks; None takes all that either was run on.
        level: Of intervals and verdicts, between 0 and 1.
        resamples: At least 100. Where there are so many tasks that no adjusted p-value could fall below
            (1 − level) / 2, more are drawn.
        seed: Of the random generator.

    Returns:
        The comparison. Two models of one label are told apart by the first 8 characters of their revisions.

    Raises:
        InputError: Neither was run on a named task, or level or resamples are out of range.
        CorruptFileError: A file of items is damaged; it is named.
    """
    check_settings(level, resamples)
    names = _names(a, b, tasks)
    both = [name for name in names if name in a.tasks and name in b.tasks]
    labels = _labels(a, b)
    resamples = max(resamples, math.ceil(2 * len(both) / (1 - level)))
    compared = [_on_task(a.tasks[name], b.tasks[name], labels, (level, resamples, seed)) for name in both]
    differences = {
        name: a.tasks[name].score - b.tasks[name].score
        for name in both
        if not _incomparable(a.tasks[name], b.tasks[name])
    }
    return Comparison(
        *labels,
        level,
        _with_verdicts(compared, level),
        differences,
        wilcoxon(list(differences.values())) if differences else None,
        only_a=tuple(name for name in names if name not in b.tasks),
        only_b=tuple(name for name in names if name not in a.tasks),
    )


def _names(a: ModelScores, b: ModelScores, tasks: Sequence[str] | None) -> list[str]:
    known = sorted({*a.tasks, *b.tasks})
    if tasks is None:
        return known
    if isinstance(tasks, str):
        message = f"tasks must be a list of names; received the string {tasks!r}: write [{tasks!r}]"
        raise InputError(message)
    for name in tasks:
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
            hint = f"did you mean {nearest[0]!r}?" if nearest else "run one of them on it first."
            message = f"tasks must name what either model was run on; neither has {name!r}: {hint}"
            raise InputError(message)
    return sorted(set(tasks))


def _labels(a: ModelScores, b: ModelScores) -> tuple[str, str]:
    if a.label != b.label:
        return a.label, b.label
    return f"{a.label} [{a.revision[:8]}]", f"{b.label} [{b.revision[:8]}]"


def _on_task(a: TaskScore, b: TaskScore, labels: tuple[str, str], settings: tuple[float, int, int]) -> TaskComparison:
    """The task with its unadjusted difference, or the reason why there is none; the verdict comes later."""
    level, resamples, seed = settings
    metric = next((score.kept.metric for score in (a, b) if score.kept), "main score")
    unit = a.items[0].unit if a.items else "item"
    untested = TaskComparison(a.task, metric, a.score, b.score, None, None, "not testable", unit)
    if reason := _incomparable(a, b) or _without_items(a, b, labels):
        return replace(untested, reason=reason)
    try:
        found = paired_difference(a.items, b.items, level=level, resamples=resamples, seed=seed)
    except InputError as error:
        return replace(untested, reason=str(error))
    for label, kept, score in zip(labels, (found.a, found.b), (a.score, b.score), strict=True):
        if abs(kept - score) > _AGREES:
            reason = f"the items kept of {label} make up {100 * kept:.2f} and not its score; evaluate it again"
            return replace(untested, reason=reason)
    return replace(untested, difference=found)


def _incomparable(a: TaskScore, b: TaskScore) -> str:
    """Why the two scores do not measure the same; empty where they do."""
    if a.dataset_revision != b.dataset_revision:
        revisions = f"{a.dataset_revision[:12]} and {b.dataset_revision[:12]}"
        return f"the two were run on different revisions of its data, {revisions}; evaluate both on one"
    if a.kept and b.kept and a.kept.metric != b.kept.metric:
        return f"one was scored by {a.kept.metric} and the other by {b.kept.metric}; evaluate both by one"
    if not (math.isfinite(a.score) and math.isfinite(b.score)):
        return "a score is not a number; find out why before anything else"
    return ""


def _without_items(a: TaskScore, b: TaskScore, labels: tuple[str, str]) -> str:
    for label, score in zip(labels, (a, b), strict=True):
        if score.kept is None:
            return f"the items behind the score of {label} were not kept; evaluate it again with embedkit"
        if not score.items:
            return f"{score.kept.metric} has no items that can be resampled"
    return ""


def _with_verdicts(tasks: Sequence[TaskComparison], level: float) -> tuple[TaskComparison, ...]:
    p_values = iter(holm([task.difference.p_value for task in tasks if task.difference]))
    return tuple(
        replace(task, p_holm=(p_holm := next(p_values)), verdict=_verdict(task.difference, p_holm, level))
        if task.difference
        else task
        for task in tasks
    )


def _verdict(found: Difference, p_holm: float, level: float) -> Verdict:
    if p_holm >= 1 - level:
        return "no difference shown"
    return "better" if found.difference > 0 else "worse"


def _points(score: float, digits: int, sign: str = "") -> str:
    points = round(100 * score, digits) + 0.0  # + 0.0: never −0.0
    return f"{points:{sign}.{digits}f}".replace("-", "−")


def _p(name: str, value: float) -> str:
    return f"{name} < 0.001" if value < 0.001 else f"{name} = {value:.{3 if value < 0.0995 else 2}f}"


def _counted(noun: str, count: int) -> str:
    return f"{count:,} {_plural(noun, count)}"


def _plural(noun: str, count: int) -> str:
    if count == 1:
        return noun
    return f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
