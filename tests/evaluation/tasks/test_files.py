"""People's own files, run through mteb's evaluators and compared with the numbers worked out here."""

import json
import math
import re
import warnings

import numpy as np
import pytest

from embedkit.errors import InputError

pytest.importorskip("mteb", reason="mteb is not installed")

from embedkit.evaluation.tasks.files import tasks_from

from .conftest import cosines, vectors

ANIMALS = ["cat", "dog", "bird", "fish", "horse", "cow"]
PAIRS = [
    ("a cat sat", "a cat sat down", 5),
    ("a dog barks", "the dog barks loud", 4),
    ("one bird", "two birds sing", 2),
    ("red car", "blue sky today", 0),
    ("the cat and dog", "a dog and cat", 4.5),
    ("green tea", "green grass grows", 1),
]
QUERIES = {"where is the cat": "the cat is on the mat", "what barks": "a dog barks", "who sings": "birds sing at dawn"}


@pytest.fixture
def write(tmp_path):
    """A function that writes a file below a fresh folder: text, bytes, or rows for its suffix."""

    def put(name, content, delimiter=","):
        path = tmp_path / "mine" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif isinstance(content, str):
            path.write_bytes(content.encode())
        elif path.suffix == ".parquet":
            import pandas as pd

            pd.DataFrame(content).to_parquet(path)
        elif path.suffix == ".json":
            path.write_text(json.dumps(content))
        elif path.suffix == ".jsonl":
            path.write_text("\n".join(map(json.dumps, content)))
        else:
            lines = [list(content[0]), *(row.values() for row in content)]
            path.write_text("\n".join(delimiter.join(map(str, line)) for line in lines))
        return path

    return put


def pairs(**names):
    """Rows of similarity, under other headers where given."""
    headers = [names.get(field, field) for field in ("sentence1", "sentence2", "score")]
    return [dict(zip(headers, pair, strict=True)) for pair in PAIRS]


def animals(count, start=0):
    """Texts of two classes that share no word."""
    rows = [{"text": f"{word} {n}", "label": "pet"} for n in range(start, start + count) for word in ("cat", "dog")]
    return rows + [
        {"text": f"{word} {n}", "label": "wild"} for n in range(start, start + count) for word in ("wolf", "bear")
    ]


def one(path, **options):
    (task,) = tasks_from(path, **options)
    return task


def score(result):
    return result.scores["test"][0]["main_score"]


def refuses(path, *words, **options):
    """The message of the error, which has all the words and names the file."""
    with pytest.raises(InputError) as caught:
        tasks_from(path, **options)
    for word in words:
        assert word in str(caught.value)
    return str(caught.value)


# -- each kind, end to end -----------------------------------------------------------------------------


def test_sts_is_the_rank_correlation_of_cosines(write, run):
    from scipy.stats import spearmanr

    path = write("pairs.csv", pairs())
    task = one(path)
    result = run(task)
    first, second, scores = zip(*PAIRS, strict=True)
    expected = spearmanr(np.diag(cosines(vectors(first), vectors(second))), scores)[0]
    assert score(result) == pytest.approx(expected, abs=1e-6)
    assert result.dataset_revision == task.metadata.revision
    assert re.fullmatch("[0-9a-f]{40}", result.dataset_revision)
    assert (task.source, task.modality) == (str(path), "text")
    assert task.metadata.main_score == "cosine_spearman"
    assert (task.min_score, task.max_score) == (0, 5)


def test_pair_classification_is_the_best_average_precision(write, run):
    from sklearn.metrics import average_precision_score

    labels = ["yes", "Yes", "no", "no", "yes", "no"]
    rows = [{"s1": a, "s2": b, "label": label} for (a, b, _), label in zip(PAIRS, labels, strict=True)]
    result = run(one(write("pairs.csv", rows)))
    first, second, _ = zip(*PAIRS, strict=True)
    first, second = vectors(first), vectors(second)
    truth = [label.lower() == "yes" for label in labels]
    kinds = [
        np.diag(cosines(first, second)),
        (first * second).sum(axis=1),
        -np.abs(first - second).sum(axis=1),
        -np.linalg.norm(first - second, axis=1),
    ]
    assert score(result) == pytest.approx(max(average_precision_score(truth, kind) for kind in kinds), abs=1e-6)


