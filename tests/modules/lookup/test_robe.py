"""One circular array: blocks stay together, signs balance, and with room for all it is a plain table."""

import pytest
import torch

from embedkit.errors import InputError
from embedkit.modules.lookup import PlainLookup, RobeLookup
from embedkit.modules.lookup.universal_hash import PRIME

SIZES = [50, 3, 400]


def unsigned(lookup):
    """Without signs: hashes that are always 0 have no bits."""
    lookup.coefficients[:, 1:] = 0
    return lookup


def places(lookup):
    """Entry of the array that each dimension of each value reads, (num_rows, dim)."""
    lookup.weight.data = torch.arange(float(lookup.entries))
    return unsigned(lookup).materialize().long()


def entry(lookup, field, value, j):
    """The formula for one number."""
    a, b = lookup.coefficients[field, 0].tolist()
    block, within = divmod(value * lookup.dim + j, lookup.block_size)
    word, bit = divmod(j, 24)
    c, d = lookup.coefficients[field, 1 + word].tolist()
    sign = -1 if (c * value + d) % PRIME % 2**24 >> bit & 1 else 1
    return sign * lookup.weight[((a * block + b) % PRIME % lookup.entries + within) % lookup.entries].item()


@pytest.mark.parametrize(("dim", "block_size"), [(8, 1), (8, 4), (8, 8), (8, 32), (40, 8), (26, 52)])
def test_it_is_the_formula(dim, block_size):
    lookup = RobeLookup(SIZES, dim, entries=101, block_size=block_size, std=1.0)
    ids = torch.stack([torch.randint(size, (10,)) for size in SIZES], dim=1)
    expected = [
        [[entry(lookup, field, value, j) for j in range(dim)] for field, value in enumerate(record)]
        for record in ids.tolist()
    ]
    assert torch.equal(lookup(ids), torch.tensor(expected))


def test_a_number_by_hand():
    lookup = RobeLookup([10], 4, entries=7, block_size=2)
    lookup.weight.data = torch.arange(7.0)
    lookup.coefficients[0] = torch.tensor([[3, 1], [1, 0]])
    # value 5: blocks 10 and 11 begin at 31 mod 7 = 3 and 34 mod 7 = 6; the latter goes on at 0. Signs: 5 is 101.
    assert lookup(torch.tensor([[5]])).flatten().tolist() == [-3, 4, -6, 0]


def test_with_room_for_all_and_consecutive_blocks_it_is_a_plain_table():
    lookup = unsigned(RobeLookup(SIZES, 8, entries=453 * 8, block_size=4))
    lookup.coefficients[:, 0] = torch.tensor([[4, 0], [4, 400], [4, 424]])
    plain = PlainLookup.from_weight(lookup.weight.detach().reshape(453, 8), SIZES)
    assert torch.equal(lookup.materialize(), plain.materialize())


@pytest.mark.parametrize("block_size", [1, 2, 8, 24])
def test_blocks_stay_together(block_size):
    where = places(RobeLookup([30], 8, entries=97, block_size=block_size)).flatten()
    for block in where.split(block_size):
        assert torch.equal((block - block[0]) % 97, torch.arange(len(block)))


def test_the_gradient_adds_up_where_vectors_overlap():
    lookup = RobeLookup(SIZES, 8, entries=50, block_size=4)
    ids = torch.stack([torch.randint(size, (64,)) for size in SIZES], dim=1)
    upstream = torch.randn(64, 3, 8)
    (lookup(ids) * upstream).sum().backward()
    found = lookup.weight.grad.clone()
    lookup.weight.data.fill_(1)
    signs = lookup(ids).detach()
    where = places(lookup)[ids + lookup.offsets]
    expected = torch.zeros(50).scatter_add(0, where.flatten(), (upstream * signs).flatten())
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_signs_balance_and_differ_between_dimensions():
    lookup = RobeLookup([20_000], 40, entries=100, block_size=40)
    lookup.weight.data.fill_(1)
    signs = lookup.table(0)
    assert signs.abs().eq(1).all()
    assert signs.mean(0).abs().max() < 0.05
    correlation = signs.T @ signs / 20_000
    assert (correlation - torch.eye(40)).abs().max() < 0.1  # bits of two linear maps, in dimensions from 24 on


def test_two_values_overlap_as_often_as_chance_has_it():
    dim, entries = 8, 400
    expected = dim * dim / entries  # of dim² pairs of dimensions each is one entry with probability 1 / entries
    where = places(RobeLookup([1500] * 4, dim, entries=entries, block_size=4))
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randint(len(where), (2, 40_000), generator=generator)
    first, second = first[first != second], second[first != second]
    overlaps = (where[first][:, :, None] == where[second][:, None]).sum((1, 2)).float().mean().item()
    assert abs(overlaps / expected - 1) < 0.05


def test_a_further_field_moves_nothing_and_equal_values_are_hashed_apart():
    few, many = (RobeLookup(sizes, 4, entries=1000, block_size=4) for sizes in ([300, 300], [300, 300, 60]))
    where = places(few)
    assert torch.equal(places(many)[:600], where)
    assert (where[:300] == where[300:]).float().mean() < 0.02


@pytest.mark.parametrize("block_size", [None, 4, 64])
def test_a_budget_is_met_to_an_entry(block_size):
    lookup = RobeLookup.for_budget(SIZES, 16, 10_003, block_size=block_size)
    assert lookup.nbytes == 10_000
    assert lookup.block_size == block_size or block_size is None


def test_a_budget_below_one_block_is_refused():
    with pytest.raises(InputError, match=r"nbytes must be at least 80, the smallest RobeLookup.*received 79"):
        RobeLookup.for_budget(SIZES, 8, 79)


def test_half_precision_hashes_the_same():
    lookup = RobeLookup(SIZES, 8, entries=5000, block_size=4)
    expected = lookup.materialize().half()
    assert torch.equal(lookup.half().materialize(), expected)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"entries": 100, "block_size": 3}, "must be a divisor or a multiple of dim, which is 8; received 3"),
        ({"entries": 100, "block_size": 12}, "block_size must be a divisor or a multiple of dim"),
        ({"entries": 100, "block_size": 0}, "block_size must be an integer from 1"),
        ({"entries": PRIME, "block_size": 8}, f"entries must be at most {PRIME - 8}, which a hash can reach"),
        ({"entries": 7, "block_size": 16}, "entries must be an integer from 8; received 7"),
    ],
)
def test_options_out_of_range_are_refused(options, says):
    with pytest.raises(InputError, match=says):
        RobeLookup(SIZES, 8, **options)
