"""The supernet's gradients are those of the paper, the compact form is the masked one, and search never forgets."""

import copy

import numpy as np
import pytest
import torch

from embedkit.errors import InputError
from embedkit.modules.lookup import (
    CompactLookup,
    OptEmbedLookup,
    evolve,
    greedy_search,
    random_search,
)
from embedkit.modules.lookup.optembed import crossed, draw, mutated, step_slope

SIZES, DIM = (7, 1, 30), 6


def records(count=20, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randint(size, (count,), generator=generator) for size in SIZES], dim=1)


def supernet(per="field", norm=1, seed=0):
    """Thresholds among the norms, so that some rows are dropped."""
    torch.manual_seed(seed)
    lookup = OptEmbedLookup(SIZES, DIM, per=per, norm=norm, std=0.2)
    norms = torch.linalg.vector_norm(lookup.weight.detach(), ord=norm, dim=1)
    lookup.threshold.data.fill_(float(norms.median()))
    return lookup.eval()


# -- the step ------------------------------------------------------------------------------------------


def test_the_slope_in_closed_form():
    at = torch.tensor([0, 0.4, -0.4, 0.4001, 0.7, 1, -1, 1.0001, -5])
    torch.testing.assert_close(step_slope(at), torch.tensor([2, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0, 0]), atol=1e-6, rtol=0)
    grid = torch.linspace(-2, 2, 400_001, dtype=torch.float64)
    assert torch.trapezoid(step_slope(grid), grid).item() == pytest.approx(1.44, abs=1e-4)


@pytest.mark.parametrize("per", ["field", "row"])
def test_oracle_of_vectors_and_gradients(per):
    lookup = supernet(per)
    lookup.use((2, 5, 0))
    ids, upstream = records(), torch.randn(20, 3, DIM)
    vectors = lookup(ids)
    (vectors * upstream).sum().backward()
    weight, threshold = lookup.weight.detach().numpy(), lookup.threshold.detach().numpy()
    for_weight, for_threshold = np.zeros(weight.shape), np.zeros(threshold.shape)
    for i in range(20):
        for f, last in enumerate((2, 5, 0)):
            row = int(ids[i, f]) + int(sum(SIZES[:f]))
            of = f if per == "field" else row
            e, g = weight[row], upstream[i, f].numpy()
            mask = np.array([1.0 if k <= last else 0.0 for k in range(DIM)])
            z = sum(abs(value) for value in e) - threshold[of]
            keep = 1.0 if z > 0 else 0.0
            slope = 2 - 4 * abs(z) if abs(z) <= 0.4 else 0.4 if abs(z) <= 1 else 0.0
            np.testing.assert_allclose(vectors[i, f].detach().numpy(), keep * mask * e, atol=1e-7)
            for_threshold[of] -= slope * float(g @ (mask * e))
            for_weight[row] += keep * mask * g + slope * float(g @ (mask * e)) * np.sign(e)
    np.testing.assert_allclose(lookup.weight.grad.numpy(), for_weight, atol=1e-5)
    np.testing.assert_allclose(lookup.threshold.grad.numpy(), for_threshold, atol=1e-5)


def test_a_number_by_hand():
    lookup = OptEmbedLookup([2], 2).eval()
    lookup.weight.data = torch.tensor([[0.3, -0.2], [0.1, 0.1]])
    lookup.threshold.data = torch.tensor([0.3])
    # Norms 0.5 and 0.2: z = 0.2 is kept with slope 1.2; z = -0.1 is dropped, with slope 1.6.
    vectors = lookup(torch.tensor([[0], [1]]))
    torch.testing.assert_close(vectors, torch.tensor([[[0.3, -0.2]], [[0.0, 0.0]]]))
    vectors.sum().backward()
    torch.testing.assert_close(lookup.threshold.grad, torch.tensor([-(1.2 * 0.1 + 1.6 * 0.2)]))
    torch.testing.assert_close(lookup.weight.grad, torch.tensor([[1 + 0.12, 1 - 0.12], [0.32, 0.32]]))


def test_thresholds_rise_by_their_own_optimiser_alone():
    lookup = OptEmbedLookup(SIZES, DIM, alpha=0.5, threshold_lr=0.1)
    own = lookup.own_optimizer()
    lookup.penalty().backward()
    assert lookup.penalty().item() == pytest.approx(0.5 * 3)
    own.step()
    torch.testing.assert_close(lookup.threshold.detach(), torch.full((3,), 0.1 * 0.5))
    assert lookup.weight.grad is None


