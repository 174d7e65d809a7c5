import inspect
import itertools
import json.decoder
import json.encoder
import textwrap

import numpy as np
import pytest
import torch

from embedkit.encoders.code.functions import find_functions
from embedkit.encoders.code.syntax_tree import TreeTuple, constituents, syntax_tree, tree_tuple
from embedkit.encoders.readout import read_tokens
from embedkit.errors import InputError
from embedkit.probes.ast import (
    AstSubspace,
    LeafVectors,
    TreeReader,
    ast_probe,
    fit_subspace,
    floor_scores,
    layer_score,
    leaf_vectors,
    random_layers,
)
from embedkit.probes.ast.probe import score_trees
from embedkit.probes.ast.subspace import ranking_loss

SOURCES = ["def one(a): return a + 1", "def two(a, b):\n    if a:\n        return b\n    return not a"]


@pytest.fixture(scope="module")
def trees():
    sources = [inspect.getsource(module) for module in (json.decoder, json.encoder, textwrap)]
    return [tree_tuple(syntax_tree(each.code)) for source in sources for each in find_functions(source)]


def gold_vectors(trees):
    """One coordinate a gap, one a label, one a unary label: steps as long as the distances, and one-hot codes."""
    labels = sorted({label for tree in trees for label in tree.labels})
    unary = sorted({label for tree in trees for label in tree.unary})
    gaps = max(len(tree.distances) for tree in trees)
    vectors = []
    for tree in trees:
        own = np.zeros((len(tree.leaves), gaps + len(labels) + len(unary)), dtype=np.float32)
        for gap, (distance, label) in enumerate(zip(tree.distances, tree.labels, strict=True)):
            own[gap + 1 :, gap] = distance**0.5
            own[gap + 1 :, gaps + labels.index(label)] += 0.1
        own[np.arange(len(own)), [gaps + len(labels) + unary.index(label) for label in tree.unary]] = 0.1
        vectors.append(own)
    return vectors, labels, unary, gaps


def test_vectors_made_of_the_trees_give_the_trees(trees):
    vectors, labels, unary, gaps = gold_vectors(trees)
    dim = vectors[0].shape[1]
    subspace = AstSubspace(dim, dim, len(labels), len(unary))
    with torch.no_grad():
        subspace.basis.copy_(torch.eye(dim))
        subspace.labels.copy_(torch.eye(dim)[gaps : gaps + len(labels)])
        subspace.unary.copy_(torch.eye(dim)[gaps + len(labels) :])
    reader = TreeReader(subspace, tuple(labels), tuple(unary))
    score = score_trees("gold", [reader.read(own) for own in vectors], trees)
    assert (score.precision.value, score.recall.value, score.f1.value, score.label_accuracy) == (1, 1, 1, 1)


def test_a_probe_finds_what_is_there_and_nothing_in_noise():
    draw = np.random.default_rng(0)
    small = [
        TreeTuple(
            tuple((k, k + 1) for k in range(6)),
            tuple(map(int, draw.permutation(5))),
            tuple(map(str, draw.choice(["", "A", "B"], 5))),
            tuple(map(str, draw.choice(["", "C"], 6))),
        )
        for _ in range(80)
    ]
    vectors = gold_vectors(small)[0]
    drawn = [draw.normal(size=own.shape).astype(np.float32) for own in vectors]
    found, chance = (
        layer_score(both.at(range(60)), both.at(range(60, 80)), 0, rank=10, num_steps=200, learning_rate=0.03)
        for both in (LeafVectors(tuple(small), {0: given}) for given in (vectors, drawn))
    )
    assert found.f1.value > 0.9
    assert chance.f1.value < 0.5


def test_an_orthonormal_basis_of_full_rank_keeps_squared_distances():
    subspace = AstSubspace(dim=16, rank=16, num_labels=2, num_unary=2, seed=3)
    vectors = torch.randn(2, 7, 16, generator=torch.Generator().manual_seed(0))
    distances, _, _ = subspace(vectors)
    assert torch.allclose(distances, (vectors[:, 1:] - vectors[:, :-1]).square().sum(-1), rtol=1e-4)
    assert subspace.penalty() < 1e-9


