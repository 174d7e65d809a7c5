"""What every loss must do, whichever of the shelf's call signatures it has."""

import copy
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from embedkit.errors import InputError
from embedkit.losses import (
    ArcFaceLoss,
    CACRLoss,
    ClassRelationLoss,
    ContrastiveLoss,
    CoSENTLoss,
    EnergyConfusionLoss,
    EspressoLoss,
    GrassmannLoss,
    ICNNLoss,
    InfoNCELoss,
    MatryoshkaLoss,
    MetrixLoss,
    MultiSimilarityLoss,
    NormDirectionLoss,
    PairContrastiveLoss,
    ProtoTripletLoss,
    ProxyAnchorLoss,
    SBCLLoss,
    SigmoidPairLoss,
    SimLAPLoss,
    SoftmaxLoss,
    StarbucksLoss,
    SupConLoss,
    TripletLoss,
    TwoDMatryoshkaLoss,
)
from embedkit.ops.mining import hard_triplets
from embedkit.ops.targets import same_key

COUNT, DIM, LAYERS, CLASSES = 6, 16, 3, 3
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


def in_subclasses(loss):
    loss.begin_epoch(0, lambda: np.eye(3))
    return loss


@dataclass(frozen=True)
class Batch:
    """Random arguments of one call signature; `by_layer` gives the embeddings an axis of layers."""

    embeddings: int
    scores: bool = False
    labels: bool = False
    by_layer: bool = False

    def __call__(self, *, count=COUNT, dim=DIM, seed=0, dtype=torch.float32):
        generator = torch.Generator().manual_seed(seed)
        shape = (LAYERS, count, dim) if self.by_layer else (count, dim)
        tensors = [torch.randn(shape, generator=generator).to(dtype).requires_grad_() for _ in range(self.embeddings)]
        order = torch.randperm(count, generator=generator)
        return [*tensors, *([order / 7] if self.scores else []), *([order % CLASSES] if self.labels else [])]


CONTRASTIVE, GRADED, LABELLED = Batch(3), Batch(2, scores=True), Batch(1, labels=True)
PAIRS, KEYED = Batch(2), Batch(2, labels=True)
LAYERED_CONTRASTIVE, LAYERED_GRADED = Batch(3, by_layer=True), Batch(2, scores=True, by_layer=True)

