import math

import pytest
import torch

from embedkit.errors import InputError
from embedkit.modules.pooling import LayerMixPooling


def test_it_is_the_formula():
    torch.manual_seed(0)
    pooling, states, mask = LayerMixPooling(3, 2).double(), torch.randn(3, 2, 4, 3).double(), [[1, 1, 0, 0], [1] * 4]
    pooling.logits.data = torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64)
    features = {"all_layer_embeddings": tuple(states), "attention_mask": torch.tensor(mask)}
    found = pooling(features)["sentence_embedding"].detach()
    exponentials = [math.exp(value) for value in (0.3, -1.0, 2.0)]
    for row in range(2):
        for dim in range(3):
            expected = 0.0
            for layer in range(3):
                tokens = [float(states[layer, row, token, dim]) for token in range(4) if mask[row][token]]
                expected += exponentials[layer] / sum(exponentials) * sum(tokens) / len(tokens)
            assert float(found[row, dim]) == pytest.approx(expected, abs=1e-12)


def test_a_number_worked_by_hand():
    pooling = LayerMixPooling(1, 1)
    pooling.logits.data = torch.tensor([0.0, math.log(3.0)])  # shares 1/4 and 3/4
    torch.testing.assert_close(pooling.mix(torch.tensor([[[4.0], [8.0]]])), torch.tensor([[7.0]]))


def test_at_the_start_it_is_the_mean_of_the_layers():
    layers = torch.randn(5, 7, 8)
    torch.testing.assert_close(LayerMixPooling(8, 6).mix(layers), layers.mean(dim=1))


def test_one_layer_is_the_mean_of_its_tokens():
    layers = torch.randn(5, 1, 8)
    pooling = LayerMixPooling(8, 6, first_layer=6)
    pooling.logits.data += 3
    assert torch.equal(pooling.mix(layers), layers[:, 0])


def test_adding_to_all_numbers_changes_nothing():
    pooling, layers = LayerMixPooling(8, 6).double(), torch.randn(5, 7, 8).double()
    pooling.logits.data = torch.randn(7).double()
    before = pooling.mix(layers)
    pooling.logits.data += 5
    torch.testing.assert_close(pooling.mix(layers), before)


def test_fewer_layers_share_what_the_deeper_had():
    pooling, layers = LayerMixPooling(2, 2), torch.tensor([[[1.0, 0.0], [0.0, 1.0], [9.0, 9.0]]])
    pooling.logits.data = torch.tensor([0.0, 0.0, 50.0])
    torch.testing.assert_close(pooling.mix(layers[:, :2]), torch.tensor([[0.5, 0.5]]))


def test_large_numbers_in_half_precision_stay_finite():
    pooling = LayerMixPooling(2, 1).half()
    pooling.logits.data = torch.tensor([60000.0, -60000.0]).half()
    assert torch.equal(pooling.mix(torch.ones(1, 2, 2)), torch.ones(1, 2).half())


@pytest.mark.parametrize("shape", [(5, 8), (5, 8, 8), (5, 0, 8), (5, 7, 9), (5,)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(InputError, match=r"pooled_layers must have shape \(n, 1 … 7, 8\)"):
        LayerMixPooling(8, 6).mix(torch.zeros(shape))


@pytest.mark.parametrize("first_layer", [-1, 7, "1", None, 1.0])
def test_a_first_layer_out_of_range_is_refused(first_layer):
    with pytest.raises(InputError, match="first_layer"):
        LayerMixPooling(8, 6, first_layer=first_layer)


def test_states_of_the_last_layer_alone_are_refused():
    with pytest.raises(InputError, match="with_pooling"):
        LayerMixPooling(8, 6)({"token_embeddings": torch.zeros(1, 1, 8)})
