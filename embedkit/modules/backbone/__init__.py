"""What needs no checkpoint: tensors of inputs to vectors, by small networks or by a rule."""

from embedkit.modules.backbone.conv import ConvNet
from embedkit.modules.backbone.histograms import Histograms

__all__ = ["ConvNet", "Histograms"]