def test_separable_classes_are_classified_without_error(write, run):
    write("animals-train.csv", animals(6))
    write("animals-test.csv", animals(4, start=6))
    (task,) = tasks_from(write("animals-dev.csv", animals(2)).parent)
    assert task.metadata.name == "animals"
    assert not task.is_cross_validation
    assert {split: len(rows) for split, rows in task.dataset.items()} == {"test": 16, "train": 24}
    assert task.dataset["test"].features["label"].names == ["pet", "wild"]
    assert score(run(task)) == 1.0


def test_one_file_of_classes_is_cross_validated(write, run):
    task = one(write("animals.csv", animals(6)))
    result = run(task)
    assert task.is_cross_validation
    assert len(result.scores["test"][0]["scores_per_experiment"]) == 5
    assert score(result) == 1.0


def test_a_column_says_the_split(write, run):
    rows = [{**row, "split": "train"} for row in animals(6)] + [
        {**row, "split": "Validation"} for row in animals(2, start=6)
    ]
    task = one(write("animals.jsonl", rows))
    assert {split: len(held) for split, held in task.dataset.items()} == {"test": 8, "train": 24}
    assert score(run(task)) == 1.0
    refuses(write("bad.jsonl", [{**row, "split": "later"} for row in animals(6)]), "'later'")


def test_multilabel_counts_texts_whose_labels_are_all_found(write, run):
    sets = {"cat": ["pet", "soft"], "dog": ["pet"], "wolf": ["wild"]}
    rows = [{"text": f"{word} {word}", "labels": labels} for _ in range(10) for word, labels in sets.items()]
    write("tags-train.jsonl", rows)
    wrong = [{"text": "cat cat", "labels": ["pet"]}, {"text": "dog dog", "labels": []}]
    task = one(write("tags-test.jsonl", [*rows[:6], *wrong]).parent)
    assert task.dataset["test"].features["label"].feature.names == ["pet", "soft", "wild"]
    result = run(task)
    assert score(result) == 6 / 8
    assert score(run(task)) == score(result)


def test_one_multilabel_file_is_dealt_in_halves_with_every_label_in_both(write, run):
    sets = [["a"], ["b", "a"], ["c", "b"], [], ["c"], ["d", "a"], ["d", "b", "c"]]
    rows = [{"text": f"{'-'.join(labels)} {n}", "labels": labels} for n in range(8) for labels in sets]
    task = one(write("tags.jsonl", rows))
    halves = {split: task.dataset[split] for split in ("train", "test")}
    assert sorted(text for half in halves.values() for text in half["text"]) == sorted(row["text"] for row in rows)
    for half in halves.values():
        assert 20 <= len(half) <= 36
        assert {label for labels in half["label"] for label in labels} == {0, 1, 2, 3}
    assert halves["train"]["text"] != one(write("tags.jsonl", rows), seed=1).dataset["train"]["text"]
    assert 0 < score(run(task)) <= 1


def test_labels_are_split_at_bars_in_csv(write):
    rows = [{"text": f"t{n}", "labels": "a | b" if n % 2 else "b"} for n in range(20)]
    task = one(write("tags.csv", rows))
    assert sorted(map(tuple, task.dataset["test"]["label"])) == [(0, 1)] * 5 + [(1,)] * 5


def test_clusters_that_share_no_word_are_found(write, run):
    rows = [{"text": f"{word} {word} {word}", "cluster": word} for word in ("cat", "dog") for _ in range(10)]
    task = one(write("groups.csv", rows))
    result = run(task)
    assert score(result) == pytest.approx(1.0)
    assert score(run(task)) == score(result)
    assert task.max_fraction_of_documents_to_embed is None


def test_retrieval_is_ndcg_over_the_distinct_documents(write, run):
    rows = [{"query": query, "document": document} for query, document in QUERIES.items()]
    rows.append({"query": "what barks", "document": "the cat is on the mat"})
    write("search-distractors.csv", [{"document": "what is the question"}, {"document": "nothing at all"}])
    task = one(write("search.csv", rows).parent)
    data = task.dataset["default"]["test"]
    assert len(data["corpus"]) == 5
    documents, queries = data["corpus"]["text"], data["queries"]["text"]
    similar = cosines(vectors(queries), vectors(documents))
    expected = []
    for query, row in zip(queries, similar, strict=True):
        ranked = sorted(range(5), key=lambda i: (row[i], data["corpus"]["id"][i]), reverse=True)
        wanted = {r["document"] for r in rows if r["query"] == query}
        gain = sum(1 / math.log2(rank + 2) for rank, i in enumerate(ranked[:10]) if documents[i] in wanted)
        expected.append(gain / sum(1 / math.log2(rank + 2) for rank in range(len(wanted))))
    assert score(run(task)) == pytest.approx(np.mean(expected), abs=1e-5)
    assert 0 < np.mean(expected) < 1