# -- widths --------------------------------------------------------------------------------------------


def test_widths_are_drawn_for_each_record_and_field():
    torch.manual_seed(0)
    lookup = OptEmbedLookup([1, 1], DIM)
    lookup.weight.data.fill_(1.0)
    vectors = lookup(torch.zeros(6000, 2, dtype=torch.long))
    widths = vectors.sum(-1)
    assert torch.equal(vectors, (torch.arange(DIM) < widths[..., None]).float())  # ones, then zeros
    shares = torch.stack([(widths == width).double().mean(0) for width in range(1, DIM + 1)])
    assert (shares - 1 / DIM).abs().max() < 0.03
    assert widths.mean().item() == pytest.approx((DIM + 1) / 2, abs=0.1)
    assert abs(np.corrcoef(widths.detach().numpy().T)[0, 1]) < 0.05


def test_full_width_is_the_supernet():
    lookup = supernet()
    expected = lookup.materialize()
    lookup.use((DIM - 1,) * 3)
    assert torch.equal(lookup.materialize(), expected)
    lookup.use((0, 1, 2))
    assert [int((lookup.table(f) != 0).any(0).sum()) for f in range(3)] in ([1, 2, 3], [1, 0, 3])


@pytest.mark.parametrize("candidate", [(0, 0), (0, 0, DIM), (-1, 0, 0), (0.5, 0, 0), 3])
def test_candidates_that_are_none_are_refused(candidate):
    with pytest.raises((InputError, TypeError), match=r"candidate must be a whole number a field|iterable"):
        supernet().use(candidate)


# -- compact -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("per", "norm"), [("field", 1), ("field", 2), ("row", 1)])
def test_the_compact_form_is_the_masked_one_bit_for_bit(per, norm):
    lookup = supernet(per, norm)
    lookup.use((2, 5, 0))
    compact = lookup.serving()
    kept = lookup.kept_rows()
    assert 0 < kept.sum() < len(kept)
    assert torch.equal(compact.materialize(), lookup.materialize())
    assert torch.equal(compact(records()), lookup(records()))
    assert not lookup.materialize()[~kept].any()
    numbers = sum(int(part.sum()) * width for part, width in zip(kept.split(list(SIZES)), (3, 6, 1), strict=True))
    assert compact.weight.numel() == numbers
    assert compact.nbytes == 4 * numbers + 4 * sum(SIZES)


def test_retraining_starts_from_the_first_weights_and_keeps_both_masks():
    lookup = supernet()
    lookup.use((2, 5, 0))
    first = lookup.initial.clone()
    with torch.no_grad():
        lookup.weight += 0.01
    kept = lookup.kept_rows()
    compact = lookup.for_retraining()
    mask = torch.arange(DIM) < torch.repeat_interleave(torch.tensor([3, 6, 1]), torch.tensor(SIZES))[:, None]
    assert torch.equal(compact.materialize(), first * mask * kept[:, None])
    optimizer = torch.optim.Adam(compact.parameters(), lr=0.1)
    (compact(records()) - 1).square().sum().backward()
    optimizer.step()
    assert not compact.materialize()[~(mask & kept[:, None])].any()
    assert (compact.materialize() != first).any()


def test_retraining_the_compact_form_is_training_under_the_masks():
    lookup = supernet()
    lookup.use((2, 5, 0))
    compact = lookup.for_retraining()
    mask = (compact.materialize() != 0).float()
    masked = torch.nn.Parameter(lookup.initial.clone())
    rows = records() + lookup.offsets
    pairs = [(compact.parameters(), lambda: compact(records())), ([masked], lambda: (masked * mask)[rows])]
    for weights, vectors in pairs:
        optimizer = torch.optim.Adam(weights, lr=0.05)
        for _ in range(5):
            optimizer.zero_grad()
            (vectors() - 1).square().sum().backward()
            optimizer.step()
    torch.testing.assert_close(compact.materialize(), (masked * mask).detach())


