import numpy as np
import pytest

import embedkit as ek
from embedkit.encoders.readout import read_tokens
from embedkit.encoders.table.encoder import TableInput, table_encoder
from embedkit.encoders.table.table import Table, as_table
from embedkit.encoders.table.vectors import table_vectors
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


def test_columns_rows_and_cells_are_means_of_their_tokens(text_encoder):
    encoder = table_encoder(text_encoder)
    vectors, written = table_vectors(encoder, CATS), encoder[0].serialise(as_table(CATS))
    (readout,) = read_tokens(text_encoder, [written.text])

    def mean(span):
        inside = [i for i, (first, last) in enumerate(readout.offsets) if first < span[1] and last > span[0]]
        return readout.embeddings[inside].mean(axis=0)

    assert np.allclose(vectors.columns[1], mean(written.columns[1][0]), atol=1e-6)
    assert np.allclose(vectors.cells[vectors.cell_places.index((1, 0))], mean(written.cells[1, 0]), atol=1e-6)
    assert (vectors.column_numbers, vectors.row_numbers) == ((0, 1), (0, 1))
    assert vectors.rows.shape == (2, 32)
    assert vectors.cells.shape == (4, 32)


def test_a_batch_of_tables_and_some_parts(text_encoder):
    encoder = table_encoder(text_encoder)
    one, other = table_vectors(encoder, [CATS, DOGS], parts=["columns"])
    assert one.rows.shape == one.cells.shape == (0, 32)
    assert np.allclose(other.columns, table_vectors(encoder, DOGS).columns, atol=1e-6)
    assert table_vectors(encoder, []) == []
    with pytest.raises(InputError, match="parts must be of columns, rows, cells; received 'leaves'"):
        table_vectors(encoder, CATS, parts=["leaves"])


def test_rows_without_a_cell_and_columns_that_do_not_fit_have_no_vector_and_that_is_said(text_encoder):
    vectors = table_vectors(table_encoder(text_encoder), {"cat": ["red", None], "one": ["two", None]})
    assert vectors.row_numbers == (0,)
    wide = table_vectors(table_encoder(text_encoder), {f"c{i}": ["red", "blue"] for i in range(100)})
    assert len(wide.column_numbers) == len(wide.columns) < 100
    assert wide.notes[0] == "1 of 2 rows left out to fit the window"
    assert "columns left out to fit the window: c" in wide.notes[1]


def test_numbers_are_written_with_the_digits_asked_for(text_encoder):
    encoder = table_encoder(text_encoder, digits=2)
    assert encoder[0].serialise(as_table({"one": [3.14159, 2.0], "two": [1234567, 1]})).text == (
        "one: 3.1, 2. two: 1234567, 1."
    )
    with pytest.raises(InputError, match="digits must be None or between 1 and 17; received 0"):
        table_encoder(text_encoder, digits=0)


def test_a_table_of_any_size_fits_the_window(text_encoder):
    encoder = table_encoder(text_encoder)
    assert encoder.encode({f"column {i}": list(range(1000)) for i in range(20)}).shape == (32,)


@pytest.mark.parametrize("wrong", ["text", 3, None, [1, 2]])
def test_what_is_no_table_is_an_error_that_says_what_is_read(text_encoder, wrong):
    with pytest.raises(InputError, match="must be a table"):
        table_encoder(text_encoder).encode([wrong])


def test_wrong_encoders_and_layouts_are_errors(text_encoder):
    with pytest.raises(InputError, match="table_encoder"):
        table_vectors(text_encoder, CATS)
    with pytest.raises(InputError, match="layout must be one of columns, rows"):
        table_encoder(text_encoder, layout="diagonal")
