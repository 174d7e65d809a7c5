"""Each interaction against its formula in naive loops, a number worked by hand, and the limits it must have."""

import math

import pytest
import torch
from torch import nn

from embedkit.errors import InputError
from embedkit.modules.interaction import (
    DCNV2,
    DNN,
    FGCNN,
    IPNN,
    AutoInt,
    ContextGate,
    DeepFM,
    FactorizationMachine,
    FinalMLP,
    FinalNet,
    LinearInteraction,
    autoint,
    dcnv2,
    deepfm,
    fgcnn,
    finalmlp,
    finalnet,
    ipnn,
)
from embedkit.modules.interaction.auto_int import FieldAttention, _Attention
from embedkit.modules.lookup import FieldEmbedding, PlainLookup

FRAPPE = (956, 4084, 9, 9, 4, 5, 4, 11, 82, 235)  # values of each field of the open benchmark's Frappe, and two more
SIZES = (3, 5, 4)
IDS = torch.tensor([[2, 4, 0], [0, 1, 3]])
STREAMS = {"first": [8], "second": [6]}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def table(dim, sizes=SIZES):
    return FieldEmbedding(PlainLookup(sizes, dim, std=1.0))


def vectors_of(dim=4, fields=3, count=2):
    return torch.randn(count, fields, dim)


def perceptron(mlp, row):
    """An MLP of linear layers and ReLU, unit by unit."""
    for layer in mlp.layers:
        if isinstance(layer, nn.Linear):
            row = [
                sum(w * x for w, x in zip(unit, row, strict=True)) + bias
                for unit, bias in zip(layer.weight.tolist(), layer.bias.tolist(), strict=True)
            ]
        else:
            row = [max(0.0, x) for x in row]
    return row


def inner(first, second):
    return sum(a * b for a, b in zip(first, second, strict=True))


def nearly(found, expected):
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-5, atol=1e-5)


# -- the open benchmark's numbers of weights ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "count"),
    [
        (lambda: deepfm(FRAPPE, batch_norm=True), 423_391),
        (lambda: ipnn(FRAPPE), 433_591),
        (lambda: dcnv2(FRAPPE, batch_norm=True), 458_491),
        (lambda: autoint(FRAPPE), 53_990 + 5_120 + 5 * 49_152 + 1_281),
        (
            lambda: autoint(FRAPPE, num_layers=5, scale=True, layer_norm=True, hidden=(400, 400, 400), batch_norm=True),
            622_280,
        ),
        (
            lambda: finalmlp(
                FRAPPE, first=[400], second=[100], gates=[400], contexts=([0], [1]), num_heads=5, batch_norm=True
            ),
            53_990 + 41_200 + 10_300 + 9_560 + 40_840 + 89_000 + 8_502,
        ),
        (lambda: fgcnn(FRAPPE, batch_norm=True), 859_641),
        (lambda: finalnet(FRAPPE), 338_502),
    ],
    ids=["DeepFM", "IPNN", "DCN-V2", "AutoInt", "AutoInt+", "FinalMLP", "FGCNN", "FinalNet"],
)
def test_as_many_weights_as_the_open_benchmark_counts(make, count):
    assert sum(FRAPPE) == 5_399
    assert sum(parameter.numel() for parameter in make().parameters()) == count


# -- linear, factorization machine, DeepFM ----------------------------------------------------------------------


def machine_of(interaction, vectors, ids):
    logits = []
    for row, values in zip(vectors.tolist(), ids.tolist(), strict=True):
        first = [interaction.first_order.lookup.table(field)[value].item() for field, value in enumerate(values)]
        pairs = [inner(row[i], row[j]) for i in range(3) for j in range(i + 1, 3)]
        logits.append(interaction.linear.bias.item() + sum(first) + sum(pairs))
    return logits


def test_a_factorization_machine_is_its_sum_over_pairs():
    interaction, vectors = FactorizationMachine(3, 4, table(1)), vectors_of()
    nn.init.constant_(interaction.linear.bias, 0.3)
    nearly(interaction(vectors, IDS), machine_of(interaction, vectors, IDS))


