"""Prose as documents, sections and paragraphs that fit; text encoders of decoders, and such as run no layer.

Encoders are resolved when first used, so that cutting texts imports no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

from embedkit.encoders.text.sections import MARKUPS, Markup, chunk_text

if TYPE_CHECKING:
    from embedkit.encoders.text.decoder import BIDIRECTIONAL_FAMILIES, instruction, nv_embed
    from embedkit.encoders.text.prompt import PromptInput, mask_states, prompt_encoder
    from embedkit.encoders.text.static import distill_static, static_encoder
    from embedkit.encoders.text.tfidf import TfidfInput, tfidf_lsa
    from embedkit.encoders.text.verbaliser import Verbaliser, masked_word_head

__all__ = [
    "BIDIRECTIONAL_FAMILIES",
    "MARKUPS",
    "Markup",
    "PromptInput",
    "TfidfInput",
    "Verbaliser",
    "chunk_text",
    "distill_static",
    "instruction",
    "mask_states",
    "masked_word_head",
    "nv_embed",
    "prompt_encoder",
    "static_encoder",
    "tfidf_lsa",
]

_HOMES = {
    "BIDIRECTIONAL_FAMILIES": "embedkit.encoders.text.decoder",
    "PromptInput": "embedkit.encoders.text.prompt",
    "TfidfInput": "embedkit.encoders.text.tfidf",
    "Verbaliser": "embedkit.encoders.text.verbaliser",
    "distill_static": "embedkit.encoders.text.static",
    "instruction": "embedkit.encoders.text.decoder",
    "mask_states": "embedkit.encoders.text.prompt",
    "masked_word_head": "embedkit.encoders.text.verbaliser",
    "nv_embed": "embedkit.encoders.text.decoder",
    "prompt_encoder": "embedkit.encoders.text.prompt",
    "static_encoder": "embedkit.encoders.text.static",
    "tfidf_lsa": "embedkit.encoders.text.tfidf",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        message = f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}"
        raise AttributeError(message)
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
