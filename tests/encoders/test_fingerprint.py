import copy
import re

import pytest
import torch
from sentence_transformers.base.modules import Dense, Normalize, Router, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from tokenizers import normalizers

import embedkit as ek
from embedkit import Encoder
from embedkit.encoders.fingerprint import fingerprint


def test_it_is_sha256_in_hexadecimal(make_encoder):
    assert re.fullmatch(r"[0-9a-f]{64}", make_encoder().fingerprint)


def test_equal_encoders_have_equal_fingerprints(make_encoder):
    assert make_encoder().fingerprint == make_encoder().fingerprint
    assert make_encoder().fingerprint == copy.deepcopy(make_encoder()).fingerprint


def test_neither_use_nor_gradients_change_it(make_encoder):
    encoder = make_encoder()
    before = fingerprint(encoder)
    encoder.encode(["a cat", "the dog barks"], batch_size=1)
    encoder.encode("a cat", num_layers=2, truncate_dim=4, prompt="the ")
    encoder(encoder.preprocess(["a cat"]))["sentence_embedding"].sum().backward()
    encoder.train()
    encoder[0].tokenizer(["a cat"], padding="max_length", max_length=9, truncation=True)
    assert fingerprint(encoder) == before


def test_it_outlives_saving(make_encoder, tmp_path):
    for kind in ("bert", "modernbert", "llama", "distilbert"):
        encoder = make_encoder(kind)
        encoder.save(tmp_path / kind)
        assert ek.load(tmp_path / kind, device="cpu").fingerprint == encoder.fingerprint


def test_every_weight_counts(make_encoder):
    encoder = make_encoder()
    seen = {encoder.fingerprint}
    weights = list(encoder.parameters())
    for weight in weights:
        with torch.no_grad():
            weight.view(-1)[-1] += 1e-3
        seen.add(encoder.fingerprint)
    assert len(seen) == len(weights) + 1


def replace_a_weight(encoder):
    encoder[0].model.embeddings.word_embeddings.weight = torch.nn.Parameter(torch.zeros(94, 32))


def load_other_weights(encoder):
    encoder.load_state_dict({name: value * 2 for name, value in encoder.state_dict().items()})


def halve(encoder):
    encoder.half()


def shorten_the_window(encoder):
    encoder.max_seq_length = 8


def pool_otherwise(encoder):
    encoder[1] = Pooling(32, "cls")


def keep_prompts_out_of_the_pooling(encoder):
    encoder[1].include_prompt = False


def normalise_no_more(encoder):
    del encoder[2]


def add_a_layer(encoder):
    encoder.append(Dense(32, 32))


def read_capitals(encoder):
    encoder[0].tokenizer.backend_tokenizer.normalizer = normalizers.NFC()


def learn_a_word(encoder):
    encoder[0].tokenizer.add_tokens(["catdog"])


def change_the_activation(encoder):
    encoder[0].model.config.hidden_act = "relu"


@pytest.mark.parametrize(
    "change",
    [
        replace_a_weight,
        load_other_weights,
        halve,
        shorten_the_window,
        pool_otherwise,
        keep_prompts_out_of_the_pooling,
        normalise_no_more,
        add_a_layer,
        read_capitals,
        learn_a_word,
        change_the_activation,
    ],
)
def test_whatever_changes_vectors_changes_a_fingerprint_that_was_asked_for_before(make_encoder, change):
    encoder = make_encoder()
    before = encoder.fingerprint
    change(encoder)
    assert encoder.fingerprint != before
    assert encoder.fingerprint == fingerprint(encoder)


def test_which_end_of_a_long_text_is_cut_off_counts(make_encoder):
    encoder = make_encoder()
    before = encoder.fingerprint
    encoder.tokenizer.truncation_side = "left"
    assert encoder.fingerprint != before
    encoder.tokenizer.truncation_side = "right"
    assert encoder.fingerprint == before


@pytest.mark.parametrize("fused", [True, False])
def test_a_training_step_changes_it(make_encoder, fused):
    encoder = make_encoder()
    before = encoder.fingerprint
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=0.01, fused=fused)
    encoder(encoder.preprocess(["a cat"]))["sentence_embedding"].sum().backward()
    optimizer.step()
    assert encoder.fingerprint != before
    assert encoder.fingerprint == fingerprint(encoder)


def test_a_change_undone_brings_the_old_one_back(make_encoder):
    encoder = make_encoder()
    before = encoder.fingerprint
    encoder.max_seq_length = 8
    assert encoder.fingerprint != before
    encoder.max_seq_length = 64
    assert encoder.fingerprint == before


def test_prompts_and_width_do_not_count_as_they_are_in_the_keys_of_whoever_stores(make_encoder):
    encoder = make_encoder()
    before = encoder.fingerprint
    encoder.prompts = {"query": "a "}
    encoder.truncate_dim = 8
    assert encoder.fingerprint == before


def test_it_is_computed_once(make_encoder, monkeypatch):
    encoder = make_encoder()
    calls = []
    monkeypatch.setattr("embedkit.encoders.encoder.fingerprint", lambda given: calls.append(1) or fingerprint(given))
    assert encoder.fingerprint == encoder.fingerprint
    assert calls == [1]


def test_an_encoder_read_in_inference_mode_has_one(checkpoint, make_encoder):
    with torch.inference_mode():
        transformer = Transformer(str(checkpoint("bert")), max_seq_length=64)
        found = Encoder([transformer, Pooling(32, "mean"), Normalize()], device="cpu").fingerprint
    assert found == make_encoder().fingerprint


def test_a_copy_made_in_inference_mode_has_one_and_no_change_goes_unnoticed(make_encoder):
    encoder = make_encoder()
    with torch.inference_mode():
        copied = copy.deepcopy(encoder)
        assert copied.fingerprint == copied.fingerprint == encoder.fingerprint
        next(copied.parameters()).add_(1)
    assert copied.fingerprint != encoder.fingerprint


def two_towers(make_encoder, *, query="mean", document="mean", window=64, default="document"):
    towers = []
    for kind, pooling in (("bert", query), ("distilbert", document)):
        transformer = make_encoder(kind)[0]
        towers.append([transformer, Pooling(32, pooling)])
    towers[0][0].max_seq_length = window
    return Encoder([Router.for_query_document(*towers, default_route=default)], device="cpu")


@pytest.mark.parametrize("other", [{"query": "cls"}, {"document": "cls"}, {"window": 9}, {"default": "query"}])
def test_each_tower_counts(make_encoder, other):
    plain = two_towers(make_encoder).fingerprint
    assert plain == two_towers(make_encoder).fingerprint
    assert two_towers(make_encoder, **other).fingerprint != plain