def test_a_factorization_machine_by_hand():
    first = FieldEmbedding(PlainLookup.from_weight(torch.tensor([[0.5], [1.0], [-1.0]]), [1, 2]))
    interaction = FactorizationMachine(2, 2, first)
    vectors = torch.tensor([[[1.0, 2.0], [3.0, -1.0]]])
    assert interaction(vectors, torch.tensor([[0, 1]])).item() == pytest.approx(0.5 - 1 + (3 - 2))


def test_the_linear_part_weighs_columns():
    first = FieldEmbedding(PlainLookup.from_weight(torch.tensor([[2.0], [5.0]]), [1, 1]))
    interaction = FactorizationMachine(2, 1, first)
    ids, weights = torch.zeros(1, 2, dtype=torch.long), torch.tensor([[0.5, 3.0]])
    assert interaction(torch.zeros(1, 2, 1), ids, weights).item() == 16


def test_one_field_has_no_pairs():
    ids = torch.tensor([[2]])
    machine = FactorizationMachine(1, 4, table(1, [3]))
    assert machine(torch.randn(1, 1, 4), ids).item() == pytest.approx(machine.first_order(ids).item(), abs=1e-6)
    for interaction in (IPNN(1, 4, hidden=[5]), AutoInt(1, 4, num_layers=2, width=4, num_heads=2)):
        assert interaction(torch.randn(1, 1, 4), ids).isfinite().all()


def test_deepfm_is_a_machine_and_a_perceptron():
    interaction, vectors = DeepFM(3, 4, table(1), hidden=[5, 4]), vectors_of()
    machine = machine_of(interaction.fm, vectors, IDS)
    deep = [perceptron(interaction.deep.mlp, row)[0] for row in vectors.flatten(1).tolist()]
    nearly(interaction(vectors, IDS), [a + b for a, b in zip(machine, deep, strict=True)])


def test_a_perceptron_by_hand():
    interaction = DNN(1, 2, hidden=[2])
    hidden, _, output = interaction.mlp.layers
    hidden.weight.data, hidden.bias.data = torch.tensor([[1.0, 1.0], [1.0, -1.0]]), torch.tensor([0.5, 0.0])
    output.weight.data, output.bias.data = torch.tensor([[2.0, 3.0]]), torch.tensor([-1.0])
    assert interaction(torch.tensor([[[1.0, 2.0]]]), IDS[:1, :1]).item() == 2 * 3.5 + 3 * 0 - 1


def test_a_perceptron_without_layers_is_linear_and_zero_layers_of_attention_are_it():
    linear, attention = DNN(3, 4, hidden=[]), AutoInt(3, 4, num_layers=0)
    attention.output.load_state_dict(linear.mlp.layers[0].state_dict())
    vectors = vectors_of()
    torch.testing.assert_close(attention(vectors, IDS), linear(vectors, IDS))
    nearly(linear(vectors, IDS), [perceptron(linear.mlp, row)[0] for row in vectors.flatten(1).tolist()])


# -- DCN-V2 -------------------------------------------------------------------------------------------------------


def test_crosses_are_what_their_loops_say():
    interaction, vectors = DCNV2(3, 2, crosses=2, hidden=[5]), vectors_of(dim=2)
    logits = []
    for first in vectors.flatten(1).tolist():
        crossed = first
        for cross in interaction.crosses:
            mixed = [inner(w, crossed) + b for w, b in zip(cross.weight.tolist(), cross.bias.tolist(), strict=True)]
            crossed = [x0 * m + x for x0, m, x in zip(first, mixed, crossed, strict=True)]
        joined = crossed + perceptron(interaction.mlp, first)
        logits.append(inner(interaction.output.weight[0].tolist(), joined) + interaction.output.bias.item())
    nearly(interaction(vectors, IDS), logits)


