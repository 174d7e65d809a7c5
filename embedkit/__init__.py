"""embedkit: vectors from anything, and a way to trust them.

Names are resolved when first used, so `import embedkit` imports neither torch nor numpy.
"""

import importlib
from typing import TYPE_CHECKING, Any

from embedkit.errors import EmbedkitError

if TYPE_CHECKING:
    from embedkit.encoders.cache import VectorCache
    from embedkit.encoders.encoder import Encoder
    from embedkit.encoders.loading import load
    from embedkit.evaluation.evaluate import evaluate
    from embedkit.index.faiss_index import FaissIndex
    from embedkit.index.retriever import Retriever
    from embedkit.modules.lookup.compress import compress, decompress
    from embedkit.training.fit import fit

__version__ = "0.1.0"

__all__ = [
    "EmbedkitError",
    "Encoder",
    "FaissIndex",
    "Retriever",
    "VectorCache",
    "__version__",
    "compress",
    "decompress",
    "evaluate",
    "fit",
    "load",
]

_HOMES = {
    "Encoder": "embedkit.encoders.encoder",
    "FaissIndex": "embedkit.index.faiss_index",
    "Retriever": "embedkit.index.retriever",
    "VectorCache": "embedkit.encoders.cache",
    "compress": "embedkit.modules.lookup.compress",
    "decompress": "embedkit.modules.lookup.compress",
    "evaluate": "embedkit.evaluation.evaluate",
    "fit": "embedkit.training.fit",
    "load": "embedkit.encoders.loading",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        message = f"module 'embedkit' has no attribute {name!r}; it has {', '.join(__all__)}"
        raise AttributeError(message)
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
