"""Classes as words: what a masked language model thinks of the words of each class at the mask of a prompt."""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn
from transformers import AutoModelForMaskedLM
from transformers.modeling_outputs import BaseModelOutput

from embedkit.encoders.encoder import Encoder
from embedkit.encoders.inputs import text_problem
from embedkit.encoders.text.prompt import mask_states, prompt_modules
from embedkit.errors import InputError, ModelError


class Verbaliser:
    """Logits of classes from the words that stand for them, without any training.

        logits_c = mean over the words of c of the mean over a word's tokens v of

            head(r_L)_v                      with a head: what the masked language model says of v at the mask
            out · word_embeddings_v          without: out is what the encoder gives, word_embeddings the input table

    Either way the classes also have `weights` and a `bias`, with which a linear classifier may start: means, in the
    same way, of the rows of the head's output table and of its biases; or of the input table, and zeros. Without a
    head such a classifier is at the start exactly this verbaliser.

    Args:
        encoder: As `prompt_encoder` gives it.
        words: For each class one word or several.
        head: Of the checkpoint whose backbone the encoder has; see `masked_word_head`.

    Attributes:
        classes: Names of the classes, in the order of `words`.
        weights: (classes, dim).
        bias: (classes,).

    Raises:
        InputError: `encoder` is of another kind, there are fewer than two classes, a class has no word, a word is
            unknown to the tokenizer, or the head is of another width or vocabulary.

    Example:
        >>> import embedkit as ek
        >>> from embedkit.encoders.text import prompt_encoder
        >>> verbaliser = Verbaliser(prompt_encoder(ek.load()), {"I/O": ["file", "disk"], "math": ["number"]})
        >>> verbaliser.logits(["open(path)", "x + 1"]).shape
        (2, 2)

    Deviations:
        CodePrompt's released code builds a verbaliser and predicts without it; here it predicts, or starts a classifier
        (`embedkit.training.code_prompt`), or is left out. As a start, a head's own hidden layer is skipped. What is
        done for a word of several tokens, and without a head, is ours.
    """

    def __init__(
        self,
        encoder: Encoder,
        words: Mapping[str, str | Sequence[str]],
        *,
        head: "MaskedWordHead | None" = None,
    ) -> None:
        reader, pooling = prompt_modules(encoder)
        table = reader.model.get_input_embeddings().weight
        if head is not None and head.sizes != (len(table), pooling.dim):
            message = (
                f"head must give {len(table)} words from states of width {pooling.dim}, as the encoder's checkpoint "
                f"has; received one with {head.sizes[0]} words and width {head.sizes[1]}"
            )
            raise InputError(message)
        if head is None and table.shape[1] != pooling.dim:
            message = (
                f"without a head the word embeddings must be as wide as the states, {pooling.dim}; the encoder's are "
                f"{table.shape[1]} wide"
            )
            raise InputError(message)
        by_class = _checked_words(words)
        ids = [reader.tokens([f" {word}" for word in each], as_plain=True) for each in by_class.values()]
        self._shares = torch.stack(
            [
                _shares(each, listed, reader.tokenizer.unk_token_id, len(table))
                for each, listed in zip(ids, by_class.values(), strict=True)
            ]
        )
        self.encoder, self.head, self.classes = encoder, head, tuple(by_class)
        rows, biases = (table, None) if head is None else head.output_table
        with torch.no_grad():
            self.weights: Tensor = self._shares @ rows.float().cpu()
            self.bias: Tensor = torch.zeros(len(by_class)) if biases is None else self._shares @ biases.float().cpu()

    def logits(self, texts: Iterable[str], *, batch_size: int = 32) -> Float32[np.ndarray, "n classes"]:
        """One number for each text and class; the class of the largest is the prediction.

        Args:
            texts: What to classify.
            batch_size: As in `Encoder.encode`.

        Raises:
            InputError: `texts` holds something else.
        """
        if self.head is None:
            vectors = torch.from_numpy(
                self.encoder.encode(list(texts), batch_size=batch_size, truncate_dim=self.weights.shape[1])
            )
            return (vectors @ self.weights.T + self.bias).numpy()
        states = torch.from_numpy(mask_states(self.encoder, texts, batch_size=batch_size)[:, -1])
        with torch.inference_mode():
            logits = [self.head(part).float() @ self._shares.T for part in torch.split(states, 256)]
        return torch.cat(logits).numpy() if logits else np.empty((0, len(self.classes)), dtype=np.float32)