def test_a_cross_by_hand_and_crosses_of_zero_are_linear():
    interaction = DCNV2(1, 1, crosses=2, hidden=[])
    for cross in interaction.crosses:
        nn.init.constant_(cross.weight, 2.0)
    nn.init.ones_(interaction.output.weight)
    # x = 3: 3·6 + 3 = 21, then 3·42 + 21 = 147, beside x itself.
    assert interaction(torch.tensor([[[3.0]]]), IDS[:1, :1]).item() == 147 + 3
    for cross in interaction.crosses:
        nn.init.zeros_(cross.weight)
    assert interaction(torch.tensor([[[3.0]]]), IDS[:1, :1]).item() == 6


# -- IPNN ---------------------------------------------------------------------------------------------------------


def test_inner_products_go_into_the_perceptron():
    interaction, vectors = IPNN(3, 4, hidden=[5]), vectors_of()
    logits = []
    for row in vectors.tolist():
        products = [inner(row[i], row[j]) for i in range(3) for j in range(i + 1, 3)]
        logits.append(perceptron(interaction.mlp, [x for vector in row for x in vector] + products)[0])
    nearly(interaction(vectors, IDS), logits)


def test_a_sum_of_products_is_a_factorization_machine():
    product, machine = IPNN(3, 4, hidden=[]), FactorizationMachine(3, 4, table(1))
    layer = product.mlp.layers[0]
    nn.init.zeros_(layer.weight[:, :12])
    nn.init.ones_(layer.weight[:, 12:])
    nn.init.zeros_(machine.first_order.lookup.weight)
    vectors = vectors_of()
    torch.testing.assert_close(product(vectors, IDS), machine(vectors, IDS))


# -- AutoInt ------------------------------------------------------------------------------------------------------


def attention_of(layer, tokens):
    """One layer of AutoInt for one record, token by token and head by head."""
    blocks = [block.tolist() for block in layer.project.weight.split(layer.width)]
    queries, keys, values = ([[inner(w, x) for w in block] for x in tokens] for block in blocks[:3])
    residual = [[inner(w, x) for w in blocks[3]] for x in tokens] if len(blocks) == 4 else tokens
    head_width = layer.width // layer.num_heads
    given = []
    for i, _ in enumerate(tokens):
        token = []
        for head in range(layer.num_heads):
            part = slice(head * head_width, (head + 1) * head_width)
            scores = [math.exp(inner(queries[i][part], key[part]) / layer.temperature) for key in keys]
            shares = [score / sum(scores) for score in scores]
            token += [sum(a * v[part][k] for a, v in zip(shares, values, strict=True)) for k in range(head_width)]
        given.append([max(0.0, t + r) for t, r in zip(token, residual[i], strict=True)])
    return given


@pytest.mark.parametrize("scale", [False, True])
def test_attention_is_what_its_loops_say(scale):
    interaction = AutoInt(3, 4, num_layers=2, width=6, num_heads=2, scale=scale)
    vectors = vectors_of()
    logits = []
    for tokens in vectors.tolist():
        for layer in interaction.layers:
            tokens = attention_of(layer, tokens)  # noqa: PLW2901 (a layer upon a layer)
        flat = [x for token in tokens for x in token]
        logits.append(inner(interaction.output.weight[0].tolist(), flat) + interaction.output.bias.item())
    nearly(interaction(vectors, IDS), logits)


@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("dim", [4, 6])
def test_fields_that_change_places_change_the_places_of_what_attention_gives(dim, layer_norm):
    layer, tokens = FieldAttention(dim, 6, 2, layer_norm=layer_norm), torch.randn(2, 5, dim)
    order = torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(layer(tokens[:, order]), layer(tokens)[:, order])


def test_without_queries_and_keys_attention_is_the_mean_of_values():
    layer, tokens = FieldAttention(6, 6, 2), torch.randn(2, 5, 6)
    nn.init.zeros_(layer.project.weight[:12])
    values = tokens @ layer.project.weight[12:].T
    torch.testing.assert_close(layer(tokens), torch.relu(values.mean(dim=1, keepdim=True) + tokens))
    nn.init.zeros_(layer.project.weight[12:])
    assert torch.equal(layer(tokens), torch.relu(tokens))


