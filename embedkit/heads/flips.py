"""Sets of labels in order of what they cost, where the cost is a sum over labels."""

import heapq
from collections.abc import Iterator, Sequence
from itertools import chain, islice

import numpy as np
from numpy.typing import NDArray


class Flips:
    """The best set of each row, and what it costs more to add or drop a label.

    Cost is always added up in one order: the best set, then its flips, cheapest first. So a set has one cost to the
    last bit, however it was found, and no bound tells the ways of finding it apart.

    Args:
        absent: What each row costs for each label that it lacks, (n, labels).
        present: What it costs for each that it has, (n, labels).

    Attributes:
        best: The best set, without labels that cost the same either way, (n, labels).
        least: What it costs, (n,).
        order: Labels, the cheapest to flip first, (n, labels).
        costs: What flipping each costs, in this order, (n, labels).
    """

    def __init__(self, absent: NDArray[np.float64], present: NDArray[np.float64]) -> None:
        self.best: NDArray[np.bool_] = present < absent
        self.least: NDArray[np.float64] = np.minimum(absent, present).sum(axis=1)
        flips = np.abs(present - absent)
        self.order = np.argsort(flips, axis=1, kind="stable")
        self.costs = np.take_along_axis(flips, self.order, axis=1)

    def of(self, sets: NDArray[np.bool_]) -> NDArray[np.float64]:
        """What one set of each row costs, (n,).

        Args:
            sets: (n, labels).
        """
        flipped = np.take_along_axis(sets != self.best, self.order, axis=1)
        total: NDArray[np.float64] = self.least + np.cumsum(np.where(flipped, self.costs, 0.0), axis=1)[:, -1]
        return total

    def within(self, most: float, row: int, limit: int) -> NDArray[np.bool_]:
        """Sets of one row that cost `most` or less, cheapest first, `limit` at most, (sets, labels)."""
        flips = list(islice(cheapest_first(self.costs[row].tolist(), most, float(self.least[row])), limit))
        sets = np.repeat(self.best[[row]], len(flips), axis=0)
        rows = np.repeat(np.arange(len(flips)), [len(each) for each in flips])
        sets[rows, self.order[row, np.fromiter(chain.from_iterable(flips), dtype=np.intp)]] ^= True
        return sets

    def bounds(self, most: float) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which labels all sets that cost `most` or less hold, and which one or more of them, (n, labels) each.

        The cheapest set in which a label is flipped has no other flip, so no set needs to be looked for.
        """
        flips = np.empty_like(self.costs)
        np.put_along_axis(flips, self.order, self.costs, axis=1)
        some = (self.least <= most)[:, None]
        other = self.least[:, None] + flips <= most
        return some & self.best & ~other, np.where(self.best, some, other)


def cheapest_first(costs: Sequence[float], most: float, least: float = 0.0) -> Iterator[tuple[int, ...]]:
    """Subsets of places whose costs, added up and to `least`, come to `most` or less, cheapest first.

    A subset that ends in place i has two successors, none of which costs less: with i + 1 instead of i, and with i + 1
    beside it. Each subset but the empty one is the successor of one other, so the first k take O(k log k).

    Args:
        costs: Ascending, 0 or more.
        most: The bound.
        least: What the empty subset costs.

    Yields:
        Places, ascending.
    """
    if least > most:
        return
    yield ()
    ahead: list[tuple[float, float, tuple[int, ...]]] = [(costs[0], 0.0, (0,))] if least + costs[0] <= most else []
    while ahead:
        total, before_last, places = heapq.heappop(ahead)
        yield places
        following = places[-1] + 1
        # What is beyond the bound is not kept; neither are its successors, which cost as much or more.
        if following < len(costs) and least + (instead := before_last + costs[following]) <= most:
            heapq.heappush(ahead, (instead, before_last, (*places[:-1], following)))
            if least + (beside := total + costs[following]) <= most:
                heapq.heappush(ahead, (beside, total, (*places, following)))
