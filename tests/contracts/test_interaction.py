"""What every interaction does, whatever it lets interact. A new one joins with one line in MEMBERS."""

import ast
import copy
from pathlib import Path

import pytest
import torch
from torch import nn

import embedkit.modules.interaction
from embedkit.errors import CorruptFileError, InputError, ModelError
from embedkit.modules.interaction import (
    DCNV2,
    DNN,
    FGCNN,
    IPNN,
    AutoInt,
    ClickModel,
    ContextGate,
    DeepFM,
    FactorizationMachine,
    FinalMLP,
    FinalNet,
    LinearInteraction,
    autoint,
    dcnv2,
    deepfm,
    dnn,
    dualmlp,
    factorization_machine,
    fgcnn,
    finalmlp,
    finalnet,
    ipnn,
    logistic_regression,
)
from embedkit.modules.lookup import FieldEmbedding, PlainLookup, QuotientRemainderLookup

SIZES, DIM = (3, 5, 4), 4
FIELDS = len(SIZES)


def table(dim, sizes=SIZES):
    return FieldEmbedding(PlainLookup(sizes, dim, std=1.0))


def gate(field):
    return ContextGate(FIELDS, DIM, hidden=[6], embedding=table(DIM, [SIZES[field]]), columns=[field])


MEMBERS = {
    "linear": lambda: LinearInteraction(FIELDS),
    "factorization machine": lambda: FactorizationMachine(FIELDS, DIM, table(1)),
    "DNN": lambda: DNN(FIELDS, DIM, hidden=[8, 6]),
    "DNN, normalised": lambda: DNN(FIELDS, DIM, hidden=[8, 6], batch_norm=True, dropout=0.2),
    "DeepFM": lambda: DeepFM(FIELDS, DIM, table(1), hidden=[8, 6], dropout=0.2),
    "DCN-V2": lambda: DCNV2(FIELDS, DIM, crosses=2, hidden=[8], batch_norm=True),
    "IPNN": lambda: IPNN(FIELDS, DIM, hidden=[8]),
    "AutoInt": lambda: AutoInt(FIELDS, DIM, num_layers=2, width=8, num_heads=2),
    "AutoInt+": lambda: AutoInt(
        FIELDS, DIM, num_layers=2, width=8, num_heads=2, scale=True, layer_norm=True, hidden=[6], dropout=0.2
    ),
    "FinalMLP": lambda: FinalMLP(FIELDS, DIM, (gate(0), gate(1)), first=[8], second=[6], num_heads=2, dropout=0.2),
    "DualMLP": lambda: FinalMLP(FIELDS, DIM, first=[8], second=[6]),
    "FGCNN": lambda: FGCNN(FIELDS, DIM, table(DIM), channels=[2, 3], kernel=3, maps=2, hidden=[8]),
    "FinalNet": lambda: FinalNet(FIELDS, DIM, first=[8, 6], second=[6], dropout=0.2),
}
COMPOSED = {
    "logistic_regression": lambda **more: logistic_regression(SIZES, **more),
    "factorization_machine": lambda **more: factorization_machine(SIZES, DIM, **more),
    "dnn": lambda **more: dnn(SIZES, DIM, [8], **more),
    "deepfm": lambda **more: deepfm(SIZES, DIM, [8], names=["user", "item", "hour"], **more),
    "dcnv2": lambda **more: dcnv2(SIZES, DIM, [8], **more),
    "ipnn": lambda **more: ipnn(SIZES, DIM, [8], **more),
    "autoint": lambda **more: autoint(SIZES, DIM, num_layers=1, width=8, num_heads=2, **more),
    "finalmlp": lambda **more: finalmlp(SIZES, DIM, gates=[4], contexts=([0], [1, 2]), first=[8], second=[6], **more),
    "dualmlp": lambda **more: dualmlp(SIZES, DIM, first=[8], second=[6], **more),
    "fgcnn": lambda **more: fgcnn(SIZES, DIM, [8], channels=[2], kernel=3, **more),
    "finalnet": lambda **more: finalnet(SIZES, DIM, first=[8], second=[6], **more),
}


@pytest.fixture(params=MEMBERS)
def interaction(request):
    torch.manual_seed(0)
    return MEMBERS[request.param]().eval()


@pytest.fixture(params=COMPOSED)
def model(request):
    torch.manual_seed(0)
    return COMPOSED[request.param]().eval()


def batch(interaction, count=6, seed=0):
    """Vectors and the ids they would have been looked up by."""
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(count, FIELDS, interaction.dim, generator=generator)
    return vectors, ids_of(count, seed)


def ids_of(count=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randint(size, (count,), generator=generator) for size in SIZES], dim=1)


