"""From ids of fields to vectors: tables, and what compresses them."""

from embedkit.modules.lookup.adaptive import AdaptiveLookup
from embedkit.modules.lookup.alpt import LearnedStepLookup
from embedkit.modules.lookup.auto_dim import AutoDimLookup
from embedkit.modules.lookup.auto_srh import AutoSrhLookup
from embedkit.modules.lookup.codebook import CodebookLookup, MGQELookup
from embedkit.modules.lookup.compress import compress, decompress
from embedkit.modules.lookup.dedup import DedupLookup
from embedkit.modules.lookup.deep_hash import DeepHashLookup
from embedkit.modules.lookup.hashed import HashLookup
from embedkit.modules.lookup.lookup import FieldEmbedding, Lookup, PlainLookup, load_lookup
from embedkit.modules.lookup.low_rank import LowRankLookup, low_rank_linear
from embedkit.modules.lookup.mixed_dim import MixedDimLookup, power_law_dims
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
from embedkit.modules.lookup.tensor_train import TensorTrainLookup
from embedkit.modules.lookup.unified import UnifiedLookup

__all__ = [
    "AdaptiveLookup",
    "AutoDimLookup",
    "AutoSrhLookup",
    "CodebookLookup",
    "CompactLookup",
    "DedupLookup",
    "DeepHashLookup",
    "DeepLightLookup",
    "FieldEmbedding",
    "HashLookup",
    "LearnedStepLookup",
    "Lookup",
    "LowRankLookup",
    "MGQELookup",
    "MixedDimLookup",
    "OptEmbedLookup",
    "PlainLookup",
    "PrunedLookup",
    "QuantizedLookup",
    "QuantizedTrainingLookup",
    "QuotientRemainderLookup",
    "RobeLookup",
    "SearchResult",
    "SoftThresholdLookup",
    "TensorTrainLookup",
    "UnifiedLookup",
    "compress",
    "decompress",
    "evolve",
    "greedy_search",
    "load_lookup",
    "low_rank_linear",
    "power_law_dims",
    "random_search",
]
