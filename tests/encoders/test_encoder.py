"""What is beyond the conformance suite: options of sentence-transformers, training, memory, processes, real data."""

import copy
import csv
import os
import pickle
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.base.modules import Normalize, Transformer
from sentence_transformers.sentence_transformer.evaluation import EmbeddingSimilarityEvaluator
from sentence_transformers.sentence_transformer.losses import CoSENTLoss, MultipleNegativesRankingLoss
from sentence_transformers.sentence_transformer.modules import Pooling

import embedkit as ek
from embedkit import Encoder
from embedkit.encoders.readout import read_tokens
from embedkit.errors import EmbedkitError, ForkedProcessError, InputError, ModelError

TEXTS = ["a cat sat on the mat", "the dog barks", "the bird sings", "one two three", "a cat sat on the mat"]


def theirs(encoder, **options):
    return SentenceTransformer(modules=list(encoder), device="cpu", **options)


def assert_close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=2e-6)


# -- options of sentence-transformers ------------------------------------------------------------------


def test_a_tensor_on_request(make_encoder):
    encoder = make_encoder()
    for inputs, shape in ((TEXTS, (5, 32)), (TEXTS[0], (32,)), ([], (0, 32))):
        tensor = encoder.encode(inputs, convert_to_tensor=True)
        assert torch.is_tensor(tensor)
        assert tensor.shape == shape
        assert tensor.dtype == torch.float32
        np.testing.assert_array_equal(tensor.numpy(), encoder.encode(inputs))


def test_a_list_of_tensors_on_request(make_encoder):
    encoder = make_encoder()
    tensors = encoder.encode(TEXTS, convert_to_numpy=False)
    assert isinstance(tensors, list)
    np.testing.assert_array_equal(torch.stack(tensors).numpy(), encoder.encode(TEXTS))


@pytest.mark.parametrize("precision", ["int8", "uint8", "binary", "ubinary"])
def test_other_precisions_are_those_of_sentence_transformers(make_encoder, precision):
    encoder = make_encoder()
    found = encoder.encode(TEXTS, precision=precision)
    expected = theirs(encoder).encode(TEXTS, precision=precision)
    assert found.dtype == expected.dtype
    assert np.abs(found.astype(int) - expected.astype(int)).max() <= 1


def test_token_embeddings_are_those_of_sentence_transformers(make_encoder):
    encoder = make_encoder()
    found = encoder.encode(TEXTS, output_value="token_embeddings")
    for one, other in zip(found, theirs(encoder).encode(TEXTS, output_value="token_embeddings"), strict=True):
        assert_close(one.numpy(), other.numpy())


def test_all_features_are_those_of_sentence_transformers(make_encoder):
    encoder = make_encoder()
    features = encoder.encode(TEXTS, output_value=None)
    assert len(features) == len(TEXTS)
    assert_close(torch.stack([one["sentence_embedding"] for one in features]).numpy(), encoder.encode(TEXTS))


def test_naming_the_plain_options_changes_nothing(make_encoder):
    encoder = make_encoder()
    options = {"output_value": "sentence_embedding", "precision": "float32", "convert_to_numpy": True, "pool": None}
    np.testing.assert_array_equal(encoder.encode(TEXTS, **options), encoder.encode(TEXTS))


def test_naming_the_device_changes_nothing(make_encoder):
    encoder = make_encoder()
    for options in ({}, {"truncate_dim": 8}, {"num_layers": 2}, {"prompt": "the ", "normalize_embeddings": True}):
        assert_close(encoder.encode(TEXTS, device="cpu", **options), encoder.encode(TEXTS, **options))
    assert encoder.encode([], device="cpu").shape == (0, 32)
    with pytest.raises(InputError):
        encoder.encode([None], device="cpu")


@pytest.mark.parametrize("option", [{"precision": "int8"}, {"output_value": "token_embeddings"}])
def test_a_depth_is_never_silently_left_out(make_encoder, option):
    encoder = make_encoder()
    shallow = Encoder([*encoder], device="cpu")
    shallow[0].model.encoder.layer = shallow[0].model.encoder.layer[:2]
    expected = theirs(shallow).encode(TEXTS, **option)
    encoder = make_encoder()
    try:
        found = encoder.encode(TEXTS, num_layers=2, **option)
    except InputError:
        return
    for one, other in zip(found, expected, strict=True):
        assert_close(np.asarray(one), np.asarray(other))


