"""Pictures: what is read as one, how it becomes the numbers of a network, and encoders of them."""

from embedkit.encoders.image.dual import dual_encoder
from embedkit.encoders.image.encoder import ImageInput, conv_encoder, histogram_encoder, vit_encoder
from embedkit.encoders.image.pixels import to_rgb
from embedkit.encoders.image.processing import ImageProcessing

__all__ = [
    "ImageInput",
    "ImageProcessing",
    "conv_encoder",
    "dual_encoder",
    "histogram_encoder",
    "to_rgb",
    "vit_encoder",
]
