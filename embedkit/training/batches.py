"""Which examples stand together in a batch."""

from typing import Any

from datasets import Dataset
from sentence_transformers.base.sampler import DefaultBatchSampler
from torch.utils.data import SequentialSampler


class InOrder(DefaultBatchSampler):
    """Batches in the order of the examples: an option of `fit`, as `batch_sampler=InOrder`.

    For losses that gain by what stands beside what, such as negatives of one kind, or code with a bug and its twin
    without. Shuffle the examples as they should come, and repeat them for more epochs in other orders.
    """

    def __init__(self, dataset: Dataset, **options: Any) -> None:
        super().__init__(SequentialSampler(dataset), **options)
