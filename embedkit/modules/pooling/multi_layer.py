"""Attention over the layers: trained queries read the mean state of each (Pooling and Attention)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from embedkit.modules.arguments import check_sizes
from embedkit.modules.pooling.blocks import CrossAttention, GatedMLP
from embedkit.modules.pooling.masked import LayerPooling


class MultiLayerPooling(LayerPooling):
    """Mean of trained queries after they have attended to the masked mean of every layer (multi-layer pooling).

        s_l = Σ_t mask_t H_l,t / Σ_t mask_t + layer_vectors_l
        y = latents + W_o softmax(Q Kᵀ / √head_dim) V       Q = LN(latents) W_q,  [K, V] = LN(s) W_kv
        z = y + W_2 (u ⊙ gelu(g)) + b_2                     [u, g] = LN(y) W_1 + b_1, each 4 × dim wide
        sentence_embedding = mean over the latents of z

    with H_l the states of layer l = first_layer … num_layers. When the backbone stops at layer k, the layers up to k
    are attended to, with their vectors.

    Args:
        dim: Width of the states, and of the vectors.
        num_layers: Depth of the backbone.
        num_latents: Queries.
        num_heads: Attention heads.
        head_dim: Width of one head.
        first_layer: The shallowest state that is read, 0 … num_layers; 0 is the embedding layer.
        include_prompt: Whether the tokens of a prompt count in the means.

    Raises:
        InputError: An argument is of the wrong type or out of range.

    Example:
        >>> pooling = MultiLayerPooling(8, num_layers=3, num_heads=2, head_dim=4)
        >>> pooling.mix(torch.randn(5, 3, 8)).shape  # of all layers
        torch.Size([5, 8])
        >>> pooling.mix(torch.randn(5, 2, 8)).shape  # where the backbone stopped at the second
        torch.Size([5, 8])

    Reference:
        Yixuan Tang, Yi Yang: Pooling And Attention: What Are Effective Designs For LLM-Based Embedding Models?
        arXiv 2409.02727, 2024, section 3 (multi-layers trainable pooling).

    Deviations:
        Means over the tokens under any attention; the paper takes the last token under causal attention. Lengths are
        left to a `Normalize` module. The layer vectors start at zero, which the paper leaves open. Behind a backbone
        that ends in a norm, `embedkit.encoders.layerwise` gives every layer's states normed, not the last one's
        alone, so that stopping early changes which layers are read but not what is read of each. Sizes default to
        small backbones (the paper's are 768 latents and 32 heads of 2048). A row of which no token counts gives zero.
    """

    config_keys: list[str] = [  # noqa: RUF012 (declared so by the base class)
        "dim",
        "num_layers",
        "num_latents",
        "num_heads",
        "head_dim",
        "first_layer",
        "include_prompt",
    ]

    def __init__(
        self,
        dim: int,
        num_layers: int,
        *,
        num_latents: int = 16,
        num_heads: int = 6,
        head_dim: int = 64,
        first_layer: int = 1,
        include_prompt: bool = True,
    ) -> None:
        super().__init__(dim, num_layers, first_layer=first_layer, include_prompt=include_prompt)
        check_sizes(num_latents=num_latents, num_heads=num_heads, head_dim=head_dim)
        self.num_latents, self.num_heads, self.head_dim = num_latents, num_heads, head_dim
        self.latents = nn.Parameter(torch.randn(num_latents, dim))
        self.layer_vectors = nn.Parameter(torch.zeros(num_layers - first_layer + 1, dim))
        self.attention = CrossAttention(dim, num_heads, head_dim)
        self.mlp = GatedMLP(dim)

    def combine(self, pooled_layers: Float[Tensor, "n layers dim"]) -> Float[Tensor, "n dim"]:
        """Mean of the queries that have read the layers."""
        layers = pooled_layers + self.layer_vectors[: pooled_layers.shape[1]]
        latents = self.latents.unsqueeze(0)
        latents = latents + self.attention(latents, layers)
        vectors: Tensor = (latents + self.mlp(latents)).mean(dim=1)
        return vectors
