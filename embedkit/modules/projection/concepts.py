"""Vectors whose dimensions have names: how much of each concept an input holds."""

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from jaxtyping import Float
from safetensors.torch import load_file
from sentence_transformers.base.modules import Module
from torch import Tensor, nn

from embedkit.errors import InputError
from embedkit.ops.similarity import cosine_similarity

_WEIGHTS = "model.safetensors"


class Concepts(Module):
    """Last module of an encoder whose dimensions are concepts: vectors in, activations of at least 0 out.

    Attributes:
        names: One name a concept, each once.
    """

    config_keys: list[str] = ["names"]  # noqa: RUF012 (declared so by the base class)

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names = list(names) if not isinstance(names, str) else []
        if not self.names or not all(isinstance(name, str) for name in self.names) or _repeated(self.names):
            message = f"names must be different texts, at least one; received {names!r:.80}"
            raise InputError(message)

    @property
    @abstractmethod
    def in_dim(self) -> int:
        """Width of the vectors that are read."""

    @abstractmethod
    def activations(self, embeddings: Float[Tensor, "n dim"]) -> Float[Tensor, "n concepts"]:
        """How much of each concept each vector holds, at least 0."""

    def forward(self, features: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Replace `sentence_embedding` by its activations."""
        del kwargs
        features["sentence_embedding"] = self.activations(features["sentence_embedding"])
        return features

    def get_embedding_dimension(self) -> int:
        """Number of concepts."""
        return len(self.names)

    def save(self, output_path: str, *args: Any, safe_serialization: bool = True, **kwargs: Any) -> None:
        """Write the names as JSON and the weights as safetensors."""
        del args, kwargs
        self.save_config(output_path)
        self.save_torch_weights(output_path, safe_serialization=safe_serialization)

    @classmethod
    def load(  # type: ignore[override]  # from folders only
        cls, model_name_or_path: str, subfolder: str = "", **options: Any
    ) -> Self:
        """Read what `save` wrote."""
        del options
        names = cls.load_config(model_name_or_path, subfolder=subfolder)["names"]
        return cls(names, **load_file(Path(model_name_or_path, subfolder, _WEIGHTS)))


class PrototypeConcepts(Concepts):
    """Similarity to a prototype of each concept, cut off at 0 (explicit semantic analysis on dense vectors).

        activation_j = max(0, cos(embedding, prototype_j))

    Args:
        names: One name a concept.
        prototypes: Where each concept lies, (concepts, dim); only their directions count. They can be trained.

    Raises:
        InputError: A name is repeated, shapes differ, or a prototype is zero or not finite.

    Example:
        >>> concepts = PrototypeConcepts(["east", "north"], [[2.0, 0.0], [0.0, 1.0]])
        >>> concepts.activations(torch.tensor([[3.0, 0.0], [0.0, -1.0]])).tolist()
        [[1.0, 0.0], [0.0, 0.0]]

    Reference:
        E. Gabrilovich and S. Markovitch, "Computing Semantic Relatedness using Wikipedia-based Explicit Semantic
        Analysis", IJCAI 2007.

    Deviations:
        Concepts are prototypes in the encoder's own space, not columns of TF-IDF weights.
    """

    def __init__(self, names: Sequence[str], prototypes: Any) -> None:
        super().__init__(names)
        self.prototypes = nn.Parameter(_matrix("prototypes", prototypes, rows=len(self.names)))
        if not self.prototypes.any(dim=1).all():
            message = f"prototypes must have a direction; that of {self._directionless()!r} is zero"
            raise InputError(message)

    @property
    def in_dim(self) -> int:
        """Width of the vectors that are read."""
        return int(self.prototypes.shape[1])

    def activations(self, embeddings: Float[Tensor, "n dim"]) -> Float[Tensor, "n concepts"]:
        """Cosines of at least 0; a zero vector has none of any concept."""
        return cosine_similarity(embeddings, self.prototypes).clamp(min=0).to(embeddings.dtype)

    def _directionless(self) -> str:
        return self.names[int(torch.nonzero(~self.prototypes.any(dim=1))[0, 0])]


class LinearConcepts(Concepts):
    """A linear map into the concepts, made positive (supervised explicit semantic analysis).

        activation_j = softplus(Σ_i weight_ji embedding_i + bias_j)

    so that 1 − exp(−activation_j) = sigmoid(Σ_i weight_ji embedding_i + bias_j) is the probability of the concept.

    Args:
        names: One name a concept.
        weight: (concepts, dim).
        bias: (concepts,).

    Raises:
        InputError: A name is repeated, shapes differ, or a number is not finite.

    Example:
        >>> concepts = LinearConcepts(["east"], [[1.0, 0.0]], [0.0])
        >>> concepts.activations(torch.tensor([[0.0, 5.0]]))  # ln 2
        tensor([[0.6931]], grad_fn=<SoftplusBackward0>)

    Reference:
        D. Bogdanova and M. Yazdani, "SESA: Supervised Explicit Semantic Analysis", 2017.

    Deviations:
        The paper's encoders are recurrent networks trained from scratch; this is one layer behind any encoder.
    """

    def __init__(self, names: Sequence[str], weight: Any, bias: Any) -> None:
        super().__init__(names)
        self.weight = nn.Parameter(_matrix("weight", weight, rows=len(self.names)))
        self.bias = nn.Parameter(
            _matrix("bias", torch.as_tensor(bias).reshape(-1, 1), rows=len(self.names))[:, 0].clone()
        )

    @property
    def in_dim(self) -> int:
        """Width of the vectors that are read."""
        return int(self.weight.shape[1])

    def activations(self, embeddings: Float[Tensor, "n dim"]) -> Float[Tensor, "n concepts"]:
        """Softplus of the linear map."""
        return nn.functional.softplus(nn.functional.linear(embeddings, self.weight, self.bias))


def _matrix(name: str, values: Any, *, rows: int) -> Tensor:
    given = values.detach().cpu() if torch.is_tensor(values) else torch.from_numpy(np.array(values, dtype=np.float32))
    found = given.float().clone()
    if found.ndim != 2 or len(found) != rows or not found.shape[1]:
        message = f"{name} must have one row for each of the {rows} names; received shape {tuple(found.shape)}"
        raise InputError(message)
    if not torch.isfinite(found).all():
        message = f"{name} must be finite; received NaN or infinity"
        raise InputError(message)
    return found


def _repeated(names: Sequence[str]) -> bool:
    return len(set(names)) < len(names)
