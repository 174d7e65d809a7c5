"""Training changes the encoder, is repeatable, goes on where it was cut short, and refuses another model's run."""

import json
import random

import numpy as np
import pytest
import torch
from torch import nn

from embedkit.encoders.lora import LoRA, add_lora, merge_lora
from embedkit.errors import CorruptFileError, InputError
from embedkit.losses import CoSENTLoss, StarbucksLoss
from embedkit.training.adapter import CPU_VALUES, TensorLoss, parts_by_length
from embedkit.training.examples import as_dataset
from embedkit.training.fit import fit

TEXTS = ["a cat sat on the mat", "the dog barks", "red green blue", "one bird sings", "def return if not true"]
GRADED = [(TEXTS[i], TEXTS[j], float(i == j) + 0.1 * i) for i in range(5) for j in range(5)]


class SquaredError(nn.Module):
    """Cosine against score."""

    def forward(self, first, second, scores):
        return ((torch.cosine_similarity(first, second, dim=-1) - scores) ** 2).mean()


class FirstLayer(nn.Module):
    """Pulls the vectors behind the first layer together, and has a weight of its own."""

    by_layer = True

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, first, second, scores):
        assert first.shape == (4, len(scores), 32)
        return ((first[0] - second[0]) ** 2).mean() + (self.weight - scores.mean()) ** 2


def settings(**changes):
    return {"epochs": 1, "batch_size": 5, "learning_rate": 1e-3, "show_progress_bar": False, **changes}


def global_numpy():
    return np.random.get_state()[1].copy()  # noqa: NPY002 (what others may use)


def test_training_lowers_the_loss_and_leaves_the_encoder_in_evaluation_mode(make_encoder):
    encoder = make_encoder()
    before, version = encoder.encode(TEXTS), encoder.fingerprint
    done = fit(encoder, GRADED, SquaredError(), **settings(epochs=6))
    assert done.steps == done.best_step == 30
    assert done.losses[-1][1] < done.losses[0][1]
    assert np.abs(encoder.encode(TEXTS) - before).max() > 1e-3
    assert encoder.fingerprint != version
    assert not any(part.training for part in encoder.modules())


def test_equal_seeds_give_equal_encoders_and_leave_random_numbers_as_they_were(make_encoder):
    torch.manual_seed(3)
    state, python, numpy = torch.get_rng_state(), random.getstate(), global_numpy()
    one, two, other = make_encoder(), make_encoder(), make_encoder()
    for encoder, seed in ((one, 1), (two, 1), (other, 2)):
        fit(encoder, GRADED, SquaredError(), **settings(seed=seed))
    assert one.fingerprint == two.fingerprint != other.fingerprint
    assert torch.equal(torch.get_rng_state(), state)
    assert random.getstate() == python
    assert np.array_equal(global_numpy(), numpy)


def test_a_loss_by_layer_gets_what_encode_gives_at_each_depth(make_encoder):
    encoder = make_encoder()
    seen = []

    class Seen(nn.Module):
        def forward(self, stacked):
            seen.append(stacked)
            return stacked.sum()

    TensorLoss(encoder, Seen(), by_layer=True)([encoder.preprocess(TEXTS)]).backward()
    for depth, vectors in enumerate(seen[0].detach().numpy(), start=1):
        np.testing.assert_allclose(vectors, encoder.encode(TEXTS, num_layers=depth), atol=1e-6)
    assert all(p.grad is not None for name, p in encoder.named_parameters() if "pooler" not in name)


@pytest.mark.parametrize("by_layer", [False, True])
def test_texts_of_like_length_go_through_the_model_together_and_nothing_else_changes(
    make_encoder, monkeypatch, by_layer
):
    encoder = make_encoder()
    columns = [["a " * n for n in (1, 30, 2, 29)], ["b " * n for n in (3, 1, 31, 2)]]
    features = [encoder.preprocess(column) for column in columns]

    class Seen(torch.nn.Module):
        def forward(self, first, second):
            self.vectors = (first, second)
            return (first * second.roll(1, dims=-2)).sum()

    monkeypatch.setattr("embedkit.training.adapter.CPU_VALUES", 10**9)
    together = Seen()
    TensorLoss(encoder, together, by_layer=by_layer)(features).backward()
    gradients = [weight.grad.clone() for weight in encoder.parameters() if weight.grad is not None]

    encoder.zero_grad()
    monkeypatch.setattr("embedkit.training.adapter.CPU_VALUES", 1)
    widths = []
    watch = encoder[0].auto_model.embeddings.register_forward_hook(lambda *it: widths.append(it[2].shape[1]))
    parted = Seen()
    TensorLoss(encoder, parted, by_layer=by_layer)(features).backward()
    watch.remove()

    assert max(widths) > 2 * min(widths)
    for part, whole in zip(parted.vectors, together.vectors, strict=True):
        torch.testing.assert_close(part, whole, rtol=0, atol=1e-6)
    for part, whole in zip((w.grad for w in encoder.parameters() if w.grad is not None), gradients, strict=True):
        torch.testing.assert_close(part, whole, rtol=1e-4, atol=1e-6)


