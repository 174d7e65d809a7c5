import math
import warnings
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from embedkit.errors import InputError
from embedkit.evaluation import statistics
from embedkit.evaluation.items import Items
from embedkit.evaluation.statistics import (
    STATISTICS,
    bootstrap_interval,
    holm,
    over_seeds,
    paired_difference,
    score,
    wilcoxon,
)

MOST = 60


def items(statistic, subset="default", ids=None, **columns):
    columns = {name: np.asarray(values, dtype=np.float64) for name, values in columns.items()}
    count = len(next(iter(columns.values())))
    return Items("test", subset, statistic, "pair", tuple(ids or map(str, range(count))), columns)


def columns_for(statistic, generator, n=MOST):
    """Columns with ties, so that ties are tested everywhere."""
    if statistic == "mean":
        return {"score": generator.integers(5, size=(n, 3)) / 4}
    if statistic in {"accuracy", "f1"}:
        target = generator.integers(4, size=n).astype(float)
        guesses = generator.integers(6, size=(n, 3))
        return {"prediction": np.where(generator.random((n, 3)) < 0.5, target[:, None], guesses), "target": target}
    target = generator.integers(2 if statistic in {"auc", "average_precision"} else 6, size=n).astype(float)
    return {"score": np.round(generator.normal(size=n) + target / 2, 1), "target": target}


def by_the_book(statistic, columns):
    """The statistic of one resample, from the library that defines it."""
    target = columns.get("target")
    if statistic == "mean":
        return columns["score"].mean()
    if statistic in {"accuracy", "f1"}:
        options = {"average": "macro"} if statistic == "f1" else {}
        function = metrics.f1_score if statistic == "f1" else metrics.accuracy_score
        return np.mean([function(target, guesses, **options) for guesses in columns["prediction"].T])
    functions = {
        "spearman": lambda x, y: stats.spearmanr(x, y).statistic,
        "pearson": lambda x, y: stats.pearsonr(x, y).statistic,
        "auc": lambda x, y: metrics.roc_auc_score(y, x),
        "average_precision": lambda x, y: metrics.average_precision_score(y, x),
    }
    return functions[statistic](columns["score"], target)


