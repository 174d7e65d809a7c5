"""Blocks that are equal are stored once, and what stands for a block is near it."""

import copy

import numpy as np
import pytest
import torch

from embedkit.errors import InputError
from embedkit.modules.lookup import DedupLookup

SIZES, DIM = (7, 1, 32), 3


def table(distinct=6, noise=0.0, block_rows=4, seed=0):
    """Ten blocks of which some are nearly equal."""
    generator = torch.Generator().manual_seed(seed)
    blocks = torch.randn(distinct, block_rows, DIM, generator=generator)
    weight = blocks[torch.arange(40 // block_rows) % distinct].reshape(40, DIM)
    return weight + noise * torch.randn(weight.shape, generator=generator)


def naive(weight, block_rows, tolerance, similarity):
    """The rule again, by loops."""
    blocks = [weight[i : i + block_rows].flatten().tolist() for i in range(0, len(weight), block_rows)]
    order = sorted(range(len(blocks)), key=lambda i: sorted(blocks[i])[len(blocks[i]) * 3 // 4])
    kept, out = [], np.zeros(weight.shape)
    for i in order:
        for j in kept:
            near = sum(abs(a - b) <= tolerance for a, b in zip(blocks[i], blocks[j], strict=True))
            if near >= similarity * len(blocks[i]):
                break
        else:
            kept.append(i)
            j = i
        out[i * block_rows : (i + 1) * block_rows] = np.reshape(blocks[j], (block_rows, DIM))
    return out, len(kept)


@pytest.mark.parametrize("tolerance", [0.0, 0.02, 0.3, 2.0])
@pytest.mark.parametrize("similarity", [0.5, 0.9])
def test_oracle(tolerance, similarity):
    weight = table(noise=0.02)
    lookup = DedupLookup.from_weight(weight, SIZES, block_rows=4, tolerance=tolerance, similarity=similarity)
    expected, kept = naive(weight, 4, tolerance, similarity)
    np.testing.assert_allclose(lookup.materialize().numpy(), expected, atol=1e-6)
    assert lookup.kept == kept
    assert lookup.nbytes == 4 * kept * 4 * DIM + 4 * 10


def test_a_number_by_hand():
    # Blocks (0, 1), (0.2, 1.2), (5, 6): the second lies within 0.25 of the first, which has the lesser third quartile.
    weight = torch.tensor([[0.2], [1.2], [0.0], [1.0], [5.0], [6.0]])
    lookup = DedupLookup.from_weight(weight, [6], block_rows=2, tolerance=0.25, similarity=1.0)
    assert lookup.materialize().flatten().tolist() == [0, 1, 0, 1, 5, 6]
    assert lookup.places.tolist() == [0, 0, 1]


def test_equal_blocks_are_one_and_nothing_is_lost():
    lookup = DedupLookup.from_weight(table(), SIZES, block_rows=4, tolerance=0, similarity=1)
    assert lookup.kept == 6
    assert torch.equal(lookup.materialize(), table())
    constant = DedupLookup.from_weight(torch.ones(40, DIM), SIZES, block_rows=4)
    assert constant.kept == 1


def test_again_it_changes_nothing():
    once = DedupLookup.from_weight(table(noise=0.05), SIZES, block_rows=4, tolerance=0.1)
    twice = DedupLookup.from_weight(once.materialize(), SIZES, block_rows=4, tolerance=0, similarity=1)
    assert torch.equal(once.materialize(), twice.materialize())
    assert once.kept == twice.kept < 10


def test_rows_that_fill_no_block():
    weight = table()[:38]
    lookup = DedupLookup.from_weight(weight, [38], block_rows=4, tolerance=0, similarity=1)
    assert torch.equal(lookup.materialize(), weight)
    assert len(lookup.places) == 10


@pytest.mark.parametrize(("rows", "expected"), [(40, 1), (5000, 5)])
def test_blocks_of_small_tables_are_short(rows, expected):
    lookup = DedupLookup.from_weight(torch.zeros(rows, 1), [rows])
    assert lookup.block_rows == expected
    assert lookup.kept == 1


def test_merging_stops_at_the_budget():
    full = 4 * 40 * DIM + 4 * 10
    for spare in (0, 1, 2, 3, 4):
        nbytes = full - spare * 4 * 4 * DIM
        lookup = DedupLookup.from_weight(table(), SIZES, block_rows=4, nbytes=nbytes)
        assert lookup.nbytes == nbytes
        assert torch.equal(lookup.materialize(), table())
    with pytest.raises(InputError, match=f"nbytes must be at least {full - 4 * 48}, what blocks within 0.01"):
        DedupLookup.from_weight(table(), SIZES, block_rows=4, nbytes=full - 4 * 48 - 1)


def test_blocks_are_trained_by_all_that_share_them():
    lookup = DedupLookup.from_weight(torch.ones(4, 1), [4], block_rows=2)
    lookup(torch.tensor([[0], [2], [3]])).backward(torch.tensor([[[1.0]], [[10.0]], [[100.0]]]))
    assert lookup.blocks.grad.flatten().tolist() == [11, 100]


def test_degenerate_tables():
    one = DedupLookup.from_weight(torch.tensor([[3.0]]), [1])
    assert one(torch.tensor([[0]])).item() == 3
    assert one(torch.empty(0, 1, dtype=torch.long)).shape == (0, 1, 1)
    half = copy.deepcopy(DedupLookup.from_weight(table(), SIZES, block_rows=4)).half()
    torch.testing.assert_close(half.materialize().float(), table(), atol=2e-3, rtol=0)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"block_rows": 0}, "block_rows must be at least 1; received 0"),
        ({"tolerance": -1}, "tolerance must be at least 0; received -1"),
        ({"tolerance": float("nan")}, "tolerance must be at least 0; received nan"),
        ({"similarity": 1.5}, "similarity must be at least 0 and at most 1"),
    ],
)
def test_what_cannot_be_is_refused(options, says):
    with pytest.raises(InputError, match=says):
        DedupLookup.from_weight(table(), SIZES, **options)
    with pytest.raises(InputError, match="kept must be between 1 and the number of blocks, 10; received 11"):
        DedupLookup(SIZES, DIM, block_rows=4, kept=11)
