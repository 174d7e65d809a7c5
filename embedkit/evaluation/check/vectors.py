"""Vectors by themselves: their form, and whether different inputs have different ones."""

import numpy as np

from embedkit.evaluation.check.distances import FLOAT32_ROUNDING, row_lengths, unit_rows
from embedkit.evaluation.check.finding import Check, Verdict
from embedkit.evaluation.check.subject import Subject


def _form(subject: Subject) -> Verdict:
    count, said = len(subject.inputs), subject.encoder.get_embedding_dimension()
    dim = subject.vectors.shape[1] if said is None else said
    wrong = []
    for given, what, shape in (
        (subject.inputs, f"{count} inputs", (count, dim)),
        (subject.inputs[0], "one input", (dim,)),
        ([], "no input", (0, dim)),
    ):
        found = subject.encoder.encode(given)
        if not isinstance(found, np.ndarray):
            wrong.append(f"{what} gave {type(found).__name__}")
        elif found.shape != shape or found.dtype != np.float32:
            wrong.append(f"{what} gave {found.dtype} {found.shape}")
        elif not found.flags.c_contiguous:
            wrong.append(f"{what} gave an array that is not contiguous")
    if wrong:
        return "fail", f"{'; '.join(wrong)}, where float32 (n, {dim}) is promised"
    return "pass", f"float32 (n, {dim}) for a batch, one input and none"


def _distinct(subject: Subject) -> Verdict:
    if not np.isfinite(subject.vectors).all():
        return "fail", "vectors hold NaN or infinity"
    zeros = int((row_lengths(subject.vectors) == 0).sum())
    unit = unit_rows(subject.vectors.astype(np.float64))
    first, second = np.triu_indices(len(unit), 1)
    cosine = float((unit[first] * unit[second]).sum(axis=1).mean())
    distances = row_lengths(subject.vectors[first].astype(np.float64) - subject.vectors[second])
    alike = int((distances <= FLOAT32_ROUNDING * row_lengths(subject.vectors)[first]).sum())
    measured = f"mean cosine {cosine:.3f} between {len(unit)} inputs, {alike} pairs equal, {zeros} vectors zero"
    return "fail" if zeros or alike or cosine > 0.999 else "pass", measured


FORM = Check(
    "form",
    _form,
    "Return a C-contiguous float32 array, (n, dim) for a batch, (dim,) for one input, (0, dim) for none; "
    "models opened with embedkit.load do.",
)

DISTINCT_VECTORS = Check(
    "distinct vectors",
    _distinct,
    "Inputs collapse: check that the weights were loaded and the vocabulary is the model's; a cosine near 1 asks "
    "for centring or whitening before searching.",
)
