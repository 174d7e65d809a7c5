"""Pictures of any kind as red, green and blue: what every image encoder reads, decided in one place."""

import contextlib
import os
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import UInt8

from embedkit.errors import InputError
from embedkit.optional import require

Pixels: TypeAlias = UInt8[np.ndarray, "height width 3"]

WHITE = 255
_ORIENTATION = 0x0112  # EXIF's tag
_TURNS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
_SIXTEEN_BITS = ("I", "I;16", "I;16L", "I;16B", "I;16N")


def to_rgb(image: Any) -> Pixels:
    """The pixels of a picture, as they are seen on white paper.

    - What is transparent lets white through. (Pillow's `convert("RGB")` drops transparency, and shows what was never
      meant to be seen.)
    - A photograph is turned as its EXIF orientation says.
    - Of a picture that moves, the first frame is taken.
    - Grey is written three times, 16 bits become 8, palettes, CMYK and the like become colours.

    Args:
        image: A path; a picture of Pillow; or an array: (height, width) or (height, width, 1) grey, (height, width, 3)
            colours, (height, width, 4) colours and opacity, of uint8, of uint16, of bool, or floating within 0 … 1.

    Returns:
        (height, width, 3), uint8, its own memory or that of an array which is such already.

    Raises:
        InputError: No picture: another type or shape, numbers out of range, a file that is missing, cut short, empty,
            of another kind, or of more pixels than `PIL.Image.MAX_IMAGE_PIXELS`.
        MissingExtraError: A file was given and Pillow is not installed.

    Example:
        >>> half_black = np.array([[[0, 0, 0, 128]]], dtype=np.uint8)
        >>> to_rgb(half_black).tolist()
        [[[127, 127, 127]]]
    """
    if isinstance(image, np.ndarray):
        return _of_array(image)
    if isinstance(image, str | os.PathLike):
        return _of_file(Path(image))
    if problem := image_problem(image):
        raise InputError(f"image must be a path, a picture of Pillow or an array; {problem}")
    return _of_picture(image, "image")


def image_problem(value: Any) -> str | None:
    """Why a value cannot be one picture, by its type and shape alone; None when it can."""
    if isinstance(value, str | os.PathLike):
        return None
    if isinstance(value, np.ndarray):
        shape = value.shape
        if not (len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3, 4))) or 0 in shape:
            channels_first = len(shape) == 3 and shape[0] in (1, 3, 4)
            advice = ": put the channels last, with array.transpose(1, 2, 0)" if channels_first else ""
            return f"received an array {shape}, where (height, width) or (height, width, 1, 3 or 4) must stand{advice}"
        return None
    if callable(getattr(value, "getbands", None)) and callable(getattr(value, "convert", None)):
        return None
    return f"received {type(value).__name__}"


def _of_array(array: np.ndarray[Any, Any]) -> Pixels:
    if problem := image_problem(array):
        raise InputError(f"image must be a picture; {problem}")
    levels = _eight_bits(array)
    if levels.ndim == 2 or levels.shape[2] == 1:
        return np.repeat(levels.reshape(*levels.shape[:2], 1), 3, axis=2)
    return _on_white(levels) if levels.shape[2] == 4 else levels


def _eight_bits(array: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Brightness 0 … 255 of whatever the array counts in."""
    kind, largest = array.dtype.kind, 255
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.uint16:
        return _divided(array)
    if kind == "b":
        return array.astype(np.uint8) * np.uint8(WHITE)
    if kind == "f":
        largest = 1
    elif kind not in "iu":
        raise InputError(f"image must be an array of numbers; received dtype {array.dtype}")
    low, high = array.min(), array.max()
    if not (low >= 0 and high <= largest):  # NaN is neither
        advice = ": divide by 255" if kind == "f" and 1 < high <= WHITE else ""
        message = f"image of {array.dtype} must hold 0 … {largest}; received {low:.4g} … {high:.4g}{advice}"
        raise InputError(message)
    return np.rint(array * np.float32(WHITE)).astype(np.uint8) if kind == "f" else array.astype(np.uint8)


def _divided(array: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """16 bits to 8, rounded: 65535 = 257 * 255."""
    return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _on_white(colours: np.ndarray[Any, np.dtype[np.uint8]]) -> Pixels:
    """Colours in front of white, by their opacity; rounded to the nearest."""
    opacity = colours[..., 3:].astype(np.uint32)
    mixed = colours[..., :3] * opacity + WHITE * (WHITE - opacity)
    return ((mixed + WHITE // 2) // WHITE).astype(np.uint8)


def _of_file(path: Path) -> Pixels:
    pillow: Any = require("PIL.Image", extra="image")
    if not path.is_file():
        raise InputError(f"image {str(path)!r} must be a file; there is none")
    try:
        with pillow.open(path) as picture:
            return _of_picture(picture, f"image {str(path)!r}")
    except pillow.UnidentifiedImageError:
        size = path.stat().st_size
        message = f"image {str(path)!r} must be a picture that Pillow reads; received {size:,} bytes of another kind"
        raise InputError(message) from None
    except pillow.DecompressionBombError as error:
        raise _too_large(f"image {str(path)!r}", str(error).split(",")[0]) from None


def _of_picture(picture: Any, what: str) -> Pixels:
    pillow: Any = require("PIL.Image", extra="image")
    most = pillow.MAX_IMAGE_PIXELS
    if most is not None and picture.width * picture.height > most:
        raise _too_large(what, f"{picture.width:,} x {picture.height:,} pixels")
    try:
        picture.load()
    except (OSError, SyntaxError, ValueError) as error:  # SyntaxError is what Pillow raises of broken PNG chunks
        raise InputError(f"{what} must be whole; it cannot be read to its end ({error})") from None
    if turn := _TURNS.get(_orientation(picture)):
        picture = picture.transpose(pillow.Transpose[turn])
    if picture.mode in _SIXTEEN_BITS:
        return _of_array(_divided(np.asarray(picture).clip(0, 65535)))
    if picture.mode == "F":
        return _of_array(np.asarray(picture))
    if picture.has_transparency_data:
        return _on_white(np.asarray(picture.convert("RGBA")))
    return np.asarray(picture if picture.mode == "RGB" else picture.convert("RGB"))


def _orientation(picture: Any) -> int:
    with contextlib.suppress(Exception):  # broken EXIF raises all kinds, and the picture is whole without it
        return int(picture.getexif().get(_ORIENTATION, 1))
    return 1


def _too_large(what: str, received: str) -> InputError:
    return InputError(
        f"{what} must have no more pixels than PIL.Image.MAX_IMAGE_PIXELS; received {received}: raise that limit if "
        "you trust the file"
    )
