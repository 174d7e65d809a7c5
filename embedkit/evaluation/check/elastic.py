"""Every width and every depth that can be chosen."""

import numpy as np

from embedkit.errors import InputError
from embedkit.evaluation.check.distances import largest_difference, row_lengths, unit_rows
from embedkit.evaluation.check.finding import Check, Verdict
from embedkit.evaluation.check.subject import Subject


def _width(subject: Subject) -> Verdict:
    if not subject.takes("truncate_dim"):
        return "skip", "the encoder has no choice of width: encode has no truncate_dim"
    dim = subject.vectors.shape[1]
    dims = sorted({max(1, dim // part) for part in (1, 2, 3, 4, 8)})
    is_unit = _promises_unit_length(subject)
    differences, lengths = [], [row_lengths(subject.vectors)]
    for width in dims:
        found, prefix = subject.encode(subject.inputs, truncate_dim=width), subject.vectors[:, :width]
        lengths.append(row_lengths(found))
        differences.append(largest_difference(found, unit_rows(prefix) if is_unit else prefix))
    over = f"to the prefix{', scaled to length 1,' if is_unit else ''} at {len(dims)} widths"
    status, measured = subject.judge(differences, over)
    if not is_unit:
        return status, measured
    every = np.concatenate(lengths)
    return (
        status if np.abs(every - 1).max() <= subject.rounding else "fail",
        f"lengths {every.min():.4f} to {every.max():.4f}; {measured}",
    )


def _promises_unit_length(subject: Subject) -> bool:
    if subject.model is None:
        return bool(np.abs(row_lengths(subject.vectors) - 1).max() <= subject.rounding)
    from sentence_transformers.base.modules import Normalize

    return isinstance(subject.model[-1], Normalize)


def _depth(subject: Subject) -> Verdict:
    if not subject.takes("num_layers") or not hasattr(subject.encoder, "get_num_layers"):
        return "skip", "the encoder has no choice of depth: encode has no num_layers"
    try:
        depth = int(subject.encoder.get_num_layers())
    except InputError as error:
        return "skip", str(error)
    if not np.array_equal(subject.encode(subject.inputs, num_layers=depth), subject.vectors):
        return "fail", f"num_layers={depth}, which is all, gives other vectors than none"
    shallower = sorted({1, (depth + 1) // 2} - {depth})
    problems = {layers: _depth_problem(subject, layers) for layers in shallower}
    wrong = [f"num_layers={layers} {problem}" for layers, problem in problems.items() if problem]
    if wrong:
        return "fail", "; ".join(wrong)
    said = " and ".join(map(str, shallower)) or "no fewer"
    return "pass", f"all {depth} layers equal the default in every bit; {said} give finite vectors of their own"


def _depth_problem(subject: Subject, layers: int) -> str | None:
    found = subject.encode(subject.inputs, num_layers=layers)
    if found.shape != subject.vectors.shape or not np.isfinite(found).all():
        return "gives vectors of another shape, NaN or infinity"
    if np.array_equal(found, subject.vectors):
        return "gives the vectors of all layers"
    if subject.own and not np.array_equal(subject.reloaded.encode(subject.inputs, num_layers=layers), found):
        return "gives other vectors after saving and loading"
    return None


WIDTH = Check(
    "width",
    _width,
    "Truncate first and normalise then: pass normalize_embeddings=True, or open the model with embedkit.load.",
)

DEPTH = Check(
    "depth",
    _depth,
    "num_layers must stop the backbone's own forward early, with its final norm, and saving must keep all layers.",
)
