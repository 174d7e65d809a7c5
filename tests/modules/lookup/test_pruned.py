"""The stored form answers as the dense table does, and training removes what its schedule says."""

import copy

import numpy as np
import pytest
import torch

from embedkit.errors import InputError
from embedkit.modules.lookup import DeepLightLookup, PrunedLookup, SoftThresholdLookup

SIZES, DIM = (7, 1, 30), 10


def table(seed=0):
    return torch.randn(sum(SIZES), DIM, generator=torch.Generator().manual_seed(seed))


def naive(weight, keep):
    """The greatest weights, by a sort of all of them."""
    out = np.zeros(weight.shape)
    places = sorted(np.ndindex(*weight.shape), key=lambda place: -abs(float(weight[place])))
    for place in places[: round(keep * weight.numel())]:
        out[place] = float(weight[place])
    return out


@pytest.mark.parametrize("keep", [0, 0.003, 0.1, 0.5, 1])
def test_oracle(keep):
    lookup = PrunedLookup.from_weight(table(), SIZES, keep)
    np.testing.assert_array_equal(lookup.materialize().numpy(), naive(table(), keep))
    assert lookup.nonzeros == round(keep * 380)
    assert lookup.nbytes == 4 * lookup.nonzeros + 38 * (4 + 2)


def test_a_number_by_hand():
    lookup = PrunedLookup.from_weight(torch.tensor([[0.0, 4, -3], [0, 0, 0], [1, -2, 0]]), [3], keep=1 / 3)
    assert lookup.values.tolist() == [4, -3, -2]
    assert lookup.columns.tolist() == [[0b110], [0], [0b010]]
    assert lookup.begins.tolist() == [0, 2, 2]
    assert lookup.nbytes == 3 * 4 + 3 * 5


def test_equal_weights_are_kept_to_the_exact_number():
    lookup = PrunedLookup.from_weight(torch.ones(4, 5), [4], keep=0.5)
    assert lookup.materialize().sum() == lookup.nonzeros == 10


def test_values_are_trained_and_columns_stay():
    lookup = PrunedLookup.from_weight(table(), SIZES, 0.2)
    before = lookup.materialize()
    optimizer = torch.optim.Adam(lookup.parameters(), lr=0.1)
    lookup(torch.zeros(1, 3, dtype=torch.long)).square().sum().backward()
    optimizer.step()
    assert torch.equal(lookup.materialize() != 0, before != 0)
    assert (lookup.materialize() != before).any()


def test_degenerate_tables():
    none = PrunedLookup.from_weight(torch.zeros(3, 2), [3])
    assert none.nonzeros == 0
    assert torch.equal(none(torch.tensor([[2], [0]])), torch.zeros(2, 1, 2))
    assert PrunedLookup.from_weight(torch.tensor([[2.0]]), [1])(torch.tensor([[0]])).item() == 2
    assert none(torch.empty(0, 1, dtype=torch.long)).shape == (0, 1, 2)
    half = copy.deepcopy(PrunedLookup.from_weight(table(), SIZES, 0.5)).half()
    torch.testing.assert_close(half.materialize().double(), torch.tensor(naive(table(), 0.5)), atol=2e-3, rtol=0)


def test_what_cannot_be_is_refused():
    with pytest.raises(InputError, match="keep must be at least 0 and at most 1; received 2"):
        PrunedLookup.from_weight(table(), SIZES, 2)
    with pytest.raises(InputError, match="nonzeros must be between 0 and 380; received 381"):
        PrunedLookup(SIZES, DIM, nonzeros=381)
    with pytest.raises(InputError, match="sparsity must be"):
        DeepLightLookup(SIZES, DIM, sparsity=-0.1)
    with pytest.raises(InputError, match="every must be at least 1"):
        DeepLightLookup(SIZES, DIM, every=0)
    with pytest.raises(InputError, match="per must be one of all, dim, row, weight; received 'field'"):
        SoftThresholdLookup(SIZES, DIM, per="field")


# -- DeepLight -----------------------------------------------------------------------------------------


def test_the_schedule_is_the_papers_over_the_run():
    lookup = DeepLightLookup([5], 4, sparsity=0.9, warm_up=0.0)
    steps = 100 * np.log(1e-3) / np.log(0.99)
    assert steps == pytest.approx(68732, abs=1)
    for share in (0.1, 0.5, 1):
        paper = 0.9 * (1 - 0.99 ** (share * steps / 100))
        assert lookup.sparsity_at(share) == pytest.approx(paper / 0.999)
    assert lookup.sparsity_at(0) == 0
    assert lookup.sparsity_at(1) == 0.9
    shares = [lookup.sparsity_at(progress) for progress in np.linspace(0, 1, 50)]
    assert shares == sorted(shares)


def test_nothing_is_removed_in_the_warm_up():
    lookup = DeepLightLookup([5], 4, sparsity=0.9, warm_up=0.5)
    assert [lookup.sparsity_at(progress) for progress in (0, 0.3, 0.5)] == [0, 0, 0]
    assert lookup.sparsity_at(1) == 0.9
    throughout = DeepLightLookup([5], 4, sparsity=0.9, warm_up=1.0)
    assert (throughout.sparsity_at(0.99), throughout.sparsity_at(1)) == (0, 0.9)


