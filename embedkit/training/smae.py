"""SMAE: masked auto-encoding at several depths and widths, as pre-training for Starbucks."""

import copy
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.activations import ACT2FN

from embedkit.encoders.depth import at_depths
from embedkit.encoders.encoder import Encoder
from embedkit.errors import InputError
from embedkit.training.fit import Training, fit


def smae(
    encoder: Encoder,
    texts: Sequence[str],
    pairs: Sequence[tuple[int, int]],
    *,
    encoder_masks: float = 0.2,
    decoder_masks: float = 0.4,
    learning_rate: float = 1e-4,
    warmup: float = 0.05,
    weight_decay: float = 1e-3,
    **options: Any,
) -> Training:
    """Pre-train a BERT-like encoder on texts, in place; its poolings and what stands behind them are not touched.

    Args:
        encoder: Begins with a transformer of BERT's kind whose tokenizer puts a first token before each text.
        texts: What is learnt from.
        pairs: (depth, width), ascending in both, as later in `starbucks`.
        encoder_masks: Share of the words that the encoder does not see, 0 < encoder_masks ≤ decoder_masks.
        decoder_masks: Share of the words that the decoder does not see, below 1.
        learning_rate: As in `fit`.
        warmup: As in `fit`.
        weight_decay: As in `fit`.
        **options: As in `fit`.

    Raises:
        InputError: The backbone is of another kind, or an argument is out of range.

    Reference:
        Zhuang, Wang, Zheng, Koopman, Zuccon: Starbucks: Improved Training for 2D Matryoshka Embeddings, 2024;
        the decoder is that of Xiao et al., RetroMAE, EMNLP 2022.

    Deviations:
        A masked token is always replaced by the mask token. The learning rate falls linearly, not by a cosine.
    """
    objective = SlicedMaskedAutoEncoder(
        encoder, pairs, encoder_masks=encoder_masks, decoder_masks=decoder_masks, seed=options.get("seed", 0)
    )
    return fit(
        encoder,
        {"text": texts},
        objective,
        learning_rate=learning_rate,
        warmup=warmup,
        weight_decay=weight_decay,
        **options,
    )


