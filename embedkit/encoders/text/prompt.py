"""Prompts with a mask: each text stands in a sentence with a gap, and what a transformer makes of the gap is read."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float32
from sentence_transformers.base.modules import Transformer

from embedkit.encoders.batching import token_budget_batches
from embedkit.encoders.depth import num_layers_of
from embedkit.encoders.encoder import Encoder
from embedkit.encoders.forks import refuse_fork
from embedkit.encoders.inputs import (
    Features,
    PreparedInputs,
    ReadsText,
    TokenizedInputs,
    TransformerInput,
    checked_texts,
)
from embedkit.encoders.layerwise import LayerwiseTransformer
from embedkit.errors import InputError
from embedkit.modules.pooling.prompt import PromptPooling
from embedkit.ops.masks import masked_mean

DEFAULT_TEMPLATE = "Just {mask} ! {text}"
"""One of the four of CodePrompt; the others are "It was {mask} . {text}", "{text} All in all , it was {mask} ." and
"{text} In summary , it was {mask} ."."""

_MASK, _TEXT = "{mask}", "{text}"


class _Frame(NamedTuple):
    """Tokens of a template on either side of its text, and the blank that is read with the text."""

    before: list[int]
    after: list[int]
    blank: str


class PromptInput(ReadsText, TransformerInput):
    """First module of a prompt encoder: writes each text into a template with one mask token, then runs a transformer.

    The template's tokens are always whole. A text that does not fit the window beside them loses its end, so the mask
    is read whatever the length and wherever it stands. What looks like a special token in a text, "[MASK]" say, is
    read as plain characters. The feature `prompt_mask`, (n, tokens), holds 1 at the template's mask and 0 elsewhere.

    Args:
        transformer: The text transformer, whose tokenizer has a mask token.
        template: Holds {mask} once and {text} once; all else is taken as it is.

    Raises:
        InputError: The transformer reads no text or has no mask token; or the template does not hold one mask and one
            text, or fills the window.

    Example:
        >>> import embedkit as ek
        >>> module = PromptInput(ek.load()[0], "Just {mask} ! {text}")
        >>> features = module.preprocess(["x = 1"])
        >>> module.tokenizer.decode(features["input_ids"][0])
        '[CLS] just [MASK]! x = 1 [SEP]'
        >>> features["prompt_mask"].tolist()
        [[0, 0, 1, 0, 0, 0, 0, 0]]
    """

    config_keys: list[str] = ["template"]  # noqa: RUF012 (declared so by the base class)
    config_file_name = "prompt_config.json"

    def __init__(self, transformer: Transformer, template: str = DEFAULT_TEMPLATE) -> None:
        tokenizer: Any = getattr(transformer, "tokenizer", None)
        if not isinstance(transformer, Transformer) or getattr(tokenizer, "mask_token_id", None) is None:
            message = (
                "a prompt needs a text transformer whose tokenizer has a mask token; received "
                f"{type(transformer).__name__} with {type(tokenizer).__name__}: take a masked language model"
            )
            raise InputError(message)
        if not isinstance(template, str) or template.count(_MASK) != 1 or template.count(_TEXT) != 1:
            message = f"template must hold {_MASK} once and {_TEXT} once; received {template!r}"
            raise InputError(message)
        super().__init__(LayerwiseTransformer.of(transformer))
        self.template = template
        self._room(self._frame())

    @property
    def model(self) -> Any:
        """The transformer's backbone, which is where adapters go."""
        return self.transformer.model

    def prepare(self, inputs: list[Any], prompt: str | None, task: str | None) -> PreparedInputs:
        """Write each text, with the prompt in front of it, into the template; cut it where the window ends.

        Raises:
            InputError: The template fills the window.
        """
        del task
        frame = self._frame()
        room = self._room(frame)
        texts = [frame.blank + (prompt or "") + text for text in inputs]
        slots = [each[:room] for each in self.tokens(texts, as_plain=True)]
        before, after = ([int(each == self.tokenizer.mask_token_id) for each in side] for side in frame[:2])
        columns = {
            "input_ids": [[*frame.before, *slot, *frame.after] for slot in slots],
            "attention_mask": [[1] * (len(frame.before) + len(slot) + len(frame.after)) for slot in slots],
            "prompt_mask": [[*before, *[0] * len(slot), *after] for slot in slots],
        }
        padding = {"input_ids": self.tokenizer.pad_token_id or 0, "attention_mask": 0, "prompt_mask": 0}
        if "token_type_ids" in self.tokenizer.model_input_names:
            columns["token_type_ids"] = [[0] * len(ids) for ids in columns["input_ids"]]
            padding["token_type_ids"] = self.tokenizer.pad_token_type_id
        return TokenizedInputs(columns, padding, left=self.tokenizer.padding_side == "left")

    def forward(self, features: Features, **kwargs: Any) -> Features:
        """Run the transformer, which gives the states of all its layers and is not shown the marks."""
        marks = features.pop("prompt_mask")
        features = self.transformer(features, **kwargs)
        features["prompt_mask"] = marks
        return features

    def _frame(self) -> _Frame:
        """The template's tokens with the tokenizer's own around them; they follow the tokenizer, which may change."""
        written = self.template.replace(_MASK, self.tokenizer.mask_token)
        before, _, after = written.partition(_TEXT)
        stripped = before.rstrip()
        front, behind = self.tokens([stripped, after], as_plain=False)
        special = self.tokenizer("a", return_special_tokens_mask=True)
        own, is_special = special["input_ids"], special["special_tokens_mask"]
        first = is_special.index(0)
        last = len(own) - is_special[::-1].index(0)
        return _Frame([*own[:first], *front], [*behind, *own[last:]], before[len(stripped) :])

    def _room(self, frame: _Frame) -> int:
        """How many tokens of a text there is room for."""
        masks = [*frame.before, *frame.after].count(self.tokenizer.mask_token_id)
        if masks != 1:
            message = (
                f"template must hold one mask, written {_MASK}; as tokens {self.template!r} holds {masks}: leave out "
                f"{self.tokenizer.mask_token!r} itself"
            )
            raise InputError(message)
        window = self.max_seq_length or self.tokenizer.model_max_length
        room = int(window) - len(frame.before) - len(frame.after)
        if room < 1:
            message = (
                f"template must leave room for a text in the window of {window} tokens; {self.template!r} takes "
                f"{len(frame.before) + len(frame.after)}: shorten it, or raise max_seq_length"
            )
            raise InputError(message)
        return room

    def tokens(self, texts: list[str], *, as_plain: bool) -> list[list[int]]:
        """Ids of each text by itself, whole; `as_plain` reads the names of special tokens as characters."""
        if not texts:
            return []
        encoded = self.tokenizer(
            texts,
            add_special_tokens=False,
            truncation=False,
            padding=False,
            return_attention_mask=False,
            split_special_tokens=as_plain,
            verbose=False,
        )
        ids: list[list[int]] = encoded["input_ids"]
        return ids


