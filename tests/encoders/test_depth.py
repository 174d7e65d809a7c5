"""Depth: the oracle is transformers' own list of hidden states, pooled by hand."""

import copy
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from sentence_transformers.base.modules import Router
from sentence_transformers.sentence_transformer.modules import Pooling, StaticEmbedding
from torch import nn

from embedkit import Encoder
from embedkit.encoders.depth import at_depth, at_depths, num_layers_of
from embedkit.errors import InputError

TEXTS = ["a cat sat on the mat", "the dog barks", "the bird sings and the dog barks and the cat sat", "one"]
FINAL_NORM = {
    "bert": lambda backbone: nn.Identity(),
    "distilbert": lambda backbone: nn.Identity(),
    "modernbert": lambda backbone: backbone.final_norm,
    "llama": lambda backbone: backbone.norm,
}
KINDS = list(FINAL_NORM)


def layers_of(encoder):
    backbone = encoder[0].model
    for path in ("layers", "encoder.layer", "transformer.layer"):
        try:
            return backbone.get_submodule(path)
        except AttributeError:
            continue
    raise AssertionError("no layers")


def hidden_states(encoder, texts=TEXTS):
    """What transformers gives: the embeddings, then the state behind each layer; and which tokens are real."""
    tokens = encoder[0].tokenizer(texts, padding=True, return_tensors="pt")
    tokens.pop("token_type_ids", None)
    with torch.inference_mode():
        output = encoder[0].model(**tokens, output_hidden_states=True)
    return output.hidden_states, tokens["attention_mask"].unsqueeze(-1)


def mean_of_tokens(states, mask):
    return ((states * mask).sum(dim=1) / mask.sum(dim=1)).detach().numpy()


