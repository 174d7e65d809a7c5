import numpy as np
import pytest

import embedkit as ek
from embedkit.encoders.table.encoder import table_encoder
from embedkit.encoders.table.parts import PartsInput, part_encoder
from embedkit.encoders.table.table import Table
from embedkit.encoders.table.vectors import table_vectors
from embedkit.encoders.text import tfidf_lsa
from embedkit.errors import InputError

CATS = {"cat": ["red", "blue", "red"], "one": ["two", "three", ""]}


@pytest.fixture
def text_encoder(make_encoder):
    return make_encoder()


@pytest.fixture(params=["columns", "cells"])
def encoder(request, text_encoder):
    return part_encoder(text_encoder, unit=request.param)


def test_a_column_is_its_name_and_values_read_alone(text_encoder):
    vectors = table_vectors(part_encoder(text_encoder), CATS)
    alone = text_encoder.encode(["cat: blue, red.", "one: three, two."])
    assert np.allclose(vectors.columns, alone, atol=1e-6)
    assert np.allclose(vectors.table, alone.mean(axis=0), atol=1e-6)
    assert np.allclose(vectors.rows[2], text_encoder.encode("cat: red."), atol=1e-6)


def test_a_set_is_the_mean_of_its_cells(text_encoder):
    vectors = table_vectors(part_encoder(text_encoder, unit="cells", header=False), CATS)
    red, blue, two, three = text_encoder.encode(["red", "blue", "two", "three"])
    assert np.allclose(vectors.columns[0], (2 * red + blue) / 3, atol=1e-6)
    assert np.allclose(vectors.rows[1], (blue + three) / 2, atol=1e-6)
    assert np.allclose(vectors.table, (2 * red + blue + two + three) / 5, atol=1e-6)
    assert vectors.cell_places == ((0, 0), (0, 1), (1, 0), (1, 1), (2, 0))


def test_encode_gives_the_vector_of_the_table_in_any_company(encoder):
    vectors = table_vectors(encoder, CATS)
    assert np.allclose(encoder.encode(CATS), vectors.table, atol=1e-6)
    assert np.allclose(encoder.encode([{"cat": ["blue"]}, CATS])[1], vectors.table, atol=1e-6)
    assert encoder.encode([]).shape == (0, 32)


def test_no_order_changes_a_bit(encoder):
    other = {name: [CATS[name][row] for row in (2, 0, 1)] for name in ("one", "cat")}
    one, two = table_vectors(encoder, [CATS, other])
    assert np.array_equal(one.table, two.table)
    assert np.array_equal(one.columns, two.columns[::-1])
    assert np.array_equal(one.rows, two.rows[[1, 2, 0]])


def test_depth_reaches_the_text_encoder(encoder, text_encoder):
    shallow = table_vectors(encoder, CATS, num_layers=1)
    assert np.allclose(encoder.encode(CATS, num_layers=1), shallow.table, atol=1e-6)
    assert not np.allclose(shallow.table, table_vectors(encoder, CATS).table)


def test_gradients_reach_the_text_encoder(encoder):
    features = encoder(encoder.preprocess([CATS, {"cat": ["red"]}]))
    features["sentence_embedding"].square().sum().backward()
    assert any(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in encoder.parameters())


def test_save_and_load_give_equal_vectors(encoder, tmp_path):
    encoder.save(tmp_path / "model")
    loaded = ek.load(tmp_path / "model", device="cpu")
    assert isinstance(loaded[0], PartsInput)
    assert np.array_equal(loaded.encode(CATS), encoder.encode(CATS))
    assert loaded.fingerprint == encoder.fingerprint


def test_the_sample_of_values_depends_on_neither_order_nor_frequency(text_encoder):
    encoder = part_encoder(text_encoder, max_values=3)
    values = [f"w{i}" for i in range(30)]
    shuffled = list(np.random.default_rng(0).permutation(values * 2))
    one, other = table_vectors(encoder, [{"cat": values}, {"cat": shuffled}])
    assert np.array_equal(one.columns, other.columns)


def test_columns_that_share_values_share_most_of_their_sample(text_encoder):
    module = part_encoder(text_encoder, max_values=20)[0]

    def sample(values):
        (text,) = module._plan(Table("", ("",), [(value,) for value in values])).of("columns")[0]
        return set(text.rstrip(".").split(", "))

    values = [f"w{i}" for i in range(1000)]
    assert len(sample(values) & sample(values[:900])) >= 15  # evenly spaced samples would share few


def test_any_text_encoder_will_do():
    words = tfidf_lsa(["cat red", "cat blue", "one two", "one three"], dim=3)
    assert table_vectors(part_encoder(words, unit="cells"), CATS).cells.shape == (5, 3)


def test_odd_tables(encoder):
    assert encoder.encode({"cat": []}).shape == (32,)
    assert encoder.encode({"cat": [None, None]}).shape == (32,)
    assert table_vectors(encoder, {"cat": [None, "red"]}).row_numbers == (1,)
    assert table_vectors(encoder, {"cat": ["x" * 1_000_000]}).columns.shape == (1, 32)
    with pytest.raises(InputError, match="must have a cell or a name to read"):
        part_encoder(encoder[0].text_encoder, unit=encoder[0].unit, header=False).encode({"cat": [None]})


def test_wrong_options_are_errors(text_encoder):
    with pytest.raises(InputError, match="unit must be one of columns, cells; received 'rows'"):
        part_encoder(text_encoder, unit="rows")
    with pytest.raises(InputError, match="max_values must be None or a count from 1; received 0"):
        part_encoder(text_encoder, max_values=0)
    with pytest.raises(InputError, match="needs an encoder of text"):
        part_encoder(table_encoder(text_encoder))
