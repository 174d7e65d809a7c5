"""A loss on tensors, joined to sentence-transformers' trainer."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from embedkit.encoders.depth import at_depths, num_layers_of


class TensorLoss(nn.Module):
    """Encodes the columns of a batch and hands their vectors to a loss, in the order of the columns.

    The vectors are those `encode` gives in full width: at the last layer, (n, dim); or, for a loss that compares
    layers, behind each layer 1 … L, (L, n, dim), where row l − 1 is what `encode(num_layers=l)` gives. Both run
    each layer of the backbone once.

    Args:
        model: The encoder. The trainer puts its own wrapped copy here.
        loss: Called with one tensor a column, then the labels if the data have them.
        by_layer: Whether the loss takes the vectors of all layers.

    Example:
        >>> import embedkit as ek
        >>> from sentence_transformers import SentenceTransformerTrainer
        >>> from embedkit.losses.cosent import CoSENTLoss
        >>> encoder = ek.load()
        >>> adapted = TensorLoss(encoder, CoSENTLoss())  # what the trainer's argument `loss` takes
        >>> features = [encoder.preprocess(["a cat", "a dog"]), encoder.preprocess(["one cat", "tax law"])]
        >>> adapted(features, torch.tensor([0.9, 0.1])).shape
        torch.Size([])
    """

    def __init__(self, model: Any, loss: nn.Module, *, by_layer: bool = False) -> None:
        super().__init__()
        self.model, self.loss, self.by_layer = model, loss, by_layer

    def forward(self, sentence_features: Iterable[dict[str, Any]], labels: Tensor | None = None) -> Tensor:
        """The loss of one batch, 0-d."""
        embed = self._embed_by_layer if self.by_layer else self._embed
        return self.compute_loss_from_embeddings([embed(features) for features in sentence_features], labels)

    def compute_loss_from_embeddings(self, embeddings: list[Tensor], labels: Tensor | None) -> Tensor:
        """The loss of vectors that are known already: what sentence-transformers' wrappers of losses call."""
        value: Tensor = self.loss(*embeddings, *([] if labels is None else [labels]))
        return value

    def _embed(self, features: dict[str, Any]) -> Tensor:
        vectors: Tensor = self.model({**features})["sentence_embedding"]
        return vectors

    def _embed_by_layer(self, features: dict[str, Any]) -> Tensor:
        views = at_depths(self.model, range(1, num_layers_of(self.model) + 1))
        # Modules write their results into the features, so each depth gets its own dictionary.
        return torch.stack([view({**features})["sentence_embedding"] for view in views])