def test_grades_titles_and_listed_distractors(write, run):
    rows = [
        {
            "question": "cat",
            "title": "Cats",
            "passage": "cat cat",
            "relevance": 2,
            "distractors": ["a fish", "a stone"],
        },
        {"question": "cat", "title": "", "passage": "a cat and a dog", "relevance": 1, "distractors": None},
        {"question": "cat", "title": None, "passage": "a wolf", "relevance": 0, "distractors": []},
    ]
    task = one(write("graded.jsonl", rows))
    data = task.dataset["default"]["test"]
    assert sorted(data["corpus"]["text"]) == ["a cat and a dog", "a fish", "a stone", "a wolf", "cat cat"]
    assert sorted(data["corpus"]["title"]) == ["", "", "", "", "Cats"]
    assert sorted(data["relevant_docs"]["0"].values()) == [0, 1, 2]
    assert score(run(task)) == pytest.approx(1.0)


def test_reranking_orders_the_candidates_of_each_query(write, run):
    rows = [
        {"query": "cat", "positive": ["a cat"], "negative": ["the dog", "cat cat"]},
        {"query": "dog", "positive": ["the dog", "dog dog"], "negative": ["a cat"]},
    ]
    task = one(write("rank.jsonl", rows))
    assert task.metadata.type == "Reranking"
    # "cat cat" is nearer to "cat" than "a cat": the one positive is second. Both positives of "dog" come first.
    assert score(run(task)) == pytest.approx((1 / 2 + 1) / 2)
    same = one(write("rank.csv", "query,positive,negative\ncat,a cat,the dog|cat cat\ndog,the dog|dog dog,a cat\n"))
    assert same.metadata.revision == task.metadata.revision


def beir(write, name="hotels", qrels="q1\td1\t1\nq2\td2\t2\n", **files):
    corpus = [{"_id": "d1", "title": "Rooms", "text": "a quiet room"}, {"_id": "d2", "title": "", "text": "breakfast"}]
    queries = [{"_id": "q1", "text": "quiet room"}, {"_id": "q2", "text": "breakfast"}, {"_id": "q3", "text": "pool"}]
    write(f"{name}/corpus.jsonl", files.get("corpus", corpus))
    write(f"{name}/queries.jsonl", files.get("queries", queries))
    return write(f"{name}/qrels/test.tsv", "query-id\tcorpus-id\tscore\n" + qrels).parents[1]


def test_a_beir_folder_is_a_retrieval_task(write, run):
    task = one(beir(write))
    assert task.metadata.name == "hotels"
    assert list(task.dataset["default"]["test"]["queries"]["id"]) == ["q1", "q2"]  # the third is not judged
    assert score(run(task)) == 1.0


# -- files and names -----------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".json", ".parquet"])
def test_every_format_gives_the_same_task(write, suffix):
    delimiter = "\t" if suffix == ".tsv" else ","
    task = one(write(f"pairs{suffix}", pairs(), delimiter))
    assert task.metadata.revision == one(write("again.csv", pairs())).metadata.revision
    assert list(task.dataset["test"]["score"]) == [pair[2] for pair in PAIRS]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_delimiter_is_told_from_the_header(write, delimiter):
    assert len(one(write("pairs.csv", pairs(), delimiter)).dataset["test"]) == len(PAIRS)


def test_a_byte_order_mark_and_quotes_and_line_ends_are_read(write):
    text = '\ufeffs1,s2,similarity\r\n"a, ""b""\nc",d,1\r\n\r\ne,f,2\r\n'
    data = one(write("pairs.csv", text)).dataset["test"]
    assert list(data["sentence1"]) == ['a, "b"\nc', "e"]


@pytest.mark.parametrize(
    "names",
    [
        {"sentence1": "S1", "sentence2": "S2", "score": "Similarity"},
        {"sentence1": "Text 1", "sentence2": "text-2", "score": "score"},
        {"sentence1": "sentence_a", "sentence2": "sentence_b", "score": "similarity_score"},
    ],
)
def test_common_headers_are_understood(write, names):
    assert one(write("pairs.csv", pairs(**names))).metadata.type == "STS"