def test_the_smallest_are_removed_to_the_exact_number_and_stay_gone():
    torch.manual_seed(0)
    lookup = DeepLightLookup(SIZES, DIM, sparsity=0.9, warm_up=0.0, every=1)
    start = lookup.weight.detach().clone()
    gone = torch.zeros_like(lookup.mask)
    for step in range(1, 21):
        with torch.no_grad():
            lookup.weight += 0.01 * torch.randn_like(lookup.weight)  # tries to let them grow back
        lookup.after_step(step / 20)
        assert int((~lookup.mask).sum()) == round(lookup.sparsity_at(step / 20) * 380)
        assert not (gone & lookup.mask).any()
        gone = ~lookup.mask
        assert not lookup.materialize()[gone].any()
    assert lookup.serving().nonzeros == 38
    once = DeepLightLookup(SIZES, DIM, sparsity=0.5)
    once.weight.data = start
    once.after_step(1.0)
    np.testing.assert_array_equal(once.materialize().numpy(), naive(start, 0.5).astype(np.float32))


def test_what_is_gone_gets_no_gradient():
    lookup = DeepLightLookup([4], 6, sparsity=0.5)
    lookup.after_step(1.0)
    lookup(torch.arange(4)[:, None]).sum().backward()
    assert torch.equal(lookup.weight.grad != 0, lookup.mask)


def test_removals_are_some_steps_apart():
    lookup = DeepLightLookup([4], 6, sparsity=0.5, warm_up=0.0, every=3)
    gone = []
    for step in range(1, 8):
        lookup.after_step(step / 10)
        gone.append(int((~lookup.mask).sum()))
    assert gone[0] == gone[1] == 0 < gone[2] == gone[3] == gone[4] < gone[5] == gone[6]


def test_it_is_final_once_all_is_gone_that_shall_be():
    lookup = DeepLightLookup(SIZES, DIM, sparsity=0.5, every=1)
    for progress in (0.2, 0.5, 0.8):
        lookup.after_step(progress)
        assert not lookup.is_final()
    lookup.after_step(1.0)
    assert lookup.is_final()
    assert PrunedLookup.from_weight(table(), SIZES, 0.1).is_final()


def test_steps_between_removals_are_counted_on_after_loading(tmp_path):
    lookup = DeepLightLookup([4], 6, sparsity=0.5, warm_up=0.0, every=3)
    for step in (1, 2):
        lookup.after_step(step / 10)
    lookup.save(tmp_path / "table")
    again = DeepLightLookup.load(tmp_path / "table")
    for each in (lookup, again):
        each.after_step(0.3)
    assert torch.equal(again.mask, lookup.mask)
    assert not again.mask.all()


def test_weights_that_are_all_zero_are_removed_once():
    lookup = DeepLightLookup([4], 6, sparsity=0.5)
    lookup.weight.data.zero_()
    lookup.after_step(1.0)
    lookup.after_step(1.0)
    assert int(lookup.mask.sum()) == 12


def test_a_budget_buys_weights():
    nbytes = 38 * (4 + 2) + 4 * 100
    lookup = DeepLightLookup.for_budget(SIZES, DIM, nbytes)
    lookup.after_step(1.0)
    assert lookup.serving().nbytes == nbytes


# -- PEP -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("per", ["all", "dim", "row", "weight"])
def test_thresholds_shrink(per):
    torch.manual_seed(0)
    lookup = SoftThresholdLookup(SIZES, DIM, per=per, std=1.0)
    lookup.threshold.data = torch.randn_like(lookup.threshold)
    vectors = lookup.materialize()
    threshold = lookup.threshold.detach().expand(38, DIM).numpy()
    for (i, j), value in np.ndenumerate(lookup.weight.detach().numpy()):
        left = abs(value) - 1 / (1 + np.exp(-threshold[i, j]))
        assert vectors[i, j].item() == pytest.approx(np.sign(value) * max(left, 0), abs=1e-6)
    assert torch.equal(lookup.serving().materialize(), vectors)


def test_a_threshold_far_below_is_none():
    lookup = SoftThresholdLookup(SIZES, DIM, start=-200.0)
    assert torch.equal(lookup.materialize(), lookup.weight.detach())


def test_thresholds_learn_by_what_they_take():
    lookup = SoftThresholdLookup([1], 3, start=0.0)
    lookup.weight.data = torch.tensor([[0.75, -1.5, 0.25]])
    lookup(torch.tensor([[0]])).backward(torch.tensor([[[1.0, 10.0, 100.0]]]))
    # sigmoid'(0) = 1/4; the first weight falls by it, the second, negative, rises, the third is zero.
    assert lookup.threshold.grad.item() == pytest.approx(-0.25 * 1 + 0.25 * 10)
    assert lookup.weight.grad.tolist() == [[1, 10, 0]]