@contextmanager
def calls_of(modules):
    counts = [0] * len(modules)

    def count(position):
        def hook(*_):
            counts[position] += 1

        return hook

    handles = [module.register_forward_hook(count(position)) for position, module in enumerate(modules)]
    yield counts
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layer", [0, 1, 2, 3])
def test_a_depth_pools_the_normed_state_behind_that_layer(make_encoder, kind, layer):
    encoder = make_encoder(kind, unit=False)
    states, mask = hidden_states(encoder)
    with torch.inference_mode():
        expected = mean_of_tokens(FINAL_NORM[kind](encoder[0].model)(states[layer]), mask)
    np.testing.assert_allclose(encoder.encode(TEXTS, num_layers=layer), expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("kind", ["modernbert", "llama"])
def test_the_raw_state_of_a_pre_norm_backbone_is_something_else(make_encoder, kind):
    encoder = make_encoder(kind, unit=False)
    states, mask = hidden_states(encoder)
    assert np.abs(encoder.encode(TEXTS, num_layers=2) - mean_of_tokens(states[2], mask)).max() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_later_layers_are_not_run(make_encoder, kind):
    encoder = make_encoder(kind)
    with calls_of(layers_of(encoder)) as counts:
        encoder.encode("a cat sat", num_layers=2)
        assert counts == [1, 1, 0, 0]
        encoder.encode("a cat sat")
        assert counts == [2, 2, 1, 1]
        encoder.encode("a cat sat", num_layers=0)
        assert counts == [2, 2, 1, 1]


@pytest.mark.parametrize("kind", KINDS)
def test_the_encoder_is_as_it_was(make_encoder, kind):
    encoder = make_encoder(kind)
    config = encoder[0].model.config
    settings, vectors, version = copy.deepcopy(config.to_dict()), encoder.encode(TEXTS), encoder.fingerprint
    encoder.encode(TEXTS, num_layers=2)
    assert config.to_dict() == settings
    assert len(layers_of(encoder)) == encoder.get_num_layers() == 4
    assert encoder.fingerprint == version
    np.testing.assert_array_equal(encoder.encode(TEXTS), vectors)


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_reaches_the_shared_weights(make_encoder, kind):
    encoder = make_encoder(kind).train()
    view = at_depth(encoder, 2)
    features = encoder.preprocess(TEXTS)
    view(features)["sentence_embedding"].sum().backward()
    reached = [any(weight.grad is not None for weight in layer.parameters()) for layer in layers_of(encoder)]
    assert reached == [True, True, False, False]
    assert {id(weight) for weight in view.parameters()} < {id(weight) for weight in encoder.parameters()}


def test_a_written_weight_shows_in_the_view(make_encoder):
    encoder = make_encoder()
    view = at_depth(encoder, 1)
    before = view.encode(TEXTS)
    with torch.no_grad():
        for weight in layers_of(encoder)[0].parameters():
            weight.mul_(3)
    assert np.abs(view.encode(TEXTS) - before).max() > 1e-3


def test_no_depth_and_the_full_depth_are_the_model_itself(make_encoder):
    encoder = make_encoder()
    assert at_depth(encoder, None) is encoder
    assert at_depth(encoder, 4) is encoder


def test_a_view_says_how_deep_it_is(make_encoder):
    view = at_depth(make_encoder(), 3)
    assert num_layers_of(view) == 3
    assert num_layers_of(at_depth(view, 1)) == 1
    with pytest.raises(InputError, match="between 0 and 3; received 4"):
        at_depth(view, 4)
    assert num_layers_of(at_depth(view, 0)) == 0


def test_a_bare_backbone_has_depth_too(make_encoder):
    backbone = make_encoder("llama")[0].model
    tokens = torch.tensor([[2, 5, 6, 3]])
    with torch.inference_mode():
        expected = backbone.norm(backbone(tokens, output_hidden_states=True).hidden_states[1])
        found = at_depth(backbone, 1)(tokens).last_hidden_state
    torch.testing.assert_close(found, expected)


def other_backbones():
    """Backbones whose layers take or give more than a state, or between whose layers something happens."""
    import transformers as hf

    small = {
        "vocab_size": 50,
        "hidden_size": 32,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 64,
    }
    options = {"conv_kernel_size": 3, "relative_attention": True, "position_buckets": 8, "pos_att_type": ["p2c", "c2p"]}
    causal = {**small, "num_key_value_heads": 2, "head_dim": 8}
    t5 = {"vocab_size": 50, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 4, "num_heads": 4}
    return {
        "deberta": hf.DebertaV2Config(**small, **options),
        "mpnet": hf.MPNetConfig(**small),
        "qwen3": hf.Qwen3Config(**causal),
        "gemma3": hf.Gemma3TextConfig(**causal, layer_types=["sliding_attention", "full_attention"] * 2),
        "t5": hf.T5Config(**t5),
    }


@pytest.mark.parametrize("kind", ["deberta", "mpnet", "qwen3", "gemma3", "t5"])
@pytest.mark.parametrize("stops", [[1, 2, 3, 4], [2, 4], [1, 3], [3], [2, None], [0, 2, 4], [0, None], [0]])
def test_depths_that_share_their_layers_give_what_each_gives_alone(kind, stops):
    if kind == "deberta" and 0 in stops:
        pytest.skip("it does not run without layers")
    import transformers as hf

    torch.manual_seed(0)
    config = other_backbones()[kind]
    backbone = (hf.T5EncoderModel(config) if kind == "t5" else hf.AutoModel.from_config(config)).eval()
    tokens = {
        "input_ids": torch.tensor([[2, 5, 6, 7, 9, 3], [2, 8, 3, 0, 0, 0]]),
        "attention_mask": torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0]]),
    }
    with torch.inference_mode():
        found = [view(**tokens).last_hidden_state for view in at_depths(backbone, stops)]
        for stop, states in zip(stops, found, strict=True):
            torch.testing.assert_close(states, at_depth(backbone, stop)(**tokens).last_hidden_state, rtol=0, atol=0)


