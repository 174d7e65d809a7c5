import random

import numpy as np
import pytest

from embedkit.corpus.duplicates import PERMUTATIONS, SHINGLE, MinHash, NearDuplicates, body_digest
from embedkit.encoders.code.functions import parse_function
from embedkit.errors import InputError


def jaccard(first, second):
    """The likeness that MinHash estimates, from the sets themselves."""
    first, second = (
        {tuple(words[at : at + SHINGLE]) for at in range(max(len(words) - SHINGLE + 1, 1))} for words in (first, second)
    )
    return len(first & second) / len(first | second)


def variants(words, random):
    """Copies of a list of words with more and more of them replaced."""
    for changes in (0, 1, 2, 4, 8, 16):
        copy = [*words]
        for at in random.sample(range(len(copy)), changes):
            copy[at] = f"new{random.randrange(10**9)}"
        yield copy


def corpus(seed, count):
    chance = random.Random(seed)
    return [
        copy
        for _ in range(count)
        for copy in variants([f"w{chance.randrange(10**9)}" for _ in range(chance.randrange(60, 240))], chance)
    ]


def test_the_share_of_equal_minima_is_the_likeness_within_its_standard_error():
    words = corpus(0, 10)
    hashes = MinHash(seed=1)
    signatures = [hashes.signature(" ".join(each)) for each in words]
    errors = []
    for first in range(len(words)):
        for second in range(first):
            truth = jaccard(words[first], words[second])
            estimate = (signatures[first] == signatures[second]).mean()
            if 0.05 < truth < 0.999:
                errors.append((estimate - truth) / np.sqrt(truth * (1 - truth) / PERMUTATIONS))
            else:
                assert abs(estimate - truth) < 0.1
    assert len(errors) > 100
    assert abs(np.mean(errors)) < 0.5  # pairs of one family share their minima, so they do not average out as well
    assert 0.5 < np.std(errors) < 1.5
    assert np.abs(errors).max() < 4.5


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_pair_above_nine_tenths_is_found_and_none_below_two_thirds(seed):
    chance = random.Random(seed)
    found = missed = different = 0
    for _ in range(60):
        words = [f"w{chance.randrange(10**9)}" for _ in range(chance.randrange(60, 240))]
        for copy in variants(words, chance):
            seen = NearDuplicates(seed=seed)
            assert seen.add(" ".join(words))
            is_new, likeness = seen.add(" ".join(copy)), jaccard(words, copy)
            found += likeness >= 0.9 and not is_new
            missed += likeness >= 0.9 and is_new
            different += likeness < 0.66 and is_new
            assert is_new or likeness >= 0.66
    assert missed == 0
    assert min(found, different) > 50


def test_only_what_was_kept_is_compared_with_and_counted():
    seen = NearDuplicates()
    words = [f"w{number}" for number in range(200)]
    assert seen.add(" ".join(words))
    assert not seen.add(" ".join(words[:190]))
    assert len(seen) == 1
    for number in range(3000):  # more than the room it begins with
        assert seen.add(" ".join(f"{number}x{each}" for each in range(10)))
    assert len(seen) == 3001
    assert not seen.add(" ".join(words))


def test_the_seed_decides_the_signature_and_nothing_else_does():
    code = "a = b + c * d"
    same = MinHash(seed=5).signature(code)
    np.testing.assert_array_equal(MinHash(seed=5).signature(code), same)
    np.testing.assert_array_equal(MinHash(seed=5).signature("a=b  +\n c*d"), same)
    assert (MinHash(seed=6).signature(code) != same).all()


@pytest.mark.parametrize("code", ["", "a", "a b c d"])
def test_fewer_tokens_than_a_shingle_are_one_shingle(code):
    seen = NearDuplicates()
    assert seen.add(code)
    assert not seen.add(code)
    assert seen.add("a b c e")


def test_long_code_is_hashed_in_parts():
    words = [str(number) for number in range(20_000)]
    hashes = MinHash()
    long = hashes.signature(" ".join(words))
    half = np.minimum(hashes.signature(" ".join(words[:10_004])), hashes.signature(" ".join(words[10_000:])))
    np.testing.assert_array_equal(long, half)


@pytest.mark.parametrize("threshold", [0, -1, 1.1, float("nan")])
def test_the_threshold_must_be_a_share(threshold):
    with pytest.raises(InputError, match="threshold must be above 0 and at most 1"):
        NearDuplicates(threshold=threshold)


@pytest.mark.parametrize(
    ("first", "second", "is_same"),
    [
        ("def f(a): return a+1", "def g(a):\n  # why\n  return (a + 1)", True),
        ("def f(a): return a+1", "async def f(a): return a+1", True),
        ("def f(a): return a", "def f(b): return b", False),
        ("def f(a): return a", "def f(a=1): return a", False),
        ("def f(): return 1", "def f(): return True", False),
        ("def f(): return 1", "def f(): return '1'", False),
        ("def f(): return 1", "def f(): return 1.0", False),
        ("def f(): return [a, [b]]", "def f(): return [[a, b]]", False),
        ("def f(): g(a); h()", "def f(): g(a, h())", False),
        ("def f(): return '\\ud800'", "def f(): return '\\ud801'", False),
    ],
)
def test_a_digest_is_that_of_arguments_and_body(first, second, is_same):
    assert (body_digest(parse_function(first)) == body_digest(parse_function(second))) is is_same


def test_digests_take_huge_numbers_and_deep_trees():
    assert body_digest(parse_function(f"def f(): return 0x{'f' * 10_000}"))
    assert body_digest(parse_function(f"def f(): return {' + '.join('a' * 900)}"))
