import math

import numpy as np
import pytest
from scipy import stats

from embedkit.errors import InputError
from embedkit.evaluation.statistics import over_seeds


def test_as_scipy():
    values = [0.7, 0.72, 0.69, 0.75]
    found = over_seeds(values, level=0.9)
    expected = stats.t.interval(0.9, 3, np.mean(values), stats.sem(values))
    assert (found.low, found.high) == pytest.approx(expected)
    assert (found.value, found.n, found.resamples) == (pytest.approx(0.715), 4, 0)


def test_equal_values_leave_no_room():
    found = over_seeds([0.5, 0.5])
    assert found.low == found.value == found.high == 0.5


@pytest.mark.parametrize("values", [[], [0.5], [0.5, math.nan]])
def test_refuses(values):
    with pytest.raises(InputError, match="2 or more finite numbers"):
        over_seeds(values)
