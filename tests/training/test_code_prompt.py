"""CodePrompt as a recipe: it learns, keeps names of classes, starts as its verbaliser, and comes back as saved."""

import json

import numpy as np
import pytest
import torch

import embedkit as ek
from embedkit.encoders.lora import LoRA
from embedkit.encoders.text import Verbaliser, prompt_encoder
from embedkit.errors import CorruptFileError, InputError
from embedkit.training.code_prompt import PromptClassifier, code_prompt

TEXTS = ["a cat sat on the mat", "the cat barks", "red mats", "one cat", "a dog", "red dog sings", "the dog", "one dog"]
LABELS = ["Cat", "Cat", "other thing", "Cat", "Dog", "Dog", "Dog", "Dog"]
QUICK = {"batch_size": 4, "show_progress_bar": False}
WORDS = {"Cat": "cat", "Dog": ["dog", "barks"], "other thing": ["mat", "red"]}


def trained(encoder, **options):
    return code_prompt(encoder, TEXTS, LABELS, **{**QUICK, "max_steps": 1, **options})


def test_it_learns_and_leaves_the_encoder_that_was_given_alone(make_encoder):
    encoder = make_encoder()
    before = encoder.fingerprint
    classifier = trained(encoder, max_steps=60, learning_rate=5e-3, new_learning_rate=0.05)
    assert classifier.predict(TEXTS).tolist() == LABELS
    assert classifier.classes == ("Cat", "Dog", "other thing")
    assert classifier.training.steps == 60
    assert classifier.encoder[1].weight.abs().max() > 0
    assert encoder.fingerprint == before


def test_probabilities_are_the_softmax_of_the_linear_map(make_encoder):
    classifier = trained(make_encoder())
    found = classifier.predict_proba(TEXTS)
    for row, vector in enumerate(classifier.encoder.encode(TEXTS)):
        logits = [
            sum(float(w) * float(x) for w, x in zip(weights, vector, strict=True)) + float(bias)
            for weights, bias in zip(classifier.weights, classifier.bias, strict=True)
        ]
        expected = np.exp(logits) / np.exp(logits).sum()
        np.testing.assert_allclose(found[row], expected, atol=1e-5)
    assert found.dtype == np.float32


def test_it_starts_as_its_verbaliser(make_encoder):
    encoder = make_encoder()
    classifier = trained(encoder, words=dict(reversed(WORDS.items())), learning_rate=1e-12)
    logits = Verbaliser(prompt_encoder(encoder), WORDS).logits(TEXTS)
    expected = torch.from_numpy(logits).softmax(dim=1)
    np.testing.assert_allclose(classifier.predict_proba(TEXTS), expected, atol=1e-5)


def test_what_is_new_may_learn_faster_than_the_transformer(make_encoder):
    encoder = make_encoder()
    classifier = trained(encoder, learning_rate=1e-9, new_learning_rate=0.1, weight_decay=0.0, max_steps=3)
    theirs, ours = encoder[0].model.state_dict(), classifier.encoder[0].model.state_dict()
    assert max(float((theirs[name] - ours[name]).abs().max()) for name in theirs) < 1e-7
    assert float(classifier.bias.abs().max()) > 1e-3
    assert float(classifier.encoder[1].weight.detach().abs().max()) > 1e-3


def test_adapters_are_trained_and_merged(make_encoder):
    encoder = make_encoder()
    classifier = trained(encoder, lora=LoRA(rank=2, dropout=0.0), max_steps=5, learning_rate=1e-2)
    names = [name for name, _ in classifier.encoder.named_parameters()]
    assert not any("lora" in name for name in names)
    theirs, ours = encoder[0].model.state_dict(), classifier.encoder[0].model.state_dict()
    changed = {name for name in theirs if not torch.equal(theirs[name], ours[name])}
    assert changed
    assert all("weight" in name and "embeddings" not in name and "LayerNorm" not in name for name in changed)


def test_the_best_weights_on_validation_are_kept(make_encoder):
    validation = (["a cat", "the dog sings"], ["Cat", "Dog"])
    classifier = trained(
        make_encoder(), validation=validation, max_steps=30, learning_rate=3e-3, evaluations=5, weight_decay=0.0
    )
    scores = dict(classifier.training.scores)
    assert len(scores) == 5
    found = np.mean(classifier.predict(validation[0]) == np.array(validation[1]))
    assert found == max(scores.values()) == scores[classifier.training.best_step]


