"""Depth as an argument: run only the first layers of a backbone, without changing it."""

import copy
import operator
from typing import Any, TypeVar

from torch import nn

from embedkit.errors import InputError

M = TypeVar("M", bound=nn.Module)


def num_layers_of(model: nn.Module) -> int:
    """Number of layers of the model's backbone.

    Raises:
        InputError: The model has no single stack of layers.
    """
    _, layers = _find_layers(model)
    return len(layers)


def at_depth(model: M, num_layers: int | None) -> M:
    """A view of `model` that stops after layer `num_layers`.

    The view shares every parameter with `model`, so gradients flow into it and nothing is copied. It runs
    the backbone's own forward over a shorter list of layers: later layers cost nothing, and a backbone
    that ends in a norm applies it to the state it stopped at. Losses and `encode` both go through here.

    Args:
        model: An encoder, or any module that holds one transformer backbone.
        num_layers: 1 ≤ num_layers ≤ depth; None or the full depth gives `model` itself.

    Raises:
        InputError: Out of range, or the model has no single stack of layers.
    """
    if num_layers is None:
        return model
    path, layers = _find_layers(model)
    try:
        num_layers = operator.index(num_layers)  # numpy's integers count, and a configuration wants Python's
    except TypeError:
        message = f"num_layers must be an integer between 1 and {len(layers)}; received {num_layers!r}"
        raise InputError(message) from None
    if not 1 <= num_layers <= len(layers):
        message = f"num_layers must be between 1 and {len(layers)}; received {num_layers}"
        raise InputError(message)
    if num_layers == len(layers):
        return model
    return _with_shorter_stack(model, path, num_layers)


def _with_shorter_stack(module: M, path: list[str], num_layers: int) -> M:
    """Copy the modules on the way to the stack, each shallowly, and cut the stack."""
    if isinstance(module, nn.ModuleList) and not path:
        return type(module)(list(module)[:num_layers])
    view = copy.copy(module)
    view._modules = dict(module._modules)
    child = module._modules[path[0]]
    if child is not None:
        view._modules[path[0]] = _with_shorter_stack(child, path[1:], num_layers)
    config: Any = module.__dict__.get("config")
    if hasattr(config, "num_hidden_layers"):
        shorter = copy.copy(config)
        shorter.num_hidden_layers = num_layers
        view.__dict__["config"] = shorter
    return view


def _find_layers(model: nn.Module) -> tuple[list[str], nn.ModuleList]:
    backbones = _backbones(model)
    if len(backbones) > 1:
        raise _no_single_stack("several")
    stacks = [
        ([*path, *name.split(".")], module)
        for path, backbone in backbones
        for name, module in backbone.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == _depth_of(backbone)
    ]
    shallowest = min((len(path) for path, _ in stacks), default=0)
    stacks = [stack for stack in stacks if len(stack[0]) == shallowest]
    if len(stacks) != 1:
        raise _no_single_stack("several" if stacks else "none")
    return stacks[0]


def _backbones(model: nn.Module) -> list[tuple[list[str], nn.Module]]:
    """The modules that are configured by a number of layers, without those inside one of them, and the way there."""
    found: list[tuple[list[str], nn.Module]] = []
    for name, module in model.named_modules():
        path = name.split(".") if name else []
        if _depth_of(module) is not None and not any(path[: len(outer)] == outer for outer, _ in found):
            found.append((path, module))
    return found


def _depth_of(module: nn.Module) -> int | None:
    return getattr(module.__dict__.get("config"), "num_hidden_layers", None)


def _no_single_stack(found: str) -> InputError:
    return InputError(f"num_layers needs an encoder with one stack of transformer layers; this one has {found}")
