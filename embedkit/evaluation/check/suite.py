"""All checks, one after another."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from embedkit.evaluation.check.batches import BATCH_SIZE, ORDER, PADDING
from embedkit.evaluation.check.elastic import DEPTH, WIDTH
from embedkit.evaluation.check.finding import Check, Finding
from embedkit.evaluation.check.odd_inputs import ODD_INPUTS
from embedkit.evaluation.check.repetition import DETERMINISM, SAVE_AND_LOAD, THREADS
from embedkit.evaluation.check.subject import Subject
from embedkit.evaluation.check.tokens import PROMPT_MASK, WINDOW
from embedkit.evaluation.check.vectors import DISTINCT_VECTORS, FORM

CHECKS = (
    FORM,
    BATCH_SIZE,
    PADDING,
    ORDER,
    DETERMINISM,
    THREADS,
    PROMPT_MASK,
    WIDTH,
    DEPTH,
    SAVE_AND_LOAD,
    WINDOW,
    ODD_INPUTS,
    DISTINCT_VECTORS,
)
"""The suite, in the order in which it runs."""

_LONGEST_SENTENCE = 400


def check(
    encoder: Any,
    *,
    inputs: Sequence[Any] | None = None,
    seed: int = 0,
    on_finding: Callable[[Finding], None] | None = None,
) -> tuple[Finding, ...]:
    """Put an encoder through every check.

    Differences are lengths of difference vectors relative to the length of the vector they should be. Rounding of
    another batch may reach 1e-5 in float32, 1e-2 in float16 and 5e-2 in bfloat16; the same batch, a reloaded copy
    and other threads must be equal in every bit. Nothing else may use the encoder meanwhile: its cache is set aside.

    Args:
        encoder: An `Encoder`, a `SentenceTransformer`, or anything else with `encode` and
            `get_embedding_dimension`, which is taken to read text.
        inputs: At least two different inputs to check with; None takes 24 texts in several scripts. Checks that
            need text of their own are skipped where the encoder reads something else.
        seed: Draws the order in which inputs are shuffled, at least 0.
        on_finding: Is handed each finding as soon as it is there.

    Returns:
        One finding a check, in the order of `CHECKS`. An exception fails its check; the others still run.

    Raises:
        InputError: This is no encoder; it reads no text and `inputs` is missing; or an argument is out of range.

    Example:
        >>> import numpy as np
        >>> class Constant:
        ...     def encode(self, inputs):
        ...         return np.ones(3 if isinstance(inputs, str) else (len(inputs), 3), dtype=np.float32)
        ...
        ...     def get_embedding_dimension(self):
        ...         return 3
        >>> [(finding.name, finding.measured) for finding in check(Constant()) if finding.status == "fail"]
        [('distinct vectors', 'mean cosine 1.000 between 24 inputs, 276 pairs equal, 0 vectors zero')]
    """
    subject = Subject(encoder, inputs, seed)
    findings = []
    with _cache_set_aside(encoder):
        for one in CHECKS:
            finding = _find(one, subject)
            findings.append(finding)
            if on_finding is not None:
                on_finding(finding)
    return tuple(findings)


def _find(one: Check, subject: Subject) -> Finding:
    try:
        status, found = one.run(subject)
    except Exception as error:  # a broken encoder raises anything at all, and the other checks still have a say
        status, found = "fail", f"{type(error).__name__}: {error}"
    sentence = _one_line(found)
    if status == "skip":
        return Finding(one.name, status, "", sentence)
    return Finding(one.name, status, sentence, one.advice if status == "fail" else "")


def _one_line(text: str) -> str:
    """What others wrote into an exception, as a sentence that every terminal and file can hold."""
    line = " ".join(text.encode("utf-8", "backslashreplace").decode().split())
    return line if len(line) <= _LONGEST_SENTENCE else f"{line[: _LONGEST_SENTENCE - 1]}…"


@contextmanager
def _cache_set_aside(encoder: Any) -> Iterator[None]:
    """A cache would answer the second call of every comparison."""
    cache = getattr(encoder, "cache", None)
    if cache is None:
        yield
        return
    encoder.cache = None
    try:
        yield
    finally:
        encoder.cache = cache
