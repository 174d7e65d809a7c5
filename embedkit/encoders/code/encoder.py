"""An encoder of Python source: CuBERT's tokenizer, a subword vocabulary, and a BERT of any size."""

from functools import lru_cache
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from transformers import BertConfig, BertModel

from embedkit.encoders.code.tokenizer import CodeTokenizer
from embedkit.encoders.encoder import Encoder
from embedkit.encoders.inputs import ReadsText, TokenizedInputs, TransformerInput
from embedkit.encoders.model_folder import as_transformer
from embedkit.errors import InputError

__all__ = ["CodeInput", "code_encoder"]

_HEAD_DIM = 64


class CodeInput(ReadsText, TransformerInput):
    """First module of an encoder of Python: cuts source into pieces, then runs a transformer over their subwords.

    A source longer than the window is read from its beginning, up to the window; `lengths` tells which are, and
    `embedkit.encoders.code.chunk_code` cuts such sources up. A source that does not parse is read as the two pieces
    ERROR and EOS. A prompt is put before the source and should be Python too, such as a comment that is kept.

    Args:
        transformer: Whose tokenizer is a vocabulary of `train_code_vocabulary`.
        comments: Whether comments are read.

    Raises:
        InputError: The tokenizer is no fast one, or `comments` is neither.
    """

    expects: ClassVar[str] = "Python source (str)"
    config_keys: list[str] = ["comments"]  # noqa: RUF012 (declared so by the base class)
    config_file_name = "code_config.json"

    def __init__(self, transformer: Transformer, *, comments: Literal["keep", "drop"] = "drop") -> None:
        super().__init__(transformer)
        if not getattr(transformer.tokenizer, "is_fast", False):
            message = "transformer must have a vocabulary of train_code_vocabulary; it has no fast tokenizer"
            raise InputError(message)
        self.comments = comments
        self.cut = CodeTokenizer(comments=comments)

    @property
    def model(self) -> Any:
        """The backbone."""
        return self.transformer.model

    def prepare(self, inputs: list[Any], prompt: str | None, task: str | None) -> TokenizedInputs:
        """Cut each source into pieces and those into subwords, up to the window."""
        del task
        encoded = self._subwords([self._pieces((prompt or "") + source) for source in inputs])
        columns = {name: encoded[name] for name in ("input_ids", "token_type_ids", "attention_mask")}
        padding = {"input_ids": self.tokenizer.pad_token_id, "token_type_ids": 0, "attention_mask": 0}
        return TokenizedInputs(columns, padding, left=False)

    def places(self, sources: list[str]) -> list[tuple[Any, Any]]:
        """Where the tokens that `prepare` makes come from.

        Args:
            sources: What to read.

        Returns:
            For each source which tokens are none of the transformer's own, (tokens,) bool, and the characters that each
            stands for, (tokens, 2). Subwords of one piece share its characters.
        """
        located = [self.cut.locate(source) for source in sources]
        encoded = self._subwords([[piece for piece, _, _ in pieces] for pieces in located])
        found = []
        for row, pieces in enumerate(located):
            words = encoded.word_ids(row)
            spans = [(0, 0) if word is None else pieces[word][1:] for word in words]
            kept = np.array([word is not None for word in words], dtype=bool)
            found.append((kept, np.array(spans, dtype=np.int64).reshape(-1, 2)))
        return found

    def lengths(self, sources: list[str]) -> list[int]:
        """Subwords of each source without any limit, those that the transformer adds included.

        Args:
            sources: What to read.
        """
        pieces = [self._pieces(source) for source in sources]
        encoded = self.tokenizer(pieces, is_split_into_words=True, truncation=False, verbose=False)
        return [len(ids) for ids in encoded["input_ids"]]

    def _pieces(self, source: str) -> list[str]:
        return _remembered(source, self.comments).split("\n")

    def _subwords(self, pieces: list[list[str]]) -> Any:
        return self.tokenizer(
            pieces,
            is_split_into_words=True,
            padding=False,
            truncation="longest_first",
            return_token_type_ids=True,
            return_attention_mask=True,
        )


@lru_cache(maxsize=2**15)
def _remembered(source: str, comments: Literal["keep", "drop"]) -> str:
    """Pieces of a source, none of which holds a line end, in lines: training reads the same source in each epoch."""
    return "\n".join(CodeTokenizer(comments=comments).tokenize(source))


def code_encoder(  # noqa: PLR0913 (what such an encoder is made of)
    vocabulary: Any,
    *,
    num_layers: int = 4,
    dim: int = 256,
    num_heads: int | None = None,
    pooling: Literal["cls", "mean", "max"] = "cls",
    comments: Literal["keep", "drop"] = "drop",
    dropout: float = 0.1,
    seed: int = 0,
    device: str | None = None,
) -> Encoder:
    r"""An untrained BERT that reads Python source; `embedkit.training.cubert.pretrain` trains it.

    Args:
        vocabulary: From `train_code_vocabulary`; its `model_max_length` is the window.
        num_layers: Depth, from 1.
        dim: Width, a multiple of `num_heads`.
        num_heads: Heads of attention; None makes them 64 wide, or one.
        pooling: Which states of tokens make the vector: the first's, the mean, or the largest of each dimension.
        comments: Whether comments are read.
        dropout: Share of the states that training drops, from 0 to below 1. Runs of few steps do better with none.
        seed: Of the weights.
        device: Such as "cpu" or "cuda"; None takes the best there is.

    Raises:
        InputError: A size is out of range, or `vocabulary` is none.

    Example:
        >>> from embedkit.encoders.code.vocabulary import train_code_vocabulary
        >>> source = "def addOne(x):\n    return x + 1\n"
        >>> vocabulary = train_code_vocabulary([source], 300, max_length=64)
        >>> encoder = code_encoder(vocabulary, num_layers=2, dim=32, device="cpu")
        >>> encoder.encode([source, "pass"]).shape
        (2, 32)

    Reference:
        A. Kanade, P. Maniatis, G. Balakrishnan, K. Shi, "Learning and Evaluating Contextual Embedding of Source Code",
        ICML 2020.

    Deviations:
        Any size, where the paper's has 24 layers of width 1,024 and a window of 512. The vector is the state itself,
        without BERT's map and tanh behind it.
    """
    heads = max(1, dim // _HEAD_DIM) if num_heads is None else num_heads
    for name, size in (("num_layers", num_layers), ("dim", dim), ("num_heads", heads)):
        if not isinstance(size, int) or size < 1:
            raise InputError(f"{name} must be a whole number from 1; received {size!r}")
    if dim % heads:
        raise InputError(f"dim must be a multiple of num_heads; received {dim} and {heads}")
    if not 0 <= dropout < 1:
        raise InputError(f"dropout must be a share from 0 to below 1; received {dropout}")
    if pooling not in ("cls", "mean", "max"):
        raise InputError(f"pooling must be 'cls', 'mean' or 'max'; received {pooling!r}")
    if not getattr(vocabulary, "is_fast", False) or vocabulary.mask_token_id is None:
        raise InputError(f"vocabulary must come from train_code_vocabulary; received {type(vocabulary).__name__}")
    window = int(vocabulary.model_max_length)
    config = BertConfig(
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        vocab_size=len(vocabulary),
        hidden_size=dim,
        num_hidden_layers=num_layers,
        num_attention_heads=heads,
        intermediate_size=4 * dim,
        max_position_embeddings=window,
        pad_token_id=vocabulary.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = BertModel(config)
    reader = CodeInput(as_transformer(backbone, vocabulary), comments=comments)
    return Encoder([reader, Pooling(dim, pooling)], device=device)
