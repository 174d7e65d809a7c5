import json

import numpy as np
import pytest

mteb = pytest.importorskip("mteb", reason="the extra mteb is not installed")

from embedkit.errors import EmbedkitError, InputError, LockedIndexError, StorageError  # noqa: E402
from embedkit.evaluation.mteb import stored  # noqa: E402
from embedkit.evaluation.mteb.model import EncoderModel  # noqa: E402
from embedkit.evaluation.mteb.run import run  # noqa: E402
from embedkit.evaluation.results import read_results  # noqa: E402
from embedkit.evaluation.statistics import score  # noqa: E402

ALL = ("sts", "pairs", "classification", "retrieval")


@pytest.fixture
def tasks(make_task):
    return [make_task(kind) for kind in ALL]


def test_scores_are_mtebs_own_and_their_items_make_them_up(words, tasks, tmp_path):
    model = EncoderModel(words(), "mine")
    evaluation = run(model, tasks, tmp_path)
    mine = evaluation.models[0]
    assert mine.name == "local/mine"
    assert not evaluation.failed
    for task in tasks:
        name = task.metadata.name
        theirs = mteb.evaluate(model, task, cache=None, show_progress_bar=False, co2_tracker=False)
        assert mine.tasks[name].score == pytest.approx(theirs.task_results[0].get_score(), abs=1e-6)
        assert score(mine.tasks[name].items) == pytest.approx(mine.tasks[name].score, abs=1e-5)  # mteb rounds
        assert mine.tasks[name].kept.metric == task.metadata.main_score


def test_the_floors_stand_beside_the_model(make_encoder, tasks, tmp_path):
    models = run(EncoderModel(make_encoder("bert"), "mine"), tasks, tmp_path).models
    assert [model.name for model in models] == [
        "local/mine",
        "floor/random",
        "floor/tfidf",
        "floor/untrained-mine",
        "floor/bm25",
    ]
    searched = {model.name: "TinyRetrieval" in model.tasks for model in models}
    assert searched == {
        "local/mine": True,
        "floor/random": True,
        "floor/tfidf": False,  # BM25 stands for it
        "floor/untrained-mine": True,
        "floor/bm25": True,
    }
    bm25 = next(model for model in models if model.name == "floor/bm25")
    assert bm25.tasks["TinyRetrieval"].score > 0.9


def test_a_second_run_encodes_nothing(words, tasks, tmp_path):
    encoder = words()
    first = run(EncoderModel(encoder, "mine"), tasks, tmp_path)
    calls = encoder.calls
    second = run(EncoderModel(encoder, "mine"), tasks, tmp_path)
    assert encoder.calls == calls
    assert [m.tasks.keys() for m in first.models] == [m.tasks.keys() for m in second.models]
    run(EncoderModel(encoder, "mine"), tasks, tmp_path, overwrite=True)
    assert encoder.calls > calls


def test_two_models_of_one_name_do_not_answer_for_each_other(words, make_task, tmp_path):
    """mteb gives all local models one name and one revision, and the second gets the first one's score."""
    scores = {}
    for dim in (64, 3):
        models = run(EncoderModel(words(dim=dim), "mine"), [make_task()], tmp_path, floors=()).models
        scores[dim] = models[0].tasks["TinySts"].score
    assert scores[64] != scores[3]
    assert len(read_results(tmp_path)) == 2


def test_encode_options_have_a_place_of_their_own(make_encoder, make_task, tmp_path):
    encoder = make_encoder("bert")
    for options in ({}, {"truncate_dim": 4}, {"num_layers": 1}):
        run(EncoderModel(encoder, "mine", **options), [make_task()], tmp_path, floors=())
    assert [model.label for model in read_results(tmp_path)] == [
        "local/mine",
        "local/mine (num_layers=1)",
        "local/mine (truncate_dim=4)",
    ]


def test_other_data_under_the_same_name_are_run_again(words, make_task, tmp_path):
    encoder = words()
    run(EncoderModel(encoder, "mine"), [make_task()], tmp_path, floors=())
    calls = encoder.calls
    changed = make_task()
    columns = changed.dataset["default"]["test"].to_dict()
    columns["score"] = columns["score"][::-1]
    models = run(EncoderModel(encoder, "mine"), [make_task(content={"test": columns})], tmp_path, floors=()).models
    assert encoder.calls > calls
    np.testing.assert_array_equal(models[0].tasks["TinySts"].items[0].columns["target"], columns["score"])


