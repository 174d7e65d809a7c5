"""Sample fidelity: the limits that are known, and the distance that theory predicts."""

import itertools

import numpy as np
import pytest

from embedkit.encoders.table.encoder import table_encoder
from embedkit.encoders.table.parts import part_encoder
from embedkit.encoders.table.table import as_table
from embedkit.encoders.table.vectors import table_vectors
from embedkit.errors import InputError
from embedkit.probes.observatory.sample_fidelity import sample_fidelity
from embedkit.probes.observatory.variants import Variant

WORDS = ["red", "green", "blue", "cat", "dog", "bird"]
TABLES = [{"cat": WORDS, "one": WORDS[::-1]}, {"two": WORDS[:4]}]


@pytest.mark.parametrize("unit", ["columns", "cells", None])
def test_all_rows_give_the_table(unit, text_encoder):
    encoder = part_encoder(text_encoder, unit=unit) if unit else table_encoder(text_encoder)
    finding = sample_fidelity(encoder, TABLES, fraction=1.0)
    for level in ("column", "table"):
        assert finding[f"{level}, cosine"].estimate.value == pytest.approx(1, abs=1e-6 if unit is None else 1e-9)
        assert finding[f"{level}, dispersion"].estimate.value == pytest.approx(0, abs=1e-3 if unit is None else 1e-9)
    assert finding.notes == ()


@pytest.mark.parametrize("size", range(1, 7))
def test_a_mean_of_rows_moves_as_far_as_predicted(size, text_encoder):
    """E‖E(S) − E(T)‖² = tr(Cov)(1/s − 1/n), over all subsets of a table of six rows."""
    encoder = part_encoder(text_encoder, unit="cells", header=False, max_values=None)
    table = as_table({"cat": WORDS})
    samples = [Variant(rows, [0]).of(table) for rows in itertools.combinations(range(6), size)]
    whole = table_vectors(encoder, table, parts=["rows"])
    moved = [
        ((each.table - whole.table).astype(float) ** 2).sum() for each in table_vectors(encoder, samples, parts=())
    ]
    spread = np.trace(np.cov(whole.rows.astype(float).T))
    assert np.mean(moved) == pytest.approx(spread * (1 / size - 1 / 6), rel=1e-4, abs=1e-9)


def test_larger_samples_are_closer(text_encoder):
    encoder = part_encoder(text_encoder, unit="cells", max_values=None)
    found = [sample_fidelity(encoder, TABLES, fraction=fraction, variants=20) for fraction in (0.25, 0.5, 0.75)]
    cosines = [each["table, cosine"].estimate.value for each in found]
    assert cosines == sorted(cosines)
    dispersions = [each["table, dispersion"].estimate.value for each in found]
    assert dispersions == sorted(dispersions, reverse=True)


@pytest.mark.parametrize(("fraction", "size"), [(0.01, 1), (0.25, 2), (0.5, 4), (0.75, 5), (0.9, 6)])
def test_samples_are_rows_in_their_order(fraction, size, text_encoder, asked):
    sample_fidelity(part_encoder(text_encoder), [{"cat": [*WORDS, "mat"]}], fraction=fraction)
    original, *samples = asked[0]
    assert len(original.rows) == 7
    assert len(samples) == 6
    for sample in samples:
        places = [original.rows.index(row) for row in sample.rows]
        assert places == sorted(set(places))
        assert len(places) == size


def test_samples_are_uniform(text_encoder, asked):
    sample_fidelity(part_encoder(text_encoder), [{"cat": WORDS}], fraction=0.5, variants=600)
    counts = [sum((word,) in sample.rows for sample in asked[0][1:]) / 600 for word in WORDS]
    assert counts == pytest.approx([0.5] * 6, abs=0.08)


def test_tables_too_short_to_sample_are_left_out(text_encoder):
    short = [{"cat": ["red"]}, {"cat": []}, {"cat": WORDS}]
    finding = sample_fidelity(part_encoder(text_encoder), short)
    assert finding["column, cosine"].estimate.n == 1
    assert finding.notes == ("2 of 3 tables left out: too few rows for a sample",)
    assert sample_fidelity(part_encoder(text_encoder), short, fraction=1).notes[0].startswith("1 of 3")


def test_a_column_that_a_sample_leaves_empty_is_not_compared(text_encoder):
    sparse = {"cat": WORDS, "dog": ["red", "", "", "", "", ""]}
    finding = sample_fidelity(part_encoder(text_encoder, header=False), [sparse], fraction=0.5)
    assert 6 < finding["column, cosine 5 % quantile"].estimate.n < 12


def test_equal_seeds_give_equal_findings(text_encoder):
    encoder = part_encoder(text_encoder)
    assert sample_fidelity(encoder, TABLES, seed=1) == sample_fidelity(encoder, TABLES, seed=1)


@pytest.mark.parametrize("fraction", [0, -0.5, 1.01, float("nan")])
def test_fraction_is_a_share(fraction, text_encoder):
    with pytest.raises(InputError, match="fraction must be above 0 and at most 1"):
        sample_fidelity(part_encoder(text_encoder), TABLES, fraction=fraction)


def test_variants_are_a_count(text_encoder):
    with pytest.raises(InputError, match="variants must be a count"):
        sample_fidelity(part_encoder(text_encoder), TABLES, variants=0)
