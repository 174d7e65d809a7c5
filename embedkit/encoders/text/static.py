"""Static text encoders: a vector for each token of the vocabulary, and a text is their mean. No layer is run."""

import re
from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers.base.modules import Normalize, Transformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer

from embedkit.encoders.encoder import Encoder
from embedkit.encoders.inputs import Features, InputModule, PreparedInputs, TokenizedInputs, checked_texts, described
from embedkit.encoders.readout import text_transformer
from embedkit.errors import InputError

_UNUSED = re.compile(r"\[unused\d+\]")  # places that BERT's vocabularies keep free: no text gives them


def static_encoder(encoder: Encoder) -> Encoder:
    """The raw word-embedding table of a model: a text is the mean of its tokens' rows, without special tokens.

        vector = (1 / tokens) Σ_t W[id_t]

    It knows no order and no context: the vector of two texts together is the mean of theirs, weighted by their tokens.
    `encode(num_layers=0)` of the model itself differs: it adds positions and types, norms each token, and counts
    special tokens. The model's window does not apply.

    Args:
        encoder: Begins with a text transformer that has a fast tokenizer.

    Returns:
        An encoder of one module, sentence-transformers' `StaticEmbedding`: its folder opens there. A text without
        tokens gives the zero vector.

    Raises:
        InputError: `encoder` does not begin with such a transformer, or its table is smaller than its vocabulary.

    Example:
        >>> import embedkit as ek
        >>> words = static_encoder(ek.load())
        >>> one, other = words.encode(["dog bites man", "man bites dog"])
        >>> bool(np.abs(one - other).max() < 1e-6)
        True

    Reference:
        The non-contextual arm of A. Maity et al., "BERT or FastText? A Comparative Analysis of Contextual as well as
        Non-Contextual Embeddings", 2024.

    Deviations:
        The paper's "first embedding layer" may be this table or `num_layers=0`; both are here, by name.
    """
    transformer = text_transformer(encoder)
    weights = transformer.model.get_input_embeddings().weight.detach().float().cpu()
    if len(weights) < len(transformer.tokenizer):
        message = f"the table must have a row a token; it has {len(weights)} for {len(transformer.tokenizer)} tokens"
        raise InputError(message)
    return _static(transformer, weights.clone(), encoder)


def distill_static(
    encoder: Encoder,
    *,
    dim: int = 256,
    sif: float | None = 1e-4,
    corpus: Iterable[str] | None = None,
    batch_size: int = 32,
    show_progress_bar: bool | None = None,
) -> Encoder:
    """A table distilled from a model: each token of the vocabulary is encoded alone, reduced and weighted.

        e_v = what the encoder gives for token v between its special tokens, not normalised
        x_v = the `dim` first principal components of e_v − mean of all e
        vector = (1 / tokens) Σ_v x_v · sif / (sif + p_v)

    p_v is how likely token v is. Without a `corpus` it is Zipf's law, p_v ~ 1 / (rank_v + 2), where the rank is the
    token's place in the vocabulary, from 0. That presumes a vocabulary in order of frequency, as WordPiece's roughly
    is; for byte-level BPE and Unigram vocabularies give a corpus. Costs one pass over the vocabulary, three tokens
    each: half a minute for a small model on two cores.

    Args:
        encoder: Begins with a text transformer that has a fast tokenizer.
        dim: Width of the vectors, at most that of the encoder and the number of tokens.
        sif: Weight of smooth inverse frequency, above 0; the smaller, the less frequent words count. None weighs all
            alike.
        corpus: Texts whose token counts give p_v; a token that is not in them has weight 1.
        batch_size: As in `Encoder.encode`.
        show_progress_bar: As in `Encoder.encode`.

    Returns:
        An encoder of one module, sentence-transformers' `StaticEmbedding`: its folder opens there. A text without
        tokens, or of unknown ones alone, gives the zero vector.

    Raises:
        InputError: `encoder` does not begin with such a transformer, a number is out of range, or the corpus is no
            list of texts or has no token.

    Example:
        >>> import embedkit as ek
        >>> from embedkit.encoders.depth import at_depth
        >>> encoder = distill_static(at_depth(ek.load(), 0), dim=64)  # of no layers, for speed
        >>> encoder.encode(["a cat", ""]).shape
        (2, 64)

    Reference:
        S. Arora, Y. Liang, T. Ma, "A Simple but Tough-to-Beat Baseline for Sentence Embeddings", ICLR 2017, for the
        weight; T. van Dongen and S. Tulkens, "Model2Vec", 2024, for tokens encoded alone, PCA and Zipf's ranks.

    Deviations:
        Special tokens and BERT's unused ones have no rank and the zero vector. The encoder's own pooling is used. The
        first principal component of the texts is not removed.
    """
    transformer = text_transformer(encoder)
    ids = _readable(transformer.tokenizer)
    texts = None if corpus is None else checked_texts(corpus)
    modules = [module for module in list(encoder)[1:] if not isinstance(module, Normalize)]
    alone = Encoder([_TokenInput(transformer), *modules], device=str(encoder.device))
    alone.forward_lock = encoder.forward_lock
    _check_numbers(dim, min(alone.get_embedding_dimension() or len(ids), len(ids)), sif)
    vectors = alone.encode(ids.tolist(), batch_size=batch_size, show_progress_bar=show_progress_bar)
    table = np.zeros((len(transformer.tokenizer), dim), dtype=np.float32)
    shares = _zipf(len(ids)) if texts is None else _shares(transformer.tokenizer, ids, texts)
    weights = np.ones(len(ids)) if sif is None else sif / (sif + shares)
    table[ids] = _principal(vectors, dim) * weights[:, None]
    return _static(transformer, torch.from_numpy(table), encoder)


