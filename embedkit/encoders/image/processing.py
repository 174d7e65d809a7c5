"""From pixels to the numbers a network reads: resized, cut out, scaled."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from jaxtyping import Float32

from embedkit.encoders.image.pixels import Pixels, to_rgb
from embedkit.errors import InputError
from embedkit.optional import require

_RESAMPLING = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")  # Pillow's numbers 0 … 5
_LEAST_EACH = 4  # pictures a thread; below that it costs more than it saves


@dataclass(frozen=True)
class ImageProcessing:
    """How pictures become tensors: the size, the part of it, and the scale of the numbers.

    The pixels are those of transformers' processors, within 1/255 of the scale; on one thread it takes half their time.

    Attributes:
        size: (height, width) that a picture is stretched to; or one number, for the shorter side, which keeps its form.
        crop: (height, width) cut out of the middle then; black comes round what is smaller. None cuts nothing.
        resampling: "nearest", "lanczos", "bilinear", "bicubic", "box" or "hamming".
        mean: Taken from red, green and blue within 0 … 1.
        std: What these are divided by then.

    Example:
        >>> processing = ImageProcessing(size=(2, 2), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
        >>> processing(np.zeros((2, 2, 3), dtype=np.uint8))[:, 0, 0].tolist()
        [-1.0, -1.0, -1.0]
    """

    size: int | tuple[int, int]
    crop: tuple[int, int] | None = None
    resampling: str = "bicubic"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        sides = (self.size,) if isinstance(self.size, int) else tuple(self.size)
        for side in (*sides, *(self.crop or ())):
            if isinstance(side, bool) or not isinstance(side, int) or side < 1:
                raise InputError(f"size and crop must be whole numbers from 1; received {self.size} and {self.crop}")
        if self.resampling not in _RESAMPLING:
            raise InputError(f"resampling must be one of {', '.join(_RESAMPLING)}; received {self.resampling!r}")
        if len(self.mean) != 3 or len(self.std) != 3 or not all(each > 0 for each in self.std):
            raise InputError(f"mean and std must be three numbers, std above 0; received {self.mean} and {self.std}")

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Self:
        """What the settings of a processor of transformers say (its `preprocessor_config.json`).

        Raises:
            InputError: It wants something that this class does not do.
        """
        for name, plain in (("rescale_offset", False), ("include_top", False), ("do_pad", False), ("do_resize", True)):
            if config.get(name, plain) not in (plain, None):
                raise InputError(f"the image processor must have {name}={plain}; received {config[name]!r}")
        if not config.get("do_rescale", True) or abs(config.get("rescale_factor", 1 / 255) * 255 - 1) > 1e-6:
            raise InputError("the image processor must scale pixels to 0 … 1; received other scales")
        cuts, scales = config.get("do_center_crop"), config.get("do_normalize", True)
        crop = _sides(config["crop_size"], "crop_size") if cuts else None
        if isinstance(crop, int):
            crop = (crop, crop)
        return cls(
            size=_sides(config["size"], "size"),
            crop=crop,
            resampling=_RESAMPLING[int(config.get("resample", 2))],
            mean=tuple(config["image_mean"]) if scales else (0.0, 0.0, 0.0),
            std=tuple(config["image_std"]) if scales else (1.0, 1.0, 1.0),
        )

    @property
    def shape(self) -> tuple[int, int] | None:
        """(height, width) of what comes out; None where it depends on the picture."""
        return self.crop or (None if isinstance(self.size, int) else self.size)

    def __call__(
        self, pixels: Pixels, *, out: Float32[np.ndarray, "3 height width"] | None = None
    ) -> Float32[np.ndarray, "3 height width"]:
        """One picture, ready for a network.

        Args:
            pixels: What `to_rgb` gives.
            out: Where it is written, such as a place in a batch; None makes a new array.
        """
        resized = self._cut(self._resized(pixels))
        scaled = np.empty((3, *resized.shape[:2]), dtype=np.float32) if out is None else out
        for channel, (mean, std) in enumerate(zip(self.mean, self.std, strict=True)):
            np.multiply(resized[..., channel], np.float32(1 / (255 * std)), out=scaled[channel], casting="unsafe")
            scaled[channel] -= np.float32(mean / std)
        return scaled

    def batch(self, images: Sequence[Any]) -> Float32[np.ndarray, "n 3 height width"]:
        """Pictures of any kind, read and made ready, several at a time: Pillow works outside of Python's lock.

        Args:
            images: Each as `to_rgb` takes them.

        Returns:
            (n, 3, height, width), in the order given.

        Raises:
            InputError: As in `to_rgb`; or the shape depends on the picture.
        """
        if self.shape is None:
            raise InputError(f"processing must give all pictures one shape; received {self}: add a crop")
        made = np.empty((len(images), 3, *self.shape), dtype=np.float32)

        def read(row: int) -> None:
            self(to_rgb(images[row]), out=made[row])

        workers = min(torch.get_num_threads(), len(images) // _LEAST_EACH)
        if workers < 2:
            for row in range(len(images)):
                read(row)
            return made
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(read, range(len(images))))
        return made

    def _resized(self, pixels: Pixels) -> Pixels:
        height, width = pixels.shape[:2]
        if isinstance(self.size, int):
            short = min(height, width)
            wanted = (int(self.size * height / short), int(self.size * width / short))
        else:
            wanted = self.size
        if wanted == (height, width):
            return pixels
        pillow: Any = require("PIL.Image", extra="image")
        picture = pillow.fromarray(np.ascontiguousarray(pixels))
        return np.asarray(picture.resize(wanted[::-1], _RESAMPLING.index(self.resampling)))

    def _cut(self, pixels: Pixels) -> Pixels:
        if self.crop is None or self.crop == pixels.shape[:2]:
            return pixels
        rows, columns = self.crop
        missing = [max(0, rows - pixels.shape[0]), max(0, columns - pixels.shape[1])]
        if any(missing):
            pixels = np.pad(pixels, (*(((each + 1) // 2, each // 2) for each in missing), (0, 0)))
        height, width = pixels.shape[:2]
        top, left = (height - rows) // 2, (width - columns) // 2
        return pixels[top : top + rows, left : left + columns]


def _sides(given: Any, name: str) -> int | tuple[int, int]:
    """`size` and `crop_size` as transformers writes them: a number, or one of two dictionaries."""
    if isinstance(given, int):
        return given
    if isinstance(given, Mapping) and "shortest_edge" in given and not given.get("longest_edge"):
        return int(given["shortest_edge"])
    if isinstance(given, Mapping) and given.get("height") and given.get("width"):
        return int(given["height"]), int(given["width"])
    raise InputError(f"the image processor must have a {name} by height and width or shortest_edge; received {given!r}")
