"""Pictures made ready for a network: is embedkit's way faster than transformers' own processor, with the same pixels?

1,000 photographs of hands, 64 x 64, decoded beforehand, are made 224 x 224 as CLIP wants them (bicubic, scaled by its
mean and spread), turn by turn with the processor that transformers has for Pillow, which knows one thread. The value is
how many times faster ours is, over seven turns, with one thread and with those of the machine; other rows tell the
largest difference between the two, in levels of 255, and our milliseconds.
"""

import io
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.data import data_folder
from benchmarks.peer import ratio_row, seconds, speed_ratios
from benchmarks.results import Row
from embedkit.encoders.image import ImageProcessing

PICTURES, TURNS = 1000, 7
SETTINGS: dict[str, Any] = {
    "size": {"shortest_edge": 224},
    "crop_size": {"height": 224, "width": 224},
    "do_center_crop": True,
    "resample": 3,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}
METHOD, DATASET = "ImageProcessing", "sign digits, 64 to 224"


def run(smoke: bool) -> Iterator[Row]:
    """The ratio to transformers' processor, the difference of the pixels, and milliseconds."""
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    pictures = photographs(16 if smoke else PICTURES)
    ours, theirs = ImageProcessing.of(SETTINGS), CLIPImageProcessorPil(**SETTINGS)

    def mine() -> NDArray[np.float32]:
        return ours.batch(pictures)

    def other() -> NDArray[np.float32]:
        found: NDArray[np.float32] = theirs(pictures, return_tensors="np")["pixel_values"]
        return found

    std = np.array(SETTINGS["image_std"], dtype=np.float32)[:, None, None]
    apart = float(np.abs((mine() - other()) * std * 255).max())
    turns, cores = 2 if smoke else TURNS, torch.get_num_threads()
    baseline = "224 px; baseline: CLIPImageProcessorPil"
    for threads in sorted({cores, 1}, reverse=True):
        torch.set_num_threads(threads)
        said: dict[str, Any] = {"method": METHOD, "variant": f"{baseline}; threads: {threads}", "dataset": DATASET}
        yield ratio_row(speed_ratios(mine, other, turns), turns, metric=f"times faster, threads: {threads}", **said)
        milliseconds = 1000 * min(seconds(mine) for _ in range(turns)) / len(pictures)
        yield Row(metric=f"ms a picture, threads: {threads}", value=round(milliseconds, 3), **said)
    torch.set_num_threads(cores)
    yield Row(
        method=METHOD,
        variant=baseline,
        dataset=DATASET,
        metric="largest difference, levels of 255",
        value=round(apart, 4),
    )


def photographs(count: int) -> list[Any]:
    """So many of the hands, evenly spaced, decoded."""
    from PIL import Image

    with zipfile.ZipFile(data_folder("images", "sign_digits") / "sign_digits_64x64_jpeg.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith((".jpg", ".JPG")))
        chosen = names[:: max(1, len(names) // count)][:count]
        return [Image.open(io.BytesIO(archive.read(name))).convert("RGB") for name in chosen]