def test_a_basis_of_lower_rank_never_adds_distance():
    vectors = torch.randn(2, 7, 16, generator=torch.Generator().manual_seed(0))
    full, part = (AstSubspace(16, rank, 2, 2)(vectors)[0] for rank in (16, 5))
    assert (part < full).all()


def test_scores_are_inner_products_with_label_vectors():
    subspace = AstSubspace(dim=5, rank=3, num_labels=4, num_unary=2, seed=1)
    vectors = torch.randn(1, 6, 5, generator=torch.Generator().manual_seed(0))
    distances, labels, unary = subspace(vectors)
    inside = [subspace.basis @ own for own in vectors[0]]
    for gap, (before, behind) in enumerate(itertools.pairwise(inside)):
        assert torch.isclose(distances[0, gap], (before - behind).norm() ** 2, atol=1e-5)
        assert torch.allclose(labels[0, gap], torch.stack([v @ (behind - before) for v in subspace.labels]), atol=1e-5)
    assert torch.allclose(unary[0, 2], torch.stack([v @ inside[2] for v in subspace.unary]), atol=1e-5)


def test_the_penalty_by_hand():
    subspace = AstSubspace(dim=3, rank=2, num_labels=1, num_unary=1)
    with torch.no_grad():
        subspace.basis.copy_(torch.tensor([[2.0, 0, 0], [1.0, 0, 1]]))
    assert subspace.penalty().item() == (4 - 1) ** 2 + 2 * 2**2 + (2 - 1) ** 2


def test_the_ranking_loss_is_its_definition():
    draw = torch.Generator().manual_seed(0)
    predicted, distances = torch.rand(3, 6, generator=draw) * 3, torch.randint(0, 4, (3, 6), generator=draw).float()
    lengths = [6, 4, 1]
    mask = torch.arange(6) < torch.tensor(lengths)[:, None]
    total = 0.0
    for own, wanted, length in zip(predicted.tolist(), distances.tolist(), lengths, strict=True):
        terms = [
            max(0.0, 1 - np.sign(wanted[i] - wanted[j]) * (own[i] - own[j]))
            for i, j in itertools.combinations(range(length), 2)
            if wanted[i] != wanted[j]
        ]
        total += sum(terms) / len(terms) if terms else 0.0
    assert ranking_loss(predicted, distances, mask).item() == pytest.approx(total / 3, rel=1e-5)


def test_the_ranking_loss_by_hand():
    gaps = torch.tensor([[2.0, 1.0, 3.0]])
    everything = torch.ones(1, 3, dtype=torch.bool)
    assert ranking_loss(gaps, gaps, everything).item() == 0
    assert ranking_loss(torch.zeros(1, 3), gaps, everything).item() == 1
    assert ranking_loss(-gaps, gaps, everything).item() == pytest.approx((2 + 2 + 3) / 3)


def test_padding_changes_no_loss():
    gaps, wanted = torch.rand(1, 5), torch.tensor([[1.0, 4, 2, 3, 1]])
    plain = ranking_loss(gaps, wanted, torch.ones(1, 5, dtype=torch.bool))
    padded = [torch.nn.functional.pad(each, (0, 3), value=9.0) for each in (gaps, wanted)]
    assert torch.allclose(ranking_loss(*padded, torch.arange(8)[None] < 5), plain)


def test_nodes_count_as_often_as_they_occur():
    wanted = TreeTuple(((0, 1), (1, 2)), (1,), ("A+A+B",), ("", "C"))
    score = score_trees("x", [([1.0], ["A+B+B"], ["", ""])], [wanted])
    nodes = constituents(wanted.distances, wanted.labels, wanted.unary)
    assert nodes == [("A", 0, 1), ("A", 0, 1), ("B", 0, 1), ("C", 1, 1)]
    assert score.precision.value == pytest.approx(2 / 3)
    assert score.recall.value == pytest.approx(2 / 4)
    assert score.f1.value == pytest.approx(2 * 2 / 7)
    assert score.label_accuracy == 0


