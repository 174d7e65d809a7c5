"""The elastic grid: the oracle is `encode` at each depth and width, one call a cell."""

import threading
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from sentence_transformers.base.modules import Dense, Normalize
from sentence_transformers.sentence_transformer.modules import Pooling, StaticEmbedding
from tqdm import tqdm

from embedkit import Encoder, VectorCache
from embedkit.encoders import forks
from embedkit.encoders.table.encoder import table_encoder
from embedkit.errors import EmbedkitError, ForkedProcessError, InputError, ModelError

TEXTS = ["a cat sat on the mat", "the dog barks", "", "the bird sings and the dog barks and the cat sat", "one", "one"]
LAYERS, DIMS = [4, 1, 3], [32, 8, 1]
STACKS = {"bert": "encoder.layer", "distilbert": "transformer.layer", "modernbert": "layers", "llama": "layers"}
KINDS = list(STACKS)


def layers_of(encoder):
    backbone = encoder[0].model
    return backbone.get_submodule(STACKS[backbone.config.model_type])


@contextmanager
def calls_of(modules):
    counts = [0] * len(modules)

    def count(position):
        def hook(*_):
            counts[position] += 1

        return hook

    handles = [module.register_forward_hook(count(position)) for position, module in enumerate(modules)]
    yield counts
    for handle in handles:
        handle.remove()


def one_by_one(encoder, inputs, layers=LAYERS, dims=DIMS, **options):
    return {
        (layer, dim): encoder.encode(inputs, num_layers=layer, truncate_dim=dim, **options)
        for layer in layers
        for dim in dims
    }


def assert_equal(found, expected, tolerance=0.0):
    assert list(found) == list(expected)
    for cell, vectors in expected.items():
        assert found[cell].dtype == np.float32
        assert found[cell].flags.c_contiguous
        np.testing.assert_allclose(found[cell], vectors, rtol=0, atol=tolerance, err_msg=str(cell))


# -- every cell is what encode gives -------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("unit", [True, False])
@pytest.mark.parametrize("batch_size", [1, 32])
def test_every_cell_is_bit_equal_to_encode(make_encoder, kind, unit, batch_size):
    encoder = make_encoder(kind, unit=unit)
    found = encoder.encode_grid(TEXTS, LAYERS, DIMS, batch_size=batch_size)
    assert_equal(found, one_by_one(encoder, TEXTS, batch_size=batch_size))
    if unit:
        np.testing.assert_allclose(np.linalg.norm(found[3, 8], axis=1), 1, rtol=0, atol=1e-6)


@pytest.mark.parametrize("layers", [[1], [4], [1, 2, 3, 4], [2, 3], (3, 1), np.array([2, 4]), [0], [4, 0, 2]])
def test_any_choice_of_layers_will_do(make_encoder, layers):
    encoder = make_encoder("llama")
    assert_equal(encoder.encode_grid(TEXTS, layers, [5]), one_by_one(encoder, TEXTS, layers, [5]))


@pytest.mark.parametrize("pooling", ["cls", "max", "lasttoken", "weightedmean"])
def test_modules_behind_the_backbone_are_run_at_each_depth(make_encoder, pooling):
    torch.manual_seed(1)
    backbone = make_encoder("modernbert")[0]
    encoder = Encoder([backbone, Pooling(32, pooling), Dense(32, 12), Normalize()], device="cpu")
    assert_equal(encoder.encode_grid(TEXTS, LAYERS, [12, 5]), one_by_one(encoder, TEXTS, dims=[12, 5]))


def test_prompts_are_read_and_left_out_of_the_pooling(make_encoder):
    backbone = make_encoder()[0]
    prompts = {"query": "the cat and "}
    encoder = Encoder([backbone, Pooling(32, "mean", include_prompt=False)], device="cpu", prompts=prompts)
    with_prompt = encoder.encode_grid(TEXTS, LAYERS, DIMS, prompt_name="query")
    assert_equal(with_prompt, one_by_one(encoder, TEXTS, prompt_name="query"))
    assert_equal(encoder.encode_grid(TEXTS, LAYERS, DIMS, prompt="the cat and "), with_prompt)
    assert np.abs(with_prompt[4, 32] - encoder.encode(TEXTS)).max() > 1e-3


def test_lengths_are_one_on_request(make_encoder):
    encoder = make_encoder(unit=False)
    found = encoder.encode_grid(TEXTS, LAYERS, DIMS, normalize_embeddings=True)
    assert_equal(found, one_by_one(encoder, TEXTS, normalize_embeddings=True))


def test_the_width_that_is_the_default_does_not_limit_the_grid(make_encoder):
    encoder = make_encoder(truncate_dim=8)
    assert_equal(encoder.encode_grid(TEXTS, [2], [16, 8]), one_by_one(encoder, TEXTS, [2], [16, 8]))


def test_one_input_gives_one_vector_a_cell_and_none_no_rows(make_encoder):
    encoder = make_encoder()
    assert_equal(encoder.encode_grid(TEXTS[0], LAYERS, DIMS), one_by_one(encoder, TEXTS[0]))
    nothing = encoder.encode_grid([], LAYERS, DIMS)
    assert {cell: vectors.shape for cell, vectors in nothing.items()} == {cell: (0, cell[1]) for cell in nothing}


