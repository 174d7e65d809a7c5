"""Heterogeneous context: which columns are read in which context, and how purity is counted."""

import warnings

import numpy as np
import pytest

from embedkit.encoders.table.encoder import table_encoder
from embedkit.encoders.table.parts import part_encoder
from embedkit.encoders.table.table import Table
from embedkit.encoders.table.vectors import table_vectors
from embedkit.errors import InputError
from embedkit.probes.observatory.heterogeneous_context import _contexts, _hits, heterogeneous_context

CONTEXTS = ("alone", "with subject column", "with neighbours", "whole table")
COSINE = "alone in context, cosine"
TABLES = [
    {"colour": ["red", "green"], "number": ["one", "two"], "beast": ["cat", "dog"]},
    {"beast": ["bird", "dog"], "colour": ["blue", "red"], "place": ["mat", "on"]},
    Table("secret", ("number", "Colour", "sound"), [("two", "green", "sings"), ("three", "blue", "barks")]),
]


@pytest.fixture
def text_encoder(make_encoder):
    return make_encoder()


def purities(finding):
    return [finding[f"{context}, purity"].estimate.value for context in CONTEXTS]


def test_purity_by_hand():
    clusters, types = np.array([0, 0, 0, 1, 1, 1]), np.array([0, 0, 1, 1, 1, 2])
    assert _hits(clusters, types).tolist() == [True, True, False, True, True, False]  # (2 + 2) / 6


def test_columns_read_alone_do_not_feel_their_context(text_encoder):
    finding = heterogeneous_context(part_encoder(text_encoder, unit="columns"), TABLES, min_tables=2)
    assert finding[COSINE].estimate.value == 1
    assert finding[COSINE].control.value < 1
    assert finding[COSINE].estimate.n == 7
    assert len(set(purities(finding))) == 1
    assert finding.notes == ("3 types: beast, colour, number",)


def test_a_constant_encoder_has_the_share_of_the_largest_type(text_encoder):
    encoder = part_encoder(text_encoder)
    text_encoder.encode = lambda texts, **_: np.full((len(texts), 8), 0.3, dtype=np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        finding = heterogeneous_context(encoder, TABLES, min_tables=2)
    assert purities(finding) == pytest.approx([3 / 7] * 4)
    assert finding["alone, purity"].control.value == pytest.approx(3 / 7)
    assert finding[COSINE].estimate.value == finding[COSINE].control.value == pytest.approx(1)


def test_types_that_values_tell_apart_are_found(text_encoder):
    encoder = part_encoder(text_encoder)
    known = {"red": 0, "green": 0, "blue": 0, "one": 1, "two": 1, "three": 1}
    text_encoder.encode = lambda texts, **_: np.eye(3, dtype=np.float32)[
        [known.get(text.split(",")[0].strip("."), 2) for text in texts]
    ]
    finding = heterogeneous_context(encoder, TABLES, min_tables=2)
    assert purities(finding) == [1, 1, 1, 1]
    assert finding["alone, purity"].control.value < 0.9
    assert finding[COSINE].control.value == pytest.approx(
        1 / 14
    )  # only the second beast has a like column beside it: ½ / 7


def test_names_of_columns_and_tables_are_never_read(text_encoder):
    encoder = part_encoder(text_encoder)
    asked = set()

    def encode(texts, **_):
        asked.update(texts)
        return np.ones((len(texts), 4), dtype=np.float32)

    text_encoder.encode = encode
    heterogeneous_context(encoder, TABLES, min_tables=2)
    words = set(" ".join(asked).replace(",", " ").replace(".", " ").split())
    assert words == {*"red green one two cat dog bird blue mat on three sings barks".split()}  # noqa: SIM905


def test_contexts_of_a_column():
    row = ("1", "Ann", "2", "Bob", "2020-01-02")
    table = Table("", ("",) * 5, [row])
    assert _contexts(table, 0) == [(0,), (0, 1), (0, 1), (0, 1, 2, 3, 4)]
    assert _contexts(table, 1) == [(1,), (1, 3), (0, 1, 2), (0, 1, 2, 3, 4)]
    assert _contexts(table, 4) == [(4,), (1, 4), (3, 4), (0, 1, 2, 3, 4)]
    assert _contexts(Table("", ("",) * 2, [("1", "Ann")]), 1)[1] == (1,)  # no other column of text


def cos(a, b):
    a, b = a.astype(float), b.astype(float)
    return a @ b / np.sqrt((a @ a) * (b @ b))


@pytest.mark.parametrize("layout", ["columns", "rows"])
def test_the_cosine_against_loops(layout, text_encoder):
    encoder = table_encoder(text_encoder, layout=layout)
    finding = heterogeneous_context(encoder, TABLES, min_tables=2)
    asked = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (2, 0), (2, 1)]
    same, others = [], []
    for place, column in asked:
        table = TABLES[place]
        rows = table.rows if isinstance(table, Table) else list(zip(*table.values(), strict=True))
        whole = table_vectors(encoder, Table("", ("",) * 3, rows)).columns
        alone = table_vectors(encoder, Table("", ("",), [(row[column],) for row in rows])).columns[0]
        same.append(cos(alone, whole[column]))
        others.append(np.mean([cos(alone, whole[other]) for other in range(3) if other != column]))
    assert finding[COSINE].estimate.value == pytest.approx(np.mean(same), abs=1e-5)
    assert finding[COSINE].control.value == pytest.approx(np.mean(others), abs=1e-5)
    assert finding == heterogeneous_context(encoder, TABLES, min_tables=2)


