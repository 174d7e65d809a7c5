"""The report: eight findings whatever happens to one, printed, drawn and saved."""

import json
import math
from dataclasses import FrozenInstanceError

import pytest

from embedkit.encoders.depth import at_depth
from embedkit.encoders.table.encoder import table_encoder
from embedkit.encoders.table.keys import ForeignKey
from embedkit.encoders.table.parts import part_encoder
from embedkit.encoders.table.table import Table
from embedkit.errors import InputError, MissingExtraError
from embedkit.probes.observatory.entity_stability import entity_stability
from embedkit.probes.observatory.finding import Estimate, Finding, Line
from embedkit.probes.observatory.join_relationship import column_pairs, graded_pairs, join_relationship
from embedkit.probes.observatory.report import Report, report
from embedkit.probes.observatory.row_order import row_order

PROPERTIES = [
    "row order",
    "column order",
    "join relationship",
    "functional dependencies",
    "sample fidelity",
    "entity stability",
    "perturbation robustness",
    "heterogeneous context",
]
WORDS = "cat dog bird sat barks sings on mat red green blue one two three def return".split()  # noqa: SIM905
PLACES = Table("places", ("word", "colour"), [(word, ["red", "green"][at % 2]) for at, word in enumerate(WORDS)])
BEASTS = Table(
    "beasts",
    ("place", "beast", "sound"),
    [(WORDS[at % 5], ["cat", "dog"][at % 2], WORDS[at % 5 + 5]) for at in range(15)],  # the place says the sound
)
KEYS = [ForeignKey("beasts", "place", "places", "word", "farm")]
TABLES = {("farm", "places"): PLACES, ("farm", "beasts"): BEASTS}


@pytest.fixture
def text_encoder(make_encoder):
    return make_encoder()


@pytest.fixture
def encoder(text_encoder):
    return part_encoder(text_encoder, unit="cells")


@pytest.fixture
def small(encoder):
    """A report on tables that share no header, so that one property cannot be measured."""
    return report(encoder, [PLACES, BEASTS], variants=2)


def finding(name, *estimates, notes=()):
    lines = tuple(Line(f"line {at}", each, each, ideal=1.0) for at, each in enumerate(estimates))
    return Finding(name, "Why?", lines, notes)


def test_all_eight_in_the_order_of_the_paper(small, encoder):
    assert [each.property for each in small.findings] == PROPERTIES
    assert small["row order"] == row_order(encoder, [PLACES, BEASTS], variants=2)
    assert small["row order"]["column, cosine"].estimate.value == pytest.approx(1)
    assert all(each.lines for each in small.findings[:-1])
    with pytest.raises(InputError, match="received 'size'"):
        small["size"]
    with pytest.raises(FrozenInstanceError):
        small.findings = ()


def test_what_cannot_be_measured_leaves_the_others_alone(small):
    context = small["heterogeneous context"]
    assert context.lines == ()
    assert len(context.notes) == 1
    assert context.notes[0].startswith("left out: at least 2 headers must each be shared by 3 tables")


def test_an_unforeseen_failure_leaves_the_others_alone(encoder, monkeypatch):
    def fail(*_, **__):
        raise ZeroDivisionError("by zero")

    monkeypatch.setitem(report.__globals__, "row_order", fail)
    found = report(encoder, [PLACES, BEASTS], variants=2)
    assert found["row order"].notes == ("left out: ZeroDivisionError: by zero",)
    assert found["column order"].lines


@pytest.mark.parametrize("kind", [table_encoder, part_encoder])
def test_the_reference_is_the_embedding_layer(kind, text_encoder):
    encoder = kind(text_encoder)
    found = report(encoder, [PLACES, BEASTS], variants=1)["entity stability"]
    words = at_depth(encoder, 0)
    assert found.lines == entity_stability(encoder, words, [PLACES, BEASTS]).lines
    assert found.notes[-1] == "the reference is the embedding layer of the same encoder"
    assert report(encoder, [PLACES, BEASTS], reference=encoder, variants=1)["entity stability"].lines[
        0
    ].estimate.value == pytest.approx(1)


def test_an_encoder_without_layers_has_no_reference(text_encoder):
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    from embedkit import Encoder

    static = Encoder([StaticEmbedding(text_encoder.tokenizer.backend_tokenizer, embedding_dim=8)], device="cpu")
    found = report(part_encoder(static), [PLACES, BEASTS], variants=1)
    assert "no reference was given" in found["entity stability"].notes[0]
    assert found["row order"].lines


def test_keys_are_told_from_other_pairs_and_correlations_are_over_graded_ones(encoder):
    joins = report(encoder, TABLES, keys=KEYS, variants=1)["join relationship"]
    graded = join_relationship(encoder, graded_pairs([PLACES, BEASTS]))
    declared = join_relationship(encoder, column_pairs(TABLES, KEYS))
    assert joins["Spearman with Jaccard"] == graded["Spearman with Jaccard"]
    assert joins["AUC, declared key or not"] == declared["AUC, declared key or not"]
    listed = report(encoder, [PLACES, BEASTS], keys=KEYS, variants=1)["join relationship"]
    assert listed == joins


def test_without_keys_a_note_says_so(small):
    joins = small["join relationship"]
    assert [line.name for line in joins.lines if "AUC" in line.name] == []
    assert joins.notes[-1] == "too few declared keys join columns here to say how they are told from other pairs"


