"""CuBERT's pre-training: masked subwords, and whether one logical line follows another."""

import contextlib
import hashlib
import math
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset
from tqdm import tqdm
from transformers import BertConfig, BertForPreTraining, BertModel, PrinterCallback, Trainer, TrainingArguments

from embedkit.encoders.code.encoder import CodeInput
from embedkit.encoders.code.lexer import ERROR, NEWLINE
from embedkit.encoders.encoder import Encoder
from embedkit.encoders.fingerprint import fingerprint
from embedkit.encoders.inputs import checked_texts
from embedkit.errors import InputError
from embedkit.losses.arguments import not_negative, positive, whole
from embedkit.processes import check_jobs, in_processes
from embedkit.training.runs import claim, own_random_numbers

__all__ = ["HeldOut", "Pretraining", "held_out", "pretrain"]

Integers: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]

_MASKED, _DRAWN = 0.8, 0.1  # of the subwords that are asked for; the rest stay as they are
_IGNORED = -100
_CHUNK = 512
_LEAST = 8  # so that two halves of some length stand in a row


@dataclass(frozen=True)
class Pretraining:
    """What a call of `pretrain` did.

    Attributes:
        steps: Optimiser steps, those of the run it went on from included.
        losses: (step, mean loss since the one before).
        rows: Sequences that the sources were packed into.
        tokens: Subwords in them, without padding.
        unreadable: Sources that do not parse; these were left out.
        model: The encoder's backbone, shared, with the two heads that `held_out` asks.
    """

    steps: int
    losses: tuple[tuple[int, float], ...]
    rows: int
    tokens: int
    unreadable: int
    model: BertForPreTraining = field(repr=False)


@dataclass(frozen=True)
class HeldOut:
    """How well a pre-trained model knows source it has not seen.

    Attributes:
        perplexity: e to the mean cross-entropy of the masked subwords. It compares models with one vocabulary.
        accuracy: Share of the masked subwords that are its first choice.
        next_line_accuracy: Share of the rows whose second half it rightly calls the next line, or another; NaN when no
            row has two halves.
        masked: Subwords that were asked for.
    """

    perplexity: float
    accuracy: float
    next_line_accuracy: float
    masked: int


