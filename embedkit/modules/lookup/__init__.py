"""From ids of fields to vectors: tables, and what compresses them."""

from embedkit.modules.lookup.codebook import CodebookLookup, MGQELookup
from embedkit.modules.lookup.dedup import DedupLookup
from embedkit.modules.lookup.hashed import HashLookup
from embedkit.modules.lookup.lookup import FieldEmbedding, Lookup, PlainLookup, load_lookup
from embedkit.modules.lookup.low_rank import LowRankLookup, low_rank_linear
from embedkit.modules.lookup.optembed import (
    CompactLookup,
    OptEmbedLookup,
    SearchResult,
    evolve,
    greedy_search,
    random_search,
)
from embedkit.modules.lookup.pruned import DeepLightLookup, PrunedLookup, SoftThresholdLookup
from embedkit.modules.lookup.quantized import QuantizedLookup, QuantizedTrainingLookup
from embedkit.modules.lookup.quotient_remainder import QuotientRemainderLookup
from embedkit.modules.lookup.robe import RobeLookup
from embedkit.modules.lookup.unified import UnifiedLookup

__all__ = [
    "CodebookLookup",
    "CompactLookup",
    "DedupLookup",
    "DeepLightLookup",
    "FieldEmbedding",
    "HashLookup",
    "Lookup",
    "LowRankLookup",
    "MGQELookup",
    "OptEmbedLookup",
    "PlainLookup",
    "PrunedLookup",
    "QuantizedLookup",
    "QuantizedTrainingLookup",
    "QuotientRemainderLookup",
    "RobeLookup",
    "SearchResult",
    "SoftThresholdLookup",
    "UnifiedLookup",
    "evolve",
    "greedy_search",
    "load_lookup",
    "low_rank_linear",
    "random_search",
]
