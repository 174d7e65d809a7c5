import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.neighbors import KNeighborsClassifier

from embedkit.errors import InputError
from embedkit.evaluation.head_memory import aligned_exemplars, area_under_memory, state_bytes
from embedkit.evaluation.incremental import class_tasks, evaluate_incremental
from embedkit.evaluation.statistics import bootstrap_interval
from embedkit.heads import PrototypeClassifier


class Memory(BaseEstimator):
    """Keeps all rows and answers with the nearest."""

    def partial_fit(self, rows, labels):
        self.rows_ = np.concatenate([*([self.rows_] if hasattr(self, "rows_") else []), rows])
        self.labels_ = np.concatenate([*([self.labels_] if hasattr(self, "labels_") else []), labels])
        return self

    def predict(self, rows):
        return KNeighborsClassifier(n_neighbors=1).fit(self.rows_, self.labels_).predict(rows)


class Scripted(BaseEstimator):
    """Answers as it is told, whatever it is asked: one list of classes for each task."""

    def __init__(self, answers=()):
        self.answers = answers

    def partial_fit(self, rows, labels):
        self.taught_ = getattr(self, "taught_", 0) + 1
        return self

    def predict(self, rows):
        return np.array(self.answers[self.taught_ - 1])[: len(rows)]


def tasks_of(classes, *, rows=6, seed=0):
    """Gaussian classes around random means; test rows are others than those learnt from."""
    draw = np.random.default_rng(seed)
    means = {label: draw.normal(size=5) for some in classes for label in some}
    tasks = []
    for some in classes:
        labels = np.repeat(some, rows)
        centres = np.stack([means[each] for each in labels])
        train, test = ((centres + draw.normal(size=centres.shape)).astype(np.float32) for _ in range(2))
        tasks.append((train, labels, test, labels))
    return tasks


def test_what_remembers_all_forgets_nothing():
    tasks = [(X, y, X, y) for X, y, _, _ in tasks_of([[3, 1], [0], [7, 2]])]
    found = evaluate_incremental(Memory(), tasks)
    np.testing.assert_array_equal(found.accuracies, np.where(np.tri(3) > 0, 1.0, np.nan))
    assert (found.average, found.last, found.base, found.new, found.harmonic_mean) == (1, 1, 1, 1, 1)
    assert (found.forgetting, found.backward_transfer) == (0, 0)
    # 6 rows a class of 5 numbers of 4 bytes, and a label of 8.
    assert found.state_bytes.tolist() == [12 * 28, 18 * 28, 30 * 28]


def test_a_constant_answer_gets_the_mean_of_its_class_s_share():
    found = evaluate_incremental(Scripted(answers=([5] * 40,) * 4), tasks_of([[5, 1], [0, 3], [2, 6], [4, 7]], rows=5))
    assert found.average == pytest.approx(np.mean([1 / 2, 1 / 4, 1 / 6, 1 / 8]))
    assert (found.base, found.new, found.harmonic_mean, found.forgetting) == (0.5, 0, 0, 0)


def test_worked_by_hand():
    four, two = np.zeros((4, 2)), np.zeros((2, 2))
    tasks = [(four, [0] * 4, four, [0] * 4), (two, [1] * 2, two, [1] * 2), (two, [2] * 2, two, [2] * 2)]
    answers = ([0, 0, 0, 9], [0, 0, 0, 0, 1, 9], [0, 0, 9, 9, 1, 1, 2, 9])
    found = evaluate_incremental(Scripted(answers=answers), tasks)
    nan = np.nan
    np.testing.assert_array_equal(found.accuracies, [[0.75, nan, nan], [1, 0.5, nan], [0.5, 1, 0.5]])
    np.testing.assert_allclose(found.seen, [3 / 4, 5 / 6, 5 / 8])
    assert found.average == pytest.approx((3 / 4 + 5 / 6 + 5 / 8) / 3)
    assert (found.last, found.base, found.new) == (5 / 8, 1 / 2, 3 / 4)
    assert found.harmonic_mean == pytest.approx(2 * 0.5 * 0.75 / 1.25)
    assert found.forgetting == pytest.approx(((1 - 0.5) + (0.5 - 1)) / 2)
    assert found.backward_transfer == pytest.approx(((0.5 - 0.75) + (1 - 0.5)) / 2)
    assert found.right.tolist() == [True, True, False, False, True, True, True, False]
    assert bootstrap_interval([found.items()], resamples=200).value == 5 / 8


