"""A loss on tensors, joined to sentence-transformers' trainer."""

from collections.abc import Iterable
from typing import Any

import torch
from sentence_transformers.base.modules import InputModule
from torch import Tensor, nn

from embedkit.encoders.batching import TOKENS_PER_ROW, token_budget_batches
from embedkit.encoders.depth import at_depths, num_layers_of

CPU_VALUES = 256 * 384
"""On a CPU a batch goes through the model in parts of this many numbers, tokens times width, texts of like length
together: there time follows the padded size, a random batch is padded to twice its tokens and more, and what the layers
pass on should stay in a core's cache."""
BF16_VALUES = 4 * CPU_VALUES
"""The same where products are in bfloat16, which small parts slow down."""
_USUAL_WIDTH = 384


class TensorLoss(nn.Module):
    """Encodes the columns of a batch and hands their vectors to a loss, in the order of the columns.

    The vectors are those `encode` gives in full width: at the last layer, (n, dim); or, for a loss that compares
    layers, behind each layer 1 … L, (L, n, dim), where row l − 1 is what `encode(num_layers=l)` gives. Both run
    each layer of the backbone once on each text. On a CPU texts of like length go together, as in `encode`.

    Args:
        model: The encoder. The trainer puts its own wrapped copy here.
        loss: Called with one tensor a column, then the labels if the data have them.
        by_layer: Whether the loss takes the vectors of all layers.
        bf16: Whether the trainer's products are in bfloat16.

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

    def __init__(self, model: Any, loss: nn.Module, *, by_layer: bool = False, bf16: bool = False) -> None:
        super().__init__()
        self.model, self.loss, self.by_layer, self.bf16 = model, loss, by_layer, bf16

    def forward(
        self, sentence_features: Iterable[dict[str, Any]], labels: Tensor | None = None
    ) -> Tensor | dict[str, Tensor]:
        """The loss of one batch, 0-d; or what it is the sum of, by name, if the loss has `terms`."""
        tensors = [*self._embed(list(sentence_features)), *([] if labels is None else [labels])]
        value: Tensor | dict[str, Tensor] = getattr(self.loss, "terms", self.loss)(*tensors)
        return value

    def compute_loss_from_embeddings(self, embeddings: list[Tensor], labels: Tensor | None) -> Tensor:
        """The loss of vectors that are known already: what sentence-transformers' wrappers of losses call."""
        value: Tensor = self.loss(*embeddings, *([] if labels is None else [labels]))
        return value

    def _embed(self, columns: list[dict[str, Any]]) -> list[Tensor]:
        """Vectors of each column, (n, dim) or (L, n, dim)."""
        joined = _joined(columns)
        if joined is None:
            return [self._vectors(features) for features in columns]
        parts = parts_by_length(joined, self.model, bf16=self.bf16)
        order = torch.cat([rows for rows, _ in parts]).argsort()
        vectors = torch.cat([self._vectors(part) for _, part in parts], dim=-2)[..., order, :]
        return list(torch.split(vectors, [len(features["attention_mask"]) for features in columns], dim=-2))

    def _vectors(self, features: dict[str, Any]) -> Tensor:
        # Modules write their results into the features, so each depth gets its own dictionary.
        if not self.by_layer:
            vectors: Tensor = self.model({**features})["sentence_embedding"]
            return vectors
        views = at_depths(self.model, range(1, num_layers_of(self.model) + 1))
        return torch.stack([view({**features})["sentence_embedding"] for view in views])


def parts_by_length(
    features: dict[str, Any], model: nn.Module, *, bf16: bool = False
) -> list[tuple[Tensor, dict[str, Any]]]:
    """A batch of texts in the parts that go through a model on a CPU; elsewhere, and of other inputs, the whole batch.

    Args:
        features: Of one batch, padded on the right.
        model: What they go through: the narrower it is, the more rows make a part.
        bf16: Whether its products are in bfloat16, with which more rows make a part.

    Returns:
        For each part the places of its rows in the batch, and their features, cut behind the longest of them.
    """
    if not _is_text_on_cpu(features):
        return [(torch.arange(len(next(value for value in features.values() if isinstance(value, Tensor)))), features)]
    lengths = _lengths(features["attention_mask"])
    values = BF16_VALUES if bf16 else CPU_VALUES
    rows = max(1, values // (TOKENS_PER_ROW * _width(model)))
    parts = [torch.from_numpy(part) for part in token_budget_batches(lengths.numpy(), rows)]
    return [(part, _rows(features, part, int(lengths[part[0]]))) for part in parts]


def _width(model: nn.Module) -> int:
    """Of the states of tokens, by the first module that reads inputs and knows it."""
    readers = (module for module in model.modules() if isinstance(module, InputModule))
    widths = (reader.get_embedding_dimension() for reader in readers if hasattr(reader, "get_embedding_dimension"))
    return next((int(width) for width in widths if width), _USUAL_WIDTH)


def _joined(columns: list[dict[str, Any]]) -> dict[str, Any] | None:
    """All columns below each other; None unless they are texts on a CPU, padded on the right and prepared alike."""
    first, *others = columns
    if any(features.keys() != first.keys() for features in others) or not all(map(_is_text_on_cpu, columns)):
        return None
    width = max(features["attention_mask"].shape[1] for features in columns)
    joined: dict[str, Any] = {}
    for name, value in first.items():
        if isinstance(value, Tensor):
            joined[name] = torch.cat([_widened(features[name], width) for features in columns])
        elif all(features[name] == value for features in others):
            joined[name] = value
        else:
            return None
    return joined


def _is_text_on_cpu(features: dict[str, Any]) -> bool:
    """Whether the features are one mask, tensors with a number a token or a row, and words that hold for all rows."""
    mask = features.get("attention_mask")
    if not isinstance(mask, Tensor) or mask.ndim != 2 or mask.device.type != "cpu" or not mask[:, :1].all():
        return False
    tensors = [value for value in features.values() if isinstance(value, Tensor)]
    others = [value for value in features.values() if not isinstance(value, Tensor)]
    return all(tensor.shape in (mask.shape, mask.shape[:1]) for tensor in tensors) and all(
        value is None or isinstance(value, str | int) for value in others
    )


def _widened(value: Tensor, width: int) -> Tensor:
    """More padding behind each row; what it holds is not looked at, since its mask is 0."""
    return value if value.ndim == 1 else nn.functional.pad(value, (0, width - value.shape[1]))


def _lengths(mask: Tensor) -> Tensor:
    """Tokens of each row up to the last that is no padding, (n,)."""
    return (mask.bool() * torch.arange(1, mask.shape[1] + 1)).amax(dim=1)


def _rows(features: dict[str, Any], rows: Tensor, width: int) -> dict[str, Any]:
    """Some rows of a batch, cut after `width` tokens."""

    def of(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        return value[rows, :width] if value.ndim == 2 else value[rows]

    return {name: of(value) for name, value in features.items()}
