"""Encoders that know nothing, or only words: what every score has to beat."""

import copy
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedkit.errors import InputError
from embedkit.index.retriever import Hit
from embedkit.types import Embeddings

FLOORS = ("random", "tfidf", "untrained")
"""Which floors there are: chance, shared words, and the model's own architecture before any training."""

_RANDOM_DIM = 384
_WORD_BITS = 12


class RandomEncoder:
    """A random direction for each input; equal inputs get equal vectors. What chance reaches.

    Example:
        >>> RandomEncoder().encode(["a", "b"]).shape
        (2, 384)
    """

    prompts: dict[str, str] = {}  # noqa: RUF012 (read only)

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.fingerprint = _hash(f"random {_RANDOM_DIM} {seed}")

    def encode(self, inputs: Any, **options: Any) -> Embeddings:
        """Vectors of a batch, float32 (n, 384)."""
        del options
        vectors = np.empty((len(inputs), _RANDOM_DIM), dtype=np.float32)
        for row, value in enumerate(inputs):
            digest = hashlib.sha256(f"{self.seed} {_content(value)}".encode("utf-8", "surrogatepass")).digest()
            vectors[row] = np.random.default_rng(int.from_bytes(digest[:8], "big")).standard_normal(_RANDOM_DIM)
        return vectors

    def get_embedding_dimension(self) -> int:
        """Number of dimensions."""
        return _RANDOM_DIM


class TfidfEncoder:
    """Bags of words weighted by rarity, hashed to 4,096 dimensions. What shared words reach.

    Args:
        texts: The collection that says how rare each word is: all texts of a task.

    Raises:
        InputError: There are no texts.

    Example:
        >>> encoder = TfidfEncoder(["a red house", "a blue house"])
        >>> vectors = encoder.encode(["red", "a red car"])
        >>> bool(vectors[0] @ vectors[1] > 0)
        True
    """

    prompts: dict[str, str] = {}  # noqa: RUF012 (read only)

    def __init__(self, texts: Iterable[str]) -> None:
        from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer

        texts = list(texts)
        if not texts:
            message = "TF-IDF needs texts to count words in; received none"
            raise InputError(message)
        # Case kept out, one-letter words kept in; signs would let two words cancel each other.
        self._count = HashingVectorizer(
            n_features=2**_WORD_BITS,
            alternate_sign=False,
            norm=None,
            token_pattern=r"(?u)\b\w+\b",  # noqa: S106
        )
        self._weigh = TfidfTransformer(sublinear_tf=True).fit(self._count.transform(texts))
        self.fingerprint = _hash(f"tfidf, sublinear, {2**_WORD_BITS} buckets")  # the texts come with the task

    def encode(self, inputs: Any, **options: Any) -> Embeddings:
        """Vectors of a batch of texts, float32 (n, 4096); a text without words gives a zero vector."""
        del options
        weighted = self._weigh.transform(self._count.transform(list(inputs)))
        return np.asarray(weighted.toarray(), dtype=np.float32)

    def get_embedding_dimension(self) -> int:
        """Number of dimensions."""
        return int(2**_WORD_BITS)


class Bm25:
    """Okapi BM25 over the words of documents, as a retriever: `add`, then `search`. What shared words reach.

    Scores are those of the package bm25s with its defaults (Lucene's variant, k1 = 1.5, b = 0.75).

    Reference: Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", Foundations and
    Trends in Information Retrieval, 2009; Lù, "BM25S", 2024.

    Raises:
        MissingExtraError: bm25s is not installed.
    """

    def __init__(self) -> None:
        from embedkit.optional import require

        self._bm25s: Any = require("bm25s", extra="mteb")
        self._index = self._bm25s.BM25()
        self._ids: list[Any] = []
        self._metadata: list[Mapping[str, Any]] = []
        self.fingerprint = _hash("bm25s defaults, no stemming")

    def add(self, ids: Iterable[Any], documents: Iterable[str], metadata: Iterable[Mapping[str, Any]]) -> None:
        """Index documents; once."""
        self._ids, self._metadata = list(ids), list(metadata)
        words = self._words(documents)
        # An index of no word at all is refused; of one that no query has, every document scores 0.
        self._index.index(words if any(words) else [[""] for _ in words], show_progress=False)

    def search(self, queries: list[str], k: int = 10, *, where: Mapping[str, Any] | None = None) -> list[list[Hit]]:
        """For each query its k best documents, best first, among those whose metadata are in the lists of `where`."""
        rows, scores = self._index.retrieve(self._words(queries), k=len(self._ids), show_progress=False)
        allowed = [all(about[name] in values for name, values in (where or {}).items()) for about in self._metadata]
        return [
            [Hit(self._ids[row], float(score), None, {}) for row, score in zip(*found, strict=True) if allowed[row]][:k]
            for found in zip(rows, scores, strict=True)
        ]

    def scores(self, queries: Sequence[str]) -> NDArray[np.float32]:
        """Score of each document for each query, (queries, documents); 0 where they share no word."""
        words = self._words(queries)
        of_each = [self._index.get_scores(each) if each else np.zeros(len(self._ids)) for each in words]
        return np.array(of_each, dtype=np.float32).reshape(len(words), len(self._ids))

    def _words(self, texts: Iterable[str]) -> Any:
        return self._bm25s.tokenize(list(texts), stopwords=None, return_ids=False, show_progress=False)


def untrained(encoder: Any, seed: int = 0) -> Any:
    """The same architecture with fresh random weights. What the shape of the network reaches alone.

    Args:
        encoder: An `Encoder` or `SentenceTransformer`; it is not changed.
        seed: Seed of the weights.

    Raises:
        InputError: The encoder has no weights to forget.
    """
    import torch
    from transformers import PreTrainedModel

    if not any(True for _ in getattr(encoder, "parameters", tuple)()):
        message = f"an untrained twin needs an encoder with weights; received {type(encoder).__name__}"
        raise InputError(message)
    twin = copy.deepcopy(encoder)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        backbones = [module for module in twin.modules() if isinstance(module, PreTrainedModel)]
        done: set[int] = set()
        for backbone in backbones:
            if id(backbone) not in done:
                backbone.load_state_dict(type(backbone)(backbone.config).state_dict())
                done.update(id(module) for module in backbone.modules())
        for module in twin.modules():
            if id(module) not in done and callable(reset := getattr(module, "reset_parameters", None)):
                reset()
    return twin


def _content(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
