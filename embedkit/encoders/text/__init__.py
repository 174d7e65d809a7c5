"""Prose as documents: sections and paragraphs that fit an encoder."""

from embedkit.encoders.text.sections import MARKUPS, Markup, chunk_text

__all__ = ["MARKUPS", "Markup", "chunk_text"]