def prompt_encoder(encoder: Encoder, template: str = DEFAULT_TEMPLATE, *, first_layer: int = 1) -> Encoder:
    """An encoder that asks a masked language model about each text and reads its answer at the mask (CodePrompt).

    A `PromptInput` and a `PromptPooling`. The transformer's weights are shared with `encoder`; the new pooling begins
    as the mean over the layers.

    Args:
        encoder: Begins with a text transformer whose tokenizer has a mask token, such as any BERT or RoBERTa.
        template: Holds {mask} once and {text} once. Texts lose their end where it does not fit, never the template.
        first_layer: The shallowest layer that is read, 0 … depth; 0 is the embedding layer.

    Returns:
        An encoder of texts, code among them, with the prompts and the device of `encoder`. Its vectors have no
        negative number and no fixed length.

    Raises:
        InputError: `encoder` does not begin with such a transformer, or an argument is not what it must be.

    Example:
        >>> import embedkit as ek
        >>> encoder = prompt_encoder(ek.load(), "{text} In summary , it was {mask} .")
        >>> encoder.encode(["def add(a, b): return a + b"]).shape
        (1, 384)

    Reference:
        CodePrompt: Improving Source Code-Related Classification with Knowledge Features through Prompt Learning.
        arXiv 2401.05544, 2024.

    Deviations:
        What stands behind the pooling of `encoder`, a projection or a normalisation, was made for other vectors and is
        left out. The text is tokenised by itself, with the blank before it; for word pieces that is the same as
        tokenising the whole.
    """
    first: Any = encoder[0]
    if not isinstance(first, Transformer | PromptInput):
        message = (
            "prompt_encoder needs an encoder that begins with a text transformer; received one that begins with "
            f"{type(first).__name__}"
        )
        raise InputError(message)
    reader = PromptInput(first.transformer if isinstance(first, PromptInput) else first, template)
    pooling = PromptPooling(reader.get_embedding_dimension(), num_layers_of(reader), first_layer=first_layer)
    weight = next(reader.parameters())
    return Encoder(
        [reader, pooling.to(weight.device, weight.dtype)],
        prompts=dict(encoder.prompts),
        default_prompt_name=encoder.default_prompt_name,
        device=str(encoder.device),
    )


