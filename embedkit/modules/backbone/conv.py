"""A small convolutional network for pictures."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from embedkit.errors import InputError
from embedkit.modules.stored import StoredModule


class ConvNet(StoredModule):
    """Blocks of 3 x 3 convolution, batch normalisation, ReLU and 2 x 2 maximum; then mean and maximum over all places.

        states = blocks(pixel_values)                       (n, widths[-1], height', width')
        vector = [mean over places, maximum over places] · W + b

    For pictures of some 32 pixels a side, trained on a CPU in minutes. Each block halves the sides.

    Args:
        widths: Channels behind each block.
        dim: Width of the vectors.
        seed: Of the weights.

    Raises:
        InputError: A number is no whole number from 1, or there is no block.

    Example:
        >>> net = ConvNet((8, 16), dim=4).eval()
        >>> net({"pixel_values": torch.zeros(2, 3, 8, 8)})["sentence_embedding"].shape
        torch.Size([2, 4])

    Reference:
        None: the plainest network that reads pictures.

    Deviations:
        None.
    """

    config_keys: list[str] = ["widths", "dim", "seed"]  # noqa: RUF012 (declared so by the base class)

    def __init__(self, widths: Sequence[int] = (32, 64, 128, 256), *, dim: int = 384, seed: int = 0) -> None:
        super().__init__()
        self.widths, self.dim, self.seed = list(widths), dim, seed
        if not self.widths or not all(type(each) is int and each > 0 for each in (*self.widths, dim)):
            raise InputError(f"widths and dim must be whole numbers from 1; received {widths} and {dim}")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            pairs = zip([3, *self.widths], self.widths, strict=False)
            self.blocks = nn.Sequential(*(_block(before, behind) for before, behind in pairs))
            self.linear = nn.Linear(2 * self.widths[-1], dim)

    def forward(self, features: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Add the vectors of the pictures, "sentence_embedding" (n, dim)."""
        states: Tensor = self.blocks(features["pixel_values"])
        pooled = torch.cat([states.mean(dim=(2, 3)), states.amax(dim=(2, 3))], dim=1)
        return {**features, "sentence_embedding": self.linear(pooled)}

    def get_embedding_dimension(self) -> int:
        """Width of the vectors."""
        return self.dim


def _block(before: int, behind: int) -> nn.Module:
    # ceil_mode keeps a last row or column, and pictures of a single pixel.
    return nn.Sequential(
        nn.Conv2d(before, behind, 3, padding=1, bias=False),
        nn.BatchNorm2d(behind),
        nn.ReLU(),
        nn.MaxPool2d(2, ceil_mode=True),
    )
