"""The state of a prompt's mask token at several layers, weighed by attention (CodePrompt)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from embedkit.modules.pooling.masked import Features, LayerPooling


class PromptPooling(LayerPooling):
    """What several layers hold at the mask of a prompt, each layer weighed by what it holds.

        alpha_l = softmax_l(weight · tanh(r_l))
        sentence_embedding = max(0, Σ_l alpha_l r_l)

    with r_l the state of layer l = first_layer … num_layers at the token that the feature `prompt_mask`, (n, tokens),
    marks with 1; `embedkit.encoders.text.prompt_encoder` writes it. When the backbone stops at layer k, the softmax
    runs over the layers up to k. The weight starts at zero, which is the plain mean of the layers. Where nothing is
    marked because the features have no `prompt_mask`, r_l is the mean over all tokens.

    Args:
        dim: Width of the states, and of the vectors.
        num_layers: Depth of the backbone.
        first_layer: The shallowest state that is read, 0 … num_layers; 0 is the embedding layer.

    Raises:
        InputError: An argument is of the wrong type or out of range.

    Example:
        >>> pooling = PromptPooling(2, num_layers=2)
        >>> pooling.mix(torch.tensor([[[1.0, -4.0], [3.0, 2.0]]])).tolist()
        [[2.0, 0.0]]

    Reference:
        CodePrompt: Improving Source Code-Related Classification with Knowledge Features through Prompt Learning.
        arXiv 2401.05544, 2024; the formula is that of its released code.

    Deviations:
        Which layers are read is said by `first_layer`; the published runs read 2 … 12 of 12. A row in which nothing is
        marked gives zero. Behind a backbone that ends in a norm every layer's state is normed, as in
        `MultiLayerPooling`.
    """

    config_keys: list[str] = ["dim", "num_layers", "first_layer"]  # noqa: RUF012 (declared so by the base class)

    def __init__(self, dim: int, num_layers: int, *, first_layer: int = 1) -> None:
        super().__init__(dim, num_layers, first_layer=first_layer)
        self.weight = nn.Parameter(torch.zeros(dim))

    def attention(self, pooled_layers: Float[Tensor, "n layers dim"]) -> Float[Tensor, "n layers"]:
        """alpha: the share of each layer, in float32 at least; the rows sum to 1."""
        scores = pooled_layers.to(self.weight.dtype).tanh() @ self.weight
        return scores.softmax(dim=1, dtype=torch.promote_types(scores.dtype, torch.float32))

    def combine(self, pooled_layers: Float[Tensor, "n layers dim"]) -> Float[Tensor, "n dim"]:
        """The weighed sum without what is negative."""
        shares = self.attention(pooled_layers).to(pooled_layers.dtype)
        return torch.einsum("nld,nl->nd", pooled_layers, shares).relu()

    def pool(self, features: Features) -> Float[Tensor, "n dim"]:
        """What the layers hold at the marked tokens, mixed; zero for a row without any."""
        marks = features.get("prompt_mask")
        if marks is None:
            return super().pool(features)
        return super().pool({**features, "attention_mask": marks, "prompt_length": None})
