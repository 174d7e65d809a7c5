"""What every lookup does, however it stores its rows. A new one joins with one line in MEMBERS."""

import copy
import re

import pytest
import torch

from embedkit.errors import InputError
from embedkit.modules.lookup import (
    AdaptiveLookup,
    AutoDimLookup,
    AutoSrhLookup,
    CodebookLookup,
    DedupLookup,
    DeepHashLookup,
    DeepLightLookup,
    HashLookup,
    LearnedStepLookup,
    Lookup,
    LowRankLookup,
    MGQELookup,
    MixedDimLookup,
    OptEmbedLookup,
    PlainLookup,
    PrunedLookup,
    QuantizedLookup,
    QuantizedTrainingLookup,
    QuotientRemainderLookup,
    RobeLookup,
    SoftThresholdLookup,
    TensorTrainLookup,
    UnifiedLookup,
    power_law_dims,
)

DIM = 8
SIZES = (7, 1, 300, 40)


def trained(lookup):
    """As it is once training is over, if nothing was learned."""
    lookup.after_step(1.0)
    return lookup


MEMBERS = {
    "plain": lambda sizes: PlainLookup(sizes, DIM),
    "hash": lambda sizes: HashLookup(sizes, DIM, buckets=[1 + size // 4 for size in sizes]),
    "hash, two probes": lambda sizes: HashLookup(sizes, DIM, buckets=[1 + size // 2 for size in sizes], probes=2),
    "unified": lambda sizes: UnifiedLookup(sizes, DIM, buckets=200),
    "quotient and remainder": lambda sizes: QuotientRemainderLookup(sizes, DIM),
    "quotient plus remainder": lambda sizes: QuotientRemainderLookup(sizes, DIM, operation="add"),
    "quotient beside remainder": lambda sizes: QuotientRemainderLookup(sizes, DIM, operation="concat"),
    "tensor train": lambda sizes: TensorTrainLookup(sizes, DIM, ranks=[4] * len(sizes)),
    "tensor train, some fields": lambda sizes: TensorTrainLookup(sizes, DIM, ranks=[3 * (size > 9) for size in sizes]),
    "deep hash": lambda sizes: DeepHashLookup(sizes, DIM, width=16, num_hashes=12),
    "mixed dims": lambda sizes: MixedDimLookup(sizes, DIM, dims=power_law_dims(sizes, DIM, 0.3)),
    "adaptive": lambda sizes: AdaptiveLookup(
        sizes, DIM, counts=torch.arange(sum(sizes)), hot_rows=sum(sizes) // 3, cold_rows=1 + sum(sizes) // 9
    ),
    "robe": lambda sizes: RobeLookup(sizes, DIM, entries=500, block_size=4),
    "low rank": lambda sizes: LowRankLookup(sizes, DIM, rank=3),
    "low rank of a table": lambda sizes: LowRankLookup.from_weight(torch.randn(sum(sizes), DIM), sizes, 3),
    "quantized": lambda sizes: QuantizedLookup.from_weight(torch.randn(sum(sizes), DIM), sizes, bits=4),
    "quantized in training": lambda sizes: QuantizedTrainingLookup(sizes, DIM),
    "pruned": lambda sizes: PrunedLookup.from_weight(torch.randn(sum(sizes), DIM), sizes, keep=0.5),
    "DeepLight": lambda sizes: trained(DeepLightLookup(sizes, DIM, sparsity=0.5)),
    "soft threshold": lambda sizes: SoftThresholdLookup(sizes, DIM, start=-6.0),
    "compact": lambda sizes: OptEmbedLookup(sizes, DIM).serving(),  # a CompactLookup
    "OptEmbed": lambda sizes: OptEmbedLookup(sizes, DIM),
    "OptEmbed, a threshold a value": lambda sizes: OptEmbedLookup(sizes, DIM, per="row"),
    "dedup": lambda sizes: DedupLookup.from_weight(torch.randn(sum(sizes), DIM).round(), sizes, tolerance=1.0),
    "codebook": lambda sizes: CodebookLookup.from_weight(torch.randn(sum(sizes), DIM), sizes, num_codes=16),
    "MGQE": lambda sizes: MGQELookup(sizes, DIM, torch.arange(sum(sizes)), num_codes=16, cold_codes=4),
    "MGQE, without cold values": lambda sizes: MGQELookup(sizes, DIM, num_codes=16),
    "learned steps": lambda sizes: LearnedStepLookup(sizes, DIM),
    "AutoSrh": lambda sizes: trained(AutoSrhLookup(sizes, DIM, torch.arange(sum(sizes)), sparsity=0.5)),
    "AutoDim": lambda sizes: AutoDimLookup(sizes, DIM),
}


@pytest.fixture(params=MEMBERS)
def make(request):
    def lookup(sizes=SIZES):
        torch.manual_seed(0)
        return MEMBERS[request.param](sizes).eval()

    return lookup


@pytest.fixture
def lookup(make):
    return make()


def records(count, sizes=SIZES, seed=0):
    """Ids drawn at random, (count, fields)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randint(size, (count,), generator=generator) for size in sizes], dim=1)


def every_value(sizes=SIZES):
    """Records in which each value of each field is seen."""
    return torch.stack([torch.arange(max(sizes)) % size for size in sizes], dim=1)


def test_ids_become_vectors(lookup):
    vectors = lookup(records(5))
    assert vectors.shape == (5, len(SIZES), DIM)
    assert vectors.dtype == torch.float32
    assert vectors.isfinite().all()
    assert torch.equal(lookup(records(5).int()), vectors)


@pytest.mark.parametrize("count", [0, 1])
def test_a_batch_may_be_empty_or_one_record(lookup, count):
    assert lookup(records(count)).shape == (count, len(SIZES), DIM)


def test_a_record_is_the_same_alone(lookup):
    ids = records(6)
    alone = torch.cat([lookup(row[None]) for row in ids])
    torch.testing.assert_close(alone, lookup(ids), rtol=0, atol=1e-6)


def test_a_table_is_what_its_ids_give(lookup):
    vectors = lookup(every_value())
    for field, size in enumerate(SIZES):
        table = lookup.table(field)
        assert table.shape == (size, DIM)
        assert not table.requires_grad
        torch.testing.assert_close(table, vectors[:size, field], rtol=0, atol=1e-6)
    assert lookup.materialize().shape == (sum(SIZES), DIM)


def test_columns_may_belong_to_any_field(lookup):
    ids, fields = records(6), torch.tensor([3, 0, 2, 2])
    vectors = lookup(torch.stack([ids[:, 3], ids[:, 0], ids[:, 2], ids[:, 2].flip(0)], dim=1), fields)
    plain = lookup(ids)
    expected = torch.stack([plain[:, 3], plain[:, 0], plain[:, 2], plain[:, 2].flip(0)], dim=1)
    torch.testing.assert_close(vectors, expected, rtol=0, atol=1e-6)


def test_one_field_of_one_value_is_enough(make):
    lookup = make((1,))
    vectors = lookup(torch.zeros(3, 1, dtype=torch.long))
    assert vectors.shape == (3, 1, DIM)
    assert vectors.isfinite().all()
    torch.testing.assert_close(vectors[0], vectors[2], rtol=0, atol=1e-6)


# -- training ------------------------------------------------------------------------------------------


@pytest.fixture
def trainable(lookup):
    if not list(lookup.parameters()):
        pytest.skip("it only serves")
    return lookup.train()


def with_penalty(loss, lookup):
    penalty = lookup.penalty()
    return loss if penalty is None else loss + penalty


def test_a_gradient_reaches_every_parameter(trainable):
    lookup = trainable
    vectors = lookup(every_value())
    torch.manual_seed(1)
    with_penalty((vectors * torch.randn_like(vectors)).sum(), lookup).backward()
    for name, parameter in lookup.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


def test_training_lowers_a_loss(trainable):
    lookup = trainable
    ids = records(256)
    torch.manual_seed(1)
    targets = torch.randn(len(SIZES), DIM).expand(256, -1, -1)  # few rows can store them too
    optimizer = torch.optim.Adam([weight for weight in lookup.parameters() if weight.requires_grad], lr=0.02)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = (lookup(ids) - targets).square().mean()
        with_penalty(loss, lookup).backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


def test_serving_gives_the_same_vectors_in_no_more_bytes(lookup):
    served = lookup.serving()
    torch.testing.assert_close(served(records(6)), lookup(records(6)), rtol=0, atol=1e-6)
    assert served.nbytes <= lookup.nbytes


# -- storage -------------------------------------------------------------------------------------------


def test_a_saved_lookup_reloads_bit_equal(lookup, tmp_path):
    lookup.save(tmp_path / "lookup")
    torch.manual_seed(99)
    reloaded = type(lookup).load(tmp_path / "lookup").eval()
    assert torch.equal(reloaded(every_value()), lookup(every_value()))
    assert reloaded.config() == lookup.config()
    assert reloaded.nbytes == lookup.nbytes


def test_the_file_holds_the_bytes_that_are_counted(lookup, tmp_path):
    lookup.save(tmp_path / "lookup")
    header = (tmp_path / "lookup" / "model.safetensors").stat().st_size - lookup.nbytes
    assert 0 < header < 8192


def test_equal_seeds_make_equal_lookups(make):
    first, second = make().state_dict(), make().state_dict()
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_half_precision_is_near(lookup):
    half = copy.deepcopy(lookup).half()
    vectors = half(records(20))
    assert vectors.dtype == torch.float16
    torch.testing.assert_close(vectors.float(), lookup(records(20)), rtol=0.05, atol=0.02)


# -- budgets -------------------------------------------------------------------------------------------


@pytest.fixture
def for_budget(lookup):
    if not hasattr(type(lookup), "for_budget"):
        pytest.skip("its size is not a choice")
    counts = torch.arange(sum(SIZES)).flip(0)
    return lambda nbytes, sizes=SIZES: type(lookup).for_budget(sizes, DIM, nbytes, counts=counts[: sum(sizes)])


def stored(lookup):
    """Bytes of what is kept once training is over."""
    lookup.after_step(1.0)
    return lookup.serving().nbytes


def least_of(error):
    return int(re.search(r"at least (\d+)", str(error.value))[1])


def test_a_budget_is_kept(for_budget):
    with pytest.raises(InputError) as error:
        for_budget(1)
    least = least_of(error)
    sizes = [stored(for_budget(nbytes)) for nbytes in range(least, least + 4000, 97)]
    assert all(size <= nbytes for size, nbytes in zip(sizes, range(least, least + 4000, 97), strict=True))
    assert sizes[0] < sizes[-1]


def test_the_least_budget_is_named(for_budget):
    with pytest.raises(InputError, match="nbytes must be at least") as error:
        for_budget(1)
    least = least_of(error)
    assert stored(for_budget(least)) <= least
    with pytest.raises(InputError, match=f"at least {least}"):
        for_budget(least - 1)


# -- bad input -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("field", "value"), [(0, 7), (1, -1), (3, 40)])
def test_ids_out_of_range_are_refused(lookup, field, value):
    ids = records(3)
    ids[1, field] = value
    with pytest.raises(InputError, match=rf"field {field} must be 0 … {SIZES[field] - 1}.*received {value} in row 1"):
        lookup(ids)


@pytest.mark.parametrize(("sizes", "dim"), [((), DIM), ((0,), DIM), ((3,), 0)])
def test_sizes_out_of_range_are_refused(lookup, sizes, dim):
    config = lookup.config() | {"sizes": sizes, "dim": dim}
    with pytest.raises(InputError):
        type(lookup)._empty(config)


def test_it_is_a_lookup(lookup):
    assert isinstance(lookup, Lookup)
