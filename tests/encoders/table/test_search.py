import numpy as np
import pytest

import embedkit as ek
from embedkit.encoders.table.encoder import table_encoder
from embedkit.encoders.table.parts import part_encoder
from embedkit.encoders.table.search import ColumnHit, ColumnIndex
from embedkit.encoders.table.table import Table
from embedkit.encoders.table.vectors import table_vectors
from embedkit.encoders.text import tfidf_lsa
from embedkit.errors import CorruptFileError, IncompatibleIndexError, InputError

TABLES = {
    "cats": {"cat": ["red", "blue", "red"], "one": ["two", "three", ""]},
    "dogs": {"dog": ["red", "green"], "mat": ["sat", "on"]},
    "birds": {"bird": ["green", "blue"]},
}


@pytest.fixture(params=[part_encoder, table_encoder])
def encoder(request, make_encoder):
    return request.param(make_encoder())


@pytest.fixture
def index(encoder):
    index = ColumnIndex(encoder)
    assert index.add(TABLES) == []
    return index


def naive(encoder, query, tables=TABLES, without=""):
    """Every column of every table encoded by itself, all cosines, sorted."""

    def vector(name, values):
        found = table_vectors(encoder, {name: values}).columns[0]
        return found / np.linalg.norm(found)

    wanted = vector(*query)
    scores = {
        (table, column): float(wanted @ vector(column, values))
        for table, columns in tables.items()
        for column, values in columns.items()
        if table != without
    }
    return sorted(scores.items(), key=lambda item: -item[1])


def pairs(hits):
    return [(hit.table, hit.column) for hit in hits]


def test_hits_are_those_of_a_loop_over_all_cosines(index, encoder):
    hits = index.search({"cat": ["blue", "green", "one"]}, k=5)
    expected = naive(encoder, ("cat", ["blue", "green", "one"]))
    assert pairs(hits) == [pair for pair, _ in expected]
    assert [hit.score for hit in hits] == pytest.approx([score for _, score in expected], abs=1e-5)


def test_a_named_column_is_read_from_the_index_and_its_table_passed_over(index, encoder):
    hits = index.search(("cats", "cat"))
    expected = naive(encoder, ("cat", TABLES["cats"]["cat"]), without="cats")
    assert pairs(hits) == [pair for pair, _ in expected]
    with_own = index.search(("cats", "cat"), k=1, exclude_own_table=False)
    assert with_own == [ColumnHit("cats", "cat", pytest.approx(1, abs=1e-5))]


def test_a_table_that_has_a_name_of_the_index_passes_its_own_over(index):
    named = Table("cats", ("cat",), [("red",), ("blue",)])
    assert {hit.table for hit in index.search(named)} == {"dogs", "birds"}
    assert {hit.table for hit in index.search(named, exclude_own_table=False)} == set(TABLES)


def test_the_column_with_the_same_values_comes_first_by_hand():
    words = tfidf_lsa(["red blue", "two three", "sat on", "red green"], dim=4)
    index = ColumnIndex(part_encoder(words, header=False))
    index.add({"a": {"x": ["red", "blue"], "y": ["two", "three"]}, "b": {"z": ["sat", "on"]}})
    best = index.search({"w": ["blue", "red"]}, k=1)[0]
    assert (best.table, best.column, best.score) == ("a", "x", pytest.approx(1, abs=1e-5))


def test_many_queries_get_what_each_gets_alone(index):
    queries = [("cats", "one"), {"mat": ["on"]}, ("birds", "bird")]
    alone = [index.search(query, k=2) for query in queries]
    together = index.search(queries, k=2)
    assert [pairs(hits) for hits in together] == [pairs(hits) for hits in alone]
    assert [hit.score for hits in together for hit in hits] == pytest.approx(
        [hit.score for hits in alone for hit in hits], abs=1e-5
    )
    assert index.search([]) == []


def test_neither_neighbours_nor_the_order_of_adding_change_a_score(encoder, index):
    other = ColumnIndex(encoder)
    for name in reversed(TABLES):
        other.add([Table(name, tuple(TABLES[name]), list(zip(*TABLES[name].values(), strict=True)))])
    one, two = (each.search({"cat": ["red"]}) for each in (index, other))
    assert pairs(one) == pairs(two)
    assert [hit.score for hit in one] == pytest.approx([hit.score for hit in two], abs=1e-5)


def test_removed_tables_are_found_no_more_and_may_come_again(index):
    index.remove("dogs")
    assert (index.tables, len(index)) == (["cats", "birds"], 3)
    assert {hit.table for hit in index.search({"dog": ["red"]})} == {"cats", "birds"}
    index.add({"dogs": TABLES["dogs"]})
    assert len(index) == 5
    assert "dogs" in {hit.table for hit in index.search({"dog": ["red"]})}


def test_save_and_load_find_the_same(index, encoder, tmp_path):
    index.remove("birds")
    index.save(tmp_path / "index")
    loaded = ColumnIndex.load(tmp_path / "index", encoder)
    assert loaded.tables == index.tables == ["cats", "dogs"]
    assert loaded.search(("cats", "cat")) == index.search(("cats", "cat"))
    loaded.remove("dogs")
    assert loaded.search(("cats", "cat")) == []


