import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from embedkit import Encoder
from embedkit.encoders.table.encoder import table_encoder
from embedkit.encoders.table.files import read_tables
from embedkit.encoders.table.parts import part_encoder
from embedkit.encoders.table.table import Table
from embedkit.encoders.table.vectors import TableModule, TableVectors
from embedkit.encoders.text import static_encoder
from embedkit.errors import InputError
from embedkit.probes.observatory.entity_stability import entity_stability

NAMES = [first + second for first in "abcdefghij" for second in "klmnopqrst"]
TABLES = [{"name": NAMES, "number": range(100)}]


class EntityInput(TableModule):
    """Gives each cell whatever vector a function of its text says."""

    def __init__(self, vector):
        super().__init__()
        self.vector = vector
        self.seen = []

    def vectors(self, encoder, tables, parts, num_layers):
        self.seen += tables
        none = np.empty((0, 1), dtype=np.float32)
        read = [np.array([self.vector(table.rows[0][0])], dtype=np.float32) for table in tables]
        return [TableVectors(cell[0], none, none, cell, (), (), ((0, 0),)) for cell in read]

    def prepare(self, inputs, prompt, task):
        raise NotImplementedError

    def forward(self, features, **kwargs):
        return features

    def get_embedding_dimension(self):
        return 8

    def save(self, output_path, *args, **kwargs):
        raise NotImplementedError


def encoder_of(vector):
    return Encoder([EntityInput(vector)], device="cpu")


def random_vectors(seed, dim=8):
    return dict(zip(NAMES, np.random.default_rng(seed).normal(size=(100, dim)), strict=True))


def values(finding):
    return [line.estimate.value for line in finding.lines]


@pytest.mark.parametrize("kind", ["parts", "table"])
def test_an_encoder_agrees_with_itself(make_encoder, kind):
    text = make_encoder()
    encoder = part_encoder(text, unit="cells") if kind == "parts" else table_encoder(text)
    finding = entity_stability(encoder, encoder, TABLES, k=(1, 5, 10, 99))
    assert values(finding) == [1, 1, 1, 1]
    assert [line.estimate.low for line in finding.lines] == [1, 1, 1, 1]


def test_turning_and_scaling_change_nothing():
    vectors = random_vectors(0)
    turn, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(8, 8)))
    finding = entity_stability(encoder_of(vectors.get), encoder_of(lambda cell: 7 * vectors[cell] @ turn), TABLES)
    assert values(finding) == [1, 1]


def test_random_vectors_agree_by_chance():
    one, other = random_vectors(0, 64), random_vectors(1, 64)
    finding = entity_stability(encoder_of(one.get), encoder_of(other.get), TABLES)
    for line, k in zip(finding.lines, (5, 10), strict=True):
        assert line.control.value == line.control.low == line.control.high == k / 99
        assert line.estimate.value == pytest.approx(k / 99, abs=0.03)
        assert line.estimate.n == line.control.n == 100


def test_all_neighbours_are_always_shared():
    one, other = random_vectors(0), random_vectors(1)
    finding = entity_stability(encoder_of(one.get), encoder_of(other.get), TABLES, k=[99])
    assert values(finding) == [1]
    assert finding.lines[0].control.value == 1


def test_a_number_worked_by_hand():
    # On a circle at 0, 10, 30 and 70 degrees, a and b are each other's nearest, c's is b and d's is c. With b at 60
    # degrees a's is c, b's is d, c's is a or b (30 degrees each: a comes first) and d's is b: none is shared.
    def on_circle(**degrees):
        return lambda cell: [np.cos(np.radians(degrees[cell])), np.sin(np.radians(degrees[cell]))]

    one, other = on_circle(a=0, b=10, c=30, d=70), on_circle(a=0, b=60, c=30, d=70)
    assert values(entity_stability(encoder_of(one), encoder_of(other), [{"x": list("abcd")}], k=[1])) == [0]
    # Of two: a {b, c} and {c, b}; b {a, c} and {d, c}; c {b, a} and {a, b}; d {c, b} and {b, c}.
    assert values(entity_stability(encoder_of(one), encoder_of(other), [{"x": list("abcd")}], k=[2])) == [7 / 8]


def test_it_agrees_with_scikit_learn():
    one, other = random_vectors(3), random_vectors(4)
    mixed = {name: one[name] + 0.5 * other[name] for name in NAMES}

    def near(vectors):
        table = np.array([vectors[name] for name in NAMES])
        return NearestNeighbors(n_neighbors=5, metric="cosine").fit(table).kneighbors(return_distance=False)

    shared = [len(set(a) & set(b)) / 5 for a, b in zip(near(one), near(mixed), strict=True)]
    finding = entity_stability(encoder_of(one.get), encoder_of(mixed.get), TABLES, k=[5])
    assert values(finding) == pytest.approx([np.mean(shared)])
    assert 0.2 < np.mean(shared) < 0.9


