"""Misuse localisation and repair: an encoder learns to point at the wrong variable and at the right one."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from embedkit.encoders.code.repairer import Pointers, Repairer, candidate_mask
from embedkit.encoders.code.tasks.example import Example
from embedkit.encoders.encoder import Encoder
from embedkit.errors import InputError
from embedkit.modules.pointer import Form, candidate_logits
from embedkit.training.adapter import parts_by_length
from embedkit.training.fit import Training, fit

_LEAST = 1e-10


@dataclass(frozen=True)
class RepairTraining:
    """What a call of `train_repair` did.

    Attributes:
        repairer: The encoder with its head.
        training: As `fit` tells it.
        left_out: Examples that were not learnt from, since the window ends before the bug or before all that repairs
            it, and their twins.
    """

    repairer: Repairer
    training: Training
    left_out: int


def train_repair(
    encoder: Encoder,
    examples: Iterable[Example],
    *,
    form: Form = "log_sum",
    learning_rate: float = 5e-5,
    seed: int = 0,
    **options: Any,
) -> RepairTraining:
    r"""Train an encoder, in place, and a pointer head behind it, to find misused variables and what repairs them.

    The loss of a step is the mean over examples of both of `pointer_loss`. Examples of which the encoder's window does
    not reach the bug, or nothing that repairs it, teach that there is none; they are left out together with their
    twins (of one distribution and number), so that long functions without a bug are not more frequent than with one.

    Args:
        encoder: Begins with a text transformer, or reads source as `code_encoder` does; it puts a token of its own
            before each text.
        examples: Of `variable_misuse`.
        form: Of the loss: "log_sum" or "original".
        learning_rate: As in `fit`.
        seed: Of the head's weights, and as in `fit`.
        **options: As in `fit`; `score` is given the encoder with the head, which `Repairer` takes.

    Returns:
        The repairer, and what was done.

    Raises:
        InputError: The encoder reads in another way, an example is none of variable misuse, all are left out, or as in
            `fit`.

    Example:
        >>> import embedkit as ek
        >>> from embedkit.encoders.code.functions import find_functions
        >>> from embedkit.encoders.code.tasks import variable_misuse
        >>> examples = variable_misuse(find_functions("def less(a, b):\n    return a if a < b else b\n"))
        >>> done = train_repair(ek.load(), examples, max_steps=1)
        >>> len(done.repairer.predict(examples)) == len(examples), done.left_out
        (True, 0)

    Reference:
        A. Kanade, P. Maniatis, G. Balakrishnan, K. Shi, "Learning and Evaluating Contextual Embedding of Source Code",
        ICML 2020; M. Vasic, A. Kanade, P. Maniatis, D. Bieber, R. Singh, "Neural Program Repair by Jointly Learning to
        Localize and Repair", ICLR 2019.

    Deviations:
        The default form is that of Vasic et al., with what is no candidate at −∞; "original" is that of CuBERT's code.
        Bugs are looked for among uses and repairs among all candidates; CuBERT's one mask serves both. Learning rate
        and warm-up are those of CuBERT's classifiers.
    """
    examples = list(examples)
    repairer = Repairer.untrained(encoder, form=form, seed=seed)
    pointers = repairer.pointers(examples)
    unknown = {_pair(one) for one, places in zip(examples, pointers, strict=True) if not places.are_known}
    kept = [(one.code, places) for one, places in zip(examples, pointers, strict=True) if _pair(one) not in unknown]
    if not kept:
        message = (
            f"examples must have some whose places the encoder's window reaches; received {len(examples)} without one: "
            "take shorter functions, or an encoder with a longer window"
        )
        raise InputError(message)
    objective = _PointerObjective(repairer.encoder, [places for _, places in kept], form)
    columns = {"text": [code for code, _ in kept], "label": list(range(len(kept)))}
    training = fit(repairer.encoder, columns, objective, learning_rate=learning_rate, seed=seed, **options)
    return RepairTraining(repairer, training, len(examples) - len(kept))


def pointer_loss(
    logits: Float[Tensor, "n tokens 2"],
    candidates: Bool[Tensor, "n tokens 2"],
    answers: Bool[Tensor, "n tokens 2"],
    attention_mask: Tensor,
    *,
    form: Form = "log_sum",
) -> Float[Tensor, "n 2"]:
    """Negative log-likelihood of the right places under the two softmaxes over tokens.

        "log_sum"      −log Σ_t answers_t alpha_t            "original"      −Σ_t answers_t log max(alpha_t, 1e-10)

    with alpha the softmax over tokens of `candidate_logits`. With several right answers the first asks for any of them,
    the second for all alike.

    Args:
        logits: Of `PointerHead`.
        candidates: As in `candidate_logits`; the first token is none.
        answers: True for what is right, all of them candidates or, for the bug, the first token.
        attention_mask: (n, tokens), 0 for padding.
        form: "log_sum" or "original".

    Returns:
        Of each example the loss of the place, and that of the repair; 0 where there is no right answer, as of the
        repair without a bug.

    Example:
        >>> candidates = torch.tensor([[[False, False], [True, True], [True, True]]])
        >>> answers = torch.tensor([[[False, False], [True, False], [False, True]]])
        >>> pointer_loss(torch.zeros(1, 3, 2), candidates, answers, torch.ones(1, 3))  # ln 3 and ln 2
        tensor([[1.0986, 0.6931]])
    """
    masked = candidate_logits(logits, candidates, attention_mask, form=form)
    without = ~answers.any(dim=1, keepdim=True)
    masked = masked.masked_fill(without, 0)  # no softmax of nothing but −∞, whose gradient is NaN
    if form == "original":
        return -(masked.softmax(dim=1).clamp(min=_LEAST).log() * answers).sum(dim=1)
    right = masked.masked_fill(~answers & ~without, -torch.inf)
    return masked.logsumexp(dim=1) - right.logsumexp(dim=1)


class _PointerObjective(nn.Module):
    """The mean over examples of both losses; labels are numbers of examples, whose places are known here."""

    def __init__(self, model: Any, pointers: Sequence[Pointers], form: Form) -> None:
        super().__init__()
        self.model, self.pointers, self.form = model, pointers, form

    def forward(self, sentence_features: Iterable[dict[str, Any]], labels: Tensor) -> Tensor:
        """The loss of one batch of functions, 0-d."""
        (features,) = sentence_features
        losses = [
            self._losses(part, [self.pointers[number] for number in labels.cpu()[rows].tolist()])
            for rows, part in parts_by_length(features, self.model)
        ]
        return torch.cat(losses).sum(dim=1).mean()

    def _losses(self, features: dict[str, Any], pointers: Sequence[Pointers]) -> Tensor:
        logits = self.model({**features})["pointer_logits"]
        candidates = candidate_mask(pointers, logits.shape[1]).to(logits.device)
        answers = _answers(pointers, logits.shape[1]).to(logits.device)
        return pointer_loss(logits, candidates, answers, features["attention_mask"], form=self.form)

    def extra_repr(self) -> str:
        """What tells one run from another: `fit` goes on only with the same places."""
        digest = hashlib.sha256()
        for one in self.pointers:
            digest.update(repr(one).encode())
        return f"places={digest.hexdigest()}"


def _answers(pointers: Sequence[Pointers], tokens: int) -> Bool[Tensor, "n tokens 2"]:
    answers = torch.zeros(len(pointers), tokens, 2, dtype=torch.bool)
    for row, one in zip(answers, pointers, strict=True):
        row[one.error, 0] = True
        row[list(one.targets), 1] = True
    return answers


def _pair(example: Example) -> tuple[str, int]:
    """What twins share."""
    return example.distribution, example.twin
