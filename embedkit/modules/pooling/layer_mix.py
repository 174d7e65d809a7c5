"""A weighted mean of the layers (ELMo's scalar mix)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from embedkit.modules.pooling.masked import LayerPooling


class LayerMixPooling(LayerPooling):
    """Mean of the layers' masked means, weighted by a softmax over trained numbers (scalar mix).

        sentence_embedding = Σ_l softmax(logits)_l s_l      s_l = Σ_t mask_t H_l,t / Σ_t mask_t

    with H_l the states of layer l = first_layer … num_layers. When the backbone stops at layer k, the softmax runs over
    the numbers of the layers up to k. All start at zero, which is the plain mean of the layers.

    Args:
        dim: Width of the states, and of the vectors.
        num_layers: Depth of the backbone.
        first_layer: The shallowest state that is read, 0 … num_layers; 0 is the embedding layer.
        include_prompt: Whether the tokens of a prompt count in the means.

    Raises:
        InputError: An argument is of the wrong type or out of range.

    Example:
        >>> pooling = LayerMixPooling(2, num_layers=1)
        >>> pooling.mix(torch.tensor([[[1.0, 0.0], [3.0, 4.0]]])).tolist()
        [[2.0, 2.0]]

    Reference:
        Matthew Peters, Mark Neumann, Mohit Iyyer, Matt Gardner, Christopher Clark, Kenton Lee, Luke Zettlemoyer: Deep
        Contextualized Word Representations. NAACL 2018, Eq. 1.

    Deviations:
        Tokens are averaged before layers are mixed, which is the same since both are linear. No overall factor: length
        is the business of a `Normalize` module. No layer norm before the mix; backbones that end in one apply it.
    """

    config_keys: list[str] = ["dim", "num_layers", "first_layer", "include_prompt"]  # noqa: RUF012 (as the base class)

    def __init__(self, dim: int, num_layers: int, *, first_layer: int = 0, include_prompt: bool = True) -> None:
        super().__init__(dim, num_layers, first_layer=first_layer, include_prompt=include_prompt)
        self.logits = nn.Parameter(torch.zeros(num_layers - first_layer + 1))

    def combine(self, pooled_layers: Float[Tensor, "n layers dim"]) -> Float[Tensor, "n dim"]:
        """The weighted mean."""
        logits = self.logits[: pooled_layers.shape[1]]
        weights = logits.softmax(dim=0, dtype=torch.promote_types(logits.dtype, torch.float32))
        return torch.einsum("nld,l->nd", pooled_layers, weights.to(pooled_layers.dtype))
