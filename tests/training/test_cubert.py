"""CuBERT's pre-training: what is packed, what is masked, what is learnt, and that a stopped run goes on."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional
from transformers import Trainer

from embedkit.encoders.code.encoder import code_encoder
from embedkit.encoders.code.lexer import NEWLINE
from embedkit.encoders.code.vocabulary import train_code_vocabulary
from embedkit.errors import InputError
from embedkit.training import cubert
from embedkit.training.cubert import held_out, pretrain

SOURCES = [
    f"def take_{name}(first, second):\n    value = first + second\n    if value:\n        return {name}\n    return 0\n"
    for name in ("one", "two", "three", "four", "five", "six", "seven", "eight")
]
WINDOW = 48


@pytest.fixture(scope="module")
def vocabulary():
    return train_code_vocabulary(SOURCES, 340, max_length=WINDOW)


@pytest.fixture
def encoder(vocabulary):
    return code_encoder(vocabulary, num_layers=1, dim=32, num_heads=4, device="cpu")


def unpadded(rows, row):
    return rows.ids[row][: rows.lengths[row]].tolist()


def packed(encoder, sources, seed=0, length=WINDOW):
    return cubert._packed(encoder[0], sources, length, seed)


# -- packing -------------------------------------------------------------------------------------------


def test_what_is_not_replaced_is_every_line_once_and_in_order(encoder, vocabulary):
    rows = packed(encoder, SOURCES)
    special = set(vocabulary.all_special_ids)
    kept = []
    for row in range(len(rows)):
        second = rows.second[row] if rows.labels[row] == 1 else rows.lengths[row]
        kept += [word for word in rows.ids[row][:second].tolist() if word not in special]
    wanted = [encoder[0].cut.tokenize(source) for source in SOURCES]
    ids = vocabulary(wanted, is_split_into_words=True, add_special_tokens=False)["input_ids"]
    assert kept == [word for source in ids for word in source]


def test_rows_have_the_form_of_bert_and_fill_the_window(encoder, vocabulary):
    rows = packed(encoder, SOURCES * 4)
    assert rows.ids.shape[1] == WINDOW
    assert set(rows.labels.tolist()) <= {0, 1, -100}
    assert 0.2 < (rows.labels == 1).mean() < 0.8
    for row in range(len(rows)):
        ids = unpadded(rows, row)
        assert ids[0] == vocabulary.cls_token_id
        assert ids[-1] == vocabulary.sep_token_id
        assert ids.count(vocabulary.sep_token_id) == (1 if rows.labels[row] == -100 else 2)
        if rows.labels[row] != -100:
            assert ids[rows.second[row] - 1] == vocabulary.sep_token_id
    assert np.mean(rows.lengths) > 0.75 * WINDOW


def test_halves_are_cut_behind_a_logical_line(encoder, vocabulary):
    rows = packed(encoder, SOURCES)
    (end,) = vocabulary([NEWLINE], is_split_into_words=True, add_special_tokens=False)["input_ids"][-1:]
    for row in np.flatnonzero(rows.labels != -100):
        assert rows.ids[row][rows.second[row] - 2] == end


def test_a_line_longer_than_the_window_is_spread_over_rows(encoder, vocabulary):
    source = "x = [" + ", ".join(map(str, range(100, 160))) + "]\n"
    rows = packed(encoder, [source])
    words = [word for row in range(len(rows)) for word in unpadded(rows, row)[1:-1]]
    pieces = encoder[0].cut.tokenize(source)
    expected = vocabulary(pieces, is_split_into_words=True, add_special_tokens=False)["input_ids"]
    assert [word for word in words if word not in vocabulary.all_special_ids] == expected
    assert len(rows) > 2


def test_one_source_has_no_other_to_draw_from(encoder):
    assert set(packed(encoder, [SOURCES[0] * 5]).labels.tolist()) <= {0, -100}


def test_equal_seeds_pack_alike(encoder):
    one, same, other = (packed(encoder, SOURCES, seed).ids for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert one.shape != other.shape or (one != other).any()


def test_rows_do_not_hang_on_how_many_processes_cut_the_sources(encoder):
    sources = [*SOURCES, "print 'two'"]
    alone, shared = (cubert._packed(encoder[0], sources, WINDOW, 0, n_jobs) for n_jobs in (1, 2))
    np.testing.assert_array_equal(alone.ids, shared.ids)
    assert (alone.lengths.tolist(), alone.unreadable) == (shared.lengths.tolist(), 1)


# -- masks ---------------------------------------------------------------------------------------------


def test_masks_are_bert_s(encoder, vocabulary):
    rows = packed(encoder, SOURCES * 8)
    masked = cubert._Masked(rows, vocabulary, 0.15, 0, count=20 * len(rows))
    asked = replaced = kept = words = 0
    for epoch in range(20):
        item = masked.__getitems__(range(epoch * len(rows), (epoch + 1) * len(rows)))
        hidden = item["labels"] != -100
        original = torch.from_numpy(rows.ids)
        assert hidden.any(dim=1).all()
        assert torch.equal(item["labels"][hidden], original[hidden])
        assert torch.equal(item["input_ids"][~hidden], original[~hidden])
        assert not np.isin(original[hidden], vocabulary.all_special_ids).any()
        words += int((~np.isin(original, vocabulary.all_special_ids)).sum())
        asked += int(hidden.sum())
        replaced += int((item["input_ids"][hidden] == vocabulary.mask_token_id).sum())
        kept += int((item["input_ids"][hidden] == original[hidden]).sum())
    assert asked / words == pytest.approx(0.15, abs=0.01)
    assert replaced / asked == pytest.approx(0.8, abs=0.03)
    assert kept / asked == pytest.approx(0.1, abs=0.02)


def test_the_second_half_is_marked(encoder, vocabulary):
    rows = packed(encoder, SOURCES)
    masked = cubert._Masked(rows, vocabulary, 0.15, 0, count=len(rows))
    batch = masked.__getitems__(range(len(rows)))
    np.testing.assert_array_equal(batch["attention_mask"].sum(dim=1), rows.lengths)
    np.testing.assert_array_equal(batch["token_type_ids"].sum(dim=1), np.maximum(0, rows.lengths - rows.second))


def test_what_is_masked_does_not_depend_on_the_rows_beside_it(encoder, vocabulary):
    masked = cubert._Masked(packed(encoder, SOURCES), vocabulary, 0.3, 0, count=100)
    places = [3, 97, 0, 41]
    together = masked.__getitems__(places)
    for row, place in enumerate(places):
        for name, alone in masked.__getitems__([place]).items():
            assert torch.equal(alone[0], together[name][row])


# -- the loss ------------------------------------------------------------------------------------------


def test_heads_that_know_nothing_are_as_surprised_as_a_uniform_guess(encoder, vocabulary):
    model = cubert._with_heads(encoder[0].model, 0).eval()
    with torch.no_grad():
        for parameter in model.cls.parameters():
            parameter.zero_()
        encoder[0].model.embeddings.word_embeddings.weight.zero_()
    found = held_out(model, encoder, SOURCES)
    assert found.perplexity == pytest.approx(len(vocabulary), rel=1e-6)
    assert found.next_line_accuracy == pytest.approx((packed(encoder, SOURCES).labels == 0).mean(), abs=0.5)


def test_the_loss_is_that_of_bert_for_pre_training(encoder, vocabulary):
    model = cubert._with_heads(encoder[0].model, 0).eval()
    rows = packed(encoder, SOURCES)
    judged = [int(row) for row in np.flatnonzero(rows.labels != -100)[:4]]
    masked = cubert._Masked(rows, vocabulary, 0.3, 0, count=len(rows))
    batch = masked.__getitems__(judged)
    logits, wanted, next_logits, labels = cubert._predictions(model, batch)
    ours = functional.cross_entropy(logits, wanted) + functional.cross_entropy(next_logits, labels)
    names = ("input_ids", "token_type_ids", "attention_mask", "labels")
    theirs = model(**{name: batch[name] for name in names}, next_sentence_label=labels).loss
    torch.testing.assert_close(ours, theirs)


def test_the_words_are_predicted_through_the_encoder_s_own_table(encoder):
    model = cubert._with_heads(encoder[0].model, 0)
    assert model.cls.predictions.decoder.weight is encoder[0].model.embeddings.word_embeddings.weight


# -- training ------------------------------------------------------------------------------------------


def test_training_lowers_the_perplexity_on_the_encoder_itself(encoder):
    before = encoder.encode(SOURCES[0])
    start = held_out(cubert._with_heads(encoder[0].model, 0).eval(), encoder, SOURCES)
    done = pretrain(encoder, SOURCES * 4, max_steps=60, batch_size=8, learning_rate=1e-2)
    found = held_out(done.model, encoder, SOURCES)
    assert found.perplexity < 0.2 * start.perplexity
    assert found.accuracy > 0.1
    assert np.abs(encoder.encode(SOURCES[0]) - before).max() > 1e-2
    assert done.model.bert is encoder[0].model
    assert (done.steps, done.unreadable) == (60, 0)
    assert done.losses[-1][1] < done.losses[0][1]


def test_a_stopped_run_goes_on_bit_for_bit(vocabulary, tmp_path, monkeypatch):
    def fresh():
        return code_encoder(vocabulary, num_layers=1, dim=32, num_heads=4, device="cpu")

    options = {"max_steps": 6, "batch_size": 4, "checkpoints": 3}
    whole = fresh()
    losses = pretrain(whole, SOURCES, folder=tmp_path / "whole", **options).losses

    step = Trainer.training_step

    def breaks(self, *arguments, **others):
        if self.state.global_step == 4:
            raise KeyboardInterrupt
        return step(self, *arguments, **others)

    stopped = fresh()
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Trainer, "training_step", breaks)
        pretrain(stopped, SOURCES, folder=tmp_path / "stopped", **options)
    again = fresh()
    assert pretrain(again, SOURCES, folder=tmp_path / "stopped", **options).losses == losses
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    with pytest.raises(InputError, match="differ in options"):
        pretrain(fresh(), SOURCES, folder=tmp_path / "stopped", **{**options, "max_steps": 7})


def test_a_second_call_goes_on_with_the_heads_of_the_first(encoder):
    short = pretrain(encoder, SOURCES * 4, row_length=16, max_steps=30, batch_size=8, learning_rate=1e-2)
    between = held_out(short.model, encoder, SOURCES)
    head = short.model.cls.predictions.transform.dense.weight.clone()
    whole = pretrain(encoder, SOURCES, model=short.model, max_steps=10, batch_size=8, learning_rate=1e-2)
    assert whole.model is short.model
    assert 0 < (whole.model.cls.predictions.transform.dense.weight - head).abs().max() < 0.2
    assert held_out(whole.model, encoder, SOURCES).perplexity < between.perplexity


def test_places_behind_short_rows_are_copies_until_longer_rows_teach_them(encoder):
    places = encoder[0].model.embeddings.position_embeddings.weight
    start = places.detach().clone()
    short = pretrain(encoder, SOURCES, row_length=20, max_steps=4, batch_size=8, learning_rate=1e-2)
    assert (places[:20] - start[:20]).abs().max() > 1e-3
    assert torch.equal(places[20:40], places[:20])
    assert torch.equal(places[40:], places[: WINDOW - 40])
    pretrain(encoder, SOURCES, model=short.model, max_steps=4, batch_size=8, learning_rate=1e-2)
    learnt = places[20:40].detach().clone()
    assert not torch.equal(learnt, places[:20])
    pretrain(encoder, SOURCES, model=short.model, row_length=20, max_steps=1, weight_decay=0)
    assert torch.equal(places[20:40], learnt)


def test_a_finished_call_with_short_rows_gives_the_same_places_again(vocabulary, tmp_path):
    found = []
    for _ in range(2):
        encoder = code_encoder(vocabulary, num_layers=1, dim=32, num_heads=4, device="cpu")
        assert pretrain(encoder, SOURCES, row_length=20, max_steps=2, folder=tmp_path).steps == 2
        found.append(encoder[0].model.embeddings.position_embeddings.weight.detach())
    assert torch.equal(*found)
    assert torch.equal(found[1][20:40], found[1][:20])


def test_rows_are_as_long_as_they_are_asked_to_be(encoder):
    rows = packed(encoder, SOURCES, length=16)
    assert rows.ids.shape[1] == 16
    assert rows.lengths.max() <= 16
    for length in (7, WINDOW + 1, 16.0):
        with pytest.raises(InputError, match="row_length must be a whole number from 8 to the window, 48"):
            pretrain(encoder, SOURCES, row_length=length)


def test_heads_of_another_encoder_are_refused(encoder, vocabulary):
    other = code_encoder(vocabulary, num_layers=1, dim=32, num_heads=4, device="cpu")
    with pytest.raises(InputError, match="an earlier call on this encoder"):
        pretrain(encoder, SOURCES, model=cubert._with_heads(other[0].model, 0))


def test_other_random_numbers_stay_as_they_were(encoder):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    pretrain(encoder, SOURCES, max_steps=1)
    assert torch.equal(torch.rand(2), expected)


# -- bad input -----------------------------------------------------------------------------------------


def test_what_does_not_parse_is_left_out_and_counted(encoder):
    done = pretrain(encoder, [*SOURCES, "print 'two'", "def f(:"], max_steps=1)
    assert done.unreadable == 2
    assert done.tokens == packed(encoder, SOURCES).tokens


@pytest.mark.parametrize(
    ("sources", "options", "words"),
    [
        ([], {}, "sources must hold Python that parses"),
        (["print 'two'"], {}, "sources must hold Python that parses"),
        ("x = 1", {}, "sources must be a list"),
        (SOURCES, {"masks": 0}, "masks must be a share"),
        (SOURCES, {"masks": 1.5}, "masks must be a share"),
        (SOURCES, {"warmup": -1}, "warmup"),
        (SOURCES, {"batch_size": 0}, "batch_size"),
        (SOURCES, {"n_jobs": 0}, "n_jobs must be a number of processes"),
        (SOURCES, {"learning_rate": 0}, "learning_rate"),
    ],
)
def test_bad_arguments(encoder, sources, options, words):
    with pytest.raises(InputError, match=words):
        pretrain(encoder, sources, **options)


def test_an_encoder_of_code_is_asked_for(make_encoder):
    with pytest.raises(InputError, match="code_encoder; received Encoder that begins with Transformer"):
        pretrain(make_encoder("bert"), SOURCES)
    with pytest.raises(InputError, match="code_encoder; received str"):
        pretrain("model", SOURCES)


def test_a_row_without_two_halves_has_no_next_line(encoder):
    model = cubert._with_heads(encoder[0].model, 0).eval()
    assert math.isnan(held_out(model, encoder, ["x = 1\n"]).next_line_accuracy)
