"""Pictures with a class each, by several people: drawn letters of Omniglot and photographs of signs for digits."""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.data import data_folder
from embedkit.encoders.image import to_rgb


@dataclass(frozen=True)
class Drawn:
    """Pictures with what is known of each.

    Attributes:
        images: (n, height, width) or (n, height, width, 3), uint8.
        labels: Class of each, such as "Balinese/character01".
        makers: Which picture of its class it is: in Omniglot, who drew it.
    """

    images: NDArray[np.uint8]
    labels: list[str]
    makers: list[int]

    def __len__(self) -> int:
        return len(self.labels)

    def at(self, rows: Sequence[int]) -> "Drawn":
        """Those in some rows."""
        return Drawn(self.images[list(rows)], [self.labels[row] for row in rows], [self.makers[row] for row in rows])

    def of(self, labels: Sequence[str]) -> "Drawn":
        """Those of some classes."""
        return self.at([row for row, label in enumerate(self.labels) if label in set(labels)])


@dataclass(frozen=True)
class OneShot:
    """A run of the one-shot test of Omniglot: twenty letters of one alphabet, drawn twice.

    Attributes:
        shown: One drawing of each letter, (20, 105, 105).
        asked: Drawings by someone else.
        answers: Which of `shown` is the letter of each of `asked`.
    """

    shown: NDArray[np.uint8]
    asked: NDArray[np.uint8]
    answers: list[int]


def omniglot(part: Literal["small1", "small2"], most: int | None = None) -> Drawn:
    """The first or all drawings of a small background set, five and six alphabets, each letter by twenty people.

    Raises:
        DataMissing: The data are not there.
    """
    with ZipFile(data_folder("images", "omniglot", f"images_background_{part}.zip")) as file:
        return _drawn(file, r"[^/]+/(.+)/\d+_(\d+)\.png", most)


def sign_digits() -> Drawn:
    """Photographs of hands that show 0 to 9, 64 x 64.

    Raises:
        DataMissing: The data are not there.
    """
    with ZipFile(data_folder("images", "sign_digits", "sign_digits_64x64_jpeg.zip")) as file:
        return _drawn(file, r"Dataset/(\d)/IMG_(\d+)\.jpg")


def one_shot_runs(count: int = 20) -> list[OneShot]:
    """The first runs, or all, of the one-shot test of Omniglot, whose alphabets are in none of the background sets.

    Raises:
        DataMissing: The data are not there.
    """
    with ZipFile(data_folder("images", "omniglot", "all_runs.zip")) as file:
        return [_run(file, f"run{number:02}") for number in range(1, count + 1)]


def _drawn(file: ZipFile, pattern: str, most: int | None = None) -> Drawn:
    found = sorted((*match.groups(), name) for name in file.namelist() if (match := re.fullmatch(pattern, name)))[:most]
    counts: dict[str, int] = {}
    makers = []
    for label, *_ in found:
        counts[label] = counts.get(label, 0) + 1
        makers.append(counts[label])
    return Drawn(np.stack([_image(file, name) for *_, name in found]), [label for label, *_ in found], makers)


def _run(file: ZipFile, name: str) -> OneShot:
    pairs = [line.split() for line in file.read(f"{name}/class_labels.txt").decode().splitlines()]
    shown = sorted(right for _, right in pairs)
    return OneShot(
        np.stack([_image(file, each) for each in shown]),
        np.stack([_image(file, each) for each, _ in pairs]),
        [shown.index(right) for _, right in pairs],
    )


def _image(file: ZipFile, name: str) -> NDArray[Any]:
    return np.asarray(to_rgb(Image.open(io.BytesIO(file.read(name)))))
