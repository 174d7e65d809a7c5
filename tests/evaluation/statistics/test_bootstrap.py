import math
import warnings
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from scipy import stats

from embedkit.errors import InputError
from embedkit.evaluation.statistics import (
    STATISTICS,
    bootstrap_interval,
    bootstrap_intervals,
    over_seeds,
    replicates,
    score,
)
from tests.evaluation.statistics.samples import MOST, columns_for, items


@pytest.mark.parametrize(
    ("statistic", "value"), [("spearman", 0), ("pearson", 0), ("auc", 0.5), ("average_precision", 0.25)]
)
def test_scores_that_are_all_equal_know_nothing(statistic, value):
    part = items(statistic, score=np.full(20, 0.1), target=np.arange(20) % 4 == 0)
    found = bootstrap_interval([part], resamples=200)
    assert found.value == score([part]) == value
    assert found.low < value < found.high


@pytest.mark.parametrize("statistic", STATISTICS)
def test_holds_the_value_and_is_the_same_again(statistic):
    part = items(statistic, **columns_for(statistic, np.random.default_rng(4)))
    found = bootstrap_interval([part], resamples=300)
    assert found.low < found.value < found.high
    assert found.value == score([part])
    assert (found.level, found.n, found.resamples) == (0.95, MOST, 300)
    assert bootstrap_interval([part], resamples=300) == found
    assert bootstrap_interval([part], resamples=300, seed=1) != found


def test_of_many_items_is_the_normal_one():
    values = np.random.default_rng(5).normal(size=4000)
    found = bootstrap_interval([items("mean", score=values)])
    half = 1.96 * values.std() / math.sqrt(4000)
    assert found.low == pytest.approx(values.mean() - half, abs=half / 10)
    assert found.high == pytest.approx(values.mean() + half, abs=half / 10)


def test_of_few_items_is_as_wide_as_students():
    """On average; plain percentiles are three quarters as wide."""
    ratios = []
    for values in np.random.default_rng(6).normal(size=(40, 8)):
        student = over_seeds(values.tolist())
        found = bootstrap_interval([items("mean", score=values)], resamples=1000)
        ratios.append((found.high - found.low) / (student.high - student.low))
    assert 0.93 < np.mean(ratios) < 1.1


def test_follows_bca_as_scipy_has_it():
    values = np.random.default_rng(7).lognormal(size=150)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="BCa", rng=0).confidence_interval
    found = bootstrap_interval([items("mean", score=values)], resamples=20_000)
    width = theirs.high - theirs.low
    assert found.low == pytest.approx(theirs.low, abs=0.04 * width)
    assert found.high == pytest.approx(theirs.high, abs=0.04 * width)


def test_corrects_bias_as_scipy_does():
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


def test_narrows_with_the_level_and_with_items():
    values = np.random.default_rng(8).random(400)
    few, many = items("mean", score=values[:100]), items("mean", score=values)
    width = {
        (part is many, level): np.ptp([(i := bootstrap_interval([part], level=level)).low, i.high])
        for part in (few, many)
        for level in (0.5, 0.95)
    }
    assert width[False, 0.5] < width[False, 0.95]
    assert 1.6 < width[False, 0.95] / width[True, 0.95] < 2.4


def test_resamples_within_parts():
    """What parts differ by does not widen the interval."""
    generator = np.random.default_rng(9)
    noise = [generator.normal(scale=0.01, size=50) for _ in range(2)]
    apart = bootstrap_interval([items("mean", score=noise[0]), items("mean", "fr", score=1 + noise[1])])
    alike = bootstrap_interval([items("mean", score=noise[0]), items("mean", "fr", score=noise[1])])
    assert apart.high - apart.low == pytest.approx(alike.high - alike.low)
    assert apart.n == 100


def test_draws_again_where_a_class_is_missing():
    """One positive of four: a third of all resamples have none."""
    part = items("auc", score=[1, 2, 3, 4], target=[0, 0, 1, 0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = bootstrap_interval([part], resamples=500)
    assert found.value == pytest.approx(2 / 3)
    assert 0 <= found.low < found.value < found.high <= 1


def test_all_items_alike_by_hand():
    """20 of 20: low is the share of right answers that reaches 20 of 20 with probability 0.025."""
    found = bootstrap_interval([items("mean", score=np.ones(20))])
    assert found.low == pytest.approx(0.025 ** (1 / 20))
    assert found.low == pytest.approx(stats.binomtest(20, 20).proportion_ci(0.95).low)
    assert found.high == 1


def test_one_item_says_next_to_nothing():
    found = bootstrap_interval([items("mean", score=[0.5])])
    assert (found.low, found.high) == pytest.approx((0.0125, 0.9875))


def test_single_items_in_every_part():
    found = bootstrap_interval([items("mean", score=[0.2]), items("mean", "fr", score=[0.8])])
    assert 0 < found.low < 0.5 < found.high < 1


def test_two_items_hold_their_mean():
    found = bootstrap_interval([items("mean", score=[0.0, 1.0])])
    assert (found.low, found.value, found.high) == (0, 0.5, 1)


def test_groups_of_items_stand_for_items_in_the_jackknife(monkeypatch):
    part = items("mean", score=np.random.default_rng(10).lognormal(size=197))
    by_item = bootstrap_interval([part])
    monkeypatch.setattr(replicates, "_GROUPS", 50)
    by_group = bootstrap_interval([part])
    assert by_group != by_item
    assert by_group.high == pytest.approx(by_item.high, abs=0.05 * (by_item.high - by_item.low))


def test_holds_what_it_promises():
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
def test_refuses(options, said):
    with pytest.raises(InputError, match=said):
        bootstrap_interval([items("mean", score=[0, 1])], **options)


def test_is_frozen():
    with pytest.raises(FrozenInstanceError):
        over_seeds([0, 1]).low = 0


def test_many_at_once_are_what_they_are_alone():
    """Whether they share what is drawn or not: all statistics, other targets, several parts, and what is refused."""
    generator = np.random.default_rng(23)
    models = [[items(statistic, **columns_for(statistic, generator))] for statistic in STATISTICS for _ in range(2)]
    for statistic in ("spearman", "pearson", "f1", "auc"):
        columns = columns_for(statistic, generator)
        own = "prediction" if statistic == "f1" else "score"
        models += [[items(statistic, **{**columns, own: generator.permutation(columns[own])})] for _ in range(3)]
    models += [[*models[0], items("mean", "fr", score=generator.random(7))], [items("mean", score=[math.nan])], []]

    for parts, found in zip(models, bootstrap_intervals(models, resamples=200), strict=True):
        try:
            alone = bootstrap_interval(parts, resamples=200)
        except InputError as error:
            alone = error
        assert str(found) == str(alone)


def test_many_draw_again_together_where_a_class_is_missing():
    models = [[items("auc", score=score, target=[0, 0, 1, 0])] for score in ([1, 2, 3, 4], [4, 3, 2, 1], [1, 1, 2, 2])]
    together = bootstrap_intervals(models, resamples=300)
    assert together == [bootstrap_interval(parts, resamples=300) for parts in models]
