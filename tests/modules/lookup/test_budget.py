"""Levels of fields within a budget of bytes."""

import pytest
import torch

from embedkit.errors import InputError
from embedkit.modules import lookup as shelf
from embedkit.modules.lookup.budget import even_levels, largest_size, raised_levels

COSTS = torch.tensor([[10, 20, 40], [1, 2, 3], [5, 5, 30]])


def test_the_largest_size_is_found_to_the_byte():
    assert largest_size(int, lambda size: 3 * size + 1, 31, least=2, most=100) == 10
    assert largest_size(int, lambda size: 3 * size + 1, 30, least=2, most=100) == 9
    assert largest_size(int, lambda size: 3 * size + 1, 10**6, least=2, most=100) == 100


def test_a_budget_below_the_least_is_refused():
    with pytest.raises(InputError, match="nbytes must be at least 7, the smallest int of these fields; received 6"):
        largest_size(int, lambda size: 3 * size + 1, 6, least=2, most=100)


@pytest.mark.parametrize(
    ("nbytes", "expected"),
    [
        (16, [0, 0, 1]),  # a level that costs nothing is taken
        (18, [0, 2, 1]),
        (27, [1, 1, 1]),
        (28, [1, 2, 1]),
        (47, [1, 2, 1]),
        (48, [2, 2, 1]),  # the last field would take 25 more, the first 20
        (52, [2, 2, 1]),
        (53, [1, 2, 2]),  # it goes first, as the cheaper when full
        (73, [2, 2, 2]),
        (999, [2, 2, 2]),
    ],
)
def test_fields_rise_together_and_then_each_as_far_as_it_can(nbytes, expected):
    assert even_levels(int, COSTS, nbytes) == expected
    assert int(COSTS[torch.arange(3), expected].sum()) <= nbytes


def test_levels_that_are_given_are_only_raised():
    assert raised_levels(COSTS, [1, 0, 0], 26) == [1, 0, 1]
    assert raised_levels(COSTS, [1, 0, 0], 28) == [1, 2, 1]


@pytest.mark.parametrize(
    "kind", ["Hash", "Unified", "QuotientRemainder", "TensorTrain", "DeepHash", "Robe", "MixedDim"]
)
@pytest.mark.parametrize(("sizes", "dim"), [([], 4), ([3, 0], 4), ([3, 5], 0)])
def test_fields_that_are_none_are_refused(kind, sizes, dim):
    with pytest.raises(InputError, match="must be"):
        getattr(shelf, f"{kind}Lookup").for_budget(sizes, dim, 10_000)


@pytest.mark.parametrize("kind", ["Hash", "Unified", "Robe", "DeepHash", "Adaptive"])
def test_names_and_the_seed_are_passed_on(kind):
    make, counts = getattr(shelf, f"{kind}Lookup").for_budget, torch.ones(410)
    first, second = (make([10, 400], 4, 4000, names=["a", "b"], counts=counts, seed=seed) for seed in (1, 2))
    assert first.names == ("a", "b")
    assert (first.seed, second.seed) == (1, 2)
    hashes = "remap" if kind == "Adaptive" else "coefficients"
    assert not torch.equal(first.state_dict()[hashes], second.state_dict()[hashes])
