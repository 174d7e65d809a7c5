"""ICNN: neighbourhoods that are pure, tight, and far from other classes."""

from jaxtyping import Float, Shaped
from torch import Tensor, nn

from embedkit.losses.arguments import check_labels, check_rows, whole
from embedkit.ops.labels import same_class
from embedkit.ops.neighborhoods import icnn, neighborhoods
from embedkit.ops.similarity import euclidean_distance

_LEAST = 1e-12


class ICNNLoss(nn.Module):
    """Minus the logarithm of how well the k nearest others of each row tell the classes apart (ICNN).

        loss = −log score,  score = ((tight + apart) / 2 + pure) / 2

    with `pure` the share of neighbours that are of the row's class; `tight` 1 less their mean distance, as a share of
    the distance to the nearest row of another class or, if that is more, to the farthest of the k; and `apart` the mean
    distance of the neighbours that are of other classes, as a share of the largest. Each is 0 … 1. `pure` counts, and
    has no gradient. The embeddings are taken as they are, not at length 1; the loss does not depend on their scale.
    `embedkit.evaluation.class_clusters.icnn_score` is the same score of many vectors.

    Args:
        k: Neighbours that are looked at; fewer in smaller batches.

    Raises:
        InputError: k is no integer, 1 or more.

    Example:
        >>> import torch
        >>> embeddings = torch.tensor([[0.0], [1.0], [4.0], [5.0]])
        >>> labels = torch.tensor([0, 0, 1, 1])
        >>> score = torch.exp(-ICNNLoss(k=1)(embeddings, labels))
        >>> round(score.item(), 4)  # pure 1, tight 1 - (1/4 + 1/3) / 2, apart 1
        0.9271

    Reference:
        M. Méndez-Ruiz et al., "SuSana Distancia is all you need: Enforcing class separability in metric learning via
        two novel distance-based loss functions for few-shot image classification", arXiv 2305.09062, 2023.

    Deviations:
        As in the authors' code, without the term of variances. There `tight` is 1 where no neighbour is of the class,
        here 0; and there the nearest prototype of a query is left out as if it were the query itself.
    """

    def __init__(self, *, k: int = 4) -> None:
        super().__init__()
        self.k = whole("k", k)

    def forward(self, embeddings: Float[Tensor, "n dim"], labels: Shaped[Tensor, "n"]) -> Float[Tensor, ""]:
        """The loss of one batch. Takes n² numbers of memory.

        Args:
            embeddings: (n, dim).
            labels: (n,) integers.

        Returns:
            0-d, 0 or more; 0 where there is one class only.

        Raises:
            InputError: The embeddings are none, or the labels are not one integer for each.
        """
        check_rows(embeddings=embeddings)
        check_labels(labels, len(embeddings))
        distances = euclidean_distance(embeddings, embeddings)
        if len(labels) < 2:
            return 0 * embeddings.to(distances).sum()
        around = neighborhoods(distances, *same_class(labels), min(self.k, len(labels) - 1))
        return -icnn(around).clamp(min=_LEAST).log()

    def extra_repr(self) -> str:
        """The setting, which tells one training run from another."""
        return f"k={self.k}"