def test_columns_are_renamed_and_kinds_forced(write):
    path = write("pairs.csv", pairs(sentence1="links", sentence2="rechts", score="note"))
    refuses(path, "'links'", "sts needs sentence1, sentence2, score")
    columns = {"sentence1": "links", "sentence2": "rechts", "score": "note"}
    assert one(path, columns=columns).metadata.type == "STS"
    classes = write("animals.csv", animals(3))
    assert one(classes, columns={"cluster": "label"}).metadata.type == "Clustering"
    refuses(classes, "clustering needs a column 'cluster'", kind="clustering")
    refuses(classes, "classification needs a column 'gone'", kind="classification", columns={"label": "gone"})


def test_nothing_is_guessed(write):
    both = [{**pair, "label": n % 2} for n, pair in enumerate(pairs())]
    path = write("both.csv", both)
    refuses(path, "fit sts and pair_classification")
    assert one(path, kind="sts").metadata.type == "STS"
    twice = write("twice.csv", [{**row, "category": "x"} for row in animals(3)])
    refuses(twice, "'label' and 'category'", "'label'")
    assert one(twice, columns={"label": "label"}).metadata.type == "Classification"
    refuses(write("headless.csv", "a cat,a dog,3\na cow,a bird,2\n"), "first line names the columns")


def test_a_folder_holds_several_data_sets(write):
    write("pairs.csv", pairs())
    write("pets/train.tsv", animals(4), "\t")
    write("pets/test.tsv", animals(2), "\t")
    write("README.md", "not data")
    write(".hidden.csv", "junk")
    folder = beir(write).parent
    assert [task.metadata.name for task in tasks_from(folder)] == ["hotels", "pairs", "pets"]
    write("PAIRS.jsonl", pairs())
    refuses(folder, "different names")


def test_names_are_safe_for_files(write):
    assert one(write("my pairs (v2)?.csv", pairs())).metadata.name == "my-pairs-v2"
    assert one(write("größe.csv", pairs())).metadata.name == "größe"
    assert one(write("contest.csv", pairs())).metadata.name == "contest"  # no test file of "con"


def test_the_revision_follows_the_data_and_how_it_is_drawn(write):
    path = write("animals.csv", animals(6))
    first = one(path).metadata.revision
    assert one(path).metadata.revision == first
    revisions = {
        first,
        one(path, seed=1).metadata.revision,
        one(path, columns={"cluster": "label"}).metadata.revision,
        one(write("animals.csv", [*animals(6), {"text": "cat", "label": "pet"}])).metadata.revision,
    }
    assert len(revisions) == 4


def test_ids_do_not_follow_the_order_of_rows(write):
    rows = [{"query": query, "document": document} for query, document in QUERIES.items()]
    first = one(write("a.csv", rows)).dataset["default"]["test"]
    second = one(write("b.csv", rows[::-1])).dataset["default"]["test"]
    assert first["relevant_docs"] == second["relevant_docs"]
    assert first["corpus"].to_dict() == second["corpus"].to_dict()


def test_the_language_is_told(write):
    path = write("pairs.csv", pairs())
    assert one(path, language="deu-Latn").metadata.languages == ["deu"]
    refuses(path, "'german'", language="german")


# -- bad input -----------------------------------------------------------------------------------------


