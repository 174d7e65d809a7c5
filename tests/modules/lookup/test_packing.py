"""Codes come back as they were packed, and take the bits that they are said to take."""

import pytest
import torch

from embedkit.errors import InputError
from embedkit.modules.lookup.packing import (
    check_budget,
    check_share,
    checked_counts,
    checked_weight,
    pack,
    packed_width,
    unpack,
)


@pytest.mark.parametrize("bits", range(1, 17))
@pytest.mark.parametrize("count", [1, 3, 8, 17])
def test_codes_come_back(bits, count):
    codes = torch.randint(2**bits, (50, count), generator=torch.Generator().manual_seed(bits))
    codes[0], codes[1] = 0, 2**bits - 1
    packed = pack(codes, bits)
    assert packed.dtype == torch.uint8
    assert packed.shape == (50, packed_width(count, bits)) == (50, -(-count * bits // 8))
    assert torch.equal(unpack(packed, bits, count), codes)
    assert torch.equal(unpack(packed.reshape(5, 10, -1), bits, count), codes.reshape(5, 10, count))


def test_the_lowest_bit_comes_first():
    # 5, 2, 7 in three bits each: 101 010 111 from the lowest bit on, cut into bytes.
    assert pack(torch.tensor([[5, 2, 7]]), 3).tolist() == [[0b11010101, 0b1]]


def test_no_row_packs_to_none():
    assert unpack(pack(torch.empty(0, 5, dtype=torch.long), 3), 3, 5).shape == (0, 5)


@pytest.mark.parametrize(
    ("check", "says"),
    [
        (lambda: checked_weight(torch.zeros(3, 2), [2, 2]), r"\(4, dim\).*received shape \(3, 2\)"),
        (lambda: checked_weight(torch.zeros(3), [3]), r"received shape \(3,\)"),
        (lambda: checked_weight(torch.tensor([[0.0], [float("nan")]]), [2]), "row 1 holds NaN"),
        (lambda: checked_counts([1, 2], 3), r"\(3,\); received shape \(2,\)"),
        (lambda: checked_counts([1, -2], 2), "at least 0; received -2 … 1"),
        (lambda: check_share("keep", 1.5), "keep must be at least 0 and at most 1; received 1.5"),
        (lambda: check_share("keep", 0, zero=False), "keep must be above 0"),
        (lambda: check_budget(3, 4, "of nothing"), "nbytes must be at least 4, of nothing; received 3"),
    ],
)
def test_what_cannot_be_is_refused(check, says):
    with pytest.raises(InputError, match=says):
        check()
