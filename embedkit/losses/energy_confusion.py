"""Energy confusion: a loss, and a pull that keeps classes from being told apart by what only they have."""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from embedkit.errors import InputError
from embedkit.losses.arguments import Loss, check_labels, check_rows, labelled_loss, not_negative
from embedkit.ops.labels import class_means

_LEAST = 1e-12


class EnergyConfusionLoss(nn.Module):
    """A loss with labels, plus the mean squared distance between the classes of the batch (ECAML).

        total = loss(embeddings, labels) + weight · log E          E = mean over classes a ≠ b of E_ab
        E_ab = mean over x in a, y in b of ‖x − y‖² = tr Σ_a + tr Σ_b + ‖μ_a − μ_b‖²

    While the loss drives classes apart, this holds them together, against learning what does not carry over to classes
    that were not seen. It is computed from means and variances, without a matrix of pairs. Give it embeddings of
    length 1 where the loss looks at cosines: else only their lengths shrink.

    In the paper the confusion trains the last layer only, against a backbone that the loss alone trains. Give `layer`
    for that: the loss is then called with what goes into that layer, and holds and trains it.

    Args:
        loss: Called with embeddings and labels.
        weight: Of the confusion; 0 leaves the loss as it is.
        log: Whether the logarithm is added, so that the pull does not depend on the scale, or E itself.
        layer: Makes embeddings, (n, dim), of what the loss is called with, (n, width); None where those are it.

    Raises:
        InputError: `loss` or `layer` is no instance, or the weight is below 0.

    Example:
        >>> from embedkit.losses import SupConLoss
        >>> embeddings = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
        >>> labels = torch.tensor([0, 0, 1, 1])
        >>> total = EnergyConfusionLoss(SupConLoss(), weight=0.5, log=False)(embeddings, labels)
        >>> (total - SupConLoss()(embeddings, labels)).item()  # half of 2
        1.0

    Reference:
        B. Chen, W. Deng, "Energy Confused Adversarial Metric Learning for Zero-Shot Image Retrieval and Clustering",
        AAAI 2019.

    Deviations:
        Over all pairs of classes instead of ten random rows each; positive pairs are not among them. The authors' code
        reports E and follows the gradient of log E; here the value and the gradient belong together.
    """

    def __init__(self, loss: Loss, *, weight: float = 0.1, log: bool = True, layer: nn.Module | None = None) -> None:
        super().__init__()
        self.loss = labelled_loss(loss)
        self.weight = not_negative("weight", weight)
        self.log = log
        if not isinstance(layer, nn.Module | None):
            raise InputError(f"layer must be a module of torch, such as nn.Linear(384, 64); received {layer!r:.100}")
        self.layer = layer

    def forward(self, embeddings: Float[Tensor, "n dim"], labels: Shaped[Tensor, "n"]) -> Float[Tensor, ""]:
        """The loss of one batch.

        Args:
            embeddings: (n, dim); what goes into `layer` if there is one.
            labels: (n,) integers.

        Returns:
            0-d; of a batch with fewer than two classes, what the wrapped loss gives.

        Raises:
            InputError: The embeddings are none, or the labels are not one integer for each.
        """
        wrapped, confusion = self.terms(embeddings, labels).values()
        return wrapped + confusion

    def terms(self, embeddings: Float[Tensor, "n dim"], labels: Shaped[Tensor, "n"]) -> dict[str, Tensor]:
        """What the loss is the sum of: "wrapped" and "confusion"."""
        check_rows(embeddings=embeddings)
        check_labels(labels, len(embeddings))
        features = embeddings
        if self.layer is not None:
            embeddings = _through(self.layer, features)
        wrapped: Tensor = self.loss(embeddings, labels)
        if not self.weight or len(torch.unique(labels)) < 2:
            return {"wrapped": wrapped, "confusion": torch.zeros_like(wrapped)}
        energy = _energy(embeddings if self.layer is None else self.layer(features.detach()), labels)
        return {"wrapped": wrapped, "confusion": self.weight * (energy.clamp(min=_LEAST).log() if self.log else energy)}

    def extra_repr(self) -> str:
        """The settings, which tell one training run from another."""
        return f"weight={self.weight}, log={self.log}"


def _through(layer: nn.Module, features: Tensor) -> Tensor:
    try:
        embeddings: Tensor = layer(features)
    except RuntimeError as error:
        message = f"layer must take what the loss is called with, (n, {features.shape[1]}); it says: {error}"
        raise InputError(message) from error
    return embeddings


def _energy(embeddings: Tensor, labels: Tensor) -> Tensor:
    """Mean over the pairs of classes, two or more, of the mean squared distance between their rows."""
    classes = class_means(embeddings, labels)
    squares = (classes.rows - classes.means[classes.codes]).square().sum(dim=1)
    traces = squares.new_zeros(len(classes.counts)).index_add(0, classes.codes, squares) / classes.counts
    spread = (classes.means - classes.means.mean(dim=0)).square().sum() / (len(classes.counts) - 1)
    return 2 * (traces.mean() + spread)
