"""Ids in, vectors out; fields share one space of ids and messages name them."""

import numpy as np
import pytest
import torch

from embedkit.errors import CorruptFileError, InputError, ModelError
from embedkit.modules.lookup import (
    FieldEmbedding,
    LearnedStepLookup,
    Lookup,
    MGQELookup,
    OptEmbedLookup,
    PlainLookup,
    load_lookup,
)


def test_fields_lie_below_each_other():
    lookup = PlainLookup.from_weight(torch.arange(10.0).reshape(5, 2), [2, 3])
    assert lookup(torch.tensor([[1, 0], [0, 2]])).tolist() == [[[2, 3], [4, 5]], [[0, 1], [8, 9]]]
    assert lookup.table(1).tolist() == [[4, 5], [6, 7], [8, 9]]
    assert lookup.nbytes == 5 * 2 * 4


def test_columns_may_belong_to_any_field():
    lookup = PlainLookup.from_weight(torch.arange(5.0)[:, None], [2, 3])
    assert lookup(torch.tensor([[2, 1, 0]]), torch.tensor([1, 0, 1])).flatten().tolist() == [4, 1, 2]


@pytest.mark.parametrize(
    ("ids", "says"),
    [
        (torch.tensor([[0, 3]]), r"field 'item' must be 0 … 2, its vocabulary has 3 values; received 3 in row 0"),
        (torch.tensor([[0, 0], [-1, 0]]), r"field 'user' must be 0 … 1.*received -1 in row 1"),
        (torch.tensor([0, 1]), r"\(batch, 2\).*received shape \(2,\)"),
        (torch.tensor([[0, 1, 1]]), r"\(batch, 2\)"),
        (torch.tensor([[0.0, 1.0]]), "whole numbers; received torch.float32"),
        (torch.tensor([[0, 3]], dtype=torch.uint32), "field 'item' must be 0 … 2.*received 3 in row 0"),
    ],
)
def test_ids_that_are_none_are_refused(ids, says):
    with pytest.raises(InputError, match=says):
        PlainLookup([2, 3], dim=4, names=["user", "item"])(ids)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (([], 4), "sizes must be"),
        (([3, 0], 4), "sizes must be"),
        (([3.5], 4), "sizes must be"),
        (([3], 0), "dim must be"),
    ],
)
def test_sizes_out_of_range_are_refused(arguments, says):
    with pytest.raises(InputError, match=says):
        PlainLookup(*arguments)


def test_names_are_one_a_field():
    with pytest.raises(InputError, match="one a field, 2; received 1"):
        PlainLookup([2, 3], 4, names=["user"])


def test_an_empty_batch_has_no_vectors():
    assert PlainLookup([2, 3], 4)(torch.empty(0, 2, dtype=torch.long)).shape == (0, 2, 4)


@pytest.mark.parametrize("kind", [torch.uint8, torch.uint16, torch.uint32, torch.int16])
def test_ids_may_be_whole_numbers_of_any_kind(kind):
    lookup = PlainLookup.from_weight(torch.arange(5.0)[:, None], [2, 3])
    assert lookup(torch.tensor([[1, 2]], dtype=kind)).flatten().tolist() == [1, 4]


@pytest.mark.parametrize("fields", [[-1], [2], [[0]]])
def test_fields_that_are_none_are_refused(fields):
    with pytest.raises(InputError, match=r"fields must be \(columns,\), each 0 … 1; received"):
        PlainLookup([2, 3], 4)(torch.tensor([[0]]), torch.tensor(fields))


def test_a_known_table_must_be_floating_point_and_stays_where_it_is():
    with pytest.raises(InputError, match=r"weight must be floating point; received torch.int64: pass weight.float\(\)"):
        PlainLookup.from_weight(torch.zeros(5, 1, dtype=torch.long), [2, 3])
    lookup = PlainLookup.from_weight(torch.empty(5, 1, device="meta"), [2, 3])
    assert lookup.offsets.device == lookup.weight.device == torch.device("meta")


def test_a_table_is_read_as_in_evaluation_and_leaves_no_trace():
    learned = LearnedStepLookup([30], 4).train()
    learned.materialize()
    assert not learned.touched.any()
    assert learned.training
    supernet = OptEmbedLookup([30], 4, std=1.0).train()
    assert (supernet.materialize() != 0).all()  # of training some columns would be masked


def test_numbers_of_numpy_are_saved(tmp_path):
    lookup = MGQELookup([3], 4, parts=np.int64(2), num_codes=np.int64(4), std=np.float32(0.5))
    lookup.save(tmp_path / "lookup")
    assert MGQELookup.load(tmp_path / "lookup").parts == 2


def test_weights_that_are_none_are_refused():
    embedding = FieldEmbedding(PlainLookup([3, 5], 2))
    with pytest.raises(InputError, match=r"weights must have the shape of ids, \(2, 2\); received \(2,\)"):
        embedding(torch.zeros(2, 2, dtype=torch.long), torch.ones(2))


def test_weights_keep_half_precision():
    embedding = FieldEmbedding(PlainLookup([3, 5], 2)).half()
    assert embedding(torch.zeros(2, 2, dtype=torch.long), torch.ones(2, 2)).dtype == torch.float16


def test_several_columns_of_a_field_are_summed_by_weight():
    embedding = FieldEmbedding(PlainLookup.from_weight(torch.tensor([[1.0], [10], [20], [30]]), [1, 3]), [0, 1, 1])
    vectors = embedding(torch.tensor([[0, 0, 2]]), torch.tensor([[2.5, 0.5, 0.5]]))
    assert vectors.flatten().tolist() == [2.5, 20]


@pytest.mark.parametrize("columns", [[0], [0, 2], [1, 0], [0, 0]])
def test_columns_that_leave_out_a_field_are_refused(columns):
    with pytest.raises(InputError, match="columns must name each field 0 … 1"):
        FieldEmbedding(PlainLookup([2, 2], 3), columns)


def test_a_damaged_folder_and_another_class_are_told_apart(tmp_path):
    class Other(PlainLookup):
        pass

    PlainLookup([2, 3], 4).save(tmp_path / "table")
    with pytest.raises(ModelError, match="must hold a Other; it holds 'PlainLookup'"):
        Other.load(tmp_path / "table")
    path = tmp_path / "table" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CorruptFileError):
        PlainLookup.load(tmp_path / "table")


def test_a_lookup_is_abstract():
    with pytest.raises(TypeError, match="abstract"):
        Lookup([2], 3)


def test_a_folder_says_which_lookup_it_holds(tmp_path):
    lookup = PlainLookup([2, 3], 4)
    lookup.save(tmp_path / "table")
    opened = load_lookup(tmp_path / "table")
    assert type(opened) is PlainLookup
    torch.testing.assert_close(opened.materialize(), lookup.materialize(), rtol=0, atol=0)
    (tmp_path / "table" / "config.json").write_text('{"class": "Thread"}')
    with pytest.raises(ModelError, match=r"one of embedkit's lookups.*it holds 'Thread'"):
        load_lookup(tmp_path / "table")
