"""What makes two encoders the same: a hash of weights, tokenizer and settings."""

import hashlib
import json
from typing import Any

import torch
from sentence_transformers.base.modules import Router
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

_VOLATILE = {"transformers_version", "_name_or_path", "name_or_path", "architectures", "dtype", "torch_dtype"}
_SWITCHED = ("truncation", "padding")
_optimizer_steps = 0


def _count_step(*_: Any) -> None:
    global _optimizer_steps  # noqa: PLW0603 (all optimizers of the process share one count)
    _optimizer_steps += 1


# A fused optimizer writes weights without raising their version.
register_optimizer_step_post_hook(_count_step)


def fingerprint(encoder: nn.Module) -> str:
    """SHA-256, in hexadecimal, of everything in `encoder` that decides its vectors.

    Covers weights (bytes, shape and dtype), module classes and their settings, the backbone's
    configuration as it differs from its defaults, and the tokenizer. Independent of device, file
    names and package versions.
    """
    digest = hashlib.sha256()
    for name, part in _parts(encoder):
        tokenizer = _tokenizer_settings(getattr(part, "tokenizer", None))
        digest.update(_canonical([name, type(part).__name__, _settings(part), tokenizer]))
    for name, tensor in sorted(encoder.state_dict().items()):
        digest.update(_canonical([name, str(tensor.dtype), list(tensor.shape)]))
        digest.update(_bytes_of(tensor))
    return digest.hexdigest()


def weights_version(encoder: nn.Module) -> tuple[Any, ...]:
    """A cheap value that changes whenever a weight is written in place, replaced or converted, or a setting is."""
    settings = [(name, _settings(part), _tokenizer_version(part)) for name, part in _parts(encoder)]
    weights = [(tensor.data_ptr(), _version(tensor)) for tensor in encoder.state_dict(keep_vars=True).values()]
    return _optimizer_steps, _canonical(settings), *weights


def _version(tensor: torch.Tensor) -> Any:
    """Counts writes; of a tensor that was made in inference mode and keeps no count, equal to nothing."""
    return object() if tensor.is_inference() else tensor._version


def _bytes_of(tensor: torch.Tensor) -> Any:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data


def _parts(encoder: nn.Module) -> list[tuple[str, Any]]:
    """The encoder's modules that have settings, those inside other modules too, such as the towers of a router."""
    return [
        (name, part)
        for name, part in encoder.named_modules()
        if name and ("." not in name or hasattr(part, "config_keys"))
    ]


def _settings(part: Any) -> Any:
    settings: dict[str, Any] = dict(part.get_config_dict()) if hasattr(part, "config_keys") else {}
    backbone = getattr(getattr(part, "model", None), "config", None)
    if backbone is not None:
        differences = backbone.to_diff_dict()
        settings["backbone"] = {name: value for name, value in differences.items() if name not in _VOLATILE}
    if not isinstance(part, Router):  # its towers have their own
        settings["max_seq_length"] = getattr(part, "max_seq_length", None)
    return settings


def _tokenizer_version(part: Any) -> Any:
    """What can be changed in a tokenizer, without its vocabulary, which takes long to write out."""
    tokenizer: Any = getattr(part, "tokenizer", None)
    rust = getattr(tokenizer, "backend_tokenizer", tokenizer)
    steps = [repr(getattr(rust, name, None)) for name in ("normalizer", "pre_tokenizer", "post_processor")]
    return [*steps, len(tokenizer) if hasattr(tokenizer, "__len__") else None, _cut_side(tokenizer)]


def _tokenizer_settings(tokenizer: Any) -> Any:
    """The tokenizer's own JSON without what calls switch on and off."""
    rust = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if not hasattr(rust, "to_str"):
        return None if tokenizer is None else type(tokenizer).__name__
    settings = {name: value for name, value in json.loads(rust.to_str()).items() if name not in _SWITCHED}
    return settings if _cut_side(tokenizer) == "right" else {**settings, "truncation_side": _cut_side(tokenizer)}


def _cut_side(tokenizer: Any) -> str:
    """Which end of a long text is cut off."""
    return getattr(tokenizer, "truncation_side", "right")


def _canonical(value: Any) -> bytes:
    return json.dumps(_with_text_keys(value), sort_keys=True, separators=(",", ":"), default=str).encode()


def _with_text_keys(value: Any) -> Any:
    """Pairs of modalities and of routes are keys that JSON does not know."""
    if isinstance(value, dict):
        return {str(key): _with_text_keys(item) for key, item in value.items()}
    return [_with_text_keys(item) for item in value] if isinstance(value, list | tuple) else value
