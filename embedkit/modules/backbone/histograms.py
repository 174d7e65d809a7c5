"""What a picture looks like without anything learnt: which way its edges run, and which colours are where."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from embedkit.modules.arguments import check_sizes
from embedkit.modules.stored import StoredModule

_LEAST = 0.006  # of the change of grey from pixel to pixel: a cell with less on average counts as even


class Histograms(StoredModule):
    """Directions of gradients in `cells` x `cells` squares of a picture, and colours in `parts` x `parts` of it.

        directions of a cell:  √(s_b / (Σ_b s_b + 0.006)),   s_b the mean strength of gradients whose direction is in b
        colours of a part:     2 √(share of pixels in each of levels³ colours)

    A direction and its opposite are one, and lie in `angles` bins of equal width from 0 to π. Grey is the mean of the
    three channels. What has hardly an edge gets directions near 0, not noise at full length.

    Args:
        cells: Squares a side for the directions.
        angles: Bins of direction.
        parts: Squares a side for the colours.
        levels: Of each channel, equally wide.

    Raises:
        InputError: An argument is no integer from 1.

    Example:
        >>> red_above_white = torch.ones(1, 3, 4, 4)
        >>> red_above_white[:, 1:, :2] = 0.0
        >>> histograms = Histograms(cells=1, angles=2, parts=1, levels=2)
        >>> vector = histograms({"pixel_values": red_above_white})["sentence_embedding"]
        >>> (vector.square() * 100).round().int().tolist()  # all edges run one way; half is red, half is white
        [[0, 97, 0, 0, 0, 0, 200, 0, 0, 200]]

    Reference:
        N. Dalal, B. Triggs, "Histograms of Oriented Gradients for Human Detection", CVPR 2005.

    Deviations:
        Every pixel counts for one cell and one bin alone, and cells are normalised one by one, by their sum and with
        the root of it, which is their "L1-sqrt". The colours are added.
    """

    config_keys: list[str] = ["cells", "angles", "parts", "levels"]  # noqa: RUF012 (declared so by the base class)

    def __init__(self, *, cells: int = 8, angles: int = 9, parts: int = 2, levels: int = 4) -> None:
        super().__init__()
        check_sizes(cells=cells, angles=angles, parts=parts, levels=levels)
        self.cells, self.angles, self.parts, self.levels = cells, angles, parts, levels

    def forward(self, features: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Add "sentence_embedding" (n, dim) of "pixel_values" (n, 3, height, width), cut to 0 … 1."""
        pixels = features["pixel_values"].clamp(0, 1)
        vectors = torch.cat([self._directions(pixels.mean(dim=1)), self._colours(pixels)], dim=1)
        return {**features, "sentence_embedding": vectors}

    def get_embedding_dimension(self) -> int:
        """Width of the vectors."""
        return self.cells**2 * self.angles + self.parts**2 * self.levels**3

    def _directions(self, grey: Tensor) -> Tensor:
        across, down = _change(grey), _change(grey.transpose(1, 2)).transpose(1, 2)
        angle = torch.remainder(torch.atan2(down, across), math.pi)
        bins = (angle * (self.angles / math.pi)).long().clamp(max=self.angles - 1)
        strengths = _means(bins, torch.hypot(across, down), self.cells, self.angles)
        return (strengths / (strengths.sum(dim=2, keepdim=True) + _LEAST)).sqrt().flatten(1)

    def _colours(self, pixels: Tensor) -> Tensor:
        red, green, blue = (pixels * self.levels).long().clamp(max=self.levels - 1).unbind(dim=1)
        bins = (red * self.levels + green) * self.levels + blue
        return 2 * _means(bins, torch.ones_like(pixels[:, 0]), self.parts, self.levels**3).sqrt().flatten(1)


def _change(grey: Tensor) -> Tensor:
    """Half the difference between right and left neighbour; the border is continued."""
    wide = functional.pad(grey, (1, 1), mode="replicate")
    return (wide[..., 2:] - wide[..., :-2]) / 2


def _means(bins: Tensor, weights: Tensor, parts: int, count: int) -> Tensor:
    """Of the weights (n, height, width) by the square a pixel is in and its bin, over that square: (n, parts², count).

    Squares without a pixel, in pictures that are smaller than `parts`, get 0.
    """
    n, height, width = bins.shape
    rows, columns = (torch.arange(side, device=bins.device) * parts // side for side in (height, width))
    squares = (rows[:, None] * parts + columns).flatten()
    pixels = torch.bincount(squares, minlength=parts**2).clamp(min=1)
    places = squares * count + bins.flatten(1)
    sums = weights.new_zeros(n, parts**2 * count).scatter_add_(1, places, weights.flatten(1))
    return sums.reshape(n, parts**2, count) / pixels[:, None]