LOSSES = {
    "CoSENTLoss": (lambda: CoSENTLoss(temperature=0.1), GRADED),
    "InfoNCELoss": (lambda: InfoNCELoss(in_batch=True), CONTRASTIVE),
    "InfoNCELoss, own negatives": (lambda: InfoNCELoss(in_batch=False), CONTRASTIVE),
    "PairContrastiveLoss": (lambda: PairContrastiveLoss(temperature=0.1), PAIRS),
    "PairContrastiveLoss, keys": (lambda: PairContrastiveLoss(target=same_key, smoothing=0.1), KEYED),
    "ClassRelationLoss": (lambda: ClassRelationLoss(temperature=1.0), PAIRS),
    "ClassRelationLoss, sharp": (lambda: ClassRelationLoss(temperature=0.5, softening=1.0), PAIRS),
    "SigmoidPairLoss": (lambda: SigmoidPairLoss(temperature=1.0, bias=-1.0), PAIRS),
    "SigmoidPairLoss, chunks": (lambda: SigmoidPairLoss(temperature=1.0, bias=-1.0, chunk_size=4), PAIRS),
    "SoftmaxLoss": (lambda: SoftmaxLoss(DIM, CLASSES), LABELLED),
    "SupConLoss": (lambda: SupConLoss(temperature=0.2), LABELLED),
    "CACRLoss": (lambda: CACRLoss(negative_sharpness=1.0), LABELLED),
    "ProtoTripletLoss": (lambda: ProtoTripletLoss(margin=1.0), LABELLED),
    "ContrastiveLoss": (lambda: ContrastiveLoss(margin=0.2), LABELLED),
    "MultiSimilarityLoss": (lambda: MultiSimilarityLoss(negative_scale=5.0), LABELLED),
    "TripletLoss": (lambda: TripletLoss(margin=0.5), LABELLED),
    "TripletLoss, hard": (lambda: TripletLoss(margin=0.5, miner=hard_triplets), LABELLED),
    "ArcFaceLoss": (lambda: ArcFaceLoss(DIM, CLASSES, scale=8.0, seed=1), LABELLED),
    "ProxyAnchorLoss": (lambda: ProxyAnchorLoss(DIM, CLASSES, scale=8.0), LABELLED),
    "ICNNLoss": (lambda: ICNNLoss(k=3), LABELLED),
    "SimLAPLoss": (lambda: SimLAPLoss(DIM, CLASSES), LABELLED),
    "GrassmannLoss": (lambda: GrassmannLoss(DIM, CLASSES, rank=4), LABELLED),
    "SBCLLoss": (lambda: in_subclasses(SBCLLoss([0, 0, 0], weight=0.5, min_cluster_size=1, warmup=0)), LABELLED),
    "MetrixLoss": (lambda: MetrixLoss(MultiSimilarityLoss(negative_scale=5.0)), LABELLED),
    "MetrixLoss, of the anchor itself": (lambda: MetrixLoss(ContrastiveLoss(), num_negatives=1, seed=1), LABELLED),
    "NormDirectionLoss": (lambda: NormDirectionLoss(SupConLoss(), np.eye(3, DIM), [0, 0, 1]), LABELLED),
    "EnergyConfusionLoss": (lambda: EnergyConfusionLoss(SupConLoss()), LABELLED),
    "EnergyConfusionLoss, no logarithm": (lambda: EnergyConfusionLoss(ProtoTripletLoss(), log=False), LABELLED),
    "MatryoshkaLoss": (lambda: MatryoshkaLoss(CoSENTLoss(), [2, 8]), GRADED),
    "TwoDMatryoshkaLoss": (lambda: TwoDMatryoshkaLoss(CoSENTLoss(), [2, 8]), LAYERED_GRADED),
    "TwoDMatryoshkaLoss, other form": (
        lambda: TwoDMatryoshkaLoss(InfoNCELoss(), [2, 8], form="sentence_transformers"),
        LAYERED_CONTRASTIVE,
    ),
    "EspressoLoss": (lambda: EspressoLoss(CoSENTLoss(), 4), LAYERED_GRADED),
    "StarbucksLoss": (lambda: StarbucksLoss(InfoNCELoss(), [(1, 2), (2, 4), (3, 8)]), LAYERED_CONTRASTIVE),
    "StarbucksLoss, coordinates": (
        lambda: StarbucksLoss(CoSENTLoss(), [(1, 2), (2, 4), (3, 8)], kl="coordinates"),
        LAYERED_GRADED,
    ),
}
WRAPPERS = {
    "MatryoshkaLoss": lambda loss: MatryoshkaLoss(loss, [2, 8]),
    "EnergyConfusionLoss": lambda loss: EnergyConfusionLoss(loss, weight=0.1),
    "TwoDMatryoshkaLoss": lambda loss: TwoDMatryoshkaLoss(loss, [2, 8]),
    "EspressoLoss": lambda loss: EspressoLoss(loss, 4),
    "StarbucksLoss": lambda loss: StarbucksLoss(loss, [(1, 2), (3, 8)]),
}


@pytest.fixture(params=LOSSES)
def case(request):
    return LOSSES[request.param]


@pytest.fixture
def loss(case):
    return case[0]()


@pytest.fixture
def batch(case):
    return case[1]


def embeddings_of(tensors):
    return [tensor for tensor in tensors if tensor.ndim > 1]


def check_backward(loss, tensors):
    """A finite 0-d value whose gradient is finite and reaches every embedding."""
    value = loss(*tensors)
    assert value.shape == ()
    assert torch.isfinite(value)
    value.backward()
    for each in embeddings_of(tensors):
        assert each.grad.shape == each.shape
        assert each.grad.dtype == each.dtype
        assert torch.isfinite(each.grad).all()
    return value


