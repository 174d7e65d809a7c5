import math

import pytest
import torch

from embedkit.errors import InputError
from embedkit.modules.pooling import PromptPooling


def pooling_of(weight, num_layers=6, **options):
    pooling = PromptPooling(len(weight), num_layers, **options).double()
    pooling.weight.data = torch.as_tensor(weight, dtype=torch.float64)
    return pooling


def test_it_is_the_formula():
    torch.manual_seed(0)
    states, weight = torch.randn(4, 2, 5, 3).double(), [0.3, -1.0, 2.0]
    marks = torch.tensor([[0, 0, 1, 0, 0], [0, 1, 0, 0, 0]])
    features = {
        "all_layer_embeddings": tuple(states),
        "attention_mask": torch.tensor([[1] * 5, [1, 1, 1, 0, 0]]),
        "prompt_mask": marks,
    }
    found = pooling_of(weight, 3)(features)["sentence_embedding"].detach()
    for row, place in enumerate((2, 1)):
        read = [[float(states[layer, row, place, dim]) for dim in range(3)] for layer in (1, 2, 3)]
        powers = [math.exp(sum(w * math.tanh(x) for w, x in zip(weight, r, strict=True))) for r in read]
        for dim in range(3):
            total = sum(power / sum(powers) * r[dim] for power, r in zip(powers, read, strict=True))
            assert float(found[row, dim]) == pytest.approx(max(0.0, total), abs=1e-12)


def test_a_number_worked_by_hand():
    """tanh(ln 3 / 2) = 1/2 and tanh(0) = 0; with a weight of 2 ln 3 the shares are 3/4 and 1/4."""
    half = math.log(3) / 2
    pooling = pooling_of([2 * math.log(3), 0.0])
    layers = torch.tensor([[[half, 4.0], [0.0, -8.0]], [[half, -4.0], [0.0, 8.0]]], dtype=torch.float64)
    torch.testing.assert_close(pooling.attention(layers), torch.tensor([[0.75, 0.25]] * 2, dtype=torch.float64))
    expected = torch.tensor([[0.75 * half, 1.0], [0.75 * half, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(pooling.mix(layers), expected)


def test_without_a_weight_it_is_the_mean_of_the_layers():
    layers = torch.randn(5, 6, 8).double()
    pooling = pooling_of([0.0] * 8)
    torch.testing.assert_close(pooling.attention(layers), torch.full((5, 6), 1 / 6).double())
    torch.testing.assert_close(pooling.mix(layers), layers.mean(dim=1).relu())


def test_one_layer_is_the_state_at_the_mask():
    states = torch.randn(7, 2, 4, 8)
    marks = torch.tensor([[0, 1, 0, 0], [0, 0, 0, 1]])
    pooling = PromptPooling(8, 6, first_layer=6)
    pooling.weight.data += 3
    found = pooling({"all_layer_embeddings": tuple(states), "prompt_mask": marks})["sentence_embedding"]
    torch.testing.assert_close(found, states[-1, [0, 1], [1, 3]].relu(), rtol=0, atol=0)


def test_layers_may_come_in_any_order_with_their_shares():
    torch.manual_seed(1)
    pooling, layers, order = pooling_of(torch.randn(8)), torch.randn(5, 6, 8).double(), torch.randperm(6)
    torch.testing.assert_close(pooling.mix(layers[:, order]), pooling.mix(layers))
    torch.testing.assert_close(pooling.attention(layers[:, order]), pooling.attention(layers)[:, order])


def test_one_more_layer_of_the_same_state_changes_nothing():
    pooling, state = pooling_of(torch.randn(8)), torch.randn(5, 1, 8).double()
    torch.testing.assert_close(pooling.mix(state.expand(5, 4, 8)), state[:, 0].relu())


def test_only_the_mask_is_read():
    torch.manual_seed(2)
    states, marks = torch.randn(7, 2, 4, 8), torch.tensor([[0, 1, 0, 0], [0, 0, 1, 0]])
    pooling = PromptPooling(8, 6)
    features = {"attention_mask": torch.ones(2, 4), "prompt_mask": marks}
    expected = pooling({**features, "all_layer_embeddings": tuple(states)})["sentence_embedding"]
    noise = torch.where(marks[None, :, :, None] > 0, states, torch.full_like(states, float("nan")))
    found = pooling({**features, "all_layer_embeddings": tuple(noise), "prompt_length": 2})["sentence_embedding"]
    assert torch.equal(found, expected)


def test_a_row_without_a_mask_is_zero():
    features = {"all_layer_embeddings": tuple(torch.randn(7, 1, 4, 8)), "prompt_mask": torch.zeros(1, 4)}
    assert not PromptPooling(8, 6)(features)["sentence_embedding"].any()


def test_large_states_in_half_precision_stay_finite():
    pooling = PromptPooling(2, 2).half()
    pooling.weight.data = torch.tensor([60000.0, -60000.0]).half()
    assert torch.equal(pooling.mix(torch.full((1, 2, 2), 30000.0)), torch.full((1, 2), 30000.0).half())


@pytest.mark.parametrize("shape", [(5, 8), (5, 7, 8), (5, 0, 8), (5, 6, 9)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(InputError, match=r"pooled_layers must have shape \(n, 1 … 6, 8\)"):
        PromptPooling(8, 6).mix(torch.zeros(shape))


@pytest.mark.parametrize("first_layer", [-1, 7, "1", None])
def test_a_first_layer_out_of_range_is_refused(first_layer):
    with pytest.raises(InputError, match="first_layer"):
        PromptPooling(8, 6, first_layer=first_layer)
