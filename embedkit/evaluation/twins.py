"""Scores of bugs beside their bug-free twins: accuracy, and how often the buggy one of two is found."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedkit.errors import InputError
from embedkit.evaluation.statistics.arguments import finite

__all__ = ["TwinScores", "paired_wins", "twin_scores"]


@dataclass(frozen=True, slots=True)
class TwinScores:
    """How well scores tell bugs.

    Attributes:
        accuracy: Share of the inputs that are on their side of the threshold.
        paired_accuracy: Share of the pairs whose buggy one scores higher; ties count half.
        pairs: Number of pairs.
    """

    accuracy: float
    paired_accuracy: float
    pairs: int


def twin_scores(
    labels: Sequence[bool], scores: Sequence[float], twins: Sequence[int], *, threshold: float = 0.5
) -> TwinScores:
    """Score guesses of which code has a bug, of which each with a bug has a twin without.

    Chance reaches 0.5 in both. Paired accuracy needs no threshold and is the easier of the two: the twins are alike but
    for the bug, while accuracy also asks that scores of different functions can be compared.

    Args:
        labels: Whether each has the bug, (n,).
        scores: The higher, the more likely a bug, (n,): such as the probability of one.
        twins: Number that the two of a pair share, (n,).
        threshold: A score above it says that there is a bug: 0.5 for probabilities, 0 for logits.

    Returns:
        Accuracy, paired accuracy and the number of pairs.

    Raises:
        InputError: The lengths differ, a score is not finite, or twins are not pairs of one with the bug and one
            without.

    Example:
        >>> twin_scores([False, True, False, True], [0.2, 0.9, 0.6, 0.7], [0, 0, 1, 1])
        TwinScores(accuracy=0.75, paired_accuracy=1.0, pairs=2)

    Reference:
        A. Kanade, P. Maniatis, G. Balakrishnan, K. Shi, "Learning and Evaluating Contextual Embedding of Source Code",
        ICML 2020, for the accuracy.

    Deviations:
        Paired accuracy is not in the paper.
    """
    wins = paired_wins(labels, scores, twins)
    is_right = (np.asarray(scores, dtype=np.float64) > threshold) == np.asarray(labels, dtype=bool)
    return TwinScores(float(is_right.mean()), float(wins.mean()), len(wins))


def paired_wins(labels: Sequence[bool], scores: Sequence[float], twins: Sequence[int]) -> NDArray[np.float64]:
    """Say of each pair whether the one with the bug scores higher.

    Args:
        labels: Whether each has the bug, (n,).
        scores: The higher, the more likely a bug, (n,).
        twins: Number that the two of a pair share, (n,).

    Returns:
        1 where it does, 0 where it scores lower, 0.5 for a tie; in the order of the twin numbers, (n / 2,).

    Raises:
        InputError: The lengths differ, a score is not finite, or twins are not pairs of one with the bug and one
            without.

    Example:
        >>> paired_wins([True, False, True, False], [3, 1, 2, 2], [7, 7, 4, 4]).tolist()
        [0.5, 1.0]
    """
    values = finite("scores", scores, least=2)
    has_bug, numbers = np.asarray(labels), np.asarray(twins)
    if not len(has_bug) == len(numbers) == len(values):
        message = f"labels, scores and twins must be of one length; received {len(labels)}, {len(scores)}, {len(twins)}"
        raise InputError(message)
    if not np.isin(has_bug, (0, 1)).all():
        message = f"labels must say whether each has the bug, True or False; received {np.unique(has_bug)[:3].tolist()}"
        raise InputError(message)
    order = np.lexsort((has_bug, numbers))
    without, bugs = order[0::2], order[1::2]
    if len(order) % 2 or not _are_pairs(numbers, has_bug, without, bugs):
        message = (
            "twins must be pairs of one with the bug and one without; received numbers for which they are not: "
            "keep both of each pair when you split or sample"
        )
        raise InputError(message)
    wins: NDArray[np.float64] = (np.sign(values[bugs] - values[without]) + 1) / 2
    return wins


def _are_pairs(
    numbers: NDArray[np.int64], has_bug: NDArray[np.bool_], without: NDArray[np.intp], bugs: NDArray[np.intp]
) -> bool:
    shared = numbers[without]
    is_matched = (shared == numbers[bugs]) & ~has_bug[without].astype(bool) & has_bug[bugs].astype(bool)
    return bool(is_matched.all()) and len(np.unique(shared)) == len(shared)
