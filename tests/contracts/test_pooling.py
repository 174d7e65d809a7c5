"""What every pooling does, whatever it pools by. A new one joins with one line in MEMBERS."""

import copy

import numpy as np
import pytest
import torch

import embedkit as ek
from embedkit.encoders.layerwise import with_pooling
from embedkit.errors import InputError, ModelError
from embedkit.modules.pooling import LatentAttentionPooling, LayerMixPooling, MultiLayerPooling, PromptPooling

DIM, DEPTH = 32, 4

MEMBERS = {
    "latent attention, as mean": lambda: LatentAttentionPooling(DIM, num_latents=5, num_heads=2, head_dim=8),
    "latent attention": lambda: LatentAttentionPooling(DIM, num_latents=5, num_heads=2, head_dim=8, init="random"),
    "layer mix": lambda: LayerMixPooling(DIM, DEPTH),
    "layer mix from layer 2": lambda: LayerMixPooling(DIM, DEPTH, first_layer=2),
    "multi-layer": lambda: MultiLayerPooling(DIM, DEPTH, num_latents=3, num_heads=2, head_dim=8),
    "prompt": lambda: PromptPooling(DIM, DEPTH),
}


@pytest.fixture(params=MEMBERS)
def pooling(request):
    torch.manual_seed(0)
    return MEMBERS[request.param]().eval()


def batch(mask, *, dtype=torch.float32, seed=0, **more):
    """Features as a layerwise transformer writes them, with NaN wherever there is padding."""
    mask = torch.tensor(mask)
    generator = torch.Generator().manual_seed(seed)
    states = torch.randn(DEPTH + 1, *mask.shape, DIM, generator=generator).to(dtype)
    states = states.masked_fill(mask[None, :, :, None] == 0, float("nan"))
    return {
        "all_layer_embeddings": tuple(states),
        "token_embeddings": states[-1],
        "attention_mask": mask,
        **more,
    }


def rows(features, index):
    """Some rows of a batch."""
    return {
        name: tuple(state[index] for state in value) if isinstance(value, tuple) else value[index]
        for name, value in features.items()
    }


def vectors_of(pooling, features):
    return pooling({**features})["sentence_embedding"]


MASK = [[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]]


def test_it_adds_one_vector_a_row_and_keeps_the_rest(pooling):
    features = batch(MASK)
    given = pooling({**features})
    assert given["sentence_embedding"].shape == (3, pooling.get_embedding_dimension()) == (3, DIM)
    assert given["sentence_embedding"].isfinite().all()
    assert {name: given[name] is value for name, value in features.items()} == dict.fromkeys(features, True)


def test_padding_has_no_influence_on_either_side(pooling):
    right = batch([[1, 1, 0], [1, 1, 1]])
    left = copy.deepcopy(right)
    for states in (left["attention_mask"], *left["all_layer_embeddings"]):
        states[0] = states[0].roll(1, dims=0)
    left["token_embeddings"] = left["all_layer_embeddings"][-1]
    torch.testing.assert_close(vectors_of(pooling, left), vectors_of(pooling, right), rtol=0, atol=1e-6)


def test_a_row_is_the_same_alone(pooling):
    features = batch(MASK)
    alone = torch.cat([vectors_of(pooling, rows(features, slice(row, row + 1))) for row in range(3)])
    torch.testing.assert_close(alone, vectors_of(pooling, features), rtol=0, atol=1e-6)


def test_tokens_may_stand_in_any_order(pooling):
    features = batch([[1, 1, 1, 1]])
    shuffled = rows(features, (slice(None), [2, 0, 3, 1]))
    torch.testing.assert_close(vectors_of(pooling, shuffled), vectors_of(pooling, features), rtol=0, atol=1e-6)


def test_a_row_of_padding_alone_is_zero_and_gives_no_gradient(pooling):
    features = batch([[0, 0], [1, 1]])
    states = torch.stack(features["all_layer_embeddings"]).requires_grad_()
    features |= {"all_layer_embeddings": tuple(states), "token_embeddings": states[-1]}
    vectors = vectors_of(pooling, features)
    assert not vectors[0].any()
    vectors.square().sum().backward()
    assert not states.grad[:, 0].any()
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in pooling.parameters())


def test_no_row_gives_no_vector(pooling):
    assert vectors_of(pooling, rows(batch(MASK), slice(0, 0))).shape == (0, DIM)


