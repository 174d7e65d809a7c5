"""How a module of an encoder's own is kept in the encoder's folder."""

from pathlib import Path
from typing import Any, Self

from safetensors.torch import load_file
from sentence_transformers.base.modules import Module

from embedkit.errors import InputError, ModelError

_WHERE = ("token", "cache_folder", "revision", "local_files_only")


class StoredModule(Module):
    """A module of which config.json holds what it was made with, and model.safetensors the weights."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def save(self, output_path: str, *args: Any, safe_serialization: bool = True, **kwargs: Any) -> None:
        """Write config.json and model.safetensors.

        Raises:
            InputError: Pickled weights are asked for.
        """
        del args, kwargs
        if not safe_serialization:
            message = "safe_serialization must be True: embedkit writes safetensors only"
            raise InputError(message)
        self.save_config(output_path)
        self.save_torch_weights(output_path)

    @classmethod
    def load(cls, model_name_or_path: str, subfolder: str = "", **options: Any) -> Self:  # type: ignore[override]  # fewer names
        """Read what `save` wrote, in the type it was saved in.

        Raises:
            ModelError: The weights are missing or are not this module's.
        """
        where = {name: options[name] for name in _WHERE if name in options}
        module = cls(**cls.load_config(model_name_or_path, subfolder=subfolder, **where))
        path = cls.load_file_path(model_name_or_path, "model.safetensors", subfolder=subfolder, **where)
        if path is None:
            message = f"{Path(model_name_or_path) / subfolder} lacks model.safetensors"
            raise ModelError(message)
        weights = load_file(path)
        for weight in weights.values():
            if weight.is_floating_point():
                module.to(weight.dtype)
        module.load_state_dict(weights)
        return module
