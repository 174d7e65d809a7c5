import math
from dataclasses import replace

import numpy as np
import pytest

from embedkit.errors import InputError
from embedkit.evaluation.statistics import STATISTICS, paired_difference, paired_differences, score
from tests.evaluation.statistics.samples import MOST, columns_for, items


@pytest.mark.parametrize("statistic", STATISTICS)
def test_changes_its_sign_with_the_order(statistic):
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


def test_p_value_by_counting_all_swaps():
    """Six items, all better by different amounts: only the two extreme ones of 64 swaps are as far apart."""
    better = np.array([0.1, 0.2, 0.3, 0.15, 0.25, 0.35])
    found = paired_difference(
        [items("mean", score=0.5 + better)], [items("mean", score=np.full(6, 0.5))], resamples=20_000
    )
    assert found.p_value == pytest.approx(2 / 64, abs=0.005)


def test_of_a_model_and_itself_is_nothing():
    part = items("spearman", **columns_for("spearman", np.random.default_rng(13)))
    found = paired_difference([part], [part])
    assert (found.difference, found.p_value) == (0, 1)
    assert found.low < 0 < found.high
    assert found.high < 0.15


def test_finds_a_small_difference_that_is_everywhere():
    """Each interval alone is ten times as wide."""
    base = np.random.default_rng(14).random(200) * 0.8
    worse = np.random.default_rng(15).normal(0.02, 0.02, 200)
    found = paired_difference([items("mean", score=base)], [items("mean", score=base - worse)])
    assert found.p_value == pytest.approx(1 / 2001)
    assert 0.015 < found.low < found.high < 0.025


def test_matches_by_id():
    generator = np.random.default_rng(16)
    columns = columns_for("spearman", generator)
    other = {"score": generator.normal(size=MOST), "target": columns["target"]}
    order = generator.permutation(MOST)
    a, b = items("spearman", **columns), items("spearman", **other)
    shuffled = items("spearman", ids=[b.ids[i] for i in order], **{name: v[order] for name, v in other.items()})
    assert paired_difference([a], [shuffled], resamples=200) == paired_difference([a], [b], resamples=200)


def test_matches_parts_by_name():
    a, b = items("mean", "de", score=[1, 0, 1]), items("mean", "fr", score=[0, 0, 1])
    assert paired_difference([a, b], [b, a]).difference == 0


@pytest.mark.parametrize("statistic", ["spearman", "auc", "average_precision"])
def test_of_ranks_is_free_of_scale(statistic):
    generator = np.random.default_rng(17)
    a = columns_for(statistic, generator)
    b = {"score": generator.normal(size=MOST), "target": a["target"]}
    stretched = {**b, "score": np.exp(5 * b["score"])}
    one, other = (
        paired_difference([items(statistic, **a)], [items(statistic, **columns)], resamples=300)
        for columns in (b, stretched)
    )
    assert one == other


def test_of_pearson_is_free_of_unit():
    generator = np.random.default_rng(18)
    a = columns_for("pearson", generator)
    b = {"score": generator.normal(size=MOST), "target": a["target"]}
    one, other = (
        paired_difference([items("pearson", **a)], [items("pearson", **{**b, "score": unit * b["score"] + 1})])
        for unit in (1, 4)
    )
    assert one.p_value == other.p_value
    assert one.difference == pytest.approx(other.difference)


def test_is_right_as_often_as_it_says_where_scales_differ():
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


def test_draws_again_where_a_class_is_missing():
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
def test_refuses(other, said):
    with pytest.raises(InputError, match=said):
        paired_difference([BASE], other)


@pytest.mark.parametrize("statistic", STATISTICS)
def test_many_pairs_at_once_are_what_they_are_alone(statistic):
    """A model that several pairs hold, a pair that comes twice, other items, and what is refused."""
    generator = np.random.default_rng(24)
    first, other = columns_for(statistic, generator), columns_for(statistic, generator)
    a, b, c = (
        [items(statistic, **{name: generator.permutation(v) if name != "target" else v for name, v in first.items()})]
        for _ in range(3)
    )
    d, shuffled = [items(statistic, **other)], [replace(b[0], ids=b[0].ids[::-1])]
    pairs = [(a, b), (a, c), (b, a), (a, b), (d, d), (c, []), (a, shuffled)]

    for pair, found in zip(pairs, paired_differences(pairs, resamples=200), strict=True):
        try:
            alone = paired_difference(*pair, resamples=200)
        except InputError as error:
            alone = error
        assert str(found) == str(alone)