def mask_states(encoder: Encoder, texts: Iterable[str], *, batch_size: int = 32) -> Float32[np.ndarray, "n layers dim"]:
    """What each layer holds at the mask: r_first_layer, …, r_num_layers, which a `PromptPooling` mixes.

    Args:
        encoder: As `prompt_encoder` gives it.
        texts: What to ask about.
        batch_size: As in `Encoder.encode`.

    Returns:
        (n, layers, dim), in the order of `texts`; the last layer is what the head of a masked language model reads.

    Raises:
        InputError: `encoder` is of another kind, or `texts` holds something else.

    Example:
        >>> import embedkit as ek
        >>> encoder = prompt_encoder(ek.load(), first_layer=2)
        >>> states = mask_states(encoder, ["x = 1"])
        >>> states.shape
        (1, 5, 384)
        >>> np.allclose(encoder.encode(["x = 1"]), states.mean(axis=1).clip(0), atol=1e-6)
        True
    """
    refuse_fork()
    reader, pooling = prompt_modules(encoder)
    texts = checked_texts(texts)
    with encoder.forward_lock:
        prepared: Any = reader.prepare(texts, None, None)
    states = np.empty((len(texts), pooling.num_layers - pooling.first_layer + 1, pooling.dim), dtype=np.float32)
    for batch in token_budget_batches(prepared.lengths, batch_size):
        with encoder.forward_lock, torch.inference_mode():
            features = {
                name: each.to(encoder.device) if torch.is_tensor(each) else each
                for name, each in prepared.batch(batch).items()
            }
            read = reader.eval()(features)
            marks = read["prompt_mask"] > 0
            layers = read["all_layer_embeddings"][pooling.first_layer :]
            states[batch] = torch.stack([masked_mean(layer.float(), marks) for layer in layers], dim=1).cpu().numpy()
    return states


def prompt_modules(encoder: Encoder) -> tuple[PromptInput, PromptPooling]:
    """The two modules of a prompt encoder.

    Raises:
        InputError: It is an encoder of another kind.
    """
    modules = list(encoder)
    if len(modules) < 2 or not isinstance(modules[0], PromptInput) or not isinstance(modules[1], PromptPooling):
        message = "this needs an encoder that prompt_encoder made; received one of " + ", ".join(
            type(module).__name__ for module in modules
        )
        raise InputError(message)
    return modules[0], modules[1]
