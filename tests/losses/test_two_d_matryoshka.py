import math
from collections import Counter

import pytest
import torch
from sentence_transformers.sentence_transformer import losses as theirs
from torch import nn

from embedkit.errors import InputError
from embedkit.losses import CoSENTLoss, InfoNCELoss, MatryoshkaLoss, TwoDMatryoshkaLoss
from embedkit.losses.draws import Draws

LAYERS, COUNT, DIM = 4, 6, 16
FORMS = ["paper", "sentence_transformers"]


def grids(number=2, *, seed=0, shape=(LAYERS, COUNT, DIM)):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, requires_grad=True) for _ in range(number)]


def nothing(*tensors):
    """A loss that leaves what is distilled."""
    return tensors[0].sum() * 0


class Spy:
    """A loss that notes in which cells it was asked, of embeddings whose numbers are their layer."""

    def __init__(self):
        self.cells = []

    def __call__(self, embeddings):
        self.cells.append((int(embeddings[0, 0]), embeddings.shape[1]))
        return embeddings.sum() * 0


def numbered(layers=LAYERS, dim=DIM):
    return torch.arange(1.0, layers + 1)[:, None, None].expand(layers, 3, dim)


def kl_by_loops(teacher, student, temperature):
    def softmax(row):
        weights = [math.exp(number / temperature) for number in row]
        return [weight / sum(weights) for weight in weights]

    pairs = [zip(softmax(p), softmax(q), strict=True) for p, q in zip(teacher, student, strict=True)]
    return sum(a * math.log(a / b) for pair in pairs for a, b in pair) / len(pairs)


def drawn(loss):
    """What the loss draws next, without drawing it."""
    spy = Spy()
    twin = TwoDMatryoshkaLoss(spy, loss.dims, form=loss.form, kl_weight=0)
    twin.load_state_dict(loss.state_dict())
    twin(numbered())
    return spy.cells


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("form", FORMS)
def test_the_formula_in_loops_gives_the_same(form, seed):
    first, second = grids()
    loss = TwoDMatryoshkaLoss(InfoNCELoss(), [4, 8], form=form, kl_weight=0.7, temperature=0.5, seed=seed)
    cells = drawn(loss)
    shallow = cells[-1][0]

    expected = sum(InfoNCELoss()(first[n - 1, :, :d], second[n - 1, :, :d]).item() for n, d in cells)
    teacher, student = ([row for each in (first, second) for row in each[n - 1].tolist()] for n in (LAYERS, shallow))
    weight = 0.7 if form == "paper" else 0.7 * 0.5
    expected += weight * kl_by_loops(teacher, student, 0.5)

    assert loss(first, second).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("graded", [True, False])
@pytest.mark.parametrize("draw", [0, 1, 3])
def test_sentence_transformers_gives_the_same_value_and_gradient(make_encoder, monkeypatch, graded, draw):
    model = make_encoder(unit=False).double().eval()  # float32 differs by the order of sums
    features = [model.preprocess(texts) for texts in (["a cat", "two dogs", "red"], ["the cat sat", "a bird", "blue"])]
    labels = torch.tensor([0.1, 0.9, 0.4])
    dims = [32, 24, 16, 8]  # they sort them like this
    for module in (theirs.adaptive_layer, theirs.matryoshka):
        monkeypatch.setattr(module.random, "sample", lambda choices, _: [choices[draw]])
    monkeypatch.setattr(Draws, "integer", lambda *_: draw)

    def states(column):
        output = model[0]({**column}, output_hidden_states=True)
        mask = column["attention_mask"][..., None]
        return torch.stack([(h * mask).sum(1) / mask.sum(1) for h in output["all_layer_embeddings"]])

    def gradients(loss):
        model.zero_grad()
        loss.backward()
        return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}

    inner = (theirs.CoSENTLoss if graded else theirs.MultipleNegativesRankingLoss)(model)
    expected = theirs.Matryoshka2dLoss(model, inner, dims)([{**each} for each in features], labels)
    their_gradients = gradients(expected)
    model[0].auto_model.config.output_hidden_states = True
    loss = TwoDMatryoshkaLoss(CoSENTLoss() if graded else InfoNCELoss(), dims, form="sentence_transformers")
    value = loss(*map(states, features), *([labels] if graded else []))  # H_0 … H_4: their distribution
    our_gradients = gradients(value)

    torch.testing.assert_close(value, expected, atol=1e-6, rtol=1e-6)
    assert our_gradients.keys() == their_gradients.keys()
    for name, gradient in our_gradients.items():
        torch.testing.assert_close(gradient, their_gradients[name], atol=1e-5, rtol=1e-4, msg=name)


def test_worked_by_hand():
    # Two rows by two layers of two coordinates; the teacher's softmax is (e/(1+e), 1/(1+e)), the student's (½, ½).
    embeddings = torch.tensor([[[0.0, 0.0]], [[1.0, 0.0]]])
    p = math.e / (1 + math.e)
    kl = p * math.log(2 * p) + (1 - p) * math.log(2 * (1 - p))

    assert TwoDMatryoshkaLoss(nothing, [2])(embeddings).item() == pytest.approx(kl)
    # The sum of coordinates is 1 at layer 2 and 0 at layer 1; the last layer comes with width 2 and with width 1.
    assert TwoDMatryoshkaLoss(torch.sum, [1])(embeddings).item() == pytest.approx(2 + kl)
    other = TwoDMatryoshkaLoss(torch.sum, [1], form="sentence_transformers", temperature=1.0)
    assert other(embeddings).item() == pytest.approx(1 + kl)


