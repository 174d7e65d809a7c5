"""Array aliases and protocols: the few shapes that pass between shelves."""

from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float32, Int64

Embeddings: TypeAlias = Float32[np.ndarray, "n dim"]
Vector: TypeAlias = Float32[np.ndarray, "dim"]
Scores: TypeAlias = Float32[np.ndarray, "queries k"]
Positions: TypeAlias = Int64[np.ndarray, "n"]
Mask: TypeAlias = Bool[np.ndarray, "n"]

Id: TypeAlias = str | int
"""What names a document: a non-empty string, or an integer that fits 64 bits. 1 and "1" differ."""

Metadata: TypeAlias = Mapping[str, Any]
"""JSON object: string keys; strings, numbers, booleans, None, lists and objects of these."""


@runtime_checkable
class SupportsEncode(Protocol):
    """All that index, heads, probes and evaluation ask of an encoder."""

    def encode(self, inputs: Any, /) -> Any:
        """Vectors of a batch of inputs, float32 (n, dim); of one input, (dim,)."""
        ...

    def get_embedding_dimension(self) -> int | None:
        """Number of dimensions of the vectors."""
        ...