def test_attention_by_hand():
    layer = FieldAttention(1, 1, 1)
    layer.project.weight.data = torch.tensor([[1.0], [math.log(2)], [3.0]])
    # tokens 1 and 2: the first scores log 2 and 2 log 2, so shares of 2/6 and 4/6 of the values 3 and 6.
    assert layer(torch.tensor([[[1.0], [2.0]]]))[0, 0].item() == pytest.approx(3 / 3 + 6 * 2 / 3 + 1)


def test_the_gradient_of_attention_is_right_under_dropout():
    projected = torch.randn(2, 3, 12, dtype=torch.float64, requires_grad=True)

    def attention(projected):
        torch.manual_seed(3)  # the same units left out each time
        return _Attention.apply(projected, 2, 1.5, 0.3)

    assert torch.autograd.gradcheck(attention, (projected,))


def test_dropout_leaves_attention_as_it_is_on_average():
    projected = torch.randn(1, 3, 12).expand(40_000, 3, 12)
    dropped = _Attention.apply(projected, 2, 1.0, 0.4)
    assert dropped.std(dim=0).min() > 0.05
    torch.testing.assert_close(dropped.mean(dim=0), _Attention.apply(projected[:1], 2, 1.0, 0.0)[0], rtol=0, atol=0.03)


def test_plus_is_attention_and_a_perceptron():
    interaction = AutoInt(3, 4, num_layers=1, width=6, num_heads=2, hidden=[5])
    vectors = vectors_of()
    both, deep = interaction(vectors, IDS), interaction.deep(vectors, IDS)
    interaction.deep = None
    torch.testing.assert_close(both, interaction(vectors, IDS) + deep)


def test_batches_that_are_cut_give_what_whole_ones_do(monkeypatch):
    interaction, vectors = AutoInt(3, 4, num_layers=1, width=6, num_heads=2), vectors_of(count=7)
    whole = interaction(vectors, IDS)
    monkeypatch.setattr("embedkit.modules.interaction.auto_int._RECORDS_AT_A_TIME", 3)
    torch.testing.assert_close(interaction(vectors, IDS), whole)


# -- FinalMLP -------------------------------------------------------------------------------------------------------


def gated(**options):
    gates = tuple(
        ContextGate(3, 4, hidden=[5], embedding=table(4, [SIZES[field]]), columns=[field]) for field in (0, 1)
    )
    return FinalMLP(3, 4, gates, **{**STREAMS, "num_heads": 2, **options})


def test_finalmlp_is_what_its_loops_say():
    interaction, vectors = gated(), vectors_of()
    fusion, logits = interaction.fusion, []
    for row, ids in zip(vectors.flatten(1).tolist(), IDS.tolist(), strict=True):
        outputs = []
        for field, (gate, stream) in enumerate(
            zip(interaction.gates, (interaction.first, interaction.second), strict=True)
        ):
            context = gate.embedding.lookup.table(0)[ids[field]].tolist()
            gates = [2 / (1 + math.exp(-x)) for x in perceptron(gate.mlp, context)]
            outputs.append(perceptron(stream, [g * x for g, x in zip(gates, row, strict=True)]))
        first, second = outputs
        logit = sum(
            inner(layer.weight[0].tolist(), output) + layer.bias.item()
            for layer, output in zip((fusion.first, fusion.second), outputs, strict=True)
        )
        for head, matrix in enumerate(fusion.bilinear.tolist()):
            left, right = first[4 * head : 4 * head + 4], second[3 * head : 3 * head + 3]
            logit += sum(left[i] * matrix[i][j] * right[j] for i in range(4) for j in range(3))
        logits.append(logit)
    nearly(interaction(vectors, IDS), logits)


def test_without_bilinear_weights_fusion_is_linear_on_both():
    interaction, vectors = gated(), vectors_of()
    nn.init.zeros_(interaction.fusion.bilinear)
    flat = vectors.flatten(1)
    outputs = torch.cat(
        [
            stream(flat * gate(IDS))
            for stream, gate in zip((interaction.first, interaction.second), interaction.gates, strict=True)
        ],
        dim=1,
    )
    fusion = interaction.fusion
    weight = torch.cat([fusion.first.weight, fusion.second.weight], dim=1)
    torch.testing.assert_close(interaction(vectors, IDS), outputs @ weight[0] + fusion.first.bias + fusion.second.bias)


