import copy

import numpy as np
import pytest
import torch
import transformers as hf

from embedkit import Encoder
from embedkit.encoders.depth import at_depth, final_norm, recording_layers
from embedkit.encoders.layerwise import LayerwiseTransformer, with_pooling
from embedkit.errors import InputError
from embedkit.modules.pooling import LatentAttentionPooling, LayerMixPooling, MultiLayerPooling

TEXTS = ["a cat sat on the mat", "the dog barks", "", "one two three"]


@pytest.mark.parametrize("kind", ["bert", "modernbert", "llama", "distilbert"])
@pytest.mark.parametrize("make", [LayerMixPooling, MultiLayerPooling])
def test_a_head_on_cached_means_is_the_pooling_in_the_encoder(make_encoder, kind, make):
    mean = make_encoder(kind, unit=False)
    grid = mean.encode_grid(TEXTS, layers=range(5), dims=[32])
    cached = torch.from_numpy(np.stack([grid[layer, 32] for layer in range(5)], axis=1))
    pooling = make(32, 4)
    encoder = with_pooling(mean, pooling)
    for stop in range(pooling.first_layer, 5):
        with torch.inference_mode():
            expected = pooling.mix(cached[:, pooling.first_layer : stop + 1])
        np.testing.assert_allclose(encoder.encode(TEXTS, num_layers=stop), expected, rtol=0, atol=2e-6)


NORMED = (
    "bloom eurobert gemma gemma2 gemma3_text gpt2 gpt_neox granite llama mistral modernbert olmo2 opt phi3 qwen2 qwen3"
)
OTHERS = "camembert deberta-v2 distilbert electra mpnet nomic_bert roberta xlm-roberta"


@pytest.mark.parametrize("kind", [*NORMED.split(), *OTHERS.split()])
def test_what_is_recorded_is_what_each_depth_gives_whatever_the_backbone(kind):
    sizes = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64}
    config = hf.AutoConfig.for_model(kind, vocab_size=50, **sizes, head_dim=8, num_key_value_heads=2, pad_token_id=0)
    torch.manual_seed(0)
    backbone, ids = hf.AutoModel.from_config(config).eval(), torch.tensor([[5, 6, 7, 8]])
    with torch.inference_mode():
        for parameter in backbone.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)  # norms begin as such that do little
        view, states = recording_layers(backbone)
        last, norm = view(input_ids=ids).last_hidden_state, final_norm(view)
        found = [state if norm is None else norm(state) for state in states] + [last]
        for depth in (1, 2, 3):
            assert torch.equal(at_depth(backbone, depth)(input_ids=ids).last_hidden_state, found[depth])
    assert (norm is not None) == (kind in NORMED.split())


def test_latent_attention_in_place_of_the_mean_changes_nothing_before_training(make_encoder):
    encoder = make_encoder("bert")
    np.testing.assert_array_equal(
        with_pooling(encoder, LatentAttentionPooling(32)).encode(TEXTS), encoder.encode(TEXTS)
    )


def test_the_encoder_it_was_made_from_stays_as_it_was(make_encoder):
    encoder = make_encoder("bert", prompts={"query": "the "}, truncate_dim=8)
    before, vectors = encoder.fingerprint, encoder.encode(TEXTS)
    other = with_pooling(encoder, LayerMixPooling(32, 4))
    assert other.encode(TEXTS).shape == (4, 8)
    assert other.prompts["query"] == "the "
    assert other[0].model is encoder[0].model
    assert type(encoder[0]) is not type(other[0])
    assert encoder.fingerprint == before
    np.testing.assert_array_equal(encoder.encode(TEXTS), vectors)


def test_gradients_reach_every_layer(make_encoder):
    encoder = with_pooling(make_encoder("bert"), LayerMixPooling(32, 4))
    encoder(encoder.preprocess(["a cat"]))["sentence_embedding"][0, 0].backward()
    for layer in encoder[0].model.encoder.layer:
        assert layer.output.dense.weight.grad.abs().sum() > 0


def test_the_grid_runs_each_layer_once(make_encoder):
    encoder = with_pooling(make_encoder("bert"), MultiLayerPooling(32, 4))
    calls = []
    for number, layer in enumerate(encoder[0].model.encoder.layer):
        layer.register_forward_hook(lambda *_, number=number: calls.append(number))
    encoder.encode_grid(TEXTS, layers=[1, 3, 4], dims=[32])
    assert calls == [0, 1, 2, 3]


def test_a_copy_is_independent(make_encoder):
    encoder = with_pooling(make_encoder("bert"), LayerMixPooling(32, 4))
    twin = copy.deepcopy(encoder)
    with torch.no_grad():
        twin[0].model.embeddings.word_embeddings.weight.add_(1)
    assert twin.fingerprint != encoder.fingerprint


def test_a_pooling_that_does_not_fit_is_refused(make_encoder):
    encoder = make_encoder("bert")
    with pytest.raises(InputError, match="dim=32"):
        with_pooling(encoder, LatentAttentionPooling(16))
    with pytest.raises(InputError, match="num_layers=4"):
        with_pooling(encoder, LayerMixPooling(32, 6))
    with pytest.raises(InputError, match=r"embedkit\.modules\.pooling"):
        with_pooling(encoder, encoder[1])
    with pytest.raises(InputError, match="transformer and a pooling; received Transformer"):
        with_pooling(Encoder([encoder[0]]), LayerMixPooling(32, 4))
    with pytest.raises(InputError, match="must begin with a transformer; received Pooling"):
        LayerwiseTransformer.of(encoder[1])


def test_a_pooling_of_layers_behind_a_plain_transformer_says_what_to_do(make_encoder):
    encoder = Encoder([make_encoder("bert")[0], LayerMixPooling(32, 4)], device="cpu")
    with pytest.raises(InputError, match="with_pooling"):
        encoder.encode("a cat")