def test_blank_cells_are_refused_or_dropped_aloud(write):
    rows = pairs()
    rows[1] = {**rows[1], "score": ""}
    rows[3] = {**rows[3], "sentence2": "  "}
    rows[4] = {**rows[4], "score": "NaN"}
    path = write("pairs.csv", rows)
    refuses(path, "'sentence2'", "line 5")
    with pytest.warns(UserWarning, match=r"left out 3 rows with blanks \(line 3, line 5, line 6\)"):
        task = one(path, drop_blank=True)
    assert list(task.dataset["test"]["score"]) == [5, 2, 1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one(write("whole.csv", pairs()), drop_blank=True)
    refuses(write("none.csv", "s1,s2,score\na,b,\n"), "all 1 have one", drop_blank=True)


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
def test_missing_values_of_typed_formats_are_blanks(write, suffix):
    rows = pairs()
    rows[2] = {**rows[2], "score": float("nan")}
    refuses(write(f"pairs{suffix}", rows), "'score'", "3")


def test_many_blanks_are_counted_not_listed(write):
    text = "text,label\n" + "a,\n" * 9 + "b,x\n"
    assert "line 2, line 3, line 4, line 5, line 6 and 4 more" in refuses(write("some.csv", text))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.csv", "", ["is empty"]),
        ("header.csv", "text,label\n", ["only the names"]),
        ("ragged.csv", "s1,s2,score\na,b,1\nc,d\n", ["line 3", "3 cells", "found 2"]),
        ("quote.csv", 's1,s2,score\na,"b" c,1\n', ["line 2", "quotes"]),
        ("twice.csv", "text,text,label\na,b,c\n", ["'text' is there twice"]),
        ("latin.csv", "text,label\ngrün,a\n".encode("latin-1"), ["byte 0xfc", "offset 13", "line 2", "UTF-8"]),
        ("utf16.csv", "text,label\na,b\n".encode("utf-16"), ["byte 0xff", "offset 0"]),
        ("sheet.csv", b"PK\x03\x04 more", ["spreadsheet"]),
        ("table.csv", b"PAR1 more", ["Parquet"]),
        ("nul.csv", b"text,label\na\0,b\n", ["NUL"]),
        ("json.csv", '{"text": "a", "label": "b"}\n', ["looks like JSON"]),
        ("text.parquet", "text,label\na,b\n", ["must be Parquet"]),
        ("list.jsonl", '[{"text": "a"}]', ["name it .json"]),
        ("lines.json", '{"a": 1}\n{"a": 2}', ["one object a line is .jsonl"]),
        ("object.json", '{"a": 1}', ["list of objects"]),
        ("half.jsonl", '{"text": "a", "label": "b"}\n{"text": "a", "la', ["line 2", "one whole JSON object"]),
        ("scalar.jsonl", '{"text": "a", "label": "b"}\n3', ["line 2", "int"]),
        ("word.csv", "s1,s2,score\na,b,1\nc,d,high\n", ["line 3", "finite number", "'high'"]),
        ("comma.csv", 's1,s2,score\na,b,"1,5"\n', ["line 2", "point for decimals"]),
        ("infinite.csv", "s1,s2,score\na,b,1\nc,d,inf\n", ["line 3", "finite"]),
        ("constant.csv", "s1,s2,score\na,b,2\nc,d,2.0\n", ["scores must differ", "all are 2"]),
        ("number.jsonl", '{"text": 3, "label": "b"}', ["line 1", "must be text"]),
        ("surrogate.jsonl", '{"text": "\\ud800", "label": "b"}', ["line 1", "must be text"]),
        ("negative.csv", "query,document,grade\na,b,1\nc,d,-1\n", ["line 3", "0 for not relevant"]),
        ("fraction.csv", "query,document,grade\na,b,0.5\n", ["line 2", "whole number"]),
        ("none.csv", "query,document,grade\na,b,1\nc,d,0\n", ["grade 1 or more", "such as 'c'"]),
        ("grades.csv", "query,document,grade\na,b,1\na,b,2\n", ["one grade"]),
        ("truth.csv", "s1,s2,label\na,b,same\nc,d,other\n", ["0 and 1", "'other'"]),
        ("always.csv", "s1,s2,label\na,b,1\nc,d,1.0\n", ["all are labelled 1"]),
        ("cluster.csv", "text,cluster\na,x\nb,x\n", ["two clusters"]),
        ("list.csv", 'query,positive,negative\na,"[""b",c\n', ["line 2", "JSON list"]),
        ("both.csv", "query,positive,negative\na,b|c,c\n", ["a document that is both"]),
        ("again.csv", "query,positive,negative\na,b,c\na,d,e\n", ["there twice"]),
    ],
)
def test_bad_files_are_refused_by_name_and_line(write, name, content, words):
    path = write(name, content)
    assert str(path) in refuses(path, *words)


def test_classes_that_cannot_be_learnt_are_refused(write):
    rows = animals(6)
    refuses(write("rare.csv", [*rows, {"text": "x", "label": "odd"}]), "at least 2 texts", "'odd'")
    refuses(write("only.csv", [row for row in rows if row["label"] == "pet"]), "two classes")
    refuses(write("few.csv", [rows[0], rows[1], rows[-1], rows[-2]]), "too few")
    write("split-train.csv", rows)
    path = write("split-test.csv", [*rows, {"text": "x", "label": "odd"}])
    refuses(path.parent / "gone", "not there")
    for other in ("rare.csv", "only.csv", "few.csv"):
        (path.parent / other).unlink()
    refuses(path.parent, "among the training texts", "'odd'")


def test_too_few_multilabel_texts_are_refused(write):
    rows = [{"text": str(n), "labels": ["a", "b"]} for n in range(6)]
    refuses(write("tags.jsonl", rows), "5 labelled training texts")


