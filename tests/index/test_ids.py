import enum
import unicodedata

import numpy as np
import pytest

from embedkit.errors import InputError
from embedkit.index.ids import as_ids


class Colour(str, enum.Enum):  # noqa: UP042 (its str() is not its value, which is the point)
    RED = "red"


@pytest.mark.parametrize(
    "id",
    ["a", " ", "../x", "/etc/passwd", "x" * 10_000, "a\0b", "\n", "🎉", "1", 0, -1, 2**63 - 1, -(2**63) + 1],
)
def test_strings_and_integers_of_64_bits_are_ids_as_they_are(id):
    assert as_ids([id]) == [id]
    assert type(as_ids([id])[0]) is type(id)


def test_numbers_and_strings_of_other_libraries_become_plain():
    ids = as_ids([np.int32(7), np.uint64(8), np.str_("x"), Colour.RED])

    assert ids == [7, 8, "x", "red"]
    assert [type(id) for id in ids] == [int, int, str, str]


@pytest.mark.parametrize(
    "id",
    ["", b"a", None, True, False, np.True_, 1.0, float("nan"), 2**63, -(2**63), 10**30, "\ud800", ["a"], ("a",), 1j],
)
def test_everything_else_is_refused_with_its_position(id):
    with pytest.raises(InputError, match=r"ids\[1\] must be"):
        as_ids(["fine", id])


@pytest.mark.parametrize("ids", ["abc", b"abc", 5, None])
def test_one_id_alone_is_no_list_of_ids(ids):
    with pytest.raises(InputError, match="must be a list"):
        as_ids(ids)


def test_a_set_has_no_order_that_rows_could_follow():
    with pytest.raises(InputError, match="in the order of the rows"):
        as_ids({"a", "b"}, count=2)
    assert sorted(as_ids({"a", "b"})) == ["a", "b"]


def test_generators_and_arrays_are_read_in_order():
    assert as_ids(str(i) for i in range(3)) == ["0", "1", "2"]
    assert as_ids(np.arange(3), count=3) == [0, 1, 2]


@pytest.mark.parametrize("ids", [["a", "b", "a"], [1, np.int64(1)], ["red", Colour.RED]])
def test_an_id_may_not_repeat(ids):
    with pytest.raises(InputError, match="must not repeat"):
        as_ids(ids)


def test_ids_that_only_look_alike_are_different():
    composed, decomposed = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))

    assert len(as_ids([1, "1", "a", "A", "a ", composed, decomposed])) == 7


@pytest.mark.parametrize("count", [0, 1, 3])
def test_there_must_be_as_many_as_rows(count):
    with pytest.raises(InputError, match=f"each of the {count} rows; received 2 ids"):
        as_ids(["a", "b"], count=count)


def test_a_long_bad_id_is_not_printed_whole():
    for bad in ([b"x" * 10_000], b"x" * 10_000, [10**10_000], 10**10_000):
        with pytest.raises(InputError) as caught:
            as_ids(bad)
        assert len(str(caught.value)) < 300