@pytest.mark.parametrize("value", [True, None, 1])
def test_an_unknown_option_is_refused(make_encoder, value):
    with pytest.raises((TypeError, ValueError), match="normalise"):
        make_encoder().encode(TEXTS, normalise=value)


def test_a_prompt_may_be_the_default(make_encoder):
    encoder = make_encoder(prompts={"sits": "the cat sat on "}, default_prompt_name="sits")
    assert_close(encoder.encode("a mat"), make_encoder().encode("the cat sat on a mat"))
    assert_close(encoder.encode("a mat", prompt=""), make_encoder().encode("a mat"))


def test_a_width_may_be_the_default(make_encoder):
    encoder = make_encoder(truncate_dim=8)
    assert encoder.get_embedding_dimension() == 8
    assert encoder.encode(TEXTS).shape == (5, 8)
    assert encoder.encode([]).shape == (0, 8)
    assert encoder.encode(TEXTS, truncate_dim=16).shape == (5, 16)
    assert_close(encoder.encode(TEXTS), make_encoder().encode(TEXTS, truncate_dim=8))


def test_the_default_width_survives_concurrent_empty_batches(make_encoder):
    encoder = make_encoder(truncate_dim=8)
    stop, widths = threading.Event(), set()

    def encode_nothing():
        while not stop.is_set():
            encoder.encode([])

    other = threading.Thread(target=encode_nothing)
    other.start()
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline:
        widths.add(encoder.truncate_dim)
    stop.set()
    other.join()
    assert widths == {8}


def test_modules_are_asked_for_and_not_a_name():
    with pytest.raises(InputError, match=r"use embedkit\.load"):
        Encoder("all-MiniLM-L6-v2")


def test_a_pooling_is_asked_for(make_encoder):
    with pytest.raises(ModelError, match="add a pooling"):
        Encoder([make_encoder()[0]], device="cpu").encode("a cat")


def test_vectors_are_float32_whatever_the_weights_are(make_encoder):
    expected = make_encoder().encode(TEXTS)
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        vectors = make_encoder().to(dtype).encode(TEXTS)
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(vectors, expected, rtol=0, atol=0.05)


def test_no_gradient_is_kept(make_encoder):
    encoder = make_encoder()
    assert not encoder.encode(TEXTS, convert_to_tensor=True).requires_grad
    assert all(weight.grad is None for weight in encoder.parameters())


def test_similarities_of_vectors(make_encoder):
    encoder = make_encoder()
    similarity = encoder.similarity(encoder.encode(TEXTS[:1]), encoder.encode(TEXTS))
    assert similarity[0, 0] == pytest.approx(1, abs=1e-6)
    assert similarity.shape == (1, 5)


# -- windows -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [1, 2, 3, 100])
def test_windows_do_not_change_vectors(make_encoder, monkeypatch, window):
    encoder = make_encoder()
    expected = encoder.encode(TEXTS)
    monkeypatch.setattr("embedkit.encoders.encoder.WINDOW", window)
    assert_close(encoder.encode(TEXTS), expected)
    assert_close(encoder.encode(TEXTS, truncate_dim=4, num_layers=2).shape, (5, 4))


# -- memory --------------------------------------------------------------------------------------------


def fail_over(encoder, rows, error):
    """Let the first module fail for batches of more than so many rows; gives the sizes that were tried."""
    tried = []

    def fail(_, inputs):
        tried.append(len(inputs[0]["input_ids"]))
        if tried[-1] > rows:
            raise error

    encoder[0].register_forward_pre_hook(fail)
    return tried


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_a_batch_that_does_not_fit_is_halved(make_encoder, error):
    encoder, texts = make_encoder(), [f"text number {number}" for number in range(11)]
    expected = encoder.encode(texts)
    tried = fail_over(encoder, 2, error)
    assert_close(encoder.encode(texts), expected)
    assert max(tried) == 11
    assert sum(size for size in tried if size <= 2) == 11