def test_gates_that_give_nothing_are_dualmlp():
    interaction, vectors = gated(), vectors_of()
    for gate in interaction.gates:
        nn.init.zeros_(gate.mlp.layers[-1].weight)
    dual = FinalMLP(3, 4, **STREAMS, num_heads=2)
    dual.load_state_dict({name: value for name, value in interaction.state_dict().items() if "gates" not in name})
    assert torch.equal(interaction(vectors, IDS), dual(vectors, IDS))


def test_heads_divide_the_bilinear_weights_and_rank_one_is_a_product_of_scores():
    assert FinalMLP(3, 4, **STREAMS, num_heads=2).fusion.bilinear.numel() == 8 * 6 // 2
    fusion = FinalMLP(3, 4, **STREAMS).fusion
    left, right = torch.randn(8), torch.randn(6)
    fusion.bilinear.data = (left[:, None] * right)[None]
    first, second = torch.randn(5, 8), torch.randn(5, 6)
    additive = (fusion.first(first) + fusion.second(second)).squeeze(1)
    torch.testing.assert_close(fusion(first, second), additive + (first @ left) * (second @ right))


def test_fusion_by_hand():
    fusion = FinalMLP(1, 1, first=[1], second=[2]).fusion
    fusion.first.weight.data, fusion.second.weight.data = torch.tensor([[2.0]]), torch.tensor([[1.0, -1.0]])
    fusion.bilinear.data = torch.tensor([[[10.0, 20.0]]])
    assert fusion(torch.tensor([[3.0]]), torch.tensor([[0.5, 2.0]])).item() == 6 + (0.5 - 2) + 3 * (5 + 40)


def test_a_gate_without_context_is_one_for_all_records():
    gate = ContextGate(3, 4, hidden=[5])
    assert gate(IDS).shape == (1, 12)
    torch.testing.assert_close(gate(IDS), torch.ones(1, 12))  # its vector begins at zero, and so do biases


def test_a_context_may_be_weighed_and_have_several_columns():
    embedding = FieldEmbedding(PlainLookup([5, 4], 4, std=1.0), columns=[0, 1, 1])
    gate = ContextGate(3, 4, hidden=[5], embedding=embedding, columns=[1, 2, 3])
    ids, weights = torch.tensor([[0, 4, 1, 2]]), torch.tensor([[9.0, 1.0, 0.5, 0.0]])
    table_of_second = embedding.lookup.table(1)
    context = torch.cat([embedding.lookup.table(0)[4], 0.5 * table_of_second[1]])
    nearly(gate(ids, weights)[0], [2 / (1 + math.exp(-x)) for x in perceptron(gate.mlp, context.tolist())])
    with pytest.raises(InputError, match=r"one for each column of embedding, 3; received \[1, 2\]"):
        ContextGate(3, 4, hidden=[5], embedding=embedding, columns=[1, 2])


# -- FGCNN ----------------------------------------------------------------------------------------------------------


def test_generated_features_are_what_their_loops_say():
    options = {"channels": [2, 3], "kernel": 3, "pool": 2, "maps": 2, "conv_batch_norm": False, "hidden": [5]}
    interaction = FGCNN(5, 2, table(2, [4] * 5), **options)
    ids, vectors = torch.tensor([[0, 1, 2, 3, 0]]), torch.randn(1, 5, 2)
    signal = [interaction.generator(ids)[0].T.tolist()]  # channels, then coordinates, then fields
    features = vectors[0].tolist()
    for layer in interaction.convolutions:
        height = len(signal[0][0])
        pooled = []
        for weight, bias in zip(layer.weight.tolist(), layer.bias.tolist(), strict=True):
            channel = []
            for k in range(2):
                active = [
                    math.tanh(
                        bias
                        + sum(
                            weight[c][offset + 1] * signal[c][k][f + offset]
                            for c in range(len(signal))
                            for offset in (-1, 0, 1)
                            if 0 <= f + offset < height
                        )
                    )
                    for f in range(height)
                ]
                channel.append([max(active[i : i + 2]) for i in range(0, height, 2)])
            pooled.append(channel)
        flat = [pooled[c][k][f] for k in range(2) for c in range(len(pooled)) for f in range(len(pooled[0][0]))]
        new = [math.tanh(x) for x in perceptron_row(layer.recombine, flat)]
        features += [new[i : i + 2] for i in range(0, len(new), 2)]
        signal = pooled
    assert len(features) == 5 + 2 * (3 + 2)
    expected = interaction.ipnn(torch.tensor([features]), ids)
    torch.testing.assert_close(interaction(vectors, ids), expected, rtol=1e-5, atol=1e-5)