def test_depths_that_share_their_layers_run_each_once_and_hold_the_same_weights(make_encoder):
    encoder = make_encoder("modernbert")
    views = at_depths(encoder, [1, 3])
    with calls_of(layers_of(encoder)) as counts:
        for _ in range(2):
            for view in views:
                view(encoder.preprocess(TEXTS))
    assert counts == [2, 2, 2, 0]
    assert {id(weight) for view in views for weight in view.parameters()} < {
        id(weight) for weight in encoder.parameters()
    }


def test_a_backbone_that_gives_every_state_gives_the_first_at_every_depth(make_encoder):
    backbone = make_encoder()[0].model
    tokens = torch.tensor([[2, 5, 6, 3]])
    with torch.inference_mode():
        expected = backbone(tokens, output_hidden_states=True).hidden_states
        backbone.config.output_hidden_states = True
        for view, layer in zip(at_depths(backbone, [2, 3]), (2, 3), strict=True):
            states = view(tokens).hidden_states
            torch.testing.assert_close((states[0], states[-1]), (expected[0], expected[layer]))


def test_depths_out_of_range_are_refused(make_encoder):
    with pytest.raises(InputError, match="between 0 and 4; received 5"):
        at_depths(make_encoder(), [1, 5])


@pytest.mark.parametrize("num_layers", [-1, 5, "2", 2.0, [1]])
def test_a_depth_that_is_none_is_refused(make_encoder, num_layers):
    with pytest.raises(InputError, match=r"num_layers must be .*between 0 and 4; received"):
        at_depth(make_encoder(), num_layers)


def test_a_backbone_that_does_not_run_without_layers_says_so():
    import transformers as hf

    backbone = hf.AutoModel.from_config(other_backbones()["deberta"])
    with pytest.raises(InputError, match=r"num_layers must be 1 or more .*'deberta-v2'"):
        at_depth(backbone, 0)
    with pytest.raises(InputError, match="num_layers must be 1 or more"):
        at_depths(backbone, [0, 2])


def test_no_layer_at_all_worked_by_hand(make_encoder):
    """BERT: word + position + type, normed over its width, then the mean over tokens."""
    encoder = make_encoder("bert", unit=False)
    table = {name: value.detach().numpy() for name, value in encoder[0].model.embeddings.named_parameters()}
    ids = encoder[0].tokenizer("a cat")["input_ids"]
    rows = []
    for position, token in enumerate(ids):
        added = (
            table["word_embeddings.weight"][token]
            + table["position_embeddings.weight"][position]
            + table["token_type_embeddings.weight"][0]
        )
        rows.append((added - added.mean()) / np.sqrt(added.var() + encoder[0].model.config.layer_norm_eps))
    np.testing.assert_allclose(encoder.encode("a cat", num_layers=0), np.mean(rows, axis=0), rtol=0, atol=2e-6)


def test_gradients_at_no_layer_reach_the_embeddings_alone(make_encoder):
    encoder = make_encoder("modernbert").train()
    at_depth(encoder, 0)(encoder.preprocess(TEXTS))["sentence_embedding"].sum().backward()
    assert all(weight.grad is None for layer in layers_of(encoder) for weight in layer.parameters())
    assert encoder[0].model.get_input_embeddings().weight.grad is not None


def test_an_encoder_without_layers_has_no_depth(tokenizer):
    encoder = Encoder([StaticEmbedding(tokenizer.backend_tokenizer, embedding_dim=8)], device="cpu")
    for attempt in (encoder.get_num_layers, lambda: encoder.encode("a", num_layers=1)):
        with pytest.raises(InputError, match="this one has none"):
            attempt()


def test_two_towers_have_no_single_depth(make_encoder):
    towers = Router.for_query_document(list(make_encoder("bert", unit=False)), list(make_encoder("llama", unit=False)))
    encoder = Encoder([towers, Pooling(32, "mean")], device="cpu")
    with pytest.raises(InputError, match="this one has several"):
        encoder.get_num_layers()
