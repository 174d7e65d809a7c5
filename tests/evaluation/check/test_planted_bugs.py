"""Every check sees the bug that was planted for it."""

import re

import pytest

from embedkit.evaluation.check import CHECKS
from tests.evaluation.check.bugs import (
    AllLayersAreOneLess,
    CentredOverTheBatch,
    DropoutOn,
    DropsDuplicates,
    FirstLetterOnly,
    Float64,
    Fortran,
    IgnoresTheDepth,
    IgnoresTheWidth,
    InOneCorner,
    NaNForALongText,
    NaNForAnEmptyText,
    NoInputIsNothing,
    Noisy,
    OddTextsSpoilTheirBatch,
    OneAtATime,
    OneInputIsABatch,
    OneVectorForAll,
    PaddingCounts,
    PaddingGivesNaN,
    QuantisedOverTheBatch,
    RaisesForEmoji,
    ShallowIsNaN,
    SharedState,
    SortedByLength,
    Tensors,
    TruncatesAfterNormalising,
    TruncatesTheWrongEnd,
    WrongWidth,
    ZeroForShortTexts,
    lets_the_cut_part_count,
    reads_none,
    trips_over_numbers,
    with_a_foreign_module,
    with_a_side_that_is_not_saved,
    with_more_positions_than_there_are,
    with_state_that_is_not_saved,
)
from tests.evaluation.check.encoders import NAMES, bare, patched

PLANTED = [
    (Float64, "form", "float64"),
    (Fortran, "form", "not contiguous"),
    (Tensors, "form", "Tensor"),
    (WrongWidth, "form", r"\(n, 33\) is promised"),
    (OneInputIsABatch, "form", r"one input gave float32 \(1, 32\)"),
    (NoInputIsNothing, "form", r"no input gave float32 \(0,\)"),
    (bare, "form", r"no input gave float\d\d \(0,\)"),
    (CentredOverTheBatch, "batch size", "difference"),
    (QuantisedOverTheBatch, "batch size", "difference"),
    (PaddingCounts, "batch size", "difference"),
    (PaddingCounts, "padding", "difference"),
    (PaddingGivesNaN, "padding", "difference nan"),
    (PaddingGivesNaN, "batch size", "difference nan"),
    (SortedByLength, "order", "difference"),
    (DropsDuplicates, "order", "48 inputs gave vectors of shape .24, 32."),
    (DropoutOn, "determinism", "difference"),
    (Noisy, "determinism", "difference"),
    (SharedState, "threads", "difference"),
    (OneAtATime, "threads", "RuntimeError: Already borrowed"),
    (bare, "width", r"lengths 0\."),
    (TruncatesAfterNormalising, "width", r"lengths 0\."),
    (TruncatesTheWrongEnd, "width", "lengths 1.0000 to 1.0000; largest"),
    (IgnoresTheWidth, "width", "came where"),
    (IgnoresTheDepth, "depth", "num_layers=1 gives the vectors of all layers; num_layers=2"),
    (AllLayersAreOneLess, "depth", "num_layers=4, which is all"),
    (ShallowIsNaN, "depth", "num_layers=1 gives vectors of another shape, NaN or infinity$"),
    (with_state_that_is_not_saved, "depth", "num_layers=1 gives other vectors after saving"),
    (with_state_that_is_not_saved, "save and load", "difference"),
    (with_a_side_that_is_not_saved, "save and load", r"difference 0\.\d+ over 25 inputs"),
    (with_a_foreign_module, "save and load", "ModelError: .*Foreign"),
    (with_more_positions_than_there_are, "window", "Error: "),
    (patched(lets_the_cut_part_count), "window", "cut silently at 64 tokens"),
    (NaNForALongText, "window", "NaN"),
    (NaNForAnEmptyText, "odd inputs", "the empty string gives NaN"),
    (RaisesForEmoji, "odd inputs", "emoji raises KeyError"),
    (OddTextsSpoilTheirBatch, "odd inputs", "to their batch"),
    (bare, "odd inputs", "a lone surrogate raises TypeError"),
    (patched(reads_none), "odd inputs", r"None is read as text; \[None\] is read as text$"),
    (patched(trips_over_numbers), "odd inputs", r"\[7\] raises TypeError"),
    (OneVectorForAll, "distinct vectors", "mean cosine 1.000 between 24 inputs, 276 pairs equal, 0 vectors zero"),
    (FirstLetterOnly, "distinct vectors", "[1-9] pairs equal"),
    (ZeroForShortTexts, "distinct vectors", "1 vectors zero"),
    (InOneCorner, "distinct vectors", "mean cosine 1.000 between 24 inputs, 0 pairs equal"),
]


@pytest.mark.parametrize(("plant", "name", "measured"), PLANTED, ids=lambda value: getattr(value, "__name__", None))
def test_a_planted_bug_is_seen(make_encoder, run, plant, name, measured):
    finding = run(name, plant(make_encoder()))
    assert finding.status == "fail"
    assert re.search(measured, finding.measured)
    assert finding.advice == next(one.advice for one in CHECKS if one.name == name)


def test_every_check_has_a_planted_bug():
    assert {name for _, name, _ in PLANTED} | {"prompt mask"} == set(NAMES)
