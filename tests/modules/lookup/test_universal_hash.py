"""Hashes of ids: exact in 64 bits, uniform, and the same in every process."""

import subprocess
import sys

import pytest
import torch

from embedkit.errors import InputError
from embedkit.modules.lookup.universal_hash import PRIME, hash_coefficients, universal_hash

MAKE = "hash_coefficients(7, [50, 2**31 - 2], 3)"


def test_it_is_the_formula_in_whole_numbers_of_any_size():
    coefficients = hash_coefficients(0, [PRIME - 1], 40)[0]
    keys = torch.tensor([0, 1, 2, 10**6, PRIME - 2, PRIME - 1])
    found = universal_hash(keys[:, None], coefficients, 1009)
    expected = [[(a * key + b) % PRIME % 1009 for a, b in coefficients.tolist()] for key in keys.tolist()]
    assert found.tolist() == expected


def test_a_hash_by_hand():
    assert universal_hash(torch.tensor([0, 4, PRIME - 1]), torch.tensor([3, 5]), 10).tolist() == [5, 7, 2]


def test_the_largest_coefficients_and_keys_do_not_overflow():
    last = PRIME - 1
    found = universal_hash(torch.tensor([last]), torch.tensor([last, last]), PRIME)
    assert found.item() == (last * last + last) % PRIME


def test_it_is_the_same_in_a_fresh_process():
    code = f"from embedkit.modules.lookup.universal_hash import *; print({MAKE}.flatten().tolist())"
    fresh = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert fresh.strip() == str(eval(MAKE).flatten().tolist())
    assert eval(MAKE)[0, 0].tolist() == [1064389047, 2025943110]  # nor does it change with versions


def test_further_fields_and_hashes_move_none():
    few, many = hash_coefficients(3, [5, 5], 2), hash_coefficients(3, [5, 5, 9], 4)
    assert torch.equal(many[:2, :2], few)
    assert len({tuple(pair) for pair in many.flatten(0, 1).tolist()}) == 12
    assert not torch.equal(hash_coefficients(4, [5, 5], 2), few)


def test_two_keys_collide_once_in_as_many_hashes_as_there_are_buckets():
    coefficients = hash_coefficients(0, [10**6], 50_000)[0]
    for first, second in [(0, 1), (1, 2), (0, 101), (3, 999_999)]:
        collided = universal_hash(torch.tensor(first), coefficients, 101) == universal_hash(
            torch.tensor(second), coefficients, 101
        )
        expected = 50_000 / 101
        assert (collided.sum().item() - expected) ** 2 / expected < 10.8  # chi-square, 1 degree, p = 0.001


@pytest.mark.parametrize("buckets", [2, 101])
def test_keys_spread_evenly(buckets):
    coefficients = hash_coefficients(1, [10**6], 50_000)[0]
    counts = torch.bincount(universal_hash(torch.tensor(12_345), coefficients, buckets), minlength=buckets)
    expected = 50_000 / buckets
    statistic = ((counts - expected) ** 2 / expected).sum().item()
    assert statistic < {2: 10.8, 101: 149.4}[buckets]  # chi-square, p = 0.001


def test_more_keys_than_it_tells_apart_are_refused():
    with pytest.raises(InputError, match=f"fewer than {PRIME} keys to hash; received {PRIME}"):
        hash_coefficients(0, [3, PRIME], 1)
