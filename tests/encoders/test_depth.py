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
from embedkit.encoders.depth import at_depth, num_layers_of
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
@pytest.mark.parametrize("layer", [1, 2, 3])
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
    with pytest.raises(InputError, match="between 1 and 3; received 4"):
        at_depth(view, 4)


def test_a_bare_backbone_has_depth_too(make_encoder):
    backbone = make_encoder("llama")[0].model
    tokens = torch.tensor([[2, 5, 6, 3]])
    with torch.inference_mode():
        expected = backbone.norm(backbone(tokens, output_hidden_states=True).hidden_states[1])
        found = at_depth(backbone, 1)(tokens).last_hidden_state
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("num_layers", [0, -1, 5, "2", 2.0, [1]])
def test_a_depth_that_is_none_is_refused(make_encoder, num_layers):
    with pytest.raises(InputError, match=r"num_layers must be .*between 1 and 4; received"):
        at_depth(make_encoder(), num_layers)


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