def test_the_narrower_a_model_the_more_rows_make_a_part(make_encoder, monkeypatch):
    encoder = make_encoder()
    features = encoder.preprocess(["a " * 14] * 64)  # 16 tokens each, and the model 32 wide
    (part,) = parts_by_length(features, encoder)
    assert len(part[0]) == 64
    monkeypatch.setattr(encoder[0], "get_embedding_dimension", lambda: CPU_VALUES // (16 * 8))
    assert [len(rows) for rows, _ in parts_by_length(features, encoder)] == [8] * 8
    assert [len(rows) for rows, _ in parts_by_length(features, encoder, bf16=True)] == [32] * 2
    assert [len(rows) for rows, _ in parts_by_length(features, nn.Linear(1, 1))] == [16] * 4  # as of MiniLM


def test_columns_that_cannot_be_joined_are_encoded_one_by_one(make_encoder):
    encoder = make_encoder()
    plain, prompted = encoder.preprocess(TEXTS), {**encoder.preprocess(TEXTS), "prompt_length": 2}
    left = encoder.preprocess(TEXTS)
    left = {name: value.flip(1) if isinstance(value, torch.Tensor) else value for name, value in left.items()}
    for columns in ([plain, prompted], [plain, left], [plain, {**plain, "prompt_length": 3}]):
        seen = []

        def loss(*vectors, seen=seen):
            seen.extend(vectors)
            return vectors[0].sum()

        TensorLoss(encoder, loss)(columns)
        for features, vectors in zip(columns, seen, strict=True):
            torch.testing.assert_close(vectors, encoder({**features})["sentence_embedding"])


def test_weights_of_a_loss_are_trained(make_encoder):
    loss = FirstLayer()
    fit(make_encoder(), GRADED, loss, **settings())
    assert loss.weight.item() != 1


def test_a_loss_of_sentence_transformers_is_taken_as_it_is(make_encoder):
    from sentence_transformers.sentence_transformer import losses

    encoder = make_encoder()
    version = encoder.fingerprint
    fit(encoder, GRADED, losses.CoSENTLoss(encoder), **settings())
    assert encoder.fingerprint != version


def test_products_in_bfloat16_take_larger_parts_of_a_batch_and_leave_weights_in_float32(make_encoder, monkeypatch):
    monkeypatch.setattr("embedkit.training.adapter.CPU_VALUES", 1)
    seen = {}
    for bf16 in (False, True):
        encoder, kinds = make_encoder(), []
        dense = encoder[0].auto_model.encoder.layer[0].output.dense
        dense.register_forward_hook(lambda *it, kinds=kinds: kinds.append(it[2].dtype))
        fit(encoder, GRADED, SquaredError(), **settings(max_steps=1, bf16=bf16))
        seen[bf16] = kinds
        assert {weight.dtype for weight in encoder.parameters()} == {torch.float32}
    assert seen == {False: [torch.float32] * 2, True: [torch.bfloat16]}


def test_bfloat16_ends_with_the_training_and_a_score_does_not_see_it(make_encoder):
    encoder, scores = make_encoder(), []

    def score(trained):
        scores.append((trained.encode(TEXTS), trained.encode(TEXTS, num_layers=1)))
        return 1.0

    fit(encoder, GRADED, SquaredError(), score=score, **settings(max_steps=1, bf16=True))
    fresh = make_encoder()
    fresh.load_state_dict(encoder.state_dict())
    for layers, scored in zip((None, 1), scores[-1], strict=True):
        expected = fresh.encode(TEXTS, num_layers=layers)
        np.testing.assert_array_equal(encoder.encode(TEXTS, num_layers=layers), expected)
        np.testing.assert_array_equal(scored, expected)

    with pytest.raises(CutShortError):
        fit(encoder, GRADED, Cut(SquaredError(), 1), **settings(bf16=True))
    assert "forward" not in vars(encoder)


def test_a_loss_by_layer_gets_every_layer_in_bfloat16_too(make_encoder):
    encoder, seen = make_encoder(), []
    for module in encoder.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        elif isinstance(module, nn.Linear):  # so that each layer changes much
            module.weight.data *= 8
    expected = torch.stack([torch.from_numpy(encoder.encode(TEXTS, num_layers=depth)) for depth in range(1, 5)])

    class Seen(FirstLayer):
        def forward(self, first, second, scores):
            seen.append(first.detach()[:, scores.argsort()])
            return super().forward(first, second, scores)

    numbered = [(text, text, float(number)) for number, text in enumerate(TEXTS)]
    fit(encoder, numbered, Seen(), **settings(max_steps=1, bf16=True))
    torch.testing.assert_close(seen[0], expected, rtol=0, atol=0.05)
    assert (expected[1:] - expected[:-1]).abs().amax(dim=(1, 2)).min() > 0.2
    assert not torch.equal(seen[0], expected)


class CutShortError(Exception):
    pass


class Cut(nn.Module):
    """Fails in one step."""

    def __init__(self, loss, step):
        super().__init__()
        self.loss, self._left = loss, step

    def __repr__(self):
        return repr(self.loss)

    def forward(self, *batch):
        self._left -= 1
        if self._left == 0:
            raise CutShortError
        return self.loss(*batch)


@pytest.mark.parametrize("lora", [None, LoRA(rank=2)])
def test_a_run_that_was_cut_short_goes_on_and_ends_where_it_would_have(make_encoder, tmp_path, lora):
    def train(step, folder, encoder=None):
        encoder = encoder or make_encoder()
        options = settings(epochs=3, evaluations=3, lora=lora)
        done = fit(encoder, GRADED, Cut(SquaredError(), step), folder=folder, **options)
        return encoder, done

    whole, _ = train(0, tmp_path / "whole")
    with pytest.raises(CutShortError):
        train(13, tmp_path / "cut")
    resumed, done = train(0, tmp_path / "cut")
    assert done.steps == 15
    np.testing.assert_allclose(resumed.encode(TEXTS), whole.encode(TEXTS), atol=1e-6)


def test_a_checkpoint_that_was_cut_short_is_passed_over(make_encoder, tmp_path):
    with pytest.raises(CutShortError):
        fit(make_encoder(), GRADED, Cut(SquaredError(), 13), folder=tmp_path, **settings(epochs=3))
    (tmp_path / "checkpoint-10" / "trainer_state.json").unlink()
    assert fit(make_encoder(), GRADED, SquaredError(), folder=tmp_path, **settings(epochs=3)).steps == 15


def test_a_damaged_checkpoint_says_so(make_encoder, tmp_path):
    with pytest.raises(CutShortError):
        fit(make_encoder(), GRADED, Cut(SquaredError(), 8), folder=tmp_path, **settings(epochs=3))
    file = tmp_path / "checkpoint-5" / "training.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(CorruptFileError, match="remove it"):
        fit(make_encoder(), GRADED, SquaredError(), folder=tmp_path, **settings(epochs=3))


def test_a_run_of_another_model_data_or_settings_is_refused(make_encoder, tmp_path):
    fit(make_encoder(), GRADED, SquaredError(), folder=tmp_path, **settings())
    recorded = json.loads((tmp_path / "fit.json").read_text())
    assert set(recorded) == {"encoder", "examples", "loss", "options"}
    version = (other := make_encoder("modernbert")).fingerprint
    with pytest.raises(InputError, match="differ in encoder"):
        fit(other, GRADED, SquaredError(), folder=tmp_path, **settings())
    assert other.fingerprint == version
    with pytest.raises(InputError, match="differ in examples"):
        fit(make_encoder(), GRADED[1:], SquaredError(), folder=tmp_path, **settings(max_steps=5))
    with pytest.raises(InputError, match="differ in options"):
        fit(make_encoder(), GRADED, SquaredError(), folder=tmp_path, **settings(learning_rate=1e-4))


def test_the_best_weights_are_kept_and_training_stops_early(make_encoder):
    encoder = make_encoder()
    scores, seen = iter([0.1, 0.9, 0.5, 0.4, 0.3, 0.2]), []

    def score(trained):
        seen.append(trained.encode(TEXTS))
        return next(scores)

    done = fit(encoder, GRADED, SquaredError(), score=score, patience=2, **settings(epochs=6))
    assert [value for _, value in done.scores] == [0.1, 0.9, 0.5, 0.4]
    assert (done.best_step, done.steps) == (10, 20)
    np.testing.assert_allclose(encoder.encode(TEXTS), seen[1], atol=1e-6)


def test_a_score_that_is_no_number_stops_the_run(make_encoder):
    with pytest.raises(InputError, match="diverge"):
        fit(make_encoder(), GRADED, SquaredError(), score=lambda _: float("nan"), **settings())


def test_adapters_start_as_nothing_train_alone_and_are_merged(make_encoder):
    pytest.importorskip("peft", reason="the extra train is not installed")
    encoder = make_encoder()
    before = encoder.encode(TEXTS)
    add_lora(encoder, LoRA(rank=2, targets=("query",)))
    np.testing.assert_allclose(encoder.encode(TEXTS), before, atol=1e-6)
    with pytest.raises(InputError, match="has adapters already"):
        fit(encoder, GRADED, SquaredError(), lora=LoRA(rank=2), **settings())
    assert {name.split(".")[-3] for name, p in encoder.named_parameters() if p.requires_grad} == {"lora_A", "lora_B"}
    merge_lora(encoder)
    assert encoder.encode(TEXTS) == pytest.approx(before, abs=1e-6)

    trained = make_encoder()
    names = set(trained.state_dict())
    fit(trained, GRADED, SquaredError(), lora=LoRA(rank=2), **settings(learning_rate=0.01))
    assert set(trained.state_dict()) == names
    assert all(parameter.requires_grad for parameter in trained.parameters())
    assert np.abs(trained.encode(TEXTS) - before).max() > 1e-3
    with pytest.raises(InputError, match="query"):
        add_lora(trained, LoRA(targets=("no_such_map",)))


@pytest.mark.parametrize("loss", [CoSENTLoss(), StarbucksLoss(CoSENTLoss(), [(1, 8)])])
def test_a_loss_that_takes_other_columns_is_told_so(make_encoder, loss):
    with pytest.raises(InputError, match=r"CoSENTLoss\(first, second, scores\); received text_0, text_1"):
        fit(make_encoder(), [("a", "b")], loss, **settings())


def test_a_name_in_the_place_of_an_encoder_and_a_class_in_that_of_a_loss_are_refused(make_encoder):
    with pytest.raises(InputError, match=r"open it with embedkit\.load"):
        fit("all-MiniLM-L6-v2", GRADED, SquaredError())
    with pytest.raises(InputError, match="instance of a loss"):
        fit(make_encoder(), GRADED, SquaredError)


def test_an_encoder_is_as_it_was_when_no_step_was_made(make_encoder, tmp_path):
    encoder = make_encoder()
    names, version = set(encoder.state_dict()), encoder.fingerprint
    with pytest.raises(CutShortError):
        fit(encoder, GRADED, Cut(SquaredError(), 1), lora=LoRA(rank=2), **settings())
    assert (set(encoder.state_dict()), encoder.fingerprint) == (names, version)


def test_a_folder_whose_record_is_damaged_says_so(make_encoder, tmp_path):
    (tmp_path / "fit.json").write_text("{")
    with pytest.raises(CorruptFileError, match="give another folder"):
        fit(make_encoder(), GRADED, SquaredError(), folder=tmp_path, **settings())


@pytest.mark.parametrize("changes", [{"rank": 0}, {"alpha": 0.0}, {"dropout": 1.0}])
def test_adapters_out_of_range_are_refused(changes):
    with pytest.raises(InputError, match="rank >= 1"):
        LoRA(**changes)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"epochs": 0}, "epochs must be a finite number above 0; received 0"),
        ({"batch_size": 0}, "batch_size"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"batch_size": "many"}, "batch_size must be an integer, 1 or more; received 'many'"),
        ({"weight_decay": -1}, "weight_decay"),
        ({"warmup": 2}, "warmup must be a share of the steps, 0 … 1; received 2"),
        ({"max_steps": 0}, "max_steps"),
        ({"patience": 1}, "patience needs score"),
        ({"evaluations": 0, "score": lambda _: 0.0}, "evaluations"),
        ({"no_such_argument": 1}, "training arguments of sentence-transformers"),
    ],
)
def test_arguments_out_of_range_are_refused_before_anything_happens(make_encoder, changes, says):
    encoder = make_encoder()
    version = encoder.fingerprint
    with pytest.raises(InputError, match=says):
        fit(encoder, GRADED, SquaredError(), **settings(**changes))
    assert encoder.fingerprint == version


@pytest.mark.parametrize(
    ("examples", "says"),
    [
        ([], "received none"),
        ("text", "rows of one length"),
        ([("a", "b"), ("a",)], "lengths \\[1, 2\\]"),
        ({"a": ["x"], "b": ["x", "y"]}, "one length"),
        ({"return_loss": ["x"]}, "return_loss is reserved"),
        ({"a": "xyz"}, "each column of examples must be a list; received one value for a"),
        ({"score": [1.0]}, "column of texts"),
        ([("a", "b", float("nan"))], "score\\[0\\] must be a finite number"),
        ({"a": ["x"], "b": [None]}, "b\\[0\\] must be text"),
        ({"a": ["\ud800"], "b": ["y"]}, "surrogate"),
    ],
)
def test_examples_that_are_none_are_refused(examples, says):
    with pytest.raises(InputError, match=says):
        as_dataset(examples)


def test_examples_keep_the_order_of_their_columns():
    assert as_dataset({"b": ["x"], "a": ["y"], "label": [1]}).column_names == ["b", "a", "label"]
    assert as_dataset([["x", "y"]]).column_names == ["text_0", "text_1"]
    assert as_dataset([("x", 1)])[0] == {"text_0": "x", "score": 1}
