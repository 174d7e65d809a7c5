"""A comparison in sentences."""

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from embedkit.evaluation.compare.comparison import Comparison, TaskComparison


def sentences(comparison: "Comparison") -> list[str]:
    """What `Comparison.words` gives."""
    a, b = comparison.a, comparison.b
    alone = [
        f"Only {model} was run on {', '.join(tasks)}; run {other} on the same to compare them there."
        for model, other, tasks in ((a, b, comparison.only_a), (b, a, comparison.only_b))
        if tasks
    ]
    together = [_over_tasks(comparison)] if len(comparison.tasks) != 1 else []
    return [*(_on_task(comparison, task) for task in comparison.tasks), *alone, *together]


def _on_task(comparison: "Comparison", task: "TaskComparison") -> str:
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
        f"{comparison.a} is {task.verdict} than {comparison.b} on {task.task}: {apart} "
        f"({100 * comparison.level:g} % interval {low} to {high}, {p_value})."
    )


def _over_tasks(comparison: "Comparison") -> str:
    a, b = comparison.a, comparison.b
    if not comparison.tasks:
        return f"{a} and {b} have no task in common; run both on the same tasks to compare them."
    untested = f", {comparison.untested} cannot be tested" if comparison.untested else ""
    return (
        f"Over {_counted('task', len(comparison.tasks))}, {a} is better than {b} on {comparison.wins}, worse on "
        f"{comparison.losses}, no difference is shown on {comparison.undecided}{untested}; "
        f"{_mean_difference(comparison)}."
    )


def _mean_difference(comparison: "Comparison") -> str:
    count = len(comparison.differences)
    if comparison.p_value is None:
        return "no task can be averaged over"
    mean = f"the mean difference over {_counted('task', count)} is "
    mean += f"{_points(math.fsum(comparison.differences.values()) / count, 2, '+')} points"
    alpha = 1 - comparison.level
    needed = math.floor(math.log2(2 / alpha)) + 1
    if count < needed:
        return f"{mean}, and a test over tasks needs {needed} to reach p < {alpha:.2g}"
    return f"{mean} (Wilcoxon's signed-rank test: {_p('p', comparison.p_value)})"


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
