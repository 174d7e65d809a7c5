import math

import pytest
import torch

from embedkit.ops.similarity import (
    cosine_similarity,
    dot_product,
    pairwise_cosine_similarity,
    pairwise_dot_product,
    unit_distance,
)

CROSS = [cosine_similarity, dot_product]
PAIRWISE = [pairwise_cosine_similarity, pairwise_dot_product]
BOTH = list(zip(CROSS, PAIRWISE, strict=True))


def vectors(count, *, seed=0, dim=7, dtype=torch.float32):
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)).to(dtype)


def by_loops(name, a, b):
    def one(x, y):
        product = sum(p * q for p, q in zip(x, y, strict=True))
        return product if "dot" in name else product / math.hypot(*x) / math.hypot(*y)

    return torch.tensor([[one(x, y) for y in b.tolist()] for x in a.tolist()])


@pytest.mark.parametrize(("cross", "pairwise"), BOTH)
def test_the_formula_in_loops_gives_the_same(cross, pairwise):
    a, b = vectors(5), vectors(5, seed=1)
    expected = by_loops(cross.__name__, a, b)

    torch.testing.assert_close(cross(a, b), expected)
    torch.testing.assert_close(pairwise(a, b), expected.diagonal())
    torch.testing.assert_close(cross(a, b[:2]), expected[:, :2])


def test_worked_by_hand():
    a, b = torch.tensor([[3.0, 4.0]]), torch.tensor([[4.0, 3.0]])

    assert cosine_similarity(a, b).item() == pytest.approx(24 / 25)
    assert dot_product(a, b).item() == 24


@pytest.mark.parametrize("similarity", [cosine_similarity, pairwise_cosine_similarity])
def test_a_cosine_does_not_depend_on_lengths(similarity):
    a, b = vectors(4), vectors(4, seed=1)

    for scale in (1e-9, 1e-3, 1e9):
        torch.testing.assert_close(similarity(a * scale, b), similarity(a, b))


@pytest.mark.parametrize("cross", CROSS)
def test_swapping_the_sides_transposes(cross):
    a, b = vectors(4), vectors(3, seed=1)

    torch.testing.assert_close(cross(a, b), cross(b, a).T)


@pytest.mark.parametrize("similarity", [cosine_similarity, pairwise_cosine_similarity])
@pytest.mark.parametrize("length", [0.0, 1e-13])
def test_a_vector_without_direction_has_cosine_and_gradient_zero(similarity, length):
    a, b = vectors(3), vectors(3, seed=1)
    a[1] *= length / a[1].norm()
    a.requires_grad_()
    b.requires_grad_()

    cosines = similarity(a, b)
    cosines.sum().backward()

    assert (cosines[1] == 0).all()
    assert (a.grad[1] == 0).all()
    assert (a.grad[0] != 0).all()
    assert torch.isfinite(b.grad).all()


@pytest.mark.parametrize("similarity", CROSS + PAIRWISE)
def test_gradients_are_those_of_the_formula(similarity):
    a, b = (vectors(3, seed=seed, dtype=torch.float64).requires_grad_() for seed in (0, 1))

    assert torch.autograd.gradcheck(similarity, (a, b))


@pytest.mark.parametrize("similarity", CROSS + PAIRWISE)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(similarity, dtype):
    a, b = vectors(4, dtype=dtype).requires_grad_(), vectors(4, seed=1)

    result = similarity(a, b)
    result.sum().backward()

    assert result.dtype == torch.float32
    assert a.grad.dtype == dtype
    assert torch.equal(result, similarity(a.float(), b))


@pytest.mark.parametrize("similarity", CROSS + PAIRWISE)
def test_autocast_and_float64_keep_their_digits(similarity):
    a, b = vectors(4), vectors(4, seed=1)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = similarity(a, b)
    assert torch.equal(inside, similarity(a, b))
    assert similarity(a.double(), b).dtype == torch.float64


@pytest.mark.parametrize(("cross", "pairwise"), BOTH)
def test_no_rows_give_no_similarities(cross, pairwise):
    assert cross(vectors(0), vectors(3)).shape == (0, 3)
    assert pairwise(vectors(0), vectors(0)).shape == (0,)


def test_the_distance_of_unit_rows_is_that_of_rows_made_so():
    a, b = (torch.randn(5, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) for seed in (0, 1))
    unit = [torch.nn.functional.normalize(rows, dim=1) for rows in (a, b)]
    torch.testing.assert_close(unit_distance(a, b), torch.cdist(*unit))


def test_equal_rows_are_at_no_distance_and_one_without_direction_at_the_root_of_two():
    rows = torch.tensor([[1.0, 0.0], [5.0, 0.0], [0.0, 0.0]], requires_grad=True)
    distances = unit_distance(rows, rows)
    distances.sum().backward()
    assert distances[0].tolist() == pytest.approx([0, 0, 2**0.5])
    assert (rows.grad[2] == 0).all()
    assert torch.isfinite(rows.grad).all()
