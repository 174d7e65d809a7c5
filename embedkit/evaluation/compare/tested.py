"""Two models on each task that both were run on, and over tasks."""

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from embedkit.errors import InputError
from embedkit.evaluation.compare.comparison import Comparison, TaskComparison, Verdict
from embedkit.evaluation.results import ModelScores, TaskScore
from embedkit.evaluation.statistics import Difference, check_settings, holm, paired_differences, wilcoxon

_AGREES = 5e-4  # the items and the score are rounded apart from each other


@dataclass(frozen=True, eq=False)
class Question:
    """What `compare` is asked.

    Attributes:
        a: The first model.
        b: The second.
        tasks: Names of tasks; None takes all that either was run on.
        resamples: At least 100; more are drawn where there are very many tasks.
    """

    a: ModelScores
    b: ModelScores
    tasks: Sequence[str] | None = None
    resamples: int = 2000


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
    return compare_all([Question(a, b, tasks, resamples)], level=level, seed=seed)[0]


def compare_all(questions: Sequence[Question], *, level: float = 0.95, seed: int = 0) -> list[Comparison]:
    """What `compare` says to each of many questions, in less time: on a task all share what is drawn.

    Args:
        questions: Any number.
        level: As in `compare`.
        seed: Likewise.

    Returns:
        One entry a question.

    Raises:
        InputError: As in `compare`.
        CorruptFileError: Likewise.
    """
    asked = [_asked(question, level) for question in questions]
    for resamples in sorted({one.resamples for one in asked}):
        _test([one for one in asked if one.resamples == resamples], level, resamples, seed)
    return [_answer(one, level) for one in asked]


@dataclass(eq=False)
class _Asked:
    """A question on its way to an answer.

    Attributes:
        question: What was asked.
        names: Of tasks, sorted.
        labels: Of both models, different.
        resamples: How many are drawn.
        tasks: Name → comparison of a task that both were run on, without verdicts yet.
    """

    question: Question
    names: list[str]
    labels: tuple[str, str]
    resamples: int
    tasks: dict[str, TaskComparison]


def _asked(question: Question, level: float) -> _Asked:
    check_settings(level, question.resamples)
    a, b = question.a, question.b
    names, labels = _names(a, b, question.tasks), _labels(a, b)
    tasks = {
        name: _untested(a.tasks[name], b.tasks[name], labels) for name in names if name in a.tasks and name in b.tasks
    }
    resamples = max(question.resamples, math.ceil(2 * len(tasks) / (1 - level)))
    return _Asked(question, names, labels, resamples, tasks)


def _test(asked: Sequence[_Asked], level: float, resamples: int, seed: int) -> None:
    """Test whatever has no reason against it."""
    places = [(one, name) for one in asked for name, task in one.tasks.items() if not task.reason]
    pairs = [(one.question.a.tasks[name].items, one.question.b.tasks[name].items) for one, name in places]
    differences = paired_differences(pairs, level=level, resamples=resamples, seed=seed)
    for (one, name), found in zip(places, differences, strict=True):
        one.tasks[name] = _tested(one.tasks[name], found, one.labels)


def _answer(one: _Asked, level: float) -> Comparison:
    a, b = one.question.a, one.question.b
    differences = {
        name: a.tasks[name].score - b.tasks[name].score
        for name in one.tasks
        if not _incomparable(a.tasks[name], b.tasks[name])
    }
    return Comparison(
        *one.labels,
        level,
        _with_verdicts(list(one.tasks.values()), level),
        differences,
        wilcoxon(list(differences.values())) if differences else None,
        only_a=tuple(name for name in one.names if name not in b.tasks),
        only_b=tuple(name for name in one.names if name not in a.tasks),
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


def _untested(a: TaskScore, b: TaskScore, labels: tuple[str, str]) -> TaskComparison:
    """The task before the test, with the reason why it cannot be tested if there is one."""
    metric = next((score.kept.metric for score in (a, b) if score.kept), "main score")
    unit = a.items[0].unit if a.items else "item"
    reason = _incomparable(a, b) or _without_items(a, b, labels)
    return TaskComparison(a.task, metric, a.score, b.score, None, None, "not testable", unit, reason)


def _tested(task: TaskComparison, found: Difference | InputError, labels: tuple[str, str]) -> TaskComparison:
    """The task with its unadjusted difference, or the reason why there is none; the verdict comes later."""
    if isinstance(found, InputError):
        return replace(task, reason=str(found))
    for label, kept, score in zip(labels, (found.a, found.b), (task.a_score, task.b_score), strict=True):
        if abs(kept - score) > _AGREES:
            reason = f"the items kept of {label} make up {100 * kept:.2f} and not its score; evaluate it again"
            return replace(task, reason=reason)
    return replace(task, difference=found)


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
