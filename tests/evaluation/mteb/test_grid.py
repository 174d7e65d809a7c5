"""A grid keeps its cells beside the results of other runs, and takes nothing from them."""

import numpy as np
import pytest

mteb = pytest.importorskip("mteb", reason="the extra mteb is not installed")

from embedkit.evaluation.mteb.grid import grid  # noqa: E402
from embedkit.evaluation.mteb.model import EncoderModel  # noqa: E402
from embedkit.evaluation.mteb.run import run  # noqa: E402
from embedkit.evaluation.results import read_results  # noqa: E402


def items_by_options(folder):
    return {tuple(model.options.items()): len(model.tasks["TinySts"].items) for model in read_results(folder)}


def test_a_run_with_the_options_of_a_cell_keeps_its_items(make_encoder, make_task, tmp_path):
    encoder, task = make_encoder(), make_task()
    model = EncoderModel(encoder, "tiny", num_layers=2, truncate_dim=8)
    single = run(model, [task], tmp_path, floors=()).models[0].tasks["TinySts"].score
    cells = grid(encoder, "tiny", [task], [2, 4], [8], tmp_path).cells
    assert [(cell.layer, cell.dim) for cell in cells] == [(2, 8), (4, 8)]
    assert cells[0].scores["TinySts"] == pytest.approx(single)
    counts = items_by_options(tmp_path)
    assert len(counts) == 2
    assert sorted(counts.values()) == [0, 1]


def test_cells_of_a_grid_are_scores_of_runs(make_encoder, make_task, tmp_path):
    encoder, task = make_encoder(), make_task()
    for cell in grid(encoder, "tiny", [task], [1, 4], [8, 32], tmp_path / "grid").cells:
        model = EncoderModel(encoder, "tiny", num_layers=cell.layer, truncate_dim=cell.dim)
        alone = run(model, [task], tmp_path / "alone", floors=()).models[0].tasks["TinySts"].score
        np.testing.assert_allclose(cell.scores["TinySts"], alone, atol=1e-6)
