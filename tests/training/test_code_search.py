"""The recipe of code search: which pairs, in which order, and that training on them helps."""

import numpy as np
import pytest
import torch

from embedkit.encoders.code.functions import find_functions, search_pairs
from embedkit.errors import InputError
from embedkit.losses.info_nce import InfoNCELoss
from embedkit.training.code_search import _BothWays, code_search, code_search_pairs

ANIMALS = "cat dog bird".split()  # noqa: SIM905
COLOURS = "red green blue".split()  # noqa: SIM905
NUMBERS = "one two three".split()  # noqa: SIM905


def functions(distribution, count=27):
    """Each is said to be of an animal, a colour and a number, which its body shows and its name tells."""
    said = [(animal, colour, number) for animal in ANIMALS for colour in COLOURS for number in NUMBERS][:count]
    texts = [
        f"def {animal}_{colour}_{number}_{distribution}(mat):\n"
        f'    """The {number} {colour} {animal} of {distribution}."""\n'
        f"    {animal} = {colour}({number})\n"
        f"    if not {animal}:\n"
        f"        return mat.{distribution}\n"
        f"    return {animal}\n"
        for animal, colour, number in said
    ]
    return [each for text in texts for each in find_functions(text, distribution=distribution)]


def test_pairs_stand_in_groups_of_one_distribution():
    given = [each for name in ("ab", "cd", "ef") for each in functions(name)]
    pairs = code_search_pairs(given, per_distribution=24, group=4)
    assert len(pairs) == 72
    owners = [query.split()[-1] for query, _ in pairs]
    for start in range(0, 72, 4):
        assert len(set(owners[start : start + 4])) == 1
    assert owners != sorted(owners)


def test_every_pair_is_one_of_search_pairs():
    given = functions("ab")
    pairs = code_search_pairs(given, masked=0.0)
    assert set(pairs) == set(search_pairs(given))
    masked = code_search_pairs(given, masked=1.0)
    assert {query for query, _ in masked} == {query for query, _ in pairs}
    assert all(document.startswith("def function(mat") for _, document in masked)


def test_about_the_given_share_of_names_is_masked():
    given = [each for name in ("ab", "cd", "ef", "gh", "ij", "kl") for each in functions(name)]
    documents = [document for _, document in code_search_pairs(given, masked=0.5)]
    share = np.mean([document.startswith("def function(mat") for document in documents])
    assert abs(share - 0.5) < 0.12


def test_the_same_seed_gives_the_same_pairs_and_limits_hold():
    given = [each for name in ("ab", "cd") for each in functions(name)]
    pairs = code_search_pairs(given, seed=1)
    assert pairs == code_search_pairs(given, seed=1)
    assert pairs != code_search_pairs(given, seed=2)
    assert code_search_pairs(given, seed=1, num_pairs=5) == pairs[:5]
    few = [query.split()[-1] for query, _ in code_search_pairs(given, per_distribution=3)]
    assert sorted(few) == ["ab."] * 3 + ["cd."] * 3


def test_a_query_comes_once_over_all_distributions():
    text = 'def size(a):\n    """How large it is."""\n    b = {}\n    return b[a]\n'
    given = [each for name in ("ab", "cd") for each in find_functions(text.format(f"'{name}'", ""), distribution=name)]
    assert len(code_search_pairs(given)) == 1


def test_the_loss_is_the_mean_of_both_directions():
    anchors, positives = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))
    loss, one_way = _BothWays(0.1), InfoNCELoss(temperature=0.1)
    wanted = (one_way(anchors, positives) + one_way(positives, anchors)) / 2
    torch.testing.assert_close(loss(anchors, positives), wanted)
    torch.testing.assert_close(loss(positives, anchors), wanted)


def test_by_hand_two_pairs_that_one_direction_tells_apart():
    """Both documents point where query 0 does: no query can tell them apart, but documents can tell the queries."""
    eye = torch.eye(2)
    same = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    there = np.log(2)  # both documents are equally near to each query
    back = (np.log(1 + np.exp(-1)) + np.log(1 + np.exp(1))) / 2
    assert float(_BothWays(1.0)(eye, same)) == pytest.approx((there + back) / 2, abs=1e-6)


def test_training_lowers_the_loss_and_leaves_the_window_as_it_was(make_encoder):
    encoder = make_encoder()
    window = encoder.max_seq_length
    given = [each for name in ("ab", "cd") for each in functions(name)]
    done = code_search(encoder, given, max_tokens=24, batch_size=16, learning_rate=2e-3, epochs=8)
    assert encoder.max_seq_length == window
    losses = [loss for _, loss in done.losses]
    assert np.mean(losses[-3:]) < np.mean(losses[:3])


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"num_pairs": 0}, "num_pairs"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"batch_size": 0}, "batch_size"),
        ({"temperature": 0}, "temperature"),
    ],
)
def test_numbers_out_of_range_are_refused(make_encoder, options, named):
    with pytest.raises(InputError, match=named):
        code_search(make_encoder(), functions("ab"), **options)


@pytest.mark.parametrize("options", [{"masked": 1.5}, {"masked": -0.1}, {"group": 0}, {"per_distribution": 0}])
def test_pairs_refuse_numbers_out_of_range(options):
    with pytest.raises(InputError, match=next(iter(options))):
        code_search_pairs(functions("ab"), **options)


def test_functions_without_docstrings_are_refused(make_encoder):
    bare = find_functions("def one(a):\n    b = a\n    return b\n")
    with pytest.raises(InputError, match="functions must have docstrings"):
        code_search(make_encoder(), bare)
    with pytest.raises(InputError, match="functions must have docstrings"):
        code_search(make_encoder(), [])
