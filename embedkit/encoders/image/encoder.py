"""Encoders of pictures: what one picture is, and networks that read it."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sentence_transformers.base.modules import Dense, Normalize
from sentence_transformers.sentence_transformer.modules import Dropout
from torch import nn
from transformers import ViTConfig, ViTModel

from embedkit.encoders.encoder import Encoder
from embedkit.encoders.image.pixels import image_problem, to_rgb
from embedkit.encoders.image.processing import ImageProcessing
from embedkit.encoders.inputs import Features, InputModule
from embedkit.errors import InputError
from embedkit.io import read_json, write_json
from embedkit.modules.arguments import check_sizes
from embedkit.modules.augmentation import RandomViews
from embedkit.modules.backbone.conv import ConvNet
from embedkit.modules.backbone.histograms import Histograms
from embedkit.modules.backbone.pretrained import PretrainedBackbone

_COST = 32  # tokens that a picture counts as, so that `batch_size` is a number of pictures
_CENTRED = ImageProcessing(size=(32, 32), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


class ImageInput(InputModule):
    """First module of an encoder of pictures: reads them, batch by batch, into "pixel_values".

    What one picture is says `to_rgb`. Files are opened when their batch is due, so that thousands of paths need no more
    memory than one batch.

    Args:
        processing: How pictures become tensors; all of one shape.

    Raises:
        InputError: The shape of what comes out would depend on the picture.
    """

    expects: ClassVar[str] = "an image (path, picture of Pillow, or array with the channels last)"
    config_file_name = "image_config.json"

    def __init__(self, processing: ImageProcessing) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        if processing.shape is None:
            raise InputError(f"processing must give all pictures one shape; received {processing}: add a crop")
        self.processing = processing

    @property
    def modalities(self) -> list[Any]:
        """What sentence-transformers' trainer and mteb may bring: images."""
        return ["image"]

    def is_single(self, inputs: Any) -> bool:
        """A path, a picture or an array of two or three dimensions with the channels last."""
        return image_problem(inputs) is None

    def problem(self, value: Any) -> str | None:
        """Why a value is no picture, as far as its type and shape tell."""
        return image_problem(value)

    def key(self, value: Any) -> bytes | None:
        """The content of a file, or the numbers of an array or picture."""
        if isinstance(value, str | os.PathLike):
            path = Path(value)
            return hashlib.sha256(path.read_bytes()).digest() if path.is_file() else None
        pixels = value if isinstance(value, np.ndarray) else to_rgb(value)
        return f"{pixels.dtype} {pixels.shape} ".encode() + pixels.tobytes()

    def prepare(self, inputs: list[Any], prompt: str | None, task: str | None) -> "_PreparedImages":
        """Remember what to read."""
        del task
        if prompt:
            raise InputError(f"pictures have no prompt; received {prompt!r:.60}")
        return _PreparedImages(inputs, self.processing)

    def preprocess(self, inputs: Sequence[Any], prompt: str | None = None, **kwargs: Any) -> Features:
        """Tensors of one batch of training, whose data sets hold arrays as lists of lists."""
        pictures = [np.asarray(each) if isinstance(each, list) else each for each in inputs]
        return super().preprocess(pictures, prompt, **kwargs)

    def forward(self, features: Features, **_: Any) -> Features:
        """Leave all to the network behind it."""
        return features

    def get_config_dict(self) -> dict[str, Any]:
        """How pictures become tensors: what `save` writes, and what tells encoders apart."""
        return asdict(self.processing)

    def save(self, output_path: str, *args: Any, safe_serialization: bool = True, **kwargs: Any) -> None:
        """Write how pictures become tensors."""
        del args, safe_serialization, kwargs
        write_json(Path(output_path) / self.config_file_name, self.get_config_dict())

    @classmethod
    def load(cls, model_name_or_path: str, subfolder: str = "", **options: Any) -> Self:  # type: ignore[override]
        """Read what `save` wrote."""
        del options
        config = read_json(Path(model_name_or_path, subfolder, cls.config_file_name))
        fields: dict[str, Any] = {
            name: tuple(each) if isinstance(each, list) else each for name, each in config.items()
        }
        return cls(ImageProcessing(**fields))


class _PreparedImages:
    """Pictures that are read when their batch is due."""

    def __init__(self, inputs: Sequence[Any], processing: ImageProcessing) -> None:
        self._inputs, self._processing = inputs, processing
        self.lengths = np.full(len(inputs), _COST, dtype=np.int64)

    def batch(self, rows: Sequence[int]) -> Features:
        """Tensors of the pictures at `rows`, in that order."""
        pixels = self._processing.batch([self._inputs[row] for row in rows])
        return {"pixel_values": torch.from_numpy(pixels), "modality": "image"}


def conv_encoder(
    processing: ImageProcessing | None = None,
    *,
    widths: Sequence[int] = (32, 64, 128, 256),
    dim: int = 384,
    augment: RandomViews | None = None,
    seed: int = 0,
    device: str | None = None,
) -> Encoder:
    """An untrained encoder of small pictures, which a CPU trains in minutes.

    Args:
        processing: How pictures become tensors; None takes 32 x 32 pixels, within -1 … 1.
        widths: Channels of its blocks, as `ConvNet` has them.
        dim: Width of the vectors, which have length 1.
        augment: How training shows each picture a little differently each time; None shows it as it is.
        seed: Of the weights.
        device: Such as "cpu" or "cuda"; None takes the best there is.

    Raises:
        InputError: An argument is out of range.

    Example:
        >>> encoder = conv_encoder(widths=(8, 16), dim=4, device="cpu")
        >>> encoder.encode([np.zeros((40, 30), dtype=np.uint8), np.ones((9, 9, 3))]).shape
        (2, 4)
    """
    net = ConvNet(widths, dim=dim, seed=seed)
    return Encoder([*_read(processing or _CENTRED, augment), net, Normalize()], device=device).eval()


