import math

import numpy as np
import pytest

from embedkit.errors import CorruptFileError, InputError
from embedkit.evaluation.compare import Comparison, Question, TaskComparison, compare, compare_all
from embedkit.evaluation.items import Items, TaskItems, write_items
from embedkit.evaluation.results import ModelScores, TaskScore
from embedkit.evaluation.statistics import Difference, paired_difference, wilcoxon

COUNT = 120


@pytest.fixture
def model(tmp_path):
    """A function giving a model from task → scores of items, with its items on disk."""

    def make(name="A", revision="1", **tasks):
        return ModelScores(name, revision, {}, {}, {task: task_score(name, task, of) for task, of in tasks.items()})

    def task_score(name, task, of_items, *, revision="r1", score=None, metric="ndcg_at_10", keep=True):
        folder = tmp_path / name
        (folder / "items").mkdir(parents=True, exist_ok=True)
        of_items = np.asarray(of_items, dtype=float)
        ids = tuple(f"q{i}" for i in range(len(of_items)))
        parts = (Items("test", "default", "mean", "query", ids, {"score": of_items}),) if len(of_items) else ()
        if keep:
            write_items(folder / "items" / f"{task}.json", TaskItems(metric, "Retrieval", "text", "hub", parts))
        if score is None:
            score = float(of_items.mean()) if len(of_items) else 0.5
        return TaskScore(task, score, {}, revision, 1.0, folder / f"{task}.json")

    make.task = lambda name, task, of, **options: ModelScores(
        name, "1", {}, {}, {task: task_score(name, task, of, **options)}
    )
    return make


@pytest.fixture
def base():
    return np.random.default_rng(0).random(COUNT) * 0.5


def test_tells_better_worse_and_undecided(model, base):
    noise = np.random.default_rng(1).normal(scale=0.1, size=COUNT)
    a = model("A", Won=base + 0.1, Lost=base, Even=base)
    b = model("B", Won=base + noise / 10, Lost=base + 0.1 + noise / 10, Even=base + noise - noise.mean())
    found = compare(a, b)
    assert [(task.task, task.verdict) for task in found.tasks] == [
        ("Even", "no difference shown"),
        ("Lost", "worse"),
        ("Won", "better"),
    ]
    assert (found.a, found.b, found.wins, found.losses, found.undecided, found.untested) == ("A", "B", 1, 1, 1, 0)
    won = found.tasks[2]
    assert won.difference == paired_difference(a.tasks["Won"].items, b.tasks["Won"].items)
    assert (won.metric, won.unit, won.reason) == ("ndcg_at_10", "query", "")
    assert (won.a_score, won.b_score) == (a.tasks["Won"].score, b.tasks["Won"].score)
    assert found.differences == {name: a.tasks[name].score - b.tasks[name].score for name in ("Even", "Lost", "Won")}
    assert found.p_value == wilcoxon(list(found.differences.values()))


def test_adjusts_for_the_number_of_tasks(model, base):
    """One p of about 0.02 is a finding alone and none among ten."""
    shift = np.random.default_rng(2).normal(0.012, 0.06, COUNT)
    alone = compare(model("A", T0=base + shift), model("B", T0=base))
    assert alone.tasks[0].p_holm == alone.tasks[0].difference.p_value
    assert 0.005 < alone.tasks[0].p_holm < 0.05
    assert alone.tasks[0].verdict == "better"
    even = {f"T{i}": base for i in range(1, 10)}
    among = compare(model("A", T0=base + shift, **even), model("B", T0=base, **even))
    assert among.tasks[0].p_holm == pytest.approx(10 * among.tasks[0].difference.p_value)
    assert among.tasks[0].verdict == "no difference shown"
    assert compare(model("A", T0=base + shift), model("B", T0=base), level=0.995).undecided == 1


def test_draws_enough_for_any_verdict_among_many_tasks(model):
    """With 100 permutations the least p is 1/101; adjusted for ten tasks it could never fall below 0.05."""
    tasks = {f"T{i}": np.zeros(30) for i in range(10)}
    better = {name: values + np.linspace(0.1, 0.2, 30) for name, values in tasks.items()}
    assert compare(model("A", **better), model("B", **tasks), resamples=100).wins == 10


