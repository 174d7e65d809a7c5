"""A network of transformers, and the one vector that it gives each input."""

from pathlib import Path
from typing import Any, Self

import torch
import transformers
from sentence_transformers.base.modules import Module

from embedkit.errors import ModelError

CLASSES = (
    "AlignTextModel",
    "AlignVisionModel",
    "CLIPTextModel",
    "CLIPVisionModel",
    "DeiTModel",
    "Dinov2Model",
    "SiglipTextModel",
    "SiglipVisionModel",
    "ViTModel",
)
"""Networks that are known to give such a vector; nothing else that a folder names is run."""

_INPUTS = ("input_ids", "attention_mask", "token_type_ids", "pixel_values")


class PretrainedBackbone(Module):
    """Runs a network of transformers and takes one of its outputs as the vector.

    Args:
        model: Of one of `CLASSES`.
        output: "pooler_output", or "first_token": the last state of the first token.

    Raises:
        ModelError: The network is of another class.
    """

    config_keys: list[str] = ["class_name", "output"]  # noqa: RUF012 (declared so by the base class)
    config_file_name = "backbone_config.json"

    def __init__(self, model: Any, output: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.class_name = type(model).__name__
        if self.class_name not in CLASSES:
            raise ModelError(f"the network must be one of {', '.join(CLASSES)}; it is {self.class_name}")
        self.model, self.output = model, output
        if output == "first_token" and getattr(model, "pooler", None) is not None:
            model.pooler = None  # nobody asks it, and checkpoints may lack its weights

    def forward(self, features: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Add the vectors, "sentence_embedding" (n, dim)."""
        found = self.model(**{name: features[name] for name in _INPUTS if name in features})
        is_first = self.output == "first_token"
        vectors: torch.Tensor = found.last_hidden_state[:, 0] if is_first else found.pooler_output
        return {**features, "sentence_embedding": vectors}

    def get_embedding_dimension(self) -> int:
        """Width of the vectors."""
        config = self.model.config
        return int(getattr(config, "hidden_dim", 0) or config.hidden_size)

    def save(self, output_path: str, *args: Any, safe_serialization: bool = True, **kwargs: Any) -> None:
        """Write the network as transformers does, and which output is taken."""
        del args, safe_serialization, kwargs
        self.model.save_pretrained(output_path)
        self.save_config(output_path)

    @classmethod
    def load(cls, model_name_or_path: str, subfolder: str = "", **options: Any) -> Self:  # type: ignore[override]
        """Read what `save` wrote.

        Raises:
            ModelError: The folder names a network that is not one of `CLASSES`.
        """
        del options
        folder = Path(model_name_or_path, subfolder)
        config = cls.load_config(model_name_or_path, subfolder=subfolder)
        if config["class_name"] not in CLASSES:
            raise ModelError(f"{folder} must hold one of {', '.join(CLASSES)}; it names {config['class_name']!r:.80}")
        network = getattr(transformers, config["class_name"])
        model = network.from_pretrained(folder, local_files_only=True, use_safetensors=True)
        return cls(model.eval(), config["output"])
