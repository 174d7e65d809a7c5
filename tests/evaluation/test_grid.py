"""The grid of an evaluation: the oracle scores `encode(num_layers, truncate_dim)` cell by cell."""

import itertools

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from embedkit import VectorCache
from embedkit.errors import InputError
from embedkit.evaluation import grid as module
from embedkit.evaluation.grid import Grid, GridCell, GridEncoder, elastic_grid
from embedkit.types import SupportsEncode

LAYERS, DIMS = [4, 1, 3], [32, 4]
CELLS = list(itertools.product(LAYERS, DIMS))
PAIRS = [
    ("a cat sat on the mat", "the cat sat", 0.9),
    ("the dog barks", "a bird sings", 0.3),
    ("one two three", "red green blue", 0.1),
    ("a cat sat on the mat", "the dog barks", 0.2),
    ("one two three", "three two one", 0.8),
]
FIRST, SECOND, TRUTH = (list(column) for column in zip(*PAIRS, strict=True))


def correlation(first, second):
    cosines = (first * second).sum(axis=1) / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1)
    return spearmanr(cosines, TRUTH).statistic


def score(view):
    return {"plain": correlation(view.encode(FIRST), view.encode(SECOND)), "roles": score_roles(view)}


def score_roles(view):
    return correlation(view.encode_query(FIRST), view.encode_document(SECOND))


def score_directly(encoder, layer, dim):
    cell = {"num_layers": layer, "truncate_dim": dim}
    plain = correlation(encoder.encode(FIRST, **cell), encoder.encode(SECOND, **cell))
    return {
        "plain": plain,
        "roles": correlation(encoder.encode_query(FIRST, **cell), encoder.encode_document(SECOND, **cell)),
    }


def rows_run_by(encoder):
    """A list that grows by the number of rows of every call of the first layer."""
    rows = []
    first = next(m for name, m in encoder[0].model.named_modules() if name.endswith(("layer.0", "layers.0")))
    first.register_forward_hook(lambda _, inputs, __: rows.append(len(inputs[0])))
    return rows


@pytest.fixture
def without_timing(monkeypatch):
    monkeypatch.setattr(GridEncoder, "cpu_ms", lambda _, layer: float(layer))


# -- every cell is an evaluation of its own ------------------------------------------------------------


@pytest.mark.parametrize(("kind", "unit"), [("bert", True), ("modernbert", False), ("llama", True)])
def test_each_cell_scores_what_the_encoder_scores_there(make_encoder, kind, unit):
    encoder = make_encoder(kind, unit=unit, prompts={"query": "a cat ", "document": "the dog "})
    found = elastic_grid(encoder, score, LAYERS, DIMS)
    assert [(cell.layer, cell.dim) for cell in found.cells] == CELLS
    for cell in found.cells:
        assert cell.scores == pytest.approx(score_directly(encoder, cell.layer, cell.dim), abs=1e-12)
        assert cell.bytes_per_vector == 4 * cell.dim
        assert 0 < cell.cpu_ms < float("inf")
    assert len({cell.cpu_ms for cell in found.cells}) == len(LAYERS)


@pytest.mark.usefixtures("without_timing")
def test_each_input_is_run_once(make_encoder):
    encoder = make_encoder()
    rows = rows_run_by(encoder)
    elastic_grid(encoder, score, LAYERS, DIMS)
    assert rows == [3, 4, 3, 5]  # different texts: first, second without those of first, queries, documents


@pytest.mark.usefixtures("without_timing")
def test_each_cell_is_told_as_soon_as_it_is_known(make_encoder):
    told, scored = [], []

    def count(view):
        scored.append((view.layer, view.dim))
        assert [(cell.layer, cell.dim) for cell in told] == scored[:-1]
        return score(view)

    found = elastic_grid(make_encoder(), count, iter(LAYERS), iter(DIMS), on_cell=told.append)
    assert tuple(told) == found.cells
    assert scored == CELLS


