"""The emoji of three vendors and their names: what benchmarks of pictures and texts learn from and are asked about."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from benchmarks.data import data_folder

Split: TypeAlias = Literal["train", "val", "test"]

STYLES = ("noto", "emojitwo", "fxemoji")


@dataclass(frozen=True)
class Emoji:
    """Pictures with what is known of each.

    Attributes:
        images: (n, 32, 32, 3), uint8, on white.
        names: Such as "red apple"; several pictures have one name.
        families: Names without tone and gender: pictures of one family are in one split.
        styles: Which vendor drew them.
    """

    images: NDArray[np.uint8]
    names: list[str]
    families: list[str]
    styles: list[str]

    def __len__(self) -> int:
        return len(self.names)

    def of(self, style: str) -> "Emoji":
        """Those of one vendor."""
        return self.at([row for row, each in enumerate(self.styles) if each == style])

    def at(self, rows: Sequence[int]) -> "Emoji":
        """Those in some rows."""
        columns = ([column[row] for row in rows] for column in (self.names, self.families, self.styles))
        return Emoji(self.images[list(rows)], *columns)


def emoji(split: Split, *, tones: bool) -> Emoji:
    """Pictures of one split, with or without those of a skin tone, whose names differ in it alone.

    Raises:
        DataMissing: The data are not there.
    """
    folder = data_folder("images", "emoji")
    lines = (folder / "captions.jsonl").read_text(encoding="utf-8").splitlines()
    known: dict[str, Any] = {each["key"]: each for each in map(json.loads, lines)}
    with np.load(folder / "images_32x32_rgb.npz") as stored:
        images, keys, styles = stored["images"], stored["key"].tolist(), stored["style"].tolist()
    rows = [
        row
        for row, key in enumerate(keys)
        if key in known and known[key]["split"] == split and (tones or not known[key]["tones"])
    ]
    chosen = [known[keys[row]] for row in rows]
    return Emoji(
        images[rows],
        [each["name"] for each in chosen],
        [each["family"] for each in chosen],
        [styles[row] for row in rows],
    )
