import math
from statistics import fmean, variance

import numpy as np
import pytest

from embedkit import Encoder
from embedkit.encoders.table.encoder import table_encoder
from embedkit.encoders.table.files import read_tables
from embedkit.encoders.table.parts import part_encoder
from embedkit.encoders.table.vectors import TableModule, TableVectors, table_vectors
from embedkit.errors import InputError
from embedkit.probes.observatory.functional_dependencies import dependency_translation

RAW, UNIT = "variance, raw", "variance, unit length"
CITIES = {
    "city": ["Bonn", "Metz", "Bonn", "Metz", "Bonn", "Metz", "Bonn", "Metz", "Bonn", "Metz"],
    "country": ["Germany", "France"] * 5,
    "mood": ["red", "red", "red", "blue", "blue", "blue", "blue", "green", "red", "green"],
}


class CellInput(TableModule):
    """Gives each cell whatever vector a function of its table, row and column says."""

    def __init__(self, vector):
        super().__init__()
        self.vector = vector
        self.seen = []

    def vectors(self, encoder, tables, parts, num_layers):
        self.seen += tables
        return [self._read(table) for table in tables]

    def _read(self, table):
        places = [(r, c) for r, row in enumerate(table.rows) for c, cell in enumerate(row) if cell]
        cells = [self.vector(table, *place) for place in places]
        kept = [(place, cell) for place, cell in zip(places, cells, strict=True) if cell is not None]
        none = np.empty((0, 2), dtype=np.float32)
        vectors = np.array([cell for _, cell in kept], dtype=np.float32) if kept else none
        return TableVectors(np.zeros(2, np.float32), none, none, vectors, (), (), tuple(place for place, _ in kept))

    def prepare(self, inputs, prompt, task):
        raise NotImplementedError

    def forward(self, features, **kwargs):
        return features

    def get_embedding_dimension(self):
        return 2

    def save(self, output_path, *args, **kwargs):
        raise NotImplementedError


def encoder_of(vector):
    return Encoder([CellInput(vector)], device="cpu")


@pytest.mark.parametrize("header", [True, False])
def test_cells_read_alone_vary_by_nothing_where_strings_are_the_same(make_encoder, header):
    encoder = part_encoder(make_encoder(), unit="cells", header=header)
    finding = dependency_translation(encoder, [CITIES, CITIES], min_groups=2)
    for name in (RAW, UNIT):
        same = finding[f"{name}, same values"]
        assert (same.estimate.value, same.estimate.low, same.estimate.high) == (0, 0, 0)
        assert same.control.value == 0
        assert finding[name].estimate.value == 0
        assert finding[name].control.value > 0  # the confound: other strings, though nothing of the table is known
        assert same.ideal == 0
        assert same.estimate.n == 2


def test_context_is_what_varies(make_encoder):
    finding = dependency_translation(table_encoder(make_encoder()), [CITIES], min_groups=2)
    assert all(line.estimate.value > 0 and line.control.value > 0 for line in finding.lines)


def test_a_number_worked_by_hand():
    # Rows 0 … 9; x stands at 0 and y at (3 or 5 in the first rows of each city, then 4, 0), so that distances are
    # 3, 5, 4, 4, 4 for either city: variance (1 + 1) / 4 = 0.5. Scaled to length 1, x stays 0 and y is 1: variance 0.
    distance = dict(enumerate([3, 3, 5, 5, 4, 4, 4, 4, 4, 4]))
    table = {**{name: CITIES[name] for name in ("city", "country")}, "row": list(range(10))}

    def vector(window, row, column):
        return [distance[int(window.rows[row][2])] if window.columns[column] == "country" else 0.0, 0.0]

    finding = dependency_translation(encoder_of(vector), [table], min_groups=2)
    assert finding[RAW].estimate.value == pytest.approx(0.5)
    assert finding[UNIT].estimate.value == 0
    assert finding[RAW].control is None  # no other column of text
    assert finding.notes[0].startswith("1 of 1 tables have a dependency")


def test_it_agrees_with_naive_loops(make_encoder):
    encoder = table_encoder(make_encoder(), layout="rows")
    table = {"cat": ["red", "blue"] * 5, "dog": ["barks", "sings"] * 5, "bird": CITIES["mood"]}
    finding = dependency_translation(encoder, [table], min_groups=2, window=1)
    rows = list(zip(*table.values(), strict=True))
    steps = {}
    for row in range(10):
        lo = max(0, row - 1)
        near = {name: cells[lo : row + 2] for name, cells in table.items()}
        read = table_vectors(encoder, near)
        cells = {place: vector.astype(float) for place, vector in zip(read.cell_places, read.cells, strict=True)}
        for x, y in ((0, 1), (1, 0), (0, 2), (1, 2)):
            steps[row, x, y] = float(np.linalg.norm(cells[row - lo, x] - cells[row - lo, y]))

    def expected(pairs, *, same):
        of_pair = []
        for x, y in pairs:
            groups = {}
            for row, cells in enumerate(rows):
                groups.setdefault((cells[x], cells[y] if same else None), []).append(steps[row, x, y])
            of_pair.append(fmean(variance(each) for each in groups.values() if len(each) > 1))
        return fmean(of_pair)

    assert finding[RAW].estimate.value == pytest.approx(expected([(0, 1), (1, 0)], same=True), rel=1e-3)
    assert finding[RAW].control.value == pytest.approx(expected([(0, 2), (1, 2)], same=False), rel=1e-3)
    same = finding[f"{RAW}, same values"]
    assert same.control.value == pytest.approx(expected([(0, 2), (1, 2)], same=True), rel=1e-3)


