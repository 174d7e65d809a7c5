import numpy as np
import pytest
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Pooling

import embedkit as ek
from embedkit.encoders.lora import LoRA
from embedkit.errors import InputError
from embedkit.heads import PrototypeClassifier
from embedkit.losses import SupConLoss
from embedkit.training.adam import adam

TEXTS = ["a cat sat on the mat", "the dog barks", "red green blue", "one bird sings", "def return if not true", "two"]
LABELS = ["animal", "animal", "other", "animal", "other", "other"]
QUICK = {"batch_size": 6, "max_steps": 4, "learning_rate": 1e-2, "show_progress_bar": False}


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def tuned(checkpoint):
    transformer = Transformer(str(checkpoint()), max_seq_length=64)
    encoder = ek.Encoder([transformer, Pooling(32, "mean")], prompts={"query": "find "}, device="cpu")
    before = encoder.encode(TEXTS)
    return encoder, before, adam(encoder, TEXTS, LABELS, **QUICK)


def test_the_first_half_is_the_encoder_and_the_second_another(tuned):
    encoder, before, joined = tuned
    np.testing.assert_array_equal(encoder.encode(TEXTS), before)
    first, second = np.split(joined.encode(TEXTS), 2, axis=1)
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), np.sqrt(0.5), rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(second, axis=1), np.sqrt(0.5), rtol=1e-5)
    np.testing.assert_allclose(unit(first), unit(before), atol=1e-6)
    assert np.abs(first - second).max() > 1e-3
    assert joined.get_embedding_dimension() == 64


def test_its_cosines_are_the_mean_of_both_halves(tuned):
    _, before, joined = tuned
    vectors = joined.encode(TEXTS)
    cosines = [unit(half) @ unit(half).T for half in np.split(vectors, 2, axis=1)]
    np.testing.assert_allclose(vectors @ vectors.T, np.mean(cosines, axis=0), atol=1e-6)
    np.testing.assert_allclose(cosines[0], unit(before) @ unit(before).T, atol=1e-6)


def test_it_is_kept_and_opened_as_any_encoder(tuned, tmp_path):
    _, _, joined = tuned
    joined.save(tmp_path / "model")
    again = ek.load(tmp_path / "model", device="cpu")
    np.testing.assert_array_equal(again.encode(TEXTS), joined.encode(TEXTS))
    np.testing.assert_array_equal(again.encode_query(TEXTS), joined.encode_query(TEXTS))
    assert again.fingerprint == joined.fingerprint
    with pytest.raises(InputError, match="one stack"):
        joined.encode(TEXTS, num_layers=1)


def test_without_a_step_that_moves_it_the_halves_are_one(make_encoder):
    joined = adam(make_encoder(), TEXTS, LABELS, **{**QUICK, "learning_rate": 1e-12})
    first, second = np.split(joined.encode(TEXTS), 2, axis=1)
    np.testing.assert_allclose(first, second, atol=1e-5)


def test_the_first_task_s_classes_come_apart_and_others_may_join(make_encoder):
    encoder = make_encoder()
    joined = adam(encoder, TEXTS, LABELS, **{**QUICK, "max_steps": 15}, lora=None, loss=SupConLoss())
    plain, both = (PrototypeClassifier().fit(each.encode(TEXTS), LABELS) for each in (encoder, joined))
    assert both.score(joined.encode(TEXTS), LABELS) >= plain.score(encoder.encode(TEXTS), LABELS)
    adapted = joined.encode(TEXTS)[:, 32:]
    same = np.equal.outer(LABELS, LABELS)
    assert 2 * (adapted @ adapted.T)[~same].max() < 2 * (adapted @ adapted.T)[same].min()
    both.partial_fit(joined.encode(["barks barks"]), ["noise"])
    assert both.predict(joined.encode(["barks barks"])).tolist() == ["noise"]


@pytest.mark.parametrize(
    ("labels", "message"), [(LABELS[:3], r"each of 6 inputs; received shape \(3,\)"), (["one"] * 6, "received 1")]
)
def test_labels_must_tell_inputs_apart(make_encoder, labels, message):
    with pytest.raises(InputError, match=message):
        adam(make_encoder(), TEXTS, labels, lora=LoRA(rank=2), **QUICK)