def perceptron_row(layer, row):
    return [inner(w, row) + b for w, b in zip(layer.weight.tolist(), layer.bias.tolist(), strict=True)]


def test_convolutions_of_zero_leave_raw_features_and_constants():
    interaction = FGCNN(3, 4, table(4), channels=[2, 3], kernel=3, hidden=[5])
    for layer in interaction.convolutions:
        nn.init.zeros_(layer.weight)
        nn.init.constant_(layer.recombine.bias, 0.2)
    interaction.eval()
    vectors = vectors_of()
    constants = torch.full((2, interaction.ipnn.fields - 3, 4), math.tanh(0.2))
    expected = interaction.ipnn(torch.cat([vectors, constants], dim=1), IDS)
    torch.testing.assert_close(interaction(vectors, IDS), expected)


@pytest.mark.parametrize(("pool", "features"), [(1, 10 + 3 * 20), (2, 34), (3, 10 + 3 * 6), (4, 10 + 3 * 4)])
def test_as_many_features_as_pooling_leaves(pool, features):
    interaction = FGCNN(10, 2, table(2, [2] * 10), channels=[2, 2], pool=pool, hidden=[4]).eval()
    assert interaction.ipnn.fields == features
    assert interaction(torch.randn(2, 10, 2), torch.zeros(2, 10, dtype=torch.long)).shape == (2,)


def test_the_order_of_fields_matters_to_convolutions_alone():
    ids, order = torch.zeros(2, 5, dtype=torch.long), torch.tensor([3, 0, 4, 1, 2])
    generator = table(4, [1] * 5)
    interaction = FGCNN(5, 4, generator, channels=[2], kernel=3, hidden=[]).eval()
    before = interaction.convolutions[0](generator(ids).transpose(1, 2))[1]
    generator.lookup.weight.data = generator.lookup.weight.data[order]
    after = interaction.convolutions[0](generator(ids).transpose(1, 2))[1]
    assert not torch.allclose(before.sum(dim=1), after.sum(dim=1), atol=1e-3)
    machine, vectors = FactorizationMachine(5, 4, table(1, [1] * 5)), torch.randn(2, 5, 4)
    torch.testing.assert_close(machine(vectors[:, order], ids), machine(vectors, ids))


# -- FinalNet -------------------------------------------------------------------------------------------------------


def test_factorised_layers_are_what_their_loops_say():
    interaction, vectors = FinalNet(3, 2, first=[4, 6], second=[4], batch_norm=False), vectors_of(dim=2)
    nn.init.normal_(interaction.gate.weight)
    logits = []
    for row in vectors.tolist():
        gates = [
            [inner(w, [row[g][k] for g in range(3)]) + b for k in range(2)]
            for w, b in zip(interaction.gate.weight.tolist(), interaction.gate.bias.tolist(), strict=True)
        ]
        flat = [x for vector in row for x in vector]
        weighed = [row[f][k] * gates[f][k] for f in range(3) for k in range(2)]
        blocks = []
        for block, given in ((interaction.first, flat + weighed), (interaction.second, flat)):
            for layer in block:
                if isinstance(layer, nn.Linear):
                    given = perceptron_row(layer, given)  # noqa: PLW2901
                elif hasattr(layer, "linear"):
                    both = perceptron_row(layer.linear, given)
                    half = len(both) // 2
                    given = both[:half] + [a * b for a, b in zip(both[:half], both[half:], strict=True)]  # noqa: PLW2901
                else:
                    given = [max(0.0, x) for x in given]  # noqa: PLW2901
            blocks.append(given[0])
        logits.append(sum(blocks) / 2)
    nearly(interaction(vectors, IDS), logits)