def pretrain(  # noqa: PLR0913 (what a training run is made of)
    encoder: Encoder,
    sources: Iterable[str],
    *,
    row_length: int | None = None,
    model: BertForPreTraining | None = None,
    masks: float = 0.15,
    epochs: int = 1,
    max_steps: int | None = None,
    batch_size: int = 32,
    learning_rate: float = 1e-3,
    warmup: float = 0.1,
    weight_decay: float = 0.01,
    checkpoints: int = 1,
    folder: str | Path | None = None,
    n_jobs: int = 1,
    seed: int = 0,
    show_progress_bar: bool | None = None,
) -> Pretraining:
    r"""Pre-train an encoder of Python in place, by masked subwords and next logical lines.

    The sources are cut into logical lines, and these packed, one source behind the other, into rows that fill the
    window: [CLS] A [SEP] B [SEP], where A and B are runs of lines. In half of the rows B is what follows A in its
    source, in the others a run that begins at a random line of another source. The loss of a batch is

        mean over masked subwords of −log p(subword)  +  mean over rows of −log p(B follows A, or not)

    A line longer than a row is spread over several; no line is left out.

    Args:
        encoder: From `code_encoder`.
        sources: Python, such as files; those that do not parse are left out and counted.
        row_length: Subwords of a row, from 8 to the window, which it is when None. A small model learns far faster from
            rows of 32, whose neighbours stand out of fewer others, and has to learn the rest of the window after that.
            Where `model` is None, the places behind short rows, which learn nothing, end as copies of those within.
        model: `Pretraining.model` of an earlier call on this encoder, to go on with its heads; None draws new ones.
        masks: Share of the subwords that are asked for, 0 < masks < 1. Of these 80 % are replaced by [MASK], 10 % by a
            random subword, 10 % stay.
        epochs: Passes over the rows, each with masks of its own.
        max_steps: Stop after this many steps; wins over `epochs`.
        batch_size: Rows a step.
        learning_rate: Highest learning rate: it rises linearly for `warmup` of the steps and falls linearly to 0.
        warmup: Share of the steps in which it rises, 0 … 1.
        weight_decay: AdamW's.
        checkpoints: How many are written over the run, the last of them at its end, where `folder` is given.
        folder: Where checkpoints are written. A call with the same encoder, sources and options goes on from the last.
        n_jobs: Processes that cut the sources into pieces; −1 for one a core. The rows do not hang on it.
        seed: Of packing, masks, order, dropout and the heads' weights.
        show_progress_bar: None shows bars on a terminal.

    Returns:
        What was done, and the model with its heads.

    Raises:
        InputError: The encoder is none of `code_encoder`'s kind, no source parses, an argument is out of range, or
            `folder` holds another run.

    Example:
        >>> from embedkit.encoders.code.encoder import code_encoder
        >>> from embedkit.encoders.code.vocabulary import train_code_vocabulary
        >>> sources = ["def one():\n    x = 1\n    return x\n", "def two():\n    y = 2\n    return y\n"]
        >>> vocabulary = train_code_vocabulary(sources, 300, max_length=24)
        >>> encoder = code_encoder(vocabulary, num_layers=1, dim=16, device="cpu")
        >>> done = pretrain(encoder, sources, max_steps=2, batch_size=2)
        >>> done.steps, held_out(done.model, encoder, sources).perplexity > 1
        (2, True)

    Reference:
        A. Kanade, P. Maniatis, G. Balakrishnan, K. Shi, "Learning and Evaluating Contextual Embedding of Source Code",
        ICML 2020, section 3; J. Devlin et al., "BERT", NAACL 2019, for the objectives; I. Beltagy, M. E. Peters,
        A. Cohan, "Longformer", 2020, section 5, for the copies of places.

    Deviations:
        Rows run on from one source to the next, as in RoBERTa's full sentences; A and B are cut apart only between
        lines of one source, and a row without such a place counts for the masked subwords alone. Masks are drawn anew
        in each epoch. Logical lines are those of `CodeTokenizer.tokenize`, blank lines kept, so that the encoder meets
        what it was trained on.
    """
    reader, backbone = _parts(encoder)
    begins = model is None
    for name, count in (
        ("epochs", epochs),
        ("batch_size", batch_size),
        ("checkpoints", checkpoints),
        ("max_steps", 1 if max_steps is None else max_steps),
    ):
        whole(name, count)
    check_jobs(n_jobs)
    positive("learning_rate", learning_rate)
    not_negative("weight_decay", weight_decay)
    for name, share in (("masks", masks), ("warmup", warmup)):
        if not 0 <= share <= 1 or (name == "masks" and share in (0, 1)):
            raise InputError(f"{name} must be a share, between 0 and 1; received {share}")
    if model is not None and getattr(model, "bert", None) is not backbone:
        raise InputError("model must be that of an earlier call on this encoder; it holds another backbone")
    rows = _packed(reader, checked_texts(sources, "sources"), _length(reader, row_length), seed, n_jobs)
    steps = max_steps or math.ceil(len(rows) * epochs / batch_size)
    asked = _Masked(rows, reader.tokenizer, masks, seed, count=steps * batch_size)
    with contextlib.ExitStack() as stack:
        stack.enter_context(own_random_numbers())
        place = Path(folder) if folder else Path(stack.enter_context(tempfile.TemporaryDirectory()))
        about = {
            "encoder": fingerprint(encoder if model is None else model),
            "sources": hashlib.sha256(rows.ids.tobytes()).hexdigest(),
            "options": repr(
                [steps, batch_size, rows.ids.shape[1], masks, learning_rate, warmup, weight_decay, checkpoints, seed]
            ),
        }
        arguments = TrainingArguments(
            output_dir=str(place),
            max_steps=steps,
            per_device_train_batch_size=batch_size,
            learning_rate=learning_rate,
            warmup_steps=int(warmup * steps),
            weight_decay=weight_decay,
            seed=seed,
            save_strategy="steps" if folder else "no",
            save_steps=math.ceil(steps / checkpoints),
            save_total_limit=2,
            logging_steps=max(1, steps // 50),
            use_cpu=encoder.device.type == "cpu",
            disable_tqdm=not (sys.stderr.isatty() if show_progress_bar is None else show_progress_bar),
            report_to="none",
            dataloader_pin_memory=encoder.device.type != "cpu",
            remove_unused_columns=False,
        )
        last = claim(place, about)
        model = _with_heads(backbone, seed) if model is None else model
        try:
            trainer = _Trainer(model=model, args=arguments, train_dataset=asked, data_collator=_as_it_is)
            trainer.remove_callback(PrinterCallback)
            trainer.train(resume_from_checkpoint=str(last) if last else None)
        finally:
            model.eval()
            encoder.eval()
    if begins:
        _copy_places(backbone, rows.ids.shape[1])
    history: Any = trainer.state.log_history
    losses = tuple((entry["step"], entry["loss"]) for entry in history if "loss" in entry)
    return Pretraining(trainer.state.global_step, losses, len(rows), rows.tokens, rows.unreadable, model)


def held_out(
    model: BertForPreTraining,
    encoder: Encoder,
    sources: Iterable[str],
    *,
    row_length: int | None = None,
    masks: float = 0.15,
    batch_size: int = 32,
    seed: int = 0,
) -> HeldOut:
    """Ask a pre-trained model for masked subwords and next lines of sources that it was not trained on.

    Args:
        model: `Pretraining.model`.
        encoder: Whose backbone it is.
        sources: Python, packed as in `pretrain`.
        row_length: As in `pretrain`.
        masks: As in `pretrain`.
        batch_size: Rows at a time.
        seed: Of packing and masks: equal seeds ask every model with one vocabulary for the same.

    Raises:
        InputError: No source parses, or an argument is out of range.
    """
    reader, _ = _parts(encoder)
    rows = _packed(reader, checked_texts(sources, "sources"), _length(reader, row_length), seed)
    asked = _Masked(rows, reader.tokenizer, masks, seed, count=len(rows))
    surprise, right, masked, follows, judged = 0.0, 0, 0, 0, 0
    with torch.inference_mode():
        for start in range(0, len(rows), whole("batch_size", batch_size)):
            batch = asked.__getitems__(range(start, min(start + batch_size, len(rows))))
            logits, wanted, next_logits, labels = _predictions(model, {k: v.to(model.device) for k, v in batch.items()})
            surprise += float(functional.cross_entropy(logits.double(), wanted, reduction="sum"))
            right += int((logits.argmax(1) == wanted).sum())
            masked += len(wanted)
            known = labels != _IGNORED
            follows += int((next_logits.argmax(1) == labels)[known].sum())
            judged += int(known.sum())
    return HeldOut(math.exp(surprise / masked), right / masked, follows / judged if judged else math.nan, masked)


class _Trainer(Trainer):
    """Asks the heads for masked subwords alone: that of all subwords costs more than a small backbone."""

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        del num_items_in_batch  # the mean of a batch is taken here
        logits, wanted, next_logits, labels = _predictions(model, inputs)
        loss = functional.cross_entropy(logits, wanted)
        if (labels != _IGNORED).any():
            loss = loss + functional.cross_entropy(next_logits, labels, ignore_index=_IGNORED)
        return (loss, None) if return_outputs else loss


def _as_it_is(batch: Any) -> Any:
    """Rows come as a batch already."""
    return batch


def _predictions(model: Any, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits of the masked subwords and what they are, logits of the second halves and what they are."""
    hidden = batch["labels"] != _IGNORED
    names = ("input_ids", "token_type_ids", "attention_mask")
    output = model.bert(**{name: batch[name] for name in names})
    logits = model.cls.predictions(output.last_hidden_state[hidden])
    return logits, batch["labels"][hidden], model.cls.seq_relationship(output.pooler_output), batch["next"]


def _parts(encoder: Any) -> tuple[CodeInput, BertModel]:
    reader = encoder[0] if isinstance(encoder, Encoder) else None
    backbone = getattr(reader, "model", None)
    if not isinstance(reader, CodeInput) or not isinstance(backbone, BertModel) or backbone.pooler is None:
        message = f"encoder must be one of code_encoder; received {type(encoder).__name__}"
        raise InputError(message if reader is None else f"{message} that begins with {type(reader).__name__}")
    return reader, backbone


def _with_heads(backbone: BertModel, seed: int) -> Any:
    """The very backbone with new heads, that of subwords tied to its embeddings."""
    config = BertConfig.from_dict(backbone.config.to_dict())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: Any = BertForPreTraining(config)
    model.bert = backbone
    model.tie_weights()
    return model.to(backbone.device)


def _copy_places(backbone: Any, learnt: int) -> None:
    """Give places that no row reached what those have that one did: a longer row then starts near what is known."""
    places = backbone.embeddings.position_embeddings.weight
    with torch.no_grad():
        places[learnt:] = places[torch.arange(learnt, len(places)) % learnt]


@dataclass(frozen=True)
class _Rows:
    """Packed sequences: (rows, window) ids with 0 for padding, where B begins, and whether it follows A."""

    ids: Integers
    lengths: Integers
    second: Integers
    labels: Integers
    unreadable: int

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def tokens(self) -> int:
        """Of all rows, without padding."""
        return int(self.lengths.sum())


class _Masked(Dataset[dict[str, Tensor]]):
    """Rows with masks, one epoch after the other; what is masked follows from the seed and the place alone."""

    def __init__(self, rows: _Rows, tokenizer: Any, masks: float, seed: int, *, count: int) -> None:
        self.rows, self.mask_id, self.masks, self.seed, self.count = rows, tokenizer.mask_token_id, masks, seed, count
        special = set(tokenizer.all_special_ids)
        self.first, self.is_word = len(special), np.array([at not in special for at in range(len(tokenizer))])

    def __len__(self) -> int:
        return self.count

    def __getitems__(self, places: Sequence[int]) -> dict[str, Tensor]:
        """A batch at once: row by row, masks cost a tenth of a step of a small model."""
        rows = np.asarray(places) % len(self.rows)
        ids, lengths, second = self.rows.ids[rows], self.rows.lengths[rows, None], self.rows.second[rows, None]
        order = np.arange(ids.shape[1])
        chances = [np.random.default_rng([self.seed, place]).random((3, len(order))) for place in places]
        which, fate, other = np.stack(chances, axis=1)
        words = self.is_word[ids] & (order < lengths)
        count = np.maximum(1, np.round(self.masks * words.sum(axis=1, keepdims=True)))
        hidden = words & (np.where(words, which, 1).argsort(axis=1).argsort(axis=1) < count)
        labels = np.where(hidden, ids, _IGNORED)
        ids[hidden & (fate < _MASKED)] = self.mask_id
        drawn = hidden & (fate >= _MASKED) & (fate < _MASKED + _DRAWN)
        ids[drawn] = self.first + (other[drawn] * (len(self.is_word) - self.first)).astype(np.int64)
        return {
            "input_ids": torch.from_numpy(ids),
            "token_type_ids": torch.from_numpy(((order >= second) & (order < lengths)).astype(np.int64)),
            "attention_mask": torch.from_numpy((order < lengths).astype(np.int64)),
            "labels": torch.from_numpy(labels),
            "next": torch.from_numpy(self.rows.labels[rows]),
        }


def _length(reader: CodeInput, row_length: int | None) -> int:
    window = int(reader.max_seq_length or 512)
    if row_length is None:
        return window
    if not isinstance(row_length, int) or not _LEAST <= row_length <= window:
        raise InputError(
            f"row_length must be a whole number from {_LEAST} to the window, {window}; received {row_length!r}"
        )
    return row_length


def _packed(reader: CodeInput, sources: Sequence[str], window: int, seed: int, n_jobs: int = 1) -> _Rows:
    """Fill rows of so many subwords with the lines of the sources, in their order."""
    tokenizer = reader.tokenizer
    lines, owners, unreadable = _lines(reader, sources, window - 3, n_jobs)
    draw = np.random.default_rng(seed)
    row_ids, lengths, seconds, labels = [], [], [], []
    begin = [tokenizer.cls_token_id]
    end = [tokenizer.sep_token_id]
    place = 0
    while place < len(lines):
        stop = _reach(lines, place, window - 3)
        cuts = [at for at in range(place + 1, stop) if owners[at] == owners[at - 1]]
        label, second = _IGNORED, window
        ids = begin + _joined(lines[place:stop]) + end
        if cuts:
            cut = int(draw.choice(cuts))
            first = begin + _joined(lines[place:cut]) + end
            label, second = 0, len(first)
            follower = _joined(lines[cut:stop])
            if draw.random() < 0.5 and (other := _elsewhere(owners, owners[cut], draw)) is not None:
                label, stop = 1, cut
                room = window - 1 - len(first)
                follower = _joined(lines[other : max(other + 1, _reach(lines, other, room))])[:room]
            ids = first + follower + end
        row_ids.append(ids + [tokenizer.pad_token_id] * (window - len(ids)))
        lengths.append(len(ids))
        seconds.append(second)
        labels.append(label)
        place = stop
    return _Rows(np.array(row_ids), np.array(lengths), np.array(seconds), np.array(labels), unreadable)


def _lines(reader: CodeInput, sources: Sequence[str], most: int, n_jobs: int) -> tuple[list[list[int]], list[int], int]:
    """Subwords of each logical line, at most so many, the number of its source, and how many do not parse."""
    lines: list[list[int]] = []
    owners: list[int] = []
    unreadable = 0
    cut = in_processes(reader.cut.tokenize, ((source,) for source in sources), n_jobs)
    for start in tqdm(range(0, len(sources), _CHUNK), desc="tokenise", disable=None, delay=2):
        pieces: list[list[str]] = []
        numbers: list[int] = []
        for number, found in enumerate(islice(cut, _CHUNK), start=start):
            unreadable += found[0] == ERROR
            for line in _logical_lines(found) if found[0] != ERROR else ():
                pieces.append(line)
                numbers.append(number)
        if not pieces:
            continue
        encoded = reader.tokenizer(pieces, is_split_into_words=True, add_special_tokens=False, verbose=False)
        for number, ids in zip(numbers, encoded["input_ids"], strict=True):
            parts = [ids[at : at + most] for at in range(0, len(ids), most)]
            lines += parts
            owners += [number] * len(parts)
    if not lines:
        raise InputError("sources must hold Python that parses, to learn from; received none")
    return lines, owners, unreadable


def _logical_lines(pieces: list[str]) -> list[list[str]]:
    """Pieces of a source cut behind each NEWLINE; what follows the last of them belongs to it."""
    ends = [place + 1 for place, piece in enumerate(pieces) if piece == NEWLINE][:-1]
    return [pieces[start:end] for start, end in zip([0, *ends], [*ends, len(pieces)], strict=True)]


def _reach(lines: Sequence[list[int]], place: int, room: int) -> int:
    """Behind the last line from `place` on that fits in."""
    while place < len(lines) and (room := room - len(lines[place])) >= 0:
        place += 1
    return place


def _elsewhere(owners: Sequence[int], owner: int, draw: np.random.Generator) -> int | None:
    """A line of another source; None when there is only one."""
    if owners[0] == owners[-1]:
        return None
    while owners[at := int(draw.integers(len(owners)))] == owner:
        pass
    return at


def _joined(lines: Sequence[list[int]]) -> list[int]:
    return [word for line in lines for word in line]
