"""Which inputs share a batch: sorted by token count, filled up to a token budget."""

from collections.abc import Iterator
from typing import Any

import numpy as np

TOKENS_PER_ROW = 64
"""`batch_size` rows of this many tokens are the budget of one batch: 32 rows make 2,048 tokens, where CPU
throughput of small transformers peaks; short texts then share larger batches and long ones smaller."""

WINDOW = 8192
"""Inputs read ahead at a time: enough to sort well, few enough to bound memory."""


def token_budget_batches(
    lengths: np.ndarray[Any, np.dtype[np.int64]], batch_size: int
) -> Iterator[np.ndarray[Any, np.dtype[np.int64]]]:
    """Split inputs into batches of similar length, longest first.

    The longest batch comes first, so that a batch that does not fit in memory fails at once.

    Args:
        lengths: Token count of each input, (n,).
        batch_size: Rows of `TOKENS_PER_ROW` tokens that a batch may hold, at least 1.

    Yields:
        Indices into `lengths`. Padded size (rows × longest) stays within the budget; an input that
        exceeds the budget alone is a batch of its own.

    Example:
        >>> [batch.tolist() for batch in token_budget_batches(np.array([5, 90, 40]), batch_size=2)]
        [[1], [2, 0]]
    """
    order = np.argsort(-lengths, kind="stable")
    budget = batch_size * TOKENS_PER_ROW
    start = 0
    while start < len(order):
        longest = max(int(lengths[order[start]]), 1)
        stop = start + max(budget // longest, 1)
        yield order[start:stop]
        start = stop