def test_an_interruption_costs_only_the_task_it_met(words, tasks, tmp_path):
    class Interrupted(words):
        def encode(self, inputs, **options):
            if self.calls == 3:
                self.calls += 1
                raise KeyboardInterrupt
            return super().encode(inputs)

    encoder = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        run(EncoderModel(encoder, "mine"), tasks, tmp_path, floors=())
    finished = read_results(tmp_path)[0].tasks
    before = encoder.calls
    models = run(EncoderModel(encoder, "mine"), tasks, tmp_path, floors=()).models
    assert len(finished) == 1
    assert len(models[0].tasks) == len(tasks)
    fresh = words()
    run(EncoderModel(fresh, "fresh"), tasks, tmp_path, floors=())
    assert encoder.calls - before < fresh.calls  # the finished task was not run twice


def test_a_half_written_result_is_set_aside_and_made_anew(words, make_task, tmp_path):
    encoder, task = words(), make_task()
    whole = run(EncoderModel(encoder, "mine"), [task], tmp_path, floors=()).models[0].tasks["TinySts"]
    whole.path.write_text(whole.path.read_text()[:100])
    again = run(EncoderModel(encoder, "mine"), [task], tmp_path, floors=()).models[0].tasks["TinySts"]
    assert again.score == whole.score
    assert whole.path.with_suffix(".damaged").is_file()


def test_what_an_earlier_run_left_half_written_is_dropped(words, make_task, tmp_path):
    model, task = EncoderModel(words(), "mine"), make_task()
    with pytest.raises(KeyboardInterrupt), stored.staging(tmp_path, task, model.mteb_model_meta) as root:
        (root / "results").mkdir()
        (root / "results" / "torn.json").write_text('{"half')
        raise KeyboardInterrupt
    assert run(model, [task], tmp_path, floors=()).models[0].tasks
    assert not (tmp_path / ".unfinished").exists()


def test_a_second_process_is_told_to_wait(words, make_task, tmp_path):
    model, task = EncoderModel(words(), "mine"), make_task()
    with stored.staging(tmp_path, task, model.mteb_model_meta), pytest.raises(LockedIndexError, match="wait for it"):
        run(model, [task], tmp_path, floors=())


def test_one_task_that_fails_does_not_cost_the_others(words, make_task, tmp_path):
    class Moody(words):
        def encode(self, inputs, **options):
            vectors = super().encode(inputs)
            return vectors * np.nan if "barks" in " ".join(inputs) else vectors

    evaluation = run(EncoderModel(Moody(), "mine"), [make_task("retrieval"), make_task("sts")], tmp_path, floors=())
    assert list(evaluation.failed) == ["TinyRetrieval"]
    assert "NaN" in evaluation.failed["TinyRetrieval"]
    assert list(evaluation.models[0].tasks) == ["TinySts"]
    with pytest.raises(EmbedkitError, match="no task could be run: TinyRetrieval: encode must give finite vectors"):
        run(EncoderModel(Moody(), "mine"), [make_task("retrieval")], tmp_path, floors=())


def test_a_score_that_is_no_number_is_a_failure(words, make_task, tmp_path):
    class Constant(words):
        def encode(self, inputs, **options):
            return np.ones((len(inputs), 4), dtype=np.float32)

    with pytest.raises(EmbedkitError, match="is not a number on test, default: all scores are equal"):
        run(EncoderModel(Constant(dim=4), "mine"), [make_task()], tmp_path, floors=())


def test_a_hub_that_cannot_be_reached_is_named(words, make_task, tmp_path):
    task = make_task()
    task.data_loaded = False

    def load_data(**options):
        message = "Couldn't reach the hub"
        raise ConnectionError(message)

    task.load_data = load_data
    with pytest.raises(EmbedkitError, match="cannot be reached; 'embedkit tasks' lists what runs offline"):
        run(EncoderModel(words(), "mine"), [task], tmp_path, floors=())


def test_no_task_and_two_of_one_name_are_refused(words, make_task, tmp_path):
    with pytest.raises(InputError, match="received none"):
        run(EncoderModel(words(), "mine"), [], tmp_path)
    with pytest.raises(InputError, match="no name twice; received TinySts"):
        run(EncoderModel(words(), "mine"), [make_task(), make_task()], tmp_path)
    with pytest.raises(InputError, match="floors are random, tfidf, untrained; received chance"):
        run(EncoderModel(words(), "mine"), [make_task()], tmp_path, floors=["chance"])


def test_the_files_are_those_mteb_reads(words, tasks, tmp_path):
    model = EncoderModel(words(), "mine", truncate_dim=None)
    run(model, tasks, tmp_path, floors=())
    loaded = mteb.ResultCache(tmp_path).load_task_result("TinySts", model.mteb_model_meta)
    assert loaded.get_score() == read_results(tmp_path)[0].tasks["TinySts"].score
    place = read_results(tmp_path)[0].tasks["TinySts"].path.parent
    settings = [json.loads(line) for line in (place / "run_settings.jsonl").read_text().splitlines()]
    assert {entry["task"] for entry in settings} == {task.metadata.name for task in tasks}
    run(model, tasks, tmp_path, floors=(), overwrite=True)
    assert len((place / "run_settings.jsonl").read_text().splitlines()) == len(settings)


