import math

import pytest
import torch
from torch import nn

from embedkit.errors import InputError
from embedkit.losses import CoSENTLoss, InfoNCELoss, MatryoshkaLoss, StarbucksLoss
from embedkit.ops.similarity import dot_product

LAYERS, COUNT, DIM = 4, 6, 16
PAIRS = [(1, 4), (2, 8), (4, 16)]
SCORES = torch.linspace(0, 1, COUNT)


def grids(number=2, *, seed=0, shape=(LAYERS, COUNT, DIM)):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, requires_grad=True) for _ in range(number)]


def nothing(*tensors):
    """A loss that leaves what is distilled."""
    return tensors[0].sum() * 0


def softmax(row):
    weights = [math.exp(number) for number in row]
    return [weight / sum(weights) for weight in weights]


def kl_by_loops(teacher, student, temperature):
    total = 0.0
    for wanted, given in zip(teacher, student, strict=True):
        p, q = (softmax([number / temperature for number in row]) for row in (wanted, given))
        total += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    return total / len(teacher)


def cosines_by_loops(first, others):
    return [
        [sum(a * b for a, b in zip(x, y, strict=True)) / math.hypot(*x) / math.hypot(*y) for y in others] for x in first
    ]


@pytest.mark.parametrize("number", [2, 3])
def test_scores_in_loops_give_the_same(number):
    tensors = grids(number)
    expected = 0.0
    for layer, dim in PAIRS:
        cut = [each[layer - 1, :, :dim] for each in tensors]
        expected += InfoNCELoss()(*cut).item()
        teacher, student = (
            cosines_by_loops(first.tolist(), [row for each in others for row in each.tolist()])
            for first, *others in ([each[-1] for each in tensors], cut)
        )
        expected += 0.7 * kl_by_loops(teacher, student, 0.2)

    loss = StarbucksLoss(InfoNCELoss(), PAIRS, kl_weight=0.7, temperature=0.2)(*tensors)

    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_coordinates_in_loops_give_the_same():
    first, second = grids()
    expected = 0.0
    for layer, dim in PAIRS:
        expected += CoSENTLoss()(first[layer - 1, :, :dim], second[layer - 1, :, :dim], SCORES).item()
        teacher, student = (
            [row[:dim] for each in (first, second) for row in each[at].tolist()] for at in (-1, layer - 1)
        )
        expected += 0.3 * kl_by_loops(teacher, student, 1.0)

    loss = StarbucksLoss(CoSENTLoss(), PAIRS, kl="coordinates", kl_weight=0.3)(first, second, SCORES)

    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_one_tensor_of_embeddings_is_compared_with_its_other_rows():
    (embeddings,) = grids(1)
    teacher, student = (
        cosines_by_loops(each.tolist(), each.tolist()) for each in (embeddings[-1], embeddings[0, :, :4])
    )
    for similarities in (teacher, student):
        for place, row in enumerate(similarities):
            del row[place]

    loss = StarbucksLoss(nothing, [(1, 4)], temperature=0.2)(embeddings)

    assert loss.item() == pytest.approx(kl_by_loops(teacher, student, 0.2), rel=1e-5)


def test_worked_by_hand():
    # Layer 2 finds each second vector where it is (cosines 1 and 0), layer 1 sees no difference (both 0).
    first = torch.stack([torch.tensor([[0.0, 0.0, 1.0]] * 2), torch.eye(3)[:2]])
    second = torch.eye(3)[:2].expand(2, 2, 3)
    p = math.e / (1 + math.e)
    expected = p * math.log(2 * p) + (1 - p) * math.log(2 * (1 - p))

    assert StarbucksLoss(nothing, [(1, 3)], temperature=1.0)(first, second).item() == pytest.approx(expected)


@pytest.mark.parametrize("kl", ["scores", "coordinates", None])
def test_the_full_cell_alone_is_the_wrapped_loss(kl):
    ours, plain = grids(3), grids(3)

    value = StarbucksLoss(InfoNCELoss(), [(LAYERS, DIM)], kl=kl, kl_weight=5.0)(*ours)
    expected = InfoNCELoss()(*(each[-1] for each in plain))
    value.backward()
    expected.backward()

    assert torch.equal(value, expected)
    assert all(torch.equal(one.grad, other.grad) for one, other in zip(ours, plain, strict=True))


def test_without_weight_only_the_cells_are_left():
    first, second = grids()
    cells = sum(InfoNCELoss()(first[layer - 1, :, :dim], second[layer - 1, :, :dim]) for layer, dim in PAIRS)

    for options in ({"kl": None}, {"kl_weight": 0.0}, {"kl": "coordinates", "kl_weight": 0}):
        torch.testing.assert_close(StarbucksLoss(InfoNCELoss(), PAIRS, **options)(first, second), cells)


@pytest.mark.parametrize("kl", ["scores", "coordinates"])
def test_the_order_of_summing_does_not_matter(kl):
    tensors = grids()

    alone = [StarbucksLoss(InfoNCELoss(), [pair], kl=kl)(*tensors) for pair in reversed(PAIRS)]

    torch.testing.assert_close(StarbucksLoss(InfoNCELoss(), PAIRS, kl=kl)(*tensors), sum(alone))


@pytest.mark.parametrize("kl", ["scores", "coordinates"])
def test_the_teacher_gets_no_gradient(kl):
    tensors = grids()

    StarbucksLoss(nothing, [(1, 4), (2, 8)], kl=kl)(*tensors).backward()

    for each in tensors:
        assert (each.grad[-1] == 0).all()
        assert (each.grad[0, :, :4] != 0).all()
        assert (each.grad[0, :, 4:] == 0).all()
        assert (each.grad[2] == 0).all()


