"""Identifiers as words."""

import keyword

import pytest

from embedkit.encoders.code.identifiers import split_identifiers
from embedkit.encoders.code.lexer import Kind
from embedkit.encoders.code.tokenizer import SENTINEL, split_token
from embedkit.errors import InputError


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", ""),
        ("snake_case", "snake case"),
        ("camelCase", "camel Case"),
        ("CamelCase", "Camel Case"),
        ("HTTPServer", "HTTP Server"),
        ("getHTTP", "get HTTP"),
        ("sha256Hash", "sha256 Hash"),
        ("B64Encode", "B64 Encode"),
        ("__init__", "init"),
        ("_a__b_", "a b"),
        ("___", ""),
        ("ABC", "ABC"),
        ("x1", "x1"),
        ("1_000", "1_000"),
        ("größeÄndern", "größeÄndern"),
        ("a plain sentence.", "a plain sentence."),
        ("self.read_all(maxSize)", "self.read all(max Size)"),
    ],
)
def test_names_are_split_where_their_words_meet(text, wanted):
    assert split_identifiers(text) == wanted


def test_short_names_are_split_as_cubert_splits_them():
    """The oracle: its tokenizer, without the underscores and the sign of what goes on."""
    names = ["fooBarBAZ_qux__", "readHTTPHeader", "x", "to_json", "_private", "A1b2", "URLError", "aB", "ABc", "a1B2C"]
    for name in names:
        pieces = [piece.removesuffix(SENTINEL).strip("_") for piece in split_token(name, Kind.IDENTIFIER)]
        assert split_identifiers(name).split() == [piece for piece in pieces if piece]


def test_splitting_twice_is_splitting_once_and_keywords_stay():
    text = "async def loadAll_items(self, *, maxSize=3): return [each_one for each_one in self.__all]"
    once = split_identifiers(text)
    assert split_identifiers(once) == once
    assert all(split_identifiers(word) == word for word in keyword.kwlist)


def test_what_is_no_text_is_refused():
    with pytest.raises(InputError, match="text must be a string; received NoneType"):
        split_identifiers(None)


def test_long_texts_take_time_in_proportion():
    assert len(split_identifiers("someVery_longName_" * 20_000).split()) == 80_000