def test_an_index_of_another_encoder_or_of_something_else_is_not_opened(index, make_encoder, tmp_path):
    index.save(tmp_path / "index")
    with pytest.raises(IncompatibleIndexError, match="built by another encoder"):
        ColumnIndex.load(tmp_path / "index", part_encoder(make_encoder(), header=False))
    ek.FaissIndex(32).save(tmp_path / "other")
    with pytest.raises(CorruptFileError, match="no ColumnIndex wrote"):
        ColumnIndex.load(tmp_path / "other", index.encoder)


def test_an_empty_index_finds_nothing(encoder, tmp_path):
    index = ColumnIndex(encoder)
    assert index.search({"cat": ["red"]}) == []
    assert index.search([{"cat": ["red"]}, {"dog": ["red"]}]) == [[], []]
    assert index.add({}) == []
    index.save(tmp_path / "index")
    assert ColumnIndex.load(tmp_path / "index", encoder).tables == []


def test_blank_columns_are_left_out_and_that_is_said(encoder):
    index = ColumnIndex(encoder)
    left_out = index.add({"cats": {"cat": ["red", None], "one": [None, " "]}, "dogs": {"dog": []}})
    assert left_out == [("cats", "one"), ("dogs", "dog")]
    assert index.tables == ["cats"]
    for blank in ({"one": ["", None]}, {"one": []}):
        with pytest.raises(InputError, match="must have a cell that the encoder reads; 'one' has none"):
            index.search(blank)


def test_columns_in_which_the_encoder_knows_nothing_are_left_out():
    index = ColumnIndex(part_encoder(tfidf_lsa(["red blue", "two three", "sat on"], dim=3), header=False))
    assert index.add({"cats": {"cat": ["red", "blue"], "dog": ["xylophone", "zither"]}}) == [("cats", "dog")]
    with pytest.raises(InputError, match="'dog' has none"):
        index.search([("cats", "cat"), {"dog": ["zither"]}])


def test_frames_are_tables_too(index):
    pandas = pytest.importorskip("pandas")
    index.add({"frame": pandas.DataFrame({"cat": ["red"], "n": [3]})})
    assert index.tables[-1] == "frame"
    assert len(index.search(pandas.DataFrame({"cat": ["red"]}), k=99)) == 7


def test_names_of_any_letters_come_back_as_they_were(encoder, tmp_path):
    index, table, column = ColumnIndex(encoder), 'a "b", [c]\n\ud800', '"東京", [d]'
    index.add({table: {column: ["red"]}})
    index.save(tmp_path / "index")
    hit = ColumnIndex.load(tmp_path / "index", encoder).search({"cat": ["red"]})[0]
    assert (hit.table, hit.column) == (table, column)


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"cats": {"x": ["red"]}}, "'cats' is in the index: remove it first"),
        ([Table("new", ("x",), [("red",)])] * 2, "'new' comes twice"),
        ({"": {"x": ["red"]}}, "must have a name"),
        ([Table("", ("x",), [("red",)])], "must have a name"),
        ({"new": Table("", ("x", "x"), [("red", "red")])}, "different names; table 'new' repeats one"),
        ({"x": ["red"]}, "must be a Table"),
        ([{"x": ["red"]}], "must come in a dict by name"),
        (Table("new", ("x",), [("red",)]), "or a list of type Table; received Table"),
    ],
)
def test_wrong_tables_are_errors_and_nothing_of_them_is_kept(index, tables, message):
    with pytest.raises(InputError, match=message):
        index.add(tables)
    assert index.tables == list(TABLES)
    assert len(index) == 5


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (("fish", "x"), "table must be in the index; 'fish' is not"),
        (("cats", "x"), "column must be in the index; 'x' of table 'cats' is not"),
        (("cats",), "named by \\(table, column\\)"),
        (("cats", 3), "named by \\(table, column\\)"),
        (TABLES["cats"], "must have one column; it has 2"),
        ("cat", "must be a Table"),
    ],
)
def test_wrong_queries_are_errors(index, query, message):
    with pytest.raises(InputError, match=message):
        index.search(query)


@pytest.mark.parametrize("k", [0, -1, 1.5, True, None])
def test_k_must_be_a_count(index, k):
    with pytest.raises(InputError, match="k must be a positive integer"):
        index.search(("cats", "cat"), k)


def test_what_is_not_there_cannot_be_removed(index):
    with pytest.raises(InputError, match="table must be in the index; 'fish' is not"):
        index.remove("fish")


def test_an_encoder_of_text_reads_no_columns(make_encoder):
    with pytest.raises(InputError, match="needs an encoder of tables"):
        ColumnIndex(make_encoder()).add(TABLES)


@pytest.mark.parametrize("make", [part_encoder, table_encoder])
def test_tables_are_found_by_a_question_through_the_plain_index(make, make_encoder):
    text_encoder, index = make_encoder(), ek.FaissIndex()
    tables = [Table("", ("cat",), [("red",)]), Table("", ("dog",), [("green",)])]
    index.add(["cats", "dogs"], make(text_encoder).encode(tables))
    found = index.search(text_encoder.encode("dog: green."), k=2)
    assert found.ids.tolist() == ["dogs", "cats"]
    assert found.scores[0] == pytest.approx(1, abs=1e-5)
