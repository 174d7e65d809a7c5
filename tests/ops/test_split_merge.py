import numpy as np
import pytest
from scipy.special import gammaln

from embedkit.ops.normal_inverse_wishart import NormalInverseWishart
from embedkit.ops.split_merge import SplitMerge, split_gain

BELIEF = NormalInverseWishart(np.zeros(2), 0.2, 2 * np.eye(2), 5.0)


def gaussians(*places, each=30, seed=0):
    draw = np.random.default_rng(seed)
    return np.concatenate([draw.normal(place, 1, size=(each, 2)) for place in places])


def search(rows, pinned=None, *, max_free=9, belief=BELIEF):
    free = np.full(len(rows), -1)
    return SplitMerge(rows, free if pinned is None else pinned, belief, np.random.RandomState(0), max_free)


def test_two_far_gaussians_split_and_two_halves_of_one_do_not():
    apart, together = gaussians(-8, 8), gaussians(0, 0)
    halves = np.argsort(together[:, 0])
    assert split_gain(BELIEF, apart[:30], apart[30:]) > 50
    assert split_gain(BELIEF, together[halves[:30]], together[halves[30:]]) < -5
    for rows, number in ((apart, 2), (together, 1)):
        assert search(rows).split(np.zeros(60, int)).max() + 1 == number


def test_two_halves_of_one_merge_and_two_far_gaussians_do_not():
    apart, together = gaussians(-8, 8), gaussians(0, 0)
    for rows, number in ((apart, 2), (together, 1)):
        assert search(rows).merged(np.repeat([0, 1], 30)).max() + 1 == number


def test_the_gain_is_the_difference_in_evidence():
    rows, codes = gaussians(-2, 2), np.repeat([0, 1], 30)
    one, two = search(rows).evidence(np.zeros(60, int)), search(rows).evidence(codes)
    assert split_gain(BELIEF, rows[:30], rows[30:]) == pytest.approx(two - one)
    assert one == pytest.approx(gammaln(60) + BELIEF.log_marginal(rows))


def test_a_merge_takes_back_a_split():
    rows = gaussians(-9, 0, 9)
    begun = np.repeat([0, 1, 2], 30)
    always = search(rows)
    always._is_taken = lambda gain: True
    parted = always.split(begun)
    assert parted.max() + 1 == 6
    assert search(rows).merged(parted).max() + 1 == 3


def test_accepted_merges_leave_fewer_clusters_and_each_pair_merges_once():
    rows = gaussians(-9, 9)
    always = search(rows)
    always._is_taken = lambda gain: True
    merged = always.merged(np.repeat([0, 1, 2, 3], 15))
    np.testing.assert_array_equal(merged, np.repeat([0, 1], 30))


@pytest.mark.parametrize("start", [1, 9])
def test_the_number_is_found_from_too_few_and_from_too_many(start):
    rows = gaussians((-9, 0), (0, 9), (9, 0), (0, -9))
    codes, evidence = search(rows).run(np.arange(120) % start)
    assert sorted(np.bincount(codes)) == [30, 30, 30, 30]
    assert evidence == pytest.approx(search(rows).evidence(codes))


def test_held_rows_never_move_part_or_meet():
    rows, pinned = gaussians(-9, -9, 9), np.full(90, -1)
    pinned[:5], pinned[30:35], pinned[40] = 0, 1, 0  # two classes that are one Gaussian
    pinned[60] = 1  # and a row of one far away
    codes, _ = search(rows, pinned).run(np.where(pinned < 0, 2, pinned))
    np.testing.assert_array_equal(codes[pinned >= 0], pinned[pinned >= 0])


def test_there_are_never_more_than_allowed_and_rejected_moves_are_as_likely_as_they_say():
    rows = gaussians((-9, 0), (0, 9), (9, 0), (0, -9))
    assert search(rows, max_free=3).run(np.zeros(120, int))[0].max() + 1 == 3
    chooser = search(rows)
    for gain, share in ((0.1, 1.0), (np.log(0.3), 0.3), (-50.0, 0.0)):
        assert np.mean([chooser._is_taken(gain) for _ in range(2000)]) == pytest.approx(share, abs=0.04)


def test_settling_keeps_the_number():
    rows = gaussians(0, 0)
    codes, _ = search(rows).settled(np.arange(60) % 4)
    assert codes.max() + 1 == 4
