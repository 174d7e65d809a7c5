"""Concept activations: the oracles are loops over numbers."""

import math

import numpy as np
import pytest
import torch

from embedkit.errors import InputError
from embedkit.modules.projection import LinearConcepts, PrototypeConcepts

NAMES = ["red", "green", "blue"]
PROTOTYPES = np.random.default_rng(0).normal(size=(3, 5))
VECTORS = np.random.default_rng(1).normal(size=(7, 5)).astype(np.float32)


def activations(concepts, vectors=VECTORS):
    return concepts.activations(torch.from_numpy(np.asarray(vectors, dtype=np.float32))).detach().numpy()


def cosine(a, b):
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(y * y for y in b))


def test_prototypes_in_plain_loops():
    expected = [[max(0.0, cosine(vector, prototype)) for prototype in PROTOTYPES] for vector in VECTORS.tolist()]
    np.testing.assert_allclose(activations(PrototypeConcepts(NAMES, PROTOTYPES)), expected, rtol=0, atol=1e-6)


def test_linear_in_plain_loops():
    bias = [0.5, -1.0, 0.0]
    expected = [
        [
            math.log(1 + math.exp(sum(w * x for w, x in zip(row, vector, strict=True)) + b))
            for row, b in zip(PROTOTYPES, bias, strict=True)
        ]
        for vector in VECTORS.tolist()
    ]
    found = activations(LinearConcepts(NAMES, PROTOTYPES, bias))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    logits = VECTORS @ PROTOTYPES.T.astype(np.float32) + np.float32(bias)
    np.testing.assert_allclose(1 - np.exp(-found), 1 / (1 + np.exp(-logits)), rtol=0, atol=1e-5)


def test_worked_by_hand():
    concepts = PrototypeConcepts(["x", "y"], [[2, 0], [0, 1]])
    np.testing.assert_allclose(activations(concepts, [[3, 4], [-1, 0]]), [[0.6, 0.8], [0, 0]], rtol=1e-6)


def test_one_hot_prototypes_give_the_indicator():
    concepts = PrototypeConcepts(NAMES, np.eye(3))
    np.testing.assert_array_equal(activations(concepts, np.eye(3)), np.eye(3))


def test_lengths_do_not_matter_and_columns_follow_the_names():
    plain = activations(PrototypeConcepts(NAMES, PROTOTYPES))
    scaled = activations(PrototypeConcepts(NAMES, PROTOTYPES * [[2], [0.1], [7]]), VECTORS * 3)
    np.testing.assert_allclose(scaled, plain, rtol=0, atol=1e-6)
    order = [2, 0, 1]
    turned = activations(PrototypeConcepts([NAMES[i] for i in order], PROTOTYPES[order]))
    np.testing.assert_allclose(turned, plain[:, order], rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_and_a_zero_vector_give_no_nan(dtype):
    for concepts in (PrototypeConcepts(NAMES, PROTOTYPES), LinearConcepts(NAMES, PROTOTYPES, [0, 0, 0])):
        found = concepts.to(dtype).activations(torch.zeros(1, 5, dtype=dtype))
        assert torch.isfinite(found).all()
        assert found.dtype == dtype


def test_gradients_reach_the_weights():
    for concepts in (PrototypeConcepts(NAMES, PROTOTYPES), LinearConcepts(NAMES, PROTOTYPES, [0, 0, 0])):
        concepts.activations(torch.from_numpy(VECTORS)).sum().backward()
        assert all(weight.grad.any() for weight in concepts.parameters())


def test_saved_and_loaded(tmp_path):
    for concepts in (PrototypeConcepts(NAMES, PROTOTYPES), LinearConcepts(NAMES, PROTOTYPES, [1, 2, 3])):
        folder = tmp_path / type(concepts).__name__
        folder.mkdir()
        concepts.save(str(folder))
        loaded = type(concepts).load(str(folder))
        assert loaded.names == NAMES
        np.testing.assert_array_equal(activations(loaded), activations(concepts))
        assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors"}


@pytest.mark.parametrize("names", [[], ["a", "a", "b"], [1, 2, 3], "abc"])
def test_names_that_are_none_are_refused(names):
    with pytest.raises(InputError, match="names must be different texts"):
        PrototypeConcepts(names, PROTOTYPES)


@pytest.mark.parametrize("values", [np.zeros((2, 5)), np.zeros(3), np.zeros((3, 0))])
def test_shapes_that_do_not_fit_are_refused(values):
    with pytest.raises(InputError, match="one row for each of the 3 names"):
        PrototypeConcepts(NAMES, values)
    with pytest.raises(InputError, match="one row for each of the 3 names"):
        LinearConcepts(NAMES, values, [0, 0, 0])
    with pytest.raises(InputError, match="bias must have one row"):
        LinearConcepts(NAMES, PROTOTYPES, [0, 0])


def test_numbers_that_mean_nothing_are_refused():
    with pytest.raises(InputError, match="'green' is zero"):
        PrototypeConcepts(NAMES, [[1, 0], [0, 0], [0, 1]])
    with pytest.raises(InputError, match="prototypes must be finite"):
        PrototypeConcepts(NAMES, [[1, 0], [np.nan, 0], [0, 1]])