def test_no_interaction_escapes_the_suite():
    folder = Path(embedkit.modules.interaction.__file__).parent
    suite = Path(__file__).read_text(encoding="utf-8")
    classes, composed = set(), set()
    for node in (node for path in folder.glob("*.py") for node in ast.parse(path.read_text(encoding="utf-8")).body):
        if isinstance(node, ast.ClassDef) and "Interaction" in map(ast.unparse, node.bases):
            classes.add(node.name)
        if isinstance(node, ast.FunctionDef) and node.returns and ast.unparse(node.returns) == "ClickModel":
            composed.add(node.name)
    assert "DeepFM" in classes
    assert {name for name in classes if f"{name}(" not in suite} == set()
    assert composed == set(COMPOSED)
    assert classes | composed <= set(embedkit.modules.interaction.__all__)


def test_one_logit_a_record(interaction):
    logits = interaction(*batch(interaction))
    assert logits.shape == (6,)
    assert logits.isfinite().all()


def test_a_record_is_the_same_alone(interaction):
    vectors, ids = batch(interaction)
    alone = torch.cat([interaction(vectors[[row]], ids[[row]]) for row in range(6)])
    torch.testing.assert_close(alone, interaction(vectors, ids), rtol=1e-5, atol=1e-6)


def test_no_record_has_no_logit(interaction):
    vectors, ids = batch(interaction)
    assert interaction(vectors[:0], ids[:0]).shape == (0,)


def test_weights_of_one_change_nothing(interaction):
    vectors, ids = batch(interaction)
    found = interaction(vectors, ids, torch.ones(ids.shape))
    torch.testing.assert_close(found, interaction(vectors, ids), rtol=1e-5, atol=1e-6)


def test_the_gradient_is_that_of_small_steps(interaction):
    interaction = interaction.double()
    vectors, ids = batch(interaction)
    vectors = vectors.double().requires_grad_()
    parameters = [each for each in interaction.parameters() if each.requires_grad]
    (*gradients,) = torch.autograd.grad(interaction(vectors, ids).sum(), [vectors, *parameters])
    for tensor, gradient in zip([vectors, *parameters], gradients, strict=True):
        generator = torch.Generator().manual_seed(1)
        step = torch.randn(tensor.shape, generator=generator, dtype=torch.float64) * 1e-6
        with torch.no_grad():
            tensor.add_(step)
            above = interaction(vectors, ids).sum()
            tensor.sub_(2 * step)
            below = interaction(vectors, ids).sum()
            tensor.add_(step)
        torch.testing.assert_close((above - below) / 2, (gradient * step).sum(), rtol=1e-4, atol=1e-11)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_finite_and_near(interaction, dtype):
    vectors, ids = batch(interaction)
    full = interaction(vectors, ids)
    half = copy.deepcopy(interaction).to(dtype)(vectors.to(dtype), ids)
    assert half.dtype == dtype
    torch.testing.assert_close(half.float(), full, rtol=0.06, atol=0.06)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_every_weight_learns(interaction, dtype):
    interaction = interaction.to(dtype).train()
    before = copy.deepcopy(interaction.state_dict())
    optimizer = torch.optim.SGD(interaction.parameters(), lr=0.5)
    for seed in range(4):
        vectors, ids = batch(interaction, count=12, seed=seed)
        labels = (vectors.sum(dim=(1, 2)) > 0).to(dtype)
        optimizer.zero_grad()
        interaction.loss(vectors.to(dtype), labels, ids).backward()
        optimizer.step()
    same = {
        name for name, value in interaction.named_parameters() if torch.equal(value, before[name]) and value.numel() > 1
    }
    assert same == set()
    assert all(value.isfinite().all() for value in interaction.state_dict().values())


def test_the_loss_is_what_untrained_guessing_costs(interaction):
    for parameter in interaction.parameters():
        nn.init.zeros_(parameter)
    vectors, ids = batch(interaction)
    loss = interaction.loss(torch.zeros_like(vectors), torch.ones(6), ids).item()
    terms = 3 if isinstance(interaction, FinalNet) else 1  # it adds what its two blocks teach each other
    assert loss == pytest.approx(terms * 0.6931472, abs=1e-6)


@pytest.mark.parametrize("shape", [(6, FIELDS), (6, FIELDS + 1, DIM), (6, FIELDS, DIM + 1)])
def test_vectors_of_another_shape_are_refused(interaction, shape):
    with pytest.raises(InputError, match=r"vectors must be \(batch, 3, "):
        interaction(torch.zeros(shape), ids_of())


# -- whole models ----------------------------------------------------------------------------------------


def test_a_model_predicts_from_ids(model):
    logits = model(ids_of())
    assert logits.shape == (6,)
    assert logits.isfinite().all()
    assert torch.equal(model(ids_of()), logits)


