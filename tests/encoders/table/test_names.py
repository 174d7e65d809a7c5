import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedkit.encoders.table import HeaderPair, Table, abbreviate, header_pairs, shared_names
from embedkit.errors import InputError

SCHOOL = {
    "db_id": "school",
    "table_names_original": ["Student", "Pet"],
    "column_names_original": [[-1, "*"], [0, "StuID"], [0, "First_Name"], [0, "age"], [1, "StuID"], [1, "wght"]],
    "column_names": [[-1, "*"], [0, "student id"], [0, "first name"], [0, "Age"], [1, "student id"], [1, "weight"]],
}
SCHOOL_PAIRS = [
    HeaderPair("school", "Student", "StuID", "student id"),
    HeaderPair("school", "Pet", "StuID", "student id"),
    HeaderPair("school", "Pet", "wght", "weight"),
]


@pytest.fixture
def pairs(tmp_path):
    def reading(content):
        path = tmp_path / "tables.json"
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        return header_pairs(path)

    return reading


# header_pairs


def test_pairs_by_hand(pairs):
    assert pairs([SCHOOL]) == SCHOOL_PAIRS


def test_pairs_of_a_database_do_not_depend_on_the_others(pairs):
    other = SCHOOL | {"db_id": "other"}
    assert sorted(map(repr, pairs([SCHOOL, other]))) == sorted(map(repr, pairs([other, SCHOOL])))
    assert pairs([SCHOOL, other])[:3] == SCHOOL_PAIRS


def test_no_pairs(pairs):
    assert pairs([]) == []
    assert pairs([SCHOOL | {"column_names": [[-1, "*"]], "column_names_original": [[-1, "*"]]}]) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "must be JSON"),
        (b"\xff\xfe", "must be JSON in UTF-8"),
        ({}, "must hold a list of schemas, as Spider's tables.json; it is of type dict"),
        ([{}], "schema 0 must have db_id, table_names_original"),
        ([SCHOOL, 3], "schema 1 must have"),
        ([SCHOOL | {"column_names": [[-1, "*"]]}], "schema 0 must have .* column_names_original as long"),
        ([SCHOOL | {"table_names_original": ["Student"]}], "schema 0 must have"),
        ([SCHOOL | {"column_names": None}], "schema 0 must have"),
        ([SCHOOL | {"column_names": [[0, 3]] * 6}], "schema 0 must have"),
    ],
)
def test_another_file_is_refused(pairs, content, message):
    with pytest.raises(InputError, match=message):
        pairs(content)


@pytest.mark.data
def test_spider_has_244_pairs(data_folder):
    path = data_folder / "tables" / "spider" / "tables.en.json"
    if not path.is_file():
        pytest.skip(f"no Spider schemas at {path}")
    found = header_pairs(path)
    plain = [
        (re.sub(r"[\W_]", "", original.lower()), re.sub(r"[\W_]", "", words.lower()))
        for schema in json.loads(path.read_text(encoding="utf-8"))
        for (table, original), (_, words) in zip(schema["column_names_original"], schema["column_names"], strict=True)
        if table >= 0
    ]
    assert len(plain) == 4503
    assert len(found) == sum(original != words for original, words in plain) == 244
    assert any((pair.column, pair.expansion) == ("StuID", "student id") for pair in found)


# abbreviate


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("student id", "stdnt_id"),
        ("StudentID", "stdnt_id"),
        ("Enrollment", "enrllmnt"),
        ("home_town", "hm_twn"),
        ("number of pages", "nmbr_of_pgs"),
        ("address2", "addrss2"),
        ("HTTPStatus", "http_stts"),
        ("aeiou", "a"),
        ("größe", "größ"),
        ("  id ", "id"),
        ("名前", "名前"),
        ("", ""),
        ("#", "#"),
    ],
)
def test_abbreviations_by_hand(name, short):
    assert abbreviate(name) == short


@given(st.text(st.sampled_from("abeioXYZ19_- é"), max_size=12))
def test_an_abbreviation_is_short_lower_case_and_stays(name):
    short = abbreviate(name)
    assert abbreviate(short) == short
    assert len(short.replace("_", "")) <= len(name)
    assert short == short.lower()


@given(st.lists(st.text("abcdeiou", min_size=1, max_size=8), min_size=1, max_size=4))
def test_loops_abbreviate_the_same(words):
    wanted = []
    for word in words:
        kept = word[0]
        for letter in word[1:]:
            if len(word) <= 3 or letter not in "aeiou":
                kept += letter
        wanted.append(kept)
    for name in (" ".join(words), "_".join(words), "-".join(words).upper()):
        assert abbreviate(name) == "_".join(wanted)


# shared_names


def named(*columns):
    return Table("", columns, ())


def test_shared_names_by_hand():
    tables = [named("Name", "age"), named("name ", "NAME"), named("First Name", "na_me"), named("age", "x")]
    assert shared_names(tables, min_tables=2) == {"name": [(0, 0), (1, 0), (1, 1), (2, 1)], "age": [(0, 1), (3, 0)]}
    assert list(shared_names(tables, min_tables=3)) == ["name"]
    assert shared_names(tables, min_tables=4) == {}
    assert list(shared_names(tables, min_tables=1)) == ["name", "age", "firstname", "x"]


def test_a_name_twice_in_one_table_is_in_one_table():
    assert shared_names([named("x", "X")], min_tables=2) == {}


def test_columns_without_a_name_share_none():
    tables = [named("column 2", "#", "column 3 (2)", "column")] * 2
    assert shared_names(tables, min_tables=1) == {"column": [(0, 3), (1, 3)]}


@given(st.lists(st.lists(st.sampled_from(["a", "A", "b_", "B", "-"]), min_size=1, max_size=4), max_size=5))
def test_loops_find_the_same_shared_names(headers):
    tables = [named(*columns) for columns in headers]
    wanted = {}
    for plain in "ab":
        places = [
            (table, column)
            for table, columns in enumerate(headers)
            for column, name in enumerate(columns)
            if name.lower().strip("_-") == plain
        ]
        if len({table for table, _ in places}) >= 2:
            wanted[plain] = places
    assert shared_names(tables, min_tables=2) == wanted
    flipped = shared_names(tables[::-1], min_tables=2)
    assert {name: len(places) for name, places in flipped.items()} == {n: len(p) for n, p in wanted.items()}


def test_rows_do_not_matter_and_no_tables_share_nothing():
    assert shared_names([Table("", ("a",), [("1",)]), named("a")], min_tables=2) == {"a": [(0, 0), (1, 0)]}
    assert shared_names([], min_tables=1) == {}
    with pytest.raises(InputError, match="min_tables must be at least 1; received 0"):
        shared_names([], min_tables=0)
