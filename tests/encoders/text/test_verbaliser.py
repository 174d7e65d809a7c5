"""Classes as words: the logits are the language model's own at the mask, or products with its word embeddings."""

import numpy as np
import pytest
import torch
import transformers as hf

import embedkit as ek
from embedkit.encoders.text import Verbaliser, mask_states, masked_word_head, prompt_encoder
from embedkit.encoders.text.verbaliser import MaskedWordHead
from embedkit.errors import InputError, ModelError

pytestmark = pytest.mark.filterwarnings("ignore:.*its tokens are averaged")

TEXTS = ["a cat sat on the mat", "the dog barks", "", "red [MASK]"]
WORDS = {"animal": ["cat", "dog"], "colour": ["red", "green", "blue"], "number": "one"}


@pytest.fixture(scope="module")
def models(tmp_path_factory, tokenizer):
    """Folders of tiny masked language models, with random heads whose biases are not zero."""
    size = len(tokenizer)
    small = {
        "vocab_size": size,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 72,
        "pad_token_id": 0,
    }
    ends = {"bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}
    configs = {
        "bert": hf.BertConfig(**small),
        "roberta": hf.RobertaConfig(**small),
        "distilbert": hf.DistilBertConfig(vocab_size=size, dim=32, n_layers=2, n_heads=2, hidden_dim=32),
        "modernbert": hf.ModernBertConfig(**small, **ends, reference_compile=False),
    }
    folders = {}
    for kind, config in configs.items():
        torch.manual_seed(5)
        model = hf.AutoModelForMaskedLM.from_config(config).eval()
        model.get_output_embeddings().bias.data.normal_()
        folders[kind] = tmp_path_factory.mktemp(kind)
        model.save_pretrained(folders[kind])
        tokenizer.save_pretrained(folders[kind])
    return folders


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "modernbert"])
def test_with_a_head_the_logits_are_the_models_own_at_the_mask(models, kind):
    """Oracle: the whole masked language model on each text, and means written as loops."""
    whole = hf.AutoModelForMaskedLM.from_pretrained(models[kind]).eval()
    encoder = prompt_encoder(ek.load(models[kind], device="cpu"))
    verbaliser = Verbaliser(encoder, WORDS, head=masked_word_head(models[kind]))
    found = verbaliser.logits(TEXTS)
    for row, text in enumerate(TEXTS):
        features = encoder[0].preprocess([text])
        with torch.no_grad():
            logits = whole(input_ids=features["input_ids"], attention_mask=features["attention_mask"]).logits
        at_mask = logits[0, int(features["prompt_mask"].argmax())]
        for column, words in enumerate((["cat", "dog"], ["red", "green", "blue"], ["one"])):
            ids = [encoder.tokenizer.convert_tokens_to_ids(word) for word in words]
            expected = sum(float(at_mask[each]) for each in ids) / len(ids)
            assert float(found[row, column]) == pytest.approx(expected, abs=2e-5)
    assert verbaliser.classes == ("animal", "colour", "number")


def test_without_a_head_the_logits_are_products_with_word_embeddings(make_encoder):
    encoder = prompt_encoder(make_encoder())
    verbaliser = Verbaliser(encoder, WORDS)
    table = encoder[0].model.get_input_embeddings().weight.detach().numpy()
    out = mask_states(encoder, TEXTS).mean(axis=1).clip(0)
    for column, words in enumerate((["cat", "dog"], ["red", "green", "blue"], ["one"])):
        rows = table[encoder.tokenizer.convert_tokens_to_ids(words)]
        np.testing.assert_allclose(verbaliser.logits(TEXTS)[:, column], (out @ rows.T).mean(axis=1), atol=1e-5)


def test_a_number_worked_by_hand(make_encoder):
    """Word embeddings that are 1 where the word's number says, and a state that is known."""
    encoder = prompt_encoder(make_encoder(), first_layer=4)
    ids = encoder.tokenizer.convert_tokens_to_ids(["cat", "dog", "red"])
    with torch.no_grad():
        table = encoder[0].model.get_input_embeddings().weight
        for place, each in enumerate(ids):
            table[each] = torch.eye(32)[place]
    verbaliser = Verbaliser(encoder, {"animal": ["cat", "dog"], "colour": "red"})
    assert verbaliser.weights[:, :4].tolist() == [[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]]
    assert verbaliser.bias.tolist() == [0.0, 0.0]
    (out,) = encoder.encode(["a bird"])
    np.testing.assert_allclose(verbaliser.logits(["a bird"])[0], [(out[0] + out[1]) / 2, out[2]], atol=1e-6)


