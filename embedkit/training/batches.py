"""Which examples stand together in a batch."""

from collections.abc import Hashable, Iterator, Sequence
from typing import Any

import torch
from datasets import Dataset
from sentence_transformers.base.sampler import DefaultBatchSampler
from torch.utils.data import SequentialSampler

from embedkit.errors import InputError


class InOrder(DefaultBatchSampler):
    """Batches in the order of the examples: an option of `fit`, as `batch_sampler=InOrder`.

    For losses that gain by what stands beside what, such as negatives of one kind, or code with a bug and its twin
    without. Shuffle the examples as they should come, and repeat them for more epochs in other orders.
    """

    def __init__(self, dataset: Dataset, **options: Any) -> None:
        super().__init__(SequentialSampler(dataset), **options)


class OnePerKey(DefaultBatchSampler):
    """Batches in which no two examples have one key, such as one caption: an option of `fit`.

    `batch_sampler=partial(OnePerKey, keys=captions)`. For losses that take the others of a batch as wrong answers,
    where right ones would be among them. An example whose key is in the batch already waits for the next that has room.
    Each epoch has each example once, in an order of its own; towards its end, where few keys are left, batches are
    smaller.

    Args:
        dataset: What is trained on.
        keys: One for each example, in their order.
        **options: sentence-transformers' own.

    Raises:
        InputError: There is not one key for each example.

    Example:
        >>> sampler = OnePerKey(Dataset.from_dict({"a": ["x"] * 4}), keys=[0, 0, 1, 1], batch_size=2, drop_last=False)
        >>> [sorted(row // 2 for row in batch) for batch in sampler]
        [[0, 1], [0, 1]]
    """

    def __init__(self, dataset: Dataset, *, keys: Sequence[Hashable], **options: Any) -> None:
        if len(keys) != len(dataset):
            raise InputError(f"keys must be one for each of {len(dataset)} examples; received {len(keys)}")
        super().__init__(SequentialSampler(dataset), **options)
        self.keys = list(keys)

    def __iter__(self) -> Iterator[list[int]]:
        """Rows of one batch after the other."""
        draw = torch.Generator().manual_seed(self.seed + self.epoch)
        waiting = torch.randperm(len(self.keys), generator=draw).tolist()
        while waiting:
            batch: list[int] = []
            seen: set[Hashable] = set()
            left: list[int] = []
            for place, row in enumerate(waiting):
                if len(batch) == self.batch_size:
                    left += waiting[place:]
                    break
                (left if self.keys[row] in seen else batch).append(row)
                seen.add(self.keys[row])
            waiting = left
            if len(batch) == self.batch_size or not self.drop_last:
                yield batch

    def __len__(self) -> int:
        """Batches of an epoch; which examples wait for which changes it, so that it is counted."""
        return sum(1 for _ in self)
