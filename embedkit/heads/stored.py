"""How heads are kept: a folder with what they were made with and what they learnt."""

from pathlib import Path
from typing import Self

from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from embedkit.errors import CorruptFileError
from embedkit.heads.state import Arrays, read, written
from embedkit.io import read_config, replacing_folder, seal_folder, write_json

_WEIGHTS = "model.safetensors"


class StoredHead(BaseEstimator):  # type: ignore[misc]  # sklearn is untyped
    """An estimator that saves itself: config.json with its arguments, model.safetensors with its arrays.

    What `fit` learns are attributes that end in an underscore: arrays, what JSON can hold, or estimators of
    scikit-learn and embedkit that are made of these, such as the one a head stands on.
    """

    def save(self, folder: str | Path) -> None:
        """Write the fitted head, whole or not at all; what the folder held before is replaced.

        Raises:
            NotFittedError: It was not fitted.
            InputError: An estimator within it holds what is neither arrays nor JSON, such as the trees of a forest.
            StorageError: The disk refused.
        """
        check_is_fitted(self)
        arrays: Arrays = {}
        arguments = {name: written(value, name, arrays) for name, value in self.get_params(deep=False).items()}
        learnt = {
            name: written(value, name, arrays)
            for name, value in vars(self).items()
            if name.endswith("_") and not name.startswith("_")
        }
        with replacing_folder(Path(folder)) as temporary:
            write_json(
                temporary / "config.json", {"class": type(self).__name__, "arguments": arguments, "learnt": learnt}
            )
            save_file(arrays, temporary / _WEIGHTS)
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
        try:
            arrays = load_file(place / _WEIGHTS)
        except (SafetensorError, OSError) as error:
            raise CorruptFileError(f"{place / _WEIGHTS} cannot be read ({error})") from None
        head = cls(**{name: read(value, arrays) for name, value in config["arguments"].items()})
        for name, value in config["learnt"].items():
            setattr(head, name, read(value, arrays))
        return head
