import math
from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from embedkit import Encoder
from embedkit.encoders.table.encoder import table_encoder
from embedkit.encoders.table.files import read_tables
from embedkit.encoders.table.keys import ForeignKey, foreign_keys
from embedkit.encoders.table.overlap import containment, jaccard
from embedkit.encoders.table.parts import part_encoder
from embedkit.encoders.table.table import Table
from embedkit.encoders.table.vectors import TableModule, TableVectors, table_vectors
from embedkit.errors import InputError
from embedkit.probes.observatory.join_relationship import ColumnPair, column_pairs, graded_pairs, join_relationship

LETTERS = "abcdefghijklmnopqrstuvwxyz"


class ColumnInput(TableModule):
    """Gives each column whatever vector a function of its name and values says."""

    def __init__(self, vector):
        super().__init__()
        self.vector = vector
        self.seen = []

    def vectors(self, encoder, tables, parts, num_layers):
        self.seen += tables
        none = np.empty((0, 1), dtype=np.float32)
        read = [self.vector(table.columns[0], [cell for (cell,) in table.rows]) for table in tables]
        columns = [np.array([vector], dtype=np.float32) for vector in read]
        return [TableVectors(each[0], each, none, none, (0,), (), ()) for each in columns]

    def prepare(self, inputs, prompt, task):
        raise NotImplementedError

    def forward(self, features, **kwargs):
        return features

    def get_embedding_dimension(self):
        return len(LETTERS)

    def save(self, output_path, *args, **kwargs):
        raise NotImplementedError


def encoder_of(vector):
    return Encoder([ColumnInput(vector)], device="cpu")


def one_hot(_, values):
    return [float(letter in values) for letter in LETTERS]


def column(values, name="letter"):
    return Table("", (name,), [(value,) for value in values])


def pairs_of(*texts, joins=None):
    return [ColumnPair(column(query), column(candidate), joins) for query, candidate in texts]


GRADED = pairs_of(("abcd", "efgh"), ("abcd", "defg"), ("ijkl", "klmn"), ("abcd", "bcdz"), ("mnop", "mnop"))


def test_the_set_of_values_follows_jaccard_and_containment_exactly():
    finding = join_relationship(encoder_of(one_hot), GRADED)
    for name in ("containment", "Jaccard", "multiset Jaccard"):
        assert finding[f"Spearman with {name}"].estimate.value == pytest.approx(1, abs=1e-12)
        assert finding[f"Spearman with {name}"].estimate.n == 5
        assert finding[f"Spearman with {name}"].control.value < 0.9


def test_it_does_so_for_graded_pairs_of_a_column():
    pairs = graded_pairs([column(LETTERS), column("abcdefgh", "other")])
    finding = join_relationship(encoder_of(one_hot), pairs)
    assert finding["Spearman with Jaccard"].estimate.value == pytest.approx(1, abs=1e-12)


def test_a_number_worked_by_hand():
    # Cosines rank 2, 1, 3 against overlaps that rank 1, 2, 3: 1 - 6 (1 + 1 + 0) / (3 * 8) = 0.5.
    vectors = {"q": [1.0, 0.0], "low": [0.0, 1.0], "mid": [1.0, 1.0], "high": [1.0, 0.0]}
    encoder = encoder_of(lambda name, _: vectors[name])
    candidates = [("mid", "wxyz"), ("low", "axyz"), ("high", "abyz")]
    pairs = [ColumnPair(column("abcd", "q"), column(values, name)) for name, values in candidates]
    assert join_relationship(encoder, pairs)["Spearman with Jaccard"].estimate.value == pytest.approx(0.5)


def test_it_agrees_with_scipy_and_scikit_learn(make_encoder):
    random = np.random.default_rng(3)

    def draw():
        return "".join(random.choice(list("abcdefgh"), random.integers(2, 8), replace=False))

    pairs = [ColumnPair(column(draw()), column(draw()), bool(place % 3)) for place in range(24)]
    encoder = table_encoder(make_encoder())
    finding = join_relationship(encoder, pairs)

    def vectors(side):
        return np.concatenate([each.columns for each in table_vectors(encoder, side)]).astype(np.float64)

    a, b = vectors([pair.query for pair in pairs]), vectors([pair.candidate for pair in pairs])
    cosines = np.round((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1), 6)
    for name, overlap in (("containment", containment), ("Jaccard", jaccard)):
        found = finding[f"Spearman with {name}"].estimate
        measured = [overlap([c for (c,) in p.query.rows], [c for (c,) in p.candidate.rows]) for p in pairs]
        assert found.value == pytest.approx(spearmanr(cosines, measured).statistic)
        assert -1 <= found.low < found.value < found.high <= 1
    auc = finding["AUC, declared key or not"]
    assert auc.estimate.value == pytest.approx(roc_auc_score([pair.joins for pair in pairs], cosines))
    assert auc.estimate.n == 24


