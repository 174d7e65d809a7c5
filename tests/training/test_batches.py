from functools import partial

import pytest
from datasets import Dataset

from embedkit.errors import InputError
from embedkit.losses import InfoNCELoss
from embedkit.training.batches import OnePerKey
from embedkit.training.fit import fit


def sampler(keys, batch_size, *, drop_last=False, seed=0):
    dataset = Dataset.from_dict({"text": ["x"] * len(keys)})
    return OnePerKey(dataset, keys=keys, batch_size=batch_size, drop_last=drop_last, seed=seed)


@pytest.mark.parametrize("keys", [list("aabbccdd"), list("abcdefgh"), list("aaaaabcd"), ["a"] * 5, list(range(7)) * 3])
@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_no_batch_has_a_key_twice_and_each_example_comes_once(keys, batch_size):
    batches = list(sampler(keys, batch_size))
    assert sorted(row for batch in batches for row in batch) == list(range(len(keys)))
    for batch in batches:
        assert len({keys[row] for row in batch}) == len(batch) <= batch_size
    assert len(sampler(keys, batch_size)) == len(batches)


def test_only_full_batches_where_the_last_is_dropped():
    assert [len(batch) for batch in sampler(list("aaaabcd"), 3, drop_last=True)] == [3]


def test_each_epoch_and_seed_has_an_order_of_its_own():
    first = sampler(list(range(50)), 5)
    once, again = list(first), list(first)
    first.set_epoch(1)
    assert once == again
    assert list(first) != once
    assert list(sampler(list(range(50)), 5, seed=1)) != once


def test_keys_for_each_example():
    with pytest.raises(InputError, match="keys must be one for each of 3 examples; received 2"):
        OnePerKey(Dataset.from_dict({"a": ["x"] * 3}), keys=[1, 2], batch_size=2, drop_last=False)


def test_fit_takes_it(make_encoder):
    rows = [("a cat", "one cat"), ("the cat", "one cat"), ("a dog", "two"), ("the dog", "two")]
    given = partial(OnePerKey, keys=[positive for _, positive in rows])
    seen = []

    class Watching(InfoNCELoss):
        def forward(self, *columns):
            seen.append([len(column) for column in columns])
            return super().forward(*columns)

    fit(make_encoder("bert"), rows, Watching(), batch_size=4, batch_sampler=given, max_steps=2)
    assert seen == [[2, 2], [2, 2]]
