"""Low-rank adapters: train two thin matrices beside each frozen one, and add them to it in the end."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from embedkit.errors import InputError
from embedkit.optional import require


@dataclass(frozen=True, kw_only=True)
class LoRA:
    """Which adapters are put into a backbone: W x becomes W x + (alpha / rank) B A x, with B = 0 at the start.

    Attributes:
        rank: Rows of A and columns of B, at least 1.
        alpha: Scale of the update.
        dropout: Share of the adapters' inputs that is dropped in training, 0 ≤ dropout < 1.
        targets: Names of the linear maps that get one; "all-linear" means all of the backbone's.

    Raises:
        InputError: A number is out of range.

    Reference: Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, ICLR 2022, eq. 3.
    """

    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.1
    targets: str | tuple[str, ...] = "all-linear"

    def __post_init__(self) -> None:
        if self.rank < 1 or not self.alpha > 0 or not 0 <= self.dropout < 1:
            message = f"adapters need rank >= 1, alpha > 0 and 0 <= dropout < 1; received {self}"
            raise InputError(message)


def add_lora(encoder: Any, lora: LoRA) -> None:
    """Freeze the encoder's backbone and put adapters into it; what stands behind it, such as a pooling, stays free.

    Raises:
        InputError: The encoder has no transformer backbone or has adapters, or none of its maps has such a name.
        MissingExtraError: peft is not installed.
    """
    peft = require("peft", extra="train")
    backbone = _backbone(encoder)
    if has_lora(encoder):
        message = "the encoder has adapters already: train those, without lora=, or merge_lora them first"
        raise InputError(message)
    targets = lora.targets if isinstance(lora.targets, str) else list(lora.targets)
    names = {name.rsplit(".", 1)[-1] for name, part in backbone.named_modules() if isinstance(part, nn.Linear)}
    if not isinstance(targets, str) and not names & set(targets):
        message = f"targets must name linear maps of the backbone ({', '.join(sorted(names))}); received {lora.targets}"
        raise InputError(message)
    config = peft.LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=sorted(names) if targets == "all-linear" else targets,
    )
    peft.inject_adapter_in_model(config, backbone)


def merge_lora(encoder: Any) -> None:
    """Add each adapter to the map it stands beside and remove it: an ordinary encoder again, all of it trainable."""
    layers = require("peft.tuners.tuners_utils", extra="train")
    backbone = _backbone(encoder)
    adapted = [(name, part) for name, part in backbone.named_modules() if isinstance(part, layers.BaseTunerLayer)]
    for name, part in adapted:
        part.merge()
        parent, _, child = name.rpartition(".")
        setattr(backbone.get_submodule(parent), child, part.get_base_layer())
    for parameter in backbone.parameters():
        parameter.requires_grad_(True)


def has_lora(encoder: nn.Module) -> bool:
    """Whether adapters that `add_lora` put in are still there."""
    return any(hasattr(part, "lora_A") for part in encoder.modules()) and not any(
        getattr(part, "_hf_peft_config_loaded", False)
        for part in encoder.modules()  # transformers' own, which it saves
    )


def _backbone(encoder: Any) -> nn.Module:
    backbone = getattr(encoder[0], "model", None)
    if not isinstance(backbone, nn.Module):
        message = f"adapters go into a transformer; the encoder begins with {type(encoder[0]).__name__}"
        raise InputError(message)
    return backbone