def test_labels_that_training_had_not_are_never_right():
    train = TreeTuple(((0, 1), (1, 2)), (1,), ("A",), ("", ""))
    test = TreeTuple(((0, 1), (1, 2)), (1,), ("Z",), ("", ""))
    vectors = [np.eye(2, dtype=np.float32)]
    learned, read = (LeafVectors((tree,), {0: vectors}) for tree in (train, test))
    score = layer_score(learned, read, 0, rank=2, num_steps=20)
    assert (score.f1.value, score.label_accuracy) == (0, 0)


def test_floors(trees):
    right, structure = floor_scores(trees, trees)
    assert right.f1.value < structure.f1.value < 0.3
    labels = [label for tree in trees for label in tree.labels]
    assert right.label_accuracy == pytest.approx(labels.count("") / len(labels))
    flat = TreeTuple(((0, 1), (1, 2), (2, 3)), (2, 1), ("A", "A"), ("", "", ""))
    assert [score.f1.value for score in floor_scores([flat], [flat])] == [1, 1]


def test_a_tree_of_one_leaf_can_be_learned_and_read():
    one = TreeTuple(((0, 1),), (), (), ("A",))
    vectors = [np.ones((1, 3), dtype=np.float32)]
    reader = fit_subspace(vectors, [one], rank=1, num_steps=50, learning_rate=0.1)
    assert reader.read(vectors[0]) == ([], [], ["A"])
    assert score_trees("one", [reader.read(vectors[0])], [one]).f1.value == 1


