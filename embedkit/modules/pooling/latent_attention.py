"""Latent attention: each token reads a trained dictionary, then the tokens are averaged (NV-Embed)."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from embedkit.errors import InputError
from embedkit.modules.arguments import check_sizes
from embedkit.modules.pooling.blocks import CrossAttention, GatedMLP
from embedkit.modules.pooling.masked import (
    Features,
    MaskedPooling,
    checked_states,
    counted_tokens,
)
from embedkit.ops.masks import masked_mean


class LatentAttentionPooling(MaskedPooling):
    """Mean of the token states after each has attended to `num_latents` trained vectors (latent attention).

        y_t = x_t + W_o softmax(Q_t Kᵀ / √head_dim) V      Q = LN(x) W_q,  [K, V] = LN(latents) W_kv
        z_t = y_t + W_2 (u_t ⊙ gelu(g_t)) + b_2            [u, g] = LN(y) W_1 + b_1, each 4 × dim wide
        sentence_embedding = Σ_t mask_t z_t / Σ_t mask_t

    with x = `token_embeddings`. The tokens are the queries and the latents the keys and values, unlike in a Perceiver.

    Args:
        dim: Width of the states, and of the vectors.
        num_latents: Vectors of the dictionary.
        num_heads: Attention heads.
        head_dim: Width of one head; the inner width num_heads × head_dim need not be `dim`.
        init: "mean" starts W_o, W_2 and b_2 at zero: the pooling then *is* masked mean pooling until it is trained, the
            right start behind a backbone that was trained with it. "random" draws them too, as for a backbone that
            was not. The latents are drawn from N(0, 1) in both.
        include_prompt: Whether the tokens of a prompt count in the mean. They are attended to in any case.

    Raises:
        InputError: An argument is of the wrong type or out of range.

    Example:
        >>> pooling = LatentAttentionPooling(8, num_latents=4, num_heads=2, head_dim=4)
        >>> states, mask = torch.randn(1, 3, 8), torch.tensor([[1, 1, 0]])
        >>> vectors = pooling({"token_embeddings": states, "attention_mask": mask})["sentence_embedding"]
        >>> torch.equal(vectors, states[:, :2].mean(dim=1))
        True

    Reference:
        Chankyu Lee, Rajarshi Roy, Mengyao Xu, Jonathan Raiman, Mohammad Shoeybi, Bryan Catanzaro, Wei Ping: NV-Embed:
        Improved Techniques for Training LLMs as Generalist Embedding Models. ICLR 2025, section 3.2, Eq. 1–2.

    Deviations:
        The form of the released model, which is richer than the paper's equation: layer norms, separate projections,
        a gated MLP and residuals. Sizes default to small backbones (the paper has 512 latents and 8 heads at width
        4096). `init="mean"` is ours. A row of which no token counts gives zero, where the release divides 0 by 0; the
        prompt is left out on either side of padding.
    """

    config_keys: list[str] = [  # noqa: RUF012 (declared so by the base class)
        "dim",
        "num_latents",
        "num_heads",
        "head_dim",
        "include_prompt",
    ]

    def __init__(
        self,
        dim: int,
        *,
        num_latents: int = 64,
        num_heads: int = 6,
        head_dim: int = 64,
        init: Literal["mean", "random"] = "mean",
        include_prompt: bool = True,
    ) -> None:
        super().__init__(dim, include_prompt=include_prompt)
        check_sizes(num_latents=num_latents, num_heads=num_heads, head_dim=head_dim)
        if init not in ("mean", "random"):
            message = f"init must be 'mean' or 'random'; received {init!r}"
            raise InputError(message)
        self.num_latents, self.num_heads, self.head_dim = num_latents, num_heads, head_dim
        self.latents = nn.Parameter(torch.randn(num_latents, dim))
        self.attention = CrossAttention(dim, num_heads, head_dim)
        self.mlp = GatedMLP(dim)
        if init == "mean":
            for weight in (self.attention.to_output.weight, self.mlp.narrow.weight, self.mlp.narrow.bias):
                nn.init.zeros_(weight)

    def pool(self, features: Features) -> Float[Tensor, "n dim"]:
        """Masked mean of what the tokens became."""
        states = checked_states(features.get("token_embeddings"), self.dim)
        mask = counted_tokens(features, states, include_prompt=self.include_prompt)
        # What does not count may hold NaN, which even a gradient of zero would carry into the weights.
        states = states.to(self.latents.dtype).masked_fill(~mask.unsqueeze(-1), 0)
        states = states + self.attention(states, self.latents.unsqueeze(0))
        return masked_mean(states + self.mlp(states), mask)