def test_ties_are_broken_by_place():
    jitter = np.random.default_rng(0)
    constant = encoder_of(lambda _: [1.0, 1.0 + 1e-8 * jitter.random()])
    assert values(entity_stability(constant, constant, TABLES)) == [1, 1]
    # Of "a" all others are as near in a constant encoder: "b" comes first, and is not the nearest in the other one.
    other = encoder_of(lambda cell: {"a": [1, 0], "b": [0, 1], "c": [1, 0.1]}[cell])
    assert values(entity_stability(constant, other, [{"x": list("abc")}], k=[1])) == [pytest.approx(1 / 3)]


def test_the_cells_are_the_distinct_ones_with_a_letter_each_alone():
    encoder = encoder_of(lambda cell: [1.0, len(cell)])
    tables = [
        {"x": ["Bonn", "12", " Bonn ", ""], "y": ["3.5", "New  York", "A1", "2020-01-01"]},
        {"z": ["Metz", "Bonn"]},
    ]
    entity_stability(encoder, encoder_of(lambda cell: [len(cell), 1.0]), tables, k=[1])
    assert encoder[0].seen == [Table("", ("",), [(cell,)]) for cell in ("Bonn", "New York", "A1", "Metz")]


def test_of_many_cells_some_are_drawn_and_it_is_said():
    encoder = encoder_of(random_vectors(0).get)
    finding = entity_stability(encoder, encoder, TABLES, max_cells=20)
    assert finding.lines[0].estimate.n == 20
    assert finding.lines[0].control.value == 5 / 19
    assert finding.notes == ("20 of 100 different cells with a letter drawn",)
    again, other = (encoder_of(random_vectors(0).get) for _ in range(2))
    entity_stability(again, again, TABLES, max_cells=20)
    entity_stability(other, other, TABLES, max_cells=20, seed=1)
    assert again[0].seen[:20] == encoder[0].seen[:20] != other[0].seen[:20]


def test_many_cells_are_compared_in_parts():
    names = [f"{place}x" for place in range(600)]
    vectors = dict(zip(names, np.random.default_rng(0).normal(size=(600, 4)), strict=True))
    encoder = encoder_of(vectors.get)
    finding = entity_stability(encoder, encoder, [{"x": names}], max_cells=600)
    assert values(finding) == [1, 1]
    assert finding.notes == ()


@pytest.mark.parametrize(
    ("tables", "options", "message"),
    [
        ([], {}, "more cells than neighbours, 10; 0 different"),
        ([{"x": ["one"]}], {"k": [1]}, "more cells than neighbours, 1; 1 different"),
        ([{"x": list("abcde")}], {"k": [5]}, "more cells than neighbours, 5; 5 different"),
        (TABLES, {"max_cells": 10}, "more cells than neighbours, 10; 10 different"),
        (TABLES[0], {}, "must be a list of tables; received dict"),
        (TABLES, {"k": []}, "k must be a list of counts"),
        (TABLES, {"k": 5}, "k must be a list of counts"),
        (TABLES, {"k": [0]}, "k must be a list of counts"),
        (TABLES, {"max_cells": 0}, "max_cells must be a count from 1"),
        (["words"], {}, "a table must be"),
    ],
)
def test_what_cannot_be_measured_is_refused(tables, options, message):
    encoder = encoder_of(random_vectors(0).get)
    with pytest.raises(InputError, match=message):
        entity_stability(encoder, encoder, tables, **options)


def test_both_must_read_tables(make_encoder):
    encoder = part_encoder(make_encoder(), unit="cells")
    for pair in ((make_encoder(), encoder), (encoder, make_encoder())):
        with pytest.raises(InputError, match="needs an encoder of tables"):
            entity_stability(*pair, TABLES)


@pytest.mark.data
def test_words_alone_explain_part_of_the_neighbourhood_of_real_cells(data_folder, make_encoder):
    folder = data_folder / "tables" / "spider" / "databases" / "activity_1" / "data"
    if not folder.is_dir():
        pytest.skip(f"no Spider databases at {folder}")
    tables = [read.table for path in sorted(folder.iterdir()) for read in read_tables(path)]
    text = make_encoder()
    words = part_encoder(static_encoder(text), unit="cells")
    finding = entity_stability(part_encoder(text, unit="cells"), words, tables, max_cells=100)
    for line in finding.lines:
        assert line.control.value < line.estimate.value < 1