@pytest.mark.parametrize("kl", ["scores", "coordinates"])
def test_layers_that_are_equal_have_nothing_to_teach(kl):
    same = [each[-1:].detach().expand(LAYERS, COUNT, DIM) for each in grids()]

    assert StarbucksLoss(nothing, [(1, DIM), (3, DIM)], kl=kl)(*same).item() == pytest.approx(0, abs=1e-6)


def test_descending_the_divergence_brings_the_students_scores_to_the_teachers():
    first, second = grids()
    loss = StarbucksLoss(nothing, [(1, 8)], temperature=0.5)
    optimizer = torch.optim.Adam([first, second], lr=0.05)
    before = loss(first, second).item()

    for _ in range(60):
        optimizer.zero_grad()
        loss(first, second).backward()
        optimizer.step()

    assert loss(first, second).item() < before / 20


def test_the_scores_can_be_inner_products():
    first, second = grids()
    inner = StarbucksLoss(nothing, [(1, 4)], similarity=dot_product, temperature=2.0)(first, second)

    teacher, student = ((first[at, :, :dim] @ second[at, :, :dim].T).tolist() for at, dim in ((-1, DIM), (0, 4)))

    assert inner.item() == pytest.approx(kl_by_loops(teacher, student, 2.0), rel=1e-5)


def test_a_matryoshka_within_and_a_matryoshka_around():
    tensors = grids()
    within = StarbucksLoss(MatryoshkaLoss(InfoNCELoss(), [2, 4]), PAIRS, kl=None)(*tensors)
    around = MatryoshkaLoss(StarbucksLoss(InfoNCELoss(), [(2, 4)], kl=None), [4, 8])(*tensors)

    plain = [InfoNCELoss()(*(each[layer - 1, :, :dim] for each in tensors)) for layer, _ in PAIRS for dim in (2, 4)]

    torch.testing.assert_close(within, sum(plain))
    torch.testing.assert_close(around, 2 * StarbucksLoss(InfoNCELoss(), [(2, 4)], kl=None)(*tensors))


def test_weights_of_the_wrapped_loss_are_registered():
    class Learned(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, first, second):
            return self.scale * (first - second).square().mean()

    loss = StarbucksLoss(Learned(), PAIRS)
    loss(*grids()).backward()

    assert [name for name, _ in loss.named_parameters()] == ["loss.scale"]
    assert loss.loss.scale.grad != 0


@pytest.mark.parametrize("kl", ["scores", "coordinates"])
@pytest.mark.parametrize("number", [1, 2])
def test_a_batch_of_one_has_a_gradient(kl, number):
    tensors = grids(number, shape=(LAYERS, 1, DIM))

    StarbucksLoss(nothing, PAIRS, kl=kl)(*tensors).backward()

    assert all(torch.isfinite(each.grad).all() for each in tensors)


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        ([], "pairs must be"),
        (None, "pairs must be"),
        ([1, 2], "pairs must be"),
        ([(1, 2, 3)], "pairs must be"),
        ([(0, 4)], "num_layers of a pair must be an integer, 1 or more; received 0"),
        ([(-1, 4)], "num_layers of a pair"),
        ([(1, 0)], "dim of a pair must be an integer, 1 or more; received 0"),
        ([(1, 4.0)], "dim of a pair"),
        ([(2, 4), (1, 8)], r"must ascend in layers and dimensions; received \(1, 8\) after \(2, 4\); sort them"),
        ([(1, 8), (2, 4)], "must ascend"),
        ([(1, 8), (1, 8)], "must ascend"),
    ],
)
def test_pairs_out_of_order_or_range_are_refused_at_once(pairs, said):
    with pytest.raises(InputError, match=said):
        StarbucksLoss(CoSENTLoss(), pairs)


def test_pairs_may_share_a_layer_or_a_width():
    assert StarbucksLoss(InfoNCELoss(), [(1, 4), (1, 8), (4, 8)])(*grids()).shape == ()


@pytest.mark.parametrize("pair", [(LAYERS + 1, DIM), (LAYERS, DIM + 1)])
def test_pairs_beyond_the_model_are_refused_when_it_is_seen(pair):
    with pytest.raises(InputError, match="within the embeddings' 4 layers and 16 dimensions; received"):
        StarbucksLoss(InfoNCELoss(), [(1, 4), pair])(*grids())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"kl": "logits"}, "kl must be one of 'scores', 'coordinates', None; received 'logits'"),
        ({"kl_weight": -0.1}, "kl_weight must be a finite number, 0 or more"),
        ({"kl_weight": math.nan}, "kl_weight must be"),
        ({"temperature": 0}, "temperature must be a finite number above 0; received 0"),
        ({"temperature": True}, "temperature must be"),
        ({"temperature": "0.05"}, "temperature must be"),
        ({"loss": CoSENTLoss}, "pass an instance"),
        ({"similarity": "cosine"}, "similarity must be a function"),
    ],
)
def test_wrong_settings_are_refused(options, said):
    with pytest.raises(InputError, match=said):
        StarbucksLoss(**{"loss": CoSENTLoss(), "pairs": PAIRS, **options})


def test_embeddings_that_are_not_by_layer_are_refused():
    first, second = grids()
    loss = StarbucksLoss(InfoNCELoss(), PAIRS)

    for wrong in ((first[-1], second[-1]), (first, second[-1]), (first, second[1:]), (first, second[..., 1:])):
        with pytest.raises(InputError, match=r"shape \(layers, n, dim\), with the same layers and dim.*stack"):
            loss(*wrong)
    with pytest.raises(InputError, match="must be embeddings"):
        loss(torch.arange(4))
