"""What makes two encoders the same: a hash of weights, tokenizer and settings."""

import hashlib
import json
from typing import Any

import torch
from torch import nn

_VOLATILE = {"transformers_version", "_name_or_path", "name_or_path", "architectures", "dtype", "torch_dtype"}


def fingerprint(encoder: nn.Module) -> str:
    """SHA-256, in hexadecimal, of everything in `encoder` that decides its vectors.

    Covers weights (bytes, shape and dtype), module classes and their settings, the backbone's
    configuration as it differs from its defaults, and the tokenizer. Independent of device, file
    names and package versions.
    """
    digest = hashlib.sha256()
    for name, module in encoder.named_children():
        digest.update(_canonical([name, type(module).__name__, _settings(module)]))
    for name, tensor in sorted(encoder.state_dict().items()):
        digest.update(_canonical([name, str(tensor.dtype), list(tensor.shape)]))
        digest.update(_bytes_of(tensor))
    return digest.hexdigest()


def weights_version(encoder: nn.Module) -> tuple[Any, ...]:
    """A cheap value that changes whenever a weight is written in place, replaced or converted."""
    return tuple((tensor.data_ptr(), tensor._version) for tensor in encoder.state_dict(keep_vars=True).values())


def _bytes_of(tensor: torch.Tensor) -> Any:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data


def _settings(module: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for part in module.modules():
        if hasattr(part, "config_keys"):
            settings |= part.get_config_dict()
    backbone = getattr(getattr(module, "model", None), "config", None)
    if backbone is not None:
        differences = backbone.to_diff_dict()
        settings["backbone"] = {name: value for name, value in differences.items() if name not in _VOLATILE}
    settings["tokenizer"] = _tokenizer_settings(getattr(module, "tokenizer", None))
    settings["max_seq_length"] = getattr(module, "max_seq_length", None)
    return settings


def _tokenizer_settings(tokenizer: Any) -> Any:
    """The tokenizer's own JSON without truncation and padding, which calls switch on and off."""
    rust = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if not hasattr(rust, "to_str"):
        return None if tokenizer is None else type(tokenizer).__name__
    settings = json.loads(rust.to_str())
    return {name: value for name, value in settings.items() if name not in ("truncation", "padding")}


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str).encode()