def test_an_input_that_does_not_fit_alone_says_so(make_encoder):
    encoder = make_encoder()
    fail_over(encoder, 0, torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(EmbedkitError, match="one input of 4 tokens does not fit in memory"):
        encoder.encode(["a cat", "the dog"])


def test_other_failures_are_not_taken_for_lack_of_memory(make_encoder):
    encoder = make_encoder()
    tried = fail_over(encoder, 2, RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes do not match"):
        encoder.encode(TEXTS)
    assert tried == [4]


def test_the_encoder_works_after_a_failure(make_encoder):
    encoder = make_encoder()
    expected = encoder.encode(TEXTS)
    broken = encoder[0].register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        encoder.encode(TEXTS)
    broken.remove()
    np.testing.assert_array_equal(encoder.encode(TEXTS), expected)


# -- processes -----------------------------------------------------------------------------------------


def outcome_in_child(call):
    """What `call` does in a forked child: the name of its error, "returned", or "hangs"."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            call()
            name = "returned"
        except BaseException as error:
            name = type(error).__name__
        os.write(writing, name.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        watchdog = threading.Timer(2, os.kill, (child, signal.SIGKILL))
        watchdog.start()
        name = pipe.read()
        watchdog.cancel()
    os.waitpid(child, 0)
    return name or "hangs"


MANY = [f"{'the cat sat on the mat ' * 10} {number}" for number in range(64)]

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize(
    "call",
    [
        lambda encoder: encoder.encode(MANY),
        lambda encoder: encoder.encode(MANY, precision="int8"),
        lambda encoder: encoder.encode(MANY, output_value="token_embeddings"),
        lambda encoder: copy.deepcopy(encoder).encode(MANY),
        lambda encoder: read_tokens(encoder, MANY),
    ],
    ids=["encode", "int8", "token embeddings", "copy", "read-out"],
)
def test_a_forked_child_gets_an_error_and_does_not_hang(make_encoder, call):
    encoder = make_encoder()
    encoder.encode(MANY)
    assert outcome_in_child(lambda: call(encoder)) == ForkedProcessError.__name__


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_an_encoder_that_was_not_used_itself_hangs_as_little(make_encoder):
    used, unused = make_encoder(), make_encoder()
    used.encode(MANY)
    assert outcome_in_child(lambda: unused.encode(MANY)) == ForkedProcessError.__name__


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_reading_tokens_counts_as_use(make_encoder):
    encoder = make_encoder()
    read_tokens(encoder, MANY)
    assert outcome_in_child(lambda: encoder.encode(MANY)) == ForkedProcessError.__name__


def test_a_pickled_encoder_is_whole(make_encoder):
    encoder = make_encoder(prompts={"query": "a "}, truncate_dim=8)
    expected = encoder.encode(TEXTS)
    twin = pickle.loads(pickle.dumps(encoder))
    np.testing.assert_array_equal(twin.encode(TEXTS), expected)
    assert twin.fingerprint == encoder.fingerprint
    assert twin.prompts["query"] == "a "


@pytest.mark.slow
def test_a_used_encoder_works_in_a_spawned_process(make_encoder, tmp_path):
    encoder = make_encoder()
    expected = encoder.encode(TEXTS)
    (tmp_path / "pickled").write_bytes(pickle.dumps(encoder))
    np.save(tmp_path / "expected.npy", expected)
    code = (
        "import pickle, sys; import numpy as np; from pathlib import Path; folder = Path(sys.argv[1])\n"
        "vectors = pickle.loads((folder / 'pickled').read_bytes()).encode(sys.argv[2:])\n"
        "np.testing.assert_allclose(vectors, np.load(folder / 'expected.npy'), rtol=0, atol=2e-6)"
    )
    child = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), *TEXTS], capture_output=True, text=True, timeout=120, check=False
    )
    assert child.returncode == 0, child.stderr


# -- sentence-transformers -----------------------------------------------------------------------------


def test_an_evaluator_runs(make_encoder):
    first, second, scores = TEXTS[:4], TEXTS[1:], [0.1, 0.7, 0.3, 0.9]
    evaluator = EmbeddingSimilarityEvaluator(first, second, scores, write_csv=False)
    encoder = make_encoder()
    found, expected = evaluator(encoder), evaluator(theirs(encoder))
    assert found.keys() == expected.keys()
    assert found == pytest.approx(expected, abs=1e-6)


def train(encoder, folder, loss, columns, **options):
    from datasets import Dataset

    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(folder),
        max_steps=3,
        per_device_train_batch_size=4,
        learning_rate=0.01,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        logging_strategy="no",
        **options,
    )
    trainer = SentenceTransformerTrainer(
        model=encoder,
        args=arguments,
        train_dataset=Dataset.from_dict(columns),
        loss=loss(encoder),
        evaluator=EmbeddingSimilarityEvaluator(TEXTS[:4], TEXTS[1:], [0.1, 0.7, 0.3, 0.9], write_csv=False),
    )
    trainer.train()
    return trainer


PAIRS = {"first": TEXTS[:4] * 3, "second": TEXTS[1:] * 3}
GRADED = {**PAIRS, "score": [0.1, 0.7, 0.3, 0.9] * 3}


@pytest.mark.parametrize(("loss", "columns"), [(CoSENTLoss, GRADED), (MultipleNegativesRankingLoss, PAIRS)])
def test_training_changes_the_vectors(make_encoder, tmp_path, loss, columns):
    encoder = make_encoder()
    vectors, version = encoder.encode(TEXTS), encoder.fingerprint
    train(encoder, tmp_path, loss, columns, save_strategy="no")
    assert np.abs(encoder.encode(TEXTS) - vectors).max() > 1e-3
    assert encoder.fingerprint != version


def test_checkpoints_are_written_and_the_best_is_loaded(make_encoder, tmp_path):
    encoder = make_encoder()
    trainer = train(
        encoder,
        tmp_path / "run",
        CoSENTLoss,
        GRADED,
        save_strategy="steps",
        save_steps=1,
        eval_strategy="steps",
        eval_steps=1,
        load_best_model_at_end=True,
        metric_for_best_model="spearman_cosine",
    )
    best = trainer.state.best_model_checkpoint
    assert best is not None
    np.testing.assert_array_equal(ek.load(best, device="cpu").encode(TEXTS), encoder.encode(TEXTS))
    last = ek.load(tmp_path / "run" / "checkpoint-3", device="cpu")
    assert isinstance(last[-1], Normalize)


def test_the_final_model_leaves_the_checkpoints_beside_it_alone(make_encoder, tmp_path):
    encoder = make_encoder()
    trainer = train(encoder, tmp_path / "run", CoSENTLoss, GRADED, save_strategy="steps", save_steps=3)
    trainer.save_model(str(tmp_path / "run"))
    assert (tmp_path / "run" / "checkpoint-3" / "modules.json").is_file()
    np.testing.assert_array_equal(ek.load(tmp_path / "run", device="cpu").encode(TEXTS), encoder.encode(TEXTS))


def test_a_run_goes_on_from_a_checkpoint(make_encoder, tmp_path):
    options = {"save_strategy": "steps", "save_steps": 1}
    straight = make_encoder()
    train(straight, tmp_path / "run", CoSENTLoss, GRADED, **options)
    resumed = make_encoder()
    trainer = train(resumed, tmp_path / "other", CoSENTLoss, GRADED, save_strategy="no")
    trainer.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-2"))
    assert_close(resumed.encode(TEXTS), straight.encode(TEXTS))


def test_modules_of_sentence_transformers_and_the_other_way_round(make_encoder, checkpoint):
    plain = SentenceTransformer(modules=[Transformer(str(checkpoint("bert"))), Pooling(32, "mean")], device="cpu")
    encoder = Encoder(list(plain), device="cpu")
    assert isinstance(encoder, SentenceTransformer)
    assert_close(encoder.encode(TEXTS), plain.encode(TEXTS))


# -- progress ------------------------------------------------------------------------------------------


def test_a_bar_is_shown_on_request_only(make_encoder, capsys):
    encoder = make_encoder()
    capsys.readouterr()
    encoder.encode(TEXTS)
    encoder.encode(TEXTS, show_progress_bar=False)
    assert capsys.readouterr().err == ""
    encoder.encode(TEXTS, show_progress_bar=True)
    assert "encoding" in capsys.readouterr().err


# -- real data -----------------------------------------------------------------------------------------


@pytest.mark.data
@pytest.mark.slow
def test_the_default_encoder_scores_on_sts_b_what_is_published(default_encoder, data_folder):
    from scipy.stats import spearmanr

    path = data_folder / "text" / "stsb" / "stsb-en-test.csv"
    if not path.is_file():
        pytest.skip(f"no {path}")
    with path.open(encoding="utf-8", newline="") as file:
        first, second, scores = zip(*csv.reader(file), strict=True)
    assert len(scores) == 1379
    left, right = default_encoder.encode(first), default_encoder.encode(second)
    scores = [float(score) for score in scores]
    assert 100 * spearmanr((left * right).sum(axis=1), scores).statistic == pytest.approx(82.03, abs=0.1)
