"""A score as a function of resampled items."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from embedkit.errors import InputError

Columns: TypeAlias = Mapping[str, NDArray[np.float64]]
Integers: TypeAlias = NDArray[np.integer[Any]]
Values: TypeAlias = NDArray[np.float64]
Evaluate: TypeAlias = Callable[[Integers], Values]

ROUNDING = 1e-12  # differences of scores below this are those of summation order

_BLOCK = 2**17  # resampled items in memory at once: about what the processor caches hold


@dataclass(frozen=True)
class Statistic:
    """A score as a function of resampled items.

    Attributes:
        prepare: Columns → a function of an index matrix (resamples, n) that gives (resamples,).
        columns: Names of the columns it reads. "score" and "target" are (n,).
        repeats: Whether the first column may be (n, repeats) too.
        lowest: Its least possible value; the greatest is 1.
        common_scale: Brings the raw scores of two models, whose scales differ, onto one before they are swapped,
            without changing the value; None where a score means the same for every model.
    """

    prepare: Callable[[Columns], Evaluate]
    columns: tuple[str, ...]
    repeats: bool = False
    lowest: float = 0.0
    common_scale: Callable[[Values], Values] | None = None

    def __call__(self, columns: Columns, index: Integers) -> Values:
        """The statistic of each resample.

        Args:
            columns: Name → values, first axis the items.
            index: Which items each resample holds, (resamples, n).

        Returns:
            (resamples,), NaN where the resample does not define it: a constant target for "spearman", "pearson" and
            "auc", no positive for "average_precision".

        Raises:
            InputError: A column is missing, not finite, or of another shape.

        Example:
            >>> from embedkit.evaluation.statistics import STATISTICS
            >>> STATISTICS["mean"]({"score": np.array([0.0, 1.0])}, np.array([[0, 0], [0, 1]]))
            array([0. , 0.5])
        """
        count, size = index.shape
        return in_blocks(self.of(columns), count, size, lambda start, stop: index[start:stop])

    def of(self, columns: Columns) -> Evaluate:
        """The function of the index matrix alone, for many calls on the same columns."""
        for name in self.columns:
            self._check(name, columns)
        return self.prepare(columns)

    def _check(self, name: str, columns: Columns) -> None:
        if name not in columns:
            message = f"there must be columns {', '.join(self.columns)}; received {', '.join(columns) or 'none'}"
            raise InputError(message)
        values, first = columns[name], columns[self.columns[0]]
        most = 2 if self.repeats and name == self.columns[0] else 1
        if not 1 <= values.ndim <= most or not values.size or len(values) != len(first):
            shape = "(items,) or (items, repeats)" if most == 2 else "(items,)"
            message = f"column {name!r} must be {shape}, with at least one item and as many as the others; "
            raise InputError(message + f"it is {values.shape}")
        if not np.isfinite(values).all():
            message = f"column {name!r} must be finite; {np.count_nonzero(~np.isfinite(values))} of its values are not"
            raise InputError(message)


def in_blocks(evaluate: Evaluate, count: int, size: int, rows: Callable[[int, int], Integers]) -> Values:
    """`evaluate` on `count` rows of an index matrix that is never held whole."""
    step = max(1, _BLOCK // max(size, 1))
    blocks = [evaluate(rows(start, min(start + step, count))) for start in range(0, count, step)]
    return np.concatenate([np.empty(0), *blocks])