def test_degenerate_tables():
    nothing = CompactLookup.from_weight(torch.ones(3, 2), [3], [1], torch.zeros(3, dtype=torch.bool))
    assert torch.equal(nothing.materialize(), torch.zeros(3, 2))
    assert nothing.nbytes == 12
    one = OptEmbedLookup([1], 1).eval()
    assert torch.equal(one.serving().materialize(), one.materialize())
    assert one.train()(torch.empty(0, 1, dtype=torch.long)).shape == (0, 1, 1)
    half = copy.deepcopy(supernet()).half()
    assert half.materialize().dtype == torch.float16
    with pytest.raises(InputError, match=r"kept must be one a value, \(3,\)"):
        CompactLookup.from_weight(torch.ones(3, 2), [3], [1], torch.ones(2))
    with pytest.raises(InputError, match="widths must be a whole number a field"):
        CompactLookup([3], 2, widths=[3], kept=[1])
    with pytest.raises(InputError, match="norm must be 1 or 2; received 3"):
        OptEmbedLookup([3], 2, norm=3)
    with pytest.raises(InputError, match="per must be 'field' or 'row'"):
        OptEmbedLookup([3], 2, per="all")


# -- search --------------------------------------------------------------------------------------------


def hidden(candidate, target=(3, 0, 7, 2, 5)):
    return -sum((gene - goal) ** 2 for gene, goal in zip(candidate, target, strict=True))


SEARCHES = {"evolve": evolve, "random": random_search, "greedy": greedy_search}


@pytest.mark.parametrize("search", SEARCHES)
def test_searches_use_their_budget_and_never_forget_the_best(search):
    seen = []

    def score(candidate):
        assert len(candidate) == 5
        assert all(isinstance(gene, int) and 0 <= gene < 8 for gene in candidate)
        seen.append(candidate)
        return hidden(candidate)

    result = SEARCHES[search](score, 5, 8, budget=137)
    assert len(result.history) == len(seen) <= 137
    assert search == "greedy" or len(seen) == 137
    assert list(result.history) == sorted(result.history)
    assert result.score == hidden(result.candidate) == max(map(hidden, seen)) == result.history[-1]
    again = SEARCHES[search](hidden, 5, 8, budget=137)
    assert again == result


def test_evolution_finds_what_a_search_at_random_does_not():
    scores = {name: search(hidden, 5, 8, budget=600).score for name, search in SEARCHES.items()}
    assert scores["greedy"] == scores["evolve"] == 0 > scores["random"]


def test_another_seed_draws_another_search():
    assert evolve(hidden, 5, 8, budget=40, seed=1).history != evolve(hidden, 5, 8, budget=40, seed=2).history


def test_children_come_from_their_parents_and_leave_them():
    random = np.random.default_rng(0)
    first, second = draw(random, 6, 8), draw(random, 6, 8)
    before = (first, second)
    starts = set()
    for _ in range(200):
        child = crossed(random, first, second)
        cut = next(cut for cut in range(1, 6) if child == first[:cut] + second[cut:])
        starts.add(cut)
        assert all(gene in pair for gene, pair in zip(child, zip(first, second, strict=True), strict=True))
        assert all(0 <= gene < 8 for gene in mutated(random, first, 8, 0.5))
    assert starts == {1, 2, 3, 4, 5}
    assert (first, second) == before
    assert mutated(random, first, 8, 0) == first
    # A redrawn gene is the old one again an eighth of the time.
    changed = np.mean(
        [[a != b for a, b in zip(mutated(random, first, 8, 0.4), first, strict=True)] for _ in range(2000)]
    )
    assert changed == pytest.approx(0.4 * 7 / 8, abs=0.02)
    assert crossed(random, (3,), (4,)) == (3,)


def test_a_search_over_one_field_of_one_column_ends():
    for search in SEARCHES.values():
        assert search(lambda candidate: 1.0, 1, 1, budget=30).candidate == (0,)


@pytest.mark.parametrize("search", SEARCHES.values())
def test_searches_that_cannot_be_are_refused(search):
    with pytest.raises(InputError, match="budget must be at least 1 evaluation; received 0"):
        search(hidden, 5, 8, budget=0)
    with pytest.raises(InputError, match="NaN for"):
        search(lambda candidate: float("nan"), 5, 8)


def test_generations_without_children_are_refused():
    with pytest.raises(InputError, match="must be at least 1; received keep=0"):
        evolve(hidden, 5, 8, keep=0)
    with pytest.raises(InputError, match="children=0"):
        evolve(hidden, 5, 8, children=0)


def test_the_supernet_is_searched():
    lookup = supernet()
    target = lookup.materialize()
    target[:, 3:] = 0

    def score(candidate):
        lookup.use(candidate)
        return -float((lookup.materialize() - target).square().sum())

    found = evolve(score, 3, DIM, budget=150)
    # The one value of the second field may be dropped, which makes its width free.
    assert (found.candidate[0], found.candidate[2]) == (2, 2)
    assert found.score == 0