def test_a_model_learns_which_values_are_clicked(model):
    torch.manual_seed(1)
    ids = ids_of(64)
    labels = (ids[:, 1] < 2).float()
    optimizer = torch.optim.Adam(model.train().parameters(), lr=0.05)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        losses.append(model.loss(ids, labels))
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.5 * losses[0]


def test_a_saved_model_comes_back_bit_equal(model, tmp_path):
    expected = model(ids_of())
    model.save(tmp_path / "model")
    other = copy.deepcopy(model)
    for parameter in other.parameters():
        nn.init.ones_(parameter)
    other.load(tmp_path / "model")
    assert torch.equal(other(ids_of()), expected)
    assert {path.suffix for path in (tmp_path / "model").iterdir()} == {".json", ".safetensors"}


def test_table_parameters_are_those_of_every_lookup(model):
    found = {id(each) for each in model.table_parameters()}
    assert found == {id(value) for name, value in model.named_parameters() if ".lookup." in name}


def test_the_lookup_may_be_given(model):
    del model
    lookup = PlainLookup(SIZES, DIM)
    assert dnn(SIZES, DIM, [8], lookup=lookup).embedding.lookup is lookup
    with pytest.raises(InputError, match=r"lookup must be for sizes \[3, 5, 4\] and dim 2; received .* dim 4"):
        dnn(SIZES, 2, [8], lookup=lookup)


def test_a_model_composed_differently_is_not_loaded(tmp_path):
    dnn(SIZES, DIM, [8]).save(tmp_path / "model")
    with pytest.raises(ModelError, match="compose the model as the saved one was"):
        dnn(SIZES, DIM, [7]).load(tmp_path / "model")
    path = tmp_path / "model" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CorruptFileError):
        dnn(SIZES, DIM, [8]).load(tmp_path / "model")


def product(operation):
    return dnn(SIZES, DIM, [8], lookup=QuotientRemainderLookup(SIZES, DIM, operation=operation))


@pytest.mark.parametrize(
    ("saved", "other"),
    [
        (lambda: dnn((3, 5), DIM, [8]), lambda: dnn((5, 3), DIM, [8])),
        (lambda: dnn((3, 5), DIM, [8], columns=[0, 0, 1]), lambda: dnn((3, 5), DIM, [8], columns=[0, 1, 1])),
        (lambda: product("multiply"), lambda: product("add")),
        (lambda: autoint(SIZES, num_heads=2), lambda: autoint(SIZES, num_heads=4)),
        (lambda: autoint(SIZES), lambda: autoint(SIZES, scale=True)),
        (lambda: finalmlp((4, 4)), lambda: finalmlp((4, 4), dropout=0.5)),
        (lambda: finalmlp((4, 4), contexts=([0], [1])), lambda: finalmlp((4, 4), contexts=([1], [0]))),
        (lambda: fgcnn([2] * 5, channels=[2], pool=3), lambda: fgcnn([2] * 5, channels=[2], pool=4)),
    ],
    ids=["sizes", "columns", "operation", "heads", "scale", "dropout", "contexts", "pool"],
)
def test_models_of_equal_shapes_are_told_apart(saved, other, tmp_path):
    saved().save(tmp_path / "model")
    saved().load(tmp_path / "model")
    with pytest.raises(ModelError, match="compose the model as the saved one was"):
        other().load(tmp_path / "model")


def test_parts_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="3 fields of width 4 that embedding gives; received one for 2 of width 4"):
        ClickModel(table(DIM), DNN(2, DIM, hidden=[8]))


def test_an_id_out_of_range_is_named():
    with pytest.raises(InputError, match=r"ids of field 'item' must be 0 … 4.*received 9 in row 0"):
        deepfm(SIZES, DIM, [8], names=["user", "item", "hour"])(torch.tensor([[0, 9, 0]]))


@pytest.mark.parametrize("name", COMPOSED)
def test_a_field_may_have_several_columns(name):
    """A second value of weight 0 changes nothing; two of weight 1/2 give another score."""
    plain, several = COMPOSED[name]().eval(), COMPOSED[name](columns=[0, 1, 1, 2]).eval()
    several.load_state_dict(plain.state_dict())
    ids = torch.tensor([[1, 2, 0], [0, 1, 1]])
    twice = ids[:, [0, 1, 1, 2]].clone()
    twice[:, 2] = 0
    ones = torch.ones(2, 4)
    first = ones * torch.tensor([1.0, 1, 0, 1])
    torch.testing.assert_close(several(twice, first), plain(ids), rtol=0, atol=1e-6)
    both = ones * torch.tensor([1.0, 0.5, 0.5, 1])
    assert not torch.allclose(several(twice, both), plain(ids), rtol=0, atol=1e-9)
