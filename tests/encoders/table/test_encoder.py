import numpy as np
import pytest

import embedkit as ek
from embedkit.encoders.readout import read_tokens
from embedkit.encoders.table.encoder import TableInput, read_table, table_encoder
from embedkit.encoders.table.table import Table, as_table
from embedkit.errors import InputError

CATS = {"cat": ["red", "blue"], "one": ["two", "three"]}
DOGS = Table("dog", ("bird", "sat"), [("green", "mat")])


@pytest.fixture
def text_encoder(make_encoder):
    return make_encoder()


def test_a_table_gets_the_vector_of_its_serialisation(text_encoder):
    encoder = table_encoder(text_encoder)
    text = encoder[0].serialise(as_table(CATS)).text
    assert np.array_equal(encoder.encode(CATS), text_encoder.encode(text))
    assert encoder.encode([CATS, DOGS]).shape == (2, 32)
    assert encoder.encode([]).shape == (0, 32)


def test_frames_dicts_and_tables_of_the_same_content_get_the_same_vector(text_encoder):
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    encoder = table_encoder(text_encoder)
    expected = encoder.encode(CATS)
    for same in (pandas.DataFrame(CATS), polars.DataFrame(CATS), as_table(CATS)):
        assert np.array_equal(encoder.encode(same), expected)


def test_layouts_differ_and_rows_written_by_row_are_one_span(text_encoder):
    by_column, by_row = (table_encoder(text_encoder, layout=layout) for layout in ("columns", "rows"))
    assert not np.allclose(by_column.encode(CATS), by_row.encode(CATS))
    assert len(by_row[0].serialise(as_table(CATS)).rows[0]) == 1


def test_save_and_load_give_equal_vectors(text_encoder, tmp_path):
    encoder = table_encoder(text_encoder, layout="rows", header=False)
    encoder.save(tmp_path / "model")
    loaded = ek.load(tmp_path / "model", device="cpu")
    assert isinstance(loaded[0], TableInput)
    assert np.array_equal(loaded.encode([CATS, DOGS]), encoder.encode([CATS, DOGS]))
    assert loaded.fingerprint == encoder.fingerprint
    assert encoder.fingerprint != table_encoder(text_encoder).fingerprint


def test_columns_and_rows_are_means_of_their_tokens(text_encoder):
    encoder = table_encoder(text_encoder)
    vectors = read_table(encoder, CATS)
    (readout,) = read_tokens(text_encoder, [vectors.serialised.text])
    (start, end) = vectors.serialised.columns[1][0]
    inside = [i for i, (first, last) in enumerate(readout.offsets) if first < end and last > start]
    assert np.allclose(vectors.columns[1], readout.embeddings[inside].mean(axis=0), atol=1e-6)
    assert vectors.column_names == ("cat", "one")
    assert vectors.row_numbers == (0, 1)
    assert vectors.rows.shape == (2, 32)


def test_rows_without_a_cell_and_columns_that_do_not_fit_have_no_vector(text_encoder):
    vectors = read_table(table_encoder(text_encoder), {"cat": ["red", None], "one": ["two", None]})
    assert vectors.row_numbers == (0,)
    wide = read_table(table_encoder(text_encoder), {f"c{i}": ["red"] for i in range(100)})
    assert len(wide.column_names) == len(wide.columns) < 100
    assert wide.serialised.dropped_columns


def test_a_table_of_any_size_fits_the_window(text_encoder):
    encoder = table_encoder(text_encoder)
    assert encoder.encode({f"column {i}": list(range(1000)) for i in range(20)}).shape == (32,)


@pytest.mark.parametrize("wrong", ["text", 3, None, [1, 2]])
def test_what_is_no_table_is_an_error_that_says_what_is_read(text_encoder, wrong):
    with pytest.raises(InputError, match="must be a table"):
        table_encoder(text_encoder).encode([wrong])


def test_wrong_encoders_and_layouts_are_errors(text_encoder):
    with pytest.raises(InputError, match="table_encoder"):
        read_table(text_encoder, CATS)
    with pytest.raises(InputError, match="layout must be one of columns, rows"):
        table_encoder(text_encoder, layout="diagonal")
