"""A score as a function of resampled items."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from embedkit.errors import InputError

Columns: TypeAlias = Mapping[str, NDArray[np.float64]]
Integers: TypeAlias = NDArray[np.integer[Any]]
Values: TypeAlias = NDArray[np.float64]
Evaluate: TypeAlias = Callable[["Resamples"], Values]
Known = TypeVar("Known")

ROUNDING = 1e-12  # differences of scores below this are those of summation order

_BLOCK = 2**17  # resampled items in memory at once: about what the processor caches hold


class Resamples:
    """Some resamples of one set of items, and what all models make of them alike.

    Args:
        index: Which items each holds, (resamples, n).
    """

    def __init__(self, index: Integers) -> None:
        self.index = index
        self._known: dict[Hashable, Any] = {}

    def once(self, key: Hashable, compute: Callable[[Integers], Known]) -> Known:
        """What `compute` makes of the index matrix; the second call of a key gets what the first did."""
        if key not in self._known:
            self._known[key] = compute(self.index)
        known: Known = self._known[key]
        return known


@dataclass(frozen=True)
class Statistic:
    """A score as a function of resampled items.

    Attributes:
        prepare: Columns → a function of `Resamples` that gives (resamples,).
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
        return in_blocks([self.of(columns)], count, size, lambda start, stop: index[start:stop])[:, 0]

    def of(self, columns: Columns) -> Evaluate:
        """The function of the resamples alone, for many calls on the same columns."""
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


def in_blocks(evaluates: Sequence[Evaluate], count: int, size: int, rows: Callable[[int, int], Integers]) -> Values:
    """Each of the functions on `count` rows of an index matrix that is never held whole, (count, functions)."""
    step = max(1, _BLOCK // max(size, 1))
    values = np.empty((count, len(evaluates)))
    for start in range(0, count, step):
        stop = min(start + step, count)
        resamples = Resamples(rows(start, stop))
        for i, evaluate in enumerate(evaluates):
            values[start:stop, i] = evaluate(resamples)
    return values
