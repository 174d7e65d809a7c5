"""Which examples stand together in a batch."""

from collections.abc import Hashable, Iterator, Sequence
from typing import Any

import torch
from datasets import Dataset
from sentence_transformers.base.sampler import DefaultBatchSampler
from torch.utils.data import SequentialSampler

from embedkit.errors import InputError
from embedkit.losses.arguments import whole


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
        order = torch.randperm(len(self.keys), generator=draw).tolist()
        for batch in _filled([[row] for row in order], [self.keys[row] for row in order], self.batch_size):
            if len(batch) == self.batch_size or not self.drop_last:
                yield batch

    def __len__(self) -> int:
        """Batches of an epoch; which examples wait for which changes it, so that it is counted."""
        return sum(1 for _ in self)


class SeveralPerClass(DefaultBatchSampler):
    """Batches of several examples of each of some classes: an option of `fit`, for losses with labels.

    `batch_sampler=partial(SeveralPerClass, labels=labels, per_class=4)`. What they compare is within the batch, and of
    classes drawn at random few would be there twice. Each epoch has each example once, by `class_batches`.

    Args:
        dataset: What is trained on.
        labels: One for each example, in their order.
        per_class: Examples of a class in a batch, 2 or more.
        **options: sentence-transformers' own.

    Raises:
        InputError: There is not one label for each example, or a batch does not hold `per_class` examples.

    Example:
        >>> dataset = Dataset.from_dict({"a": ["x"] * 8})
        >>> sampler = SeveralPerClass(dataset, labels=[0, 1, 2, 3] * 2, per_class=2, batch_size=4, drop_last=False)
        >>> [len({row % 4 for row in batch}) for batch in sampler]
        [2, 2]
    """

    def __init__(self, dataset: Dataset, *, labels: Sequence[Hashable], per_class: int = 4, **options: Any) -> None:
        if len(labels) != len(dataset):
            raise InputError(f"labels must be one for each of {len(dataset)} examples; received {len(labels)}")
        super().__init__(SequentialSampler(dataset), **options)
        check_per_class(per_class, self.batch_size)
        self.labels, self.per_class = list(labels), per_class

    def __iter__(self) -> Iterator[list[int]]:
        """Rows of one batch after the other."""
        for batch in class_batches(self.labels, self.batch_size, self.per_class, seed=self.seed + self.epoch):
            if len(batch) == self.batch_size or not self.drop_last:
                yield batch

    def __len__(self) -> int:
        """Batches of an epoch, counted."""
        return sum(1 for _ in self)


def check_per_class(per_class: Any, batch_size: int) -> None:
    """Check that a batch holds so many examples of a class.

    Raises:
        InputError: It does not, or they are fewer than 2.
    """
    if whole("per_class", per_class, least=2) > batch_size:
        raise InputError(f"per_class must be at most batch_size; received per_class={per_class} and {batch_size}")


def class_batches(labels: Sequence[Hashable], batch_size: int, per_class: int, *, seed: int) -> Iterator[list[int]]:
    """Each example once, in batches of several examples of each of some classes.

    The examples of a class are cut into groups of `per_class`, the last of which may be smaller; of one class a batch
    has one group. Towards the end, where few classes are left, batches are smaller.

    Args:
        labels: One for each example.
        batch_size: Examples in a batch, at most.
        per_class: Examples of a class in a batch, at most.
        seed: Of the order.

    Example:
        >>> [sorted(batch) for batch in class_batches("aabb", 4, 2, seed=0)]
        [[0, 1, 2, 3]]
    """
    draw = torch.Generator().manual_seed(seed)
    members: dict[Hashable, list[int]] = {}
    for row in torch.randperm(len(labels), generator=draw).tolist():
        members.setdefault(labels[row], []).append(row)
    groups = [rows[start : start + per_class] for rows in members.values() for start in range(0, len(rows), per_class)]
    groups = [groups[place] for place in torch.randperm(len(groups), generator=draw).tolist()]
    return _filled(groups, [labels[group[0]] for group in groups], batch_size)


def _filled(groups: list[list[int]], keys: list[Hashable], batch_size: int) -> Iterator[list[int]]:
    """Batches of groups with different keys, in their order; a group that does not go in waits for the next batch."""
    waiting = list(range(len(groups)))
    while waiting:
        batch: list[int] = []
        seen: set[Hashable] = set()
        left: list[int] = []
        for place, group in enumerate(waiting):
            if len(batch) == batch_size:
                left += waiting[place:]
                break
            if keys[group] in seen or len(batch) + len(groups[group]) > batch_size:
                left.append(group)
            else:
                batch += groups[group]
                seen.add(keys[group])
        waiting = left
        yield batch
