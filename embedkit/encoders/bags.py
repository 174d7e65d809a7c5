"""Inputs as bags of ids: no padding and no order, only which rows of a table are added up."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray


class BagInputs:
    """Ids of many inputs in one flat list, which any subset of them is cut from.

    Args:
        columns: "input_ids" and what else there is a number of for each id, all of one length.
        starts: Where each input begins in the columns, and behind the last the end of all, (n + 1,).

    Attributes:
        lengths: Number of ids of each input, (n,).
    """

    def __init__(self, columns: Mapping[str, NDArray[Any]], starts: NDArray[np.int64]) -> None:
        self.columns, self.starts = columns, starts
        self.lengths: NDArray[np.int64] = np.diff(starts)

    @classmethod
    def of(cls, ids: Iterable[Sequence[int]]) -> Self:
        """Bags of ids alone, one for each input.

        Example:
            >>> BagInputs.of([[7, 8], [], [9]]).batch([2, 0])
            {'input_ids': tensor([9, 7, 8]), 'offsets': tensor([0, 1]), 'modality': 'text'}
        """
        rows = [np.asarray(row, dtype=np.int64) for row in ids]
        flat = np.concatenate([np.empty(0, dtype=np.int64), *rows])
        return cls({"input_ids": flat}, np.cumsum([0, *map(len, rows)], dtype=np.int64))

    def batch(self, rows: Sequence[int]) -> dict[str, Any]:
        """The columns of the inputs at `rows`, one behind the other, and the `offsets` at which each begins."""
        kept = np.asarray(rows, dtype=np.int64)
        offsets = np.cumsum(self.lengths[kept]) - self.lengths[kept]
        places = np.repeat(self.starts[kept] - offsets, self.lengths[kept]) + np.arange(self.lengths[kept].sum())
        features: dict[str, Any] = {name: torch.from_numpy(values[places]) for name, values in self.columns.items()}
        return {**features, "offsets": torch.from_numpy(offsets), "modality": "text"}
