"""What heads share that find classes nobody has named: which rows have a class, and what new ones are called."""

from abc import abstractmethod
from collections.abc import Iterator
from itertools import count, islice
from numbers import Integral
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClusterMixin
from sklearn.utils import column_or_1d, gen_batches
from sklearn.utils.validation import check_is_fitted

from embedkit.errors import InputError
from embedkit.heads.stored import StoredHead
from embedkit.heads.validation import all_or_nothing, validated

Rows = NDArray[np.float32] | NDArray[np.float64]
_ROWS = 16384


class NovelClassHead(ClusterMixin, StoredHead):  # type: ignore[misc]  # sklearn is untyped
    """Gives rows without a class one: a novel one, or a known one where it may.

    Attributes:
        known_classes_: Those that y names, sorted.
        novel_classes_: Names of those that were found: the integers after the largest known one, from 0; where classes
            are texts "novel 0", "novel 1" and so on, without such as are known classes.
        labels_: The class of each row of X, (n,); a row that has one keeps it.
        num_novel_: How many novel classes there are.
    """

    known_classes_: NDArray[Any]
    novel_classes_: NDArray[Any]
    labels_: NDArray[Any]
    num_novel_: int

    @abstractmethod
    def _discovered(self, rows: Rows, known: NDArray[np.int64]) -> NDArray[np.int64]:
        """The class of each row, (n,): the place of a known one, after these that of a novel one. Sets `num_novel_`.

        Args:
            rows: (n, width).
            known: The place of each row's class among `known_classes_`, −1 where it has none.
        """

    @abstractmethod
    def _nearest(self, rows: Rows) -> NDArray[np.int64]:
        """The class of each of any rows, (m,), as in `_discovered`."""

    @all_or_nothing
    def fit(self, X: ArrayLike, y: ArrayLike | None = None) -> Self:
        """Find the novel classes of these rows.

        Args:
            X: (n, width).
            y: The class of each row, −1 where it has none, (n,): integers, or an array of objects that are texts and
                −1. None is −1 everywhere: all classes are novel.

        Returns:
            Itself.

        Raises:
            InputError: y is not that, or an argument is out of range.
            ValueError: scikit-learn's, where X is no finite numbers.
        """
        rows = validated(self, X, dtype=(np.float64, np.float32))
        self.known_classes_, known = known_codes(y, len(rows))
        codes = self._discovered(rows, known)
        self.novel_classes_ = novel_names(self.known_classes_, self.num_novel_)
        self.labels_ = self._named(codes)
        return self

    def fit_predict(self, X: ArrayLike, y: ArrayLike | None = None) -> NDArray[Any]:
        """The same, and the class of each row of X, (n,).

        Args:
            X: (n, width).
            y: As in `fit`.

        Raises:
            InputError: As in `fit`.
        """
        return self.fit(X, y).labels_

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """The class of each of any rows, known or novel, (m,).

        Args:
            X: (m, width).

        Raises:
            NotFittedError: `fit` was not called.
        """
        check_is_fitted(self)
        rows = validated(self, X, reset=False, dtype=(np.float64, np.float32))
        return self._named(np.concatenate([self._nearest(rows[part]) for part in gen_batches(len(rows), _ROWS)]))

    def _named(self, codes: NDArray[np.int64]) -> NDArray[Any]:
        names: NDArray[Any] = np.concatenate([self.known_classes_, self.novel_classes_])[codes]
        return names


def known_codes(y: ArrayLike | None, rows: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Classes that are named, sorted, and the place of each row's among them, −1 where it has none.

    Args:
        y: (n,), as `NovelClassHead.fit` takes it.
        rows: n.

    Raises:
        InputError: It is not that.

    Example:
        >>> known_codes(np.array(["b", -1, "a", "b"], dtype=object), 4)
        (array(['a', 'b'], dtype='<U1'), array([ 1, -1,  0,  1]))
    """
    given = np.full(rows, -1) if y is None else column_or_1d(np.asarray(y))
    if len(given) != rows:
        raise InputError(f"y must have a class, or -1, for each of the {rows} rows; received {len(given)}")
    named = ~np.array([_is_unlabelled(each) for each in given.tolist()], dtype=bool)
    classes, places = np.unique(_of_one_kind(given[named]), return_inverse=True)
    codes = np.full(rows, -1)
    codes[named] = places
    return classes, codes


def novel_names(known: NDArray[Any], number: int) -> NDArray[Any]:
    """Names for novel classes, none of which is a known one, nor −1.

    Args:
        known: Known classes, integers or texts.
        number: How many.

    Example:
        >>> novel_names(np.array([3, 7]), 2).tolist(), novel_names(np.array(["dog", "novel 0"]), 2).tolist()
        ([8, 9], ['novel 1', 'novel 2'])
    """
    if known.dtype.kind != "U":
        first = max(int(known.max(initial=-1)) + 1, 0)
        return np.arange(first, first + number)
    taken = set(known.tolist())
    free: Iterator[str] = (name for name in map("novel {}".format, count()) if name not in taken)
    return np.array(list(islice(free, number)), dtype=str)


def check_count(name: str, value: Any, least: int, most: int | None = None) -> None:
    """Refuse what is no integer within bounds.

    Raises:
        InputError: It is none.
    """
    right = isinstance(value, Integral) and not isinstance(value, bool)
    if not right or value < least or (most is not None and value > most):
        bounds = f"{least} or more" if most is None else f"{least} … {most}, the rows without a class"
        raise InputError(f"{name} must be an integer, {bounds}; received {value!r:.60}")


def _is_unlabelled(label: Any) -> bool:
    return not isinstance(label, str | bool) and bool(label == -1)


def _of_one_kind(labels: NDArray[Any]) -> NDArray[Any]:
    """Labels as integers or texts."""
    values = labels.tolist()
    if all(isinstance(each, str) for each in values) and values:
        if "-1" in values and labels.dtype.kind == "U":
            raise InputError('rows without a class must be -1, no text; received "-1": give y as dtype=object')
        return np.asarray(values, dtype=str)
    if all(isinstance(each, Integral) or (isinstance(each, float) and each.is_integer()) for each in values):
        return np.asarray(values, dtype=np.int64)
    wrong = next((each for each in values if not isinstance(each, Integral)), None)
    raise InputError(f"classes must be all integers or all texts, and -1 where there is none; received {wrong!r:.60}")
