import math

import numpy as np
import pytest
from scipy import stats

from embedkit.errors import InputError
from embedkit.evaluation.statistics import wilcoxon


def test_as_scipy():
    differences = np.random.default_rng(20).normal(0.3, size=40)
    assert wilcoxon(differences.tolist()) == pytest.approx(stats.wilcoxon(differences).pvalue)


def test_leaves_out_what_is_equal():
    assert wilcoxon([0.1, 0.2, -0.05, 0, 0.3]) == wilcoxon([0.1, 0.2, -0.05, 0.3])
    assert wilcoxon([0.0, 0.0]) == 1


@pytest.mark.parametrize("count", [1, 2, 5, 6])
def test_the_least_value(count):
    assert wilcoxon([0.1 * (i + 1) for i in range(count)]) == pytest.approx(2 / 2**count)


@pytest.mark.parametrize("differences", [[], [0.1, math.nan], [[0.1]]])
def test_refuses(differences):
    with pytest.raises(InputError, match="1 or more finite numbers"):
        wilcoxon(differences)
