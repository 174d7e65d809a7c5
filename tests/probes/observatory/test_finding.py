"""Estimates with their intervals, and what a finding shows."""

import math

import numpy as np
import pytest

from embedkit.errors import InputError
from embedkit.probes.observatory.finding import Estimate, Finding, Line, estimate


def finding(**options):
    lines = (
        Line("column, cosine", Estimate(0.97654, 0.9, 0.98, 25), Estimate(0.3694, 0.2, 0.4, 25), 1.0),
        Line("distance", Estimate(12345.6, 0.00044, 23456.7, 1200), None, None),
        Line("row, cosine", Estimate(math.nan, math.nan, math.nan, 0), None, 1.0),
    )
    return Finding("row order", "Do vectors stay?", **{"lines": lines, **options})


def test_estimate_is_the_mean_and_an_interval_around_it():
    values = np.random.default_rng(0).normal(5, 2, 400)
    found = estimate(values)
    half = 1.96 * values.std(ddof=1) / 20  # the textbook interval, which 400 normal values leave no reason to doubt
    assert (found.value, found.n) == (pytest.approx(values.mean()), 400)
    assert (found.low, found.high) == (
        pytest.approx(found.value - half, abs=0.05),
        pytest.approx(found.value + half, abs=0.05),
    )


def test_intervals_hold_the_mean_about_as_often_as_they_say():
    random = np.random.default_rng(1)
    found = [estimate(random.normal(size=30), level=0.8) for _ in range(150)]
    assert 0.68 < np.mean([each.low < 0 < each.high for each in found]) < 0.92


def test_equal_seeds_give_equal_intervals():
    values = [0.1, 0.5, 0.7, 0.9]
    assert estimate(values, seed=1) == estimate(values, seed=1)


def test_a_higher_level_is_wider():
    values = np.random.default_rng(0).normal(size=50)
    assert estimate(values, level=0.99).low < estimate(values, level=0.5).low


def test_undefined_units_are_left_out():
    assert estimate([math.nan, 1.0, 3.0, math.nan]) == estimate([1.0, 3.0])
    assert estimate([math.nan, 1.0]).n == 1


@pytest.mark.parametrize("values", [[], [math.nan]])
def test_no_unit_is_undefined(values):
    found = estimate(values)
    assert found.n == 0
    assert all(map(math.isnan, [found.value, found.low, found.high]))


@pytest.mark.parametrize("values", [[0.3], [0.3] * 9, [0.0] * 3, [1.0, 1.0 + 1e-15]])
def test_one_unit_or_equal_ones_have_no_width(values, recwarn):
    found = estimate(values)
    assert found.low == found.high == found.value == pytest.approx(values[0])
    assert found.n == len(values)
    assert not recwarn


@pytest.mark.parametrize("level", [0, 1, 95, math.nan])
def test_level_must_be_between_0_and_1(level):
    with pytest.raises(InputError, match="level must be between 0 and 1"):
        estimate([1.0, 2.0], level=level)


def test_a_line_is_found_by_name():
    assert finding()["distance"].estimate.n == 1200
    with pytest.raises(InputError, match=r"column, cosine, distance, row, cosine; received 'columns'"):
        finding()["columns"]


def test_printed_it_is_a_table():
    assert str(finding(notes=("1 of 26 tables left out",))).splitlines() == [
        "row order: Do vectors stay?",
        "line            measured                      control               ideal  n",
        "column, cosine  0.977 [0.900, 0.980]          0.369 [0.200, 0.400]  1.000  25",
        "distance        1.23e+04 [0.00044, 2.35e+04]                               1,200",
        "row, cosine     undefined                                           1.000  0",
        "- 1 of 26 tables left out",
    ]


def test_printed_it_fits_100_columns():
    wide = Estimate(-1.23e-15, -1.23e-15, 1.23e15, 123456)
    shown = str(finding(lines=(Line("a long name " * 9, wide, wide, -1e9),), notes=("many words " * 30,)))
    assert max(map(len, shown.splitlines())) <= 100
    assert shown.count("name") == 9


def test_a_finding_without_lines_prints():
    assert str(finding(lines=())).startswith("row order")


def test_plot_draws_a_row_a_line():
    pyplot = pytest.importorskip("matplotlib.figure")
    axis = pyplot.Figure().subplots()
    finding().plot(axis)
    assert [label.get_text() for label in axis.get_yticklabels()] == ["column, cosine", "distance", "row, cosine"]
    measured, control, ideal = axis.get_lines()
    assert measured.get_xdata()[:2].tolist() == [0.97654, 12345.6]
    assert control.get_xdata()[0] == 0.3694
    assert np.isnan(control.get_xdata()[1:]).all()
    assert control.get_fillstyle() == "none"
    assert ideal.get_xdata()[0] == 1.0
    assert axis.get_ylim() == (2.5, -0.5)
    assert axis.get_title() == "row order"