def test_prototypes_end_the_same_in_whatever_order_classes_come():
    tasks = tasks_of([["a", "b"], ["c"], ["d", "e"]])
    forth, back = (evaluate_incremental(PrototypeClassifier(), some) for some in (tasks, tasks[::-1]))
    np.testing.assert_allclose(forth.accuracies[-1], back.accuracies[-1, ::-1])
    assert forth.last == back.last
    joint = PrototypeClassifier().fit(*(np.concatenate([task[part] for task in tasks]) for part in (0, 1)))
    assert forth.last == joint.score(*(np.concatenate([task[part] for task in tasks]) for part in (2, 3)))
    assert forth.state_bytes[-1] == state_bytes(joint)


def test_the_head_that_is_given_stays_unfitted_and_classes_may_come_twice():
    head, (first, second) = PrototypeClassifier(), tasks_of([[0, 1], [1, 2]])
    found = evaluate_incremental(head, [first, second])
    assert not hasattr(head, "classes_")
    assert 0 < found.last <= 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tasks: tasks[:1], "two or more.*received 1"),
        (lambda tasks: [tasks[0][:2], tasks[1]], r"each \(X_train, y_train, X_test, y_test\)"),
        (lambda tasks: [tasks[0], ([], *tasks[1][1:])], "X_train of task 1 must have shape"),
        (lambda tasks: [tasks[0], (np.empty((0, 5)), [], *tasks[1][2:])], "X_train of task 1 must have rows"),
        (lambda tasks: [tasks[0], (*tasks[1][:3], [2])], "y_test a label for each"),
        (lambda tasks: [tasks[0], (tasks[1][0][:, :3], *tasks[1][1:])], "X_train of task 1 must have 5 dimensions"),
        (lambda tasks: tasks[::-1], "y_test of task 0 must hold .* received 1"),
    ],
)
def test_tasks_that_cannot_be_asked_are_refused(change, message):
    first, second = tasks_of([[0, 1], [2]])
    second = (second[0], second[1], np.concatenate([second[2], first[2][-1:]]), np.append(second[3], 1))
    with pytest.raises(InputError, match=message):
        evaluate_incremental(Memory(), change([first, second]))


def test_a_head_that_cannot_be_taught_more_is_refused():
    with pytest.raises(InputError, match="KNeighborsClassifier has none"):
        evaluate_incremental(KNeighborsClassifier(), tasks_of([[0], [1]]))


def test_classes_are_cut_into_tasks_in_a_drawn_order():
    labels = np.repeat([4, -1, 7, 2, 9], 3)
    found = class_tasks(labels, 2, seed=3)
    assert [len(classes) for classes in found] == [3, 2]
    assert sorted(np.concatenate(found)) == [-1, 2, 4, 7, 9]
    assert [some.tolist() for some in class_tasks(labels, 2, seed=3)] == [some.tolist() for some in found]
    assert len({tuple(np.concatenate(class_tasks(labels, 2, seed=seed))) for seed in range(9)}) > 3
    with pytest.raises(InputError, match="between 1 and 5 classes; received 6"):
        class_tasks(labels, 6, seed=0)


def test_bytes_are_those_of_all_arrays_once():
    head = Memory().partial_fit(np.zeros((3, 4), dtype=np.float32), np.array(["a", "b", "b"]))
    assert state_bytes(head) == 48  # names do not count
    head.same_, head.parts_ = head.rows_[:1], {"inner": [Memory().partial_fit(np.zeros((1, 2)), np.zeros(1, int))]}
    assert state_bytes(head) == 48 + 16 + 8


def test_exemplars_fill_what_the_budget_leaves():
    assert aligned_exemplars(100, 1000, 90) == 10
    assert aligned_exemplars(1001, 1000, 90) == 0
    with pytest.raises(InputError, match="bytes_each at least 1"):
        aligned_exemplars(0, 10, 0)


def test_the_area_is_the_mean_accuracy_over_memory():
    assert area_under_memory([0, 10], [0.4, 0.8]) == pytest.approx(0.6)
    assert area_under_memory([3, 1, 2], [0.7, 0.7, 0.7]) == pytest.approx(0.7)
    memory, accuracies = [5.0, 1.0, 2.0], [0.9, 0.3, 0.5]
    scaled = area_under_memory(np.multiply(memory, 1e6), accuracies)
    assert area_under_memory(memory, accuracies) == pytest.approx(scaled)
    assert scaled == pytest.approx((0.4 * 1 + 0.7 * 3) / 4)
    for bad in ([1.0], [1.0, 1.0], [1.0, np.nan]):
        with pytest.raises(InputError):
            area_under_memory(bad, [0.5] * len(bad))
