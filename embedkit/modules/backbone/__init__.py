"""Small networks that need no checkpoint: tensors of inputs to vectors, trained where they are used."""

from embedkit.modules.backbone.conv import ConvNet

__all__ = ["ConvNet"]
