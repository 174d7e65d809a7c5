import numpy as np
import pytest
import torch

import embedkit as ek
from embedkit.encoders.table.table import Table, as_table
from embedkit.encoders.table.tapas import TapasInput, tapas_encoder
from embedkit.encoders.table.vectors import table_vectors
from embedkit.errors import InputError, ModelError

pandas = pytest.importorskip("pandas")

CATS = {"cat": ["red", None, "red"], "one": [2, 30, 4.5]}
DOGS = {"dog": ["green mat"]}


@pytest.fixture(scope="module")
def model(tapas):
    return tapas[0]


@pytest.fixture(scope="module")
def tapas_tokenizer(tapas):
    return tapas[1]


@pytest.fixture(scope="module")
def encoder(model, tapas_tokenizer):
    return tapas_encoder(model, tapas_tokenizer, device="cpu")


def states(model, read):
    with torch.inference_mode():
        ids, types = (torch.from_numpy(each)[None] for each in (read.input_ids, read.token_type_ids))
        return model(input_ids=ids, token_type_ids=types).last_hidden_state[0].numpy()


@pytest.mark.parametrize(
    "table",
    [
        {"cat": ["red", " ", "red"], "one": ["2", "30", "4.5"]},
        {"cat": ["1", "1", "1"]},
        {"day": ["2021-03-04", "2020-01-02", "2021-03-04"], "dog": ["green mat", "blue", "n/a"]},
        {"one": ["4", "2", "3", "red"], "two": ["7", "5", " ", "5"], "cat": ["1", "2", "red", " "]},
        {"one": ["3", "2", " "], "two": ["7", "5", "6"], "three": ["c", "b", "a"]},
    ],
)
def test_a_table_is_read_as_transformers_reads_it(encoder, tapas_tokenizer, table):
    expected = tapas_tokenizer(table=pandas.DataFrame(table, dtype=object), queries="red cat")
    read = encoder[0].read(as_table(table), "red cat")
    assert read.input_ids.tolist() == expected["input_ids"]
    assert read.token_type_ids.tolist() == expected["token_type_ids"]


def test_what_is_read_by_hand(encoder, tapas_tokenizer):
    read = encoder[0].read(as_table(CATS))
    tokens = tapas_tokenizer.convert_ids_to_tokens(read.input_ids.tolist())
    assert tokens == ["[CLS]", "[SEP]", "cat", "one", "red", "2", "[EMPTY]", "3", "##0", "red", "4", ".", "5"]
    segment, column, row, _, rank, inverse, _ = read.token_type_ids.T.tolist()
    assert segment == [0, 0, *[1] * 11]
    assert column == [0, 0, 1, 2, 1, 2, 1, 2, 2, 1, 2, 2, 2]
    assert row == [0, 0, 0, 0, 1, 1, 2, 2, 2, 3, 3, 3, 3]
    assert rank == [0, 0, 0, 0, 0, 1, 0, 3, 3, 0, 2, 2, 2]
    assert inverse == [0, 0, 0, 0, 0, 3, 0, 1, 1, 0, 2, 2, 2]


def test_vectors_are_means_of_the_states_of_their_tokens(encoder, model):
    read, vectors = encoder[0].read(as_table(CATS)), table_vectors(encoder, CATS)
    tokens = states(model, read)

    def mean(column=None, row=None):
        picked = [
            state
            for state, (segment, at, line, *_) in zip(tokens, read.token_type_ids, strict=True)
            if segment == 1 and (column is None or at == column + 1) and (row is None or line == row + 1)
        ]
        return np.mean(picked, axis=0)

    assert np.allclose(vectors.table, mean(), atol=1e-6)
    assert np.allclose(vectors.columns, [mean(column=0), mean(column=1)], atol=1e-6)
    assert np.allclose(vectors.rows, [mean(row=row) for row in range(3)], atol=1e-6)
    assert vectors.cell_places == ((0, 0), (0, 1), (1, 1), (2, 0), (2, 1))
    assert np.allclose(vectors.cells, [mean(column, row) for row, column in vectors.cell_places], atol=1e-6)
    assert (vectors.column_numbers, vectors.row_numbers, vectors.notes) == ((0, 1), (0, 1, 2), ())
    assert np.allclose(encoder.encode(CATS), vectors.table, atol=1e-6)


def test_a_batch_gives_what_each_table_gives_alone(encoder):
    tables = [CATS, DOGS, {f"c{i}": list(range(9)) for i in range(3)}]
    alone = [table_vectors(encoder, table) for table in tables]
    together = table_vectors(encoder, tables)
    for one, other in zip(alone, together, strict=True):
        for part in ("table", "columns", "rows", "cells"):
            assert np.allclose(getattr(one, part), getattr(other, part), atol=1e-6)
    assert np.allclose(encoder.encode(tables), [each.table for each in alone], atol=1e-6)
    assert encoder.encode([]).shape == (0, 32)


def test_only_parts_that_are_asked_for(encoder):
    vectors = table_vectors(encoder, CATS, parts=["rows"])
    assert (vectors.columns.shape, vectors.rows.shape, vectors.cells.shape) == ((0, 32), (3, 32), (0, 32))
    assert vectors.column_numbers == vectors.cell_places == ()


def test_the_place_of_a_row_and_of_a_column_matters(encoder):
    one, two = encoder.encode([{"cat": ["red", "blue"]}, {"cat": ["blue", "red"]}])
    assert not np.allclose(one, two, atol=1e-4)