# -- views ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", [True, False])
@pytest.mark.parametrize(
    "options", [{}, {"prompt": "the "}, {"prompt_name": "query"}, {"normalize_embeddings": True}, {"task": "query"}]
)
def test_a_view_encodes_as_the_encoder_does(make_encoder, unit, options):
    encoder = make_encoder("modernbert", unit=unit, prompts={"query": "a cat "})
    shared = GridEncoder(encoder, LAYERS, DIMS)
    for inputs in (FIRST, SECOND[0], dict.fromkeys(SECOND).keys(), [], np.array(FIRST + SECOND)):
        for layer, dim in CELLS:
            found = shared.view(layer, dim).encode(inputs, **options, batch_size=4, show_progress_bar=False)
            expected = encoder.encode(inputs, num_layers=layer, truncate_dim=dim, **options)
            assert found.shape == expected.shape
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, expected, rtol=0, atol=3e-6)


def test_one_text_with_two_prompts_is_two_inputs(make_encoder):
    encoder = make_encoder(prompts={"query": "a cat ", "document": "the dog "})
    shared = GridEncoder(encoder, LAYERS, DIMS)
    rows, view = rows_run_by(encoder), shared.view(3, 4)
    query, document, plain = view.encode_query("one"), view.encode_document("one"), view.encode("one")
    assert np.abs(query - document).max() > 1e-3
    assert np.abs(query - plain).max() > 1e-3
    assert len(shared) == sum(rows) == 3
    np.testing.assert_array_equal(view.encode_query(["one"])[0], query)
    np.testing.assert_array_equal(view.encode("one", prompt="a cat ", task="query"), query)
    assert sum(rows) == 3


def test_inputs_may_come_from_an_iterator(make_encoder):
    view = GridEncoder(make_encoder(), LAYERS, DIMS).view(3, 4)
    np.testing.assert_array_equal(view.encode(iter(FIRST)), view.encode(FIRST))


def test_only_what_is_new_is_run(make_encoder):
    encoder = make_encoder()
    shared = GridEncoder(encoder, LAYERS, DIMS)
    rows = rows_run_by(encoder)
    first = shared.view(1, 4).encode(FIRST)
    assert sum(rows) == len(shared) == 3
    np.testing.assert_array_equal(shared.view(1, 4).encode([*SECOND, *FIRST])[5:], first)
    assert sum(rows) == len(shared) == len({*FIRST, *SECOND})
    shared.clear()
    assert len(shared) == 0
    shared.view(4, 32).encode(FIRST)
    assert len(shared) == 3


def test_a_changed_encoder_is_encoded_with_anew(make_encoder):
    encoder = make_encoder(unit=False)
    view = GridEncoder(encoder, LAYERS, DIMS).view(3, 32)
    before, fingerprint = view.encode(FIRST), view.fingerprint
    with torch.no_grad():
        encoder[0].model.embeddings.word_embeddings.weight.mul_(-2)
    assert np.abs(view.encode(FIRST) - before).max() > 1e-3
    np.testing.assert_allclose(view.encode(FIRST), encoder.encode(FIRST, num_layers=3), rtol=0, atol=3e-6)
    assert view.fingerprint != fingerprint


def test_what_was_given_out_may_be_written_to(make_encoder):
    view = GridEncoder(make_encoder(), LAYERS, DIMS).view(3, 32)
    expected = view.encode(FIRST).copy()
    view.encode(FIRST)[:] = 0
    np.testing.assert_array_equal(view.encode(FIRST), expected)


def test_a_view_is_an_encoder(make_encoder):
    encoder = make_encoder(prompts={"query": "a "}, similarity_fn_name="dot")
    shared = GridEncoder(encoder, LAYERS, DIMS)
    view = shared.view(3, 4)
    assert isinstance(view, SupportsEncode)
    assert (view.layer, view.dim, view.get_embedding_dimension()) == (3, 4, 4)
    assert (view.similarity_fn_name, view.modalities) == ("dot", ["text"])
    assert view.prompts == encoder.prompts
    fingerprints = {shared.view(layer, dim).fingerprint for layer, dim in CELLS}
    assert len({*fingerprints, encoder.fingerprint}) == len(CELLS) + 1
    assert GridEncoder(make_encoder(), [3], [4]).view(3, 4).fingerprint == view.fingerprint


