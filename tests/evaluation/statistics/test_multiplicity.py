import math

import numpy as np
import pytest

from embedkit.errors import InputError
from embedkit.evaluation.statistics import holm


def test_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))


def test_is_capped_monotone_and_never_below_what_came():
    p_values = np.random.default_rng(21).random(50)
    adjusted = np.array(holm(p_values.tolist()))
    assert (adjusted >= p_values).all()
    assert adjusted.max() == 1
    assert (np.diff(adjusted[np.argsort(p_values)]) >= 0).all()


def test_of_one_and_none():
    assert holm([0.2]) == (0.2,)
    assert holm([]) == ()


@pytest.mark.parametrize("p_values", [[1.1], [-0.1], [math.nan]])
def test_refuses(p_values):
    with pytest.raises(InputError, match="between 0 and 1"):
        holm(p_values)