def test_examples_are_the_worst_first(words, make_task, tmp_path):
    task = make_task("retrieval")
    items = run(EncoderModel(words(), "mine"), [task], tmp_path, floors=()).models[0].tasks["TinyRetrieval"].items[0]
    assert items.ids == ("q1", "q2", "q3")
    assert items.unit == "query"
    scores = [float(example["ndcg_at_10"]) for example in items.examples]
    assert scores == sorted(scores)
    cat = next(example for example in items.examples if example["query"] == "cat")
    assert (cat["expected"], cat["found first"]) == ("a cat", "a cat")


def test_a_result_whose_items_are_torn_is_made_anew(words, make_task, tmp_path):
    encoder, task = words(), make_task()
    path = run(EncoderModel(encoder, "mine"), [task], tmp_path, floors=()).models[0].tasks["TinySts"].path
    items = path.parent / "items" / path.name
    whole = items.read_text()
    items.write_text(whole[:100])
    again = run(EncoderModel(encoder, "mine"), [task], tmp_path, floors=()).models[0].tasks["TinySts"]
    assert len(again.items[0]) == 10
    assert items.read_text() == whole


def test_a_result_without_a_score_is_made_anew(words, make_task, tmp_path):
    encoder, task = words(), make_task()
    whole = run(EncoderModel(encoder, "mine"), [task], tmp_path, floors=()).models[0].tasks["TinySts"]
    stored = json.loads(whole.path.read_text())
    stored["scores"]["test"][0]["main_score"] = None
    whole.path.write_text(json.dumps(stored))
    again = run(EncoderModel(encoder, "mine"), [task], tmp_path, floors=()).models[0].tasks["TinySts"]
    assert again.score == whole.score


def test_half_a_line_of_settings_is_dropped(words, make_task, tmp_path):
    model = EncoderModel(words(), "mine")
    path = run(model, [make_task()], tmp_path, floors=()).models[0].tasks["TinySts"].path
    settings = path.with_name("run_settings.jsonl")
    settings.write_text(settings.read_text() + '{"task": "Ti')
    run(model, [make_task("pairs")], tmp_path, floors=())
    tasks = [json.loads(line)["task"] for line in settings.read_text().splitlines()]
    assert sorted(tasks) == ["TinyPairs", "TinySts"]


def test_results_that_cannot_be_written_stop_the_run_at_once(words, make_task, tmp_path):
    encoder, file = words(), tmp_path / "results"
    file.write_text("mine")
    with pytest.raises(StorageError, match="results cannot be kept in the folder"):
        run(EncoderModel(encoder, "mine"), [make_task(), make_task("pairs")], file)
    assert (encoder.calls, file.read_text()) == (0, "mine")


def test_a_floor_that_cannot_run_is_named(words, make_task, tmp_path, monkeypatch):
    def broken(texts):
        message = "no words"
        raise InputError(message)

    monkeypatch.setattr("embedkit.evaluation.mteb.floor.TfidfEncoder", broken)
    evaluation = run(EncoderModel(words(), "mine"), [make_task()], tmp_path, floors=("random", "tfidf"))
    assert evaluation.floors_failed == {"tfidf": {"TinySts": "no words"}}
    assert [model.name for model in evaluation.models] == ["local/mine", "floor/random"]
    assert not evaluation.failed


def unreachable(task, loads):
    """A task whose data are on a hub that does not answer."""
    from datasets import config

    def load_data(**options):
        loads.append(config.HF_HUB_OFFLINE)
        message = "Couldn't reach the hub"
        raise ConnectionError(message)

    task.data_loaded, task.load_data = False, load_data
    return task


def test_floors_of_a_result_that_is_there_do_not_need_the_hub(words, make_task, tmp_path):
    model, loads = EncoderModel(words(), "mine"), []
    run(model, [make_task()], tmp_path, floors=())
    evaluation = run(model, [unreachable(make_task(), loads)], tmp_path, floors=("random",))
    assert list(evaluation.models[0].tasks) == ["TinySts"]
    assert "cannot be reached" in evaluation.floors_failed["random"]["TinySts"]


def test_a_lost_hub_is_waited_for_twice(words, make_task, tmp_path):
    from datasets import config

    loads, before = [], config.HF_HUB_OFFLINE
    tasks = [unreachable(make_task(name=f"Far{i}"), loads) for i in range(4)]
    with pytest.raises(EmbedkitError, match="no task could be run: Far0, Far1, Far2, Far3: its data is on the hub"):
        run(EncoderModel(words(), "mine"), tasks, tmp_path)
    assert [*loads, config.HF_HUB_OFFLINE] == [before, before, True, True, before]