def test_a_word_of_several_tokens_counts_as_one_word(make_encoder):
    encoder = prompt_encoder(make_encoder())
    pieces = encoder.tokenizer("xy", add_special_tokens=False)["input_ids"]
    assert len(pieces) == 2
    table = encoder[0].model.get_input_embeddings().weight.detach()
    cat = table[encoder.tokenizer.convert_tokens_to_ids("cat")]
    verbaliser = Verbaliser(encoder, {"both": ["xy", "cat"], "cat": "cat"})
    torch.testing.assert_close(verbaliser.weights, torch.stack([(table[pieces].mean(dim=0) + cat) / 2, cat]))


def test_the_order_of_words_and_of_texts_changes_nothing_else(make_encoder):
    encoder = prompt_encoder(make_encoder())
    one = Verbaliser(encoder, {"a": ["cat", "dog"], "b": ["red"]}).logits(TEXTS)
    other = Verbaliser(encoder, {"b": ["red"], "a": ["dog", "cat"]}).logits(TEXTS[::-1])
    np.testing.assert_allclose(other[::-1, ::-1], one, atol=1e-5)


def test_as_a_start_a_head_gives_its_output_table(models):
    head = masked_word_head(models["bert"])
    encoder = prompt_encoder(ek.load(models["bert"], device="cpu"))
    verbaliser = Verbaliser(encoder, {"a": "cat", "b": ["red", "blue"]}, head=head)
    table, bias = head.output_table
    cat, red, blue = encoder.tokenizer.convert_tokens_to_ids(["cat", "red", "blue"])
    torch.testing.assert_close(verbaliser.weights, torch.stack([table[cat], (table[red] + table[blue]) / 2]).detach())
    torch.testing.assert_close(verbaliser.bias, torch.stack([bias[cat], (bias[red] + bias[blue]) / 2]).detach())


def test_no_text_gives_no_row(models, make_encoder):
    head = masked_word_head(models["bert"])
    encoder = prompt_encoder(ek.load(models["bert"], device="cpu"))
    assert Verbaliser(encoder, WORDS, head=head).logits([]).shape == (0, 3)
    assert Verbaliser(prompt_encoder(make_encoder()), WORDS).logits([]).shape == (0, 3)


# -- bad input -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "match"),
    [
        ({"a": "cat"}, "two classes"),
        (["cat", "dog"], "two classes"),
        ({"a": "cat", "b": []}, "one or more words for each class; for 'b'"),
        ({"a": "cat", "b": ["dog", " "]}, "for 'b' they hold ' '"),
        ({"a": "cat", "b": [3]}, "for 'b' they hold 3"),
        ({"a": "cat", "b": "東"}, "known to the tokenizer; '東'"),
    ],
)
def test_words_that_say_nothing_are_refused(make_encoder, words, match):
    with pytest.raises(InputError, match=match):
        Verbaliser(prompt_encoder(make_encoder()), words)


def test_a_head_of_another_model_is_refused(models, make_encoder, tokenizer):
    config = hf.BertConfig(vocab_size=len(tokenizer) + 1, hidden_size=32, num_attention_heads=2, num_hidden_layers=1)
    head = MaskedWordHead(hf.BertForMaskedLM(config))
    with pytest.raises(InputError, match="head must give"):
        Verbaliser(prompt_encoder(make_encoder()), WORDS, head=head)
    with pytest.raises(InputError, match="masked language models; received BertModel"):
        MaskedWordHead(hf.BertModel(config))


def test_a_checkpoint_without_a_head_is_refused(checkpoint, tmp_path):
    with pytest.raises(ModelError, match="lacks cls"):
        masked_word_head(checkpoint("bert"))
    with pytest.raises(ModelError, match="checkpoint in safetensors"):
        masked_word_head(tmp_path)


def test_another_encoder_is_refused(make_encoder):
    with pytest.raises(InputError, match="prompt_encoder made"):
        Verbaliser(make_encoder(), WORDS)
