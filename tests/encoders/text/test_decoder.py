import copy
import itertools

import numpy as np
import pytest
import torch
import transformers as hf
from sentence_transformers.base.modules import Normalize, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling

import embedkit as ek
from embedkit import Encoder
from embedkit.encoders.lora import LoRA, merge_lora
from embedkit.encoders.text import BIDIRECTIONAL_FAMILIES, instruction, nv_embed
from embedkit.errors import InputError, ModelError
from embedkit.modules.pooling import LatentAttentionPooling, MultiLayerPooling

TEXTS = ["a cat sat on the mat", "the dog barks", "", "one two three"]


def model(kind, vocabulary_size, **options):
    small = {
        "vocab_size": vocabulary_size,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "intermediate_size": 64,
        "max_position_embeddings": 128,
        "pad_token_id": 0,
        "bos_token_id": 2,
        "eos_token_id": 3,
    }
    torch.manual_seed(0)
    return hf.AutoModel.from_config(hf.AutoConfig.for_model(kind, **{**small, **options})).eval()


@pytest.fixture
def make(tokenizer):
    def make(kind="llama", *, config=None, task="find it", **options):
        tokens = copy.deepcopy(tokenizer)
        backbone = model(kind, len(tokens), **(config or {}))
        return nv_embed(backbone, tokenizer=tokens, task=task, device="cpu", **options)

    return make


def first_states(encoder, last):
    """State of the first token of a text that ends in `last`."""
    features = encoder.preprocess([f"the cat sat on {last}", "the cat sat on the red mat and sings"])
    with torch.inference_mode():
        return encoder[0].eval()(features)["token_embeddings"][0, 0]


@pytest.mark.parametrize("kind", BIDIRECTIONAL_FAMILIES)
def test_the_last_token_reaches_the_first_also_after_a_round_trip(make, kind, tmp_path):
    encoder = make(kind)
    assert (first_states(encoder, "red") - first_states(encoder, "blue")).abs().max() > 1e-3
    encoder.save(tmp_path / "model")
    reloaded = ek.load(tmp_path / "model", device="cpu")
    assert reloaded[0].config.is_causal is False
    assert (first_states(reloaded, "red") - first_states(reloaded, "blue")).abs().max() > 1e-3
    np.testing.assert_array_equal(reloaded.encode_query(TEXTS), encoder.encode_query(TEXTS))
    assert reloaded.fingerprint == encoder.fingerprint


@pytest.mark.parametrize("kind", ["llama", "mistral", "qwen2", "qwen3"])
def test_with_its_own_mask_the_last_token_does_not_reach_the_first(make, kind):
    encoder = make(kind, attention="causal")
    assert torch.equal(first_states(encoder, "red"), first_states(encoder, "blue"))


def test_a_sliding_window_slides_both_ways(make):
    encoder = make("mistral", config={"sliding_window": 3, "num_hidden_layers": 1})
    features = encoder.preprocess(["the cat sat on the red mat"])
    twin = {**features, "input_ids": features["input_ids"].clone()}
    twin["input_ids"][0, 4] = 20
    with torch.inference_mode():
        before, after = (encoder[0](each)["token_embeddings"][0] for each in (features, twin))
    moved = [token for token in range(len(before)) if not torch.equal(before[token], after[token])]
    assert {3, 4, 5} <= set(moved)  # both its neighbours
    assert 0 not in moved


@pytest.mark.parametrize("depth", [1, 2])
def test_every_depth_reads_both_ways(make, depth):
    encoder = make()
    (one, other) = encoder.encode(["the cat sat on red", "the cat sat on blue"], num_layers=depth)
    view = Encoder([ek.encoders.depth.at_depth(encoder, depth)[0], encoder[1]], device="cpu")
    assert (first_states(view, "red") - first_states(view, "blue")).abs().max() > 1e-3
    assert np.abs(one - other).max() > 1e-4


