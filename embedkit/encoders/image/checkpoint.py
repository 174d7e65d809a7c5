"""Checkpoints of transformers that read pictures: CLIP, SigLIP and ALIGN with their texts, ViT and DINOv2 alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sentence_transformers.base.modules import Dense, Normalize, Router
from torch import nn
from transformers import AutoModel, AutoTokenizer

from embedkit.encoders.image.encoder import ImageInput
from embedkit.encoders.image.processing import ImageProcessing
from embedkit.encoders.text.tokens import TokensInput
from embedkit.errors import InputError, ModelError
from embedkit.io import read_json
from embedkit.modules.backbone.pretrained import PretrainedBackbone


class _Pair(NamedTuple):
    """How a network of two towers is taken apart: the linear maps behind them, by name."""

    image_projection: str = ""
    text_projection: str = "text_projection"
    text_output: str = "pooler_output"
    fill_window: bool = False


PAIRS = {
    "align": _Pair(text_output="first_token"),
    "clip": _Pair(image_projection="visual_projection"),
    "siglip": _Pair(text_projection="", fill_window=True),
}
ALONE = ("deit", "dinov2", "vit")
_PROCESSORS = ("preprocessor_config.json", "processor_config.json")


def image_modules(folder: Path, config: Mapping[str, Any]) -> list[Any] | None:
    """Modules for the checkpoint in a folder, if it reads pictures; None for any other.

    Two towers that share a space get vectors of length 1, which they were trained for; of a network of pictures alone
    the vector is the last state of its first token.

    Args:
        folder: With config.json, weights, the processor's settings and, for a pair, a tokenizer.
        config: What config.json holds.

    Raises:
        ModelError: It reads pictures and is of another kind, a file is missing, or the processor wants what
            `ImageProcessing` does not do.
    """
    kind = config.get("model_type")
    if kind not in ALONE and kind not in PAIRS:
        if "vision_config" in config:
            known = ", ".join(sorted([*PAIRS, *ALONE]))
            raise ModelError(
                f"{folder} must hold a network of pictures of a known kind, {known}; it holds {kind!r:.80}"
            )
        return None
    pictures = ImageInput(_processing(folder))
    network = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True).eval()
    if kind in ALONE:
        return [pictures, PretrainedBackbone(network, "first_token")]
    pair = PAIRS[kind]
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    texts = TokensInput(
        tokenizer, max_seq_length=network.text_model.config.max_position_embeddings, fill_window=pair.fill_window
    )
    image: list[Any] = [pictures, PretrainedBackbone(network.vision_model, "pooler_output")]
    text: list[Any] = [texts, PretrainedBackbone(network.text_model, pair.text_output)]
    for tower, name in ((image, pair.image_projection), (text, pair.text_projection)):
        if name:
            tower.append(_as_dense(getattr(network, name)))
    towers: Any = Router({"image": image, "text": text}, default_route="text")
    return [towers, Normalize()]


def _as_dense(linear: nn.Linear) -> Dense:
    """A linear map as a module of an encoder, with its weights."""
    dense = Dense(
        linear.in_features, linear.out_features, bias=linear.bias is not None, activation_function=nn.Identity()
    )
    dense.linear.load_state_dict(linear.state_dict())
    return dense


def _processing(folder: Path) -> ImageProcessing:
    for name in _PROCESSORS:
        if (folder / name).is_file():
            settings = read_json(folder / name)
            try:
                return ImageProcessing.of(settings.get("image_processor", settings))
            except (InputError, KeyError) as error:
                raise ModelError(f"{folder / name} cannot be followed: {error}") from error
    raise ModelError(f"{folder} must say how pictures are scaled, in {' or '.join(_PROCESSORS)}; neither is there")
