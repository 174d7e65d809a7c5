"""Prose as documents, sections and paragraphs that fit an encoder; and text encoders that run no layer.

Encoders are resolved when first used, so that cutting texts imports no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

from embedkit.encoders.text.sections import MARKUPS, Markup, chunk_text

if TYPE_CHECKING:
    from embedkit.encoders.text.static import distill_static, static_encoder
    from embedkit.encoders.text.tfidf import TfidfInput, tfidf_lsa

__all__ = ["MARKUPS", "Markup", "TfidfInput", "chunk_text", "distill_static", "static_encoder", "tfidf_lsa"]

_HOMES = {
    "TfidfInput": "embedkit.encoders.text.tfidf",
    "distill_static": "embedkit.encoders.text.static",
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
