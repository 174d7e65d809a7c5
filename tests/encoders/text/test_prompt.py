"""The mask is always there, once, and is the template's own; what is read there is what the backbone holds."""

import tempfile

import numpy as np
import pytest
import torch
from sentence_transformers.base.modules import Transformer
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast, RobertaConfig, RobertaModel

from embedkit.encoders.layerwise import with_pooling
from embedkit.encoders.text import PromptInput, mask_states, prompt_encoder, static_encoder
from embedkit.errors import InputError
from embedkit.modules.pooling import LayerMixPooling

TEMPLATES = [
    "Just {mask} ! {text}",
    "{text} In summary , it was {mask} .",
    "{mask}{text}",
    "{text}{mask}",
    "the {text} is {mask} and",
]
TEXTS = [
    "",
    " ",
    "a cat sat on the mat",
    "the dog barks " * 40,
    "[MASK]",
    "a [MASK] b [SEP] [CLS] [PAD]",
    "{mask} {text}",
]


@pytest.fixture(params=TEMPLATES)
def template(request):
    return request.param


def read(encoder, texts):
    """Ids, marks and mask of a batch, and the id of the mask token."""
    features = encoder[0].preprocess(texts)
    return features["input_ids"], features["prompt_mask"], features["attention_mask"], encoder.tokenizer.mask_token_id


def test_every_text_has_the_template_whole_and_one_mask_of_its_own(make_encoder, template):
    encoder = prompt_encoder(make_encoder(), template)
    ids, marks, attended, mask_id = read(encoder, TEXTS)
    assert ids.shape[1] == 64  # the longest fills the window
    assert (marks.sum(dim=1) == 1).all()
    assert ((ids == mask_id) == (marks > 0)).all()
    assert (attended[marks > 0] == 1).all()
    frame = encoder.tokenizer(template.replace("{mask}", "[MASK]").replace("{text}", ""))["input_ids"]
    for row, mask in zip(ids.tolist(), attended.tolist(), strict=True):
        length = sum(mask)
        before = len(encoder.tokenizer(template.replace("{mask}", "[MASK]").partition("{text}")[0])["input_ids"]) - 1
        behind = len(frame) - before
        assert row[:before] == frame[:before]
        assert row[length - behind : length] == frame[before:]


