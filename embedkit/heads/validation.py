"""What heads ask of the vectors they are given, and that a refusal costs nothing."""

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import validate_data

from embedkit.errors import InputError

_Arguments = ParamSpec("_Arguments")
_Head = TypeVar("_Head", bound=BaseEstimator)


def all_or_nothing(
    fit: Callable[Concatenate[_Head, _Arguments], _Head],
) -> Callable[Concatenate[_Head, _Arguments], _Head]:
    """A `fit` that ends in an error leaves the head as it was, and not with half of what it learnt anew."""

    @wraps(fit)
    def kept(head: _Head, /, *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Head:
        before = dict(vars(head))
        try:
            return fit(head, *args, **kwargs)
        except BaseException:
            vars(head).clear()
            vars(head).update(before)
            raise

    return kept


def validated(head: BaseEstimator, X: Any, y: Any = "no_validation", **checks: Any) -> Any:
    """As scikit-learn's `validate_data`, which knows nothing of encoders and so not what to do with texts.

    Raises:
        InputError: X holds texts.
        ValueError: scikit-learn's, where X, or y, is not as it must be.
    """
    try:
        return validate_data(head, X, y, **checks)
    except ValueError:
        text = _first_text(X)
        if text is None:
            raise
        raise InputError(
            f"X must be vectors, (n, width); received texts, such as {text!r:.100}: give the head what "
            "encoder.encode(texts) returns, or make_pipeline(EncoderTransformer(encoder), head) the texts"
        ) from None


def _first_text(X: Any) -> str | None:
    """A text among rows or in one; a matrix of numbers, which may be large, is not looked through."""
    rows = X if isinstance(X, list | tuple) else np.atleast_1d(np.asarray(X))
    if isinstance(rows, np.ndarray) and rows.dtype.kind in "biufc":
        return None
    cells = (row if isinstance(row, list | tuple | np.ndarray) else [row] for row in rows)
    return next((cell for several in cells for cell in several if isinstance(cell, str)), None)
