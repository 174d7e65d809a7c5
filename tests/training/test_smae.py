"""Masked auto-encoding: masks nest and keep words whole, the sliced head is BERT's at full width, the loss falls."""

import numpy as np
import pytest
import torch
from transformers import BertConfig
from transformers.models.bert.modeling_bert import BertOnlyMLMHead

from embedkit.errors import InputError
from embedkit.training.smae import SlicedMaskedAutoEncoder, SlicedMLMHead, smae

TEXTS = ["a cat sat on the mat", "the dog barks", "red green blue", "one bird sings", "def return if not true"]
PAIRS = ((1, 8), (2, 16), (4, 32))


def features_of(encoder, texts=TEXTS):
    return encoder.preprocess(texts)


def test_the_head_at_full_width_is_the_stock_head():
    config = BertConfig(vocab_size=50, hidden_size=16, num_attention_heads=2, num_hidden_layers=1)
    stock, ours = BertOnlyMLMHead(config).eval(), SlicedMLMHead(config).eval()
    transform = stock.predictions.transform
    ours.dense.load_state_dict(transform.dense.state_dict())
    ours.norm.load_state_dict(transform.LayerNorm.state_dict())
    states = torch.randn(3, 5, 16)
    with torch.no_grad():
        ours.bias.normal_()
        stock.predictions.decoder.bias.copy_(ours.bias)
        torch.testing.assert_close(ours(states, stock.predictions.decoder.weight), stock(states))


def test_the_head_at_a_width_reads_the_first_columns():
    """By hand: a first map of ones, no activation to speak of, and a norm that centres."""
    config = BertConfig(vocab_size=2, hidden_size=4, hidden_act="relu")
    head = SlicedMLMHead(config)
    with torch.no_grad():
        head.dense.weight.copy_(torch.arange(16.0).reshape(4, 4))
        lifted = head.lift(torch.tensor([[1.0, 1.0]]))
    # Rows 0 + 1, 4 + 5, 8 + 9, 12 + 13: equal steps of 8, centred and scaled.
    wanted = np.array([-12.0, -4.0, 4.0, 12.0]) / np.sqrt(80)
    np.testing.assert_allclose(lifted.numpy()[0], wanted, rtol=1e-5)


def test_masks_keep_words_whole_and_those_of_the_encoder_are_among_the_decoders(make_encoder):
    encoder = make_encoder()
    objective = SlicedMaskedAutoEncoder(encoder, PAIRS)
    texts = ["unknownword cat xyz dog mat barks green bird one two three", "the", "cat"] * 10
    batch = features_of(encoder, texts)
    ids, attention = batch["input_ids"], batch["attention_mask"]
    order = objective._order_of_words(ids, attention)
    few, many = order < 0.2, order < 0.4
    assert (few <= many).all()
    pieces = encoder.tokenizer.convert_ids_to_tokens
    for row, mask in zip(ids, many, strict=True):
        tokens = pieces(row.tolist())
        for place, token in enumerate(tokens):
            assert not (mask[place] and token in {"[CLS]", "[SEP]", "[PAD]"})
            if token.startswith("##"):
                assert mask[place] == mask[place - 1]
    words = sum(not token.startswith(("##", "[")) for token in pieces(ids[0].tolist()))
    starts = [not token.startswith(("##", "[")) for token in pieces(ids[0].tolist())]
    assert few[0][torch.tensor(starts)].sum() == int(np.ceil(0.2 * words))
    assert many[0][torch.tensor(starts)].sum() == int(np.ceil(0.4 * words))
    assert not torch.equal(order, objective._order_of_words(ids, attention))


def test_the_loss_is_the_mean_over_sizes_of_both_halves(make_encoder):
    """The formula again, size by size, with the masks that the objective draws."""
    encoder = make_encoder()
    objective = SlicedMaskedAutoEncoder(encoder, PAIRS, seed=3).eval()
    batch = features_of(encoder)
    ids, attention = batch["input_ids"], batch["attention_mask"]
    order = SlicedMaskedAutoEncoder(encoder, PAIRS, seed=3)._order_of_words(ids, attention)
    few, many = order < 0.2, order < 0.4
    backbone, mask = encoder[0].model, encoder.tokenizer.mask_token_id
    table = backbone.embeddings.word_embeddings.weight
    heads = []
    with torch.no_grad():
        seen = backbone(
            input_ids=torch.where(few, mask, ids), attention_mask=attention, output_hidden_states=True
        ).hidden_states
        for layer, dim in PAIRS:
            state = seen[layer]
            logits = objective.head.lift(state[..., :dim]) @ table.T + objective.head.bias
            mlm = -logits.log_softmax(-1)[few].gather(1, ids[few][:, None]).mean()
            inputs = backbone.embeddings(input_ids=torch.where(many, mask, ids)).clone()
            inputs[:, 0] = objective.head.lift(state[:, 0, :dim])
            hidden = (1.0 - attention[:, None, None].float()) * torch.finfo(torch.float32).min
            decoded = objective.decoder(inputs, hidden)
            decoded = decoded[0] if isinstance(decoded, tuple) else decoded
            logits = objective.head.lift(decoded) @ table.T + objective.head.bias
            mae = -logits.log_softmax(-1)[many].gather(1, ids[many][:, None]).mean()
            heads.append((mlm + mae) / 2)
        torch.testing.assert_close(objective([batch]), torch.stack(heads).mean())


def test_the_encoder_learns_and_nothing_but_its_backbone_changes(make_encoder):
    encoder = make_encoder()
    names = set(encoder.state_dict())
    before = encoder.encode(TEXTS)
    done = smae(encoder, TEXTS * 8, PAIRS, epochs=12, batch_size=10, learning_rate=3e-3, show_progress_bar=False)
    assert done.losses[-1][1] < 0.8 * done.losses[0][1]
    assert set(encoder.state_dict()) == names
    assert np.abs(encoder.encode(TEXTS) - before).max() > 1e-2


def test_texts_without_words_give_a_loss_of_zero_with_a_gradient(make_encoder):
    encoder = make_encoder()
    objective = SlicedMaskedAutoEncoder(encoder, PAIRS)
    value = objective([features_of(encoder, ["", ""])])
    value.backward()
    assert value.item() == 0


@pytest.mark.parametrize(
    ("pairs", "options", "says"),
    [
        (((2, 8), (1, 16)), {}, "ascend"),
        (((1, 16), (2, 8)), {}, "ascend"),
        (((1, 8), (5, 32)), {}, "within 4 layers and 32 dimensions"),
        (((0, 8),), {}, "ascend"),
        ((), {}, "ascend"),
        (PAIRS, {"encoder_masks": 0.5}, "encoder_masks <= decoder_masks"),
        (PAIRS, {"decoder_masks": 1.0}, "< 1"),
    ],
)
def test_arguments_out_of_range_are_refused(make_encoder, pairs, options, says):
    with pytest.raises(InputError, match=says):
        smae(make_encoder(), TEXTS, pairs, show_progress_bar=False, **options)


def test_other_backbones_are_refused(make_encoder):
    with pytest.raises(InputError, match="BERT's kind"):
        smae(make_encoder("llama"), TEXTS, PAIRS)
