from collections import Counter
from functools import partial

import pytest
from datasets import Dataset
from pytorch_metric_learning import losses as peers

import embedkit as ek
from embedkit.errors import InputError
from embedkit.losses import InfoNCELoss, SupConLoss
from embedkit.training.batches import OnePerKey, SeveralPerClass, class_batches
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


@pytest.mark.parametrize(
    "labels", [list("aabbccdd"), list("abcdefgh"), list("aaaaabcd"), ["a"] * 5, list(range(7)) * 3]
)
@pytest.mark.parametrize(("batch_size", "per_class"), [(2, 2), (4, 2), (5, 3), (64, 4)])
def test_class_batches_have_each_example_once_and_few_of_a_class(labels, batch_size, per_class):
    batches = list(class_batches(labels, batch_size, per_class, seed=0))
    assert sorted(row for batch in batches for row in batch) == list(range(len(labels)))
    for batch in batches:
        assert 0 < len(batch) <= batch_size
        assert max(Counter(labels[row] for row in batch).values()) <= per_class


def test_class_batches_have_positives_for_every_row_where_classes_divide():
    for batch in class_batches(list(range(10)) * 8, 16, 4, seed=3):
        assert set(Counter(row % 10 for row in batch).values()) == {4}


def test_class_batches_differ_by_seed():
    once, again, other = (list(class_batches(list(range(9)) * 4, 6, 2, seed=seed)) for seed in (0, 0, 1))
    assert once == again != other


@pytest.mark.parametrize("loss", [SupConLoss(), peers.MultiSimilarityLoss()], ids=["ours", "a peer's"])
def test_several_per_class_trains_and_counts(loss):
    labels = [0, 1, 2, 3] * 3
    dataset = Dataset.from_dict({"text": ["x"] * 12})
    sampler = SeveralPerClass(dataset, labels=labels, per_class=3, batch_size=6, drop_last=False)
    assert len(sampler) == 2
    first = list(sampler)
    sampler.set_epoch(1)
    assert list(sampler) != first
    texts = ["a cat", "a dog", "tax law", "a court"] * 3
    done = fit(
        ek.load(device="cpu"),
        {"text": texts, "label": labels},
        loss,
        batch_size=6,
        max_steps=2,
        batch_sampler=partial(SeveralPerClass, labels=labels, per_class=3),
        show_progress_bar=False,
    )
    assert all(loss > 0 for _, loss in done.losses)


def test_only_full_batches_of_classes_where_the_last_is_dropped():
    dataset = Dataset.from_dict({"text": ["x"] * 5})
    sampler = SeveralPerClass(dataset, labels=list("aabbc"), per_class=2, batch_size=4, drop_last=True)
    assert all(len(batch) == 4 for batch in sampler)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": [0, 1]}, "labels must be one for each of 4"),
        ({"per_class": 1}, "per_class must be an integer, 2 or more"),
        ({"per_class": 3}, "per_class must be at most batch_size"),
    ],
)
def test_several_per_class_says_what_it_cannot(options, message):
    dataset = Dataset.from_dict({"text": ["x"] * 4})
    with pytest.raises(InputError, match=message):
        SeveralPerClass(
            dataset, **{"labels": [0, 0, 1, 1], "per_class": 2, "batch_size": 2, "drop_last": False, **options}
        )
