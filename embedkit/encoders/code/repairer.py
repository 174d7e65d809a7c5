"""`Repairer`: where in a function the wrong variable is read, and which one should be read instead."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from embedkit.encoders.batching import WINDOW, token_budget_batches
from embedkit.encoders.code.tasks.example import Example
from embedkit.encoders.encoder import Encoder
from embedkit.encoders.forks import refuse_fork
from embedkit.encoders.inputs import reader_for
from embedkit.encoders.loading import load
from embedkit.encoders.readout import text_transformer, token_places
from embedkit.encoders.split import Span
from embedkit.errors import InputError
from embedkit.modules.pointer import Form, PointerHead, candidate_logits

__all__ = ["Pointers", "Repair", "Repairer", "candidate_mask"]


@dataclass(frozen=True, slots=True)
class Repair:
    """What a `Repairer` says of one function.

    Attributes:
        error: Where the wrong variable is read; None for "there is no bug".
        repair: A span whose variable should be read at the error. There is one even where no bug is found; None only
            where the function has no candidates.
        bug_probability: That there is a bug, 0 … 1.
        truncated: Whether the encoder's window ends before the last use or candidate: what is behind it is not found.
    """

    error: Span | None
    repair: Span | None
    bug_probability: float
    truncated: bool

    def apply(self, code: str) -> str:
        """The function with the variable at the error replaced; as it was where no bug is found.

        Args:
            code: What this was said of.

        Example:
            >>> Repair((27, 28), (9, 10), 0.9, False).apply("def less(a, b): return min(b, b)")
            'def less(a, b): return min(a, b)'
        """
        if self.error is None or self.repair is None:
            return code
        return code[: self.error[0]] + code[slice(*self.repair)] + code[self.error[1] :]


@dataclass(frozen=True, slots=True)
class Pointers:
    """The places of an example as tokens: of each span the first token, if the encoder's window reaches it.

    Attributes:
        uses: Where the bug may be, token by token.
        candidates: What may repair it.
        error: Where the bug is; 0, the first token, without one; None where the window ends before it.
        targets: The candidates that repair it.
        truncated: Whether the window ends before the last use or candidate.
    """

    uses: dict[int, Span]
    candidates: dict[int, Span]
    error: int | None
    targets: tuple[int, ...]
    truncated: bool

    @property
    def are_known(self) -> bool:
        """Whether a right answer to both questions lies within the window."""
        return self.error == 0 or (self.error is not None and bool(self.targets))


class Repairer:
    r"""An encoder with a pointer head behind it; `embedkit.training.repair.train_repair` makes one.

    Args:
        encoder: Of its modules one is a `PointerHead`. It begins with a text transformer or a `CodeInput`, and puts a
            token of its own before each text, padding behind.

    Attributes:
        encoder: The encoder; its vectors are what they are without the head.
        head: The head.

    Raises:
        InputError: There is no head, or the encoder reads in another way.

    Example:
        >>> import embedkit as ek
        >>> from embedkit.encoders.code.functions import find_functions
        >>> from embedkit.encoders.code.tasks import variable_misuse
        >>> examples = variable_misuse(find_functions("def less(a, b):\n    return a if a < b else b\n"))
        >>> repairer = Repairer.untrained(ek.load())
        >>> [found.truncated for found in repairer.predict(examples)[:2]]
        [False, False]

    Reference:
        As `PointerHead`.

    Deviations:
        As `PointerHead`. A function is read up to the encoder's window; one that is longer is reported as truncated.
    """

    def __init__(self, encoder: Encoder) -> None:
        heads = [module for module in encoder if isinstance(module, PointerHead)]
        if len(heads) != 1:
            message = f"encoder must have one PointerHead; received {len(heads)}: make a repairer with train_repair"
            raise InputError(message)
        _check_reads_with_first_token(encoder)
        self.encoder, self.head = encoder, heads[0]

    @classmethod
    def untrained(cls, encoder: Encoder, *, form: Form = "log_sum", seed: int = 0) -> Self:
        """Put a new head behind an encoder, whose modules are shared.

        Args:
            encoder: As above, without a head.
            form: Of the head.
            seed: Of the head's weights.

        Raises:
            InputError: As above, or the encoder has a head.
        """
        if not isinstance(encoder, Encoder) or any(isinstance(module, PointerHead) for module in encoder):
            received = "one with a head" if isinstance(encoder, Encoder) else type(encoder).__name__
            message = f"encoder must be an embedkit.Encoder without a PointerHead; received {received}"
            raise InputError(message)
        _check_reads_with_first_token(encoder)
        first: Any = encoder[0]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            head = PointerHead(int(first.get_embedding_dimension()), form=form)
        return cls(Encoder([*encoder, head], device=str(encoder.device)))

    def pointers(self, examples: Sequence[Example]) -> list[Pointers]:
        """Tokens of the places of examples.

        Args:
            examples: As `variable_misuse` gives them.

        Raises:
            InputError: One is none, or its error is none of its uses, or a target none of its candidates, or it has
                one of these without the other.
        """
        _check(examples)
        return [found for some in _windows(examples) for found in self._pointers(some)]

    def predict(self, examples: Iterable[Example], *, batch_size: int = 32) -> list[Repair]:
        """Say of each function where its bug is and what repairs it.

        Args:
            examples: Functions with their `uses` and `candidates`, such as `variable_places` gives of any; what else
                they hold has no influence.
            batch_size: As in `Encoder.encode`.

        Returns:
            One for each, in order. The bug is at the likeliest use, if that is likelier than that there is none.

        Raises:
            InputError: As `pointers`.
        """
        refuse_fork()
        examples = list(examples)
        _check(examples)
        return [found for some in _windows(examples) for found in self._predict(some, batch_size)]

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the encoder, head included, as an ordinary folder; whole or not at all.

        Raises:
            StorageError: The disk refused; a folder that was there is unchanged.
        """
        self.encoder.save(folder, create_model_card=False)

    @classmethod
    def load(cls, folder: str | os.PathLike[str], *, device: str | None = None) -> Self:
        """Open what `save` wrote.

        Raises:
            InputError: The model has no head.
            ModelError: There is no model, or it is damaged.
        """
        return cls(load(folder, device=device))

    def _pointers(self, examples: Sequence[Example]) -> Iterator[Pointers]:
        with self.encoder.forward_lock:
            places = token_places(self.encoder, [example.code for example in examples])
        for example, (kept, offsets) in zip(examples, places, strict=True):
            found = _first_tokens(example.candidates, kept, offsets)
            yield Pointers(
                uses=_by_token(example.uses, found),
                candidates=_by_token(example.candidates, found),
                error=0 if example.error is None else found.get(example.error),
                targets=tuple(found[span] for span in example.targets if span in found),
                truncated=len(found) < len(example.candidates),
            )

    def _predict(self, examples: Sequence[Example], batch_size: int) -> list[Repair]:
        pointers = list(self._pointers(examples))
        with self.encoder.forward_lock:
            prepared = reader_for(self.encoder, None).prepare([example.code for example in examples], None, None)
        repairs: dict[int, Repair] = {}
        for batch in token_budget_batches(prepared.lengths, batch_size):
            chosen = [pointers[row] for row in batch]
            logits = self._logits(prepared.batch(batch.tolist()), chosen)
            repairs.update(zip(batch.tolist(), map(_repair, logits, chosen), strict=True))
        return [repairs[row] for row in range(len(examples))]

    def _logits(self, features: dict[str, Any], pointers: Sequence[Pointers]) -> np.ndarray[Any, Any]:
        encoder = self.encoder
        with encoder.forward_lock, torch.inference_mode():
            features = {
                name: value.to(encoder.device) if torch.is_tensor(value) else value for name, value in features.items()
            }
            features = encoder.eval().forward(features)
            scores = features["pointer_logits"]
            candidates = candidate_mask(pointers, scores.shape[1]).to(scores.device)
            logits = candidate_logits(scores, candidates, features["attention_mask"], form=self.head.form)
            array: np.ndarray[Any, Any] = logits.cpu().numpy()
            return array


