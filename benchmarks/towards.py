"""Training towards vectors that stay as they are, such as those that a frozen encoder of texts wrote beforehand."""

from torch import Tensor, nn


class Towards(nn.Module):
    """A loss of pairs between what is trained and vectors that come as labels, whose last number is a key.

    Args:
        loss: Of the embeddings, the vectors, and what `labels` names.
        labels: What the loss is told of each pair besides: "" nothing, "vectors" these, "keys" the keys.
    """

    def __init__(self, loss: nn.Module, labels: str) -> None:
        super().__init__()
        self.loss, self.labels = loss, labels

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """The loss's value."""
        vectors, keys = labels[:, :-1].to(embeddings), labels[:, -1].long()
        known = {"": (), "vectors": (vectors,), "keys": (keys,)}[self.labels]
        value: Tensor = self.loss(embeddings, vectors, *known)
        return value
