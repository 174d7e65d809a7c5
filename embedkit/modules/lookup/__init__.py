"""From ids of fields to vectors: tables, and what compresses them."""

from embedkit.modules.lookup.hashed import HashLookup
from embedkit.modules.lookup.lookup import FieldEmbedding, Lookup, PlainLookup
from embedkit.modules.lookup.quantized import QuantizedLookup, QuantizedTrainingLookup
from embedkit.modules.lookup.unified import UnifiedLookup

__all__ = [
    "FieldEmbedding",
    "HashLookup",
    "Lookup",
    "PlainLookup",
    "QuantizedLookup",
    "QuantizedTrainingLookup",
    "UnifiedLookup",
]