@pytest.mark.parametrize("layout", ["columns", "rows"])
def test_every_context_reads_the_rows_that_the_whole_table_keeps(layout, text_encoder):
    encoder = table_encoder(text_encoder, layout=layout)  # a window of 64 tokens
    first = {"a": ["cat", "dog"] * 30, "b": ["red", "blue"] * 30, "c": ["one"] * 60}
    second = {"a": ["bird"], "b": ["green"]}
    finding = heterogeneous_context(encoder, [first, second], min_tables=2)
    assert finding[COSINE].estimate.n == 4
    assert any(note.startswith("1 of 2 tables did not fit") for note in finding.notes)
    kept = table_vectors(encoder, Table("", ("",) * 3, list(zip(*first.values(), strict=True)))).row_numbers
    cut = {name: [values[row] for row in kept] for name, values in first.items()}
    again = heterogeneous_context(encoder, [cut, second], min_tables=2)
    assert again.lines == finding.lines


def test_columns_that_do_not_fit_are_left_out_and_told(text_encoder):
    long = {f"c{place}": ["cat dog bird sat barks sings " * 3] for place in range(8)}
    finding = heterogeneous_context(table_encoder(text_encoder), [long, long, long])
    assert finding[COSINE].estimate.n < 24
    assert any("columns left out, not to be read in every context" in note for note in finding.notes)


def test_types_are_the_headers_of_most_columns(text_encoder):
    tables = [{"rare": ["one"], "often": ["two"], "more": ["three"]}] * 2 + [{"often": ["cat"], "more": ["dog"]}]
    finding = heterogeneous_context(part_encoder(text_encoder), tables, min_tables=2, num_types=2)
    assert finding.notes == ("2 types: more, often",)


def test_columns_without_values_and_tables_of_one_column_say_nothing(text_encoder):
    useless = [{"colour": ["red"]}, {"colour": ["red"], "number": [""]}, {"colour": [], "number": []}]
    encoder = part_encoder(text_encoder)
    assert (
        heterogeneous_context(encoder, [*TABLES, *useless], min_tables=2).lines
        == heterogeneous_context(encoder, TABLES, min_tables=2).lines
    )


@pytest.mark.parametrize(
    "tables", [[], TABLES[:1], [{"colour": ["red"]}] * 5, [{"a": ["x"], f"b{i}": ["y"]} for i in "123"]]
)
def test_fewer_than_two_types_are_refused(tables, text_encoder):
    with pytest.raises(InputError, match=f"shared by 3 tables .* received {len(tables)} table"):
        heterogeneous_context(part_encoder(text_encoder), tables)


def test_bad_input_is_refused(text_encoder):
    with pytest.raises(InputError, match="needs an encoder of tables"):
        heterogeneous_context(text_encoder, TABLES)
    with pytest.raises(InputError, match="num_types"):
        heterogeneous_context(part_encoder(text_encoder), TABLES, num_types=1)
    with pytest.raises(InputError, match="min_tables"):
        heterogeneous_context(part_encoder(text_encoder), TABLES, min_tables=0)
    with pytest.raises(InputError, match="must be a Table"):
        heterogeneous_context(part_encoder(text_encoder), [3])