def test_a_factorised_layer_by_hand():
    layer = FinalNet(1, 1, first=[2], second=[2]).second[0]
    layer.linear.weight.data, layer.linear.bias.data = torch.tensor([[2.0], [3.0]]), torch.tensor([1.0, 0.0])
    assert layer(torch.tensor([[4.0]])).tolist() == [[9, 9 * 12]]


def test_blocks_teach_each_other():
    interaction, vectors, labels = FinalNet(3, 2, first=[4], second=[4]).eval(), vectors_of(dim=2), torch.ones(2)
    first, second = interaction.block_logits(vectors).T.tolist()

    def entropy(logit, label):
        chance = 1 / (1 + math.exp(-logit))
        return -label * math.log(chance) - (1 - label) * math.log(1 - chance)

    expected = 0.0
    for a, b in zip(first, second, strict=True):
        both = (a + b) / 2
        taught = 1 / (1 + math.exp(-both))
        expected += (entropy(both, 1) + entropy(a, taught) + entropy(b, taught)) / 2
    assert interaction.loss(vectors, labels, IDS).item() == pytest.approx(expected, rel=1e-5)


def test_a_gate_begins_as_the_identity():
    interaction, vectors = FinalNet(3, 2, first=[4], second=[4]).eval(), vectors_of(dim=2)
    flat = vectors.flatten(1)
    found = interaction.block_logits(vectors)[:, 0]
    torch.testing.assert_close(found, interaction.first(torch.cat([flat, flat], dim=1)).squeeze(1))


# -- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: DNN(0, 4), "fields must be an integer, 1 or more; received 0"),
        (lambda: DNN(3, True), "dim must be"),
        (lambda: DNN(3, 4, hidden=[0]), "each of hidden must be"),
        (lambda: DNN(3, 4, dropout=1.0), "dropout must be a number, 0 or more and below 1; received 1.0"),
        (lambda: DNN(3, 4, dropout="half"), "dropout must be"),
        (lambda: LinearInteraction(2.0), "fields must be"),
        (lambda: DCNV2(3, 4, crosses=-1), "crosses must be an integer, 0 or more"),
        (lambda: AutoInt(3, 4, width=6, num_heads=4), "num_heads must divide width, 6; received 4"),
        (lambda: AutoInt(3, 4, num_layers=-1), "num_layers must be"),
        (lambda: FinalMLP(3, 4, first=[], second=[4]), "a hidden layer each"),
        (lambda: FinalMLP(3, 4, first=[8], second=[6], num_heads=4), "8 and 6; it is 4"),
        (lambda: finalmlp(SIZES, contexts=([0], [3])), r"contexts must name fields 0 … 2; received \[3\]"),
        (lambda: finalmlp(SIZES, contexts=([0],)), "contexts must be two, the fields of each gate; received 1"),
        (lambda: finalmlp(SIZES, contexts=([0], [1], [2])), "contexts must be two.*received 3"),
        (lambda: FinalMLP(3, 4, (ContextGate(3, 4, hidden=[]),)), "gates must be two, one a stream, or None"),
        (lambda: FinalMLP(3, 4, dropout=(0.1, 0.2, 0.3)), "dropout must be one number, or two, one a stream"),
        (lambda: FGCNN(3, 4, table(2)), "generator must give 3 vectors of width 4; it gives 3 of 2"),
        (lambda: FGCNN(3, 4, table(4), channels=[]), "channels must name one convolution"),
        (lambda: FGCNN(3, 4, table(4), kernel=4), "kernel must be odd"),
        (lambda: FinalNet(3, 4, first=[5], second=[4]), "must be even"),
        (lambda: FinalNet(3, 4, first=[], second=[4]), "a hidden layer each"),
    ],
)
def test_arguments_out_of_range_are_refused(make, says):
    with pytest.raises(InputError, match=says):
        make()
