"""Pictures that are shown a little differently each time: what a network of pictures learns from few of them."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from embedkit.errors import InputError
from embedkit.modules.stored import StoredModule


class RandomViews(StoredModule):
    """In training each picture is turned, scaled, moved, mirrored and lit at random; otherwise it stays as it is.

        p' = contrast · (p − mean p) + mean p + brightness        behind an affine map of the places

    Turns are uniform within ± `degrees`, factors of the size exponentials of what is uniform within ± ln(1 + `scale`),
    moves uniform within ± `shift` of each side. What comes in from outside is the nearest edge. Draws are torch's.

    Args:
        degrees: Of turning, 0 or more.
        scale: Of size, 0 or more.
        shift: Share of each side, 0 or more.
        mirror: Whether half the pictures are mirrored left to right.
        brightness: In units of the pixel values, 0 or more.
        contrast: As `scale`, of the distance to the picture's mean, 0 or more.

    Raises:
        InputError: A number is negative, or none.

    Example:
        >>> views = RandomViews().eval()
        >>> picture = torch.rand(1, 3, 4, 4)
        >>> torch.equal(views({"pixel_values": picture})["pixel_values"], picture)
        True

    Reference:
        None: the usual augmentations.

    Deviations:
        None.
    """

    config_keys: list[str] = ["degrees", "scale", "shift", "mirror", "brightness", "contrast"]  # noqa: RUF012 (so declared)

    def __init__(
        self,
        *,
        degrees: float = 10.0,
        scale: float = 0.1,
        shift: float = 0.1,
        mirror: bool = True,
        brightness: float = 0.2,
        contrast: float = 0.2,
    ) -> None:
        super().__init__()
        given = {"degrees": degrees, "scale": scale, "shift": shift, "brightness": brightness, "contrast": contrast}
        for name, value in given.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
                raise InputError(f"{name} must be a number, 0 or more; received {value!r}")
        self.degrees, self.scale, self.shift, self.mirror = degrees, scale, shift, mirror
        self.brightness, self.contrast = brightness, contrast

    def forward(self, features: dict[str, Any], **_: Any) -> dict[str, Any]:
        """In training, other "pixel_values" (n, 3, height, width)."""
        if not self.training or not len(features["pixel_values"]):
            return features
        return {**features, "pixel_values": self._lit(self._moved(features["pixel_values"]))}

    def _moved(self, pixels: Tensor) -> Tensor:
        count, _, height, width = pixels.shape
        turn = math.radians(self.degrees) * _within_one(count, pixels)
        size = torch.exp(math.log1p(self.scale) * _within_one(count, pixels))
        flip = torch.where(torch.rand(count, device=pixels.device) < 0.5, -1.0, 1.0) if self.mirror else 1.0
        cosine, sine = turn.cos() * size, turn.sin() * size
        # Places are counted from -1 to 1 on both sides, so a turn of what is no square needs their ratio.
        ratio = height / width
        rows = [cosine * flip, -sine * ratio, sine * flip / ratio, cosine]
        moves = 2 * self.shift * _within_one(2 * count, pixels).reshape(2, count)
        maps = torch.stack([rows[0], rows[1], moves[0], rows[2], rows[3], moves[1]], dim=1).reshape(count, 2, 3)
        grid = functional.affine_grid(maps.to(pixels), list(pixels.shape), align_corners=False)
        return functional.grid_sample(pixels, grid, padding_mode="border", align_corners=False)

    def _lit(self, pixels: Tensor) -> Tensor:
        shape = (len(pixels), 1, 1, 1)
        mean = pixels.mean(dim=(1, 2, 3), keepdim=True)
        factor = torch.exp(math.log1p(self.contrast) * _within_one(len(pixels), pixels)).reshape(shape)
        added = self.brightness * _within_one(len(pixels), pixels).reshape(shape)
        return factor * (pixels - mean) + mean + added


def _within_one(count: int, like: Tensor) -> Tensor:
    """Numbers drawn from -1 … 1."""
    return 2 * torch.rand(count, device=like.device, dtype=like.dtype) - 1
