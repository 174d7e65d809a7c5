"""Places of spans among tokens, what a repairer says, and its folder."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import embedkit as ek
from embedkit.encoders.code.encoder import code_encoder
from embedkit.encoders.code.functions import find_functions
from embedkit.encoders.code.repairer import Repair, Repairer, candidate_mask
from embedkit.encoders.code.tasks import variable_misuse, variable_places
from embedkit.encoders.code.tasks.example import Example
from embedkit.encoders.code.vocabulary import train_code_vocabulary
from embedkit.errors import InputError

SHORT = "def sum(cat, xyz):\n    dog = cat\n    return dog, xyz\n"
LONG = "def sum(cat, dog):\n    red = cat\n" + "    red = 1\n" * 20 + "    return red, dog, cat\n"


@pytest.fixture
def repairer(make_encoder):
    return Repairer.untrained(make_encoder())


def examples_of(*sources, **options):
    return variable_misuse(find_functions("".join(sources)), **options)


def names(code, spans):
    return [code[slice(*span)] for span in spans]


def test_a_variable_is_its_first_token(repairer):
    correct, wrong = examples_of(SHORT, max_per_function=1)[:2]
    tokenizer = repairer.encoder.tokenizer
    for example, places in zip((correct, wrong), repairer.pointers([correct, wrong]), strict=True):
        assert tuple(places.candidates.values()) == example.candidates
        assert tuple(places.uses.values()) == example.uses
        tokens = tokenizer.convert_ids_to_tokens(tokenizer(example.code)["input_ids"])
        for token, span in places.candidates.items():
            assert tokens[token] == example.code[slice(*span)].replace("xyz", "x")
        assert not places.truncated
        assert places.are_known


def test_an_encoder_of_python_is_read_by_its_own_pieces():
    source = "def sumOfAll(firstOne, xyz):\n    # nothing\n    dogCat = firstOne\n    return dogCat, xyz\n"
    vocabulary = train_code_vocabulary([source], 300, max_length=64)
    repairer = Repairer.untrained(code_encoder(vocabulary, num_layers=1, dim=16, device="cpu"))
    example = examples_of(source, max_per_function=1)[0]
    (places,) = repairer.pointers([example])

    assert tuple(places.candidates.values()) == example.candidates
    pieces = vocabulary.convert_ids_to_tokens(repairer.encoder.preprocess([source])["input_ids"][0])
    first = [pieces[token].strip("Ċ^") for token in places.candidates]
    assert all(name.startswith(piece) for name, piece in zip(names(source, example.candidates), first, strict=True))
    assert all(len(piece) > 0 for piece in first)
    assert repairer.predict([example])[0].error in (None, *example.uses)


def test_error_and_targets_are_tokens_and_no_error_is_the_first(repairer):
    correct, wrong = examples_of(SHORT, max_per_function=1)[:2]
    one, other = repairer.pointers([correct, wrong])

    assert (one.error, one.targets) == (0, ())
    assert other.uses[other.error] == wrong.error
    assert tuple(other.candidates[token] for token in other.targets) == wrong.targets


def test_what_the_window_does_not_reach_is_left_out_and_told(repairer):
    example = examples_of(LONG, max_per_function=1)[0]
    (places,) = repairer.pointers([example])

    assert places.truncated
    assert 0 < len(places.candidates) < len(example.candidates)
    assert max(places.candidates) < 64
    assert repairer.predict([example])[0].truncated


@pytest.mark.parametrize(("behind", "error", "targets"), [("error", None, True), ("targets", True, ())])
def test_what_is_not_known_behind_the_window(repairer, behind, error, targets):
    spans = examples_of(LONG, max_per_function=1)[0].candidates
    near, far = spans[2], spans[-1]
    one, other = (far, near) if behind == "error" else (near, far)
    example = Example(LONG, "misuse", 0, "", error=one, uses=(one,), candidates=(near, far), targets=(other,))

    (places,) = repairer.pointers([example])

    assert not places.are_known
    assert (places.error is None) == (behind == "error")
    assert bool(places.targets) == (behind == "error")


def test_candidates_become_two_columns(repairer):
    places = repairer.pointers(examples_of(SHORT, max_per_function=1))
    mask = candidate_mask(places, 40)

    for row, one in zip(mask, places, strict=True):
        assert row[:, 0].nonzero()[:, 0].tolist() == sorted(one.uses)
        assert row[:, 1].nonzero()[:, 0].tolist() == sorted(one.candidates)


@pytest.mark.parametrize("form", ["log_sum", "original"])
def test_predictions_are_the_likeliest_candidates(make_encoder, form):
    repairer = Repairer.untrained(make_encoder(), form=form, seed=3)
    repairer.head.pointers.weight.data *= 5
    examples = examples_of(SHORT, LONG)

    found = repairer.predict(examples)

    for example, places, said in zip(examples, repairer.pointers(examples), found, strict=True):
        features = repairer.encoder.preprocess([example.code])
        with torch.no_grad():
            locations, repairs = repairer.encoder(features)["pointer_logits"][0].T
        others = 0 if form == "log_sum" else len(locations) - len(places.uses) - 1
        none = locations[0] if form == "log_sum" else torch.tensor(0.0)
        weights = {span: locations[token] for token, span in places.uses.items()}
        likeliest = max(weights, key=weights.get)
        assert said.error == (likeliest if weights[likeliest] > none else None)
        assert said.repair == places.candidates[max(places.candidates, key=lambda token: repairs[token])]
        bug = sum(weight.exp() for weight in weights.values())
        assert said.bug_probability == pytest.approx(float(bug / (bug + none.exp() + others)), rel=1e-4)


def test_a_batch_gives_what_each_gives_alone(repairer):
    examples = examples_of(SHORT, LONG)

    together, alone = repairer.predict(examples), [repairer.predict([example])[0] for example in examples]

    assert [(one.error, one.repair) for one in together] == [(one.error, one.repair) for one in alone]
    np.testing.assert_allclose(
        [one.bug_probability for one in together], [one.bug_probability for one in alone], atol=1e-5
    )


def test_zero_weights_find_no_bug_and_hold_all_uses_alike(repairer):
    repairer.head.pointers.weight.data.zero_()
    (found,) = repairer.predict(examples_of(SHORT, max_per_function=1)[:1])

    assert found.error is None
    assert found.bug_probability == pytest.approx(3 / 4)


def test_a_function_without_candidates_and_no_function(repairer):
    assert repairer.predict([Example("def cat(): pass", "correct", 0, "")]) == [Repair(None, None, 0.0, False)]
    assert repairer.predict([]) == []


def test_code_as_it_was_written_is_read(repairer):
    (function,) = find_functions(SHORT)
    example = variable_places(function)

    assert replace(examples_of(SHORT)[0], twin=example.twin) == example
    assert repairer.predict([example])[0].error in (None, *example.uses)


def test_a_repair_is_applied():
    correct, wrong = examples_of(SHORT, max_per_function=1)[:2]

    assert Repair(wrong.error, wrong.targets[0], 1.0, False).apply(wrong.code) == correct.code
    assert Repair(None, wrong.targets[0], 0.0, False).apply(wrong.code) == wrong.code


def test_the_vectors_of_the_encoder_stay(make_encoder):
    encoder = make_encoder()

    assert np.array_equal(Repairer.untrained(encoder).encoder.encode([SHORT]), encoder.encode([SHORT]))


def test_a_saved_repairer_says_the_same_and_is_an_encoder(make_encoder, tmp_path):
    repairer = Repairer.untrained(make_encoder(), form="original", seed=1)
    examples = examples_of(SHORT)
    repairer.save(tmp_path / "model")

    again = Repairer.load(tmp_path / "model", device="cpu")

    assert again.head.form == "original"
    assert again.predict(examples) == repairer.predict(examples)
    opened = ek.load(tmp_path / "model", device="cpu")
    assert np.array_equal(opened.encode([SHORT]), repairer.encoder.encode([SHORT]))


def test_seeds_make_heads_and_leave_the_generator_alone(make_encoder):
    before = torch.get_rng_state()
    one, two, other = (Repairer.untrained(make_encoder(), seed=seed).head.first.weight for seed in (1, 1, 2))

    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_encoders_of_another_kind_are_refused(make_encoder, repairer):
    with pytest.raises(InputError, match="must have one PointerHead; received 0"):
        Repairer(make_encoder())
    with pytest.raises(InputError, match="without a PointerHead; received one with a head"):
        Repairer.untrained(repairer.encoder)
    with pytest.raises(InputError, match="received str"):
        Repairer.untrained("a model")
    encoder = make_encoder()
    encoder.tokenizer.padding_side = "left"
    with pytest.raises(InputError, match="pads in front"):
        Repairer.untrained(encoder)
    encoder.tokenizer.padding_side = "right"


@pytest.mark.parametrize(
    ("places", "message"),
    [
        ({"error": (0, 3)}, "its error among its uses"),
        ({"uses": ((0, 3),)}, "among its candidates"),
        ({"error": (0, 3), "uses": ((0, 3),), "candidates": ((0, 3),)}, "label 'misuse'"),
        ({"targets": ((0, 3),)}, "its targets among its candidates"),
        ({"candidates": ((0, 3),), "targets": ((0, 3),)}, "an error and targets or neither"),
    ],
)
def test_examples_of_another_kind_are_refused(repairer, places, message):
    with pytest.raises(InputError, match=message):
        repairer.predict([Example("cat dog", "misuse", 0, "", **places)])
    with pytest.raises(InputError, match=r"examples\[0\] must be an Example; received str"):
        repairer.predict(["cat"])