def test_the_same_seed_gives_the_same_classifier(make_encoder):
    one, two, other = (trained(make_encoder(), max_steps=3, seed=seed).predict_proba(TEXTS) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, two)
    assert np.abs(one - other).max() > 1e-6


def test_a_saved_classifier_comes_back_bit_equal(make_encoder, tmp_path):
    classifier = trained(make_encoder(), max_steps=5, learning_rate=1e-2, template="{text} it was {mask} .")
    classifier.save(tmp_path / "one")
    loaded = PromptClassifier.load(tmp_path / "one", device="cpu")
    np.testing.assert_array_equal(loaded.predict_proba(TEXTS), classifier.predict_proba(TEXTS))
    assert loaded.predict(TEXTS).tolist() == classifier.predict(TEXTS).tolist()
    assert loaded.classes == classifier.classes
    assert loaded.encoder[0].template == "{text} it was {mask} ."
    assert ek.load(tmp_path / "one" / "encoder", device="cpu").fingerprint == classifier.encoder.fingerprint


def test_a_damaged_folder_is_told(make_encoder, tmp_path):
    trained(make_encoder()).save(tmp_path / "one")
    weights = (tmp_path / "one" / "model.safetensors").read_bytes()
    (tmp_path / "one" / "model.safetensors").write_bytes(weights[:-1])
    with pytest.raises(CorruptFileError, match=r"model\.safetensors"):
        PromptClassifier.load(tmp_path / "one")
    with pytest.raises(CorruptFileError, match="missing"):
        PromptClassifier.load(tmp_path / "none")
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "config.json").write_text(json.dumps({"class": "Other"}))
    with pytest.raises(CorruptFileError, match=r"must hold a PromptClassifier; its config\.json names 'Other'"):
        PromptClassifier.load(tmp_path / "two")
    (tmp_path / "two" / "config.json").write_text(json.dumps({"class": "PromptClassifier", "classes": ["a"]}))
    with pytest.raises(CorruptFileError, match="must hold a PromptClassifier"):
        PromptClassifier.load(tmp_path / "two")


def test_one_text_and_no_text(make_encoder):
    classifier = trained(make_encoder())
    assert classifier.predict(["a cat"]).shape == (1,)
    assert classifier.predict([]).tolist() == []
    assert classifier.predict_proba([]).shape == (0, 3)
    assert classifier.predict(["", "[MASK]", "cat " * 500]).shape == (3,)


# -- bad input -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"labels": LABELS[:-1]}, "one label for each of one or more texts; received 8 and 7"),
        ({"texts": [], "labels": []}, "received 0 and 0"),
        ({"labels": ["a"] * 8}, r"two classes or more; received \['a'\]"),
        ({"labels": [*LABELS[:-1], 3]}, r"labels must be text \(str\); received 3"),
        ({"labels": "Cat"}, "received 8 and 1"),
        ({"texts": ["a", None] * 4}, r"texts\[1\] must be str"),
        ({"validation": (["a cat"], ["Bird"])}, r"labels of the training.*received \['Bird'\]"),
        ({"validation": (["a cat"], [])}, "validation's texts and labels"),
        ({"validation": ["a cat"]}, "pair of texts and labels"),
        ({"words": {"Cat": "cat", "Dog": "dog"}}, "an entry for each of the classes"),
        ({"template": "{text}"}, "template must hold"),
        ({"first_layer": 9}, "first_layer"),
        ({"new_learning_rate": 0}, "new_learning_rate"),
        ({"learning_rate": -1}, "learning_rate"),
    ],
)
def test_what_does_not_go_together_is_refused(make_encoder, change, match):
    with pytest.raises(InputError, match=match):
        code_prompt(make_encoder(), **{"texts": TEXTS, "labels": LABELS, **QUICK, "max_steps": 1, **change})


@pytest.mark.parametrize("classes", [["a"], ["a", "a"], ["a", 3]])
def test_a_classifier_that_does_not_fit_together_is_refused(make_encoder, classes):
    with pytest.raises(InputError, match="go together"):
        PromptClassifier(make_encoder(), classes, torch.zeros(2, 32), torch.zeros(2))


def test_predictions_of_what_is_no_text_are_refused(make_encoder):
    classifier = trained(make_encoder())
    for wrong in ("a cat", [3], None):
        with pytest.raises(InputError, match="texts"):
            classifier.predict(wrong)
