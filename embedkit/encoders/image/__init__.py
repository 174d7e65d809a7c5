"""Pictures: what is read as one, and how it becomes the numbers of a network."""

from embedkit.encoders.image.pixels import to_rgb
from embedkit.encoders.image.processing import ImageProcessing

__all__ = ["ImageProcessing", "to_rgb"]
