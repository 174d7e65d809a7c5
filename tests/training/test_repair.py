"""Misuse localisation and repair: the loss in closed form, and a tiny model that learns a handful of functions."""

import math
from dataclasses import replace

import pytest
import torch

from embedkit.encoders.code.functions import find_functions
from embedkit.encoders.code.repairer import Repairer
from embedkit.encoders.code.tasks import variable_misuse
from embedkit.errors import InputError
from embedkit.evaluation.repair import repair_scores
from embedkit.modules.pointer import PointerHead
from embedkit.training.adapter import CPU_VALUES
from embedkit.training.repair import _PointerObjective, pointer_loss, train_repair

FUNCTIONS = """
def one(cat, dog):
    bird = cat
    return bird, dog
def two(red, green):
    if red:
        return green
    return red
def three(cat, red):
    dog = red, red
    return dog, cat
"""
LONG = "def sum(cat, dog):\n    red = cat\n" + "    red = 1\n" * 20 + "    return red, dog, cat\n"
FORMS = ["log_sum", "original"]
QUICK = {"batch_size": 4, "learning_rate": 3e-3, "show_progress_bar": False}


def examples_of(source=FUNCTIONS, **options):
    return variable_misuse(find_functions(source), **{"max_per_function": 1, **options})


def batch(*, n=4, tokens=9, seed=0):
    """Random logits, candidates that are fewer for the bug, and right answers; the last row has no bug."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, tokens, 2, generator=generator, requires_grad=True)
    candidates = torch.zeros(n, tokens, 2, dtype=torch.bool)
    answers = torch.zeros(n, tokens, 2, dtype=torch.bool)
    for row in range(n):
        places = (1 + torch.randperm(tokens - 2, generator=generator)).tolist()
        candidates[row, places[:5], 1] = True
        candidates[row, places[:3], 0] = True
        answers[row, places[0], 0] = True
        answers[row, places[3:5], 1] = True
    answers[-1] = False
    answers[-1, 0, 0] = True
    attention = torch.ones(n, tokens)
    attention[1, -1] = 0
    return logits, candidates, answers, attention


def by_loops(logits, candidates, answers, attention, form):
    losses = torch.zeros(len(logits), 2)
    for row in range(len(logits)):
        for column in range(2):
            weights = {}
            for token in range(logits.shape[1]):
                score = logits[row, token, column].item()
                is_candidate = bool(candidates[row, token, column]) or (form == "log_sum" and token == column == 0)
                if attention[row, token] and (is_candidate or form == "original"):
                    weights[token] = math.exp(score if is_candidate else 0)
            shares = {token: weight / sum(weights.values()) for token, weight in weights.items()}
            right = [shares[token] for token in shares if answers[row, token, column]]
            if right and form == "log_sum":
                losses[row, column] = -math.log(sum(right))
            elif right:
                losses[row, column] = -sum(math.log(max(share, 1e-10)) for share in right)
    return losses


@pytest.mark.parametrize("form", FORMS)
def test_the_formula_in_loops_gives_the_same(form):
    tensors = batch()

    torch.testing.assert_close(pointer_loss(*tensors, form=form), by_loops(*tensors, form))


def test_torch_gives_the_same_where_one_answer_is_right():
    logits, candidates, answers, attention = batch()
    for row in range(3):
        chosen = [0, *candidates[row, :, 0].nonzero()[:, 0].tolist()]
        right = chosen.index(int(answers[row, :, 0].nonzero()))
        expected = torch.nn.functional.cross_entropy(logits[row, chosen, 0], torch.tensor(right))

        torch.testing.assert_close(pointer_loss(logits, candidates, answers, attention)[row, 0], expected)


def by_hand(error):
    """Weights 1, 2, 3 of the first token and two candidates, and a token that is none; both candidates repair."""
    logits = torch.tensor([0, math.log(2), math.log(3), 100.0])[None, :, None].repeat(1, 1, 2)
    candidates = torch.tensor([False, True, True, False])[None, :, None].repeat(1, 1, 2)
    answers = torch.zeros(1, 4, 2, dtype=torch.bool)
    answers[0, error, 0] = True
    answers[0, 1:3, 1] = error > 0
    return logits, candidates, answers, torch.ones(1, 4)


@pytest.mark.parametrize(
    ("form", "error", "losses"),
    [
        ("log_sum", 1, (math.log(6 / 2), 0.0)),
        ("log_sum", 0, (math.log(6), 0.0)),
        ("original", 1, (math.log(7 / 2), math.log(7 / 2) + math.log(7 / 3))),
        ("original", 0, (math.log(7), 0.0)),
    ],
)
def test_worked_by_hand(form, error, losses):
    assert pointer_loss(*by_hand(error), form=form)[0].tolist() == pytest.approx(losses, abs=1e-6)


def test_the_original_cuts_what_is_all_but_impossible():
    logits, *others = by_hand(1)
    logits[0, 2, 0] = 1000

    assert pointer_loss(logits, *others, form="original")[0, 0].item() == pytest.approx(-math.log(1e-10))
    assert pointer_loss(logits, *others)[0, 0].item() == pytest.approx(1000 - math.log(2))


def test_the_original_has_a_constant_for_no_bug():
    logits, *others = by_hand(0)
    moved = logits.clone()
    moved[0, 0] += 5

    assert torch.equal(pointer_loss(moved, *others, form="original"), pointer_loss(logits, *others, form="original"))
    assert pointer_loss(moved, *others)[0, 0] < pointer_loss(logits, *others)[0, 0]


def test_zero_weights_know_nothing():
    """log n_loc of the place among the uses and "no bug", and log(n / k) of k targets among n candidates."""
    logits, candidates, answers, attention = batch()
    losses = pointer_loss(torch.zeros_like(logits), candidates, answers, attention)

    torch.testing.assert_close(losses[:3], torch.tensor([[math.log(4), math.log(5 / 2)]]).repeat(3, 1))
    torch.testing.assert_close(losses[3], torch.tensor([math.log(4), 0.0]))


def test_what_the_other_tokens_hold_makes_no_difference():
    torch.manual_seed(0)
    head = PointerHead(6)
    _, candidates, answers, attention = batch()
    states = torch.randn(4, 9, 6)
    moved = states.clone()
    for row in range(4):
        others = [token for token in range(1, 9) if not candidates[row, token].any()]
        moved[row, others] = states[row, others[1:] + others[:1]]

    losses = [pointer_loss(head.logits(given), candidates, answers, attention) for given in (states, moved)]

    assert torch.equal(*losses)


def test_more_tokens_that_are_no_candidates_matter_in_the_original_only():
    tensors = [tensor.detach() for tensor in batch()]
    more = [torch.cat([tensor, torch.zeros_like(tensor[:, :3])], dim=1) for tensor in tensors[:3]]
    seen = torch.cat([tensors[3], torch.ones(4, 3)], dim=1)
    padded = torch.cat([tensors[3], torch.zeros(4, 3)], dim=1)

    torch.testing.assert_close(pointer_loss(*more, seen), pointer_loss(*tensors))
    assert (pointer_loss(*more, seen, form="original")[:3] > pointer_loss(*tensors, form="original")[:3]).all()
    torch.testing.assert_close(pointer_loss(*more, padded, form="original"), pointer_loss(*tensors, form="original"))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_gradients_are_finite_in_every_precision(form, dtype):
    logits, *others = batch()
    scores = (logits.detach() * 100).to(dtype).requires_grad_()

    losses = pointer_loss(scores, *others, form=form)
    losses.sum().backward()

    assert losses.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert torch.isfinite(losses).all()
    assert torch.isfinite(scores.grad).all()


@pytest.mark.parametrize("form", FORMS)
def test_without_candidates_or_bugs_there_is_nothing_to_repair(form):
    logits = torch.randn(2, 3, 2, requires_grad=True)
    nothing = torch.zeros(2, 3, 2, dtype=torch.bool)
    answers = nothing.clone()
    answers[:, 0, 0] = True

    losses = pointer_loss(logits, nothing, answers, torch.ones(2, 3), form=form)
    losses.sum().backward()

    assert losses[:, 0].tolist() == pytest.approx([0.0 if form == "log_sum" else math.log(3)] * 2)
    assert losses[:, 1].tolist() == [0, 0]
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad[..., 1] == 0).all()
    assert pointer_loss(*(tensor[:0] for tensor in batch()), form=form).shape == (0, 2)


def objective_of(encoder, examples, form="log_sum"):
    repairer = Repairer.untrained(encoder, form=form)
    return repairer, _PointerObjective(repairer.encoder.eval(), repairer.pointers(examples), form)


def test_a_batch_of_functions_gives_the_mean_in_closed_form(make_encoder):
    examples = examples_of()
    repairer, objective = objective_of(make_encoder(), examples)
    repairer.head.pointers.weight.data.zero_()
    features = repairer.encoder.preprocess([example.code for example in examples])

    value = objective([features], torch.arange(len(examples)))

    expected = [
        math.log(1 + len(example.uses))
        + (math.log(len(example.candidates) / len(example.targets)) if example.error else 0)
        for example in examples
    ]
    assert value.item() == pytest.approx(sum(expected) / len(expected), rel=1e-5)


def test_functions_of_like_length_go_through_the_model_together_and_nothing_else_changes(make_encoder, monkeypatch):
    examples = examples_of(FUNCTIONS + LONG)
    repairer, objective = objective_of(make_encoder(), examples)
    features = repairer.encoder.preprocess([example.code for example in examples])
    labels = torch.arange(len(examples))
    kept = [row for row, one in enumerate(repairer.pointers(examples)) if one.are_known]
    assert CPU_VALUES > 1
    values = []
    for values_of_a_part in (10**9, 1):
        monkeypatch.setattr("embedkit.training.adapter.CPU_VALUES", values_of_a_part)
        cut = {name: value[kept] if torch.is_tensor(value) else value for name, value in features.items()}
        repairer.encoder.zero_grad()
        values.append(objective([cut], labels[kept]))
        values[-1].backward()
        values.append(repairer.head.first.weight.grad.clone())

    torch.testing.assert_close(values[:2], values[2:], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_a_tiny_model_learns_a_handful_of_functions(make_encoder, form):
    encoder, examples = make_encoder(), examples_of()
    before = encoder.fingerprint

    done = train_repair(encoder, examples, form=form, epochs=40, **{**QUICK, "learning_rate": 5e-3})

    scores = repair_scores(examples, done.repairer.predict(examples))
    assert (scores.classification, scores.joint) == (1, 1)
    assert done.left_out == 0
    assert done.repairer.head.form == form
    assert encoder.fingerprint != before  # trained in place
    # With k targets the original cannot fall below k log k.
    assert done.training.losses[-1][1] < done.training.losses[0][1] / 2


def test_what_the_window_does_not_reach_is_left_out_with_its_twin_and_counted(make_encoder):
    far = [one for one in examples_of(LONG, max_per_function=9) if one.error and one.error[0] > 100]
    twins = {one.twin for one in far}
    long = [one for one in examples_of(LONG, max_per_function=9) if one.twin in twins]
    short = [replace(one, twin=one.twin + 100) for one in examples_of()]
    assert far

    done = train_repair(make_encoder(), [*short, *long], max_steps=1, **QUICK)

    assert done.left_out == 2 * len(far)
    with pytest.raises(InputError, match="window reaches"):
        train_repair(make_encoder(), long, max_steps=1, **QUICK)
    with pytest.raises(InputError, match="window reaches; received 0"):
        train_repair(make_encoder(), [], max_steps=1, **QUICK)


def test_functions_without_bugs_alone_teach_that_there_is_none(make_encoder):
    clean = [one for one in examples_of() if one.error is None]

    done = train_repair(make_encoder(), clean, epochs=30, **QUICK)

    assert [found.error for found in done.repairer.predict(clean)] == [None] * len(clean)


def test_a_run_goes_on_where_it_was_cut_short_and_only_with_the_same_places(make_encoder, tmp_path, monkeypatch):
    class CutShortError(Exception):
        pass

    forward, calls = _PointerObjective.forward, []

    def dying(self, *arguments):
        calls.append(1)
        if len(calls) == 4:
            raise CutShortError
        return forward(self, *arguments)

    examples = examples_of()
    options = {"epochs": 3, "evaluations": 3, **QUICK}
    whole = train_repair(make_encoder(), examples, **options)
    monkeypatch.setattr(_PointerObjective, "forward", dying)
    with pytest.raises(CutShortError):
        train_repair(make_encoder(), examples, folder=tmp_path, **options)
    monkeypatch.setattr(_PointerObjective, "forward", forward)
    fewer = [replace(examples[0], uses=examples[0].uses[:-1]), *examples[1:]]
    with pytest.raises(InputError, match="differ in loss"):
        train_repair(make_encoder(), fewer, folder=tmp_path, **options)
    again = train_repair(make_encoder(), examples, folder=tmp_path, **options)

    assert len(calls) == 4
    assert again.training.steps == whole.training.steps
    assert again.repairer.encoder.fingerprint == whole.repairer.encoder.fingerprint


def test_the_best_on_development_data_is_kept(make_encoder):
    examples = examples_of()

    def score(encoder):
        return repair_scores(examples, Repairer(encoder).predict(examples)).classification

    done = train_repair(make_encoder(), examples, epochs=2, score=score, **QUICK)

    assert len(done.training.scores) == 2
    assert score(done.repairer.encoder) == max(value for _, value in done.training.scores)
