"""What the poolings share: which tokens count, and which layers are there."""

from abc import abstractmethod
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from embedkit.errors import InputError
from embedkit.modules.arguments import check_sizes
from embedkit.modules.stored import StoredModule
from embedkit.ops.masks import masked_mean, without_first

Features = dict[str, Any]


class MaskedPooling(StoredModule):
    """A pooling over the tokens that count: those of the input, with or without its prompt's.

    Args:
        dim: Width of the states, and of the vectors.
        include_prompt: Whether the tokens of a prompt count. Where they do not, the feature `prompt_length` says how
            many leading tokens of each row are the prompt's: one number, or a tensor of one a row.

    Raises:
        InputError: An argument is of the wrong type or out of range.
    """

    def __init__(self, dim: int, *, include_prompt: bool = True) -> None:
        super().__init__()
        check_sizes(dim=dim)
        if not isinstance(include_prompt, bool):
            message = f"include_prompt must be True or False; received {include_prompt!r}"
            raise InputError(message)
        self.dim, self.include_prompt = dim, include_prompt

    @abstractmethod
    def pool(self, features: Features) -> Float[Tensor, "n dim"]:
        """One vector for each row of a batch; zero for a row of which no token counts."""

    def forward(self, features: Features, **_: Any) -> Features:
        """Add `sentence_embedding`, (n, dim), to the features of a transformer.

        Raises:
            InputError: The features lack what this pooling reads, or are of another width.
        """
        features["sentence_embedding"] = self.pool(features)
        return features

    def get_embedding_dimension(self) -> int:
        """Width of the vectors."""
        return self.dim


class LayerPooling(MaskedPooling):
    """A pooling that reads the states of several layers: masked means of each, put together by `mix`.

    Args:
        dim: Width of the states, and of the vectors.
        num_layers: Depth of the backbone.
        first_layer: The shallowest state that is read, 0 … num_layers; 0 is the embedding layer.
        include_prompt: As in `MaskedPooling`.

    Raises:
        InputError: An argument is of the wrong type or out of range.
    """

    def __init__(self, dim: int, num_layers: int, *, first_layer: int, include_prompt: bool = True) -> None:
        super().__init__(dim, include_prompt=include_prompt)
        check_sizes(num_layers=num_layers)
        check_sizes(least=0, first_layer=first_layer)
        if first_layer > num_layers:
            message = f"first_layer must be at most num_layers ({num_layers}); received {first_layer}"
            raise InputError(message)
        self.num_layers, self.first_layer = num_layers, first_layer

    @abstractmethod
    def combine(self, pooled_layers: Float[Tensor, "n layers dim"]) -> Float[Tensor, "n dim"]:
        """What `mix` does with checked input."""

    def mix(self, pooled_layers: Float[Tensor, "n layers dim"]) -> Float[Tensor, "n dim"]:
        """One vector from the pooled states of several layers, such as were cached from a frozen backbone.

        Args:
            pooled_layers: Row l − first_layer is layer l's mean state, for l = first_layer, first_layer + 1, … up to
                wherever the backbone stopped: (n, layers, dim). It is cast to the type of the weights.

        Returns:
            (n, dim).

        Raises:
            InputError: Not of such a shape, or of more layers than the backbone has.
        """
        most = self.num_layers - self.first_layer + 1
        shape = tuple(pooled_layers.shape)
        if len(shape) != 3 or shape[2] != self.dim or not 1 <= shape[1] <= most:
            message = f"pooled_layers must have shape (n, 1 … {most}, {self.dim}); received {shape}"
            raise InputError(message)
        return self.combine(pooled_layers.to(next(self.parameters()).dtype))

    def pool(self, features: Features) -> Float[Tensor, "n dim"]:
        """Masked mean of each layer's states, mixed; zero for a row of which no token counts."""
        states = self._states(features)
        mask = counted_tokens(features, states[0], include_prompt=self.include_prompt)
        pooled = torch.stack([masked_mean(state, mask) for state in states], dim=1)
        return self.mix(pooled).masked_fill(~mask.any(dim=1, keepdim=True), 0)

    def _states(self, features: Features) -> list[Tensor]:
        states = features.get("all_layer_embeddings")
        if states is None:
            message = (
                f"{type(self).__name__} needs the states of every layer; the features hold the last layer's only: "
                "build the encoder with embedkit.encoders.layerwise.with_pooling(encoder, pooling)"
            )
            raise InputError(message)
        if not self.first_layer < len(states) <= self.num_layers + 1:
            message = (
                f"num_layers must be between {self.first_layer} and {self.num_layers} for this "
                f"{type(self).__name__}; received states of {len(states) - 1} layers"
            )
            raise InputError(message)
        return [checked_states(state, self.dim) for state in states[self.first_layer :]]


def checked_states(states: Any, dim: int) -> Float[Tensor, "n tokens dim"]:
    """States of the width a pooling was made for.

    Raises:
        InputError: There are none, or they are of another width.
    """
    if not isinstance(states, Tensor) or states.ndim != 3 or states.shape[2] != dim:
        received = tuple(states.shape) if isinstance(states, Tensor) else type(states).__name__
        message = f"token_embeddings must have shape (n, tokens, {dim}); received {received}"
        raise InputError(message)
    return states


def counted_tokens(features: Features, states: Tensor, *, include_prompt: bool) -> Bool[Tensor, "n tokens"]:
    """True for each token that is neither padding nor, unless it is included, the prompt's.

    Raises:
        InputError: The batch was flattened into one sequence, whose rows this does not know.
    """
    if "cu_seq_lens_q" in features:
        message = "this pooling reads padded batches; received a flattened one: set unpad_inputs=False"
        raise InputError(message)
    attention_mask = features.get("attention_mask")
    if attention_mask is None or attention_mask.shape != states.shape[:2]:
        mask = torch.ones(states.shape[:2], dtype=torch.bool, device=states.device)
    else:
        mask = attention_mask > 0
    prompt_length = features.get("prompt_length")
    if include_prompt or prompt_length is None:
        return mask
    lengths = torch.as_tensor(prompt_length, device=states.device).reshape(-1)
    # Columns that sentence-transformers merges into one batch keep one's lengths, which are all of theirs.
    return without_first(mask, lengths.repeat(-(-len(mask) // max(1, len(lengths))))[: len(mask)])
