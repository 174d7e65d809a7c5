"""Which part of a text counts: what comes after the prompt, as far as the window goes."""

import math
from itertools import cycle, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedkit.evaluation.check.distances import largest_difference
from embedkit.evaluation.check.finding import Check, Verdict
from embedkit.evaluation.check.subject import Subject
from embedkit.evaluation.check.texts import WORDS

_LONGEST_WINDOW = 4096  # a longer text costs a large model minutes on a CPU


def _prompt_mask(subject: Subject) -> Verdict:
    model = subject.model
    prompts = [prompt for prompt in (getattr(model, "prompts", None) or {}).values() if prompt]
    if model is None or not subject.reads_text or not prompts:
        return "skip", "the encoder has no prompts"
    if all(getattr(module, "include_prompt", True) for module in model.modules()):
        return "skip", "its prompts are pooled together with the text"
    if not _gives_offsets(model):
        return "skip", "its tokenizer does not say which characters a token stands for"
    pairs = [(prompt, text) for prompt in prompts for text in subject.inputs]
    ends = {pair: end for pair in pairs if (end := _end_of_prompt(model, *pair))}
    if not ends:
        return "skip", "its prompts fill the window"
    masked = {pair: int(model.preprocess([pair[1]], prompt=pair[0]).get("prompt_length") or 0) for pair in ends}
    shifted = [pair for pair in ends if ends[pair] != masked[pair]]
    if shifted:
        prompt, text = shifted[0]
        return "fail", (
            f"the mask is not the prompt in {len(shifted)} of {len(ends)} prompted texts: {masked[shifted[0]]} tokens "
            f"are masked of {prompt + text!r:.60}, which begins with {ends[shifted[0]]} of the prompt"
        )
    some = list(ends)[:: max(1, len(ends) // 8)]
    differences = (
        largest_difference(
            subject.encode([text], prompt=prompt), _without_prompt(model, prompt, text, ends[prompt, text])
        )
        for prompt, text in some
    )
    return subject.judge(differences, f"to pooling without the prompt in {len(some)} texts")


def _gives_offsets(model: Any) -> bool:
    return bool(getattr(getattr(model, "tokenizer", None), "is_fast", False))


def _end_of_prompt(model: Any, prompt: str, text: str) -> int | None:
    """How many tokens, special ones included, come before the first that stands for a character of the text."""
    encoded = model.tokenizer(prompt + text, truncation=True, return_offsets_mapping=True)
    ends = [end for _, end in encoded["offset_mapping"]]
    return next((position for position, end in enumerate(ends) if end > len(prompt)), None)


def _without_prompt(model: Any, prompt: str, text: str, length: int) -> NDArray[Any]:
    import torch

    features = {**model.preprocess([text], prompt=prompt), "prompt_length": length}
    features = {name: value.to(model.device) if torch.is_tensor(value) else value for name, value in features.items()}
    with torch.inference_mode():
        vectors = model.eval()(features)["sentence_embedding"].float().cpu().numpy()
    return np.asarray(vectors)


def _window(subject: Subject) -> Verdict:
    if not subject.reads_text:
        return "skip", "the encoder reads no text"
    window = getattr(subject.model, "max_seq_length", None) or math.inf
    if _LONGEST_WINDOW < window < math.inf:
        return "skip", f"its window of more than {_LONGEST_WINDOW:,} tokens takes too long to fill"
    count = int(min(window, _LONGEST_WINDOW)) + 50
    texts = [" ".join(islice(cycle(WORDS), start, start + count)) for start in range(len(WORDS))]
    if not np.isfinite(subject.encode_bare(texts[0])).all():
        return "fail", f"a text of {count:,} words gives NaN or infinity"
    if not _gives_offsets(subject.model):
        return "pass", f"a text of {count:,} words gives a finite vector; where it was cut, if at all, is unknown"
    kept = int(subject.model.preprocess([texts[0]])["input_ids"].shape[1])  # type: ignore[union-attr]
    text, cut = next(((text, cut) for text in texts if (cut := _cut_at(subject.model, text, kept))), (texts[0], ""))
    if not cut or cut == text:
        return "pass", f"a text of {count:,} words gives a finite vector; {kept:,} tokens of it are read"
    difference = largest_difference(subject.encode_bare(text), subject.encode_bare(cut))
    status, measured = subject.judge([difference], f"to a text of {kept:,} tokens")
    return status, f"longer texts are cut silently at {kept:,} tokens; {measured}"


def _cut_at(model: Any, text: str, tokens: int) -> str:
    """As much of the text as its first `tokens` tokens stand for; empty where that reads differently on its own."""
    encoded = model.tokenizer(text, truncation=True, max_length=tokens, return_offsets_mapping=True)
    spans = [(start, end) for start, end in encoded["offset_mapping"] if end > start]
    cut = text[min(start for start, _ in spans) : max(end for _, end in spans)]
    return cut if model.tokenizer(cut)["input_ids"] == encoded["input_ids"] else ""


PROMPT_MASK = Check(
    "prompt mask",
    _prompt_mask,
    "The prompt is measured alone, and its last token merges with the text or is no token there: end prompts so "
    "that the boundary is kept (a newline or a colon instead of a blank), or pool the prompt too.",
)

WINDOW = Check(
    "window",
    _window,
    "Set max_seq_length to at most the number of positions the backbone has, and cut inputs by tokens.",
)
