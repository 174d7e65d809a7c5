"""Records in, vectors out: `encode`, single values, and whole arrays agree."""

import numpy as np
import pandas as pd
import pytest
import torch

import embedkit as ek
from embedkit.encoders.record import Field, Vocabulary, encode_field, encode_records, record_encoder
from embedkit.errors import InputError
from embedkit.modules.lookup import PlainLookup

COLUMNS = {"user": ["ann", "bob", "ann"], "tags": ["a|b", "", "b"], "price": [1.0, 3.0, None]}
FIELDS = [Field("user"), Field("tags", "multi", max_values=2), Field("price", "numeric")]


@pytest.fixture
def vocabulary():
    return Vocabulary.fit(COLUMNS, FIELDS)


def test_a_vector_is_the_fields_one_behind_the_other(vocabulary):
    weight = torch.arange(float(sum(vocabulary.sizes)))[:, None]
    encoder = record_encoder(vocabulary, PlainLookup.from_weight(weight, vocabulary.sizes))
    # user: rows 0-3, tags: rows 4-7, price: rows 8-9
    vectors = encoder.encode([{"user": "bob", "tags": "a|b", "price": 3.0}, {"user": "x", "tags": None, "price": None}])
    np.testing.assert_allclose(vectors, [[3, 6.5, 9], [1, 4, 8]])


def test_frames_records_and_arrays_agree(vocabulary):
    encoder = record_encoder(vocabulary, dim=4)
    frame = pd.DataFrame(COLUMNS)
    whole = encoder.encode(frame)
    assert whole.shape == (3, 12)
    assert whole.dtype == np.float32
    np.testing.assert_array_equal(encoder.encode(frame.to_dict("records")), whole)
    np.testing.assert_array_equal(encode_records(encoder, vocabulary.records(frame), batch_size=2), whole)
    np.testing.assert_array_equal(encoder.encode(frame.to_dict("records")[0]), whole[0])
    assert encoder.encode([]).shape == (0, 12)


def test_values_of_a_field_have_vectors_of_their_own(vocabulary):
    encoder = record_encoder(vocabulary, dim=4)
    users = encode_field(encoder, "user")
    whole = encoder.encode([{"user": name, "tags": None, "price": None} for name in vocabulary.values[0]])
    np.testing.assert_array_equal(users, whole[:, :4])
    np.testing.assert_array_equal(encode_field(encoder, "user", ["zoe"]), encode_field(encoder, "user", ["moe"]))
    index = ek.FaissIndex()
    index.add(list(vocabulary.values[0]), users)
    assert index.search(users[0], k=1).ids[0] == vocabulary.values[0][0]


def test_long_lists_that_differ_have_different_vectors():
    vocabulary = Vocabulary.fit({"tags": [["a", "b"]]}, [Field("tags", "multi", max_values=2000)])
    first = np.array(["a"] * 2000, dtype=object) + np.arange(2000).astype(str).astype(object)
    second = first.copy()
    second[1000] = "b"  # where numpy's text of an array has dots
    encoder = record_encoder(vocabulary, dim=4)
    together = encoder.encode([{"tags": first}, {"tags": second}])
    np.testing.assert_allclose(together[1], encoder.encode({"tags": second}), atol=1e-6)
    assert (together[0] != together[1]).any()


def test_a_text_is_no_list_of_values(vocabulary):
    with pytest.raises(InputError, match=r"values must be a list.*received str 'ann'"):
        encode_field(record_encoder(vocabulary), "user", "ann")


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_has_a_record_at_least(vocabulary, batch_size):
    with pytest.raises(InputError, match=f"batch_size must be at least 1; received {batch_size}"):
        encode_records(record_encoder(vocabulary), vocabulary.records(COLUMNS), batch_size=batch_size)


def test_an_encoder_opens_again(vocabulary, tmp_path):
    encoder = record_encoder(vocabulary, dim=4)
    encoder.save(tmp_path / "model")
    opened = ek.load(tmp_path / "model")
    frame = pd.DataFrame(COLUMNS)
    np.testing.assert_array_equal(opened.encode(frame), encoder.encode(frame))
    assert opened.fingerprint == encoder.fingerprint
    assert opened.fingerprint != record_encoder(vocabulary, dim=4).fingerprint


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ("ann", "a record"),
        (["ann"], r"inputs\[0\] must be a record.*received str 'ann'"),
        ([{"user": "ann", "tags": ""}], r"inputs\[0\].*lacks the field 'price'; it has user, tags"),
        ({"user": "ann", "tags": "", "price": "cheap"}, "'price' must hold numbers; received 'cheap'"),
    ],
)
def test_what_is_no_record_is_refused(vocabulary, inputs, says):
    with pytest.raises(InputError, match=says):
        record_encoder(vocabulary).encode(inputs)


def test_a_prompt_is_refused(vocabulary):
    with pytest.raises(InputError, match="records take no prompt"):
        record_encoder(vocabulary).encode({"user": "ann", "tags": "", "price": 1.0}, prompt="query: ")


def test_a_lookup_of_other_sizes_is_refused(vocabulary):
    with pytest.raises(InputError, match=r"sizes \(4, 4, 2\); it has \(4, 4\)"):
        record_encoder(vocabulary, PlainLookup([4, 4], 8))


def test_another_encoder_has_no_fields(make_encoder):
    with pytest.raises(InputError, match="must read records"):
        encode_field(make_encoder(), "user")


def test_a_text_encoder_says_that_it_reads_no_frames(make_encoder):
    with pytest.raises(InputError, match="text"):
        make_encoder().encode(pd.DataFrame(COLUMNS))
