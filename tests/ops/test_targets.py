from functools import partial

import pytest
import torch

from embedkit.errors import InputError
from embedkit.ops.targets import cosine_weights, same_key


def test_same_key_by_hand():
    found = same_key(torch.tensor([1, 2, 1]), torch.tensor([2, 1]))
    assert found.tolist() == [[0, 1], [1, 0], [0, 1]]


def test_cosine_weights_by_hand():
    rows, candidates = torch.tensor([[2.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 3.0], [-1.0, 0.0]])
    torch.testing.assert_close(cosine_weights(rows, candidates), torch.tensor([[1.0, 0.5, 0.0]]))
    sharp = cosine_weights(rows, candidates, temperature=0.5)
    torch.testing.assert_close(sharp, torch.exp(torch.tensor([[0.0, -2.0, -4.0]])))


def test_weights_do_not_depend_on_length_or_rotation():
    features = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    rotation, _ = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(1)))
    weights = cosine_weights(features, features)
    torch.testing.assert_close(cosine_weights(3 * features, features @ torch.eye(4)), weights)
    torch.testing.assert_close(cosine_weights(features @ rotation, features @ rotation), weights)


def test_a_low_temperature_leaves_the_row_itself():
    features = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(cosine_weights(features, features, temperature=1e-3), torch.eye(5), atol=1e-3, rtol=0)


def test_no_gradient_reaches_the_features():
    features = torch.randn(3, 2, requires_grad=True)
    assert not cosine_weights(features, features).requires_grad


@pytest.mark.parametrize("target", [same_key, cosine_weights, partial(cosine_weights, temperature=0.0)])
def test_what_cannot_be_is_refused(target):
    with pytest.raises(InputError, match=r"labels must be .*received|temperature must be above 0"):
        target(*(2 * [torch.zeros(2, 2) if isinstance(target, partial) else torch.zeros(2, 2, 2)]))


@pytest.mark.parametrize("target", [same_key, cosine_weights])
def test_nothing_is_like_nothing(target):
    nothing = torch.zeros(0, dtype=torch.long) if target is same_key else torch.zeros(0, 3)
    assert target(nothing, nothing).shape == (0, 0)