class MaskedWordHead(nn.Module):
    """The part of a masked language model that turns states into logits of words.

    Args:
        model: Any of transformers' masked language models; its backbone is taken out of it.

    Raises:
        InputError: It has no backbone of its own to take out, or no table of output words.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        output = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
        prefix = getattr(model, "base_model_prefix", "")
        if output is None or not prefix or not hasattr(model, prefix):
            message = f"model must be one of transformers' masked language models; received {type(model).__name__}"
            raise InputError(message)
        setattr(model, prefix, _Given())
        self.model, self._backbone = model.eval(), prefix

    @property
    def sizes(self) -> tuple[int, int]:
        """Words, and width of the states."""
        words, width = self.output_table[0].shape
        return int(words), int(width)

    @property
    def output_table(self) -> tuple[Tensor, Tensor | None]:
        """Row and bias of each word in the last map."""
        output = self.model.get_output_embeddings()
        return output.weight, output.bias

    def forward(self, states: Float[Tensor, "n dim"]) -> Float[Tensor, "n words"]:
        """Logits of all words."""
        given = getattr(self.model, self._backbone)
        given.states = states.to(self.output_table[0])[:, None]
        ids = torch.zeros(len(states), 1, dtype=torch.long, device=given.states.device)
        logits: Tensor = self.model(input_ids=ids).logits[:, 0]
        return logits


class _Given(nn.Module):
    """Stands where a backbone stood, and gives states that are known."""

    states: Tensor

    def forward(self, *_: Any, **__: Any) -> BaseModelOutput:
        return BaseModelOutput(last_hidden_state=self.states)


def masked_word_head(checkpoint: str | os.PathLike[str]) -> MaskedWordHead:
    """The head of a masked language model's checkpoint.

    Args:
        checkpoint: A folder, or a name on the hub, with weights in safetensors.

    Raises:
        ModelError: It cannot be read, or holds a backbone without such a head.
    """
    try:
        model, info = AutoModelForMaskedLM.from_pretrained(
            os.fspath(checkpoint), output_loading_info=True, use_safetensors=True, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        reason = (str(error).splitlines() or [""])[0]
        message = f"{os.fspath(checkpoint)!r} must be a masked language model's checkpoint in safetensors: {reason}"
        raise ModelError(message) from error
    backbone = f"{model.base_model_prefix}."
    if missing := sorted(name for name in info["missing_keys"] if not name.startswith(backbone)):
        message = (
            f"{os.fspath(checkpoint)!r} must hold the head of a masked language model; it lacks {missing[0]}: use the "
            "verbaliser without a head, which compares with word embeddings"
        )
        raise ModelError(message)
    return MaskedWordHead(model)


def _checked_words(words: Any) -> dict[str, list[str]]:
    if not isinstance(words, Mapping) or len(words) < 2:
        message = f"words must give one or more words for each of two classes or more; received {words!r:.100}"
        raise InputError(message)
    listed = {name: [each] if isinstance(each, str) else list(each) for name, each in words.items()}
    for name, each in listed.items():
        for word in each or [None]:
            if text_problem(word) or not str(word).strip():
                message = f"words must give one or more words for each class; for {name!r} they hold {word!r}"
                raise InputError(message)
    return listed


def _shares(ids: list[list[int]], words: list[str], unknown: int | None, size: int) -> Tensor:
    """How much each token of the vocabulary counts for a class: 1, spread over its words and their tokens."""
    shares = torch.zeros(size)
    for word, tokens in zip(words, ids, strict=True):
        if not tokens or set(tokens) == {unknown}:
            message = f"words must be known to the tokenizer; {word!r} has no token in it: take another word"
            raise InputError(message)
        for token in tokens:
            shares[token] += 1 / len(tokens) / len(words)
    return shares
