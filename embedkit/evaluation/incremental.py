"""Class-incremental learning on vectors: a head meets classes task by task, and is asked about all it has met."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone

from embedkit.errors import InputError
from embedkit.evaluation.head_memory import state_bytes
from embedkit.evaluation.items import Items
from embedkit.ops.vectors import as_embeddings

Task: TypeAlias = tuple[Any, ArrayLike, Any, ArrayLike]
"""X_train, y_train, X_test, y_test."""


@dataclass(frozen=True, eq=False)
class IncrementalResult:
    """What a head knew after each of T tasks.

    Attributes:
        accuracies: A, (T, T): after task t, the accuracy on the test rows of task j ≤ t; NaN for those still to come.
        counts: Test rows of each task, (T,).
        state_bytes: What the head kept after each task, by `embedkit.evaluation.head_memory.state_bytes`, (T,).
        right: After the last task, whether each test row got its class, task by task, (rows,).
    """

    accuracies: NDArray[np.float64]
    counts: NDArray[np.int64]
    state_bytes: NDArray[np.int64]
    right: NDArray[np.bool_]

    @property
    def seen(self) -> NDArray[np.float64]:
        """After each task, the accuracy on all test rows of the tasks so far, (T,)."""
        known = np.nan_to_num(self.accuracies) @ self.counts
        return np.asarray(known / np.cumsum(self.counts), dtype=np.float64)

    @property
    def average(self) -> float:
        """Average incremental accuracy: the mean of `seen`."""
        return float(self.seen.mean())

    @property
    def last(self) -> float:
        """Accuracy on all test rows after the last task."""
        return float(self.seen[-1])

    @property
    def forgetting(self) -> float:
        """Mean over all tasks j but the last of max_{t < T} A[t, j] − A[T, j]; below 0 where later tasks helped."""
        best = np.nanmax(self.accuracies[:-1, :-1], axis=0)
        return float((best - self.accuracies[-1, :-1]).mean())

    @property
    def backward_transfer(self) -> float:
        """Mean over all tasks j but the last of A[T, j] − A[j, j]."""
        return float((self.accuracies[-1, :-1] - np.diagonal(self.accuracies)[:-1]).mean())

    @property
    def base(self) -> float:
        """After the last task, accuracy on the test rows of the first."""
        return float(self.accuracies[-1, 0])

    @property
    def new(self) -> float:
        """After the last task, accuracy on the test rows of all tasks but the first."""
        return float(self.accuracies[-1, 1:] @ self.counts[1:] / self.counts[1:].sum())

    @property
    def harmonic_mean(self) -> float:
        """Of `base` and `new`: 2 · base · new / (base + new), 0 where both are 0."""
        total = self.base + self.new
        return 2 * self.base * self.new / total if total else 0.0

    def items(self) -> Items:
        """Whether each test row got its class after the last task, for intervals and tests of `last`."""
        ids = tuple(map(str, range(len(self.right))))
        return Items("test", "default", "mean", "row", ids, {"score": self.right.astype(np.float64)})


def class_tasks(y: ArrayLike, num_tasks: int, *, seed: int) -> tuple[NDArray[Any], ...]:
    """Cut the classes into tasks, in an order that is drawn.

    Args:
        y: Labels; each of their classes goes to one task.
        num_tasks: 1 … classes. Where it does not divide them, the first tasks have one class more.
        seed: Of the order.

    Returns:
        The classes of each task.

    Raises:
        InputError: `num_tasks` is out of range.

    Example:
        >>> [len(classes) for classes in class_tasks([0, 1, 2, 3, 4, 4], 2, seed=0)]
        [3, 2]
    """
    classes = np.unique(np.asarray(y))
    if isinstance(num_tasks, bool) or not isinstance(num_tasks, int) or not 1 <= num_tasks <= len(classes):
        raise InputError(f"num_tasks must be an integer between 1 and {len(classes)} classes; received {num_tasks!r}")
    return tuple(np.array_split(np.random.default_rng(seed).permutation(classes), num_tasks))


def evaluate_incremental(head: Any, tasks: Iterable[Task]) -> IncrementalResult:
    """Let a head learn one task after the other with `partial_fit`, and ask it about all tasks so far after each.

        A[t, j] = share of the test rows of task j that get their class after tasks 1 … t, among all classes so far

    The head never sees rows of an earlier task again. Tasks may share classes: then the later one brings more rows of
    them. Which task a row is of, the head is not told.

    Args:
        head: A classifier whose `partial_fit(X, y)` may bring new classes. An unfitted copy of it learns.
        tasks: Two or more, each X_train (n, width), y_train (n,), X_test (m, width), y_test (m,).

    Returns:
        Accuracies after each task, what they come to, and the bytes that the head kept.

    Raises:
        InputError: The head has no `partial_fit`; there are fewer than two tasks; rows are missing, of another width,
            not finite or without a label; or a test row has a class that no task so far has taught.

    Example:
        >>> from embedkit.heads import PrototypeClassifier
        >>> first = ([[1.0, 0.0], [0.0, 1.0]], ["a", "b"], [[3.0, 1.0], [1.0, 2.0]], ["a", "b"])
        >>> second = ([[1.0, 1.0]], ["c"], [[2.0, 2.1]], ["c"])
        >>> found = evaluate_incremental(PrototypeClassifier(), [first, second])
        >>> found.seen.round(2).tolist(), found.forgetting  # the third class lies nearer to one of the second
        ([1.0, 0.67], 0.5)

    Reference:
        D.-W. Zhou et al., "Class-Incremental Learning: A Survey", TPAMI 2024 (average and last accuracy); A. Chaudhry
        et al., "Riemannian Walk for Incremental Learning", ECCV 2018, Eq. 3 (forgetting); D. Lopez-Paz,
        M. Ranzato, "Gradient Episodic Memory for Continual Learning", NeurIPS 2017, Eq. 3 (backward transfer).

    Deviations:
        The latter two ask with the task known; here, as the survey does, all classes so far compete.
    """
    if not hasattr(head, "partial_fit"):
        raise InputError(
            f"head must have partial_fit, which adds classes; {type(head).__name__} has none: fit it once on all rows, "
            "and compare it as what nobody forgets"
        )
    checked = _checked(tasks)
    learner = clone(head)
    asked, labels = (np.concatenate(parts) for parts in ([task[2] for task in checked], [task[3] for task in checked]))
    counts = np.array([len(task[3]) for task in checked])
    ends = np.cumsum(counts)
    accuracies = np.full((len(checked), len(checked)), np.nan)
    kept = []
    for t, (rows, taught, _, _) in enumerate(checked):
        learner.partial_fit(rows, taught)
        kept.append(state_bytes(learner))
        right = np.asarray(learner.predict(asked[: ends[t]]) == labels[: ends[t]])
        accuracies[t, : t + 1] = np.add.reduceat(right, [0, *ends[:t]], dtype=np.float64) / counts[: t + 1]
    return IncrementalResult(accuracies, counts, np.array(kept), right)


def _checked(tasks: Iterable[Task]) -> Sequence[tuple[Any, NDArray[Any], Any, NDArray[Any]]]:
    """All tasks, before any is learnt."""
    given = list(tasks)
    if len(given) < 2 or any(not isinstance(task, tuple | list) or len(task) != 4 for task in given):
        raise InputError(
            "tasks must be two or more, each (X_train, y_train, X_test, y_test); "
            f"received {len(given)}: evaluate a single one with head.fit(...).score(...)"
        )
    checked: list[tuple[Any, NDArray[Any], Any, NDArray[Any]]] = []
    width, taught = None, np.empty(0)
    for number, task in enumerate(given):
        parts = []
        for name, vectors, of in (("train", *task[:2]), ("test", *task[2:])):
            rows = as_embeddings(vectors, dim=width, what=f"X_{name} of task {number}")
            labels, width = np.asarray(of), rows.shape[1]
            if not len(rows) or labels.shape != (len(rows),):
                raise InputError(
                    f"X_{name} of task {number} must have rows, and y_{name} a label for each; "
                    f"received shapes {rows.shape} and {labels.shape}"
                )
            parts += [rows, labels]
        taught = np.unique(np.concatenate([taught, parts[1]])) if number else np.unique(parts[1])
        if len(strange := np.setdiff1d(parts[3], taught)):
            raise InputError(
                f"y_test of task {number} must hold classes that a task so far teaches; received "
                f"{strange.tolist()[0]!r}, which none does: move those rows to the task that brings the class"
            )
        checked.append((parts[0], parts[1], parts[2], parts[3]))
    return checked
