"""Inputs that nobody expects."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from embedkit.errors import InputError
from embedkit.evaluation.check.finding import Check, Verdict
from embedkit.evaluation.check.subject import Subject

if TYPE_CHECKING:
    from embedkit.encoders.encoder import Encoder

_ODD_TEXTS = {
    "the empty string": "",
    "whitespace": " \t\r\n\u00a0\u3000",
    "emoji": "🙂👩‍🚀🏳️‍🌈",
    "control characters": "a\x00b\x07c\x1b[0m\x7f",
    "marks of direction and byte order": "\ufeff\u202eabc\u200b",
    "private and unassigned characters": "\ue000\U0010ffff\u0378",
    "a lone surrogate": "a\ud800b",
    "10,000 characters without a space": "x" * 10_000,
}
_NO_TEXTS = (None, 7, math.nan, b"text")


def _odd_inputs(subject: Subject) -> Verdict:
    if not subject.reads_text:
        return "skip", "the encoder reads no text"
    refusal: type[Exception] = InputError if subject.own else ValueError
    read, refused, wrong = [], [], []
    for name, text in _ODD_TEXTS.items():
        try:
            vectors = subject.encode([text])
        except refusal:
            refused.append(name)
        except Exception as error:  # the texts after it are tried too
            wrong.append(f"{name} raises {type(error).__name__}: {error}")
        else:
            read.append(text)
            if not np.isfinite(vectors).all():
                wrong.append(f"{name} gives NaN or infinity")
    if read and not np.isfinite(subject.encode_together([subject.inputs[0], *read])).all():
        wrong.append("odd texts give NaN or infinity to their batch")
    if subject.own:
        wrong += [said for value in _NO_TEXTS for given in (value, [value]) if (said := _taken(subject.own, given))]
    if wrong:
        return "fail", "; ".join(wrong)
    return "pass", f"{len(read)} odd texts give finite vectors; refused: {', '.join(refused) or 'none'}"


def _taken(encoder: "Encoder", value: Any) -> str | None:
    """What happens to `value`, which is no text, if not what should."""
    try:
        encoder.encode(value)
    except InputError:
        return None
    except Exception as error:  # the values after it are tried too
        return f"{value!r} raises {type(error).__name__}: {error}"
    return f"{value!r} is read as text"


ODD_INPUTS = Check(
    "odd inputs",
    _odd_inputs,
    "Guard divisions by the number of tokens and by the length; refuse what is no text with an InputError.",
)
