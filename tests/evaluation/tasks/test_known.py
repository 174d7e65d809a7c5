"""Known data sets: parsers on files written here, and the real ones where they are."""

import json

import pytest

from embedkit.errors import InputError

pytest.importorskip("mteb", reason="mteb is not installed")

from embedkit.evaluation.tasks.cranfield import read_cranfield
from embedkit.evaluation.tasks.known import KNOWN, known_task, known_tasks

COUNTS = {
    "AGNewsTopics": {"test": 7_600},
    "Banking77Classification": {"train": 10_003, "test": 3_080},
    "CLINC150Intents": {"train": 15_000, "test": 4_500},
    "CustomerReviews": {"test": 3_771},  # 3,775 lines, four of them without a text
    "MedicalAbstracts": {"test": 2_888},
    "MovieReviews": {"test": 10_662},
    "NLUppBanking": {"train": 1_039, "test": 1_032},
    "NLUppHotels": {"train": 503, "test": 506},
    "OpinionPolarity": {"test": 10_603},  # 10,606 lines, three of them without a text
    "STS12WithoutMSRvid": {"test": 2_358},  # mteb's 3,108 less 750 of MSRvid
    "STS13": {"test": 1_500},
    "STS14": {"test": 3_750},
    "STSBenchmark": {"test": 1_379},
    "StanfordSentiment": {"train": 6_920, "test": 1_821},
    "Subjectivity": {"test": 10_000},
    "TRECQuestions": {"train": 5_452, "test": 500},
}


@pytest.fixture
def texts(tmp_path):
    """A function that writes the files of a data set where they are looked for."""

    def put(folder, files):
        for name, content in files.items():
            path = tmp_path / "text" / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return tmp_path

    return put


# -- parsers, without the data -------------------------------------------------------------------------


def test_sts_benchmark_is_mtebs_task_on_local_rows(texts, run):
    from mteb.tasks.sts.eng.sts_benchmark_sts import STSBenchmarkSTS

    folder = texts("stsb", {"stsb-en-test.csv": 'a cat,"a cat, a dog",4\na cow,the moon,0.5\none two,one,3\n'})
    task = known_task("STSBenchmark", folder)
    assert type(task) is STSBenchmarkSTS
    assert list(task.dataset["test"]["sentence2"]) == ["a cat, a dog", "the moon", "one"]
    assert task.metadata.revision.startswith("local-")
    assert STSBenchmarkSTS.metadata.revision != task.metadata.revision  # the class is as it was
    result = run(task)
    assert result.dataset_revision == task.metadata.revision
    assert result.scores["test"][0]["main_score"] == pytest.approx(1.0)
    assert (task.source, task.modality) == (str(folder / "text" / "stsb"), "text")
    again = known_task("STSBenchmark", texts("stsb", {"stsb-en-test.csv": "a cat,a dog,4\na cow,the moon,1\n"}))
    assert again.metadata.revision != task.metadata.revision


def test_pairs_without_a_score_are_left_out_and_quotes_kept(texts):
    parts = dict.fromkeys(("FNWN", "OnWN", "headlines"), '4.0\t"so\tit is\n\tno score\tfor this\n1\ta\tb\r\n')
    task = known_task("STS13", texts("semeval_sts/2013", {f"{part}.test.tsv": text for part, text in parts.items()}))
    assert list(task.dataset["test"]["sentence1"]) == ['"so', "a"] * 3
    assert list(task.dataset["test"]["sentence2"]) == ["it is", "b"] * 3


def test_lines_of_latin_1_end_at_newlines_only(texts):
    lines = "".join(f"{n % 2} caf\xe9 {n}\x85 still the same line\n" for n in range(20)) + "1 \n"
    task = known_task("MovieReviews", texts("sentconv", {"rt-polarity.all": lines.encode("latin-1")}))
    assert len(task.dataset["test"]) == 20
    assert task.dataset["test"]["text"][0] == "caf\xe9 0\x85 still the same line"


def test_utterances_without_intents_have_none(texts):
    fold = [{"text": "yes", "intents": ["affirm"]}, {"text": "hm"}, {"text": "no, stop", "intents": ["deny", "end"]}]
    files = {f"fold{n}.json": json.dumps(fold) for n in range(20)}
    task = known_task("NLUppHotels", texts("nlupp/hotels", files))
    assert task.dataset["train"]["label"][:3] == [[0], [], [1, 2]]
    assert len(task.dataset["train"]) == len(task.dataset["test"]) == 30


CRANFIELD = {
    "cran.all.1400": """.I 1
.T
wings
.A
someone
.B
a journal
.W
wings
 lift
.A
a slip that belongs to the text
.I 2
.T
.A
.B
.W
.I 3
.T
heat
.W
heat flows
""",
    "cran.qry": ".I 001\n.W\nwhat lifts a\nwing .\n.I 004\n.W\nhow does heat flow\n",
    "cranqrel": "1 1 1 \n1 2 3\n1 3 4\n2 3 2 \n2 1 -1\n",
}


def test_cranfield_counts_questions_by_position_and_grades_down(texts, run):
    folder = texts("ir_cranfield", CRANFIELD)
    found = read_cranfield(folder / "text" / "ir_cranfield")
    assert found.documents == {"1": ("", "wings lift a slip that belongs to the text"), "3": ("", "heat flows")}
    assert found.queries == {"1": "what lifts a wing .", "2": "how does heat flow"}
    assert found.relevant == {"1": {"1": 4, "3": 1}, "2": {"3": 3, "1": 1}}
    result = run(known_task("CranfieldRetrieval", folder))
    assert result.scores["test"][0]["main_score"] == pytest.approx(1.0)