def candidate_mask(pointers: Sequence[Pointers], tokens: int) -> Bool[Tensor, "n tokens 2"]:
    """Which tokens are candidates, as `embedkit.modules.pointer.candidate_logits` takes it.

    Args:
        pointers: Of each row.
        tokens: Width of the batch.
    """
    mask = torch.zeros(len(pointers), tokens, 2, dtype=torch.bool)
    for row, one in zip(mask, pointers, strict=True):
        row[list(one.uses), 0] = True
        row[list(one.candidates), 1] = True
    return mask


def _repair(logits: np.ndarray[Any, Any], pointers: Pointers) -> Repair:
    locations, repairs = logits.T
    shares = np.exp(locations - locations.max())
    uses, candidates = list(pointers.uses), list(pointers.candidates)
    at = max(uses, key=lambda token: float(locations[token]), default=0)
    by = max(candidates, key=lambda token: float(repairs[token]), default=0)
    return Repair(
        error=pointers.uses[at] if locations[at] > locations[0] else None,
        repair=pointers.candidates.get(by),
        bug_probability=float(shares[uses].sum() / shares.sum()),
        truncated=pointers.truncated,
    )


def _first_tokens(spans: Sequence[Span], kept: Any, offsets: Any) -> dict[Span, int]:
    """The first token that shares a character with each span; spans without one are left out."""
    if not spans:
        return {}
    first, last = np.array(spans, dtype=np.int64).T[:, :, None]
    inside = (np.maximum(offsets[:, 0], first) < np.minimum(offsets[:, 1], last)) & kept
    tokens = inside.argmax(axis=1).tolist()
    return {span: token for span, token, found in zip(spans, tokens, inside.any(axis=1), strict=True) if found}