@pytest.mark.parametrize("statistic", STATISTICS)
def test_each_resample_is_what_the_library_says(statistic):
    generator = np.random.default_rng(0)
    columns = columns_for(statistic, generator)
    index = generator.integers(MOST, size=(12, MOST))
    expected = [by_the_book(statistic, {name: values[row] for name, values in columns.items()}) for row in index]
    np.testing.assert_allclose(STATISTICS[statistic](columns, index), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("statistic", STATISTICS)
def test_blocks_change_nothing(statistic, monkeypatch):
    generator = np.random.default_rng(1)
    columns = columns_for(statistic, generator)
    index = generator.integers(MOST, size=(25, MOST))
    whole = STATISTICS[statistic](columns, index)
    monkeypatch.setattr(statistics, "_BLOCK", 7 * MOST)
    np.testing.assert_array_equal(STATISTICS[statistic](columns, index), whole)


def test_no_resample_gives_no_value():
    assert STATISTICS["mean"]({"score": np.ones(3)}, np.empty((0, 3), dtype=int)).shape == (0,)


def test_labels_that_a_resample_lacks_do_not_count():
    columns = {"prediction": np.array([0.0, 1, 2]), "target": np.array([0.0, 1, 1])}
    assert STATISTICS["f1"](columns, np.array([[0, 0, 1], [2, 2, 2]])).tolist() == [1, 0]


@pytest.mark.parametrize("statistic", ["spearman", "pearson", "auc", "average_precision"])
def test_a_resample_of_one_target_is_undefined(statistic):
    columns = {"score": np.array([0.1, 0.2, 0.3]), "target": np.array([0.0, 0, 1])}
    assert np.isnan(STATISTICS[statistic](columns, np.array([[0, 1, 0]]))).all()


@pytest.mark.parametrize(
    ("statistic", "value"), [("spearman", 0), ("pearson", 0), ("auc", 0.5), ("average_precision", 0.25)]
)
def test_scores_that_are_all_equal_know_nothing(statistic, value):
    part = items(statistic, score=np.full(20, 0.1), target=np.arange(20) % 4 == 0)
    found = bootstrap_interval([part], resamples=200)
    assert found.value == score([part]) == value
    assert found.low < value < found.high


class TestScore:
    def test_is_the_mean_over_parts_and_not_over_items(self):
        assert score([items("mean", score=[1]), items("mean", "fr", score=[0, 0, 0])]) == 0.5

    @pytest.mark.parametrize("statistic", ["spearman", "auc", "average_precision"])
    def test_of_ranks_is_free_of_scale(self, statistic):
        columns = columns_for(statistic, np.random.default_rng(2))
        assert score([items(statistic, **columns)]) == pytest.approx(
            score([items(statistic, **{**columns, "score": np.exp(columns["score"])})])
        )

    def test_pearson_survives_huge_and_tiny_values(self):
        x, y = np.random.default_rng(3).normal(size=(2, 30))
        expected = stats.pearsonr(x, y).statistic
        assert score([items("pearson", score=x * 1e200, target=y * 1e-200)]) == pytest.approx(expected)

    @pytest.mark.parametrize(
        ("parts", "said"),
        [
            ([], "there are none"),
            ([items("mean", score=[1, math.nan])], "test/default: column 'score' must be finite; 1 of its values"),
            ([items("mean", target=[1, 2])], "there must be columns score; received target"),
            ([items("mean", score=np.empty((0,)))], "at least one item"),
            ([items("spearman", score=np.ones((2, 2)), target=[1, 2])], r"it is \(2, 2\)"),
            ([items("spearman", score=[1, 2], target=[1, 2, 3])], r"it is \(3,\)"),
            ([items("auc", score=[1, 2], target=[1, 2])], "must hold 0 and 1"),
            ([items("auc", score=[1, 2], target=[1, 1])], "auc needs items with different targets; all 2"),
            ([items("average_precision", score=[1, 2], target=[0, 0])], "needs items with different targets"),
            ([items("spearman", score=[1], target=[1])], "needs items with different targets; all 1"),
            ([items("median", score=[1])], "must be one of mean"),
        ],
    )
    def test_refuses(self, parts, said):
        with pytest.raises(InputError, match=said):
            score(parts)


class TestInterval:
    @pytest.mark.parametrize("statistic", STATISTICS)
    def test_holds_the_value_and_is_the_same_again(self, statistic):
        part = items(statistic, **columns_for(statistic, np.random.default_rng(4)))
        found = bootstrap_interval([part], resamples=300)
        assert found.low < found.value < found.high
        assert found.value == score([part])
        assert (found.level, found.n, found.resamples) == (0.95, MOST, 300)
        assert bootstrap_interval([part], resamples=300) == found
        assert bootstrap_interval([part], resamples=300, seed=1) != found

    def test_of_many_items_is_the_normal_one(self):
        values = np.random.default_rng(5).normal(size=4000)
        found = bootstrap_interval([items("mean", score=values)])
        half = 1.96 * values.std() / math.sqrt(4000)
        assert found.low == pytest.approx(values.mean() - half, abs=half / 10)
        assert found.high == pytest.approx(values.mean() + half, abs=half / 10)

    def test_of_few_items_is_as_wide_as_students(self):
        """On average; plain percentiles are three quarters as wide."""
        ratios = []
        for values in np.random.default_rng(6).normal(size=(40, 8)):
            student = over_seeds(values.tolist())
            found = bootstrap_interval([items("mean", score=values)], resamples=1000)
            ratios.append((found.high - found.low) / (student.high - student.low))
        assert 0.93 < np.mean(ratios) < 1.1

    def test_follows_bca_as_scipy_has_it(self):
        values = np.random.default_rng(7).lognormal(size=150)
        theirs = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="BCa", rng=0).confidence_interval
        found = bootstrap_interval([items("mean", score=values)], resamples=20_000)
        width = theirs.high - theirs.low
        assert found.low == pytest.approx(theirs.low, abs=0.04 * width)
        assert found.high == pytest.approx(theirs.high, abs=0.04 * width)

    def test_corrects_bias_as_scipy_does(self):
        """Macro F1 of many classes is lower on resamples than on all items; plain percentiles are off by a third."""
        generator = np.random.default_rng(22)
        target, guess = generator.integers(40, size=(2, 200)).astype(float)
        columns = {"prediction": np.where(generator.random(200) < 0.7, target, guess), "target": target}

        def f1(index, axis=-1):
            return STATISTICS["f1"](columns, index.reshape(-1, index.shape[axis])).reshape(index.shape[:-1])

        theirs, percentiles = (
            stats.bootstrap((np.arange(200),), f1, n_resamples=5000, method=method, rng=0).confidence_interval
            for method in ("BCa", "percentile")
        )
        found = bootstrap_interval([items("f1", **columns)], resamples=5000)
        width = theirs.high - theirs.low
        assert found.low == pytest.approx(theirs.low, abs=0.1 * width)
        assert found.high == pytest.approx(theirs.high, abs=0.1 * width)
        assert found.low > percentiles.low + 0.3 * width

    def test_narrows_with_the_level_and_with_items(self):
        values = np.random.default_rng(8).random(400)
        few, many = items("mean", score=values[:100]), items("mean", score=values)
        width = {
            (part is many, level): np.ptp([(i := bootstrap_interval([part], level=level)).low, i.high])
            for part in (few, many)
            for level in (0.5, 0.95)
        }
        assert width[False, 0.5] < width[False, 0.95]
        assert 1.6 < width[False, 0.95] / width[True, 0.95] < 2.4

    def test_resamples_within_parts(self):
        """What parts differ by does not widen the interval."""
        generator = np.random.default_rng(9)
        noise = [generator.normal(scale=0.01, size=50) for _ in range(2)]
        apart = bootstrap_interval([items("mean", score=noise[0]), items("mean", "fr", score=1 + noise[1])])
        alike = bootstrap_interval([items("mean", score=noise[0]), items("mean", "fr", score=noise[1])])
        assert apart.high - apart.low == pytest.approx(alike.high - alike.low)
        assert apart.n == 100

    def test_draws_again_where_a_class_is_missing(self):
        """One positive of four: a third of all resamples have none."""
        part = items("auc", score=[1, 2, 3, 4], target=[0, 0, 1, 0])
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = bootstrap_interval([part], resamples=500)
        assert found.value == pytest.approx(2 / 3)
        assert 0 <= found.low < found.value < found.high <= 1

    def test_all_items_alike_by_hand(self):
        """20 of 20: low is the share of right answers that reaches 20 of 20 with probability 0.025."""
        found = bootstrap_interval([items("mean", score=np.ones(20))])
        assert found.low == pytest.approx(0.025 ** (1 / 20))
        assert found.low == pytest.approx(stats.binomtest(20, 20).proportion_ci(0.95).low)
        assert found.high == 1

    def test_one_item_says_next_to_nothing(self):
        found = bootstrap_interval([items("mean", score=[0.5])])
        assert (found.low, found.high) == pytest.approx((0.0125, 0.9875))

    def test_single_items_in_every_part(self):
        found = bootstrap_interval([items("mean", score=[0.2]), items("mean", "fr", score=[0.8])])
        assert 0 < found.low < 0.5 < found.high < 1

    def test_two_items_hold_their_mean(self):
        found = bootstrap_interval([items("mean", score=[0.0, 1.0])])
        assert (found.low, found.value, found.high) == (0, 0.5, 1)

    def test_groups_of_items_stand_for_items_in_the_jackknife(self, monkeypatch):
        part = items("mean", score=np.random.default_rng(10).lognormal(size=197))
        by_item = bootstrap_interval([part])
        monkeypatch.setattr(statistics, "_GROUPS", 50)
        by_group = bootstrap_interval([part])
        assert by_group != by_item
        assert by_group.high == pytest.approx(by_item.high, abs=0.05 * (by_item.high - by_item.low))

    def test_holds_what_it_promises(self):
        """Coverage on skewed values of 40 items; the bound below is 3.5 σ from 0.95."""
        generator = np.random.default_rng(11)
        held = 0
        for _ in range(300):
            values = np.where(generator.random(40) < 0.5, 0, generator.beta(2, 3, 40))
            found = bootstrap_interval([items("mean", score=values)], resamples=300)
            held += found.low <= 0.2 <= found.high
        assert 0.905 <= held / 300 <= 0.985

    @pytest.mark.parametrize(
        ("options", "said"), [({"level": 95}, "level must"), ({"level": math.nan}, "level"), ({"resamples": 10}, "100")]
    )
    def test_refuses(self, options, said):
        with pytest.raises(InputError, match=said):
            bootstrap_interval([items("mean", score=[0, 1])], **options)

    def test_is_frozen(self):
        with pytest.raises(FrozenInstanceError):
            over_seeds([0, 1]).low = 0