@pytest.mark.parametrize("line", ["1 9 1", "7 1 1", "1 1 5", "1 1", "x y z"])
def test_cranfield_judgements_of_nothing_are_refused(texts, line):
    folder = texts("ir_cranfield", {**CRANFIELD, "cranqrel": f"1 1 1\n{line}\n"})
    with pytest.raises(InputError, match="line 2"):
        known_task("CranfieldRetrieval", folder)


def test_only_what_is_there_is_listed(texts, tmp_path):
    assert known_tasks(tmp_path / "nowhere") == []
    folder = texts("trec", {"TREC.train": b"LOC:city Where ?\n"})
    assert known_tasks(folder) == []
    with pytest.raises(InputError, match=r"TREC\.test is not there; EMBEDKIT_DATA"):
        known_task("TRECQuestions", folder)
    texts("trec", {"TREC.test": b"LOC:city Where ?\n"})
    assert known_tasks(folder) == ["TRECQuestions"]


def test_the_folder_comes_from_the_environment(texts, monkeypatch):
    folder = texts("trec", {"TREC.train": b"", "TREC.test": b""})
    monkeypatch.setenv("EMBEDKIT_DATA", str(folder))
    assert known_tasks() == ["TRECQuestions"]


def test_unknown_names_are_answered_with_near_ones(tmp_path):
    with pytest.raises(InputError, match="'TRECQuestion': did you mean TRECQuestions"):
        known_task("TRECQuestion", tmp_path)
    with pytest.raises(InputError, match="NFCorpus"):
        known_task("NFCorpu", tmp_path)
    with pytest.raises(InputError, match="choose from"):
        known_task("zzzzzzzz", tmp_path)


@pytest.mark.parametrize(
    ("name", "folder", "files"),
    [
        ("STSBenchmark", "stsb", {"stsb-en-test.csv": "a,b\n"}),
        ("STSBenchmark", "stsb", {"stsb-en-test.csv": "a,b,high\n"}),
        ("CLINC150Intents", "clinc150", {"data_full.json": "{}"}),
        ("CLINC150Intents", "clinc150", {"data_full.json": "{half"}),
    ],
)
def test_other_files_of_the_same_name_are_refused(texts, name, folder, files):
    with pytest.raises(InputError, match=f"must hold the data set of {name}"):
        known_task(name, texts(folder, files))


# -- the data ------------------------------------------------------------------------------------------


@pytest.fixture
def known(data_folder):
    """A function giving a known task, or skipping where its files are absent."""

    def load(name):
        if name not in known_tasks(data_folder):
            pytest.skip(f"the files of {name} are not there")
        return known_task(name, data_folder)

    return load


@pytest.mark.data
@pytest.mark.parametrize("name", sorted(COUNTS))
def test_rows_are_as_many_as_published(known, name):
    assert {split: len(rows) for split, rows in known(name).dataset.items()} == COUNTS[name]


@pytest.mark.data
def test_banking77_numbers_its_labels_as_the_hub_does(known):
    label = known("Banking77Classification").dataset["test"].features["label"]
    assert len(label.names) == 77
    assert label.str2int("card_arrival") == 11  # mteb's statistics of the hub's copy begin with label 11
    assert label.int2str(51) == "Refund_not_showing_up"


@pytest.mark.data
@pytest.mark.parametrize("name", ["STSBenchmarkMultilingualSTS", "SIB200Classification", "Banking77Classification"])
def test_texts_are_those_mteb_counted(known, name):
    """As many rows and characters as in the statistics that mteb keeps of the hub's copy."""
    task = known(name)
    column = "sentence1" if task.metadata.type == "STS" else "text"
    checked = 0
    for split, stored in task.metadata.descriptive_stats.items():
        subsets = stored.get("hf_subset_descriptive_stats") or {"default": stored}
        for subset, counts in subsets.items():
            if subset in task.hf_subsets:
                texts = (task.dataset if subset == "default" else task.dataset[subset])[split][column]
                kept = counts["text1_statistics" if column == "sentence1" else "text_statistics"]
                assert (len(texts), sum(map(len, texts))) == (counts["num_samples"], kept["total_text_length"])
                checked += 1
    assert checked >= 2


@pytest.mark.data
def test_sib200_is_in_twelve_languages(known):
    task = known("SIB200Classification")
    assert len(task.hf_subsets) == len(task.metadata.hf_subsets) == 12
    assert list(task.eval_splits) == ["train", "validation", "test"]
    assert {len(splits["test"]) for splits in task.dataset.values()} == {204}


@pytest.mark.data
def test_cranfield_is_whole(known):
    data = known("CranfieldRetrieval").dataset["default"]["test"]
    assert (len(data["corpus"]), len(data["queries"])) == (1_398, 225)
    assert sum(map(len, data["relevant_docs"].values())) == 1_836


@pytest.mark.data
@pytest.mark.parametrize("name", ["CranfieldRetrieval", "STS13", pytest.param("NLUppHotels", marks=pytest.mark.slow)])
def test_real_data_run_to_a_score(known, run, name):
    assert 0 < run(known(name)).scores["test"][0]["main_score"] < 1


@pytest.mark.data
@pytest.mark.slow
def test_a_language_that_mteb_does_not_list_is_run(known, run):
    task = known("SIB200Classification").filter_languages(["arb", "eng"]).filter_eval_splits(["test"])
    found = {entry["hf_subset"]: entry for entry in run(task).scores["test"]}
    assert set(found) == {"arb_Arab", "eng_Latn"}
    assert found["arb_Arab"]["languages"] == ["arb-Arab"]
    assert found["eng_Latn"]["main_score"] > 1 / 7


def test_every_known_task_says_where_it_is():
    assert all(known.folder and known.files for known in KNOWN.values())
    assert {"STS12", "AGNewsTopics", *COUNTS} <= set(KNOWN)