def test_a_constant_encoder_has_no_correlation_and_an_auc_of_chance():
    pairs = [*GRADED, *pairs_of(("ab", "ab"), ("cd", "cd"), joins=True), *pairs_of(("ab", "cd"), joins=False)]
    jitter = iter(np.linspace(0, 1e-7, 99))  # what the rounding of batches does
    finding = join_relationship(encoder_of(lambda *_: [1.0, 1.0 + next(jitter)]), pairs)
    for line in finding.lines[:3]:
        assert math.isnan(line.estimate.value)
        assert math.isnan(line.estimate.low)
    assert finding["AUC, declared key or not"].estimate.value == 0.5


def test_equal_overlaps_have_no_correlation():
    random = np.random.default_rng(0)
    finding = join_relationship(encoder_of(lambda *_: random.normal(size=4)), pairs_of(*[("ab", "ab")] * 6))
    assert all(math.isnan(line.estimate.value) for line in finding.lines)
    assert len(finding.lines) == 3  # no AUC where nobody knows what joins


def test_the_auc_counts_only_pairs_that_are_known():
    pairs = [
        *pairs_of(("abc", "abc"), ("abc", "abd"), joins=True),
        *pairs_of(("abc", "xyz"), ("abc", "cyz"), joins=False),
        *GRADED,
    ]
    line = join_relationship(encoder_of(one_hot), pairs)["AUC, declared key or not"]
    assert (line.estimate.value, line.estimate.low, line.estimate.high, line.estimate.n) == (1, 1, 1, 4)


def test_vectors_that_tell_nothing_are_near_their_control():
    random = np.random.default_rng(5)
    by_values = {}
    encoder = encoder_of(lambda _, values: by_values.setdefault(tuple(values), random.normal(size=8)))
    pairs = [pair for seed in range(12) for pair in graded_pairs([column(LETTERS)], steps=(0, 0.3, 0.6), seed=seed)]
    line = join_relationship(encoder, pairs)["Spearman with Jaccard"]
    assert line.estimate.low < 0 < line.estimate.high
    assert line.control.low < 0 < line.control.high


def test_what_is_read_of_a_column():
    table = Table("places", ("home",), [("b",), ("",), ("a",), ("b",), ("c",), (" ",)])
    pairs = [ColumnPair(table, column("xyz")), ColumnPair(table, column("abc"))]
    for max_values, read in ((2, ["b", "a"]), (None, ["b", "a", "c"]), (0, [])):
        encoder = encoder_of(lambda _, values: [1.0, len(values)])
        join_relationship(encoder, pairs, max_values=max_values)
        seen = encoder[0].seen
        assert seen[0] == Table("", ("home",), [(value,) for value in read])
        assert len(seen) == (2 if max_values == 0 else 3)  # each different column once


def test_seeds_repeat(make_encoder):
    encoder = part_encoder(make_encoder())
    assert join_relationship(encoder, GRADED, seed=4) == join_relationship(encoder, GRADED, seed=4)


def test_pairs_without_values_or_with_zero_vectors_are_left_out_and_said():
    pairs = [*GRADED, *pairs_of(("", "abc"), ("!", "abc"))]
    finding = join_relationship(encoder_of(one_hot), pairs)
    assert finding["Spearman with Jaccard"].estimate.n == 5
    assert finding.notes == ("2 of 7 pairs left out: a column has no value or a zero vector",)


@pytest.mark.parametrize(
    ("pairs", "options", "message"),
    [
        ([], {}, "at least two pairs .* 0 of 0"),
        (pairs_of(("ab", "ab")), {}, "at least two pairs .* 1 of 1"),
        (pairs_of(("!", "ab"), ("?", "ab")), {}, "at least two pairs .* 0 of 2"),
        ([("ab", "cd")], {}, "list of ColumnPairs"),
        (GRADED[0], {}, "list of ColumnPairs"),
        (GRADED, {"max_values": -1}, "max_values must be None or a count"),
        (GRADED, {"max_values": 2.0}, "max_values must be None or a count"),
    ],
)
def test_what_cannot_be_measured_is_refused(pairs, options, message):
    with pytest.raises(InputError, match=message):
        join_relationship(encoder_of(one_hot), pairs, **options)


def test_an_encoder_of_text_is_refused(make_encoder):
    with pytest.raises(InputError, match="needs an encoder of tables"):
        join_relationship(make_encoder(), GRADED)


def test_a_pair_is_of_single_columns():
    with pytest.raises(InputError, match="candidate must be a Table of one column; received 2 columns"):
        ColumnPair(column("ab"), Table("", ("a", "b"), []))
    with pytest.raises(InputError, match="query must be a Table of one column; received list"):
        ColumnPair(["a"], column("ab"))