class _TokenInput(InputModule):
    """Reads single tokens by their id, each between the special tokens of a text."""

    expects: ClassVar[str] = "the id of a token (int)"

    def __init__(self, transformer: Transformer) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.transformer = transformer
        tokenizer: Any = transformer.tokenizer
        probe = tokenizer("a", return_special_tokens_mask=True)
        own = np.flatnonzero(np.array(probe["special_tokens_mask"]) == 0)
        self._before, self._behind = probe["input_ids"][: own[0]], probe["input_ids"][own[-1] + 1 :]
        self._has_types = "token_type_ids" in probe

    def is_single(self, inputs: Any) -> bool:
        return isinstance(inputs, int)

    def problem(self, value: Any) -> str | None:
        return None if isinstance(value, int) else f"received {described(value)}"

    def key(self, value: Any) -> bytes | None:
        return str(value).encode()

    def prepare(self, inputs: list[Any], prompt: str | None, task: str | None) -> PreparedInputs:
        del prompt, task
        rows = [[*self._before, token, *self._behind] for token in inputs]
        ones = [[1] * len(row) for row in rows]
        columns = {"input_ids": rows, "attention_mask": ones}
        if self._has_types:
            columns["token_type_ids"] = [[0] * len(row) for row in rows]
        return TokenizedInputs(columns, dict.fromkeys(columns, 0), left=False)

    def forward(self, features: Features, **kwargs: Any) -> Features:
        return self.transformer(features, **kwargs)  # type: ignore[no-any-return]

    def get_embedding_dimension(self) -> int:
        return int(self.transformer.get_embedding_dimension())

    def save(self, output_path: str, *args: Any, safe_serialization: bool = True, **kwargs: Any) -> None:
        raise NotImplementedError


def _static(transformer: Transformer, weights: torch.Tensor, encoder: Encoder) -> Encoder:
    return Encoder([StaticEmbedding(_own_tokenizer(transformer.tokenizer), weights)], device=str(encoder.device)).eval()


def _own_tokenizer(tokenizer: Any) -> Tokenizer:
    """A copy that neither cuts nor pads, and on which no switch of the model's own tokenizer acts."""
    twin = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    twin.no_truncation()
    twin.no_padding()
    return twin


def _readable(tokenizer: Any) -> NDArray[np.int64]:
    """Ids of the tokens that stand for text, ascending."""
    special = set(tokenizer.all_special_ids)
    ids = [id for token, id in tokenizer.get_vocab().items() if id not in special and not _UNUSED.fullmatch(token)]
    return np.array(sorted(ids), dtype=np.int64)


def _zipf(count: int) -> NDArray[np.float64]:
    shares: NDArray[np.float64] = 1 / np.arange(2.0, count + 2)
    shares /= shares.sum()
    return shares


def _shares(tokenizer: Any, ids: NDArray[np.int64], texts: list[str]) -> NDArray[np.float64]:
    """How much of all tokens of the texts each id is."""
    encodings = _own_tokenizer(tokenizer).encode_batch_fast(texts, add_special_tokens=False)
    counts = np.zeros(len(tokenizer), dtype=np.int64)
    for encoding in encodings:
        np.add.at(counts, encoding.ids, 1)
    if not counts[ids].any():
        message = f"corpus must hold texts with known tokens; its {len(texts)} texts have none"
        raise InputError(message)
    shares: NDArray[np.float64] = counts[ids] / counts[ids].sum()
    return shares


def _principal(vectors: Any, dim: int) -> Any:
    from sklearn.decomposition import PCA

    return PCA(dim, random_state=0).fit_transform(vectors.astype(np.float64))


def _check_numbers(dim: Any, limit: int, sif: Any) -> None:
    if isinstance(dim, bool) or not isinstance(dim, int | np.integer) or not 1 <= dim <= limit:
        message = f"dim must be between 1 and {limit}, the smaller of width and tokens; received {dim!r}"
        raise InputError(message)
    if sif is not None and not (isinstance(sif, int | float) and 0 < sif < np.inf):
        message = f"sif must be a number above 0, or None for equal weights; received {sif!r}"
        raise InputError(message)