def test_the_other_way_round(model, base):
    noise = np.random.default_rng(3).normal(scale=0.1, size=COUNT)
    a, b = model("A", X=base + noise, Y=base + 0.2), model("B", X=base, Y=base + noise)
    one, other = compare(a, b), compare(b, a)
    assert (one.wins, one.losses, one.undecided) == (other.losses, other.wins, other.undecided)
    assert [task.p_holm for task in one.tasks] == [task.p_holm for task in other.tasks]
    assert one.p_value == other.p_value


class TestNotTestable:
    def reason(self, a, b):
        (task,) = compare(a, b).tasks
        assert (task.verdict, task.difference, task.p_holm) == ("not testable", None, None)
        return task.reason

    def test_other_data(self, model, base):
        a, b = model.task("A", "T", base), model.task("B", "T", base, revision="r2")
        assert "different revisions of its data, r1 and r2" in self.reason(a, b)
        assert compare(a, b).p_value is None
        assert compare(a, b).differences == {}

    def test_other_metric(self, model, base):
        a, b = model.task("A", "T", base), model.task("B", "T", base, metric="map")
        assert "one was scored by ndcg_at_10 and the other by map" in self.reason(a, b)

    def test_no_items(self, model, base):
        """The scores still count over tasks."""
        a, b = model.task("A", "T", base), model.task("B", "T", base, keep=False)
        assert "the items behind the score of B were not kept" in self.reason(a, b)
        assert compare(a, b).p_value == 1
        assert "has no items that can be resampled" in self.reason(a, model.task("B", "T", []))

    def test_other_items(self, model, base):
        a, b = model("A", T=base), model("B", T=base[1:])
        assert "1 of their ids, such as 'q119'" in self.reason(a, b)

    def test_a_score_that_its_items_do_not_make_up(self, model, base):
        a, b = model("A", T=base), model.task("B", "T", base, score=0.9)
        assert "the items kept of B make up" in self.reason(a, b)

    def test_no_score(self, model, base):
        a, b = model("A", T=base), model.task("B", "T", base, score=math.nan)
        assert "not a number" in self.reason(a, b)

    def test_does_not_count_as_a_test(self, model, base):
        a = model("A", S=base, T=base + np.linspace(0, 0.1, COUNT))
        b = model("B", T=base)
        alone = compare(a, b)
        b.tasks["S"] = model.task("B", "S", base, keep=False).tasks["S"]
        assert compare(a, b).tasks[1] == alone.tasks[0]
        assert compare(a, b).untested == 1

    def test_damaged_items_are_an_error(self, model, base, tmp_path):
        a, b = model("A", T=base), model("B", T=base)
        (tmp_path / "A" / "items" / "T.json").write_text("{")
        with pytest.raises(CorruptFileError):
            compare(a, b)


class TestTasks:
    def test_those_of_one_model_are_named(self, model, base):
        found = compare(model("A", Both=base, OnlyA=base), model("B", Both=base, OnlyB=base))
        assert ([task.task for task in found.tasks], found.only_a, found.only_b) == (["Both"], ("OnlyA",), ("OnlyB",))

    def test_can_be_chosen(self, model, base):
        found = compare(model("A", X=base, Y=base, Z=base), model("B", X=base, Y=base), ["Z", "X", "X"])
        assert ([task.task for task in found.tasks], found.only_a, found.only_b) == (["X"], ("Z",), ())

    def test_an_unknown_one_is_refused_with_the_nearest(self, model, base):
        a = model("A", SciFact=base, TREC=base)
        with pytest.raises(InputError, match="neither has 'Scifact': did you mean 'SciFact'"):
            compare(a, a, ["Scifact"])
        with pytest.raises(InputError, match="neither has 'xyz'"):
            compare(a, a, ["xyz"])

    def test_a_string_is_refused(self, model, base):
        a = model("A", TREC=base)
        with pytest.raises(InputError, match=r"write \['TREC'\]"):
            compare(a, a, "TREC")

    @pytest.mark.parametrize("options", [{"level": 0}, {"level": 1}, {"resamples": 1}])
    def test_settings_are_checked_where_no_task_is(self, model, options):
        with pytest.raises(InputError, match="must"):
            compare(model("A"), model("B"), **options)


