"""Perturbation robustness: what is read, under which headers, and what the control is."""

import math

import numpy as np
import pytest

from embedkit.encoders.table.encoder import table_encoder
from embedkit.encoders.table.parts import part_encoder
from embedkit.encoders.table.table import Table
from embedkit.errors import InputError
from embedkit.probes.observatory.perturbation import Renamed, perturbation_robustness, renamed_columns

HEADER, VALUES = "header only, cosine", "header + values, cosine"
PAIRS = [
    Renamed(Table("animals", ("cat",), [("red",), ("green",), ("red",), ("",), ("blue",)]), "the cat"),
    Renamed({"dog": ["sat", "barks"]}, "dg"),
    Renamed({"bird": ["one", "two"]}, "brd"),
]


@pytest.fixture
def text_encoder(make_encoder):
    return make_encoder()


@pytest.fixture
def columns(text_encoder):
    return part_encoder(text_encoder, unit="columns")


def written(text_encoder, vector):
    """Let the encoder answer by `vector(text)`, and give the list of what it is asked."""
    asked = []

    def encode(texts, **_):
        asked.extend(texts)
        return np.array([vector(text) for text in texts], dtype=np.float32)

    text_encoder.encode = encode
    return asked


def test_by_hand(columns, text_encoder):
    angles = {"cat": 0, "the cat": 60, "dog": 0, "dg": 90}  # degrees
    written(
        text_encoder, lambda text: [math.cos(a := math.radians(angles[text.split(":")[0].rstrip(".")])), math.sin(a)]
    )
    finding = perturbation_robustness(columns, PAIRS[:2])
    for line in (finding[HEADER], finding[VALUES]):
        assert line.estimate.value == pytest.approx((0.5 + 0) / 2)
        assert line.control.value == pytest.approx((0 + 0.5) / 2)  # of two pairs each is the other's control
        assert line.estimate.n == line.control.n == 2
        assert line.ideal == 1


def test_a_column_is_read_with_its_first_different_values_and_without_the_name_of_its_table(columns, text_encoder):
    asked = written(text_encoder, lambda text: [len(text), 1])
    perturbation_robustness(columns, PAIRS[:2], max_values=2)
    assert set(asked) == {
        *("cat.", "the cat.", "dg.", "cat: green, red.", "the cat: green, red.", "dg: green, red."),
        *("dog.", "dog: barks, sat.", "dg: barks, sat.", "the cat: barks, sat."),
    }


@pytest.mark.parametrize("seed", range(20))
def test_the_control_is_never_a_pairs_own_header(seed, columns, text_encoder):
    pairs = [Renamed({"a": [1]}, "b"), Renamed({"b": [2]}, "A"), Renamed({"c": [3]}, "d"), Renamed({"c": [4]}, "d")]
    own = {1: {"a", "b"}, 2: {"b", "a"}, 3: {"c", "d"}, 4: {"c", "d"}}
    asked = written(text_encoder, lambda text: [len(text), 1])
    perturbation_robustness(columns, pairs, seed=seed)
    for value, headers in own.items():
        read = {text.split(":")[0].lower() for text in asked if text.endswith(f": {value}.")}
        assert len(read - headers) == 1


def test_an_encoder_that_ignores_headers_gives_one_on_both_sides(columns, text_encoder):
    written(text_encoder, lambda text: [len(text.split(":")[-1]) if ":" in text else 1, 1])
    finding = perturbation_robustness(columns, PAIRS)
    assert [line.estimate.value for line in finding.lines] == [1, 1]
    assert [line.control.value for line in finding.lines] == [1, 1]


@pytest.mark.parametrize("layout", ["columns", "rows"])
def test_encoders_of_whole_tables(layout, text_encoder):
    finding = perturbation_robustness(table_encoder(text_encoder, layout=layout), PAIRS)
    for line in finding.lines:
        assert -1 <= line.estimate.low <= line.estimate.value <= line.estimate.high < 1
    assert finding[HEADER].estimate.value < finding[VALUES].estimate.value  # shared values draw together
    assert str(finding) == str(perturbation_robustness(table_encoder(text_encoder, layout=layout), PAIRS))


def test_columns_without_values_count_for_the_header_only(columns):
    empty = Renamed({"mat": ["", " "]}, "mt")
    finding = perturbation_robustness(columns, [*PAIRS, empty])
    assert (finding[HEADER].estimate.n, finding[VALUES].estimate.n) == (4, 3)
    assert finding.notes == ("1 of 4 columns hold no value and count for the header only",)
    nothing = perturbation_robustness(columns, [empty, Renamed({"sat": [""]}, "st")])
    assert [line.name for line in nothing.lines] == [HEADER]


def test_zero_vectors_are_undefined(columns, text_encoder):
    written(text_encoder, lambda _: [0, 0])
    assert all(math.isnan(line.estimate.value) for line in perturbation_robustness(columns, PAIRS).lines)


def test_bad_input_is_refused(columns, text_encoder):
    with pytest.raises(InputError, match="needs an encoder of tables"):
        perturbation_robustness(text_encoder, PAIRS)
    with pytest.raises(InputError, match="reads headers"):
        perturbation_robustness(part_encoder(text_encoder, header=False), PAIRS)
    with pytest.raises(InputError, match="received none"):
        perturbation_robustness(columns, [])
    with pytest.raises(InputError, match=r"'cat' → 'the cat' has none"):
        perturbation_robustness(columns, PAIRS[:1])
    with pytest.raises(InputError, match="renamed_columns"):
        perturbation_robustness(columns, [PAIRS[0], ("cat", "dog")])
    with pytest.raises(InputError, match="max_values"):
        perturbation_robustness(columns, PAIRS, max_values=0)


@pytest.mark.parametrize(("column", "header"), [({"a": [1]}, "a"), ({"a": [1]}, " "), (Table("", ("",), []), "a")])
def test_a_pair_needs_two_headers(column, header):
    with pytest.raises(InputError, match="different texts"):
        Renamed(column, header)


def test_a_pair_is_of_one_column():
    with pytest.raises(InputError, match="one column"):
        Renamed({"a": [1], "b": [2]}, "c")


def test_columns_that_can_be_renamed():
    tables = [{"Student Name": ["Ann"], "ID": [1], "_id": [2]}, Table("x", ("ID", "column 2"), [("3", "4")])]
    [only] = renamed_columns(tables)
    assert (only.column, only.header) == (Table("", ("Student Name",), [("Ann",)]), "stdnt_nm")
    both = renamed_columns(tables, {"ID": "identifier", "Student Name": "Student Name", "age": "years"})
    assert [(pair.column.name, pair.column.rows, pair.header) for pair in both] == [
        ("", (("1",),), "identifier"),
        ("x", (("3",),), "identifier"),
    ]
    assert renamed_columns([]) == []