def test_graded_pairs_share_what_they_say():
    pairs = graded_pairs([column(LETTERS)], seed=2)
    sets = [({cell for (cell,) in pair.query.rows}, {cell for (cell,) in pair.candidate.rows}) for pair in pairs]
    assert [len(query & candidate) for query, candidate in sets] == [0, 3, 6, 10, 13]
    assert {len(side) for pair in sets for side in pair} == {13}
    assert all(pair.query == pairs[0].query for pair in pairs)
    assert all(pair.query.columns == pair.candidate.columns == ("letter",) for pair in pairs)
    assert pairs == graded_pairs([column(LETTERS)], seed=2) != graded_pairs([column(LETTERS)], seed=3)


def test_graded_pairs_of_long_columns_are_read_whole_and_short_ones_are_left_out():
    pairs = graded_pairs([column(map(str, range(500))), column("abcdefg"), column(["x"] * 50)])
    assert len(pairs) == 5
    assert {len(side.rows) for pair in pairs for side in (pair.query, pair.candidate)} == {20}
    assert graded_pairs([]) == []
    with pytest.raises(InputError, match=r"between 0 and 1; received 1\.5"):
        graded_pairs([], steps=(0, 1.5))


WORLD = {
    ("world", "City"): Table("City", ("id", "name", "empty"), [("1", "Bonn", ""), ("2", "Metz", "")]),
    ("world", "person"): Table("person", ("name", "home", "born"), [("Ann", "1", "2"), ("Bob", "2", "2")]),
    ("shop", "city"): Table("city", ("id", "label"), [("1", "x"), ("2", "y")]),
}
KEYS = [
    ForeignKey("PERSON", "Home", "city", "ID", "World"),
    ForeignKey("person", "born", "city", "id", "world"),
    ForeignKey("person", "born", "city", "id", "world"),  # said twice
    ForeignKey("person", "home", "country", "id", "world"),  # to a table that is not there
    ForeignKey("person", "home", "city", "empty", "world"),  # to a column without a value
]


def test_keys_are_found_whatever_their_case():
    pairs = column_pairs(WORLD, KEYS)
    names = [(pair.query.columns[0], pair.candidate.columns[0]) for pair in pairs if pair.joins]
    assert names == [("home", "id"), ("born", "id")]


def test_other_pairs_are_of_different_tables_of_the_same_database_and_no_key():
    seen = set()
    for seed in range(30):
        others = [pair for pair in column_pairs(WORLD, KEYS, seed=seed) if not pair.joins]
        assert len(others) == 2
        assert all(pair.joins is False for pair in others)
        seen |= {(pair.query.columns[0], pair.candidate.columns[0]) for pair in others}
    # Of 2 columns of the city with values and 3 of the person: 12 ordered pairs, of which 2 keys stand for 4.
    assert seen == {
        *[("name", other) for other in ("name", "home", "born", "id")],
        *[(other, "name") for other in ("home", "born", "id")],
    }


def test_without_keys_there_are_no_pairs():
    assert column_pairs(WORLD, []) == []
    assert column_pairs({}, KEYS) == []


def test_a_database_that_offers_fewer_other_pairs_gives_what_it_has():
    tables = {("w", "a"): column("xy", "one"), ("w", "b"): column("xy", "two")}
    pairs = column_pairs(tables, [ForeignKey("a", "one", "b", "two", "w")])
    assert [pair.joins for pair in pairs] == [True]


def test_tables_that_differ_in_case_alone_are_refused():
    with pytest.raises(InputError, match="differ in more than case"):
        column_pairs({("w", "a"): column("xy"), ("W", "A"): column("xy")}, [])


@pytest.mark.data
def test_declared_keys_of_spider_are_told_from_other_pairs(data_folder):
    folder = data_folder / "tables" / "spider" / "databases"
    if not folder.is_dir():
        pytest.skip(f"no Spider databases at {folder}")
    tables, keys = {}, []
    for database in sorted(folder.iterdir())[:6]:
        for path in sorted((database / "data").iterdir()):
            (read,) = read_tables(path)
            tables[database.name, path.stem] = read.table
        keys += foreign_keys(database / "schema.sql")
    pairs = column_pairs(tables, keys)
    joins = [pair for pair in pairs if pair.joins]
    assert len(joins) > 10
    assert np.mean([containment(*map(cells_of, (pair.query, pair.candidate))) for pair in joins]) > 0.95
    values = {cell for pair in pairs for side in (pair.query, pair.candidate) for cell in cells_of(side)}
    places = {value: place for place, value in enumerate(sorted(values))}
    encoder = encoder_of(lambda _, cells: np.bincount([places[cell] for cell in cells], minlength=len(places)))
    finding = join_relationship(encoder, pairs, max_values=None)
    assert finding["Spearman with Jaccard"].estimate.value > 0.9
    assert finding["AUC, declared key or not"].estimate.value > 0.8
    assert all(line.control.value < line.estimate.value for line in finding.lines)
    assert all(a >= b for a, b in pairwise([pair.joins for pair in pairs]))  # keys first


def cells_of(table):
    return [cell for (cell,) in table.rows if cell.strip()]