class SlicedMaskedAutoEncoder(nn.Module):
    """The objective of `smae`: predict masked words at every size, and again from the first token's state alone.

    For each size (n, d): MLM = cross-entropy of the encoder's masked tokens from H_n[:, :, :d] through the masked
    language modelling head, whose first map is sliced to its first d columns; MAE = cross-entropy of the decoder's
    masked tokens from a decoder of one layer, which sees the embeddings of the text under heavier masks with that
    sliced map of H_n[:, 0, :d] in the place of the first token. The loss is the mean over sizes of (MLM + MAE) / 2.

    Args:
        model: The encoder; the trainer puts its own wrapped copy here.
        pairs: (depth, width), ascending in both.
        encoder_masks: Share of words masked in what the encoder sees.
        decoder_masks: Share masked in what the decoder sees; these words include the encoder's.
        seed: Of the head's weights and of the masks.

    Raises:
        InputError: The backbone is not of BERT's kind, or an argument is out of range.
    """

    masks: Tensor

    def __init__(
        self,
        model: Any,
        pairs: Sequence[tuple[int, int]],
        *,
        encoder_masks: float = 0.2,
        decoder_masks: float = 0.4,
        seed: int = 0,
    ) -> None:
        super().__init__()
        backbone, tokenizer = _bert_of(model)
        depth, width = backbone.config.num_hidden_layers, backbone.config.hidden_size
        self.pairs = tuple(pairs)
        layers, dims = [layer for layer, _ in self.pairs], [dim for _, dim in self.pairs]
        ascends = all(sorted(set(values)) == values for values in (layers, dims))
        if not self.pairs or not ascends or layers[0] < 1 or dims[0] < 1 or layers[-1] > depth or dims[-1] > width:
            message = (
                f"pairs must ascend in depth and in width, within {depth} layers and {width} dimensions; "
                f"received {self.pairs}"
            )
            raise InputError(message)
        if not 0 < encoder_masks <= decoder_masks < 1:
            message = (
                f"masks must hold 0 < encoder_masks <= decoder_masks < 1; received {encoder_masks} and {decoder_masks}"
            )
            raise InputError(message)
        self.model, self.encoder_masks, self.decoder_masks = model, encoder_masks, decoder_masks
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.head = SlicedMLMHead(backbone.config)
        self.decoder = copy.deepcopy(backbone.encoder.layer[0])
        self._mask_id = tokenizer.mask_token_id
        words = tokenizer.convert_ids_to_tokens(range(backbone.config.vocab_size))
        self.register_buffer("_continues", torch.tensor([str(word).startswith("##") for word in words]), False)
        self.register_buffer("_special", _marked(tokenizer.all_special_ids, len(words)), False)
        # A resumed run draws the masks it would have drawn.
        self.register_buffer("masks", torch.Generator().manual_seed(seed).get_state())

    def forward(self, sentence_features: Iterable[dict[str, Any]], labels: Tensor | None = None) -> Tensor:
        """The loss of one batch of texts, 0-d."""
        del labels
        (features,) = sentence_features
        ids, attention = features["input_ids"], features["attention_mask"]
        order = self._order_of_words(ids, attention)
        hidden, hidden_more = order < self.encoder_masks, order < self.decoder_masks
        states = self._states({**features, "input_ids": ids.masked_fill(hidden, self._mask_id)})
        backbone, _ = _bert_of(self.model)
        table = backbone.embeddings.word_embeddings.weight
        embedded = backbone.embeddings(input_ids=ids.masked_fill(hidden_more, self._mask_id))
        unseen = (1.0 - attention[:, None, None].to(embedded.dtype)) * torch.finfo(embedded.dtype).min
        losses = []
        for state, (_, dim) in zip(states, self.pairs, strict=True):
            mlm = _cross_entropy(self.head(state[hidden][:, :dim], table), ids[hidden])
            first = self.head.lift(state[:, :1, :dim])
            decoded = self.decoder(torch.cat([first, embedded[:, 1:]], dim=1), unseen)
            decoded = decoded[0] if isinstance(decoded, tuple) else decoded
            mae = _cross_entropy(self.head(decoded[hidden_more], table), ids[hidden_more])
            losses.append((mlm + mae) / 2)
        return torch.stack(losses).mean()

    def _states(self, features: dict[str, Any]) -> list[Tensor]:
        """H_n of each size, (n, tokens, width)."""
        views = at_depths(self.model[0], [layer for layer, _ in self.pairs])
        return [view({**features})["token_embeddings"] for view in views]

    def _order_of_words(self, ids: Tensor, attention: Tensor) -> Tensor:
        """For each token the place of its word in a random order, as a share of the words; 1 for what is no word.

        One order serves both shares, so what the encoder does not see the decoder does not see either.
        """
        generator = torch.Generator()
        generator.set_state(self.masks.cpu())
        special = self._special[ids] | (attention == 0)  # type: ignore[index]  # a buffer
        starts = ~special & ~self._continues[ids]  # type: ignore[index]  # a buffer
        # What continues no word, at the beginning of a text that was cut, counts with the first.
        word = (starts.cumsum(1) - 1).clamp(min=0)
        counts = starts.sum(1, keepdim=True)
        draws = torch.rand(ids.shape, generator=generator).to(ids.device)
        self.masks.copy_(generator.get_state())
        is_word = torch.arange(ids.shape[1], device=ids.device)[None] < counts
        ranks = draws.masked_fill(~is_word, 2.0).argsort(1).argsort(1)
        share = ranks / counts.clamp(min=1)
        return share.gather(1, word).masked_fill(special, 1.0)


class SlicedMLMHead(nn.Module):
    """BERT's masked language modelling head, which also reads states that were cut to their first dimensions.

    Args:
        config: Of the backbone: hidden_size, vocab_size, hidden_act and layer_norm_eps.
    """

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.activation = ACT2FN[config.hidden_act]
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))
        nn.init.normal_(self.dense.weight, std=config.initializer_range)
        nn.init.zeros_(self.dense.bias)

    def lift(self, states: Tensor) -> Tensor:
        """From the first d dimensions of states to all: the first map with d of its columns, activation, norm."""
        dense = functional.linear(states, self.dense.weight[:, : states.shape[-1]], self.dense.bias)
        lifted: Tensor = self.norm(self.activation(dense))
        return lifted

    def forward(self, states: Tensor, table: Tensor) -> Tensor:
        """Logits of all words from states of any width, through the backbone's own word embeddings."""
        return functional.linear(self.lift(states), table, self.bias)


def _cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean over tokens; zero, with a gradient, where there is none."""
    if not len(targets):
        return logits.sum()
    return functional.cross_entropy(logits, targets)


def _marked(ids: Sequence[int], count: int) -> Tensor:
    marked = torch.zeros(count, dtype=torch.bool)
    marked[list(ids)] = True
    return marked


def _bert_of(model: Any) -> tuple[Any, Any]:
    transformer = model[0]
    backbone: Any = getattr(transformer, "model", None)
    tokenizer: Any = getattr(transformer, "tokenizer", None)
    is_bert = all(hasattr(backbone, name) for name in ("embeddings", "encoder")) and hasattr(
        backbone.embeddings, "word_embeddings"
    )
    if not is_bert or getattr(tokenizer, "mask_token_id", None) is None or tokenizer.cls_token_id is None:
        message = (
            "smae needs a backbone of BERT's kind (BERT, MiniLM, RoBERTa, ELECTRA) whose tokenizer has mask and first "
            f"tokens; received {type(backbone).__name__}"
        )
        raise InputError(message)
    return backbone, tokenizer