def test_equal_seeds_give_equal_probes(trees):
    vectors, *_ = gold_vectors(trees[-5:])
    first, same, other = (fit_subspace(vectors, trees[-5:], rank=4, num_steps=5, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.subspace.basis, same.subspace.basis)
    assert not torch.equal(first.subspace.basis, other.subspace.basis)


@pytest.mark.parametrize(
    ("options", "said"),
    [({"rank": 0}, "rank must be"), ({"rank": 9}, "rank must be"), ({"num_steps": 0}, "num_steps must be"),
     ({"batch_size": 0}, "batch_size must be")],
)  # fmt: skip
def test_bad_arguments_of_the_fit(options, said):
    tree = TreeTuple(((0, 1), (1, 2)), (1,), ("A",), ("", ""))
    with pytest.raises(InputError, match=said):
        fit_subspace([np.eye(2, dtype=np.float32)], [tree], **{"rank": 2, **options})
    with pytest.raises(InputError, match="each tree needs its vectors"):
        fit_subspace([], [])


class TestVectors:
    """What is read of an encoder."""

    def test_leaves_are_means_of_their_tokens_at_each_layer(self, make_encoder):
        encoder = make_encoder()
        found = leaf_vectors(encoder, SOURCES, num_layers=[0, 1, 2])
        assert found.left_out == 0
        for layer in (0, 1, 2):
            for source, tree, own in zip(SOURCES, found.trees, found.vectors[layer], strict=True):
                (readout,) = read_tokens(encoder, [source], num_layers=layer)
                for (start, end), vector in zip(tree.leaves, own, strict=True):
                    tokens = [k for k, (a, b) in enumerate(readout.offsets) if max(a, start) < min(b, end)]
                    assert np.allclose(vector, readout.embeddings[tokens].mean(axis=0), atol=1e-6)

    def test_sources_longer_than_the_window_are_left_out(self, make_encoder):
        encoder = make_encoder()
        encoder.max_seq_length = 24
        found = leaf_vectors(encoder, ["def a(): return 1", "x = [" + "1, " * 40 + "]"], num_layers=[1])
        assert (len(found.trees), found.left_out) == (1, 1)

    def test_a_last_leaf_cut_by_the_window_is_left_out(self, make_encoder):
        encoder = make_encoder()
        encoder.max_seq_length = 8
        found = leaf_vectors(encoder, ["a.bcd", "a.bcdefghijk"], num_layers=[0])
        assert (len(found.trees), found.left_out) == (1, 1)

    def test_layers_of_chance_keep_the_embeddings(self, make_encoder):
        encoder = make_encoder()
        before = {name: weight.clone() for name, weight in encoder.state_dict().items()}
        control = random_layers(encoder, seed=1)
        encoders = (encoder, control, random_layers(encoder, seed=1))
        plain, drawn, again = (leaf_vectors(each, SOURCES, num_layers=[0, 1]) for each in encoders)
        assert all(np.array_equal(*pair) for pair in zip(plain.vectors[0], drawn.vectors[0], strict=True))
        assert not np.allclose(plain.vectors[1][0], drawn.vectors[1][0])
        assert np.array_equal(drawn.vectors[1][0], again.vectors[1][0])
        assert all(torch.equal(before[name], weight) for name, weight in encoder.state_dict().items())

    @pytest.mark.parametrize("layers", [[], [2, 1], [1, 1], [0, 99]])
    def test_layers_out_of_order_or_range(self, make_encoder, layers):
        with pytest.raises(InputError, match="num_layers must be"):
            leaf_vectors(make_encoder(), SOURCES, num_layers=layers)


class TestProbe:
    """The whole measurement."""

    def test_all_layers_beside_the_controls(self, make_encoder):
        found = ast_probe(make_encoder(), SOURCES * 2, SOURCES, rank=8, num_steps=20)
        assert found.num_layers == (0, 1, 2, 3, 4)
        assert [score.name for score in found.scores] == [f"layer {k}" for k in range(5)]
        assert found.random.name.startswith("random, layer ")
        assert found.best in found.scores
        assert all(0 <= score.f1.low <= score.f1.value <= score.f1.high <= 1 for score in found.scores)
        lines = str(found).split("\n")
        assert lines[0] == "AST-Probe: rank 8, 20 steps"
        assert lines[1].split() == ["vectors", "precision", "recall", "F1", "label", "accuracy"]
        assert [line.split("  ")[0] for line in lines[-3:-1]] == ["right-branching", "right structure, one label"]
        assert lines[-1].startswith("- 20 steps are too few")
        pytest.importorskip("matplotlib")
        (axis,) = found.plot().axes
        assert len(axis.get_legend_handles_labels()[1]) == 4

    def test_sources_left_out_are_counted(self, make_encoder):
        long = "x = [" + "1, " * 40 + "]"
        found = ast_probe(make_encoder(), [*SOURCES, long], SOURCES, num_layers=[1], rank=4, num_steps=5)
        assert found.left_out == 1
        assert found.notes[0] == "1 of 5 sources are longer than the window: left out"

    def test_nothing_that_fits_is_refused(self, make_encoder):
        encoder = make_encoder()
        encoder.max_seq_length = 4
        with pytest.raises(InputError, match="test must hold a source that fits"):
            ast_probe(encoder, ["-a", "a"], ["a = [b, c, d]"], num_layers=[0])
        with pytest.raises(InputError, match="must be Python that parses"):
            ast_probe(encoder, ["def ("], ["a"], num_layers=[0])


@pytest.mark.slow
def test_middle_layers_of_the_default_model_hold_more_syntax_than_layers_of_chance(default_encoder):
    import ast
    import dataclasses
    import tarfile
    import typing

    train, test = (
        [each.code for module in modules for each in find_functions(inspect.getsource(module)) if len(each.code) < 500]
        for modules in ([ast, typing, tarfile, textwrap], [json.decoder, json.encoder, dataclasses])
    )
    found = ast_probe(default_encoder, train, test, num_layers=[0, 3, 6], num_steps=1000)
    embeddings, middle, last = (score.f1.value for score in found.scores)
    assert middle > embeddings + 0.03
    assert middle > found.random.f1.value + 0.03
    assert last < middle
