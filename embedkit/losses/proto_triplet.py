"""Proto-Triplet: nearer to the mean of one's own class than to that of any other."""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from embedkit.losses.arguments import check_labels, check_rows, not_negative
from embedkit.ops.labels import class_means, mean_where
from embedkit.ops.similarity import euclidean_distance


class ProtoTripletLoss(nn.Module):
    """Hinge between the distances to the own class and to the nearest other one (Proto-Triplet).

        loss = mean_i max(0, ‖x_i − c_i‖ − min_{k ≠ y_i} ‖x_i − c_k‖ + margin)

    with c_k the mean of the rows of class k in the batch, and c_i that of the others of the own class. Rows alone in
    their class only stand for it. The embeddings are taken as they are, not at length 1.

    Args:
        margin: By which the other class must be farther; 0 or more.

    Raises:
        InputError: The margin is below 0.

    Example:
        >>> embeddings = torch.tensor([[0.0], [1.0], [3.0]])
        >>> ProtoTripletLoss(margin=2.5)(
        ...     embeddings, torch.tensor([0, 0, 1])
        ... ).item()  # (1 - 3 + 2.5 and 1 - 2 + 2.5) / 2
        1.0

    Reference:
        M. Méndez-Ruiz et al., "SuSana Distancia is all you need: Enforcing class separability in metric learning via
        two novel distance-based loss functions for few-shot image classification", arXiv 2305.09062, 2023.

    Deviations:
        The paper splits the rows of a class into support and queries; here each is a query to the mean of all others.
    """

    def __init__(self, *, margin: float = 0.5) -> None:
        super().__init__()
        self.margin = not_negative("margin", margin)

    def forward(self, embeddings: Float[Tensor, "n dim"], labels: Shaped[Tensor, "n"]) -> Float[Tensor, ""]:
        """The loss of one batch. Takes n numbers of memory for each class.

        Args:
            embeddings: (n, dim).
            labels: (n,) integers.

        Returns:
            0-d; 0 where no class has two rows, or there is one class only.

        Raises:
            InputError: The embeddings are none, or the labels are not one integer for each.
        """
        check_rows(embeddings=embeddings)
        check_labels(labels, len(embeddings))
        classes = class_means(embeddings, labels)
        if len(classes.counts) < 2:
            return 0 * classes.rows.sum()
        distances = euclidean_distance(classes.rows, classes.means)
        codes, counts = classes.codes[:, None], classes.counts[classes.codes]
        # x − mean of the others = n / (n − 1) · (x − mean of all).
        own = distances.gather(1, codes).squeeze(1) * counts / (counts - 1).clamp(min=1)
        nearest = distances.scatter(1, codes, torch.inf).amin(dim=1)
        return mean_where((own - nearest + self.margin).relu(), counts > 1)

    def extra_repr(self) -> str:
        """The setting, which tells one training run from another."""
        return f"margin={self.margin}"
