"""A module's folder: config.json and model.safetensors, whole or not at all."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from embedkit.errors import CorruptFileError
from embedkit.io import replacing_folder, seal_folder, write_json


def save_module(module: nn.Module, folder: Path, config: Mapping[str, Any]) -> None:
    """Write the class, `config` and all that the module stores.

    Raises:
        StorageError: The disk refused; what was there is unchanged.
    """
    # A module may stand in two places of another, and the format holds no tensor twice.
    tensors = {name: tensor.clone().contiguous() for name, tensor in module.state_dict().items()}
    with replacing_folder(folder) as temporary:
        write_json(temporary / "config.json", {"class": type(module).__name__, **config})
        save_file(tensors, temporary / "model.safetensors")
        seal_folder(temporary)


def load_weights(module: nn.Module, folder: Path) -> None:
    """Fill a module with what `save_module` wrote of one like it.

    Raises:
        CorruptFileError: The file is missing, damaged or of another module.
    """
    try:
        module.load_state_dict(load_file(folder / "model.safetensors"))
    except (OSError, SafetensorError, RuntimeError) as error:
        message = f"{folder}/model.safetensors is not what {type(module).__name__} stores: {error}"
        raise CorruptFileError(message) from error
