"""Scores of repairs: by hand, of predictors that know nothing or all, and of no example."""

import math

import pytest

from embedkit.encoders.code.repairer import Repair
from embedkit.encoders.code.tasks.example import CORRECT, MISUSE, Example
from embedkit.errors import InputError
from embedkit.evaluation.repair import repair_scores

CODE = "def least(a, b): return a if a < b else b"
PLACES = {"uses": ((24, 25), (29, 30)), "candidates": ((10, 11), (13, 14), (24, 25), (29, 30))}
CLEAN = Example(CODE, CORRECT, 0, "", **PLACES)
BUG = Example(CODE, MISUSE, 0, "", error=(24, 25), targets=((10, 11), (29, 30)), **PLACES)


def said(error, repair=(13, 14), *, truncated=False):
    return Repair(error, repair, 0.5, truncated)


def test_worked_by_hand():
    examples = [CLEAN, CLEAN, BUG, BUG, BUG, BUG, BUG]
    repairs = [
        said(None),
        said((24, 25)),
        said((24, 25), (29, 30)),  # both right
        said((24, 25), (13, 14)),  # the place
        said((29, 30), (10, 11)),  # the repair
        said(None, (10, 11), truncated=True),  # the repair, though no bug is found
        said((29, 30), None),
    ]

    scores = repair_scores(examples, repairs)

    assert scores.classification == pytest.approx(5 / 7)
    assert scores.true_positive_rate == 1 / 2
    assert scores.localization == 2 / 5
    assert scores.repair == 3 / 5
    assert scores.joint == 1 / 5
    assert (scores.count, scores.with_bug, scores.truncated) == (7, 5, 1)


def test_who_never_finds_a_bug_is_right_of_those_without():
    scores = repair_scores([CLEAN, CLEAN, CLEAN, BUG], [said(None)] * 4)

    assert (scores.classification, scores.true_positive_rate, scores.localization, scores.joint) == (0.75, 1, 0, 0)


def test_who_knows_all_is_always_right():
    scores = repair_scores([CLEAN, BUG], [said(None, None), said(BUG.error, BUG.targets[1])])

    assert {scores.classification, scores.true_positive_rate, scores.localization, scores.repair, scores.joint} == {1}


def test_what_cannot_be_counted_is_no_number():
    clean, bugs, nothing = (repair_scores(given, [said(None)] * len(given)) for given in ([CLEAN], [BUG], []))

    assert math.isnan(clean.localization)
    assert math.isnan(clean.repair)
    assert math.isnan(clean.joint)
    assert clean.classification == 1
    assert math.isnan(bugs.true_positive_rate)
    assert math.isnan(nothing.classification)
    assert nothing.count == 0


def test_each_example_needs_a_repair():
    with pytest.raises(InputError, match="one for each of the 2 examples; received 1"):
        repair_scores([CLEAN, BUG], [said(None)])
