"""Groups are of like frequency, alpha stays in bounds, and what is pruned is least by |alpha · row|."""

import copy
import itertools

import numpy as np
import pytest
import torch

from embedkit.errors import InputError
from embedkit.modules.lookup import AutoSrhLookup

SIZES, DIM = (7, 1, 30), 5


def counts(seed=0):
    return torch.randint(0, 20, (38,), generator=torch.Generator().manual_seed(seed))


def lookup(seed=0, **options):
    torch.manual_seed(seed)
    made = AutoSrhLookup(SIZES, DIM, counts(), **options)
    made.alpha.data = torch.rand_like(made.alpha)
    return made


def test_oracle():
    made = lookup(groups=4)
    order = sorted(range(38), key=lambda i: -int(counts()[i]))
    vectors = made.materialize()
    for rank, i in enumerate(order):
        alpha = made.alpha[rank * 4 // 38].tolist()
        expected = [a * w for a, w in zip(alpha, made.weight[i].tolist(), strict=True)]
        np.testing.assert_allclose(vectors[i].tolist(), expected, rtol=1e-6)


@pytest.mark.parametrize("groups", [1, 6, 38, 100])
def test_groups_are_of_equal_size_and_more_frequent_first(groups):
    made = AutoSrhLookup(SIZES, DIM, counts(), groups=groups)
    sizes = made.group.bincount(minlength=groups)
    assert sizes.sum() == 38
    assert sizes.max() - sizes.min() <= 1
    frequent = [counts()[made.group == group] for group in range(groups) if sizes[group]]
    assert all(before.min() >= after.max() for before, after in itertools.pairwise(frequent))


def test_equal_counts_are_cut_in_order():
    assert AutoSrhLookup([6], 2, [1] * 6, groups=3).group.tolist() == [0, 0, 1, 1, 2, 2]


def test_alpha_of_one_changes_nothing():
    made = AutoSrhLookup(SIZES, DIM, counts())
    assert torch.equal(made.materialize(), made.weight.detach())


def test_a_step_by_hand():
    made = AutoSrhLookup([2], 2, [5, 1], groups=2, alpha_lr=0.1, l1=0.0)
    made.alpha.data = torch.tensor([[0.5, 0.05], [0.95, 0.5]])
    search = made.search_optimizer()
    made.alpha.grad = torch.tensor([[3.0, 1.0], [-4.0, 0.0]])
    search.step()
    # Divided by the means 2 and 2: 1.5, 0.5 and -2, 0. Then 0.05 - 0.05 and 0.95 + 0.2, cut off at 1.
    torch.testing.assert_close(made.alpha.detach(), torch.tensor([[0.35, 0.0], [1.0, 0.5]]))


def test_alpha_stays_within_its_bounds_and_sees_no_other_optimiser():
    made = lookup(alpha_lr=0.4, l1=0.5)
    search, weight = made.search_optimizer(), made.weight.detach().clone()
    for step in range(6):
        search.zero_grad()
        ids = torch.stack(
            [torch.randint(size, (50,), generator=torch.Generator().manual_seed(step)) for size in SIZES], 1
        )
        (made(ids) * (-1) ** step).sum().backward()
        search.step()
        assert made.alpha.min() >= 0
        assert made.alpha.max() <= 1
    assert torch.equal(made.weight, weight)


def test_without_a_gradient_the_norm_alone_pulls():
    made = lookup(alpha_lr=0.1, l1=0.5)
    before = made.alpha.detach().clone()
    search = made.search_optimizer()
    made.alpha.grad = torch.zeros_like(made.alpha)
    search.step()
    torch.testing.assert_close(made.alpha.detach(), (before - 0.05).clamp(min=0))


def test_the_end_of_training_prunes_the_least():
    made = lookup(sparsity=0.7)
    before = made.materialize()
    made.after_step(0.99)
    assert made.mask.all()
    assert not made.is_final()
    made.after_step(1.0)
    assert made.is_final()
    keep = 190 - round(0.7 * 190)
    assert int(made.mask.sum()) == keep
    assert before.abs()[made.mask].min() >= before.abs()[~made.mask].max()
    assert torch.equal(made.materialize(), before * made.mask)
    served = made.serving()
    assert torch.equal(served.materialize(), made.materialize())
    assert served.nonzeros == keep
    made.after_step(1.0)
    assert int(made.mask.sum()) == keep


def test_a_budget_buys_weights():
    nbytes = 38 * (4 + 1) + 4 * 60
    made = AutoSrhLookup.for_budget(SIZES, DIM, nbytes, counts=counts())
    made.after_step(1.0)
    assert made.serving().nbytes == nbytes
    with pytest.raises(InputError, match="counts must be given"):
        AutoSrhLookup.for_budget(SIZES, DIM, nbytes)


def test_groups_survive_saving(tmp_path):
    made = lookup()
    made.save(tmp_path / "srh")
    assert torch.equal(AutoSrhLookup.load(tmp_path / "srh").group, made.group)


def test_degenerate_tables():
    one = AutoSrhLookup([1], 1, [0], sparsity=1.0)
    one.after_step(1.0)
    assert one(torch.tensor([[0]])).item() == one.serving()(torch.tensor([[0]])).item() == 0
    assert one(torch.empty(0, 1, dtype=torch.long)).shape == (0, 1, 1)
    assert copy.deepcopy(lookup()).half().materialize().dtype == torch.float16


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"groups": 0}, "groups must be between 1 and 256; received 0"),
        ({"sparsity": 2}, "sparsity must be at least 0"),
        ({"counts": [1]}, r"counts must be one a value, \(38,\)"),
    ],
)
def test_what_cannot_be_is_refused(options, says):
    with pytest.raises(InputError, match=says):
        AutoSrhLookup(SIZES, DIM, **{"counts": counts(), **options})