def test_a_translation_varies_by_nothing_however_context_moves_it():
    def vector(window, row, column):
        moved = np.array([len(window.rows), row], dtype=float)  # the context of the row, alike for all of its cells
        return moved + {"city": 0, "country": 4, "mood": len(window.rows[row][2]) * (1 + row)}[window.columns[column]]

    finding = dependency_translation(encoder_of(vector), [CITIES], min_groups=2)
    same = finding[f"{RAW}, same values"]
    assert same.estimate.value == pytest.approx(0, abs=1e-9)
    assert same.control.value > 0.1


def test_scaling_changes_the_raw_variance_by_its_square_and_the_other_not():
    cells = {}

    def vector(window, row, column):
        key = (window.rows, row, column)
        return cells.setdefault(key, np.random.default_rng(len(cells)).normal(size=3))

    once = dependency_translation(encoder_of(vector), [CITIES], min_groups=2)
    thrice = dependency_translation(encoder_of(lambda *place: 3 * vector(*place)), [CITIES], min_groups=2)
    assert thrice[RAW].estimate.value == pytest.approx(9 * once[RAW].estimate.value, rel=1e-5)
    assert thrice[UNIT].estimate.value == pytest.approx(once[UNIT].estimate.value, rel=1e-5)


def test_each_row_is_read_among_its_neighbours():
    encoder = encoder_of(lambda *_: [1.0, 2.0])
    dependency_translation(encoder, [CITIES], min_groups=2, window=1)
    rows = list(zip(*CITIES.values(), strict=True))
    assert [list(table.rows) for table in encoder[0].seen] == [rows[max(0, row - 1) : row + 2] for row in range(10)]
    assert all(table.columns == tuple(CITIES) for table in encoder[0].seen)


def test_long_tables_are_read_in_part_and_seeds_repeat():
    names = [chr(97 + place % 26) + chr(97 + place // 26) for place in range(40)]
    table = {"x": names * 30, "y": [name[0] for name in names] * 30}
    encoder = encoder_of(lambda window, row, column: [row + len(window.rows[row][column]), hash(window.rows) % 7])
    one, other = (dependency_translation(encoder, [table], seed=seed) for seed in (1, 1))
    assert one == other
    assert len(encoder[0].seen) == 200  # ten values, ten rows of each, twice


def test_cells_that_are_not_read_are_left_out_and_said():
    def vector(window, row, column):
        return None if window.rows[row][column] == "Germany" else [float(row), float(column)]

    finding = dependency_translation(encoder_of(vector), [CITIES], min_groups=2)
    assert any(note.startswith("5 of 30 cells left out") for note in finding.notes)
    assert finding[RAW].estimate.n == 1
    nothing = dependency_translation(encoder_of(lambda *_: None), [CITIES], min_groups=2)
    assert math.isnan(nothing[RAW].estimate.value)


@pytest.mark.parametrize(
    ("tables", "options", "message"),
    [
        ([], {}, "none of the 0 tables"),
        ([CITIES], {}, "5 values repeat; none of the 1 tables"),  # only two cities repeat
        ([{"a": list("abcdefghij"), "b": ["x", "y"] * 5}], {"min_groups": 1}, "none of the 1 tables"),  # a key
        ([{"a": [1, 2] * 5, "b": [3, 4] * 5}], {"min_groups": 1}, "none of the 1 tables"),  # numbers
        ([{"a": []}], {"min_groups": 1}, "none of the 1 tables"),
        (CITIES, {}, "must be a list of tables; received dict"),
        ([CITIES], {"window": -1}, "window must be a count from 0"),
        ([CITIES], {"min_groups": 0}, "min_groups must be a count from 1"),
        ([7], {}, "a table must be"),
    ],
)
def test_what_cannot_be_measured_is_refused(tables, options, message):
    with pytest.raises(InputError, match=message):
        dependency_translation(encoder_of(lambda *_: [1.0, 2.0]), tables, **options)


def test_an_encoder_of_text_is_refused(make_encoder):
    with pytest.raises(InputError, match="needs an encoder of tables"):
        dependency_translation(make_encoder(), [CITIES])


@pytest.mark.data
def test_cells_read_alone_vary_by_nothing_on_real_tables(data_folder, make_encoder):
    folder = data_folder / "tables" / "spider" / "databases" / "world_1" / "data"
    if not folder.is_dir():
        pytest.skip(f"no Spider databases at {folder}")
    tables = [read.table for path in sorted(folder.iterdir()) for read in read_tables(path)]
    finding = dependency_translation(part_encoder(make_encoder(), unit="cells"), tables)
    assert finding[RAW].estimate.value == 0
    assert finding[RAW].control.value > 0
    assert finding[f"{RAW}, same values"].control.value == 0
