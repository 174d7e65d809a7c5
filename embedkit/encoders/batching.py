"""Which inputs share a batch: sorted by token count, filled up to a token budget."""

import operator
from collections.abc import Iterator
from typing import Any

import numpy as np

from embedkit.errors import InputError

TOKENS_PER_ROW = 32
"""`batch_size` rows of this many tokens are the budget of one batch: 32 rows make 1,024 tokens, where CPU
throughput of small transformers peaks; short texts then share larger batches and long ones smaller."""

WINDOW = 8192
"""Inputs read ahead at a time: enough to sort well, few enough to bound memory."""


def token_budget_batches(
    lengths: np.ndarray[Any, np.dtype[np.int64]],
    batch_size: int,
    groups: np.ndarray[Any, np.dtype[np.int64]] | None = None,
) -> Iterator[np.ndarray[Any, np.dtype[np.int64]]]:
    """Split inputs into batches of similar length, longest first.

    The longest batch comes first, so that a batch that does not fit in memory fails at once.

    Args:
        lengths: Token count of each input, (n,).
        batch_size: Rows of `TOKENS_PER_ROW` tokens that a batch may hold, at least 1.
        groups: A number for each input, (n,); inputs with different numbers share no batch. None: all may.

    Yields:
        Indices into `lengths`. Padded size (rows × longest) stays within the budget; an input that
        exceeds the budget alone is a batch of its own.

    Raises:
        InputError: `batch_size` is not a positive integer.

    Example:
        >>> [batch.tolist() for batch in token_budget_batches(np.array([5, 90, 40]), batch_size=4)]
        [[1], [2, 0]]
    """
    budget = _positive(batch_size) * TOKENS_PER_ROW
    if groups is not None:
        members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
        for some in sorted(members, key=lambda rows: -int(lengths[rows].max())):
            yield from (some[batch] for batch in token_budget_batches(lengths[some], batch_size))
        return
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        longest = max(int(lengths[order[start]]), 1)
        stop = start + max(budget // longest, 1)
        yield order[start:stop]
        start = stop


def _positive(batch_size: int) -> int:
    try:
        number = operator.index(batch_size)
    except TypeError:
        number = 0
    if number < 1:
        message = f"batch_size must be a positive integer; received {batch_size!r}"
        raise InputError(message)
    return number