def test_a_batch_gives_a_positive_number_and_gradients(loss, batch):
    tensors = batch()
    before = [tensor.detach().clone() for tensor in tensors]

    assert check_backward(loss, tensors) > 0

    assert all((each.grad != 0).any() for each in embeddings_of(tensors))
    assert all(torch.equal(one, other) for one, other in zip(tensors, before, strict=True))


def test_the_same_batch_gives_the_same_number(case):
    make, batch = case

    assert torch.equal(make()(*batch()), make()(*batch()))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_precision_gives_nearly_the_same(case, dtype):
    make, batch = case
    tensors = batch(dtype=dtype)
    exact = [tensor.detach().double() if tensor.ndim > 1 else tensor for tensor in tensors]

    value = check_backward(make(), tensors)

    assert value.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    torch.testing.assert_close(value.double(), make()(*exact), rtol=1e-4, atol=1e-4)


def test_autocast_changes_nothing(case):
    make, batch = case
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = check_backward(make(), batch())

    torch.testing.assert_close(value, make()(*batch()))


@pytest.mark.parametrize("count", [0, 1, 2])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_small_batches_have_gradients(loss, batch, count, dtype):
    check_backward(loss, batch(count=count, dtype=dtype))


@pytest.mark.parametrize("value", [0.0, 1e-20, 1.0, 1e3])
def test_equal_embeddings_of_any_size_have_gradients(loss, batch, value):
    tensors = [
        torch.full_like(tensor, value).requires_grad_() if tensor.ndim > 1 else torch.ones_like(tensor)
        for tensor in batch()
    ]

    check_backward(loss, tensors)


@pytest.mark.parametrize("scale", [1e-6, 1e3])
def test_short_and_long_embeddings_have_gradients(loss, batch, scale):
    check_backward(loss, [(t.detach() * scale).requires_grad_() if t.ndim > 1 else t for t in batch()])


def test_what_is_not_a_number_comes_out_as_such(loss, batch):
    tensors = [tensor.detach().clone() for tensor in batch()]
    for each in embeddings_of(tensors):
        each[..., 0] = torch.nan

    assert torch.isnan(loss(*tensors))


def test_the_order_of_rows_does_not_matter(case):
    make, batch = case
    turn = torch.tensor([3, 0, 5, 1, 4, 2])
    tensors = [tensor.detach() for tensor in batch()]
    turned = [tensor[..., turn, :] if tensor.ndim > 1 else tensor[turn] for tensor in tensors]

    torch.testing.assert_close(make()(*turned), make()(*tensors), rtol=1e-4, atol=1e-5)


def test_the_layout_in_memory_does_not_matter(case):
    make, batch = case
    tensors = batch()
    spread = [tensor.repeat_interleave(2, dim=-1)[..., ::2] for tensor in tensors]

    torch.testing.assert_close(make()(*spread), make()(*tensors))


def test_a_step_down_the_gradient_makes_it_smaller(case):
    make, batch = case
    tensors = batch(dtype=torch.float64)
    value = make()(*tensors)
    value.backward()
    stepped = [each.detach() - 1e-5 * each.grad if each.ndim > 1 else each for each in tensors]

    assert make()(*stepped) < value


def test_no_gradient_is_needed(case):
    make, batch = case
    expected = make()(*batch()).detach()

    with torch.inference_mode():
        assert torch.equal(make()(*batch()), expected)


def test_the_global_generators_are_left_alone(loss, batch):
    tensors = batch()
    before = torch.get_rng_state()

    loss(*tensors)

    assert torch.equal(torch.get_rng_state(), before)


def test_a_copy_and_a_restored_one_go_on_alike(case):
    make, batch = case
    loss, restored = make(), make()
    loss(*batch())
    twin = copy.deepcopy(loss)
    restored.load_state_dict(loss.state_dict())

    values = [[one(*batch()).item() for _ in range(3)] for one in (loss, twin, restored)]

    assert values[0] == values[1] == values[2]


