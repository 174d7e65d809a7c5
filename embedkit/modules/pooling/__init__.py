"""From token states to one vector: each reads the features a transformer writes and adds `sentence_embedding`."""

from embedkit.modules.pooling.latent_attention import LatentAttentionPooling
from embedkit.modules.pooling.layer_mix import LayerMixPooling
from embedkit.modules.pooling.multi_layer import MultiLayerPooling
from embedkit.modules.pooling.prompt import PromptPooling

__all__ = ["LatentAttentionPooling", "LayerMixPooling", "MultiLayerPooling", "PromptPooling"]