def test_at_full_depth_and_width_the_paper_has_four_times_the_loss():
    tensors = grids(shape=(1, COUNT, DIM))

    for kl_weight in (0, 1, 100):
        loss = TwoDMatryoshkaLoss(InfoNCELoss(), [DIM], kl_weight=kl_weight)(*tensors)
        torch.testing.assert_close(loss, 4 * InfoNCELoss()(*(each[0] for each in tensors)))


def test_with_one_layer_the_other_form_is_a_matryoshka():
    tensors = grids(shape=(1, COUNT, DIM))

    loss = TwoDMatryoshkaLoss(InfoNCELoss(), [8], form="sentence_transformers")(*tensors)

    assert torch.equal(loss, MatryoshkaLoss(InfoNCELoss(), [8])(*(each[0] for each in tensors)))


def test_the_paper_takes_four_cells_and_draws_layers_and_widths_evenly():
    spy = Spy()
    loss = TwoDMatryoshkaLoss(spy, [4, 8], kl_weight=0)
    for _ in range(600):
        loss(numbered())

    steps = [spy.cells[at : at + 4] for at in range(0, len(spy.cells), 4)]
    counts = Counter()
    for full, narrow, shallow, both in steps:
        assert full == (LAYERS, DIM)
        assert (narrow, shallow) == ((LAYERS, both[1]), (both[0], DIM))
        counts[both] += 1
    assert set(counts) == {(n, d) for n in (1, 2, 3) for d in (4, 8)}
    assert all(70 < count < 130 for count in counts.values())


def test_the_other_form_takes_two_cells_whose_widths_are_drawn_apart():
    spy = Spy()
    loss = TwoDMatryoshkaLoss(spy, [4, 8], form="sentence_transformers", kl_weight=0)
    for _ in range(600):
        loss(numbered())

    counts = Counter(zip(spy.cells[::2], spy.cells[1::2], strict=True))
    assert set(counts) == {((LAYERS, d), (n, e)) for d in (4, 8) for n in (1, 2, 3) for e in (4, 8)}
    assert all(25 < count < 80 for count in counts.values())


@pytest.mark.parametrize("form", FORMS)
def test_the_teacher_gets_no_gradient(form):
    tensors = grids()

    TwoDMatryoshkaLoss(nothing, [4, 8], form=form)(*tensors).backward()

    for each in tensors:
        assert (each.grad[-1] == 0).all()
        assert each.grad[:-1].abs().sum() > 0


@pytest.mark.parametrize("form", FORMS)
def test_a_resumed_training_draws_what_the_interrupted_one_would_have(form):
    def losses(loss, count):
        return [loss(*grids()).item() for _ in range(count)]

    def fresh(seed):
        return TwoDMatryoshkaLoss(InfoNCELoss(), [2, 4, 8, 16], form=form, seed=seed)

    whole = losses(fresh(5), 20)
    interrupted = fresh(5)
    resumed = fresh(6)
    before = losses(interrupted, 8)
    losses(resumed, 3)
    state = {name: value.clone() for name, value in interrupted.state_dict().items()}
    losses(interrupted, 4)
    resumed.load_state_dict(state)

    assert before + losses(resumed, 12) == whole
    assert losses(fresh(6), 20) != whole
    assert all(isinstance(value, torch.Tensor) for value in state.values())


def test_the_global_generator_is_left_alone():
    loss = TwoDMatryoshkaLoss(InfoNCELoss(), [4, 8])
    tensors = grids()
    before = torch.get_rng_state()

    loss(*tensors)

    assert torch.equal(torch.get_rng_state(), before)


def test_it_goes_around_a_matryoshka():
    tensors = grids()
    nested = TwoDMatryoshkaLoss(MatryoshkaLoss(InfoNCELoss(), [2, 4]), [8], kl_weight=0, seed=1)
    (shallow, _), *_ = reversed(drawn(nested))

    plain = [InfoNCELoss()(*(each[n - 1, :, :d] for each in tensors)) for n in (LAYERS, shallow) for d in (2, 4)]

    torch.testing.assert_close(nested(*tensors), 2 * sum(plain))


def test_weights_of_the_wrapped_loss_are_registered():
    class Learned(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, first, second):
            return self.scale * (first - second).square().mean()

    loss = TwoDMatryoshkaLoss(Learned(), [4])
    loss(*grids()).backward()

    assert [name for name, _ in loss.named_parameters()] == ["loss.scale"]
    assert loss.loss.scale.grad != 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"form": "st"}, "form must be one of 'paper', 'sentence_transformers'; received 'st'"),
        ({"dims": []}, "dims must be a list"),
        ({"kl_weight": -1}, "kl_weight must be"),
        ({"temperature": 0.0}, "temperature must be"),
        ({"seed": -1}, "seed must be an integer, 0 or more; received -1"),
        ({"seed": None}, "seed must be an integer"),
        ({"loss": InfoNCELoss}, "pass an instance"),
    ],
)
def test_wrong_settings_are_refused(options, said):
    with pytest.raises(InputError, match=said):
        TwoDMatryoshkaLoss(**{"loss": InfoNCELoss(), "dims": [4], **options})


def test_a_wrong_call_is_refused():
    with pytest.raises(InputError, match="must not exceed the embeddings' width, 16"):
        TwoDMatryoshkaLoss(InfoNCELoss(), [8, 17])(*grids())
    with pytest.raises(InputError, match=r"shape \(layers, n, dim\)"):
        TwoDMatryoshkaLoss(InfoNCELoss(), [8])(*(each[-1] for each in grids()))


@pytest.mark.parametrize("state", [torch.zeros(3), torch.zeros(3, dtype=torch.uint8), None])
def test_the_state_of_something_else_is_refused(state):
    with pytest.raises(InputError, match="the state must be one"):
        TwoDMatryoshkaLoss(InfoNCELoss(), [8]).load_state_dict({"draws._extra_state": state})