def histogram_encoder(
    processing: ImageProcessing | None = None,
    *,
    dim: int | None = None,
    width: int = 1024,
    dropout: float = 0.5,
    augment: RandomViews | None = None,
    seed: int = 0,
    device: str | None = None,
) -> Encoder:
    """An encoder of small pictures by histograms of their edges and colours, with or without a network behind these.

    Without one it needs no training, and is what trained encoders of pictures have to beat. With one it learns from a
    few thousand pictures in a minute, in which a ConvNet learns less.

    Args:
        processing: How pictures become tensors, within 0 … 1; None takes 32 x 32 pixels.
        dim: Width of the vectors, which have length 1; None gives the 832 numbers of `Histograms` themselves.
        width: Of the one hidden layer, where `dim` is given.
        dropout: Behind it, from 0 and below 1.
        augment: As in `conv_encoder`; its brightness is a share of the whole scale here.
        seed: Of the weights.
        device: Such as "cpu" or "cuda"; None takes the best there is.

    Raises:
        InputError: An argument is out of range, or `processing` scales pixels otherwise.

    Example:
        >>> red, redder, blue = ([[[r, 0, b]]] for r, b in ((200, 0), (250, 0), (0, 200)))
        >>> vectors = histogram_encoder(device="cpu").encode(
        ...     [np.array(each, dtype=np.uint8) for each in (red, redder, blue)]
        ... )
        >>> np.round(vectors @ vectors[0], 2).tolist()
        [1.0, 1.0, 0.0]

    Reference:
        N. Dalal, B. Triggs, "Histograms of Oriented Gradients for Human Detection", CVPR 2005.

    Deviations:
        Those of `Histograms`.
    """
    processing = processing or ImageProcessing(size=(32, 32))
    if (processing.mean, processing.std) != ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)):
        raise InputError(
            f"processing must leave pixels within 0 … 1, with mean 0 and std 1; "
            f"received mean={processing.mean} and std={processing.std}"
        )
    histograms = Histograms()
    network: list[Any] = []
    if dim is not None:
        check_sizes(dim=dim, width=width)
        if isinstance(dropout, bool) or not isinstance(dropout, int | float) or not 0 <= dropout < 1:
            raise InputError(f"dropout must be a share below 1; received {dropout!r}")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            hidden = Dense(histograms.get_embedding_dimension(), width, activation_function=nn.ReLU())
            network = [hidden, Dropout(dropout), Dense(width, dim, activation_function=None)]
    return Encoder([*_read(processing, augment), histograms, *network, Normalize()], device=device).eval()


def vit_encoder(
    processing: ImageProcessing | None = None,
    *,
    num_layers: int = 4,
    dim: int = 192,
    num_heads: int = 3,
    patch_size: int = 4,
    augment: RandomViews | None = None,
    seed: int = 0,
    device: str | None = None,
) -> Encoder:
    """An untrained vision transformer for small pictures; it wants more pictures or longer training than a ConvNet.

    Args:
        processing: How pictures become tensors; None takes 32 x 32 pixels, within -1 … 1.
        num_layers: Of the transformer.
        dim: Width of its states and of the vectors, which have length 1.
        num_heads: Of the attention; a divisor of `dim`.
        patch_size: Side of the squares that are its tokens; a divisor of both sides of the pictures.
        augment: As in `conv_encoder`.
        seed: Of the weights.
        device: Such as "cpu" or "cuda"; None takes the best there is.

    Raises:
        InputError: An argument is out of range, or sizes do not go together.

    Example:
        >>> encoder = vit_encoder(num_layers=1, dim=12, device="cpu")
        >>> encoder.encode(np.zeros((40, 30), dtype=np.uint8)).shape
        (12,)

    Reference:
        A. Dosovitskiy et al., "An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale", ICLR 2021.

    Deviations:
        None; the network is transformers' own.
    """
    check_sizes(num_layers=num_layers, dim=dim, num_heads=num_heads, patch_size=patch_size)
    modules = _read(processing or _CENTRED, augment)
    height, width = modules[0].processing.shape
    if dim % num_heads or height % patch_size or width % patch_size:
        raise InputError(
            f"num_heads must divide dim, and patch_size the sides {height} x {width}; "
            f"received dim={dim}, num_heads={num_heads}, patch_size={patch_size}"
        )
    config = ViTConfig(
        hidden_size=dim,
        num_hidden_layers=num_layers,
        num_attention_heads=num_heads,
        intermediate_size=4 * dim,
        image_size=[height, width],
        patch_size=patch_size,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = ViTModel(config, add_pooling_layer=False)
    return Encoder([*modules, PretrainedBackbone(network, "first_token"), Normalize()], device=device).eval()


def _read(processing: ImageProcessing, augment: RandomViews | None) -> list[Any]:
    """First modules of an encoder of small pictures."""
    if not isinstance(augment, RandomViews | None):
        raise InputError(
            f"augment must be a RandomViews, of embedkit.modules.augmentation, or None; received {augment!r}"
        )
    return [ImageInput(processing), *([augment] if augment is not None else [])]
