import numpy as np
import pytest

from embedkit.errors import InputError
from embedkit.training.examples import as_dataset


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float32", "float64", "bool"])
def test_arrays_come_back_as_they_were(dtype):
    pictures = [np.arange(size).reshape(1, size).astype(dtype) for size in (4, 3, 2)]
    held = as_dataset({"image": pictures, "text": ["a", "b", "c"], "label": [np.array([0.5, 1.0])] * 3})
    assert held.column_names == ["image", "text", "label"]
    for row, picture in zip(held, pictures, strict=True):
        assert row["image"].dtype == picture.dtype
        np.testing.assert_array_equal(row["image"], picture)
        row["image"][:] = 0  # nobody is stopped from writing on what he got
    assert held[1:]["text"] == ["b", "c"]
    assert held[0]["label"] == [0.5, 1.0]
    assert held.select([2, 0])["image"][0].shape == (1, 2)


def test_one_array_is_a_column_of_arrays():
    held = as_dataset({"image": np.zeros((3, 4, 4, 3), dtype=np.uint8), "label": np.arange(3)})
    assert held[2]["image"].shape == (4, 4, 3)
    assert held["label"][:] == [0, 1, 2]


def test_the_same_examples_have_the_same_name_and_others_another():
    one, same, other = (as_dataset({"image": [np.full((2, 2), value)], "label": [1]}) for value in (1, 1, 2))
    assert one._fingerprint == same._fingerprint != other._fingerprint


@pytest.mark.parametrize("values", [[np.zeros(3), "a text"], ["a text", np.zeros(3)], [np.zeros(3), np.array("a")]])
def test_arrays_and_other_things_are_not_mixed(values):
    with pytest.raises(InputError, match=r"image must be all arrays or none; received \w+ at image\[1\]"):
        as_dataset({"image": values, "label": [0, 1]})


@pytest.mark.parametrize("label", [np.array([1.0, np.nan]), np.array([]), np.array(["a"]), np.zeros((2, 2))])
def test_labels_that_are_arrays_hold_finite_numbers_in_one_row(label):
    with pytest.raises(InputError, match=r"label\[0\] must be a finite number"):
        as_dataset({"text": ["a"], "label": [label]})
