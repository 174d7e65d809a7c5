import math

import numpy as np
import pytest
import torch
from sentence_transformers.sentence_transformer.modules import Pooling

from embedkit.errors import InputError
from embedkit.modules.pooling import LatentAttentionPooling


def pooled(pooling, states, mask, **more):
    return pooling({"token_embeddings": states, "attention_mask": mask, **more})["sentence_embedding"]


def random_input(n=3, tokens=5, dim=8, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mask = torch.arange(tokens) < torch.randint(1, tokens + 1, (n, 1), generator=generator)
    return torch.randn(n, tokens, dim, generator=generator, dtype=dtype), mask.long()


def make(**options):
    torch.manual_seed(1)
    sizes = {"num_latents": 4, "num_heads": 2, "head_dim": 3, "init": "random", **options}
    return LatentAttentionPooling(8, **sizes).double()


def normed(vector, norm):
    mean, variance = vector.mean(), vector.var()
    return (vector - mean) / math.sqrt(variance + norm.eps) * weights(norm.weight) + weights(norm.bias)


def weights(parameter):
    return parameter.detach().numpy()


def by_loops(pooling, states, mask):
    """The docstring's formula, number by number."""
    attention, mlp, dim = pooling.attention, pooling.mlp, pooling.head_dim
    keys_and_values = [
        weights(attention.to_keys_and_values.weight) @ normed(latent, attention.context_norm)
        for latent in weights(pooling.latents)
    ]
    inner = pooling.num_heads * dim
    vectors = []
    for row, counts in zip(states.numpy(), mask.numpy(), strict=True):
        tokens = []
        for x, count in zip(row, counts, strict=True):
            if not count:
                continue
            query = weights(attention.to_queries.weight) @ normed(x, attention.query_norm)
            attended = []
            for head in range(pooling.num_heads):
                part = slice(head * dim, (head + 1) * dim)
                scores = [math.exp(query[part] @ kv[:inner][part] / math.sqrt(dim)) for kv in keys_and_values]
                shares = [score / sum(scores) for score in scores]
                attended.append(
                    sum(share * kv[inner:][part] for share, kv in zip(shares, keys_and_values, strict=True))
                )
            y = x + weights(attention.to_output.weight) @ np.concatenate(attended)
            wide = weights(mlp.widen.weight) @ normed(y, mlp.norm) + weights(mlp.widen.bias)
            u, g = wide[: len(wide) // 2], wide[len(wide) // 2 :]
            gelu = np.array([value * (1 + math.erf(value / math.sqrt(2))) / 2 for value in g])
            tokens.append(y + weights(mlp.narrow.weight) @ (u * gelu) + weights(mlp.narrow.bias))
        vectors.append(np.mean(tokens, axis=0))
    return np.array(vectors)


def test_it_is_the_formula():
    pooling, (states, mask) = make(), random_input()
    found = pooled(pooling, states, mask).detach().numpy()
    np.testing.assert_allclose(found, by_loops(pooling, states, mask), rtol=0, atol=1e-12)


def test_a_number_worked_by_hand():
    # One latent (1, -1), whose norm is itself; W_kv gives it the value 3, W_o writes 3 into the first dimension.
    pooling = LatentAttentionPooling(2, num_latents=1, num_heads=1, head_dim=1)
    with torch.no_grad():
        pooling.latents.copy_(torch.tensor([[1.0, -1.0]]))
        pooling.attention.to_keys_and_values.weight.copy_(torch.tensor([[0.0, 0.0], [3.0, 0.0]]))
        pooling.attention.to_output.weight.copy_(torch.tensor([[1.0], [0.0]]))
        pooling.attention.context_norm.eps = 0.0
    found = pooled(pooling, torch.tensor([[[1.0, 5.0], [3.0, 7.0], [100.0, 100.0]]]), torch.tensor([[1, 1, 0]]))
    torch.testing.assert_close(found, torch.tensor([[5.0, 6.0]]))  # the mean (2, 6), and 3 more in the first


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_at_the_start_it_is_exactly_masked_mean_pooling(dtype):
    states, mask = random_input(n=20, tokens=33, dim=48, dtype=dtype)
    pooling = LatentAttentionPooling(48).to(dtype)
    mean = Pooling(48, "mean")({"token_embeddings": states, "attention_mask": mask})["sentence_embedding"]
    assert torch.equal(pooled(pooling, states, mask), mean)


def test_one_latent_shifts_all_tokens_alike():
    pooling = make(num_latents=1)
    with torch.no_grad():
        pooling.mlp.narrow.weight.zero_(), pooling.mlp.narrow.bias.zero_()
        attention = pooling.attention
        values = attention.to_keys_and_values(attention.context_norm(pooling.latents))[:, 6:]
        shift = attention.to_output(values)
    states, mask = random_input()
    mean = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    torch.testing.assert_close(pooled(pooling, states, mask), mean + shift, rtol=0, atol=1e-12)


@pytest.mark.parametrize("places", [[2, 0, 3, 1], [0, 1, 2, 3, 0, 1, 2, 3]], ids=["in another order", "all twice"])
def test_latents_are_a_set(places):
    pooling, (states, mask) = make(), random_input()
    before = pooled(pooling, states, mask)
    pooling.latents = torch.nn.Parameter(pooling.latents.detach()[places])
    torch.testing.assert_close(pooled(pooling, states, mask), before, rtol=0, atol=1e-12)


def test_a_random_start_is_not_the_mean():
    states, mask = random_input()
    mean = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    assert (pooled(make(), states, mask) - mean).abs().max() > 0.1


def test_a_backbone_in_half_precision_goes_with_weights_in_full():
    states, mask = random_input(dtype=torch.bfloat16)
    vectors = pooled(make().float(), states, mask)
    assert vectors.dtype == torch.float32
    assert vectors.isfinite().all()


def test_it_trains_within_autocast():
    states, mask = random_input(dtype=torch.float32)
    pooling = make().float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        vectors = pooled(pooling, states, mask)
    vectors.square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in pooling.parameters())


@pytest.mark.parametrize("init", ["zero", "", None, 1])
def test_an_unknown_start_is_refused(init):
    with pytest.raises(InputError, match="init must be 'mean' or 'random'"):
        LatentAttentionPooling(8, init=init)