class TestPairedDifference:
    @pytest.mark.parametrize("statistic", STATISTICS)
    def test_changes_its_sign_with_the_order(self, statistic):
        generator = np.random.default_rng(12)
        a = columns_for(statistic, generator)
        b = {**columns_for(statistic, generator), **{name: a[name] for name in a if name == "target"}}
        first, second = items(statistic, **a), items(statistic, **b)
        one = paired_difference([first], [second], resamples=400)
        other = paired_difference([second], [first], resamples=400)
        assert one.difference == -other.difference == pytest.approx(score([first]) - score([second]))
        assert one.p_value == other.p_value
        assert one.low == pytest.approx(-other.high)
        assert one.low <= one.difference <= one.high
        assert (one.a, one.b, one.n) == (score([first]), score([second]), MOST)

    def test_p_value_by_counting_all_swaps(self):
        """Six items, all better by different amounts: only the two extreme ones of 64 swaps are as far apart."""
        better = np.array([0.1, 0.2, 0.3, 0.15, 0.25, 0.35])
        found = paired_difference(
            [items("mean", score=0.5 + better)], [items("mean", score=np.full(6, 0.5))], resamples=20_000
        )
        assert found.p_value == pytest.approx(2 / 64, abs=0.005)

    def test_of_a_model_and_itself_is_nothing(self):
        part = items("spearman", **columns_for("spearman", np.random.default_rng(13)))
        found = paired_difference([part], [part])
        assert (found.difference, found.p_value) == (0, 1)
        assert found.low < 0 < found.high
        assert found.high < 0.15

    def test_finds_a_small_difference_that_is_everywhere(self):
        """Each interval alone is ten times as wide."""
        base = np.random.default_rng(14).random(200) * 0.8
        worse = np.random.default_rng(15).normal(0.02, 0.02, 200)
        found = paired_difference([items("mean", score=base)], [items("mean", score=base - worse)])
        assert found.p_value == pytest.approx(1 / 2001)
        assert 0.015 < found.low < found.high < 0.025

    def test_matches_by_id(self):
        generator = np.random.default_rng(16)
        columns = columns_for("spearman", generator)
        other = {"score": generator.normal(size=MOST), "target": columns["target"]}
        order = generator.permutation(MOST)
        a, b = items("spearman", **columns), items("spearman", **other)
        shuffled = items("spearman", ids=[b.ids[i] for i in order], **{name: v[order] for name, v in other.items()})
        assert paired_difference([a], [shuffled], resamples=200) == paired_difference([a], [b], resamples=200)

    def test_matches_parts_by_name(self):
        a, b = items("mean", "de", score=[1, 0, 1]), items("mean", "fr", score=[0, 0, 1])
        assert paired_difference([a, b], [b, a]).difference == 0

    @pytest.mark.parametrize("statistic", ["spearman", "auc", "average_precision"])
    def test_of_ranks_is_free_of_scale(self, statistic):
        generator = np.random.default_rng(17)
        a = columns_for(statistic, generator)
        b = {"score": generator.normal(size=MOST), "target": a["target"]}
        stretched = {**b, "score": np.exp(5 * b["score"])}
        one, other = (
            paired_difference([items(statistic, **a)], [items(statistic, **columns)], resamples=300)
            for columns in (b, stretched)
        )
        assert one == other

    def test_of_pearson_is_free_of_unit(self):
        generator = np.random.default_rng(18)
        a = columns_for("pearson", generator)
        b = {"score": generator.normal(size=MOST), "target": a["target"]}
        one, other = (
            paired_difference([items("pearson", **a)], [items("pearson", **{**b, "score": unit * b["score"] + 1})])
            for unit in (1, 4)
        )
        assert one.p_value == other.p_value
        assert one.difference == pytest.approx(other.difference)

    def test_is_right_as_often_as_it_says_where_scales_differ(self):
        """Two equally good models, one in cosines near 0.9, one in distances: 5 % within three standard errors."""
        generator, wrong = np.random.default_rng(19), 0
        for _ in range(200):
            truth = generator.normal(size=50)
            a, b = (
                items("spearman", score=truth + generator.normal(size=50), target=truth),
                items("spearman", score=100 * np.exp(truth + generator.normal(size=50)), target=truth),
            )
            wrong += paired_difference([a], [b], resamples=100).p_value <= 0.05
        assert 0.005 <= wrong / 200 <= 0.096

    def test_draws_again_where_a_class_is_missing(self):
        a = items("average_precision", score=[1, 2, 3, 4], target=[0, 0, 1, 0])
        b = items("average_precision", score=[4, 3, 2, 1], target=[0, 0, 1, 0])
        found = paired_difference([a], [b], resamples=200)
        assert found.difference == pytest.approx(1 / 2 - 1 / 3)
        assert math.isfinite(found.low + found.high + found.p_value)

    BASE = items("accuracy", prediction=[0, 1, 1], target=[0, 1, 0])

    @pytest.mark.parametrize(
        ("other", "said"),
        [
            ([], "the first has test/default, the second none"),
            ([replace(BASE, subset="fr")], "the second test/fr"),
            ([replace(BASE, statistic="f1")], "they are by accuracy and f1"),
            ([replace(BASE, ids=("0", "1", "x"))], "2 of their ids, such as '2'"),
            ([replace(BASE, ids=("0", "1", "1"))], "the second model has 3 ids, of which 2 differ"),
            ([replace(BASE, ids=("0", "1"))], "the second model has 2 ids"),
            ([items("accuracy", prediction=[0, 1, 1], target=[0, 1, 1])], "1 differ, such as that of '2'"),
            ([items("accuracy", prediction=np.ones((3, 2)), target=[0, 1, 0])], r"the same columns.*\(3, 2\)"),
            ([items("accuracy", prediction=[0, 1, math.inf], target=[0, 1, 0])], "must be finite"),
        ],
    )
    def test_refuses(self, other, said):
        with pytest.raises(InputError, match=said):
            paired_difference([self.BASE], other)