# -- what a cell costs ---------------------------------------------------------------------------------


@pytest.fixture
def one_second_a_call(monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr(module.time, "process_time", lambda: float(next(clock)))


@pytest.mark.usefixtures("one_second_a_call")
def test_cpu_time_is_that_of_one_input(make_encoder):
    shared = GridEncoder(make_encoder(), LAYERS, DIMS)
    shared.view(1, 4).encode(["one", "two", "three", "one"])
    assert shared.cpu_ms(3) == pytest.approx(1000 / 3)
    shared.view(1, 4).encode_query(["one"])  # a call of its own: two seconds for four inputs
    assert shared.cpu_ms(3) == pytest.approx(2000 / 4)


def test_it_is_measured_on_a_sample_at_that_depth_with_the_prompt_and_without_the_cache(
    make_encoder, tmp_path, monkeypatch
):
    cache = VectorCache(tmp_path / "vectors.sqlite")
    encoder = make_encoder(cache=cache)
    shared = GridEncoder(encoder, LAYERS, DIMS)
    texts = [f"{number}" for number in range(9)]
    shared.view(1, 4).encode(texts, prompt="a cat sat on ")
    monkeypatch.setattr(module, "SAMPLE", 5)
    sizes, layers = [], encoder[0].model.encoder.layer
    layers[2].register_forward_hook(lambda _, inputs, __: sizes.append(tuple(inputs[0].shape[:2])))
    layers[3].register_forward_hook(lambda *_: pytest.fail("deeper than asked"))
    assert shared.cpu_ms(3) > 0
    assert sizes == [(5, 7)]  # [CLS] a cat sat on <number> [SEP]
    assert encoder.cache is cache
    assert len(cache) == 9 * len(LAYERS)
    cache.close()


def test_it_cannot_be_measured_on_nothing(make_encoder):
    with pytest.raises(InputError, match="score must encode its view"):
        elastic_grid(make_encoder(), lambda _: {"task": 1.0}, LAYERS, DIMS)


# -- choosing a cell -----------------------------------------------------------------------------------


def cell(layer, dim, quality, cpu_ms):
    return GridCell(layer, dim, {"one": quality - 0.1, "other": quality + 0.1}, 4 * dim, cpu_ms)


SMALL, WIDE, DEEP = cell(1, 8, 0.50, 1.0), cell(1, 32, 0.60, 1.0), cell(4, 32, 0.80, 4.0)
WORSE, DEEP_AND_NARROW = cell(2, 32, 0.55, 2.0), cell(4, 8, 0.60, 4.0)
BY_HAND = Grid((SMALL, WIDE, WORSE, DEEP_AND_NARROW, DEEP))


def test_quality_is_the_mean_over_tasks():
    assert GridCell(1, 8, {"one": 0.2, "other": 0.7}, 32, 1.0).quality == pytest.approx(0.45)


def test_the_pareto_front_by_hand():
    # WORSE is worse and slower than WIDE at the same size; DEEP_AND_NARROW is the best of its size.
    assert BY_HAND.pareto() == (SMALL, WIDE, DEEP_AND_NARROW, DEEP)


def test_equal_cells_do_not_push_each_other_off_the_front():
    twin = cell(2, 32, 0.60, 1.0)
    assert Grid((WIDE, twin)).pareto() == (WIDE, twin)
    assert Grid((WIDE, cell(2, 32, 0.60, 1.1))).pareto() == (WIDE,)


def test_the_front_is_never_empty_and_dominates_the_rest():
    rng = np.random.default_rng(0)
    cells = tuple(
        cell(int(layer), int(dim), float(rng.random()), float(layer)) for layer, dim in rng.integers(1, 5, size=(40, 2))
    )
    front = Grid(cells).pareto()
    assert 0 < len(front) < len(cells)
    for one in cells:
        better = [o for o in front if o.quality >= one.quality and o.cpu_ms <= one.cpu_ms and o.dim <= one.dim]
        assert better


@pytest.mark.parametrize(
    ("budget", "best"),
    [
        ({}, DEEP),
        ({"cpu_ms": 3.9}, WIDE),
        ({"cpu_ms": 4.0}, DEEP),
        ({"bytes_per_vector": 32}, DEEP_AND_NARROW),
        ({"bytes_per_vector": 127, "cpu_ms": 1}, SMALL),
    ],
)
def test_the_best_within_a_budget_by_hand(budget, best):
    assert BY_HAND.best_within(**budget) is best


def test_among_equals_the_smallest_then_the_fastest():
    large, slow, fast = cell(1, 32, 0.6, 1.0), cell(4, 8, 0.6, 2.0), cell(3, 8, 0.6, 1.5)
    assert Grid((large, slow, fast)).best_within() is fast


def test_a_budget_that_nothing_meets_says_what_is_least():
    with pytest.raises(
        InputError, match=r"at most 31 bytes and inf ms; the smallest takes 32 bytes and the fastest 1 "
    ):
        BY_HAND.best_within(bytes_per_vector=31)


# -- what is refused -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("layers", "dims", "name"), [([], [4], "layers"), ([5], [4], "layers"), ([1], [4, 4], "dims")])
def test_layers_and_dims_are_checked_before_anything_runs(make_encoder, layers, dims, name):
    with pytest.raises(InputError, match=f"{name} must be one or more different integers"):
        elastic_grid(make_encoder(), lambda _: pytest.fail("ran"), layers, dims)


def test_a_grid_is_made_of_an_encoder(hashing_encoder):
    with pytest.raises(InputError, match=r"made of an embedkit\.Encoder; received HashingEncoder"):
        GridEncoder(hashing_encoder, [1], [4])


@pytest.mark.parametrize("place", [(2, 4), (4, 8), (None, 4)])
def test_a_view_outside_the_grid_is_refused(make_encoder, place):
    with pytest.raises(InputError, match=r"one of layers \(4, 1, 3\) and dims \(32, 4\); received"):
        GridEncoder(make_encoder(), LAYERS, DIMS).view(*place)


@pytest.mark.parametrize("option", ["num_layers", "truncate_dim", "precision", "convert_to_tensor"])
def test_a_view_has_no_other_depth_width_or_form(make_encoder, option):
    with pytest.raises(InputError, match=f"received {option}: leave out"):
        GridEncoder(make_encoder(), LAYERS, DIMS).view(3, 4).encode(FIRST, **{option: 1})


def test_wrong_inputs_are_refused_even_if_they_look_like_known_ones(make_encoder):
    view = GridEncoder(make_encoder(), LAYERS, DIMS).view(3, 4)
    view.encode(["None"])
    with pytest.raises(InputError, match=r"inputs\[0\] must be text"):
        view.encode([None])


def test_inputs_of_unknown_content_are_refused(make_encoder, monkeypatch):
    monkeypatch.setattr("embedkit.encoders.inputs.TextReader.key", lambda *_: None)
    with pytest.raises(InputError, match="known by their content"):
        GridEncoder(make_encoder(), LAYERS, DIMS).view(3, 4).encode(["a"])


@pytest.mark.parametrize("scores", [{}, {"a": float("nan")}, {"a": None}, {"a": 1.0, "b": float("inf")}, None, 0.5])
def test_scores_that_are_none_are_refused(make_encoder, scores):
    with pytest.raises(InputError, match="score must give task → finite number"):
        elastic_grid(make_encoder(), lambda _: scores, LAYERS, DIMS)


@pytest.mark.usefixtures("without_timing")
def test_other_tasks_than_before_are_refused(make_encoder):
    with pytest.raises(InputError, match=r"same tasks for every cell; it gave \['4'\] after \['32'\]"):
        elastic_grid(make_encoder(), lambda view: {str(view.dim): 1.0}, LAYERS, DIMS)
