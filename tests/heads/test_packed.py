"""Packed symmetric matrices: numpy's whole ones are the oracle."""

import numpy as np
import pytest

from embedkit.errors import InputError
from embedkit.heads.packed import add_gram, cholesky, inverse, packed_identity, solved, unpacked


@pytest.mark.parametrize("width", [1, 2, 5, 8])
def test_what_is_packed_is_what_numpy_makes_of_the_whole(width):
    draw = np.random.default_rng(width)
    first, second, right = (draw.normal(size=(9, width)) for _ in range(3))
    packed = add_gram(add_gram(np.zeros(width * (width + 1) // 2), first), second)
    whole = first.T @ first + second.T @ second
    np.testing.assert_allclose(unpacked(packed, width), whole)
    np.testing.assert_allclose(packed @ packed_identity(width), np.trace(whole))
    factor = cholesky(packed, width)
    np.testing.assert_allclose(solved(factor, right.T), np.linalg.solve(whole, right.T))
    np.testing.assert_allclose(unpacked(inverse(factor, width), width), np.linalg.inv(whole), atol=1e-12)
    np.testing.assert_allclose(unpacked(packed, width), whole)


def test_what_has_no_factor_is_refused():
    with pytest.raises(InputError, match=r"take 0\.0001 or more"):
        cholesky(-packed_identity(3), 3)