def test_queries_get_the_instruction_and_it_is_not_pooled(make):
    encoder = make(task="Find the animal")
    assert dict(encoder.prompts) == {"query": "Instruct: Find the animal\nQuery: ", "document": ""}
    assert encoder[1].include_prompt is False
    np.testing.assert_array_equal(encoder.encode_document(TEXTS), encoder.encode(TEXTS))
    text = "the dog barks"
    features = encoder.preprocess([text], prompt=encoder.prompts["query"])
    behind = encoder.tokenizer(text)["input_ids"][1:]  # without the special token in front
    assert features["input_ids"][0, features["prompt_length"] :].tolist() == behind
    with torch.inference_mode():
        states = encoder[0](features)["token_embeddings"][:, features["prompt_length"] :]
    mean = torch.nn.functional.normalize(states.mean(dim=1))[0].numpy()  # latent attention starts as the mean
    np.testing.assert_allclose(encoder.encode_query(text), mean, rtol=0, atol=1e-6)


def test_an_instruction_longer_than_the_window_is_refused(make):
    encoder = make(task="the cat sat on the mat and " * 20, max_seq_length=32)
    assert encoder.encode_document(TEXTS).shape == (4, 32)
    with pytest.raises(InputError, match="window of 32 tokens"):
        encoder.encode_query(TEXTS)


def test_it_starts_as_mean_pooling_with_heads_as_wide_as_the_backbone(make):
    encoder = make()
    pooling = encoder[1]
    assert (pooling.num_latents, pooling.num_heads * pooling.head_dim) == (512, 32)
    mean = Encoder([encoder[0], Pooling(32, "mean"), Normalize()], device="cpu")
    np.testing.assert_array_equal(encoder.encode(TEXTS), mean.encode(TEXTS))


def test_the_other_poolings_go_in_too(make):
    pooling = MultiLayerPooling(32, 2, num_heads=2, head_dim=8, include_prompt=False)
    encoder = make(pooling=pooling, normalize=False)
    assert [type(module).__name__ for module in encoder] == ["LayerwiseTransformer", "MultiLayerPooling"]
    assert encoder.encode_query(TEXTS, num_layers=1).shape == (4, 32)


def test_vectors_have_length_one_unless_asked_otherwise(make):
    np.testing.assert_allclose(np.linalg.norm(make().encode(TEXTS), axis=1), 1, rtol=1e-5)
    assert np.abs(np.linalg.norm(make(normalize=False).encode(TEXTS), axis=1) - 1).max() > 0.1


def test_a_backbone_comes_as_a_folder_a_transformer_or_a_model(checkpoint, tokenizer):
    folder = checkpoint("llama")
    loaded = hf.AutoModel.from_pretrained(folder)
    sources = [str(folder), folder, Transformer(str(folder)), loaded]
    vectors = [
        nv_embed(
            source, tokenizer=copy.deepcopy(tokenizer) if source is loaded else None, task="find", device="cpu"
        ).encode_query(TEXTS)
        for source in sources
    ]
    for one, other in itertools.pairwise(vectors):
        np.testing.assert_array_equal(one, other)
    assert getattr(loaded.config, "is_causal", True)  # the model is copied


def test_an_encoder_of_its_own_gives_its_backbone(make_encoder, tmp_path):
    make_encoder("llama", prompts={"query": "old "}).save(tmp_path / "model")
    encoder = nv_embed(tmp_path / "model", device="cpu")
    assert encoder.prompts["query"].startswith("Instruct: ")
    assert type(encoder[1]) is LatentAttentionPooling


def test_a_tokenizer_without_padding_pads_with_the_end_of_text(tokenizer):
    tokens = copy.deepcopy(tokenizer)
    tokens.pad_token, tokens.eos_token = None, "[SEP]"
    encoder = nv_embed(model("llama", len(tokens)), tokenizer=tokens, device="cpu")
    assert encoder.tokenizer.pad_token == "[SEP]"
    alone = np.stack([encoder.encode(text) for text in TEXTS])
    np.testing.assert_allclose(encoder.encode(TEXTS), alone, rtol=0, atol=2e-6)


