"""TF-IDF and LSA: words counted, weighted by rarity, and projected on the directions in which texts differ most."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias, get_args

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from embedkit.encoders.bags import BagInputs
from embedkit.encoders.encoder import Encoder
from embedkit.encoders.inputs import Features, InputModule, PreparedInputs, ReadsText, checked_texts
from embedkit.errors import InputError

Analyzer: TypeAlias = Literal["word", "char", "char_wb"]

_WORD = r"(?u)\b\w+\b"  # one letter is a word too
_WEIGHTS = "model.safetensors"


class TfidfInput(ReadsText, InputModule):
    """First module of a TF-IDF + LSA encoder: counts the terms of a text, weighs and projects them.

    For a text with counts c_t of the known terms t,

        tf_t = 1 + ln c_t   (`sublinear_tf`; c_t without it)
        w_t = tf_t · idf_t
        vector = Σ_t w_t · projection_t / sqrt(Σ_t w_t²)

    A text without a known term gives the zero vector.

    Args:
        terms: The vocabulary, each term once.
        idf: Inverse document frequency of each term, (terms,).
        projection: Row t is where term t lies, (terms, dim). It can be trained.
        analyzer: What a term is made of: words, characters, or characters within words ("char_wb").
        ngram_range: Fewest and most words or characters of a term.
        sublinear_tf: Whether counts enter by their logarithm.

    Raises:
        InputError: Shapes differ, a term is repeated, there is none, or an option is unknown.

    Example:
        >>> module = TfidfInput(["cat", "dog"], [1.0, 2.0], [[1.0, 0.0], [0.0, 1.0]])
        >>> module(module.preprocess(["the cat", "a bird"]))["sentence_embedding"].tolist()
        [[1.0, 0.0], [0.0, 0.0]]
    """

    config_keys: list[str] = ["analyzer", "ngram_range", "sublinear_tf"]  # noqa: RUF012 (declared so by the base class)
    terms_json: Tensor
    idf: Tensor

    def __init__(
        self,
        terms: Sequence[str],
        idf: Any,
        projection: Any,
        *,
        analyzer: Analyzer = "word",
        ngram_range: Sequence[int] = (1, 1),
        sublinear_tf: bool = True,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.analyzer, self.ngram_range, self.sublinear_tf = analyzer, list(ngram_range), sublinear_tf
        self._counter = _counter(analyzer, ngram_range, vocabulary={term: row for row, term in enumerate(terms)})
        packed = json.dumps(list(terms)).encode()  # beside the weights, so that the fingerprint covers it
        self.register_buffer("terms_json", torch.frombuffer(bytearray(packed), dtype=torch.uint8))
        self.register_buffer("idf", torch.as_tensor(np.asarray(idf), dtype=torch.float32))
        self.projection = nn.Parameter(torch.as_tensor(np.asarray(projection), dtype=torch.float32))
        shapes = (len(self._counter.vocabulary), *self.idf.shape, self.projection.shape[0], self.projection.ndim)
        if shapes != (len(terms), len(terms), len(terms), 2) or not terms:
            message = (
                "different terms, idf (terms,) and projection (terms, dim) must go together; received "
                f"{len(set(terms))} different terms of {len(terms)}, idf {tuple(self.idf.shape)}, "
                f"projection {tuple(self.projection.shape)}"
            )
            raise InputError(message)

    def prepare(self, inputs: list[Any], prompt: str | None, task: str | None) -> PreparedInputs:
        """Count."""
        del task
        counts = self._counter.transform([(prompt or "") + text for text in inputs])
        counts.sort_indices()
        columns = {"input_ids": counts.indices.astype(np.int64), "counts": counts.data.astype(np.float32)}
        return BagInputs(columns, counts.indptr.astype(np.int64))

    def forward(self, features: Features, **kwargs: Any) -> Features:
        """Weigh, scale to length 1, project."""
        del kwargs
        ids, offsets, counts = features["input_ids"], features["offsets"], features["counts"]
        weights = (1 + counts.log() if self.sublinear_tf else counts) * self.idf[ids]
        sizes = torch.diff(offsets, append=offsets.new_tensor([len(ids)]))
        bags = torch.repeat_interleave(torch.arange(len(offsets), device=offsets.device), sizes)
        squares = weights.new_zeros(len(offsets)).index_add(0, bags, weights**2)
        features["sentence_embedding"] = nn.functional.embedding_bag(
            ids, self.projection, offsets, mode="sum", per_sample_weights=weights / squares.sqrt()[bags]
        )
        return features

    def get_embedding_dimension(self) -> int:
        """Width of the vectors."""
        return int(self.projection.shape[1])

    def save(self, output_path: str, *args: Any, safe_serialization: bool = True, **kwargs: Any) -> None:
        """Write options as JSON; vocabulary, idf and projection as safetensors."""
        del args, kwargs
        self.save_config(output_path)
        self.save_torch_weights(output_path, safe_serialization=safe_serialization)

    @classmethod
    def load(  # type: ignore[override]  # from folders only
        cls, model_name_or_path: str, subfolder: str = "", **options: Any
    ) -> Self:
        """Read what `save` wrote."""
        del options
        folder = Path(model_name_or_path, subfolder)
        config = json.loads((folder / cls.config_file_name).read_bytes())
        weights = load_file(folder / _WEIGHTS)
        terms = json.loads(bytes(weights["terms_json"].tolist()))
        return cls(terms, weights["idf"], weights["projection"], **config)


def tfidf_lsa(
    texts: Iterable[str],
    *,
    dim: int = 256,
    analyzer: Analyzer = "word",
    ngram_range: tuple[int, int] = (1, 1),
    min_df: int = 1,
    max_features: int | None = None,
    sublinear_tf: bool = True,
    seed: int = 0,
) -> Encoder:
    """An encoder of shared words: TF-IDF, then latent semantic analysis. No network, no download.

    With X the matrix of TF-IDF rows of length 1, (texts, terms), and X ≈ U S Vᵀ its `dim` largest singular values, a
    text with the row x gets x V. Directions come in the order of their singular values, so that `truncate_dim` gives
    the smaller LSA.

    Args:
        texts: The collection that says which terms there are, how rare each is, and where it lies.
        dim: Width of the vectors, at most as many as there are texts and terms.
        analyzer: What a term is made of: words, characters, or characters within words ("char_wb").
        ngram_range: Fewest and most words or characters of a term.
        min_df: How many texts must hold a term.
        max_features: How many of the most frequent terms are kept; None keeps all.
        sublinear_tf: Whether counts enter by their logarithm.
        seed: Of the randomised decomposition.

    Returns:
        An encoder of texts. A text without a known term gives the zero vector.

    Raises:
        InputError: `texts` holds no text or no term, or `dim` is more than texts or terms.

    Example:
        >>> encoder = tfidf_lsa(["a red cat", "a red dog", "income tax law", "tax on income"], dim=2)
        >>> cat, dog, tax = encoder.encode(["cat", "the dog", "tax"], normalize_embeddings=True)
        >>> round(float(cat @ dog), 2), round(abs(float(cat @ tax)), 2)
        (1.0, 0.0)

    Reference:
        S. Deerwester, S. T. Dumais, G. W. Furnas, T. K. Landauer, R. Harshman, "Indexing by Latent Semantic
        Analysis", JASIS 1990.

    Deviations:
        Weights are scikit-learn's: idf = 1 + ln((1 + texts) / (1 + texts with the term)), rows of length 1. New texts
        are not divided by S, as `TruncatedSVD` does not. One-letter words count.
    """
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfTransformer

    texts = checked_texts(texts)
    if not texts:
        message = "texts must hold a text to count words in; received none"
        raise InputError(message)
    counter = _counter(analyzer, ngram_range, min_df=min_df, max_features=max_features)
    try:
        counts = counter.fit_transform(texts)
    except ValueError as error:
        message = f"TF-IDF found no term to count in {len(texts)} texts: {error}"
        raise InputError(message) from None
    limit = min(counts.shape)
    if isinstance(dim, bool) or not isinstance(dim, int | np.integer) or not 1 <= dim <= limit:
        message = (
            f"dim must be between 1 and {limit}, the smaller of {counts.shape[0]} texts and {counts.shape[1]} terms; "
            f"received {dim!r}"
        )
        raise InputError(message)
    weigh = TfidfTransformer(sublinear_tf=sublinear_tf)
    with np.errstate(invalid="ignore"):  # one text has no variance to explain
        directions = TruncatedSVD(int(dim), random_state=seed).fit(weigh.fit_transform(counts)).components_
    terms = [str(term) for term in counter.get_feature_names_out()]
    options: dict[str, Any] = {"analyzer": analyzer, "ngram_range": ngram_range, "sublinear_tf": sublinear_tf}
    return Encoder([TfidfInput(terms, weigh.idf_, directions.T, **options)], device="cpu").eval()


def _counter(analyzer: Analyzer, ngram_range: Sequence[int], **options: Any) -> Any:
    """scikit-learn's `CountVectorizer`.

    Raises:
        InputError: An option is unknown or out of range.
    """
    from sklearn.feature_extraction.text import CountVectorizer

    if analyzer not in get_args(Analyzer):
        message = f"analyzer must be one of {', '.join(get_args(Analyzer))}; received {analyzer!r}"
        raise InputError(message)
    bounds = list(ngram_range)
    if len(bounds) != 2 or not all(type(bound) is int for bound in bounds) or not 1 <= bounds[0] <= bounds[1]:
        message = f"ngram_range must be (fewest, most) with 1 <= fewest <= most; received {ngram_range!r}"
        raise InputError(message)
    pattern = _WORD if analyzer == "word" else None
    return CountVectorizer(analyzer=analyzer, ngram_range=tuple(bounds), token_pattern=pattern, **options)
