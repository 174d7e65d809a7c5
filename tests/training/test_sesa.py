"""Named dimensions learned from tags."""

import numpy as np
import pytest
import torch

from embedkit.encoders.concepts import ConceptEncoder
from embedkit.errors import InputError
from embedkit.modules.projection.concepts import LinearConcepts
from embedkit.training.sesa import _drawn, sesa

TEXTS = ["red green", "red red", "blue sea", "sea sea", "fish cake", "cake cake"]
TAGS = [["colour"], ["colour"], ["sea"], ["sea"], ["food", "sea"], ["food"]]


def test_the_largest_concept_is_the_tag_and_names_come_as_they_appear(make_encoder):
    encoder = make_encoder()
    before = {name: weight.clone() for name, weight in encoder.state_dict().items()}
    found = sesa(encoder, TEXTS, TAGS, epochs=400)
    assert found.names == ["colour", "sea", "food"]
    largest = found.encode(TEXTS).argmax(axis=1)
    assert [found.names[place] in tags for place, tags in zip(largest, TAGS, strict=True)] == [True] * len(TEXTS)
    assert all(torch.equal(weight, before[name]) for name, weight in encoder.state_dict().items())


def test_without_ranking_it_is_one_logistic_regression_a_concept(make_encoder):
    """The gradient of the concepts' loss vanishes, and the ranking has no part where all share a tag."""
    encoder, tags = make_encoder(), [["all"], ["all", "some"], ["all"], ["all", "some"]]
    found = sesa(encoder, TEXTS[:4], tags, epochs=3000, learning_rate=0.05)
    vectors = torch.from_numpy(encoder.encode_document(TEXTS[:4]))
    concepts = found.concepts
    assert isinstance(concepts, LinearConcepts)
    probability = 1 - torch.exp(-concepts.activations(vectors))
    target = torch.tensor([[1.0, 0], [1, 1], [1, 0], [1, 1]])
    torch.testing.assert_close(probability, target, rtol=0, atol=0.05)


def test_equal_seeds_give_equal_concepts_and_a_folder_opens_again(make_encoder, tmp_path):
    one, two, other = (sesa(make_encoder(), TEXTS, TAGS, epochs=2, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.encode(TEXTS), two.encode(TEXTS))
    assert not np.array_equal(one.encode(TEXTS), other.encode(TEXTS))
    one.save(tmp_path / "concepts")
    np.testing.assert_array_equal(ConceptEncoder.load(tmp_path / "concepts").encode(TEXTS), one.encode(TEXTS))


def test_a_positive_shares_a_tag_and_a_negative_none():
    tagged = torch.tensor([[1.0, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 1]])
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        chosen, positives, negatives = _drawn(tagged, torch.tensor([3, 0, 1, 2]), generator)
        assert chosen.tolist() == [1, 2, 3]  # the last example shares its tag with none
        assert positives.tolist() in ([1, 0, 1], [1, 2, 1])
        assert negatives[0] in (2, 3)
        assert negatives[1] == 3
        assert negatives[2] in (0, 3)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"tags": ["a"]}, "one or more for each input.*1 for 2"),
        ({"tags": [["a"], []]}, "received none for input 1"),
        ({"inputs": [], "tags": []}, "there must be an input"),
        ({"concept_weight": -1}, "concept_weight must be a finite number, 0 or more; received -1"),
        ({"temperature": 0}, "temperature must be a finite number above 0"),
        ({"learning_rate": float("nan")}, "learning_rate must be a finite number above 0"),
        ({"learning_rate": float("inf")}, "learning_rate must be a finite number above 0; received inf"),
        ({"temperature": "cold"}, "temperature must be a finite number above 0; received 'cold'"),
        ({"epochs": 1.5}, "epochs must be an integer, 1 or more; received 1.5"),
        ({"batch_size": 2.5}, "batch_size must be an integer"),
        ({"epochs": 0}, "epochs must be an integer, 1 or more"),
        ({"batch_size": 0}, "batch_size must be an integer, 1 or more"),
    ],
)
def test_arguments_out_of_range_are_refused(make_encoder, changes, says):
    options = {"inputs": TEXTS[:2], "tags": TAGS[:2], **changes}
    with pytest.raises(InputError, match=says):
        sesa(make_encoder(), options.pop("inputs"), options.pop("tags"), **options)