def test_without_a_mask_all_tokens_count(pooling):
    features = batch([[1, 1, 1]])
    full = vectors_of(pooling, features)
    del features["attention_mask"]
    torch.testing.assert_close(vectors_of(pooling, features), full, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_finite_and_near(pooling, dtype):
    half = vectors_of(copy.deepcopy(pooling).to(dtype), batch([*MASK, [0] * 4], dtype=dtype))
    full = vectors_of(pooling, batch([*MASK, [0] * 4], dtype=dtype))
    assert half.dtype == dtype
    assert half.isfinite().all()
    torch.testing.assert_close(half.float(), full.float(), rtol=0.05, atol=0.05)


# -- prompts -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["right", "left"])
def test_each_row_may_leave_out_another_number_of_prompt_tokens(pooling, side):
    pooling.include_prompt = False
    mask = [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
    features = batch([row if side == "right" else row[::-1] for row in mask])
    first, second = (rows(features, slice(row, row + 1)) for row in (0, 1))
    start = 0 if side == "right" else 2
    first, second = rows(first, (slice(None), slice(start + 1, start + 3))), rows(second, (slice(None), slice(3, 5)))
    if isinstance(pooling, LatentAttentionPooling):  # what is left out of the mean was attended by nobody
        first["token_embeddings"], second["token_embeddings"] = (
            each["all_layer_embeddings"][-1] for each in (first, second)
        )
    expected = torch.cat([vectors_of(pooling, first), vectors_of(pooling, second)])
    found = vectors_of(pooling, {**features, "prompt_length": torch.tensor([1, 3])})
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_one_number_of_prompt_tokens_serves_all_rows(pooling):
    pooling.include_prompt = False
    features = batch(MASK)
    found = [
        vectors_of(pooling, {**features, "prompt_length": length})
        for length in (1, torch.tensor([1]), torch.tensor([1, 1, 1]))
    ]
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    assert not found[0][2].any()  # the row has one token, which is the prompt's


def test_a_prompt_that_is_included_changes_nothing(pooling):
    features = batch(MASK)
    assert torch.equal(vectors_of(pooling, {**features, "prompt_length": 2}), vectors_of(pooling, features))


# -- weights -------------------------------------------------------------------------------------------


def test_every_weight_learns(pooling):
    before = {name: parameter.detach().clone() for name, parameter in pooling.named_parameters()}
    optimizer = torch.optim.SGD(pooling.parameters(), lr=0.3)
    for step in range(3):
        optimizer.zero_grad()
        vectors = vectors_of(pooling.train(), batch(MASK, seed=step))
        (vectors - torch.linspace(-1, 1, DIM)).square().mean().backward()
        optimizer.step()
    changed = {name for name, parameter in pooling.named_parameters() if not torch.equal(parameter, before[name])}
    assert changed == set(before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_saved_pooling_reloads_bit_equal(pooling, dtype, tmp_path):
    pooling.to(dtype).save(str(tmp_path))
    reloaded = type(pooling).load(str(tmp_path)).eval()
    features = batch(MASK, dtype=dtype)
    assert torch.equal(vectors_of(reloaded, features), vectors_of(pooling, features))
    assert reloaded.get_config_dict() == pooling.get_config_dict()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


def test_it_is_never_pickled(pooling, tmp_path):
    with pytest.raises(InputError, match="safetensors"):
        pooling.save(str(tmp_path), safe_serialization=False)
    pooling.save(str(tmp_path))
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="lacks"):
        type(pooling).load(str(tmp_path))


# -- bad input -----------------------------------------------------------------------------------------


def test_states_of_another_width_are_refused(pooling):
    features = batch(MASK)
    mask = features.pop("attention_mask")
    narrow = rows(features, (slice(None), slice(None), slice(0, 3))) | {"attention_mask": mask}
    with pytest.raises(InputError, match="token_embeddings"):
        vectors_of(pooling, narrow)


def test_a_flattened_batch_is_refused(pooling):
    with pytest.raises(InputError, match="unpad_inputs"):
        vectors_of(pooling, batch(MASK, cu_seq_lens_q=torch.tensor([0, 4])))


@pytest.mark.parametrize("name", ["dim", "num_layers", "num_latents", "num_heads", "head_dim", "include_prompt"])
@pytest.mark.parametrize("value", [0, -1, 2.0, "2", None])
def test_sizes_out_of_range_are_refused(pooling, name, value):
    settings = pooling.get_config_dict()
    if name not in settings:
        pytest.skip("has no such argument")
    with pytest.raises(InputError, match=name):
        type(pooling)(**{**settings, name: value})


# -- in an encoder -------------------------------------------------------------------------------------

TEXTS = ["a cat sat on the mat", "the dog barks", "", "one two three"]


@pytest.fixture(params=["bert", "modernbert", "llama"])
def encoder(request, pooling, make_encoder):
    return with_pooling(make_encoder(request.param, unit=False), pooling)


def test_in_an_encoder_it_reloads_and_has_a_fingerprint(encoder, pooling, tmp_path):
    vectors = encoder.encode(TEXTS)
    assert vectors.shape == (4, DIM)
    encoder.save(tmp_path / "model")
    reloaded = ek.load(tmp_path / "model", device="cpu")
    np.testing.assert_array_equal(reloaded.encode(TEXTS), vectors)
    assert reloaded.fingerprint == encoder.fingerprint
    with torch.no_grad():
        next(pooling.parameters()).add_(0.5)
    assert encoder.fingerprint != reloaded.fingerprint


def test_in_an_encoder_the_grid_is_what_encode_gives(encoder, pooling):
    layers = range(getattr(pooling, "first_layer", 0), DEPTH + 1)
    grid = encoder.encode_grid(TEXTS, layers=layers, dims=[DIM, 5])
    for layer in layers:
        np.testing.assert_array_equal(grid[layer, DIM], encoder.encode(TEXTS, num_layers=layer))
        np.testing.assert_array_equal(grid[layer, 5], encoder.encode(TEXTS, num_layers=layer, truncate_dim=5))


def test_in_an_encoder_depths_it_cannot_read_are_refused(encoder, pooling):
    for layer in range(getattr(pooling, "first_layer", 0)):
        with pytest.raises(InputError, match="num_layers"):
            encoder.encode(TEXTS, num_layers=layer)
