"""From ids of fields to vectors: tables, and what compresses them."""

from embedkit.modules.lookup.lookup import FieldEmbedding, Lookup, PlainLookup

__all__ = ["FieldEmbedding", "Lookup", "PlainLookup"]
