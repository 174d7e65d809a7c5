"""A vector is its input's, whatever stands beside it, padded or not, and in whatever order."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedkit.evaluation.check.distances import largest_difference
from embedkit.evaluation.check.finding import Check, Verdict
from embedkit.evaluation.check.subject import Subject


def _batches(subject: Subject) -> Verdict:
    inputs = subject.inputs
    alone = np.concatenate([subject.encode([value]) for value in inputs])
    batched = [_in_slices(subject, size) for size in (3, len(inputs))]
    if subject.takes("batch_size"):
        batched += [subject.encode(inputs, batch_size=size) for size in (1, 5)]
    differences = (largest_difference(vectors, alone) for vectors in [subject.vectors, *batched])
    return subject.judge(differences, f"between {len(inputs)} inputs alone and in {len(batched) + 1} kinds of batch")


def _in_slices(subject: Subject, size: int) -> NDArray[Any]:
    slices = [subject.inputs[start : start + size] for start in range(0, len(subject.inputs), size)]
    return np.concatenate([subject.encode_together(part) for part in slices])


def _padding(subject: Subject) -> Verdict:
    short, *others = subject.with_long
    others = others[-4:]
    alone = subject.encode([short])
    before = [subject.encode_together([short, other])[:1] for other in others]
    behind = [subject.encode_together([other, short])[1:] for other in others]
    differences = (largest_difference(vectors, alone) for vectors in before + behind)
    return subject.judge(differences, f"for one input beside each of {len(others)} others")


def _order(subject: Subject) -> Verdict:
    count = len(subject.inputs)
    shuffled = np.random.default_rng(subject.seed).permutation(count)
    order = np.concatenate([shuffled, np.arange(count)[::-1]])
    found = subject.encode([subject.inputs[position] for position in order])
    return subject.judge(
        [largest_difference(found, subject.vectors[order])], f"over {count} inputs, shuffled and each twice"
    )


BATCH_SIZE = Check(
    "batch size",
    _batches,
    "Nothing may be computed over the batch: look for statistics of the batch (batch norm in training mode, "
    "centring, quantisation ranges) and for masks that are left out.",
)

PADDING = Check(
    "padding",
    _padding,
    "Padding leaks into the vector: pass the attention mask to the backbone and to the pooling, and let position "
    "ids and the last token follow the side on which is padded.",
)

ORDER = Check(
    "order",
    _order,
    "Rows do not belong to their inputs: undo the sorting by length, and give repeated inputs a row each.",
)