def test_without_values_enough_correlations_are_over_keys(encoder):
    few = {name: Table(table.name, table.columns, table.rows[:6]) for name, table in TABLES.items()}
    joins = report(encoder, few, keys=KEYS, variants=1)["join relationship"]
    assert repr(joins.lines) == repr(join_relationship(encoder, column_pairs(few, KEYS)).lines)  # some are undefined


def test_names_of_a_mapping_become_names_of_tables(text_encoder):
    encoder = table_encoder(text_encoder)
    frames = {
        key: dict(zip(table.columns, zip(*table.rows, strict=True), strict=True)) for key, table in TABLES.items()
    }
    frames = {key: {name: list(values) for name, values in frame.items()} for key, frame in frames.items()}
    assert report(encoder, frames, variants=1).findings == report(encoder, TABLES, variants=1).findings


def test_other_headers_can_be_given(encoder):
    found = report(encoder, [PLACES, BEASTS], renames={"word": "one", "beast": "mat"}, variants=1)
    assert found["perturbation robustness"]["header only, cosine"].estimate.n == 2


def test_printed_it_is_a_table_that_fits(small):
    printed = str(small)
    assert max(map(len, printed.splitlines())) <= 100
    head, first, *_ = printed.splitlines()
    assert head.split() == ["property", "line", "measured", "control", "n"]
    assert first.split()[:4] == ["row", "order", "column,", "cosine"]
    assert all(name in printed for name in PROPERTIES)
    assert "not measured: see below" in printed
    assert "- heterogeneous context: left out: at least 2 headers" in printed


def test_printed_by_hand():
    measured = finding("row order", Estimate(0.5, 0.25, 0.75, 4), Estimate(math.nan, math.nan, math.nan, 0))
    found = Report((measured, finding("column order", notes=("left out: two tables are needed",))))
    assert str(found).splitlines() == [
        "property      line                     measured              control    n",
        "row order     line 0                   0.500 [0.250, 0.750]  0.500      4",
        "              line 1                   undefined             undefined  0",
        "column order  not measured: see below",
        "- column order: left out: two tables are needed",
    ]


def test_drawn_it_has_a_panel_a_property(small):
    pytest.importorskip("matplotlib")
    figure = small.plot()
    assert [axis.get_title() for axis in figure.axes] == PROPERTIES
    assert all(axis.get_legend() is None for axis in figure.axes)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["measured", "control", "ideal"]
    assert "left out" in figure.axes[-1].texts[0].get_text()
    assert not Report((finding("row order"),)).plot().legends


def test_saved_it_is_plain_numbers_and_a_figure(small, tmp_path):
    pytest.importorskip("matplotlib")
    undefined = Report(
        (*small.findings[:7], finding("heterogeneous context", Estimate(math.nan, math.nan, math.nan, 0)))
    )
    undefined.save(tmp_path / "new" / "folder")
    folder = tmp_path / "new" / "folder"
    assert {path.name for path in folder.iterdir()} == {"observatory.json", "observatory.png"}
    assert (folder / "observatory.png").read_bytes().startswith(b"\x89PNG")
    saved = json.loads((folder / "observatory.json").read_text())["findings"]
    assert [each["property"] for each in saved] == PROPERTIES
    line, there = small["row order"].lines[0], saved[0]["lines"][0]
    assert (there["name"], there["ideal"]) == (line.name, line.ideal)
    assert there["estimate"] == {name: getattr(line.estimate, name) for name in ("value", "low", "high", "n")}
    assert saved[-1]["lines"][0]["estimate"] == {"value": None, "low": None, "high": None, "n": 0}


def test_numbers_are_saved_where_nothing_can_be_drawn(small, tmp_path, monkeypatch):
    def refuse(module, extra):
        raise MissingExtraError(f"{module} pip install 'embedkit[{extra}]'")

    monkeypatch.setitem(Report.plot.__globals__, "require", refuse)
    with pytest.raises(MissingExtraError, match=r"embedkit\[plots\]"):
        small.save(tmp_path)
    assert (tmp_path / "observatory.json").exists()


def test_bad_input_is_refused_before_anything_is_measured(encoder, text_encoder):
    with pytest.raises(InputError, match="needs an encoder of tables"):
        report(text_encoder, [PLACES])
    with pytest.raises(InputError, match="received none"):
        report(encoder, [])
    with pytest.raises(InputError, match=r"tables\[1\]: a table must be"):
        report(encoder, [PLACES, 3])
    with pytest.raises(InputError, match="put tables into a list"):
        report(encoder, {"word": ["cat"]})
    with pytest.raises(InputError, match="received Table"):
        report(encoder, PLACES)
    with pytest.raises(InputError, match="differ in their names"):
        report(encoder, [PLACES, PLACES], keys=KEYS)


@pytest.mark.parametrize("tables", [[PLACES], [{"cat": ["red"]}], [{"cat": ["red"]}] * 3, [{"cat": [""], "dog": [""]}]])
def test_tables_that_say_little_still_give_a_report(tables, encoder):
    found = report(encoder, tables, variants=1)
    assert [each.property for each in found.findings] == PROPERTIES
    assert all(each.lines or each.notes for each in found.findings)
    assert max(map(len, str(found).splitlines())) <= 100


def test_a_report_repeats_bit_for_bit(encoder, small):
    assert report(encoder, [PLACES, BEASTS], variants=2) == small
