"""Records as arrays of ids: what models read, in memory or mapped from a folder."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from embedkit.errors import CorruptFileError, InputError
from embedkit.io import read_json, replacing_folder, seal_folder, write_json


@dataclass(frozen=True, eq=False)
class Records:
    """Ids of many records.

    Attributes:
        ids: (n, columns), int32 as a vocabulary makes them; any integers do.
        weights: What each id's vector is multiplied by, float32 (n, columns); None for 1.
        unseen: Field → how many of its values were not in the vocabulary.
    """

    ids: NDArray[Any]
    weights: NDArray[np.float32] | None = None
    unseen: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.ids.ndim != 2 or self.ids.dtype.kind not in "iu":
            message = f"ids must be whole numbers, (n, columns); received {self.ids.dtype} {self.ids.shape}"
            raise InputError(message)
        if self.weights is not None and self.weights.shape != self.ids.shape:
            message = f"weights must have the shape of ids, {self.ids.shape}; received {self.weights.shape}"
            raise InputError(message)

    def __len__(self) -> int:
        return len(self.ids)

    def save(self, folder: str | Path) -> None:
        """Write the arrays, whole or not at all, so that `open` can map them.

        Raises:
            StorageError: The disk refused; what was there is unchanged.
        """
        with replacing_folder(Path(folder)) as temporary:
            write_json(temporary / "records.json", {"unseen": dict(self.unseen)})
            np.save(temporary / "ids.npy", self.ids, allow_pickle=False)
            if self.weights is not None:
                np.save(temporary / "weights.npy", self.weights, allow_pickle=False)
            seal_folder(temporary)

    @classmethod
    def open(cls, folder: str | Path) -> Self:
        """Map what `save` wrote: nothing is read before it is used. Checksums are not verified, which would read all.

        Raises:
            CorruptFileError: A file is missing or shorter than it says.
        """
        folder = Path(folder)
        unseen = read_json(folder / "records.json").get("unseen", {})
        try:
            ids = np.load(folder / "ids.npy", mmap_mode="r", allow_pickle=False)
            weights = folder / "weights.npy"
            mapped = np.load(weights, mmap_mode="r", allow_pickle=False) if weights.is_file() else None
        except (OSError, ValueError) as error:
            message = f"{folder} does not hold records: {error}"
            raise CorruptFileError(message) from error
        return cls(ids, mapped, unseen)