def test_many_questions_are_answered_as_one_by_one(model, base):
    generator = np.random.default_rng(0)
    a, b, c = (model(name, X=base + generator.normal(0, 0.1, COUNT), Y=base) for name in "ABC")
    questions = [Question(a, b), Question(a, c, ["X"], 400), Question(b, c, resamples=100)]
    assert compare_all(questions) == [compare(one.a, one.b, one.tasks, resamples=one.resamples) for one in questions]
    with pytest.raises(InputError, match="resamples"):
        compare_all([*questions, Question(a, b, resamples=1)])


def test_equal_labels_show_revisions(model, base):
    found = compare(model("A", "0123456789", T=base), model("A", "abcdefghij", T=base))
    assert (found.a, found.b) == ("A [01234567]", "A [abcdefgh]")


class TestWords:
    def words(self, *tasks, level=0.95, differences=None, p_value=None, **only):
        differences = differences or {f"T{i}": 0.01 for i in range(max(len(tasks), 1))}
        return Comparison("A", "B", level, tasks, differences, p_value, **only).words()

    def task(self, verdict, difference, low, high, p_holm, n=500, unit="query", name="TREC"):
        found = Difference(0.5 + difference, 0.5, difference, low, high, 0.001, n)
        return TaskComparison(name, "ndcg", found.a, found.b, found, p_holm, verdict, unit)

    def test_better(self):
        said = self.words(self.task("better", 0.012, 0.008, 0.016, 0.002, name="STS12"))[0]
        assert said == "A is better than B on STS12: +1.20 points (95 % interval 0.80 to 1.60, adjusted p = 0.002)."

    def test_worse(self):
        said = self.words(self.task("worse", -0.12, -0.16, -0.05, 0.0004, name="STS12"), level=0.99)[0]
        assert said == "A is worse than B on STS12: −12.0 points (99 % interval −16.0 to −5.0, adjusted p < 0.001)."

    def test_no_difference_shown(self):
        said = self.words(self.task("no difference shown", 0.002, -0.009, 0.013, 0.6))[0]
        assert said == (
            "No difference shown on TREC: +0.2 points (−0.9 to 1.3, adjusted p = 0.60); "
            "500 queries cannot tell less than about 1.1 points apart."
        )

    @pytest.mark.parametrize(("unit", "n", "said"), [("pair", 1200, "1,200 pairs"), ("clustering", 1, "1 clustering")])
    def test_units(self, unit, n, said):
        assert f"; {said} cannot" in self.words(self.task("no difference shown", 0, -0.1, 0.1, 1, n, unit))[0]

    def test_nothing_is_minus_zero(self):
        said = self.words(self.task("no difference shown", -0.0001, -0.02, 0.0, 1))[0]
        assert ": +0.0 points (−2.0 to 0.0," in said

    def test_not_testable(self, model, base):
        said = compare(
            model.task("A", "T", base, score=0.5), model.task("B", "T", base, score=0.25, revision="r2")
        ).words()
        assert said == [
            "T cannot be tested (50.00 against 25.00 points): the two were run on different revisions of its data, r1 "
            "and r2; evaluate both on one.",
        ]

    def test_over_tasks(self):
        tasks = [self.task("better", 0.01, 0.005, 0.015, 0.01, name=f"T{i}") for i in range(6)]
        assert self.words(*tasks, p_value=0.03125)[-1] == (
            "Over 6 tasks, A is better than B on 6, worse on 0, no difference is shown on 0; the mean difference over "
            "6 tasks is +1.00 points (Wilcoxon's signed-rank test: p = 0.031)."
        )
        assert self.words(*tasks[:5], p_value=0.0625)[-1].endswith(
            "the mean difference over 5 tasks is +1.00 points, and a test over tasks needs 6 to reach p < 0.05."
        )
        assert "needs 8 to reach p < 0.01." in self.words(*tasks, p_value=0.03125, level=0.99)[-1]

    def test_tasks_of_one_model(self):
        said = self.words(only_a=("X", "Y"), only_b=("Z",))
        assert said == [
            "Only A was run on X, Y; run B on the same to compare them there.",
            "Only B was run on Z; run A on the same to compare them there.",
            "A and B have no task in common; run both on the same tasks to compare them.",
        ]