def test_a_tokenizer_with_nothing_to_pad_with_is_refused(tokenizer):
    tokens = copy.deepcopy(tokenizer)
    tokens.pad_token = tokens.eos_token = tokens.unk_token = None
    with pytest.raises(InputError, match="pad_token"):
        nv_embed(model("llama", len(tokens)), tokenizer=tokens)


def test_an_unknown_kind_of_backbone_says_what_is_known_and_falls_back_only_if_asked(checkpoint):
    with pytest.raises(InputError, match=r"llama, .*mistral.*'bert'.*attention='causal'"):
        nv_embed(checkpoint("bert"))
    assert nv_embed(checkpoint("bert"), attention="causal", device="cpu").encode(TEXTS).shape == (4, 32)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attention": "both"}, "attention must be"),
        ({"task": ""}, "task must say"),
        ({"task": None}, "task must say"),
        ({"pooling": LatentAttentionPooling(16)}, "dim=32"),
        ({"pooling": MultiLayerPooling(32, 5)}, "num_layers=4"),
        ({"pooling": Pooling(32)}, r"embedkit\.modules\.pooling"),
        ({"tokenizer": object()}, "goes with a transformers model"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(checkpoint, options, message):
    with pytest.raises(InputError, match=message):
        nv_embed(checkpoint("llama"), **options)


def test_what_is_no_backbone_is_refused(checkpoint, tmp_path):
    with pytest.raises(InputError, match="received int"):
        nv_embed(5)
    with pytest.raises(InputError, match="needs its tokenizer"):
        nv_embed(hf.AutoModel.from_pretrained(checkpoint("llama")))
    with pytest.raises(ModelError):
        nv_embed(tmp_path)


def test_instructions_for_other_tasks_are_prompts(make):
    encoder = make()
    vectors = encoder.encode(TEXTS, prompt=instruction("name it"))
    assert np.abs(vectors - encoder.encode_query(TEXTS)).max() > 1e-4


# -- adapters ------------------------------------------------------------------------------------------


def test_adapters_alone_train_in_the_backbone_and_start_at_nothing(make):
    pytest.importorskip("peft")
    plain, encoder = make(), make(lora=LoRA(rank=2))
    np.testing.assert_array_equal(encoder.encode(TEXTS), plain.encode(TEXTS))
    trained = {name for name, parameter in encoder[0].named_parameters() if parameter.requires_grad}
    assert trained
    assert all("lora_" in name for name in trained)
    assert all(parameter.requires_grad for parameter in encoder[1].parameters())
    optimizer = torch.optim.SGD([each for each in encoder.parameters() if each.requires_grad], lr=1.0)
    for _ in range(2):
        optimizer.zero_grad()
        encoder.train()(encoder.preprocess(TEXTS))["sentence_embedding"][:, 0].sum().backward()
        optimizer.step()
    assert np.abs(encoder.encode(TEXTS) - plain.encode(TEXTS)).max() > 1e-4


def test_merged_adapters_are_saved(make, tmp_path):
    pytest.importorskip("peft")
    encoder = make(lora=LoRA(rank=2, dropout=0))
    with torch.no_grad():
        for name, parameter in encoder[0].named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    vectors = encoder.encode(TEXTS)
    with pytest.raises(InputError, match="merge_lora"):
        encoder.save(tmp_path / "model")
    assert not (tmp_path / "model").exists()
    merge_lora(encoder)
    encoder.save(tmp_path / "model")
    np.testing.assert_allclose(ek.load(tmp_path / "model", device="cpu").encode(TEXTS), vectors, rtol=0, atol=1e-5)


def test_adapters_without_peft_name_the_extra(make, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    with pytest.raises(ImportError, match=r"embedkit\[train\]"):
        make(lora=LoRA())