def test_tables_have_a_grid_too(make_encoder):
    encoder = table_encoder(make_encoder())
    tables = [{"a": ["one", "two"], "b": ["red", "green"]}, {"cat": ["sat on the mat"]}]
    assert_equal(encoder.encode_grid(tables, LAYERS, DIMS), one_by_one(encoder, tables))


def test_the_default_model(default_encoder):
    layers, dims = [1, 3, 6], [384, 64]
    assert_equal(default_encoder.encode_grid(TEXTS, layers, dims), one_by_one(default_encoder, TEXTS, layers, dims))


# -- what it costs -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_each_layer_runs_once_a_batch_and_later_ones_never(make_encoder, kind):
    encoder = make_encoder(kind)
    with calls_of(layers_of(encoder)) as counts:
        encoder.encode_grid(TEXTS, [3, 1, 2, 0], DIMS)
    assert counts == [1, 1, 1, 0]


def test_encode_runs_each_module_once_a_batch(make_encoder):
    encoder = make_encoder()
    with calls_of([*encoder, *layers_of(encoder)]) as counts:
        encoder.encode(TEXTS)
    assert counts == [1] * 7
    with calls_of([*encoder, *layers_of(encoder)]) as counts:
        encoder.encode(TEXTS, num_layers=2)
    assert counts == [1] * 5 + [0] * 2


def rows_of_first_layer(encoder):
    """A list that grows by the number of rows that each call of the first layer runs."""
    rows = []
    layers_of(encoder)[0].register_forward_hook(lambda _, inputs, __: rows.append(len(inputs[0])))
    return rows


def test_equal_inputs_run_once(make_encoder):
    encoder = make_encoder()
    rows = rows_of_first_layer(encoder)
    found = encoder.encode_grid([*TEXTS, *TEXTS], LAYERS, DIMS)
    assert rows == [5]
    np.testing.assert_array_equal(found[3, 8][:6], found[3, 8][6:])


@pytest.mark.parametrize("window", [1, 4])
def test_windows_do_not_change_vectors(make_encoder, monkeypatch, window):
    encoder = make_encoder("modernbert")
    expected = one_by_one(encoder, TEXTS)
    monkeypatch.setattr("embedkit.encoders.encoder.WINDOW", window)
    assert_equal(encoder.encode_grid(TEXTS, LAYERS, DIMS), expected, tolerance=2e-6)


def test_a_batch_that_does_not_fit_is_halved_wherever_it_failed(make_encoder):
    encoder = make_encoder()
    expected = one_by_one(encoder, TEXTS)
    tried = []

    def fail(_, inputs):
        tried.append(len(inputs[0]))
        if tried[-1] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")

    hook = layers_of(encoder)[2].register_forward_pre_hook(fail)
    assert_equal(encoder.encode_grid(TEXTS, LAYERS, DIMS), expected, tolerance=2e-6)
    assert tried == [5, 2, 3, 1, 2]
    hook.remove()
    layers_of(encoder)[2].register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(MemoryError()))
    with pytest.raises(EmbedkitError, match="does not fit in memory"):
        encoder.encode_grid(TEXTS, LAYERS, DIMS)


def test_progress_counts_each_input_once(make_encoder, monkeypatch):
    bars = set()

    class Bar(tqdm):
        def close(self):
            bars.add((self.n, self.total))

    monkeypatch.setattr("embedkit.encoders.encoder.tqdm", Bar)
    make_encoder().encode_grid(TEXTS, LAYERS, DIMS, batch_size=1, show_progress_bar=True)
    assert bars == {(5, 5)}


# -- the cache -----------------------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path):
    with_file = VectorCache(tmp_path / "vectors.sqlite")
    yield with_file
    with_file.close()


def test_what_a_grid_stored_encode_finds(make_encoder, cache):
    encoder = make_encoder(cache=cache)
    found = encoder.encode_grid(TEXTS, LAYERS, DIMS)
    assert len(cache) == 5 * len(LAYERS)
    with calls_of(layers_of(encoder)) as counts:
        assert_equal(one_by_one(encoder, TEXTS), found)
        np.testing.assert_array_equal(encoder.encode(TEXTS, truncate_dim=32), found[4, 32])
        assert_equal(encoder.encode_grid(TEXTS, LAYERS, DIMS), found)
    assert counts == [0] * 4


def test_what_encode_stored_a_grid_finds_and_keeps(make_encoder, cache):
    encoder = make_encoder(cache=cache)
    expected = {layer: encoder.encode(TEXTS[:2], num_layers=layer) for layer in (1, 3)}
    full = encoder.encode(TEXTS[:1])
    rows = rows_of_first_layer(encoder)
    assert_equal(encoder.encode_grid(TEXTS[:2], [1, 3], [32]), one_by_one(encoder, TEXTS[:2], [1, 3], [32]))
    assert rows == []
    found = encoder.encode_grid(TEXTS[:2], LAYERS, [32])
    assert rows == [1]  # the second text, at full depth
    for layer, vectors in expected.items():
        np.testing.assert_allclose(found[layer, 32], vectors, rtol=0, atol=1e-6)
    np.testing.assert_allclose(found[4, 32][:1], full, rtol=0, atol=1e-6)
    encoder.encode_grid(TEXTS, LAYERS, [32])
    assert sum(rows) == 1 + 3
    encoder.cache = None
    assert_equal(found, one_by_one(encoder, TEXTS[:2], LAYERS, [32]), tolerance=2e-6)


