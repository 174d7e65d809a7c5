from itertools import chain, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedkit.encoders.batching import TOKENS_PER_ROW, token_budget_batches
from embedkit.errors import InputError

LENGTHS = st.lists(st.integers(0, 600), max_size=200)
BATCH_SIZES = st.integers(1, 40)


def batches_of(lengths, batch_size):
    return [batch.tolist() for batch in token_budget_batches(np.array(lengths, dtype=np.int64), batch_size)]


def padded_size(lengths, batch):
    return len(batch) * max(lengths[row] for row in batch)


@given(LENGTHS, BATCH_SIZES)
def test_batches_partition_the_rows(lengths, batch_size):
    batches = batches_of(lengths, batch_size)
    assert all(batches)
    assert sorted(chain.from_iterable(batches)) == list(range(len(lengths)))


@given(LENGTHS, BATCH_SIZES)
def test_padded_size_stays_within_the_budget(lengths, batch_size):
    budget = batch_size * TOKENS_PER_ROW
    for batch in batches_of(lengths, batch_size):
        assert len(batch) == 1 or padded_size(lengths, batch) <= budget


@given(LENGTHS, BATCH_SIZES)
def test_no_batch_has_room_for_the_next_row(lengths, batch_size):
    budget = batch_size * TOKENS_PER_ROW
    for batch, following in pairwise(batches_of(lengths, batch_size)):
        assert padded_size(lengths, [*batch, following[0]]) > budget or max(lengths[row] for row in batch) == 0


@given(LENGTHS, BATCH_SIZES)
def test_the_longest_come_first_and_equals_in_order(lengths, batch_size):
    order = list(chain.from_iterable(batches_of(lengths, batch_size)))
    assert order == sorted(range(len(lengths)), key=lambda row: (-lengths[row], row))


def test_batches_worked_by_hand():
    # The budget is 128 tokens: 90 leaves no room; two of 50 fill 100; 30 and 20 take 60; 128 fills one alone.
    size = 128 // TOKENS_PER_ROW
    assert batches_of([50, 90, 20, 128, 50, 30], size) == [[3], [1], [0, 4], [5, 2]]
    assert batches_of([64, 64, 64, 64], size) == [[0, 1], [2, 3]]
    assert batches_of([1000], batch_size=1) == [[0]]
    assert batches_of([0, 0, 0], batch_size=1) == [[0, 1, 2]]
    assert batches_of([], batch_size=1) == []


@pytest.mark.parametrize("batch_size", [0, -1, "8", 2.5, None])
def test_a_batch_size_that_is_no_positive_integer_is_refused(batch_size):
    with pytest.raises(InputError, match="batch_size must be a positive integer"):
        batches_of([1, 2], batch_size)


@pytest.fixture
def rows_run(make_encoder):
    """An encoder, and the shapes (rows, tokens) of the batches that its first module got."""
    encoder, shapes = make_encoder(), []
    encoder[0].register_forward_pre_hook(lambda _, inputs: shapes.append(tuple(inputs[0]["input_ids"].shape)))
    return encoder, shapes


def test_equal_inputs_are_run_once(rows_run):
    encoder, shapes = rows_run
    vectors = encoder.encode(["a cat", "the dog barks", "a cat"] * 1000)
    assert sum(rows for rows, _ in shapes) == 2
    assert vectors.shape == (3000, 32)
    np.testing.assert_array_equal(vectors[:3], vectors[-3:])
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-3


def test_encode_pads_to_the_longest_of_each_batch(rows_run):
    encoder, shapes = rows_run
    short, middle, long = "a cat", "a cat " * 8, "a cat " * 30  # with the two special tokens: 4, 18, 62
    encoder.encode([short, long, middle, short + " one"], batch_size=1)
    assert shapes == [(1, 62), (1, 18), (2, 5)]


def test_a_larger_batch_size_makes_larger_batches(rows_run):
    encoder, shapes = rows_run
    encoder.encode([f"{'a cat ' * 30} {number}" for number in range(8)], batch_size=8 * 63 // TOKENS_PER_ROW + 1)
    assert shapes == [(8, 63)]
