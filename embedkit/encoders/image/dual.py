"""Two towers, one of pictures and one of texts, whose vectors lie in one space."""

import copy
from typing import Any

import torch
from sentence_transformers.base.modules import Dense, Normalize, Router
from torch import nn

from embedkit.encoders.encoder import Encoder
from embedkit.encoders.image.encoder import ImageInput
from embedkit.encoders.inputs import reads_plain_text
from embedkit.encoders.loading import load
from embedkit.errors import InputError
from embedkit.losses.arguments import whole


def dual_encoder(
    image: Encoder,
    text: Encoder | None = None,
    *,
    dim: int = 384,
    seed: int = 0,
    device: str | None = None,
) -> Encoder:
    """An encoder of pictures and texts: a tower each, a linear map behind each, vectors of length 1.

    A string is text; a picture is a `pathlib.Path`, one of Pillow's, or an array. Where `task="image"` says so,
    strings are paths. It is trained by `fit` on columns that are called "image" and "text", with a loss of pairs such
    as `PairContrastiveLoss`; untrained, its two halves know nothing of each other.

    Args:
        image: Whose modules read pictures, such as `conv_encoder()`. It is copied.
        text: Whose modules read texts; None takes the default text model. It is copied.
        dim: Width of the vectors.
        seed: Of the linear maps.
        device: Such as "cpu" or "cuda"; None takes the best there is.

    Returns:
        An encoder that begins with sentence-transformers' `Router`, whose towers are "image" and "text".

    Raises:
        InputError: An encoder does not read what it is to read, or `dim` is out of range.

    Example:
        >>> import numpy as np
        >>> from embedkit.encoders.image import conv_encoder
        >>> encoder = dual_encoder(conv_encoder(widths=(8, 16), dim=4, device="cpu"), dim=16, device="cpu")
        >>> vectors = encoder.encode([np.zeros((40, 30, 3), dtype=np.uint8), "a black picture"])
        >>> vectors.shape, encoder.similarity(vectors[:1], vectors[1:]).shape
        ((2, 16), torch.Size([1, 1]))

    Reference:
        A. Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021; C. Jia et
        al., "Scaling Up Visual and Vision-Language Representation Learning With Noisy Text Supervision", ICML 2021.

    Deviations:
        Any towers; the published ones are a ResNet, a ViT or an EfficientNet and a transformer of their own.
    """
    whole("dim", dim)
    whole("seed", seed, least=0)
    text = load(device="cpu") if text is None else text
    _check("image", image)
    _check("text", text)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        towers = {"image": _tower(image, dim), "text": _tower(text, dim)}
    router: Any = Router(towers, default_route="text")
    return Encoder([router, Normalize()], device=device).eval()


def _check(name: str, encoder: Any) -> None:
    is_encoder = isinstance(encoder, Encoder)
    if is_encoder and (isinstance(encoder[0], ImageInput) if name == "image" else reads_plain_text(encoder[0])):
        return
    kind = f"an Encoder of {list(encoder.modalities)}" if is_encoder else repr(encoder)[:60]
    raise InputError(f"{name} must be an Encoder that reads {name}s; received {kind}")


def _tower(encoder: Encoder, dim: int) -> list[Any]:
    """The modules of an encoder without their last scaling to length 1, and a linear map."""
    modules = [copy.deepcopy(module) for module in encoder]
    if isinstance(modules[-1], Normalize):
        modules.pop()
    width = int(encoder.get_embedding_dimension() or 0)
    return [*modules, Dense(width, dim, bias=False, activation_function=nn.Identity())]
