"""Which rows of a labelled batch belong together: what losses with labels begin with."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor


def same_class(labels: Shaped[Tensor, "n"]) -> tuple[Bool[Tensor, "n n"], Bool[Tensor, "n n"]]:
    """For each row, which others are of its class, and which are of another.

    Args:
        labels: (n,), integers.

    Returns:
        Two masks (n, n): positives, without the row itself, and negatives.

    Example:
        >>> positives, negatives = same_class(torch.tensor([7, 7, 2]))
        >>> positives.long().tolist(), negatives.long().tolist()
        ([[0, 1, 0], [1, 0, 0], [0, 0, 0]], [[0, 0, 1], [0, 0, 1], [1, 1, 0]])
    """
    same = labels[:, None] == labels[None, :]
    return same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device), ~same


def masked_softmax(logits: Float[Tensor, "n m"], mask: Bool[Tensor, "n m"]) -> Float[Tensor, "n m"]:
    """Softmax of each row over the places of a mask; 0 elsewhere, and everywhere in a row without such a place.

    Args:
        logits: (n, m).
        mask: (n, m).

    Returns:
        (n, m).

    Example:
        >>> mask = torch.tensor([[True, False, True], [False, False, False]])
        >>> masked_softmax(torch.zeros(2, 3), mask).tolist()
        [[0.5, 0.0, 0.5], [0.0, 0.0, 0.0]]
    """
    # The lowest finite number instead of -inf: a row without a place stays finite, and has no gradient.
    lowest = torch.finfo(logits.dtype).min
    return logits.masked_fill(~mask, lowest).softmax(dim=1).masked_fill(~mask, 0)


def log_sum_exp(logits: Float[Tensor, "n m"], weights: Shaped[Tensor, "n m"]) -> Float[Tensor, "n"]:
    """Of each row log Σ_j weights_ij exp(logits_ij).

    Where all weights are 0, the lowest finite number, without a gradient.

    Args:
        logits: (n, m).
        weights: 0 or more; a mask, or numbers. They have no gradient.

    Returns:
        (n,).

    Example:
        >>> round(log_sum_exp(torch.zeros(1, 3), torch.tensor([[0.0, 0.5, 1.5]])).item(), 4)  # ln 2
        0.6931
    """
    lowest = torch.finfo(logits.dtype).min
    if weights.dtype == torch.bool:
        return logits.masked_fill(~weights, lowest).logsumexp(dim=1)
    counted = weights > 0
    shifted = logits + weights.masked_fill(~counted, 1).log()
    return shifted.masked_fill(~counted, lowest).logsumexp(dim=1)


def mean_where(values: Float[Tensor, "n"], mask: Bool[Tensor, "n"]) -> Float[Tensor, ""]:
    """Mean of the values at the places of a mask; 0, with a gradient of 0, where there is none.

    Args:
        values: (n,).
        mask: (n,).

    Returns:
        0-d.

    Example:
        >>> mean_where(torch.tensor([1.0, 2.0, 6.0]), torch.tensor([True, False, True])).item()
        3.5
    """
    return values.masked_fill(~mask, 0).sum() / mask.sum().clamp(min=1)


def multi_positive_cross_entropy(
    logits: Float[Tensor, "n m"], positives: Bool[Tensor, "n m"], among: Bool[Tensor, "n m"]
) -> Float[Tensor, ""]:
    """Cross-entropy of finding each positive of a row among others; its mean over the rows that have one.

        mean_i  −1 / |P_i| · Σ_{p ∈ P_i} log( exp(l_ip) / Σ_{a ∈ A_i} exp(l_ia) )

    Args:
        logits: (n, m).
        positives: P, a mask.
        among: A, a mask.

    Returns:
        0-d; 0 where no row has a positive.

    Example:
        >>> mask = torch.tensor([[True, True, False]])
        >>> round(multi_positive_cross_entropy(torch.zeros(1, 3), mask, mask).item(), 4)  # ln 2
        0.6931
    """
    count = positives.sum(dim=1)
    lacking = count * log_sum_exp(logits, among) - (positives * logits).sum(dim=1)
    return mean_where(lacking / count.clamp(min=1), count > 0)


@dataclass(frozen=True)
class ClassMeans:
    """Of the classes in a batch.

    Attributes:
        codes: Which of the means each row belongs to, (n,).
        counts: Rows of each class, (classes,).
        means: (classes, dim), in float32 at least.
        rows: The embeddings in that type, (n, dim).
    """

    codes: Tensor
    counts: Tensor
    means: Tensor
    rows: Tensor


def class_means(embeddings: Float[Tensor, "n dim"], labels: Shaped[Tensor, "n"]) -> ClassMeans:
    """Mean of the rows of each class.

    Args:
        embeddings: (n, dim).
        labels: (n,), integers.

    Returns:
        Classes in the order of their labels.

    Example:
        >>> class_means(torch.tensor([[1.0], [3.0], [5.0]]), torch.tensor([4, 4, 2])).means.tolist()
        [[5.0], [2.0]]
    """
    rows = embeddings.to(torch.promote_types(embeddings.dtype, torch.float32))
    found, codes, counts = torch.unique(labels, return_inverse=True, return_counts=True)
    sums = rows.new_zeros(len(found), rows.shape[1]).index_add(0, codes, rows)
    return ClassMeans(codes, counts, sums / counts[:, None], rows)