@pytest.mark.parametrize("length", [*range(40, 70), 1000])
def test_a_text_keeps_its_beginning_and_the_mask_whatever_its_length(make_encoder, length):
    encoder = prompt_encoder(make_encoder(), "{text} In summary , it was {mask} .")
    words = ["cat", "dog"] * (length // 2)
    ids, marks, _, mask_id = read(encoder, [" ".join(words)])
    own = encoder.tokenizer(" ".join(words), add_special_tokens=False, truncation=False)["input_ids"]
    frame = len(encoder.tokenizer("In summary , it was [MASK] .")["input_ids"])
    kept = min(len(own), 64 - frame)
    assert ids.shape[1] == kept + frame
    assert ids[0, 1 : 1 + kept].tolist() == own[:kept]
    assert ids[0, int(marks.argmax())] == mask_id


@pytest.mark.parametrize("text", ["a cat sat on the mat", "def f(x):\n    return x + 1\n", "", "naïve 東京"])
def test_for_word_pieces_it_is_the_written_template(default_encoder, text):
    for template in TEMPLATES[:2]:
        encoder = prompt_encoder(default_encoder, template)
        ids, *_ = read(encoder, [text])
        written = template.replace("{text}", text).replace("{mask}", "[MASK]")
        assert ids[0].tolist() == encoder.tokenizer(written)["input_ids"]


def test_a_blank_before_a_text_is_read_with_it_by_bytes():
    """Byte-level tokenizers join a blank to the word behind it, and a mask of RoBERTa's kind takes the one before."""
    tokenizer, transformer = roberta()
    module = PromptInput(transformer, "Just {mask} ! {text}")
    expected = tokenizer("Just <mask> ! return x")["input_ids"]
    assert module.preprocess(["return x"])["input_ids"][0].tolist() == expected
    suffix = PromptInput(transformer, "{text} it was {mask} .")
    assert (
        suffix.preprocess(["return x"])["input_ids"][0].tolist() == tokenizer("return x it was <mask> .")["input_ids"]
    )
    assert "token_type_ids" not in suffix.preprocess(["x"])


def roberta():
    rust = Tokenizer(models.BPE())
    rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    rust.train_from_iterator(["Just it was return x ! ."] * 3, trainer)
    rust.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=rust,
        bos_token="<s>",
        cls_token="<s>",
        eos_token="</s>",
        sep_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        mask_token=AddedToken("<mask>", lstrip=True),
        model_max_length=32,
        model_input_names=["input_ids", "attention_mask"],
    )
    config = RobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=40,
        pad_token_id=1,
    )
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        RobertaModel(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return tokenizer, Transformer(folder)


@pytest.mark.parametrize(("side", "kind"), [("right", "bert"), ("left", "llama")])
def test_padding_may_stand_on_either_side(make_encoder, side, kind):
    """A backbone with absolute positions, as BERT is, has it on the right."""
    encoder = prompt_encoder(make_encoder(kind), "{text} it was {mask} .")
    texts = ["a cat", "the bird sings on the mat"]
    expected = [encoder.encode(text) for text in texts]
    encoder.tokenizer.padding_side = side
    ids, marks, attended, mask_id = read(encoder, texts)
    assert int(attended[0, 0]) == (side == "right")
    assert ((ids == mask_id) == (marks > 0)).all()
    np.testing.assert_allclose(encoder.encode(texts), expected, rtol=0, atol=2e-6)


def test_the_states_are_those_of_the_backbone_at_the_mask(make_encoder, template):
    """Oracle: transformers' own hidden states, one text at a time."""
    encoder = prompt_encoder(make_encoder(), template, first_layer=2)
    found = mask_states(encoder, TEXTS)
    assert found.shape == (len(TEXTS), 3, 32)
    for row, text in enumerate(TEXTS):
        features = encoder[0].preprocess([text])
        with torch.no_grad():
            given = encoder[0].model(
                input_ids=features["input_ids"],
                attention_mask=features["attention_mask"],
                output_hidden_states=True,
            )
        at = int(features["prompt_mask"].argmax())
        expected = np.stack([given.hidden_states[layer][0, at].numpy() for layer in (2, 3, 4)])
        np.testing.assert_allclose(found[row], expected, rtol=0, atol=2e-6)


def test_a_new_encoder_gives_the_mean_over_layers_and_learns_shares(make_encoder):
    encoder = prompt_encoder(make_encoder(), first_layer=1)
    states = torch.from_numpy(mask_states(encoder, TEXTS))
    np.testing.assert_allclose(encoder.encode(TEXTS), states.mean(dim=1).relu(), rtol=0, atol=2e-6)
    with torch.no_grad():
        encoder[1].weight.normal_()
        expected = encoder[1].mix(states)
    np.testing.assert_allclose(encoder.encode(TEXTS), expected, rtol=0, atol=2e-6)


def test_fewer_layers_mix_what_those_hold(make_encoder):
    encoder = prompt_encoder(make_encoder(), first_layer=2)
    states = mask_states(encoder, TEXTS)
    np.testing.assert_allclose(encoder.encode(TEXTS, num_layers=3), states[:, :2].mean(axis=1).clip(0), atol=2e-6)
    with pytest.raises(InputError, match="num_layers"):
        encoder.encode(TEXTS, num_layers=1)


def test_what_looks_like_a_mask_in_a_text_has_no_power(make_encoder):
    encoder = prompt_encoder(make_encoder())
    ids, marks, _, mask_id = read(encoder, ["[MASK] [MASK]"])
    assert (ids == mask_id).sum() == 1
    assert int(marks.argmax()) == encoder.tokenizer("Just [MASK]")["input_ids"].index(mask_id)


def test_a_backbone_that_takes_more_names_is_not_shown_the_marks(make_encoder):
    encoder = prompt_encoder(make_encoder("modernbert"))
    assert encoder.encode(TEXTS).shape == (len(TEXTS), 32)


def test_weights_are_shared_and_what_stands_behind_is_left_out(make_encoder):
    plain = make_encoder(prompts={"query": "the "})
    encoder = prompt_encoder(plain)
    assert encoder[0].model is plain[0].model
    assert [type(module).__name__ for module in encoder] == ["PromptInput", "PromptPooling"]
    assert encoder.prompts["query"] == "the "
    assert type(plain[0]) is Transformer
    again = prompt_encoder(encoder, "{mask} {text}")
    assert again[0].template == "{mask} {text}"
    assert again[0].model is plain[0].model


def test_no_text_and_one_text(make_encoder):
    encoder = prompt_encoder(make_encoder())
    assert mask_states(encoder, []).shape == (0, 4, 32)
    assert mask_states(encoder, ["a cat"]).shape == (1, 4, 32)


# -- bad input -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "template",
    ["", "Just {mask} !", "{text}", "{mask} {mask} {text}", "{mask} {text} {text}", None, 3, "{code} {mask}"],
)
def test_a_template_without_one_mask_and_one_text_is_refused(make_encoder, template):
    with pytest.raises(InputError, match="template must hold"):
        prompt_encoder(make_encoder(), template)


def test_a_mask_written_out_is_refused(make_encoder):
    with pytest.raises(InputError, match=r"template must hold one mask, written \{mask\}.*leave out '\[MASK\]'"):
        prompt_encoder(make_encoder(), "{mask} or [MASK] {text}")


def test_a_template_that_fills_the_window_is_refused(make_encoder):
    with pytest.raises(InputError, match="template must leave room for a text in the window of 64 tokens"):
        prompt_encoder(make_encoder(), "cat " * 61 + "{mask} {text}")
    assert prompt_encoder(make_encoder(), "cat " * 60 + "{mask} {text}").encode("dog dog").shape == (32,)


def test_a_tokenizer_without_a_mask_is_refused(make_encoder):
    encoder = make_encoder()
    tokenizer = encoder[0].tokenizer
    tokenizer.mask_token = None
    with pytest.raises(InputError, match="whose tokenizer has a mask token"):
        prompt_encoder(encoder)


def test_encoders_of_another_kind_are_refused(make_encoder):
    with pytest.raises(InputError, match="begins with a text transformer"):
        prompt_encoder(static_encoder(make_encoder()))
    for other in (make_encoder(), with_pooling(make_encoder(), LayerMixPooling(32, 4))):
        with pytest.raises(InputError, match="prompt_encoder made"):
            mask_states(other, ["a cat"])


@pytest.mark.parametrize("texts", ["a cat", [3], None, ["a", None]])
def test_what_is_no_text_is_refused(make_encoder, texts):
    with pytest.raises(InputError, match="texts"):
        mask_states(prompt_encoder(make_encoder()), texts)
