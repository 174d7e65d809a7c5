from functools import partial

import pytest
import torch

from embedkit.errors import InputError
from embedkit.ops.mining import (
    all_triplets,
    distance_weighted_triplets,
    hard_triplets,
    positive_aware_triplets,
    semi_hard_triplets,
)

MINERS = [all_triplets, hard_triplets, semi_hard_triplets, distance_weighted_triplets, positive_aware_triplets]
# Cosines to the first: 0.8, 0.96, 0.6, 0.28.
CIRCLE = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.96, 0.28], [0.6, 0.8], [0.28, 0.96]])


def batch(*, count=14, dim=4, classes=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(count, dim, generator=generator, dtype=torch.float64)
    return embeddings, torch.randint(0, classes, (count,), generator=generator)


def listed(triplets):
    return list(zip(*(each.tolist() for each in triplets), strict=True))


def cosines_of(embeddings):
    unit = torch.nn.functional.normalize(embeddings, dim=1)
    return (unit @ unit.T).tolist()


def pairs_in_loops(labels):
    """Anchor, positive, and the negatives of both."""
    labels = labels.tolist()
    rows = range(len(labels))
    return [
        (a, p, [n for n in rows if labels[n] != labels[a]])
        for a in rows
        for p in rows
        if p != a and labels[p] == labels[a]
    ]


def hard_in_loops(embeddings, labels):
    cosines, found = cosines_of(embeddings), {}
    for a, p, negatives in pairs_in_loops(labels):
        if negatives and (a not in found or cosines[a][p] < cosines[a][found[a][1]]):
            found[a] = (a, p, max(negatives, key=lambda n: cosines[a][n]))
    return [found[a] for a in sorted(found)]


def semi_hard_in_loops(embeddings, labels, margin):
    cosines, found = cosines_of(embeddings), []
    for a, p, negatives in pairs_in_loops(labels):
        near = 2 - 2 * cosines[a][p]
        fits = {n: 2 - 2 * cosines[a][n] for n in negatives if near < 2 - 2 * cosines[a][n] < near + margin}
        found += [(a, p, min(fits, key=fits.get))] if fits else []
    return found


def positive_aware_in_loops(embeddings, labels, share):
    cosines, found = cosines_of(embeddings), []
    for a, p, negatives in pairs_in_loops(labels):
        own = cosines[a][p]
        bound = share * own if own > 0 else (2 - share) * own
        fits = {n: cosines[a][n] for n in negatives if cosines[a][n] <= bound}
        found += [(a, p, max(fits, key=fits.get))] if fits else []
    return found


def probabilities(embeddings, labels, anchor, cutoff, upper):
    """Of each negative, from the density itself."""
    dim = embeddings.shape[1]
    weights = torch.zeros(len(labels), dtype=torch.float64)
    for n in range(len(labels)):
        distance = max(0.0, 2 - 2 * cosines_of(embeddings)[anchor][n]) ** 0.5
        if labels[n] != labels[anchor] and distance <= upper:
            near = max(distance, cutoff)
            weights[n] = 1 / (near ** (dim - 2) * (1 - near**2 / 4) ** ((dim - 3) / 2))
    return weights / weights.sum()


@pytest.mark.parametrize("seed", range(3))
def test_all_in_loops(seed):
    embeddings, labels = batch(seed=seed)
    expected = [(a, p, n) for a, p, negatives in pairs_in_loops(labels) for n in negatives]
    assert listed(all_triplets(embeddings, labels)) == expected


@pytest.mark.parametrize("seed", range(3))
def test_hard_in_loops(seed):
    embeddings, labels = batch(seed=seed)
    labels[3] = 99  # alone
    assert listed(hard_triplets(embeddings, labels)) == hard_in_loops(embeddings, labels)


@pytest.mark.parametrize("margin", [0.1, 0.7, 4.0])
@pytest.mark.parametrize("seed", range(3))
def test_semi_hard_in_loops(seed, margin):
    embeddings, labels = batch(seed=seed)
    found = listed(semi_hard_triplets(embeddings, labels, margin=margin))
    assert found == semi_hard_in_loops(embeddings, labels, margin)
    assert 0 < len(found) < len(pairs_in_loops(labels))


@pytest.mark.parametrize("share", [0.0, 0.5, 0.95, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_positive_aware_in_loops(seed, share):
    embeddings, labels = batch(seed=seed)
    found = listed(positive_aware_triplets(embeddings, labels, share=share))
    assert found == positive_aware_in_loops(embeddings, labels, share)
    assert 0 < len(found) < len(pairs_in_loops(labels))


@pytest.mark.parametrize("dim", [2, 3, 6])
def test_distance_weighted_draws_by_the_density(dim):
    embeddings, _ = batch(count=200, dim=dim, seed=1)
    embeddings[:, 0] += 1.5  # so that not all are far apart
    embeddings[:192] = embeddings[0]  # equal anchors, of 192 · 191 pairs
    labels = torch.tensor([0] * 192 + [1, 1, 2, 2, 3, 3, 4, 5])
    expected = probabilities(embeddings[191:], labels[191:], 0, 0.4, 1.3)
    assert (expected > 0).sum() > 3

    anchors, _, negatives = distance_weighted_triplets(embeddings, labels, cutoff=0.4, upper=1.3)

    counts = negatives[anchors < 192].bincount(minlength=200)[191:]
    assert (counts[expected == 0] == 0).all()
    torch.testing.assert_close(counts / (192 * 191), expected.float(), rtol=0, atol=0.01)


def test_distance_weighted_gives_each_pair_one_negative_of_its_own_draw():
    embeddings, _ = batch(count=60, dim=3)
    labels = torch.arange(60) % 2
    anchors, positives, negatives = distance_weighted_triplets(embeddings, labels)
    assert list(zip(anchors.tolist(), positives.tolist(), strict=True)) == [
        (a, p) for a, p, _ in pairs_in_loops(labels)
    ]
    assert (labels[anchors] != labels[negatives]).all()
    assert len(negatives[anchors == 0].unique()) > 5


def test_distance_weighted_depends_on_its_seed_alone():
    embeddings, labels = batch(count=30)
    before = torch.get_rng_state()
    one, same, other = (distance_weighted_triplets(embeddings, labels, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    assert listed(one) == listed(same) != listed(other)


@pytest.mark.parametrize("dim", [1, 2, 3, 4, 2048])
def test_distance_weighted_is_finite_for_any_width_and_up_to_opposite_rows(dim):
    embeddings = torch.zeros(4, dim)
    embeddings[:, 0] = torch.tensor([1.0, 1.0, -1.0, 1.0])
    found = listed(distance_weighted_triplets(embeddings, torch.tensor([0, 0, 1, 1]), upper=2.0))
    assert [(a, p) for a, p, _ in found] == [(0, 1), (1, 0), (2, 3), (3, 2)]
    assert all((n in (2, 3)) == (a in (0, 1)) for a, _, n in found)


def test_distance_weighted_leaves_out_anchors_whose_negatives_are_all_far():
    labels = torch.tensor([0, 1, 0, 0, 0])
    anchors, _, negatives = distance_weighted_triplets(
        CIRCLE, labels, upper=0.7
    )  # to the second: 0.63, 0.36, 0.28, 0.63
    assert anchors.unique().tolist() == [0, 2, 3, 4]
    assert (negatives == 1).all()
    assert distance_weighted_triplets(CIRCLE, labels, upper=0.6)[0].unique().tolist() == [2, 3]


def test_worked_by_hand():
    labels = torch.tensor([0, 0, 1, 2, 3])
    assert listed(all_triplets(CIRCLE, labels)) == [(a, 1 - a, n) for a in (0, 1) for n in (2, 3, 4)]
    # From the second: 0.936 to the third, 0.96 to the fourth, 0.8 to the fifth and to its positive.
    assert listed(hard_triplets(CIRCLE, labels)) == [(0, 1, 2), (1, 0, 3)]
    # Squared distances from the first: 0.4 to its positive, then 0.08, 0.8, 1.44.
    assert listed(semi_hard_triplets(CIRCLE[:4], labels[:4], margin=0.41)) == [(0, 1, 3)]
    assert listed(semi_hard_triplets(CIRCLE[:4], labels[:4], margin=0.39)) == []
    assert listed(positive_aware_triplets(CIRCLE, labels, share=0.76))[0] == (0, 1, 3)
    assert listed(positive_aware_triplets(CIRCLE, labels, share=0.74)) == [(0, 1, 4)]


def test_a_positive_at_an_obtuse_angle_bounds_from_below():
    embeddings = torch.tensor([[1.0, 0.0], [-0.6, 0.8], [-0.58, -0.8146], [-0.8, 0.6]])
    labels = torch.tensor([0, 0, 1, 2])
    # -0.58 is more similar than the positive; -0.8 is less by a third of 0.6.
    assert listed(positive_aware_triplets(embeddings, labels, share=0.9))[0] == (0, 1, 3)
    assert 0 not in positive_aware_triplets(embeddings, labels, share=0.6)[0]


@pytest.mark.parametrize("mine", [hard_triplets, partial(semi_hard_triplets, margin=0.5), positive_aware_triplets])
def test_lengths_do_not_matter(mine):
    embeddings, labels = batch()
    assert listed(mine(embeddings * torch.arange(1, 15)[:, None], labels)) == listed(mine(embeddings, labels))


def test_a_negative_as_far_as_the_positive_is_not_semi_hard_but_less_similar_by_nothing():
    embeddings, labels = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0], [-1.0, 0.0]]), torch.tensor([0, 0, 1, 2])
    assert listed(semi_hard_triplets(embeddings, labels, margin=4.0)) == [(0, 1, 3), (1, 0, 2)]
    assert listed(positive_aware_triplets(embeddings, labels, share=1.0)) == [(0, 1, 2), (1, 0, 3)]


@pytest.mark.parametrize("seed", range(20))
def test_distance_weighted_may_draw_equal_rows_whose_cosine_rounds_above_one(seed):
    embeddings = torch.randn(1, 7, generator=torch.Generator().manual_seed(seed)).repeat(3, 1)
    assert listed(distance_weighted_triplets(embeddings, torch.tensor([0, 0, 1]))) == [(0, 1, 2), (1, 0, 2)]


def test_a_wide_margin_and_a_full_share_differ_in_ties_only():
    embeddings, labels = batch()
    wide = semi_hard_triplets(embeddings, labels, margin=torch.inf)
    assert listed(wide) == listed(positive_aware_triplets(embeddings, labels, share=1.0))


@pytest.mark.parametrize("mine", MINERS)
@pytest.mark.parametrize("labels", [[], [3], [1, 1, 1], [0, 1, 2], [5, 2]], ids=str)
def test_batches_without_triplets_give_none(mine, labels):
    embeddings = torch.randn(len(labels), 3, generator=torch.Generator().manual_seed(0))
    triplets = mine(embeddings, torch.tensor(labels, dtype=torch.int64))
    assert [(each.dtype, each.shape) for each in triplets] == [(torch.int64, (0,))] * 3


@pytest.mark.parametrize("mine", MINERS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("value", [0.0, 1e-20, 1.0, 1e3, torch.nan])
def test_equal_rows_of_any_kind_give_triplets_or_none(mine, dtype, value):
    labels = torch.tensor([4, 4, -2, -2, 9], dtype=torch.int16)
    anchors, positives, negatives = mine(torch.full((5, 3), value, dtype=dtype, requires_grad=True), labels)
    assert (labels[anchors] == labels[positives]).all()
    assert (labels[anchors] != labels[negatives]).all()
    assert (anchors != positives).all()


@pytest.mark.parametrize("mine", MINERS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_widened(mine, dtype):
    embeddings, labels = batch()
    assert listed(mine(embeddings.to(dtype), labels)) == listed(mine(embeddings.to(dtype).float(), labels.int()))


@pytest.mark.parametrize("mine", MINERS)
def test_the_order_is_by_anchor_then_positive(mine):
    embeddings, labels = batch(count=40)
    pairs = [(a, p) for a, p, _ in listed(mine(embeddings, labels))]
    assert pairs == sorted(pairs)
    assert len(pairs) > 10


@pytest.mark.parametrize(
    ("mine", "setting"),
    [
        (semi_hard_triplets, {"margin": 0.0}),
        (semi_hard_triplets, {"margin": torch.nan}),
        (distance_weighted_triplets, {"cutoff": 0.0}),
        (distance_weighted_triplets, {"cutoff": 1.5}),
        (distance_weighted_triplets, {"upper": 2.1}),
        (positive_aware_triplets, {"share": -0.1}),
        (positive_aware_triplets, {"share": 1.1}),
    ],
)
def test_settings_out_of_range_are_refused(mine, setting):
    with pytest.raises(InputError, match=rf"{next(iter(setting))}.* must be.*received"):
        mine(*batch(), **setting)