def test_whole_numbers_that_became_decimals_are_one_class(write):
    write("stars-train.csv", [{"text": f"t {n}", "label": f"{n % 2}.0"} for n in range(10)])
    path = write("stars-test.csv", [{"text": f"t {n}", "label": n % 2} for n in range(4)])
    task = one(path.parent)
    assert task.dataset["test"].features["label"].names == ["0", "1"]


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"qrels": "q9\td1\t1\n"}, ["line 2 (q9)", "every query that is judged"]),
        ({"qrels": "q1\td1\t1\nq1\td9\t1\n"}, ["line 3 (d9)", "every document that is judged"]),
        ({"qrels": "q1\td1\t-1\n"}, ["line 2", "count the other way round"]),
        ({"qrels": "q1\td1\n"}, ["line 2", "three cells"]),
        ({"qrels": "q1\td1\t1\nq1\td1\t2\n"}, ["line 3", "one grade"]),
        ({"qrels": "q1\td1\t0\n"}, ["grade 1 or more"]),
        ({"qrels": ""}, ["there are none"]),
        ({"queries": [{"_id": "q1", "text": "a"}, {"_id": "q1", "text": "a"}]}, ["line 2", "'q1'", "twice"]),
        ({"queries": [{"_id": "q1", "text": " "}]}, ["line 1", "'q1'", "none"]),
        ({"queries": [{"text": "a"}]}, ["line 1", "'_id'"]),
        ({"corpus": [{"_id": "d1", "text": "a"}, {"_id": "d1", "text": "b"}]}, ["line 2", "'d1'", "another text"]),
        ({"corpus": [{"_id": "d1", "text": "", "title": ""}]}, ["line 1", "neither"]),
        ({"corpus": '{"_id": "d1", "text": "a"}\n{"_id": '}, ["line 2", "whole JSON object"]),
        ({"corpus": ""}, ["is empty"]),
    ],
)
def test_bad_beir_folders_are_refused(write, files, words):
    refuses(beir(write, **files), *words)


def test_beir_files_that_are_missing_or_several(write):
    folder = beir(write)
    refuses(folder, "'retrieval'", kind="sts")
    (folder / "qrels" / "test.tsv").rename(folder / "qrels" / "old.tsv")
    assert one(folder).metadata.name == "hotels"  # the only one
    (folder / "qrels" / "new.tsv").write_text("")
    refuses(folder, "new.tsv, old.tsv")


def test_the_same_document_twice_is_one(write):
    corpus = [{"_id": "d1", "text": "a quiet room"}, {"_id": "d1", "text": "a quiet room"}, {"_id": "d2", "text": "b"}]
    assert len(one(beir(write, corpus=corpus)).dataset["default"]["test"]["corpus"]) == 2


def test_options_and_places_are_checked(write, tmp_path):
    path = write("pairs.csv", pairs())
    refuses(path, "kind must be one of", kind="similarity")
    refuses(path, "columns must map", columns={"first": "s1"})
    refuses(tmp_path / "nowhere", "not there")
    refuses(write("notes.txt", "hello"), "must end in")
    (tmp_path / "bare").mkdir()
    refuses(tmp_path / "bare", "holds none")
    alone = write("extra/distractors.csv", "document\na\n")
    refuses(alone.parent, "alone")
    write("x/a-train.csv", "text,label\n")
    refuses(write("x/a_train.csv", "text,label\n").parent, "one train file")


def test_lines_may_end_as_on_old_macs_and_cells_may_be_long(write):
    assert one(write("mac.csv", "s1,s2,score\ra,b,1\rc,d,2\r")).metadata.type == "STS"
    document = "a long text " * 20_000
    task = one(write("long.csv", f"query,document\nq,{document}\nr,short\n"))
    assert document in list(task.dataset["default"]["test"]["corpus"]["text"])


@pytest.mark.parametrize("name", ["queries.jsonl", "corpus.jsonl"])
def test_a_beir_folder_that_lacks_a_file_says_which(write, name):
    folder = beir(write)
    (folder / name).unlink()
    refuses(folder, name, "No such file")


def test_what_is_left_out_of_a_beir_folder_is_said(write):
    folder = beir(write)
    write("hotels/pairs.csv", pairs())
    write("hotels/notes.txt", "mine")
    with pytest.warns(UserWarning, match="left out pairs.csv$"):
        assert one(folder).metadata.type == "Retrieval"
