import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from embedkit.modules.pooling import MultiLayerPooling


def make(num_latents=3, **options):
    torch.manual_seed(1)
    sizes = {"num_layers": 4, "num_heads": 2, "head_dim": 3, **options}
    pooling = MultiLayerPooling(8, num_latents=num_latents, **sizes).double()
    torch.nn.init.normal_(pooling.layer_vectors)
    return pooling


def normed(vector, norm):
    scaled = (vector - vector.mean()) / math.sqrt(vector.var() + norm.eps)
    return scaled * weights(norm.weight) + weights(norm.bias)


def weights(parameter):
    return parameter.detach().numpy()


def by_loops(pooling, pooled_layers):
    """The docstring's formula, number by number."""
    attention, mlp, dim = pooling.attention, pooling.mlp, pooling.head_dim
    inner = pooling.num_heads * dim
    vectors = []
    for row in pooled_layers.numpy():
        layers = [
            weights(attention.to_keys_and_values.weight) @ normed(s + own, attention.context_norm)
            for s, own in zip(row, weights(pooling.layer_vectors), strict=False)
        ]
        read = []
        for latent in weights(pooling.latents):
            query = weights(attention.to_queries.weight) @ normed(latent, attention.query_norm)
            attended = []
            for head in range(pooling.num_heads):
                part = slice(head * dim, (head + 1) * dim)
                scores = [math.exp(query[part] @ layer[:inner][part] / math.sqrt(dim)) for layer in layers]
                values = [score * layer[inner:][part] for score, layer in zip(scores, layers, strict=True)]
                attended.append(sum(values) / sum(scores))
            y = latent + weights(attention.to_output.weight) @ np.concatenate(attended)
            wide = weights(mlp.widen.weight) @ normed(y, mlp.norm) + weights(mlp.widen.bias)
            u, g = wide[: len(wide) // 2], wide[len(wide) // 2 :]
            gelu = np.array([value * (1 + math.erf(value / math.sqrt(2))) / 2 for value in g])
            read.append(y + weights(mlp.narrow.weight) @ (u * gelu) + weights(mlp.narrow.bias))
        vectors.append(np.mean(read, axis=0))
    return np.array(vectors)


@pytest.mark.parametrize("depth", [1, 3, 4])
def test_it_is_the_formula(depth):
    pooling, layers = make(), torch.randn(5, depth, 8).double()
    found = pooling.mix(layers).detach().numpy()
    np.testing.assert_allclose(found, by_loops(pooling, layers), rtol=0, atol=1e-12)


def test_a_number_worked_by_hand():
    # The latent (1, 2) reads with a query of zero, so evenly: the layers' norms (1, -1) and (-1, 1) have the values 4
    # and -4 · ½ + … = 0 in the mean; with the second layer gone the value is 4, which W_o adds to both dimensions.
    pooling = MultiLayerPooling(2, 2, num_latents=1, num_heads=1, head_dim=1)
    with torch.no_grad():
        pooling.latents.copy_(torch.tensor([[1.0, 2.0]]))
        pooling.attention.context_norm.eps = 0.0
        pooling.attention.to_queries.weight.zero_()
        pooling.attention.to_keys_and_values.weight.copy_(torch.tensor([[1.0, 0.0], [4.0, 0.0]]))
        pooling.attention.to_output.weight.fill_(1.0)
        pooling.mlp.narrow.weight.zero_(), pooling.mlp.narrow.bias.zero_()
    layers = torch.tensor([[[5.0, 1.0], [1.0, 5.0]]])
    torch.testing.assert_close(pooling.mix(layers), torch.tensor([[1.0, 2.0]]))
    torch.testing.assert_close(pooling.mix(layers[:, :1]), torch.tensor([[5.0, 6.0]]))


def test_a_query_of_zero_reads_only_the_mean_of_the_values():
    pooling = make(num_latents=1)
    pooling.attention.to_queries.weight.data.zero_()
    layers = torch.randn(5, 4, 8).double()
    attention = pooling.attention
    values = attention.to_keys_and_values(attention.context_norm(layers + pooling.layer_vectors))[..., 6:]
    read = pooling.latents + attention.to_output(values.mean(dim=1))
    torch.testing.assert_close(pooling.mix(layers), read + pooling.mlp(read))


def test_equal_rows_without_layer_vectors_are_one_row():
    pooling = make()
    pooling.layer_vectors.data.zero_()
    layers = torch.randn(5, 1, 8).double()
    torch.testing.assert_close(pooling.mix(layers.expand(-1, 4, -1)), pooling.mix(layers))


def test_layers_change_places_with_their_vectors():
    pooling, layers, places = make(), torch.randn(5, 4, 8).double(), [2, 0, 3, 1]
    before = pooling.mix(layers)
    pooling.layer_vectors.data = pooling.layer_vectors.data[places]
    torch.testing.assert_close(pooling.mix(layers[:, places]), before)
    assert (pooling.mix(layers) - before).abs().max() > 1e-4


def test_latents_are_a_set():
    pooling, layers = make(), torch.randn(5, 4, 8).double()
    before = pooling.mix(layers)
    pooling.latents.data = pooling.latents.data[[2, 0, 1]]
    torch.testing.assert_close(pooling.mix(layers), before)


def test_a_head_trains_on_cached_layers():
    torch.manual_seed(0)
    pooling = MultiLayerPooling(8, 3, num_latents=4, num_heads=2, head_dim=4)
    cached, target = torch.randn(64, 3, 8), torch.randn(8, 8)
    wanted = cached[:, 1] @ target  # a function of the second layer alone
    optimizer = torch.optim.Adam(pooling.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = functional.mse_loss(pooling.mix(cached), wanted)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 4