def _by_token(spans: Sequence[Span], first_tokens: Mapping[Span, int]) -> dict[int, Span]:
    """Spans by their tokens, in order; of those that share a token the first."""
    by_token: dict[int, Span] = {}
    for span in spans:
        if span in first_tokens:
            by_token.setdefault(first_tokens[span], span)
    return by_token


def _windows(examples: Sequence[Example]) -> Iterator[Sequence[Example]]:
    """Parts of a size that bounds memory."""
    return (examples[start : start + WINDOW] for start in range(0, len(examples), WINDOW))


def _check(examples: Sequence[Any]) -> None:
    for position, example in enumerate(examples):
        if not isinstance(example, Example):
            message = (
                f"examples[{position}] must be an Example; received {type(example).__name__}: call variable_places"
            )
            raise InputError(message)
        candidates, uses = set(example.candidates), set(example.uses)
        errors = {example.error} - {None}
        if not (
            errors <= uses <= candidates
            and set(example.targets) <= candidates
            and bool(errors) == bool(example.targets)
        ):
            message = (
                f"examples[{position}] must have an error and targets or neither, its error among its uses, and these "
                f"and its targets among its candidates; received one of the label {example.label!r}: "
                "take examples of variable_misuse or variable_places"
            )
            raise InputError(message)


def _check_reads_with_first_token(encoder: Encoder) -> None:
    """Check that there is a token in front which can stand for "no bug"."""
    tokenizer = text_transformer(encoder).tokenizer
    with encoder.forward_lock:
        ((kept, _),) = token_places(encoder, ["a"])
    if tokenizer.padding_side != "right" or not len(kept) or kept[0]:
        message = (
            "encoder must put a token of its own before each text and padding behind, as BERT does; received one that "
            f"{'pads in front' if tokenizer.padding_side != 'right' else 'begins with the text'}"
        )
        raise InputError(message)
