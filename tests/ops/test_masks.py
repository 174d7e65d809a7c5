import pytest
import torch

from embedkit.ops.masks import masked_mean, without_first


def test_the_mean_is_that_of_loops():
    states, mask = torch.randn(4, 6, 3, dtype=torch.float64), torch.rand(4, 6) > 0.4
    mask[0] = False
    for row in range(4):
        counted = [states[row, token] for token in range(6) if mask[row, token]]
        expected = sum(counted) / len(counted) if counted else torch.zeros(3, dtype=torch.float64)
        torch.testing.assert_close(masked_mean(states, mask)[row], expected)


@pytest.mark.parametrize("odd", [float("nan"), float("inf")])
def test_what_does_not_count_has_no_influence_and_no_gradient(odd):
    states = torch.tensor([[[2.0], [odd]], [[odd], [odd]]], requires_grad=True)
    mean = masked_mean(states, torch.tensor([[True, False], [False, False]]))
    assert mean.tolist() == [[2.0], [0.0]]
    mean.sum().backward()
    assert states.grad.flatten().tolist() == [1.0, 0.0, 0.0, 0.0]


def test_half_precision_sums_in_single():
    states = torch.full((1, 4096, 1), 32.0, dtype=torch.float16)
    assert masked_mean(states, torch.ones(1, 4096, dtype=torch.bool)).item() == 32.0


def test_the_first_tokens_of_each_row_are_left_out():
    mask = torch.tensor([[1, 1, 1, 0], [0, 1, 1, 1], [1, 0, 1, 1], [0, 0, 0, 0]]).bool()
    found = without_first(mask, torch.tensor([1, 2, 2, 1]))
    assert found.int().tolist() == [[0, 1, 1, 0], [0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0]]
    assert not without_first(mask, torch.tensor([9, 9, 9, 9])).any()
    assert torch.equal(without_first(mask, torch.tensor([0, 0, 0, 0])), mask)