def test_it_works_under_a_matryoshka(case):
    make, batch = case
    tensors = [tensor.detach() for tensor in batch()]
    widths = (8, DIM)
    one, other = make(), make()

    value = MatryoshkaLoss(one, widths)(*tensors)

    cut = [[tensor[..., :width] if tensor.ndim > 1 else tensor for tensor in tensors] for width in widths]
    torch.testing.assert_close(value, sum(other(*each) for each in cut))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda tensor: tensor[..., :-1, :],
        lambda tensor: tensor[..., 0],
        lambda tensor: tensor.detach().long(),
        lambda tensor: tensor.detach().to(torch.complex64),
        lambda tensor: tensor.detach().numpy(),
        lambda tensor: tensor.tolist(),
        lambda _: None,
    ],
    ids=["fewer rows", "an axis less", "integers", "complex", "an array", "a list", "nothing"],
)
@pytest.mark.parametrize("place", [0, 1])
def test_a_wrong_argument_is_refused(loss, batch, spoil, place):
    tensors = batch()
    place = min(place, batch.embeddings - 1)
    tensors[place] = spoil(tensors[place])

    with pytest.raises(InputError, match=r"must.*received"):
        loss(*tensors)


@pytest.mark.parametrize("scores", [torch.ones(COUNT + 1), torch.ones(COUNT, 1).long(), np.ones(COUNT), None])
@pytest.mark.parametrize("name", [name for name, (_, batch) in LOSSES.items() if batch.scores])
def test_wrong_scores_are_refused(name, scores):
    make, batch = LOSSES[name]

    with pytest.raises(InputError, match=r"scores must be.*received"):
        make()(*batch()[:-1], scores)


@pytest.mark.parametrize(
    "labels",
    [torch.zeros(COUNT), torch.zeros(COUNT + 1).long(), torch.zeros(COUNT, 1).long(), torch.ones(COUNT).bool(), None],
)
@pytest.mark.parametrize("name", [name for name, (_, batch) in LOSSES.items() if batch.labels])
def test_wrong_labels_are_refused(name, labels):
    make, batch = LOSSES[name]

    with pytest.raises(InputError, match=r"labels must be.*received"):
        make()(*batch()[:-1], labels)


@pytest.mark.parametrize("name", WRAPPERS)
def test_a_wrapper_hands_on_labels_and_trains_the_weights_within(name):
    class Learned(nn.Module):
        def __init__(self):
            super().__init__()
            self.prototypes = nn.Parameter(torch.randn(3, DIM, generator=torch.Generator().manual_seed(0)))

        def forward(self, embeddings, labels):
            assert labels is given
            return nn.functional.cross_entropy(embeddings @ self.prototypes[:, : embeddings.shape[1]].T, labels)

    given = torch.tensor([0, 1, 2, 2, 1, 0])
    loss = WRAPPERS[name](Learned())
    by_layer = next(batch.by_layer for _, (make, batch) in LOSSES.items() if type(make()).__name__ == name)

    loss(Batch(1, by_layer=by_layer)()[0], given).backward()

    assert [name for name, _ in loss.named_parameters()] == ["loss.prototypes"]
    assert (loss.loss.prototypes.grad[:, :8] != 0).any()


@pytest.mark.parametrize("name", WRAPPERS)
@pytest.mark.parametrize("wrong", [CoSENTLoss, "cosent", None])
def test_a_wrapper_asks_for_a_loss(name, wrong):
    with pytest.raises(InputError, match=r"loss must be a loss.*received"):
        WRAPPERS[name](wrong)


@pytest.mark.parametrize("kind", sorted({type(make()) for make, _ in LOSSES.values()}, key=lambda kind: kind.__name__))
def test_the_documentation_is_complete(kind):
    for section in ("Args:", "Raises:", "Example:", "Reference:", "Deviations:"):
        assert section in kind.__doc__, section
    for section in ("Args:", "Returns:", "Raises:"):
        assert section in kind.forward.__doc__, section