def test_the_prompt_is_the_question_and_no_part_of_the_mean(encoder, model):
    read = encoder[0].read(as_table(DOGS), "one cat")
    inside = read.token_type_ids[:, 0] == 1
    assert inside.sum() == 3
    assert np.allclose(encoder.encode(DOGS, prompt="one cat"), states(model, read)[inside].mean(axis=0), atol=1e-6)
    with pytest.raises(InputError, match="the prompt must leave room for a table in 128 tokens"):
        encoder.encode(DOGS, prompt="cat " * 200)


def test_depth_stops_after_a_layer(encoder, model):
    with torch.inference_mode():
        read = encoder[0].read(as_table(CATS))
        ids, types = (torch.from_numpy(each)[None] for each in (read.input_ids, read.token_type_ids))
        hidden = model(input_ids=ids, token_type_ids=types, output_hidden_states=True).hidden_states
    for depth in range(4):
        expected = hidden[depth][0].numpy()[read.token_type_ids[:, 0] == 1].mean(axis=0)
        assert np.allclose(table_vectors(encoder, CATS, num_layers=depth).table, expected, atol=1e-6)
        assert np.allclose(encoder.encode(CATS, num_layers=depth), expected, atol=1e-6)
    with pytest.raises(InputError, match="num_layers must be between 0 and 3"):
        table_vectors(encoder, CATS, num_layers=4)


def test_gradients_reach_the_model(model, tapas_tokenizer):
    encoder = tapas_encoder(model, tapas_tokenizer, device="cpu")
    encoder(encoder.preprocess([CATS, DOGS]))["sentence_embedding"].square().sum().backward()
    weights = encoder[0].transformer.model.embeddings.token_type_embeddings_1.weight
    assert weights.grad.abs().sum() > 0


def test_save_and_load_give_equal_vectors(encoder, tmp_path):
    encoder.save(tmp_path / "model")
    loaded = ek.load(tmp_path / "model", device="cpu")
    assert isinstance(loaded[0], TapasInput)
    assert np.array_equal(loaded.encode([CATS, DOGS]), encoder.encode([CATS, DOGS]))
    assert loaded.fingerprint == encoder.fingerprint


def test_a_checkpoint_is_opened_from_its_folder(encoder, model, tapas_tokenizer, tmp_path):
    model.save_pretrained(tmp_path)
    tapas_tokenizer.save_pretrained(tmp_path)
    assert np.array_equal(tapas_encoder(tmp_path, device="cpu").encode(CATS), encoder.encode(CATS))


def test_rows_are_dropped_to_the_window_and_that_is_said(encoder):
    table = {"one": ["red blue"] * 10_000, "two": ["green"] * 10_000}
    read, vectors = encoder[0].read(as_table(table)), table_vectors(encoder, table)
    assert len(read.input_ids) <= 128
    assert read.token_type_ids[:, 2].max() == 29  # the last that the model has
    assert vectors.row_numbers == tuple(range(29))
    assert vectors.notes == ("9,971 of 10,000 rows left out to fit the model",)
    long = encoder[0].read(as_table({"one": ["red blue green mat"] * 100, "two": ["one two"] * 100}))
    assert (long.rows, long.notes) == (20, ("80 of 100 rows left out to fit the model",))


def test_columns_are_dropped_to_those_that_the_model_has_and_that_is_said(encoder):
    vectors = table_vectors(encoder, {f"c{i}": ["red", "blue"] for i in range(300)})
    assert vectors.column_numbers == tuple(range(19))
    assert vectors.notes[0].startswith("281 columns left out to fit the model: c19, c20")
    assert vectors.columns.shape == (19, 32)


def test_cells_are_cut_where_the_first_row_does_not_fit_and_that_is_said(encoder):
    table = {name: ["x " * 100_000, "y"] for name in ("cat", "dog")}
    read = encoder[0].read(as_table(table))
    assert len(read.input_ids) <= 128
    assert read.notes == ("1 of 2 rows left out to fit the model", "cells cut to 62 tokens to fit the model")
    assert (read.rows, read.columns) == (1, 2)


def test_odd_tables(encoder):
    bare = table_vectors(encoder, {"cat": [], "dog": []})
    assert (bare.columns.shape, bare.rows.shape, bare.cells.shape) == ((2, 32), (0, 32), (0, 32))
    blank = table_vectors(encoder, {"cat": [None, "\x01"], "dog": [None, None]})
    assert (blank.row_numbers, blank.cell_places) == ((1,), ((1, 0),))
    assert np.isfinite(blank.cells).all()
    assert table_vectors(encoder, {"cat": ["red"]}).columns.shape == (1, 32)
    mixed = encoder[0].read(as_table({"one": ["2020-01-01", "2020-01-01T00:00:00+01:00", "nan"]}))
    assert mixed.token_type_ids[:, 4].max() == 0
    with pytest.raises(InputError, match="must have a cell or a name to read"):
        encoder.encode(Table("", ("",), [("",)]))


@pytest.mark.parametrize("wrong", ["text", 3, None, [1, 2]])
def test_what_is_no_table_is_an_error(encoder, wrong):
    with pytest.raises(InputError, match="must be a table"):
        encoder.encode([wrong])


def test_other_models_and_a_missing_tokenizer_are_errors(model, checkpoint):
    with pytest.raises(InputError, match="needs its tokenizer: tapas_encoder"):
        tapas_encoder(model)
    with pytest.raises(InputError, match="needs a TapasModel and a TapasTokenizer; received BertModel"):
        tapas_encoder(checkpoint("bert"), device="cpu")
    with pytest.raises(ModelError, match="neither a folder here nor a name"):
        tapas_encoder("no such checkpoint")
