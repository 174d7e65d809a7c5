"""Fifteen tasks of ten intents each: heads that add classes, beside logistic regression that has to keep examples.

CLINC150 as vectors of all-MiniLM-L6-v2, 40 rows a class to learn from and 15 to ask, both and the order of the classes
drawn anew for each of five seeds. Heads see each row once, in the task it belongs to, with the settings that they have.
Logistic regression starts anew in each task from its rows and the examples that it kept, so many of each earlier class,
drawn at random, weighed so that all classes count alike; the nearest mean of examples is iCaRL's rule. All rows kept is
what nobody forgets, and the baseline; the floor is chance. C = 30 was chosen for it, of 1, 3, 10, 30 and 100, on a part
of the training rows of another draw. Then the same heads with all rows there are, 100 a class to learn from and 30 to
ask, where only the order of the classes is drawn, beside one logistic regression on all.

"MB" is what a head's arrays weigh after the last task, examples included. Over memory: from the smallest state to all
rows kept, the mean of the last accuracy, or of the average over tasks, that a head reaches with so much, chance while
it does not fit; logistic regression spends all that is left on examples, one of each class at least. "Same memory": it
with what one head weighs, rounded down to whole examples of each class.

ADAM tunes the encoder on the first task alone, by three seeds, two epochs of batches of 16; its row says how far
prototypes gain over those of the encoder as it comes. Its rate was chosen, of 1e-4, 5e-4 and 2e-3, as C was.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression

from benchmarks.intents import CLINC, Intents, Split, intents
from benchmarks.peer import on_cores
from benchmarks.results import Row
from embedkit.evaluation.head_memory import aligned_exemplars, area_under_memory
from embedkit.evaluation.incremental import IncrementalResult, class_tasks, evaluate_incremental
from embedkit.evaluation.statistics import over_seeds
from embedkit.heads import GaussianClassifier, PrototypeClassifier, RandomFeatureClassifier

SEEDS, ADAM_SEEDS, TASKS = 5, 3, 15
SOME, EACH = (40, 15), (100, 30)
"""Rows of a class that are learnt from, and that are asked."""
C, FEATURES = 30.0, 2000
PROTOTYPES, GAUSSIAN, RANDOM = HEADS = ("prototypes", "Gaussian", "random features")
EXAMPLES, ALL = "LR, examples kept", "LR, all rows kept"
KEPT = (0, 1, 5, 20)
METRICS = ("last", "average", "forgetting")

Found: TypeAlias = dict[str, IncrementalResult]


class Replay(BaseEstimator):  # type: ignore[misc]  # sklearn is untyped
    """Logistic regression, fitted anew in each task on its rows and on examples of the classes before.

    Args:
        kept: Examples of each class, drawn at random; None keeps all.
        seed: Of the draw.
    """

    def __init__(self, kept: int | None = None, seed: int = 0) -> None:
        self.kept, self.seed = kept, seed

    def partial_fit(self, rows: NDArray[np.float32], labels: NDArray[np.int64]) -> Self:
        """Learn the task, then keep examples of it."""
        before = self._examples(rows, labels)
        known, of = np.concatenate([before[0], rows]), np.concatenate([before[1], labels])
        self.model_ = LogisticRegression(C=C, max_iter=300, class_weight="balanced").fit(known, of)
        self._keep(rows, labels)
        return self

    def predict(self, rows: NDArray[np.float32]) -> NDArray[np.int64]:
        """Of the model of the last task."""
        return np.asarray(self.model_.predict(rows))

    def _examples(self, rows: NDArray[np.float32], labels: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any]]:
        return getattr(self, "examples_", (rows[:0], labels[:0]))

    def _keep(self, rows: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
        before = self._examples(rows, labels)
        order = np.random.default_rng(self.seed).permutation(len(rows))
        some = np.concatenate([order[labels[order] == each][: self.kept] for each in np.unique(labels)])
        self.examples_ = np.concatenate([before[0], rows[some]]), np.concatenate([before[1], labels[some]])


class NearestExemplars(Replay):
    """The class whose kept examples have the nearest mean (iCaRL's rule, with examples drawn at random)."""

    def partial_fit(self, rows: NDArray[np.float32], labels: NDArray[np.int64]) -> Self:
        """Keep examples, and nothing else."""
        self._keep(rows, labels)
        return self

    def predict(self, rows: NDArray[np.float32]) -> NDArray[np.int64]:
        """By means that are taken anew."""
        return np.asarray(PrototypeClassifier().fit(*self.examples_).predict(rows))


def arms(seed: int, features: int) -> dict[str, Callable[[], Any]]:
    """All heads by name."""
    return {
        PROTOTYPES: PrototypeClassifier,
        GAUSSIAN: GaussianClassifier,
        RANDOM: partial(RandomFeatureClassifier, num_features=features, random_state=seed),
        "nearest of 5 examples": partial(NearestExemplars, 5, seed),
        **{_replay(kept): partial(Replay, kept, seed) for kept in KEPT},
        ALL: partial(Replay, None, seed),
    }


def _replay(kept: int) -> str:
    return f"LR, {kept or 'none'} of each kept"


@dataclass(frozen=True)
class Course:
    """One order of the classes and draw of the rows."""

    data: Intents
    order: tuple[NDArray[np.int64], ...]
    seed: int
    features: int

    def tasks(self, data: Intents | None = None) -> list[tuple[Any, ...]]:
        """As `evaluate_incremental` takes them; of other vectors of the same rows, if given."""
        return [(data or self.data).of(some.tolist()).task for some in self.order]


def run(smoke: bool) -> Iterator[Row]:
    """Accuracy, forgetting and bytes of each head, over memory, at one head's memory, and after ADAM."""
    seeds = range(2 if smoke else SEEDS)
    courses = [course(seed, SOME, smoke) for seed in seeds]
    found = [learnt(each) for each in courses] if smoke else on_cores(learnt, courses)
    chance = 1 / courses[0].data.num_classes
    for arm in found[0]:
        for metric in METRICS:
            values, base = ([getattr(one[of], metric) for one in found] for of in (arm, ALL))
            yield _row(arm, SOME, metric, values, base, 0.0 if metric == "forgetting" else chance)
        values, base = ([_bytes(one[of]) / 1e6 for one in found] for of in (arm, ALL))
        yield _row(arm, SOME, "MB kept", values, base, None)
    for arm in (*HEADS, EXAMPLES):
        for metric in METRICS[:2]:
            values, base = ([over_memory(one, of, metric, chance) for one in found] for of in (arm, EXAMPLES))
            told = arm if arm == EXAMPLES else f"{arm}; baseline: {EXAMPLES}"
            yield _row(told, SOME, f"{metric} over memory", values, None if arm == EXAMPLES else base, chance)
    whole = [course(seed, EACH, smoke) for seed in seeds]
    rows, labels, asked, right = whole[0].data.task
    joint = float(np.mean(Replay().partial_fit(rows, labels).predict(asked) == right))
    several = [heads_alone(each) for each in whole] if smoke else on_cores(heads_alone, whole)
    for arm in HEADS:
        for metric in METRICS[:2]:
            values = [getattr(one[arm], metric) for one in several]
            yield _row(arm, EACH, metric, values, [joint] if metric == "last" else None, chance)
    yield from adapted(courses[:ADAM_SEEDS], found, chance, smoke)


def _row(
    variant: str, rows: tuple[int, int], metric: str, values: list[float], base: list[float] | None, floor: float | None
) -> Row:
    interval = over_seeds([float(each) for each in values])
    return Row(
        method="task by task",
        variant=variant,
        dataset=f"CLINC150, {TASKS} tasks, {rows[0]} each",
        metric=metric,
        value=interval.value,
        low=interval.low,
        high=interval.high,
        seeds=len(values),
        baseline=None if base is None else float(np.mean(base)),
        floor=floor,
    )


def course(seed: int, rows: tuple[int, int], smoke: bool) -> Course:
    """The classes in a drawn order, and some rows of each."""
    data = intents(CLINC, smoke)
    order = class_tasks(data.train.labels, 3 if smoke else TASKS, seed=seed)
    return Course(data.drawn(*rows, seed), order, seed, 50 if smoke else FEATURES)


def learnt(of: Course) -> Found:
    """Each head through all tasks, and logistic regression with as many examples as one of them weighs."""
    tasks = of.tasks()
    found = {arm: evaluate_incremental(make(), tasks) for arm, make in arms(of.seed, of.features).items()}
    classes, each = of.data.num_classes, 4 * of.data.train.vectors.shape[1] + 8
    weights = _bytes(found[_replay(1)]) - classes * each
    kept = aligned_exemplars(weights, _bytes(found[GAUSSIAN]), each) // classes
    found["LR, same memory as Gaussian"] = evaluate_incremental(Replay(kept, of.seed), tasks)
    return found


def heads_alone(of: Course) -> Found:
    """Each head through all tasks."""
    makers = arms(of.seed, of.features)
    return {arm: evaluate_incremental(makers[arm](), of.tasks()) for arm in HEADS}


def over_memory(found: Found, arm: str, metric: str, chance: float) -> float:
    """Mean over memory of what an arm reaches, from the smallest state of all to that of all rows kept."""
    kept = [found[each] for each in (*map(_replay, KEPT[1:]), ALL)]
    points = {float(_bytes(each)): getattr(each, metric) for each in kept}
    low, high = min(*points, float(_bytes(found[PROTOTYPES]))), max(points)
    if arm in found:
        begins, reached = float(_bytes(found[arm])), getattr(found[arm], metric)
        points = {begins: reached, high: reached} if begins < high else {high: chance}
    before = {low: chance, max(low, min(points) - 1): chance}
    curve = before | points
    return area_under_memory(list(curve), list(curve.values()))


def _bytes(result: IncrementalResult) -> int:
    return int(result.state_bytes[-1])


def adapted(courses: list[Course], found: list[Found], chance: float, smoke: bool) -> Iterator[Row]:
    """Prototypes of an encoder that was tuned on the first task, beside those of the encoder as it comes."""
    results = [after_adam(each, smoke) for each in courses]
    for metric in METRICS[:2]:
        values = [getattr(one, metric) for one in results]
        before = [getattr(one[PROTOTYPES], metric) for one in found[: len(results)]]
        gains = ", ".join(f"{value - other:+.3f}" for value, other in zip(values, before, strict=True))
        yield _row(f"prototypes; gains {gains}", SOME, f"{metric}, after ADAM", values, before, chance)


def after_adam(of: Course, smoke: bool) -> IncrementalResult:
    """Prototypes in the vectors of the joined encoder."""
    if smoke:
        return evaluate_incremental(PrototypeClassifier(), of.tasks())
    import embedkit as ek
    from embedkit.training.adam import adam

    first = of.data.of(of.order[0].tolist()).train
    options: dict[str, Any] = {"epochs": 2, "batch_size": 16, "show_progress_bar": False}
    joined = adam(ek.load(device="cpu"), first.texts.tolist(), first.labels, seed=of.seed, **options)
    parts = [Split(part.texts, joined.encode(part.texts), part.labels) for part in (of.data.train, of.data.test)]
    return evaluate_incremental(PrototypeClassifier(), of.tasks(Intents(*parts)))
