"""Reports: what they say is right, what others wrote does no harm, and the file stands alone."""

import base64
import datetime
import hashlib
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from embedkit.errors import CorruptFileError, InputError, StorageError
from embedkit.evaluation.items import Items, TaskItems, write_items
from embedkit.evaluation.report import charts, markup, tables, write_report
from embedkit.evaluation.report.evidence import gather
from embedkit.evaluation.report.pairs import pairs_of
from embedkit.evaluation.results import read_results

DATE = datetime.date(2026, 1, 2)
VOID = {"meta", "input", "wbr", "br"}
HOSTILE = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>\u202egnp.exe\x00\x1b[31m\ud800"


def put(
    root,
    model,
    task,
    right,
    *,
    kind=("accuracy", "Classification", "text", "hub"),
    keep=True,
    options=None,
    dim=8,
    seconds=1.0,
    revision="r1",
    data="d1",
    examples=(),
    score=None,
):
    """One result file as mteb writes it, with 0/1 answers as items; the score is their mean unless given."""
    folder = re.sub(r"[^\w.-]", "_", model.replace("/", "__"))[:60]
    place = root / "results" / folder / revision
    if options:
        place = place / "experiments" / "_".join(f"{name}_{value}" for name, value in options.items())
    place.mkdir(parents=True, exist_ok=True)
    meta = {"name": model, "revision": revision, "embed_dim": dim, "experiment_kwargs": options}
    (place / "model_meta.json").write_text(json.dumps(meta))
    file = re.sub(r"\W", "_", task)[:60] + ".json"
    main_score = float(np.mean(right)) if score is None else score
    entry = {"main_score": main_score, "hf_subset": "default", "languages": ["eng-Latn"], "mteb_version": "2.26.0"}
    stored = {
        "dataset_revision": data,
        "task_name": task,
        "mteb_version": "2.26.0",
        "scores": {"test": [entry]},
        "evaluation_time": seconds,
        "kg_co2_emissions": None,
        "date": 1.7e9,
    }
    (place / file).write_text(json.dumps(stored))
    if keep:
        (place / "items").mkdir(exist_ok=True)
        ids = tuple(map(str, range(len(right))))
        columns = {"score": np.asarray(right, dtype=float)}
        parts = (Items("test", "default", "mean", "text", ids, columns, tuple(examples)),) if len(right) else ()
        write_items(place / "items" / file, TaskItems(*kind, parts))


def answers(percent, count=100):
    """0/1 answers of which `percent` of a hundred are right, the first ones."""
    return np.arange(count) % 100 < percent


def written(root, **options):
    path = root / "report.html"
    write_report(read_results(root), path, date=DATE, **options)
    return path.read_text("utf-8")


class Page(HTMLParser):
    """Elements, attributes and shown text; complains where tags do not match."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.attributes, self.shown, self.cells = [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        assert len({name for name, _ in attrs}) == len(attrs)
        if tag in {"td", "th"}:
            self.cells.append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in {"style", "script"}:
            self.shown.append(data)
            if self.cells and {"td", "th"} & set(self.open):
                self.cells[-1] += data

    @property
    def text(self):
        return " ".join("".join(self.shown).split())


def rows_of(text, table):
    """Rows of the first table of a class, as lists of what their cells show."""
    inside = re.search(rf'<table class="{table}".*?</table>', text, re.S).group()
    return [[" ".join(cell.split()) for cell in Page(row).cells] for row in re.findall(r"<tr.*?</tr>", inside, re.S)]


@pytest.fixture
def small(tmp_path):
    """Three models and a floor on three tasks; the third was not run on all, and the best has no items of it."""
    for model, percents in {"a/best": (90, 62, 50), "a/good": (60, 60, None), "a/poor": (40, 30, 45)}.items():
        for task, percent in zip(("Clear", "Close", "Partial"), percents, strict=True):
            if percent is not None:
                kind = ("accuracy", "STS" if task == "Close" else "Classification", "text", "hub")
                put(tmp_path, model, task, answers(percent), kind=kind, keep=task != "Partial" or model == "a/poor")
    put(tmp_path, "floor/random", "Clear", answers(20))
    put(tmp_path, "floor/random", "Close", answers(20), kind=("accuracy", "STS", "text", "hub"))
    return tmp_path


def test_means_are_over_the_tasks_that_all_models_share(small):
    evidence = gather(read_results(small))

    assert [model.name for model in evidence.models] == ["a/best", "a/good", "a/poor", "floor/random"]
    assert evidence.shared == ("Clear", "Close")
    assert evidence.means == pytest.approx((0.76, 0.60, 0.35, 0.20))


def test_the_score_table_shows_scores_intervals_gaps_and_floors_last(small):
    rows = rows_of(written(small), "scores")

    assert rows[0] == ["model", "mean", "text · Classification", "text · STS"]
    assert rows[1] == ["Clear", "Partial", "Close"]
    best, good, poor, heading, floor = rows[2:]
    assert best[:2] == ["a/best", "76.00"]
    assert best[2].startswith("90.00 best, and shown to be 8")
    assert best[3] == "50.00 no interval"
    assert re.fullmatch(r"60\.00 [45]\d\.\d to [67]\d\.\d", good[2])
    assert good[3] == "–"
    assert poor[0] == "a/poor"
    assert heading == ["Floors: what knowing nothing reaches"]
    assert floor[0] == "floor/random"


def test_the_best_is_marked_only_where_the_difference_to_the_second_is_real(small):
    evidence = gather(read_results(small))
    found = pairs_of(evidence).leads

    assert found["Clear"].is_real
    assert found["Close"].p_value > 0.05
    assert not found["Close"].is_real
    assert found["Partial"].p_value is None
    assert "not kept" in found["Partial"].reason
    assert len(re.findall(r'<td class="[^"]* lead">', written(small))) == 1


def test_leads_are_corrected_for_the_number_of_tasks(tmp_path):
    def real(tasks):
        for task in range(tasks):
            put(tmp_path, "a/one", f"T{task}", answers(60))
            put(tmp_path, "a/two", f"T{task}", answers(54))  # six unlike answers, all one way: p = 2 / 2⁶ alone
        return sum(lead.is_real for lead in pairs_of(gather(read_results(tmp_path))).leads.values())

    assert real(1) == 1
    assert real(8) == 0


def test_the_summary_says_what_was_found_and_what_cannot_be_told(small):
    text = Page(written(small)).text

    assert "3 models and 1 floor on 3 tasks (3 text)" in text
    assert "Best mean over the 2 tasks that all models share: a/best with 76.00, before a/good with 60.00." in text
    assert "more than chance on 1 of the 2 tasks where it can be told" in text
    assert "a/best has a real lead on Clear." in text
    assert "Who is best cannot be told on Close" in text
    assert "Not run, and shown as “–”: 2 of 12 pairs" in text


def test_models_below_a_floor_and_missing_floors_are_said(tmp_path):
    put(tmp_path, "a/one", "T", answers(30))
    assert "No floor was run" in Page(written(tmp_path)).text
    put(tmp_path, "floor/tfidf", "T", answers(30))
    assert "Not above the best floor on T: a/one." in Page(written(tmp_path)).text


def test_different_revisions_of_the_data_are_said_and_not_compared(tmp_path):
    put(tmp_path, "a/one", "T", answers(90))
    put(tmp_path, "a/two", "T", answers(30), data="d2")

    text = written(tmp_path)
    assert "different revisions of the data, and cannot be compared, on T" in Page(text).text
    assert not re.search(r'<td class="[^"]* lead">', text)


def test_reasons_of_missing_intervals_are_listed(tmp_path):
    put(tmp_path, "a/none", "T", answers(50), keep=False)
    put(tmp_path, "a/other", "T", answers(50), score=0.7)
    put(tmp_path, "a/empty", "T", (), score=0.4)
    put(tmp_path, "a/nan", "T", answers(50), score=math.nan)

    listed = {row[1]: row[2] for row in rows_of(written(tmp_path).split("Scores without an interval</h3>")[1], "notes")}
    assert listed == {
        "why": "models",
        "the items behind the score were not kept": "none",
        "the items that were kept give 50.00, which is not the score": "other",
        "accuracy cannot be resampled": "empty",
        "the score is not a number": "nan",
    }


def test_a_score_that_is_no_number_is_shown_and_not_averaged(tmp_path):
    for model in ("a/one", "a/two"):
        put(tmp_path, model, "Fine", answers(50))
        put(tmp_path, model, "Broken", answers(50), score=math.nan if model == "a/one" else 0.5)
    evidence = gather(read_results(tmp_path))

    assert evidence.shared == ("Fine",)
    rows = {row[0]: row for row in rows_of(written(tmp_path), "scores")}
    assert rows["a/one"][2] == "NaN no interval"


@pytest.mark.parametrize("model", ["a/only", "floor/only"])
@pytest.mark.parametrize("score", [None, math.nan])
def test_one_model_on_one_task(tmp_path, model, score):
    put(tmp_path, model, "T", answers(50), score=score)
    page = Page(written(tmp_path))

    assert model in page.text
    assert ("no model and 1 floor" in page.text) == model.startswith("floor/")
    assert ("50.00" in page.text) == (score is None)


def test_models_without_a_common_task_have_no_mean(tmp_path):
    put(tmp_path, "a/one", "S", answers(50))
    put(tmp_path, "a/two", "T", answers(50))
    text = written(tmp_path)

    assert "No task was run on all models" in Page(text).text
    assert [row[1] for row in rows_of(text, "scores")[2:]] == ["–", "–"]


def test_nothing_to_report_is_an_error(tmp_path):
    with pytest.raises(InputError, match="at least one model"):
        write_report([], tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_damaged_items_are_named(small):
    path = small / "results" / "a__best" / "r1" / "items" / "Clear.json"
    path.write_text("{")
    with pytest.raises(CorruptFileError, match=re.escape("Clear.json")):
        written(small)


def test_a_folder_that_is_not_there_is_a_storage_error(small):
    with pytest.raises(StorageError):
        write_report(read_results(small), small / "absent" / "report.html")


def test_models_of_one_name_are_told_apart(tmp_path):
    for revision in ("aaaaaaaaaa", "bbbbbbbbbb"):
        put(tmp_path, "a/same", "T", answers(50), revision=revision)

    assert gather(read_results(tmp_path)).labels == ("a/same @aaaaaaaa", "a/same @bbbbbbbb")


# The file.


def test_the_same_results_give_the_same_file_in_any_order(small):
    first = written(small)
    write_report(read_results(small)[::-1], small / "again.html", date=DATE)

    assert (small / "again.html").read_text("utf-8") == first
    assert "2026-01-02" in first


def test_the_date_is_today_where_none_is_given(small):
    write_report(read_results(small), small / "report.html")
    assert re.search(r"<p>20\d\d-\d\d-\d\d · embedkit ", (small / "report.html").read_text("utf-8"))


def test_the_page_is_well_formed_and_its_ids_are_unique(small):
    page = Page(written(small))
    ids = [value for _, name, value in page.attributes if name == "id"]
    links = [value for tag, name, value in page.attributes if (tag, name) == ("a", "href")]
    labelled = " ".join(value for _, name, value in page.attributes if name == "aria-labelledby").split()

    assert len(ids) == len(set(ids))
    assert links
    assert {link.removeprefix("#") for link in links} | set(labelled) <= set(ids)
    assert page.tags.count("svg") == 3
    assert page.tags.count("desc") == 3


def test_every_heading_of_a_table_says_what_it_heads(small):
    assert not re.search(r"<th(?! scope=)[ >]", written(small))


def test_nothing_is_loaded_from_elsewhere(small):
    text = written(small)
    page = Page(text)

    assert not {"link", "img", "iframe", "object", "embed", "base"} & set(page.tags)
    assert not [found for found in page.attributes if found[1] in {"src", "srcset", "action", "xlink:href", "data"}]
    assert not re.search(r"url\(|@import|https?://", text)


def test_the_policy_allows_the_one_script_only(small):
    text = written(small)
    policy = next(value for _, name, value in Page(text).attributes if name == "content" and "default-src" in value)
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()

    assert policy == f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


def test_columns_of_the_score_table_are_in_the_order_of_the_buttons_that_sort_them(small):
    text = written(small)
    head = re.search(r'<table class="scores".*?</thead>', text, re.S).group()
    buttons = [Page(found).text for found in re.findall(r"<button.*?</button>", head)]
    first = re.search(r"<tbody><tr>(.*?)</tr>", text, re.S).group(1)

    assert buttons == ["model", "mean", "Clear", "Partial", "Close"]
    assert len(Page(first).cells) == len(buttons)


def test_hostile_text_stays_text(tmp_path):
    hostile = HOSTILE.replace("\ud800", "")  # a file of items is UTF-8, which cannot hold half a character
    examples = [{hostile: hostile, "second": "y" * 1_000_000}, {"first": "\u2028 line"}]
    for name in ("org/", "other/", "floor/"):
        put(
            tmp_path,
            name + HOSTILE,
            HOSTILE,
            answers(50),
            kind=(hostile,) * 4,
            examples=examples,
            options={"prompt": hostile.replace("/", ".").replace("\x00", "")[:40]},
            data=HOSTILE + "z" * 1_000_000,
        )
    text = written(tmp_path, title=HOSTILE)
    page = Page(text)

    assert page.tags.count("script") == 1
    assert "img" not in page.tags
    assert not [found for found in page.attributes if found[1].startswith("on")]
    assert not re.search(
        "[\x00-\x08\x0b-\x1f\x7f\u200e\u200f\u202a-\u202e\u2028\u2029\u2066-\u2069\ud800-\udfff]", text
    )
    assert "<script>alert('x')</script>" in "".join(page.shown)
    assert len(text) < 200_000


def test_examples_are_shown_worst_first_for_models_and_not_for_floors(tmp_path):
    examples = [{"query": f"question {i}"} for i in range(9)]
    for model in ("a/one", "floor/random"):
        put(tmp_path, model, "T", answers(50), examples=examples)
    text = written(tmp_path)

    assert re.findall(r"question \d", text) == [f"question {i}" for i in range(5)]


# Charts.


def place_of(svg, pattern):
    return float(re.search(pattern, svg).group(1))


def test_dots_and_whiskers_are_where_their_scores_are():
    dots = [charts.Dot("a", 0.8, 0.7, 0.9, "lead"), charts.Dot("b", 0.5, None, None, "model")]
    svg = charts.intervals(dots, key="k", title="T")
    # From 50 to 90 points with a margin of 8 % of 40 on both sides: 46.8 to 93.2.
    at = {score: round(100 * (score - 46.8) / 46.4, 2) for score in (50, 60, 70, 80, 90)}

    assert f'<line x1="{at[70]:.2f}%" x2="{at[90]:.2f}%" y1="13" y2="13"/>' in svg
    assert f'cx="{at[80]:.2f}%" cy="13"' in svg
    assert f'cx="{at[50]:.2f}%" cy="39"' in svg
    assert re.findall(r'class="tick"[^>]*>([^<]+)<', svg) == ["50", "60", "70", "80", "90"]
    assert "b: 50.00, no interval" in svg


def test_a_distant_floor_is_an_arrow_and_a_near_one_widens_the_axis():
    models = [charts.Dot("a", 0.8, 0.7, 0.9, "model")]
    far = charts.intervals([*models, charts.Dot("f", 0.1, 0.05, 0.15, "floor")], key="k", title="T")
    near = charts.intervals([*models, charts.Dot("f", 0.6, 0.5, 0.65, "floor")], key="k", title="T")
    above = charts.intervals([*models, charts.Dot("f", 0.99, 0.98, 1.0, "floor")], key="k", title="T")

    assert far.count("<path") == 1
    assert far.count("<circle") == 1
    assert near.count("<circle") == above.count("<circle") == 2
    for svg in (far, near, above):
        assert all(0 <= float(x) <= 100 for x in re.findall(r'(?:cx|x1|x2)="([-\d.]+)%"', svg))


@pytest.mark.parametrize("score", [-1.0, 0.0, 0.123456, 1.0])
def test_one_dot_has_an_axis_with_ticks(score):
    svg = charts.intervals([charts.Dot("a", score, None, None, "model")], key="k", title="T")

    assert 'cx="50.00%"' in svg
    assert len(re.findall(r'class="tick"', svg)) >= 2


def test_the_frontier_is_what_no_other_beats():
    generator = np.random.default_rng(0)
    costs = [tuple(row) for row in generator.integers(0, 5, size=(60, 3)).tolist()]
    naive = []
    for i, one in enumerate(costs):
        beaten = False
        for other in costs:
            no_worse = other[0] <= one[0] and other[1] <= one[1] and other[2] <= one[2]
            better = other[0] < one[0] or other[1] < one[1] or other[2] < one[2]
            beaten = beaten or (no_worse and better)
        if not beaten:
            naive.append(i)

    assert charts.frontier(costs) == naive


def test_cost_is_shown_with_its_frontier_and_floors_left_out(tmp_path):
    for model, percent, dim, seconds in (("fast", 50, 64, 1), ("slow", 80, 64, 100), ("bad", 40, 256, 10)):
        put(tmp_path, f"a/{model}", "T", answers(percent), dim=dim, seconds=seconds)
    put(tmp_path, "floor/random", "T", answers(10), dim=4, seconds=0.1)
    text = written(tmp_path)

    assert rows_of(text, "costs") == [
        ["model", "mark", "mean", "seconds", "bytes a vector", "on the frontier of"],
        ["a/slow", "1", "80.00", "100 s", "256", "seconds and bytes"],
        ["a/fast", "2", "50.00", "1.0 s", "256", "seconds"],
        ["a/bad", "3", "40.00", "10 s", "1,024", "–"],
    ]
    plot = re.search(r'<svg[^>]*aria-labelledby="cost-seconds-title.*?</svg>', text, re.S).group()
    assert plot.count('<g class="best">') == 2
    assert plot.count('<g class="other">') == 1
    x = [place_of(plot, rf'cx="([\d.]+)%"[^>]*/><text[^>]*>{number}<') for number in (2, 3, 1)]
    assert x[1] - x[0] == pytest.approx(x[2] - x[1], abs=0.02)  # 1, 10 and 100 s are equally far apart


def test_models_without_vectors_or_times_have_no_cost(tmp_path):
    for model in ("a/one", "a/two"):
        put(tmp_path, model, "T", answers(50), dim=None, seconds=0.0)

    assert 'id="cost"' not in written(tmp_path)


# Heat maps.


def test_colours_say_how_far_below_the_best(tmp_path):
    below = {"a/0": 0, "a/1": 1, "a/2": 2, "a/6": 6, "a/50": 50}
    for model, points in below.items():
        put(tmp_path, model, "T", answers(90 - points))
    heat = re.search(r'<table class="heat".*?</table>', written(tmp_path), re.S).group()

    assert re.findall(r'<td class="m0 t0 (h\d)">([\d.]+)', heat) == [
        ("h0", "90.0"),
        ("h0", "89.0"),
        ("h1", "88.0"),
        ("h3", "84.0"),
        ("h6", "40.0"),
    ]


def test_an_elastic_grid_is_layers_by_dims_with_what_no_other_beats(tmp_path):
    scores = {(2, 64): 50, (2, 128): 60, (4, 64): 40, (4, 128): 70}
    for (layers, dims), percent in scores.items():
        options = {"num_layers": layers, "truncate_dim": dims}
        put(tmp_path, "a/elastic", "T", answers(percent), options=options)
    text = written(tmp_path)

    assert rows_of(text, "heat grid") == [["layers \\ dims", "64", "128"], ["4", "40.0", "70.0"], ["2", "50.0", "60.0"]]
    settings = rows_of(text, "grid")
    assert [row[:4] for row in settings[1:]] == [
        ["2", "64", "256", "50.00"],
        ["2", "128", "512", "60.00"],
        ["4", "128", "512", "70.00"],
    ]
    assert "elastic 4L 128d" in text


def test_one_setting_is_no_grid(tmp_path):
    put(tmp_path, "a/elastic", "T", answers(50), options={"num_layers": 2, "truncate_dim": 64})
    assert "Depth and width" not in written(tmp_path)


def test_columns_can_be_hidden_by_kind_of_task(small):
    text = written(small)
    page = Page(text)

    boxes = [value for tag, name, value in page.attributes if (tag, name) == ("input", "id")]
    assert boxes == ["show-t0", "show-t1"]  # one modality only: nothing to choose from
    assert "body:has(#show-t1:not(:checked)) .t1 { display: none; }" in text


# Text, numbers and colours.


@pytest.mark.parametrize(
    ("value", "shown"),
    [("a\x00b", "a\ufffdb"), ("<&>", "&lt;&amp;&gt;"), ("x" * 201, "x" * 200 + "…"), (None, "None"), ("é😀", "é😀")],
)
def test_text(value, shown):
    assert markup.text(value) == shown


def test_names_break_where_their_words_meet_and_never_inside_an_escape():
    assert markup.breakable("TwitterSemEval") == "Twitter<wbr>Sem<wbr>Eval"
    assert markup.breakable("a<B/c") == "a&lt;B/<wbr>c"


def test_numbers():
    assert (markup.signed(-0.003), markup.signed(0.0125)) == ("\u22120.30", "+1.25")
    assert (markup.probability(0.0004), markup.probability(0.04), markup.probability(None)) == (
        "&lt; 0.001",
        "0.040",
        "–",
    )
    assert (markup.seconds(0.42), markup.seconds(42.4), markup.seconds(180)) == ("0.4 s", "42 s", "3 min")


def luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(scheme):
    style = (Path(charts.__file__).parent / "style.css").read_text("utf-8")
    light, dark = re.findall(r":root \{(.*?)\}", style, re.S)
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", light))
    if scheme == "dark":
        colours |= dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", dark))
    pairs = [(text, behind) for text in ("ink", "soft", "accent", "doubt") for behind in ("paper", "card")]
    pairs += [("accent", "tint"), ("soft", "tint"), *(("dark-end", f"h{i}") for i in range(3))]
    pairs += [("light-end", f"h{i}") for i in range(3, len(tables.HEAT) + 1)]

    for text, behind in pairs:
        bright, dim = sorted((luminance(colours[text]), luminance(colours[behind])), reverse=True)
        assert (bright + 0.05) / (dim + 0.05) >= 4.5, (text, behind)


@pytest.mark.slow
def test_thirty_models_on_forty_tasks_stay_small(tmp_path):
    generator = np.random.default_rng(0)
    examples = [{"query": "&" * 1000, "found": "x" * 1000} for _ in range(6)]
    for model in range(30):
        for task in range(40):
            right = generator.random(100) < 0.5 + model / 100
            put(tmp_path, f"some/model-{model}", f"Task{task}", right, examples=examples, seconds=model + 1)

    assert len(written(tmp_path).encode()) < 3_000_000
