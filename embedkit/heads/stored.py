"""How heads are kept: a folder with what they were made with and what they learnt."""

from pathlib import Path
from typing import Any, Self

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from embedkit.errors import CorruptFileError
from embedkit.io import read_config, replacing_folder, seal_folder, write_json

_WEIGHTS = "model.safetensors"


class StoredHead(BaseEstimator):  # type: ignore[misc]  # sklearn is untyped
    """An estimator that saves itself: config.json with its arguments, model.safetensors with its arrays.

    What `fit` learns are attributes that end in an underscore: arrays of numbers, or what JSON can hold.
    """

    def save(self, folder: str | Path) -> None:
        """Write the fitted head, whole or not at all; what the folder held before is replaced.

        Raises:
            NotFittedError: It was not fitted.
            StorageError: The disk refused.
        """
        check_is_fitted(self)
        learnt = {name: value for name, value in vars(self).items() if name.endswith("_") and not name.startswith("_")}
        arrays = {name: value for name, value in learnt.items() if _is_of_numbers(value)}
        rest = {name: _plain(value) for name, value in learnt.items() if name not in arrays}
        with replacing_folder(Path(folder)) as temporary:
            arguments = {name: _plain(value) for name, value in self.get_params(deep=False).items()}
            write_json(
                temporary / "config.json", {"class": type(self).__name__, "arguments": arguments, "learnt": rest}
            )
            save_file({name: np.ascontiguousarray(value) for name, value in arrays.items()}, temporary / _WEIGHTS)
            seal_folder(temporary)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read what `save` wrote.

        Raises:
            ModelError: The folder holds another class.
            CorruptFileError: A file is missing or damaged.
        """
        place = Path(folder)
        config = read_config(place, cls.__name__)
        head = cls(**{name: _tuples(value) for name, value in config["arguments"].items()})
        try:
            arrays = load_file(place / _WEIGHTS)
        except (SafetensorError, OSError) as error:
            raise CorruptFileError(f"{place / _WEIGHTS} cannot be read ({error})") from None
        for name, value in {**arrays, **config["learnt"]}.items():
            setattr(head, name, _array(name, value) if isinstance(value, list) else value)
        return head


def _is_of_numbers(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "biuf"


def _array(name: str, value: list[Any]) -> np.ndarray[Any, Any]:
    """An array of texts, such as classes; scikit-learn wants the names of columns as objects."""
    return np.asarray(value, dtype=object if name == "feature_names_in_" else None)


def _tuples(value: Any) -> Any:
    """Sequences as the tuples that arguments are."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    """As JSON holds it."""
    if isinstance(value, np.ndarray | tuple | list):
        return [_plain(each) for each in value]
    return value.item() if isinstance(value, np.generic) else value
