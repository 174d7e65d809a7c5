"""What a fitted head keeps, in bytes, and accuracy compared at equal memory."""

from collections.abc import Iterable
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from embedkit.errors import InputError


def state_bytes(head: Any) -> int:
    """Bytes of all numbers that an estimator holds in arrays, those of estimators within it included.

    An array that is held twice counts once. Names, such as classes that are texts, are not counted: they are the same
    for all heads.

    Args:
        head: A fitted estimator.

    Example:
        >>> from embedkit.heads import ZeroShotClassifier
        >>> state_bytes(ZeroShotClassifier().fit([[1.0, 0.0], [0.0, 1.0]], ["a", "b"]))  # 2 x 2 numbers of 8 bytes
        32
    """
    owners: dict[int, int] = {}
    for array in _arrays(head, set()):
        owner = array
        while isinstance(owner.base, np.ndarray):  # a view keeps all of what it looks at
            owner = owner.base
        owners[id(owner)] = owner.nbytes
    return sum(owners.values())


def _arrays(value: Any, seen: set[int]) -> Iterable[np.ndarray[Any, Any]]:
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, np.ndarray):
        if value.dtype.kind in "biufc":
            yield value
        return
    if isinstance(value, list | tuple):
        parts: Iterable[Any] = value
    elif isinstance(value, dict):
        parts = value.values()
    else:
        parts = () if isinstance(value, type | ModuleType) else getattr(value, "__dict__", {}).values()
    for part in parts:
        yield from _arrays(part, seen)


def aligned_exemplars(kept: int, budget: int, bytes_each: int) -> int:
    """How many training examples a head may keep beside its state within a budget: comparison at equal memory.

        max(0, ⌊(budget − kept) / bytes_each⌋)

    Args:
        kept: Bytes of the head's own state, as `state_bytes` counts them.
        budget: Bytes that every method gets, such as the state of the largest.
        bytes_each: Of one example: 4 x dim for a vector, the length of a text, height x width x 3 of a picture.

    Raises:
        InputError: A number is negative, or `bytes_each` is 0.

    Example:
        >>> aligned_exemplars(463_504 * 4, 2 * 463_504 * 4, 3 * 32 * 32)  # a second ResNet-32, in pictures of CIFAR
        603

    Reference:
        D.-W. Zhou et al., "Class-Incremental Learning: A Survey", TPAMI 2024, section 4 (memory-aligned comparison).

    Deviations:
        None.
    """
    if min(kept, budget) < 0 or bytes_each < 1:
        raise InputError(
            f"kept and budget must be 0 or more, and bytes_each at least 1; received {kept}, {budget} and {bytes_each}"
        )
    return max(0, (budget - kept) // bytes_each)


def area_under_memory(memory: ArrayLike, accuracies: ArrayLike) -> float:
    """Mean accuracy over a range of memory: the area under the curve by the trapezoid rule, over the range's width.

    With `average` accuracies it is the survey's AUC-A, with those after the `last` task its AUC-L, but for the width.

    Args:
        memory: Bytes, or any unit, of each point; different, in any order; at least two.
        accuracies: Of each point.

    Returns:
        A number between the smallest and the largest accuracy.

    Raises:
        InputError: There are fewer than two points, two at one memory, not one accuracy each, or one is not finite.

    Example:
        >>> area_under_memory([1, 2, 4], [0.5, 0.7, 0.9])  # (0.6 x 1 + 0.8 x 2) / 3
        0.7333333333333334

    Reference:
        D.-W. Zhou et al., "Class-Incremental Learning: A Survey", TPAMI 2024, section 4 (memory-agnostic measure).

    Deviations:
        The survey does not divide by the width, so that its numbers have a unit and do not compare between data sets;
        times `max(memory) - min(memory)` this is its number.
    """
    across, up = np.asarray(memory, dtype=np.float64), np.asarray(accuracies, dtype=np.float64)
    if across.ndim != 1 or across.shape != up.shape or len(np.unique(across)) != len(across) or len(across) < 2:
        raise InputError(
            "memory must be two or more different numbers, and accuracies one for each; "
            f"received shapes {across.shape} and {up.shape}, {len(np.unique(across))} different"
        )
    if not (np.isfinite(across).all() and np.isfinite(up).all()):
        raise InputError("memory and accuracies must be finite; received NaN or infinity")
    order = np.argsort(across)
    return float(np.trapezoid(up[order], across[order]) / np.ptp(across))