def test_the_full_depth_has_one_key_whether_it_is_named_or_not(make_encoder, cache):
    encoder = make_encoder(cache=cache)
    np.testing.assert_array_equal(encoder.encode(TEXTS), encoder.encode(TEXTS, num_layers=4))
    assert len(cache) == 5


# -- beside others -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["bert", "modernbert"])
def test_the_encoder_is_as_it_was(make_encoder, kind):
    encoder = make_encoder(kind)
    layers, settings = list(layers_of(encoder)), encoder[0].model.config.to_dict()
    vectors, version = encoder.encode(TEXTS), encoder.fingerprint
    encoder.encode_grid(TEXTS, LAYERS, DIMS)
    assert all(one is other for one, other in zip(layers_of(encoder), layers, strict=True))
    assert not any(module._forward_hooks for module in encoder.modules())
    assert encoder[0].model.config.to_dict() == settings
    assert encoder.fingerprint == version
    np.testing.assert_array_equal(encoder.encode(TEXTS), vectors)


def test_threads_do_not_mix_their_states(make_encoder):
    encoder = make_encoder("llama")
    parts = [[f"{text} {number}" for text in TEXTS] for number in range(6)]
    expected = [one_by_one(encoder, part) for part in parts]
    results, barrier = [None] * 6, threading.Barrier(6)

    def work(number):
        barrier.wait()
        results[number] = encoder.encode_grid(parts[number], LAYERS, DIMS, batch_size=1)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for found, wanted in zip(results, expected, strict=True):
        assert_equal(found, wanted, tolerance=2e-6)


def test_a_forked_child_gets_an_error(make_encoder, monkeypatch):
    encoder = make_encoder()
    monkeypatch.setattr(forks, "_computed_in", -1)
    with pytest.raises(ForkedProcessError):
        encoder.encode_grid(TEXTS, LAYERS, DIMS)


# -- what is refused -----------------------------------------------------------------------------------

WRONG = [[], [-1, 2], [2, 2], [2.0], ["2"], [True], [None], 2, "2", None, [[1, 2]], np.array([1.5])]


@pytest.mark.parametrize("values", [*WRONG, [1, 5]])
def test_layers_that_are_none_are_refused(make_encoder, values):
    with pytest.raises(InputError, match=r"layers must be one or more different integers between 0 and 4; received"):
        make_encoder().encode_grid(TEXTS, values, [8])


@pytest.mark.parametrize("values", [*WRONG, [0], [1, 33]])
def test_dims_that_are_none_are_refused(make_encoder, values):
    with pytest.raises(InputError, match=r"dims must be one or more different integers between 1 and 32; received"):
        make_encoder().encode_grid(TEXTS, [1], values)


def test_the_rest_is_refused_as_encode_does(make_encoder, tokenizer):
    encoder = make_encoder()
    with pytest.raises(InputError, match=r"inputs\[1\] must be text"):
        encoder.encode_grid(["a", None], [1], [8])
    with pytest.raises(InputError, match="batch_size must be a positive integer"):
        encoder.encode_grid(TEXTS, [1], [8], batch_size=0)
    with pytest.raises(InputError, match="prompt must be text"):
        encoder.encode_grid(TEXTS, [1], [8], prompt=3)
    without_layers = Encoder([StaticEmbedding(tokenizer.backend_tokenizer, embedding_dim=8)], device="cpu")
    with pytest.raises(InputError, match="this one has none"):
        without_layers.encode_grid(TEXTS, [1], [8])
    with pytest.raises(ModelError, match="add a pooling"):
        Encoder([encoder[0]], device="cpu").encode_grid(TEXTS, [1, 2], [8])


# -- what a key covers ---------------------------------------------------------------------------------


def test_inputs_are_identified_by_content_prompt_task_and_encoder(make_encoder):
    encoder = make_encoder(prompts={"query": "a "})
    rows, keys, is_single = encoder.identified(iter(TEXTS))
    assert rows == TEXTS
    assert not is_single
    assert keys[4] == keys[5]
    assert len(set(keys)) == 5
    assert encoder.identified("one").is_single
    assert encoder.identified("one").keys == keys[4:5]
    assert encoder.identified("one", prompt_name="query").keys == encoder.identified("one", prompt="a ").keys
    others = [{"prompt": "a "}, {"task": "query"}, {"prompt": "a ", "task": "query"}]
    assert len({keys[4], *(encoder.identified("one", **options).keys[0] for options in others)}) == 4
    assert make_encoder().identified("one").keys == keys[4:5]
    assert make_encoder("llama").identified("one").keys != keys[4:5]
    with pytest.raises(InputError, match=r"inputs\[0\] must be text"):
        encoder.identified([None])