class TestWilcoxon:
    def test_as_scipy(self):
        differences = np.random.default_rng(20).normal(0.3, size=40)
        assert wilcoxon(differences.tolist()) == pytest.approx(stats.wilcoxon(differences).pvalue)

    def test_leaves_out_what_is_equal(self):
        assert wilcoxon([0.1, 0.2, -0.05, 0, 0.3]) == wilcoxon([0.1, 0.2, -0.05, 0.3])
        assert wilcoxon([0.0, 0.0]) == 1

    @pytest.mark.parametrize("count", [1, 2, 5, 6])
    def test_the_least_value(self, count):
        assert wilcoxon([0.1 * (i + 1) for i in range(count)]) == pytest.approx(2 / 2**count)

    @pytest.mark.parametrize("differences", [[], [0.1, math.nan], [[0.1]]])
    def test_refuses(self, differences):
        with pytest.raises(InputError, match="1 or more finite numbers"):
            wilcoxon(differences)


class TestHolm:
    def test_by_hand(self):
        assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))

    def test_is_capped_monotone_and_never_below_what_came(self):
        p_values = np.random.default_rng(21).random(50)
        adjusted = np.array(holm(p_values.tolist()))
        assert (adjusted >= p_values).all()
        assert adjusted.max() == 1
        assert (np.diff(adjusted[np.argsort(p_values)]) >= 0).all()

    def test_of_one_and_none(self):
        assert holm([0.2]) == (0.2,)
        assert holm([]) == ()

    @pytest.mark.parametrize("p_values", [[1.1], [-0.1], [math.nan]])
    def test_refuses(self, p_values):
        with pytest.raises(InputError, match="between 0 and 1"):
            holm(p_values)


class TestOverSeeds:
    def test_as_scipy(self):
        values = [0.7, 0.72, 0.69, 0.75]
        found = over_seeds(values, level=0.9)
        expected = stats.t.interval(0.9, 3, np.mean(values), stats.sem(values))
        assert (found.low, found.high) == pytest.approx(expected)
        assert (found.value, found.n, found.resamples) == (pytest.approx(0.715), 4, 0)

    def test_equal_values_leave_no_room(self):
        found = over_seeds([0.5, 0.5])
        assert found.low == found.value == found.high == 0.5

    @pytest.mark.parametrize("values", [[], [0.5], [0.5, math.nan]])
    def test_refuses(self, values):
        with pytest.raises(InputError, match="2 or more finite numbers"):
            over_seeds(values)
