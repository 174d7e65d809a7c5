"""Depth as an argument: run only the first layers of a backbone, or several depths at once, without changing it."""

import copy
import operator
from collections.abc import Callable, Sequence
from itertools import pairwise
from types import MethodType
from typing import Any, TypeVar

from torch import nn

from embedkit.errors import InputError

M = TypeVar("M", bound=nn.Module)

_NEEDS_A_LAYER = ("deberta", "deberta-v2")
"""Kinds of backbone whose forward uses what a layer gave: with none it does not run."""

_FINAL_NORMS = ("norm", "final_norm", "ln_f", "final_layer_norm", "final_layernorm")
"""What backbones call a norm that stands beside their layers and is applied to what the last of them gives."""


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
    Layer 0 is the backbone's embedding layer (tokens, positions, types and their norm): a stack of no layers.

    Args:
        model: An encoder, or any module that holds one transformer backbone.
        num_layers: 0 ≤ num_layers ≤ depth; None or the full depth gives `model` itself.

    Raises:
        InputError: Out of range, or the model has no single stack of layers, or none of its layers is asked for
            and its backbone does not run without any (DeBERTa).
    """
    if num_layers is None:
        return model
    path, layers = _find_layers(model)
    try:
        num_layers = operator.index(num_layers)  # numpy's integers count, and a configuration wants Python's
    except TypeError:
        message = f"num_layers must be an integer between 0 and {len(layers)}; received {num_layers!r}"
        raise InputError(message) from None
    if not 0 <= num_layers <= len(layers):
        message = f"num_layers must be between 0 and {len(layers)}; received {num_layers}"
        raise InputError(message)
    if num_layers == len(layers):
        return model
    if num_layers == 0:
        _check_runs_without_layers(model)
    return _with_stack(model, path, list(layers)[:num_layers])


def truncate_layers(model: M, num_layers: int) -> M:
    """A copy of `model` that has only its first layers: what to save and ship once a depth is chosen.

    Its vectors are those of `encode(num_layers=num_layers)`. The copy's configuration names the new depth; a
    folder whose configuration does not is filled up with random layers when it is opened.

    Args:
        model: As in `at_depth`.
        num_layers: 1 ≤ num_layers ≤ depth.

    Raises:
        InputError: As in `at_depth`.

    Example:
        >>> import embedkit as ek
        >>> encoder = ek.load()
        >>> half = truncate_layers(encoder, 3)
        >>> half.get_num_layers(), encoder.get_num_layers()
        (3, 6)
    """
    view = at_depth(model, num_layers)
    if len(_find_layers(view)[1]) < 1:
        message = "num_layers must be at least 1, since a copy without layers has no depth; received 0"
        raise InputError(message)
    shorter = copy.deepcopy(view)
    for module in shorter.modules():
        config: Any = module.__dict__.get("config")
        kinds = getattr(config, "layer_types", None)
        if kinds is not None and len(kinds) > num_layers:  # some backbones list the kind of attention of each layer
            config.layer_types = list(kinds)[:num_layers]
    return shorter


def at_depths(model: M, num_layers: Sequence[int | None]) -> list[M]:
    """Views of `model` at several depths that run each layer once between them.

    The views must run on one batch after the other, all of them, in order: each goes on where the one before
    stopped. Each runs the forward of its whole model, so what comes before the layers is computed anew (token
    embeddings and masks, cheap beside a layer), and what comes behind them, a final norm or none, is applied
    by whoever knows of it: the backbone. Vectors are bit-equal to those of `at_depth`.

    Args:
        model: As in `at_depth`.
        num_layers: Ascending, each 0 … depth; None is the full depth. A single one gives what `at_depth` gives.

    Raises:
        InputError: As in `at_depth`.
    """
    views = [at_depth(model, stop) for stop in num_layers]
    if len(views) == 1:
        return views
    path, layers = _find_layers(model)
    if _gives_every_state(model, path):
        return views  # what comes behind the layers reads more than the last state: nothing may be left out
    stops = [len(layers) if stop is None else stop for stop in num_layers]
    every = any(getattr(module, "records_layers", False) for module in model.modules())
    return [_with_stack(model, path, stack) for stack in _relay(list(layers), stops, every=every)]


def recording_layers(model: M) -> tuple[M, list[Any]]:
    """A view of `model`, and a list into which its forward writes what each of its layers reads.

    With k layers that is H_0, …, H_k-1, where H_0 is what the embedding layer gives. What the last layer gives is what
    the view returns. `model` may itself be a view.

    Args:
        model: As in `at_depth`; `records_layers` is true of the module that calls this, so that `at_depths` knows.

    Raises:
        InputError: The model has no single stack of layers.
    """
    path, layers = _find_layers(model)
    states: list[Any] = []

    def recording(layer: nn.Module) -> nn.Module:
        def run(*inputs: Any, **options: Any) -> Any:
            states.append(inputs[0] if inputs else options["hidden_states"])
            return layer(*inputs, **options)

        return _StandIn(layer, run)

    return _with_stack(model, path, [recording(layer) for layer in layers]), states


def final_norm(model: nn.Module) -> nn.Module | None:
    """The norm that a backbone applies to the states of its last layer, if it has one."""
    path, _ = _find_layers(model)
    beside = dict(model.get_submodule(".".join(path[:-1])).named_children())
    return next((beside[name] for name in _FINAL_NORMS if name in beside), None)


def _relay(layers: list[nn.Module], stops: list[int], *, every: bool) -> list[list[nn.Module]]:
    """Stacks that end at the `stops`; in each, layers of the one before give what they gave there.

    Unless the states of `every` layer are read, all of these give what the last of them gave, the only state kept.
    """
    kept: dict[int, Any] = {}

    def keeping(place: int) -> nn.Module:
        def run(*inputs: Any, **options: Any) -> Any:
            if not every:
                kept.clear()
            kept[place] = layers[place](*inputs, **options)
            return kept[place]

        return _StandIn(layers[place], run)

    def repeating(place: int, start: int) -> nn.Module:
        return _StandIn(layers[place], lambda *_, **__: kept[place if every else start - 1])

    def between(start: int, stop: int) -> list[nn.Module]:
        own = [keeping(place) if every or place == stop - 1 else layers[place] for place in range(start, stop)]
        return [*(repeating(place, start) for place in range(start)), *own]

    return [between(start, stop) for start, stop in pairwise([0, *stops])]


class _StandIn(nn.Module):
    """Something else in the place of a layer, with its attributes: backbones ask a layer for its kind of mask."""

    def __init__(self, layer: nn.Module, run: Callable[..., Any]) -> None:
        super().__init__()
        self.layer, self.run = layer, run

    def forward(self, *inputs: Any, **options: Any) -> Any:
        return self.run(*inputs, **options)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("layer"), name)


def _gives_every_state(model: nn.Module, path: list[str]) -> bool:
    """Whether a module on the way to the stack is configured to give the states behind all layers."""
    on_the_way = [model.get_submodule(".".join(path[:length])) for length in range(len(path))]
    return any(getattr(module.__dict__.get("config"), "output_hidden_states", False) for module in on_the_way)


def _with_stack(module: M, path: list[str], stack: list[nn.Module]) -> M:
    """Copy the modules on the way to the stack, each shallowly, and put another stack there."""
    if isinstance(module, nn.ModuleList) and not path:
        return type(module)(stack)
    view = copy.copy(module)
    view._modules = dict(module._modules)
    if isinstance(forward := module.__dict__.get("forward"), MethodType):  # in training, accelerate's autocast
        view.__dict__["forward"] = MethodType(forward.__func__, view)
    child = module._modules[path[0]]
    if child is not None:
        view._modules[path[0]] = _with_stack(child, path[1:], stack)
    config: Any = module.__dict__.get("config")
    if hasattr(config, "num_hidden_layers"):
        shorter = copy.copy(config)
        shorter.num_hidden_layers = len(stack)
        view.__dict__["config"] = shorter
    return view


def _check_runs_without_layers(model: nn.Module) -> None:
    ((_, backbone),) = _backbones(model)
    kind = getattr(backbone.__dict__.get("config"), "model_type", None)
    if kind in _NEEDS_A_LAYER:
        message = f"num_layers must be 1 or more for a backbone of the kind {kind!r}, which needs a layer; received 0"
        raise InputError(message)


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
