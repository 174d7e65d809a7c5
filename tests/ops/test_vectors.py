import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from embedkit.errors import InputError
from embedkit.ops.vectors import as_embeddings, as_real, normalize, truncate

FLOAT32 = st.floats(width=32, allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "int64", "uint16", ">f4", ">i8"])
def test_real_numbers_of_every_type_become_native_float32(dtype):
    given_vectors = np.array([[1, 2, 3], [4, 5, 6]], dtype=dtype)

    vectors = as_embeddings(given_vectors)

    assert vectors.dtype == np.dtype("float32")
    assert vectors.flags.c_contiguous
    assert vectors.tolist() == [[1, 2, 3], [4, 5, 6]]


def test_nothing_is_copied_that_is_right_already():
    right = np.ones((3, 4), dtype=np.float32)

    assert np.shares_memory(as_embeddings(right), right)


@pytest.mark.parametrize(
    "layout",
    [
        np.asfortranarray,
        lambda array: array[::-1, ::-1].copy()[::-1, ::-1],
        lambda array: np.repeat(array, 2, axis=1)[:, ::2],
        lambda array: np.broadcast_to(array, array.shape),
        lambda array: array.tolist(),
        lambda array: tuple(map(tuple, array)),
    ],
    ids=["fortran", "negative strides", "every second column", "read-only", "lists", "tuples"],
)
def test_the_layout_in_memory_does_not_matter(layout):
    array = np.arange(12, dtype=np.float32).reshape(3, 4)

    vectors = as_embeddings(layout(array))

    assert vectors.flags.c_contiguous
    np.testing.assert_array_equal(vectors, array)


def test_a_memory_map_is_read(tmp_path):
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.save(tmp_path / "vectors.npy", array)

    np.testing.assert_array_equal(as_embeddings(np.load(tmp_path / "vectors.npy", mmap_mode="r")), array)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (np.zeros(3), "shape"),
        (np.zeros((2, 3, 4)), "shape"),
        (np.float32(1), "shape"),
        ([], "shape"),
        (np.zeros((2, 0)), "4 dimensions; received 0"),
        (np.zeros((2, 5)), "4 dimensions; received 5"),
        ([[1, 2, 3, 4], [1]], "array of numbers"),
        (np.array([["a", "b", "c", "d"]]), "real numbers"),
        (np.array([[1, 2, 3, None]]), "dtype object"),
        (np.ones((1, 4), dtype=bool), "dtype bool"),
        (np.ones((1, 4), dtype=complex), "dtype complex128"),
        (np.zeros((1, 4), dtype="datetime64[s]"), "dtype datetime64"),
        (None, "real numbers"),
        ("abcd", "real numbers"),
        ((row for row in [[1, 2, 3, 4]]), "real numbers"),
        ({0: [1, 2, 3, 4]}, "real numbers"),
    ],
)
def test_what_is_no_matrix_of_real_numbers_is_refused(value, said):
    with pytest.raises(InputError, match=said):
        as_embeddings(value, dim=4)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300, -1e39])
def test_what_is_not_finite_as_float32_is_refused_and_its_row_named(bad):
    vectors = np.ones((5, 3))
    vectors[[2, 4], 1] = bad

    with pytest.raises(InputError, match=r"row 2 holds NaN or infinity \(2 such rows\)"):
        as_embeddings(vectors)


def test_infinities_that_cancel_in_a_sum_are_found():
    with pytest.raises(InputError, match="row 0"):
        as_embeddings([[np.inf, -np.inf]])


def test_large_numbers_whose_sum_leaves_float32_are_taken():
    largest = np.finfo(np.float32).max

    assert as_embeddings(np.full((100, 3), largest)).max() == largest


def test_no_rows_are_taken():
    assert as_embeddings(np.empty((0, 3))).shape == (0, 3)


def test_torch_tensors_are_taken_or_clearly_refused():
    torch = pytest.importorskip("torch")

    assert as_embeddings(torch.ones(2, 3)).shape == (2, 3)
    assert as_embeddings(torch.ones(2, 3, dtype=torch.float16)).dtype == np.float32
    with pytest.raises(InputError, match="requires grad"):
        as_embeddings(torch.ones(2, 3, requires_grad=True))
    with pytest.raises(InputError, match="BFloat16"):
        as_embeddings(torch.ones(2, 3, dtype=torch.bfloat16))


def test_any_shape_is_real_but_not_any_type():
    assert as_real(3, "number").shape == ()
    with pytest.raises(InputError, match="queries must be real numbers"):
        as_real(["a"], "queries")


@given(arrays(np.float32, st.tuples(st.integers(1, 5), st.integers(1, 8)), elements=FLOAT32))
def test_normalized_rows_have_length_one_whatever_their_size(vectors):
    lengths = np.linalg.norm(normalize(vectors).astype(np.float64), axis=1)

    np.testing.assert_allclose(lengths, vectors.any(axis=1), atol=1e-6)


@pytest.mark.parametrize("size", [1e-45, 1e-40, 1e-30, 1e-12, 1.0, 1e12, 1e25, 3e38])
def test_normalizing_keeps_the_direction_of_tiny_and_huge_rows(size):
    vectors = np.array([[0, size], [3, 4], [-size, 0], [0, 0]], dtype=np.float32)
    before = vectors.copy()

    np.testing.assert_allclose(normalize(vectors), [[0, 1], [0.6, 0.8], [-1, 0], [0, 0]], rtol=1e-6)
    np.testing.assert_array_equal(vectors, before)


def test_a_row_is_normalized_alike_beside_odd_rows():
    rows = np.random.default_rng(0).normal(size=(7, 33)).astype(np.float32)
    odd = np.zeros((1, 33), dtype=np.float32)

    np.testing.assert_array_equal(normalize(np.concatenate([rows, odd]))[:7], normalize(rows))


def test_truncating_keeps_the_first_dimensions_contiguous():
    vectors = np.arange(12, dtype=np.float32).reshape(3, 4)

    cut = truncate(vectors, 2)

    assert cut.flags.c_contiguous
    assert cut.tolist() == [[0, 1], [4, 5], [8, 9]]
    assert truncate(vectors, 4).tolist() == vectors.tolist()


@pytest.mark.parametrize("dim", [0, -1, 5])
def test_truncating_to_a_width_that_is_not_there_is_refused(dim):
    with pytest.raises(InputError, match=f"between 1 and 4; received {dim}"):
        truncate(np.ones((2, 4), dtype=np.float32), dim)


def test_a_width_of_zero_is_refused_also_where_any_width_would_do():
    with pytest.raises(InputError, match="at least one dimension"):
        as_embeddings(np.zeros((2, 0)))
