"""Many tests at once."""

from collections.abc import Sequence

import numpy as np

from embedkit.errors import InputError


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """P-values adjusted for how many there are, by Holm's step-down procedure.

    Rejecting where the adjusted value is below α keeps the probability of any false rejection below α.

    Args:
        p_values: One a test, each between 0 and 1.

    Returns:
        Adjusted values in the same order: the i-th smallest of k times k − i + 1, never below a smaller one's, at
        most 1.

    Raises:
        InputError: A value is not between 0 and 1.

    Example:
        >>> holm([0.02, 0.01])
        (0.02, 0.02)

    Reference:
        S. Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of Statistics 1979.
    """
    given = np.asarray(p_values, dtype=np.float64)
    if not np.all((given >= 0) & (given <= 1)):
        message = f"p-values must lie between 0 and 1; received {list(p_values)}"
        raise InputError(message)
    order = np.argsort(given, kind="stable")
    steps = np.arange(len(given), 0, -1)
    adjusted = np.empty_like(given)
    adjusted[order] = np.minimum(np.maximum.accumulate(given[order] * steps), 1.0)
    return tuple(adjusted.tolist())
