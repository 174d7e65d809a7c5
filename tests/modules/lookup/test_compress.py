"""Any table by any method: within its budget, near the table, saved and opened again without naming the class."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from embedkit.errors import InputError
from embedkit.modules.lookup import (
    AutoDimLookup,
    CodebookLookup,
    DedupLookup,
    FieldEmbedding,
    LowRankLookup,
    PlainLookup,
    PrunedLookup,
    QuantizedLookup,
    TensorTrainLookup,
    compress,
    decompress,
    load_lookup,
)
from embedkit.modules.lookup.compress import _METHODS, _Table

METHODS = {
    "int8": QuantizedLookup,
    "int4": QuantizedLookup,
    "low_rank": LowRankLookup,
    "afm": LowRankLookup,
    "prune": PrunedLookup,
    "codebook": CodebookLookup,
    "tensor_train": TensorTrainLookup,
    "dedup": DedupLookup,
}
SIZES, DIM = (7, 1, 292), 16


def vectors(n=300, dim=DIM, seed=0):
    """Rows near a subspace of few dimensions."""
    random = np.random.default_rng(seed)
    rows = random.normal(size=(n, 4)) @ random.normal(size=(4, dim)) + 0.1 * random.normal(size=(n, dim)) + 1
    return rows.astype(np.float32)


def relative_error(compressed, table):
    return float(((decompress(compressed) - table) ** 2).mean() / table.var())


@pytest.mark.parametrize("method", METHODS)
def test_each_method_keeps_its_budget_and_is_near(method, tmp_path):
    table = vectors()
    compressed = compress(table, 0.6, method)
    assert type(compressed) is METHODS[method]
    assert compressed.nbytes <= 0.6 * table.nbytes
    assert compressed.sizes == (300,)
    assert relative_error(compressed, table) < (0.4 if method == "tensor_train" else 0.2)
    back = decompress(compressed)
    assert back.dtype == np.float32
    assert back.shape == table.shape
    assert back.flags["C_CONTIGUOUS"]
    some = compressed(torch.tensor([[5], [299]]))[:, 0].detach().numpy()
    np.testing.assert_allclose(some, back[[5, 299]], atol=1e-6)
    compressed.save(tmp_path / "table")
    opened = load_lookup(tmp_path / "table")
    assert type(opened) is METHODS[method]
    np.testing.assert_array_equal(decompress(opened), back)


@pytest.mark.parametrize("method", [*METHODS, "auto"])
def test_the_least_budget_is_told_and_reached(method):
    table = vectors()
    with pytest.raises(InputError, match=f"budget must be at least .* bytes for {method}; received 10") as error:
        compress(table, 10, method)
    least = int(str(error.value).split("at least ")[1].split()[0])
    assert "the smallest is" in str(error.value)
    assert compress(table, least, method).nbytes <= least
    with pytest.raises(InputError, match=f"at least {least} bytes"):
        compress(table, least - 1, method)


@pytest.mark.parametrize("method", ["low_rank", "afm", "prune", "codebook", "tensor_train", "dedup", "auto"])
def test_more_bytes_err_less(method):
    table = vectors()
    errors = [relative_error(compress(table, budget, method), table) for budget in (0.2, 0.35, 0.7, 1.0)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < errors[0]


def test_a_budget_names_the_methods_that_reach_it():
    table = vectors()
    with pytest.raises(InputError, match="raise it, or choose") as error:
        compress(table, 3000, "int8")
    named = str(error.value).split("choose ")[1].split(" or ")
    assert "int8" not in named
    for method in named:
        assert compress(table, 3000, method).nbytes <= 3000
    assert set(METHODS) - set(named) == {m for m in METHODS if _METHODS[m].least(as_table(table)) > 3000}


def as_table(table):
    return _Table(torch.from_numpy(table), (len(table),), None, None)


def test_int8_by_hand():
    table = np.array([[0, 51, 255], [0, 0, 510]], dtype=np.float32)
    compressed = compress(table, 2 * (3 + 8), "int8")
    assert compressed.codes.tolist() == [[0, 51, 255], [0, 0, 255]]
    np.testing.assert_array_equal(decompress(compressed), table)
    assert compressed.nbytes == 22


def test_auto_is_the_best_of_its_methods():
    for seed, budget in ((0, 0.3), (1, 0.15), (2, 0.5)):
        table = vectors(seed=seed)
        found = relative_error(compress(table, budget), table)
        fit = [
            method
            for method in ("int8", "int4", "afm", "prune", "codebook")
            if _METHODS[method].least(as_table(table)) <= budget * table.nbytes
        ]
        tried = [relative_error(compress(table, budget, method), table) for method in fit]
        assert found <= min(tried)


def test_auto_takes_what_the_table_is_made_for():
    low = vectors()[:, :1] @ np.ones((1, DIM), dtype=np.float32) * np.arange(1, DIM + 1, dtype=np.float32)
    assert isinstance(compress(low, 0.2), LowRankLookup)
    sparse = vectors() * (np.random.default_rng(0).random((300, DIM)) < 0.05)
    assert isinstance(compress(sparse, 0.2), PrunedLookup)
    few = vectors()[np.random.default_rng(0).integers(8, size=300)]
    assert isinstance(compress(few, 0.1), CodebookLookup)
    assert isinstance(compress(vectors(), 0.5), QuantizedLookup)
    whole = compress(vectors(), 1.0)
    assert isinstance(whole, PlainLookup)
    np.testing.assert_array_equal(decompress(whole), vectors())


def test_counts_decide_where_the_error_lies():
    table = vectors()
    counts = np.where(np.arange(300) < 30, 100.0, 0.01)
    for method in ("afm", "codebook"):
        plain, weighted = (compress(table, 0.25, method, counts=each) for each in (None, counts))
        often = [float(((decompress(each) - table)[:30] ** 2).mean()) for each in (plain, weighted)]
        assert often[1] < often[0]


# -- lookups and modules -------------------------------------------------------------------------------


def lookup():
    torch.manual_seed(0)
    return PlainLookup.from_weight(torch.from_numpy(vectors()), SIZES, names=["user", "kind", "item"])


@pytest.mark.parametrize("method", [*METHODS, "auto"])
def test_a_lookup_keeps_its_fields(method):
    compressed = compress(lookup(), 0.6, method)
    assert (compressed.sizes, compressed.names) == (SIZES, ("user", "kind", "item"))
    assert compressed.nbytes <= 0.6 * lookup().nbytes
    assert relative_error(compressed, vectors()) < (0.4 if method == "tensor_train" else 0.2)
    with pytest.raises(InputError, match="field 'item' must be 0 … 291"):
        compressed(torch.tensor([[0, 0, 292]]))


def test_a_lookup_is_read_in_evaluation_and_left_as_it_was():
    torch.manual_seed(0)
    source = AutoDimLookup(SIZES, DIM).train()
    expected = decompress(source)
    assert source.training
    np.testing.assert_allclose(decompress(compress(source, 10**6)), expected, atol=1e-7)
    assert source.training
    assert all(part.training for part in source.modules())


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.linear = FieldEmbedding(lookup()), nn.Linear(3 * DIM, 1)
        self.again = FieldEmbedding(self.embedding.lookup)
        self.other = FieldEmbedding(PlainLookup(SIZES, 4))

    def forward(self, ids):
        return self.linear(self.embedding(ids).flatten(1)) + self.other(ids).sum((1, 2))[:, None]


def test_a_module_is_copied_and_its_lookups_replaced():
    torch.manual_seed(0)
    model, ids = Model().eval(), torch.tensor([[3, 0, 200], [6, 0, 5]])
    before = copy.deepcopy(model.state_dict())
    smaller = compress(model, 0.5)
    assert isinstance(model.embedding.lookup, PlainLookup)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert isinstance(smaller.embedding.lookup, QuantizedLookup)
    assert smaller.again.lookup is smaller.embedding.lookup is not smaller.other.lookup
    assert not smaller.embedding.lookup.training
    spent = smaller.embedding.lookup.nbytes + smaller.other.lookup.nbytes
    assert spent <= 0.5 * (model.embedding.lookup.nbytes + model.other.lookup.nbytes)
    torch.testing.assert_close(smaller(ids), model(ids), atol=0.05, rtol=0.05)
    in_bytes = compress(model, 2 * 300 * (DIM + 4))
    assert torch.equal(in_bytes(ids), smaller(ids))


def test_a_field_embedding_itself_is_a_module():
    embedding = FieldEmbedding(lookup())
    assert isinstance(compress(embedding, 0.3, "codebook").lookup, CodebookLookup)


# -- degenerate and wrong input ------------------------------------------------------------------------


@pytest.mark.parametrize("method", [*METHODS, "auto"])
def test_one_row_and_equal_rows(method):
    one = np.full((1, 4), 0.5, dtype=np.float32)
    np.testing.assert_allclose(decompress(compress(one, 10_000, method)), one, atol=1e-6)
    equal = np.tile(np.arange(4, dtype=np.float32), (40, 1))
    np.testing.assert_allclose(decompress(compress(equal, 10_000, method)), equal, atol=1e-5)


def test_a_block_that_is_filled_up_merges_too():
    table = np.random.default_rng(0).uniform(10, 11, size=(2501, 4)).astype(np.float32)  # far from the zeros
    least = 4 * 2 * 4 + 4 * 1251
    assert compress(table, least, "dedup").nbytes == least


@pytest.mark.parametrize("table", [vectors().astype(np.float64), vectors().astype(np.float16), vectors().round()])
def test_other_numbers_become_float32(table):
    assert decompress(compress(table, 100_000)).dtype == np.float32
    tensor = compress(torch.from_numpy(table).requires_grad_(), 10_000, "afm")
    np.testing.assert_array_equal(decompress(tensor), decompress(compress(table, 10_000, "afm")))


def test_a_share_is_of_the_bytes_that_came():
    assert compress(vectors().astype(np.float64), 0.5).nbytes == 300 * DIM * 4
    assert compress(torch.from_numpy(vectors()).half(), 0.5, "afm").nbytes <= 300 * DIM


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((vectors(), 0.5, "zip"), "method must be one of auto, int8.*received 'zip'"),
        ((vectors(), 1.5), "share above 0 and at most 1.*received 1.5"),
        ((vectors(), 0.0), "received 0.0"),
        ((vectors(), "half"), "budget must be an int, bytes, or a float, a share; received str"),
        ((vectors()[0], 0.5), r"table must have shape \(n, dim\)"),
        ((np.full((3, 2), np.nan), 0.5), "table must be finite"),
        ((vectors()[:0], 0.5), "table must have at least one row"),
        (([[1.0]], 0.5), "table must be an array, a tensor, a lookup.*received list"),
        ((nn.Linear(2, 2), 0.5), "table must hold a FieldEmbedding; Linear holds none"),
    ],
)
def test_what_cannot_be_is_refused(arguments, says):
    with pytest.raises(InputError, match=says):
        compress(*arguments)
    with pytest.raises(InputError, match="compressed must be a lookup; received ndarray"):
        decompress(vectors())
    with pytest.raises(InputError, match=r"counts must be one a value, \(300,\); received shape \(2,\)"):
        compress(vectors(), 0.5, counts=[1, 2])


def test_a_table_of_width_1_counts_and_stays_as_it_is():
    wide, narrow = PlainLookup([50, 30], 16), PlainLookup([50, 30], 1)
    model = torch.nn.ModuleList([FieldEmbedding(wide), FieldEmbedding(narrow)])
    small = compress(model, 0.5, "int8")
    assert small[1].lookup.nbytes == narrow.nbytes
    assert small[0].lookup.nbytes + narrow.nbytes <= 0.5 * (wide.nbytes + narrow.nbytes)
    torch.testing.assert_close(small[1].lookup.materialize(), narrow.materialize(), rtol=0, atol=0)
    with pytest.raises(InputError, match="above 320 bytes, which tables of width 1 take and keep; received 300"):
        compress(model, 300, "int8")


def test_counts_are_for_the_tables_of_as_many_rows():
    model = torch.nn.ModuleList([FieldEmbedding(PlainLookup([50, 30], 8)), FieldEmbedding(PlainLookup([30], 8))])
    counts = torch.arange(80.0)
    small = compress(model, 0.6, "afm", counts=counts)
    alone = compress(model[0].lookup, small[0].lookup.nbytes, "afm", counts=counts)
    torch.testing.assert_close(small[0].lookup.materialize(), alone.materialize(), rtol=0, atol=1e-6)
    with pytest.raises(InputError, match="counts"):
        compress(model, 0.6, "afm", counts=torch.ones(7))
