"""Values to ids: 0 for none, 1 for one that is not known, then the most frequent first."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

from embedkit.encoders.record import Field, Records, Vocabulary
from embedkit.errors import CorruptFileError, InputError

COLUMNS = {
    "user": ["ann", "bob", "ann", None, "eve"],
    "tags": ["a|b", "b", "", "b|c", "a"],
    "price": [1.0, 3.0, float("nan"), 5.0, 3.0],
}
FIELDS = [Field("user"), Field("tags", "multi", max_values=2), Field("price", "numeric")]


def test_ids_weights_and_counts_by_hand():
    vocabulary = Vocabulary.fit(COLUMNS, FIELDS)
    assert vocabulary.values == (("ann", "bob", "eve"), ("b", "a", "c"), ())
    assert vocabulary.sizes == (5, 5, 2)
    assert vocabulary.columns == (0, 1, 1, 2)
    assert [counts.tolist() for counts in vocabulary.counts] == [[1, 0, 2, 1, 1], [1, 0, 3, 2, 1], [1, 4]]
    assert vocabulary.scales == {"price": (3.0, pytest.approx(np.sqrt(2)))}
    records = vocabulary.records(COLUMNS)
    assert records.ids.tolist() == [[2, 3, 2, 1], [3, 2, 0, 1], [2, 0, 0, 0], [0, 2, 4, 1], [4, 3, 0, 1]]
    np.testing.assert_allclose(records.weights[:, 1:3], [[0.5, 0.5], [1, 0], [1, 0], [0.5, 0.5], [1, 0]])
    np.testing.assert_allclose(records.weights[:, 3], [-np.sqrt(2), 0, 1, np.sqrt(2), 0], atol=1e-6)
    assert records.unseen == {"user": 0, "tags": 0}


def test_what_is_not_known_is_counted():
    vocabulary = Vocabulary.fit(COLUMNS, FIELDS, min_count=2)
    assert vocabulary.values[:2] == (("ann",), ("b", "a"))
    assert vocabulary.counts[0].tolist() == [1, 2, 2]
    found = vocabulary.records({"user": ["bob", "zoe", None], "tags": ["z|b", "a", ""], "price": [1, 2, 3]})
    assert found.ids[:, 0].tolist() == [1, 1, 0]
    assert found.unseen == {"user": 2, "tags": 1}


@pytest.mark.parametrize("kind", ["pandas", "polars", "records", "arrays"])
def test_any_kind_of_data_gives_the_same_ids(kind):
    columns = {"user": [3, 5, 3, 9], "item": ["x", "y", "y", "x"]}
    data = {
        "pandas": pd.DataFrame(columns),
        "polars": pl.DataFrame(columns),
        "records": [{"user": u, "item": i} for u, i in zip(*columns.values(), strict=True)],
        "arrays": {name: np.array(column) for name, column in columns.items()},
    }[kind]
    vocabulary = Vocabulary.fit(columns)
    np.testing.assert_array_equal(Vocabulary.fit(data).records(data).ids, vocabulary.records(columns).ids)


def test_whole_numbers_are_alike_whatever_their_type():
    vocabulary = Vocabulary.fit({"user": [3, 5]})
    columns = {"user": pd.Series([3.0, None, 5.0])}  # what pandas makes of whole numbers with a gap
    assert vocabulary.records(columns).ids[:, 0].tolist() == [2, 0, 3]
    assert vocabulary.id_of("user", "5") == 3


def test_lists_are_several_values():
    vocabulary = Vocabulary.fit({"tags": [["a", "b"], [], ["b", "b"]]}, [Field("tags", "multi", max_values=3)])
    found = vocabulary.records({"tags": pd.Series([["b", "[x]"], ["a"]])})
    assert found.ids.tolist() == [[2, 1, 0], [3, 0, 0]]


@pytest.mark.parametrize(
    "column",
    [
        [["a", "b"], ["b"]],
        [{"b", "a"}, {"b"}],
        [("a", "b"), ("b",)],
        [b"a|b", b"b"],
        np.array([["a", "b"], ["b", ""]]),
        pd.Series([("a", "b"), ("b",)]),
        pl.Series([["a", "b"], ["b"]]),
    ],
)
def test_several_values_come_in_many_forms(column):
    vocabulary = Vocabulary.fit({"tags": column}, [Field("tags", "multi", max_values=2)])
    assert vocabulary.values == (("b", "a"),)
    assert vocabulary.records({"tags": column}).ids.tolist() == [[3, 2], [2, 0]]


def test_rows_of_whole_numbers_are_several_values():
    vocabulary = Vocabulary.fit({"tags": np.array([[7, 8], [8, 9]])}, [Field("tags", "multi", max_values=2)])
    assert vocabulary.values == (("8", "7", "9"),)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        (np.array([b"ann"]), "ann"),
        ([b"ann"], "ann"),
        (np.array(["2020-01-02"], dtype="datetime64[ns]"), "2020-01-02 00:00:00"),
        (pd.Series(pd.to_datetime(["2020-01-02"])), "2020-01-02 00:00:00"),
        ([np.array(7)], "7"),
        (pd.Series([2**60 + 1]), str(2**60 + 1)),
        (pd.Categorical(["x"], categories=["y", "x"]), "x"),
        (pl.Series([True]), "True"),
        (np.array([True]), "True"),
    ],
)
def test_a_value_is_the_same_whatever_holds_it(column, value):
    assert Vocabulary.fit({"field": column}, ["field"]).values == ((value,),)


def test_true_and_1_are_two_values_in_any_order():
    for column in ([True, 1, "x"], [1, True, "x"]):
        for data in (column, pd.Series(column, dtype=object), np.array(column, dtype=object)):
            assert Vocabulary.fit({"field": data}, ["field"]).values == (("1", "True", "x"),)


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        ([1.0, 2.5], "numeric"),
        ([3.0, None, 5.0], "numeric"),
        ([1, 2.5], "numeric"),
        ([float("nan"), "ann"], "categorical"),
        (pd.Series([float("nan"), "ann"], dtype=object), "categorical"),
        (pd.Series([1.0, None], dtype="double[pyarrow]"), "numeric"),
        ([True, 0.5], "categorical"),
        ([None, None], "categorical"),
    ],
)
def test_a_column_says_of_what_kind_it_is(column, kind):
    assert Vocabulary.fit({"field": column}).fields[0].kind == kind


def test_equal_numbers_have_no_spread_whatever_rounding_says():
    vocabulary = Vocabulary.fit({"price": [0.1, 0.1, 0.1]}, [Field("price", "numeric")])
    assert vocabulary.scales["price"] == (pytest.approx(0.1), 1.0)
    assert vocabulary.records({"price": [0.2]}).weights.item() == pytest.approx(0.1)


def test_names_are_text(tmp_path):
    frame = pd.DataFrame([[1.5, 2], [2.5, 3]])
    for data in (frame, {0: [1.5, 2.5], 1: [2, 3]}, [{0: 1.5, 1: 2}, {0: 2.5, 1: 3}]):
        vocabulary = Vocabulary.fit(data)
        assert vocabulary.names == ("0", "1")
        vocabulary.save(tmp_path / "vocabulary.json")
        found = Vocabulary.load(tmp_path / "vocabulary.json").records(data)
        assert found.ids.tolist() == [[1, 2], [1, 3]]


def test_floats_are_numeric_unless_told_otherwise():
    vocabulary = Vocabulary.fit(pd.DataFrame({"price": [1.5, 2.5], "user": [1, 2]}))
    assert [field.kind for field in vocabulary.fields] == ["numeric", "categorical"]


def test_a_field_of_one_value_and_a_constant_number_are_fine():
    vocabulary = Vocabulary.fit({"only": ["x", "x"], "price": [2.0, 2.0]}, ["only", Field("price", "numeric")])
    assert vocabulary.sizes == (3, 2)
    assert vocabulary.records({"only": ["x"], "price": [2.0]}).weights.tolist() == [[1, 0]]


@pytest.mark.parametrize(
    ("data", "fields", "says"),
    [
        ({}, None, "at least 1"),
        ([], None, "records must be a frame.*received list"),
        ({"user": []}, None, "at least 1"),
        ({"user": [1], "item": [1, 2]}, None, "one length"),
        ("users.csv", None, "received str"),
        ([{"user": 1}, {"item": 1}], None, "record 1 lacks user"),
        ({"user": [1]}, ["item"], "must have the field 'item'; they have user"),
        ({"user": [1]}, ["user", "user"], "each once"),
        ({"user": [1]}, [], "at least one"),
        (
            {"price": [1.0, "cheap"]},
            [Field("price", "numeric")],
            "'price' must hold numbers; received 'cheap' in record 1",
        ),
        (
            {"price": [1.0, float("inf")]},
            [Field("price", "numeric")],
            "'price' must be finite; received inf in record 1",
        ),
        ({"price": pd.Series(pd.to_datetime(["2020-01-01", None]))}, [Field("price", "numeric")], "must hold numbers"),
        ({"price": np.array(["2020", "NaT"], "M8[s]")}, [Field("price", "numeric")], "must hold numbers"),
        ({"price": np.ones((3, 2))}, [Field("price", "numeric")], "must hold numbers.*in record 0"),
        (
            {"user": [["ann", "bob"], "eve"]},
            ["user"],
            r"'user' must have one value.*received \['ann', 'bob'\].*'multi'",
        ),
        (pd.DataFrame([[1, 2]], columns=["user", "user"]), None, "different names; received user, user"),
        ({1: [1], "1": [2]}, None, "different names; received 1, 1"),
        ({"user": np.array(3)}, None, "columns must be lists"),
        ({"user": {"ann", "bob"}}, None, "columns must be lists"),
    ],
)
def test_data_that_is_none_is_refused(data, fields, says):
    with pytest.raises(InputError, match=says):
        Vocabulary.fit(data, fields)


@pytest.mark.parametrize("options", [{"kind": "vector"}, {"kind": "multi", "max_values": 0}, {"separator": ""}])
def test_fields_out_of_range_are_refused(options):
    with pytest.raises(InputError, match="of field 'user' must be"):
        Field("user", **options)
    with pytest.raises(InputError, match="name of a field must be text; received 1"):
        Field(1)


def test_a_numeric_field_has_no_values():
    with pytest.raises(InputError, match="field must be one of user, tags; received 'price'"):
        Vocabulary.fit(COLUMNS, FIELDS).id_of("price", 3)


def test_a_vocabulary_opens_again(tmp_path):
    vocabulary = Vocabulary.fit(COLUMNS, FIELDS, min_count=2)
    vocabulary.save(tmp_path / "vocabulary.json")
    opened = Vocabulary.load(tmp_path / "vocabulary.json")
    assert (opened.fields, opened.values, opened.scales) == (vocabulary.fields, vocabulary.values, vocabulary.scales)
    np.testing.assert_array_equal(opened.records(COLUMNS).ids, vocabulary.records(COLUMNS).ids)
    (tmp_path / "vocabulary.json").write_text("{}")
    with pytest.raises(CorruptFileError, match="is no vocabulary"):
        Vocabulary.load(tmp_path / "vocabulary.json")


def test_records_are_mapped_and_not_read(tmp_path):
    records = Vocabulary.fit(COLUMNS, FIELDS).records(COLUMNS)
    records.save(tmp_path / "records")
    opened = Records.open(tmp_path / "records")
    assert isinstance(opened.ids, np.memmap)
    np.testing.assert_array_equal(opened.ids, records.ids)
    np.testing.assert_array_equal(opened.weights, records.weights)
    (tmp_path / "records" / "ids.npy").write_bytes(b"short")
    with pytest.raises(CorruptFileError, match="does not hold records"):
        Records.open(tmp_path / "records")


def test_ids_that_are_none_are_refused():
    with pytest.raises(InputError, match="whole numbers"):
        Records(np.zeros((2, 2)))
    with pytest.raises(InputError, match="shape of ids"):
        Records(np.zeros((2, 2), dtype=int), np.ones((2, 3), dtype=np.float32))
